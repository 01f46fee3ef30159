//! Clients that take their time, in every phase of a connection and on both ports; and what they may
//! hold meanwhile.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::helpers::{
    Browser, Phone, Process, Service, Settings,
    events::{Events, poll},
    eventually,
    phone::{answer, app_token, now},
    raw::Raw,
    service::{APP_SECRET, command_with_files},
};

/// What a busy machine adds to a bound.
const SLACK: f64 = 4.0;

/// A client that is slow in one phase.
struct Slow {
    what: &'static str,
    /// Said at once.
    first: String,
    /// Whether an answer to that is awaited before it goes on.
    answered: bool,
    /// Said every second from then on.
    drip: &'static str,
    /// By when the connection must have ended, in seconds.
    within: f64,
    /// And not before: people on slow lines are no attackers.
    not_before: f64,
    /// How the last that is heard begins.
    last: &'static str,
}

/// The table. `path` answers GET without reading a body, `reads` is a request that reads one.
fn slow_clients(path: &str, reads: &str) -> Vec<Slow> {
    let get = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let with = |header: &str| format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n\r\n");
    let slow = |what, first: &str, answered, drip, (not_before, within), last| Slow {
        what,
        first: first.to_owned(),
        answered,
        drip,
        within,
        not_before,
        last,
    };
    let (head, quiet, closing) = ((3.5, 5.0), (8.0, 10.0), (0.0, 2.0));
    let timed_out = "HTTP/1.1 408";
    vec![
        slow("nothing at all", "", false, "", (3.5, 5.0), ""),
        slow("a first head", "GET / HT", false, "", head, timed_out),
        slow("a first head, dripped", "GET /?", false, "x", head, timed_out),
        slow("a second head", &get, true, "GET", head, timed_out),
        slow("a second head, dripped", &get, true, "x", head, timed_out),
        // The head's time has begun with the answer, or with the next byte: at most both.
        slow(
            "a second head that came early",
            &format!("{get}GET / HT"),
            false,
            "",
            head,
            "HTTP/1.1 200",
        ),
        slow("the same, dripped", &format!("{get}GET /?"), false, "x", head, timed_out),
        slow("silence after an answer", &get, true, "", quiet, "HTTP/1.1 200"),
        slow(
            "chunks that nobody reads",
            &with("Transfer-Encoding: chunked"),
            false,
            "1\r\nx\r\n",
            closing,
            "HTTP/1.1 200",
        ),
        slow(
            "chunks that do not come",
            &with("Transfer-Encoding: chunked"),
            false,
            "",
            closing,
            "HTTP/1.1 200",
        ),
        slow(
            "a body that nobody reads",
            &with("Content-Length: 99999"),
            false,
            "x",
            closing,
            "HTTP/1.1 200",
        ),
        slow(
            "a second body that nobody reads",
            &format!("{get}{}", with("Content-Length: 99")),
            false,
            "x",
            closing,
            "HTTP/1.1 200",
        ),
        slow("a body that is read", reads, false, "x", (8.0, 12.0), "HTTP/1.1 400"),
        slow(
            "a body with a head of its own pace",
            &reads.replace("Content-Length: 5000", "Transfer-Encoding: chunked"),
            false,
            "1\r\nx\r\n",
            (8.0, 12.0),
            "HTTP/1.1 400",
        ),
        slow("what is no request", "\r\n\r\nNO\r\n\r\n", false, "x", closing, "HTTP/1.1 400"),
    ]
}

/// How long the connection lived, and all that was heard.
async fn live(address: SocketAddr, client: &Slow) -> (f64, String) {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    let begin = Instant::now();
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(client.first.as_bytes()).await.expect("it is taken");
    let mut heard = Vec::new();
    if client.answered {
        let mut bytes = [0; 4096];
        let read = timeout(Duration::from_secs(5), reader.read(&mut bytes)).await;
        heard.extend_from_slice(&bytes[..read.expect("an answer in time").expect("an answer")]);
    }
    let begin = if client.answered { Instant::now() } else { begin };
    let drip = async {
        // Until the other side is gone: the test ends by what is heard.
        while writer.write_all(client.drip.as_bytes()).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await
    };
    // A reset is an end too. What follows the answer to a pipelined head is all of one stream.
    let end = async { drop(reader.read_to_end(&mut heard).await) };
    tokio::select! {
        () = drip => unreachable!("it waits for ever"),
        ended = timeout(Duration::from_secs(40), end) => ended.unwrap_or_else(|_| {
            panic!("still open after 40 s: {}", client.what)
        }),
    }
    (begin.elapsed().as_secs_f64(), String::from_utf8_lossy(&heard).into_owned())
}

#[tokio::test]
async fn a_slow_client_has_its_time_and_no_more_in_every_phase_on_both_ports() {
    let service = Service::start(Settings::embedded()).await;
    let token = app_token(&json!({ "sub": "alice", "exp": now() + 600 }), APP_SECRET);
    let body = |line: &str, header: &str| {
        format!(
            "POST {line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}Content-Type: application/json\r\n\
             Content-Length: 5000\r\n\r\n"
        )
    };
    let public = slow_clients(
        "/scanlogin.js",
        &body("/scan", &format!("Authorization: Bearer {token}\r\n")),
    );
    let admin = slow_clients("/livez", &body("/revoke", ""));
    let lived = |address, clients: Vec<Slow>| {
        clients.into_iter().map(move |client| async move {
            let (seconds, heard) = live(address, &client).await;
            let last = heard.rfind("HTTP/1.1 ").map_or("", |at| &heard[at..]);
            let what = client.what;
            assert!(seconds < client.within + SLACK, "{what}: {seconds} s");
            assert!(seconds > client.not_before, "{what}: {seconds} s: {heard}");
            assert!(last.starts_with(client.last), "{what}: {last}");
        })
    };
    tokio::join!(
        join_all(lived(service.address, public)),
        join_all(lived(service.admin_address, admin)),
    );
    for port in ["public", "admin"] {
        let ended = |reason: &str| {
            format!("scanlogin_connections_ended_total{{port=\"{port}\",reason=\"{reason}\"}}")
        };
        assert!(service.metric(&ended("slow_head")).await >= 4.0, "{port}");
        assert!(service.metric(&ended("silent")).await >= 1.0, "{port}");
        for state in ["silent", "head", "closing", "socket"] {
            let series = format!("scanlogin_connections{{port=\"{port}\",state=\"{state}\"}}");
            eventually(&series, || async { (service.metric(&series).await == 0.0).then_some(()) })
                .await;
        }
    }
}

/// A connection whose kernel keeps next to nothing for us.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    socket.set_nonblocking(true).expect("a mode");
    let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
    socket.connect(address).await.expect("somebody listens")
}

#[tokio::test]
async fn answers_that_nobody_takes_end_on_both_ports() {
    let service = Service::start(Settings::embedded()).await;
    for (port, address, path) in
        [("public", service.address, "/openapi.json"), ("admin", service.admin_address, "/metrics")]
    {
        let mut stream = narrow(address).await;
        // Some ten megabytes: more than the kernel takes off our hands.
        let get = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        stream.write_all(get.repeat(300).as_bytes()).await.expect("it is taken");
        let series =
            format!("scanlogin_connections_ended_total{{port=\"{port}\",reason=\"slow_reader\"}}");
        eventually_ended(&service, &series).await;
    }
}

async fn eventually_ended(service: &Service, series: &str) {
    crate::helpers::eventually_within(Duration::from_secs(45), series, || async {
        (service.metric(series).await >= 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn heads_without_an_end_hold_next_to_nothing() {
    const CLIENTS: usize = 800;
    let process = Process::start(Settings::embedded()).await;
    let before = process.memory();
    let get = format!("GET /nothing HTTP/1.1\r\nHost: {}\r\n\r\n", process.address);
    // Fewer lines than would be too many.
    let line = format!("X: {}\r\n", "y".repeat(2000));
    let mut open = Vec::new();
    for number in 0..CLIENTS {
        let mut raw = Raw::connect(process.address).await;
        let first = if number % 2 == 0 { &get[..] } else { "" };
        let head = format!("{first}GET / HTTP/1.1\r\n{}", line.repeat(60));
        // It may be cut off before all of it is out.
        let _ = raw.send(head.as_bytes()).await;
        open.push(raw);
    }
    let grown = process.memory().saturating_sub(before);
    eprintln!("{grown} bytes for {CLIENTS} connections");
    assert!(grown < CLIENTS as u64 * 48 * 1024, "{grown} bytes for {CLIENTS} connections");
    for raw in &mut open {
        let heard = raw.rest(Duration::from_secs(15)).await.expect("an end");
        let heard = String::from_utf8_lossy(&heard);
        assert!(heard.is_empty() || heard.contains("HTTP/1.1 431"), "{heard}");
    }
}

#[tokio::test]
async fn what_follows_a_call_that_is_held_open_is_not_gathered() {
    const CALLS: usize = 300;
    let process = Process::start(Settings::embedded()).await;
    let before = process.memory();
    let mut open = Vec::new();
    for _ in 0..CALLS {
        let mut raw = Raw::connect(process.address).await;
        // A poll that knows the first key is held for 25 s.
        let seen = r#"{"seen":{"type":"key","seq":1}}"#;
        let head = format!(
            "POST /stream/poll HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{seen}",
            seen.len()
        );
        raw.send(head.as_bytes()).await.unwrap();
        let more = format!("GET /?{} HTTP/1.1\r\n", "x".repeat(120_000));
        let _ = timeout(Duration::from_millis(20), raw.0.write_all(more.as_bytes())).await;
        open.push(raw);
    }
    let grown = process.memory().saturating_sub(before);
    eprintln!("{grown} bytes for {CALLS} calls");
    // Gathered, it would be 128 KiB each; a call's own share, and what all calls share, is in it too.
    assert!(grown < CALLS as u64 * 80 * 1024, "{grown} bytes for {CALLS} calls");
}

#[tokio::test]
async fn strangers_leave_files_for_the_admin_port_and_for_redis() {
    let redis = crate::helpers::RedisServer::start().await;
    let process = Process::of(command_with_files(&Settings::redis(&redis), 1400)).await;
    let mut many = Vec::new();
    for _ in 0..1600 {
        many.push(TcpStream::connect(process.address).await.unwrap());
    }
    let waits = "connections cannot be accepted now, and wait";
    eventually("it says that they wait", || async {
        (!process.logged(waits).is_empty()).then_some(())
    })
    .await;
    let files = || std::fs::read_dir(format!("/proc/{}/fd", process.child.id())).unwrap().count();
    assert!(files() < 1400 - 200, "{} files are taken", files());
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = reqwest::get(format!("http://{}{path}", process.admin_address)).await;
        assert_eq!(answer.expect("an answer").status(), 200, "{path}");
    }
    // Connections to Redis are made anew meanwhile.
    let killed: i64 = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert!(killed > 0);
    many.truncate(100);
    let (mut browser, key) = Browser::plain(process.address).await;
    let phone = Phone::of(process.address, "alice");
    assert_eq!(phone.scan_when_possible(&key).await.codes(), (200, 100));
    assert!(browser.text().await.len() > 100);
}

fn crowded(port: &str) -> String {
    format!("scanlogin_connections_ended_total{{port=\"{port}\",reason=\"crowded\"}}")
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_sockets_are_among_them() {
    let service = Service::start(Settings::embedded().with("CONNECTIONS_PER_ADDRESS", "3")).await;
    let (browser, _) = Browser::plain(service.address).await;
    let (_other, _) = Browser::json(service.address).await;
    let mut silent = Raw::connect(service.address).await;
    let state = |state: &str| format!("scanlogin_connections{{port=\"public\",state=\"{state}\"}}");
    eventually("all are counted", || async {
        let counted =
            (service.metric(&state("socket")).await, service.metric(&state("silent")).await);
        (counted == (2.0, 1.0)).then_some(())
    })
    .await;
    let mut fourth = Raw::connect(service.address).await;
    assert_eq!(fourth.rest(Duration::from_secs(3)).await.expect("the end"), b"");
    assert_eq!(service.metric(&crowded("public")).await, 1.0);
    assert_eq!(service.metric("scanlogin_store_seconds_count{operation=\"create\"}").await, 2.0);
    // The admin port is another matter.
    assert_eq!(service.metric(&crowded("admin")).await, 0.0);
    assert!(silent.rest(Duration::from_millis(50)).await.is_none(), "the third is served");
    browser.leave(1000).await;
    eventually("a place is free again", || async {
        let mut raw = Raw::connect(service.address).await;
        let get = "GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        raw.send(get.as_bytes()).await.ok()?;
        let heard = raw.rest(Duration::from_secs(2)).await?;
        heard.starts_with(b"HTTP/1.1 404").then_some(())
    })
    .await;
}

#[tokio::test]
async fn behind_a_proxy_a_client_has_so_many_sockets_and_held_calls() {
    let settings = Settings::embedded()
        .with("CONNECTIONS_PER_ADDRESS", "2")
        .with("TRUSTED_PROXIES", "127.0.0.0/8");
    let service = Service::start(settings).await;
    let at = service.address;
    let open = async |client: &str, protocol| {
        Browser::open(at, "", protocol, &[("X-Forwarded-For", client)]).await
    };
    let (stranger, bystander) = ("2001:db8::1", "203.0.113.10");
    let mut first = open(stranger, Some("scanlogin.v1")).await.expect("a socket");
    let key = first.message().await;
    let _second = open("2001:db8::2", None).await.expect("a socket");
    let refused = open(stranger, None).await.err().expect("refused");
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!(-4)));
    let series = "scanlogin_sockets_refused_total{reason=\"crowded\"}";
    assert_eq!(service.metric(series).await, 1.0);
    // Streams, polls and held receipts too; a call that is not held is none of them.
    let http = reqwest::Client::new();
    let call = |method: reqwest::Method, path: &str, client: &str| {
        let request = http.request(method, format!("http://{at}{path}"));
        request.header("X-Forwarded-For", client)
    };
    for path in ["/stream", "/stream/poll"] {
        let request = call(reqwest::Method::POST, path, stranger).json(&json!({}));
        assert_eq!(answer(request).await.codes(), (429, -4), "{path}");
    }
    let phone = Phone::of(at, "alice");
    let scanned = phone.scan(key["key"].as_str().unwrap()).await;
    assert_eq!(scanned.codes(), (200, 100));
    let receipt = |client: &str, wait: u32| {
        let path = format!("/scan/outcome?wait={wait}");
        let request = call(reqwest::Method::GET, &path, client).bearer_auth(&phone.token);
        answer(request.header("Scanlogin-Claim", scanned.text("claim")))
    };
    assert_eq!(receipt(stranger, 10).await.codes(), (429, -4));
    assert_eq!(receipt(stranger, 0).await.codes(), (200, 100));
    assert_eq!(receipt(bystander, 1).await.codes(), (200, 100));
    open(bystander, None).await.expect("another client has its own");
    // A place that is left is free, on every line.
    drop(first);
    eventually("a place is free again", || async { open(stranger, None).await.ok() }).await;
    let (_events, _) = Events::new(at).await;
    assert_eq!(poll(at, &json!({})).await.status, 200, "who has no header is the proxy itself");
}
