//! The service as its users have it: real sockets, a real redis-server of each test's own.

mod conformance;
mod faults;
mod helpers;
mod login_flow;
