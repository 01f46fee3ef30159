//! What tests are made of. Everything here is started by the test, owned by it, and gone with it.

pub(crate) mod acl;
pub(crate) mod browser;
pub(crate) mod cluster;
pub(crate) mod contract;
pub(crate) mod events;
pub(crate) mod haproxy;
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
pub(crate) mod wall_clock;

use std::{
    future::Future,
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
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
/// find its port as it left it, however many clients try to reach it meanwhile. For the same reason
/// test processes that run side by side have each a block of their own, and a port is given again
/// only when all of its block were. A look at a port connects to it and never binds it: a program that another
/// test starts at that moment inherits what is bound until it runs, and the server could not bind.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static BLOCK: OnceLock<(u16, TcpListener)> = OnceLock::new();
    const FIRST: u16 = 10_000;
    const BLOCKS: u16 = 10;
    const COUNT: u16 = 2_000;
    let (block, _taken) = BLOCK.get_or_init(|| {
        // Whoever listens on the first port of a block has it.
        let starts = (0..BLOCKS).map(|number| FIRST + number * COUNT);
        let mut taken = starts
            .filter_map(|port| Some((port, TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?)));
        taken.next().expect("fewer than ten test processes at once")
    });
    for _ in 1..COUNT {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % u32::from(COUNT - 1);
        let port = block + 1 + next as u16;
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            return port;
        }
    }
    panic!("no free port");
}
