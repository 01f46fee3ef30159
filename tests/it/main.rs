//! The service as its users have it: real sockets, a real redis-server of each test's own.

mod attacks;
mod config_errors;
mod confirm;
mod conformance;
mod economy;
mod faults;
mod helpers;
mod http_api;
mod journal;
mod limits;
mod login_flow;
mod logs_and_metrics;
mod openapi;
mod race;
mod readme;
mod redis_outage;
mod resume;
mod security_page;
mod streams;
mod tickets;
mod tokens;
mod traces;
mod two_instances;
mod weblogin;
