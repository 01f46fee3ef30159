//! What a waiting browser and a login cost in heap: counted, so the machine's speed does not matter.
//! A program of its own, because whatever else ran in the process would be counted too.
//!
//! The bounds are what was measured (2026-11-26, see `docs/capacity.md`) and a few percent. Who makes
//! it leaner lowers them; who needs more says in the commit what for.

#[path = "../it/helpers/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the other tests' helpers: only some are used here")]
mod helpers;

use std::{
    alloc::System,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use helpers::{RedisServer, Service, Settings, phone::app_token, service::APP_SECRET};
use scanlogin::{
    app::Options,
    clock::{Clock, Timestamp},
};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Browsers that wait; logins that are counted.
const WAITING: usize = 1000;
const LOGINS: usize = 100;
/// Most bytes of live heap for each browser that waits, with its part of the tables, in a debug build
/// (2,328 measured).
const MOST_BYTES: isize = 2_400;
/// Most allocations for each ping (4.0 measured, and what goes on meanwhile): two for a strong address
/// of the socket's actor, one for the message, one for its place in the mailbox.
const MOST_PER_PING: f64 = 4.5;
/// Most allocations for each login, from the connection to its end (259 measured).
const MOST_PER_LOGIN: usize = 270;

/// A browser that allocates nothing: a socket, and what was read on the stack.
struct Browser(TcpStream);

impl Browser {
    /// Connects, and reads until its key is there, which is given to `then`.
    fn open<T>(address: SocketAddr, then: impl FnOnce(&str) -> T) -> (Self, T) {
        const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Protocol: scanlogin.v1\r\n\r\n";
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(helpers::PATIENCE)).expect("a timeout");
        stream.write_all(REQUEST).expect("it reads");
        let mut browser = Self(stream);
        let result = browser.read_until("\"resume\":\"", |text| {
            let key = text.split_once("\"key\":\"").expect("a key").1;
            then(key.split_once('"').expect("its end").0)
        });
        (browser, result)
    }

    /// Reads until `mark` is there, and a little after it.
    fn read_until<T>(&mut self, mark: &str, then: impl FnOnce(&str) -> T) -> T {
        let (mut buffer, mut have) = ([0; 4096], 0);
        loop {
            let read = self.0.read(&mut buffer[have..]).expect("it goes on");
            assert!(read > 0, "the connection ended");
            have += read;
            // The frame's head is no text; what comes before it may be.
            let from = buffer[..have].iter().rposition(|byte| *byte == b'{').unwrap_or(0);
            let text = str::from_utf8(&buffer[from..have]).unwrap_or_default();
            if text.contains(mark) && text.ends_with('}') {
                return then(text);
            }
        }
    }

    fn expect(&mut self, bytes: &[u8]) {
        let mut buffer = [0; 16];
        let read = &mut buffer[..bytes.len()];
        self.0.read_exact(read).expect("it goes on");
        assert_eq!(read, bytes);
    }

    /// Says that the token is stored, and sees the connection closed.
    fn acknowledge(mut self) {
        const RECEIVED: &[u8] = br#"{"type":"received"}"#;
        let mut frame = [0; 6 + RECEIVED.len()];
        frame[..2].copy_from_slice(&[0x81, 0x80 | RECEIVED.len() as u8]);
        frame[6..].copy_from_slice(RECEIVED);
        self.0.write_all(&frame).expect("it reads");
        let mut rest = [0; 256];
        while self.0.read(&mut rest).expect("it goes on") > 0 {}
    }
}

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

/// Phones of one user each, on one connection.
struct Phones {
    stream: TcpStream,
    address: SocketAddr,
    tokens: Vec<String>,
}

impl Phones {
    fn new(address: SocketAddr, users: usize) -> Self {
        let token = |user| {
            let claims = json!({ "sub": format!("user-{user}"), "exp": 4_000_000_000_u64 });
            app_token(&claims, APP_SECRET)
        };
        let stream = Self::connect(address);
        Self { stream, address, tokens: (0..users).map(token).collect() }
    }

    fn connect(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(helpers::PATIENCE)).expect("a timeout");
        stream
    }

    /// The server ends a connection that was idle for long.
    fn connect_again(&mut self) {
        self.stream = Self::connect(self.address);
    }

    fn scan(&mut self, user: usize, key: &str) {
        let mut request = [0; 2048];
        let mut rest = &mut request[..];
        let (token, length) = (&self.tokens[user], key.len() + 10);
        write!(
            rest,
            "POST /scan HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n\
             {{\"key\":\"{key}\"}}"
        )
        .expect("there is room");
        let left = rest.len();
        let end = request.len() - left;
        self.stream.write_all(&request[..end]).expect("it reads");
        let mut answer = [0; 2048];
        let read = self.stream.read(&mut answer).expect("an answer");
        let answer = str::from_utf8(&answer[..read]).expect("a text");
        assert!(answer.contains("\"code\":100"), "{answer}");
    }
}

fn log_in(address: SocketAddr, phones: &mut Phones, user: usize) {
    let mut key = [0; 64];
    let (mut browser, length) = Browser::open(address, |shown| {
        key[..shown.len()].copy_from_slice(shown.as_bytes());
        shown.len()
    });
    phones.scan(user, str::from_utf8(&key[..length]).expect("a text"));
    browser.read_until("\"type\":\"token\"", |_| ());
    browser.acknowledge();
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
