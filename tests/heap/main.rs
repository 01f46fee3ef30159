//! What a waiting browser and a login cost in heap: counted, so the machine's speed does not matter.
//! A program of its own, because whatever else ran in the process would be counted too.
//!
//! The bounds are what was measured (2026-11-26, see `docs/capacity.md`) and a few percent. Who makes
//! it leaner lowers them; who needs more says in the commit what for.

#[path = "../it/helpers/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the other tests' helpers: only some are used here")]
mod helpers;

mod people;

use std::{alloc::System, time::Duration};

use helpers::{RedisServer, Service, Settings};
use people::{Browser, Phones, log_in};
use scanlogin::{
    app::Options,
    clock::{Clock, Timestamp},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Browsers that wait; logins that are counted.
const WAITING: usize = 1000;
const LOGINS: usize = 100;
/// Most bytes of live heap for each browser that waits, with its part of the tables, in a debug build
/// (2,219 measured).
const MOST_BYTES: isize = 2_280;
/// Most allocations for each ping (4.0 measured, and what goes on meanwhile): two for a strong address
/// of the socket's actor, one for the message, one for its place in the mailbox.
const MOST_PER_PING: f64 = 4.5;
/// Most allocations for each login, from the connection to its end (243 measured).
const MOST_PER_LOGIN: usize = 255;

/// What was allocated, once nothing happens any more.
async fn quiet() -> Stats {
    let mut last = ALLOCATOR.stats();
    let mut same = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let now = ALLOCATOR.stats();
        // Timers and the feed's canary go on.
        let is_quiet = now.allocations - last.allocations < 200;
        last = now;
        same = if is_quiet { same + 1 } else { 0 };
        if same == 3 {
            return now;
        }
    }
}

fn live(stats: &Stats) -> isize {
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize + stats.bytes_reallocated
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_browser_a_ping_and_a_login_need_no_more_heap_than_they_did() {
    let redis = RedisServer::start().await;
    let clock = Clock::manual(Timestamp::from_micros(1_795_000_000_000_000));
    let options = Options { clock: clock.clone(), ..Options::default() };
    let settings = Settings::redis(&redis).with("WORKERS", "1").with("LOG", "warn");
    let service = Service::with_options(settings.with("WAIT_SECONDS", "300"), options).await;
    let mut phones = Phones::new(service.address, 20 + LOGINS);
    for user in 0..20 {
        log_in(service.address, &mut phones, user);
    }

    let before = quiet().await;
    phones.connect_again();
    for user in 20..20 + LOGINS {
        log_in(service.address, &mut phones, user);
    }
    let after = quiet().await;
    let per_login = (after.allocations - before.allocations) / LOGINS;

    let before = quiet().await;
    let mut browsers = Vec::with_capacity(WAITING);
    for _ in 0..WAITING {
        browsers.push(Browser::open(service.address, |_| ()).0);
    }
    let after = quiet().await;
    let bytes = (live(&after) - live(&before)) / WAITING as isize;

    clock.advance(Duration::from_secs(25));
    for browser in &mut browsers {
        browser.expect(&[0x89, 0]);
    }
    let pinged = quiet().await;
    let pings = (pinged.allocations - after.allocations) as f64 / WAITING as f64;

    eprintln!("{bytes} bytes a socket, {pings} allocations a ping, {per_login} a login");
    assert!(bytes <= MOST_BYTES, "{bytes} bytes for each browser that waits");
    assert!(pings <= MOST_PER_PING, "{pings} allocations for each ping");
    assert!(per_login <= MOST_PER_LOGIN, "{per_login} allocations for each login");
}
