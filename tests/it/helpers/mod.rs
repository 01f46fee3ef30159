//! What tests are made of. Everything here is started by the test, owned by it, and gone with it.

pub(crate) mod browser;
pub(crate) mod nginx;
pub(crate) mod phone;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod service;

use std::{future::Future, net::TcpListener, time::Duration};

use tokio::time::{Instant, sleep};

pub(crate) use self::{
    browser::{Browser, Closed},
    phone::Phone,
    redis::RedisServer,
    service::{Process, Service, Settings},
};

/// How long anything in a test may take before it counts as never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A service on each store.
pub(crate) async fn both(
    change: impl Fn(Settings) -> Settings,
) -> Vec<(Service, Option<RedisServer>)> {
    let redis = RedisServer::start().await;
    let shared = Service::start(change(Settings::redis(&redis))).await;
    let embedded = Service::start(change(Settings::embedded())).await;
    vec![(embedded, None), (shared, Some(redis))]
}

/// Waits until `check` gives something; panics with `what` after [`PATIENCE`].
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A port that was free a moment ago, for servers that cannot bind port 0 and tell.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
