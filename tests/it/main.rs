//! The service as its users have it: real sockets, a real redis-server of each test's own.

mod conformance;
mod helpers;
mod login_flow;
mod readme;
mod resume;
