//! What tests are made of. Everything here is started by the test, owned by it, and gone with it.

pub(crate) mod browser;
pub(crate) mod cluster;
pub(crate) mod contract;
pub(crate) mod events;
pub(crate) mod nginx;
pub(crate) mod pem;
pub(crate) mod phone;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod recording;
pub(crate) mod redis;
pub(crate) mod secrets;
pub(crate) mod sentinel;
pub(crate) mod service;
pub(crate) mod tls;
pub(crate) mod upstream;

use std::{
    future::Future,
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};

pub(crate) use self::{
    browser::{Browser, Closed},
    phone::{Answer, Phone},
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
    check: impl FnMut() -> F,
) -> T {
    eventually_within(PATIENCE, what, check).await
}

/// The same for what takes its time by itself.
pub(crate) async fn eventually_within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A port that was free a moment ago, for servers that cannot bind port 0 and tell.
///
/// Below those that the system gives to outgoing connections: a server that is started again must
/// find its port as it left it, however many clients try to reach it meanwhile.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    // Test processes that run side by side begin at different places.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + start.wrapping_add(next) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
