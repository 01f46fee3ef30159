//! The service as its users have it: real sockets, a real redis-server of each test's own.

mod app_links;
mod attacks;
mod command_line;
mod config_errors;
mod confirm;
mod conformance;
mod economy;
mod faults;
mod helpers;
mod http_api;
mod limits;
mod login_flow;
mod logs_and_metrics;
mod openapi;
mod pages;
mod race;
mod readme;
mod redis_outage;
mod resume;
mod security_page;
mod streams;
mod tickets;
mod tokens;
mod two_instances;
mod weblogin;
