//! What a waiting browser and a login cost in heap: counted, so the machine's speed does not matter.
//! A program of its own, because whatever else ran in the process would be counted too.
//!
//! The bounds are what was measured (2026-11-26, see `docs/capacity.md`) and a few percent. Who makes
//! it leaner lowers them; who needs more says in the commit what for.

#[path = "../it/helpers/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the other tests' helpers: only some are used here")]
mod helpers;

mod heads;
mod people;

use std::{alloc::System, time::Duration};

use heads::Line;
use helpers::{RedisServer, Service, Settings};
use people::{Browser, Phones, log_in};
use scanlogin::{
    app::Options,
    clock::{Clock, Timestamp},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};
use tokio::sync::Mutex;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Browsers that wait; logins that are counted.
const WAITING: usize = 1000;
const LOGINS: usize = 100;
/// Most bytes of live heap for each browser that waits, with its part of the tables, in a debug build
/// (2,211 measured).
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

/// Whoever counts counts alone.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Browsers of each kind whose heads are compared.
const HEADS: usize = 100;
/// Most bytes of live heap that a browser's head may leave with it while it waits, beside what a short
/// one leaves: the name in the QR code's address, and what the phone is to be shown.
const MOST_OF_A_HEAD: isize = 512;

/// Heads as large as the service takes them: what stands behind the path, and lines. `number` makes
/// each one another.
fn large_heads(number: usize) -> [(&'static str, String, String); 8] {
    let fill = format!("{number:04}").repeat(3500);
    let short = format!("Host: a{number}.example\r\n");
    let line = |name: &str| format!("{short}{name}: {fill}\r\n");
    let many: String = (0..70).map(|i| format!("X-{i}-{number}: {}\r\n", &fill[..180])).collect();
    [
        ("Host", String::new(), format!("Host: {}.{}:8080\r\n", &fill[..60], &fill[..180])),
        // As long as it may be: a longer one is refused.
        ("Origin", String::new(), format!("{short}Origin: https://{}\r\n", &fill[..300])),
        ("User-Agent", String::new(), line("User-Agent")),
        ("Cookie", String::new(), line("Cookie")),
        ("Authorization", String::new(), line("Authorization")),
        ("X-Forwarded-For", String::new(), line("X-Forwarded-For")),
        ("many lines", String::new(), format!("{short}{many}")),
        ("query", format!("?{fill}"), short),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_browser_sent_to_be_let_in_does_not_stay_while_it_waits() {
    let _alone = ALONE.lock().await;
    // Facts are kept, any page may wait, and names are the browsers' own.
    let settings = Settings::embedded().with("WORKERS", "1").with("LOG", "warn");
    let settings = settings.with("CONFIRM", "required").with("ALLOWED_ORIGINS", "*");
    let measure = async |line: Line, name: &str, head: &dyn Fn(usize) -> (String, String)| {
        // One for each kind: tables grow by leaps.
        let service = Service::start(settings.clone()).await;
        let open = |number| {
            let (end, lines) = head(number);
            line.open(service.address, &end, &lines)
        };
        let _first = open(HEADS);
        let before = quiet().await;
        let waiting: Vec<_> = (0..HEADS).map(open).collect();
        let after = quiet().await;
        drop(waiting);
        // Not `live`, which counts what grew in place a second time: these clients make texts.
        let held =
            |stats: &Stats| stats.bytes_allocated as isize - stats.bytes_deallocated as isize;
        let bytes = (held(&after) - held(&before)) / HEADS as isize;
        eprintln!("{line:?}, {name}: {bytes} bytes");
        bytes
    };
    let mut wrong = Vec::new();
    for line in Line::ALL {
        let short = |number| (String::new(), format!("Host: a{number}.example\r\n"));
        let short = measure(line, "short", &short).await;
        for kind in 0..large_heads(0).len() {
            let name = large_heads(0)[kind].0;
            let head = |number| {
                let (_, end, lines) = large_heads(number)[kind].clone();
                (end, lines)
            };
            let bytes = measure(line, name, &head).await;
            let most = match line {
                Line::Plain | Line::Json => MOST_OF_A_HEAD,
                // actix-http reads into a buffer that grows with the head and stays with the
                // connection, which goes on with HTTP.
                Line::Stream => MOST_OF_A_HEAD + 8 * 1024,
            };
            if bytes > short + most {
                wrong.push(format!("{line:?} {name}: {bytes} bytes, {short} of a short head"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_browser_a_ping_and_a_login_need_no_more_heap_than_they_did() {
    let _alone = ALONE.lock().await;
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
