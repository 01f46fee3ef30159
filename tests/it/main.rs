//! The service as its users have it: real sockets, a real redis-server of each test's own.

mod conformance;
mod economy;
mod helpers;
mod login_flow;
mod race;
mod readme;
mod resume;
mod two_instances;
