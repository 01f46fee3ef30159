//! Asks for a socket in a way that one server on the path takes for a handshake and another does not,
//! and speaks HTTP past the proxy behind it.

use std::{net::SocketAddr, time::Duration};

use proptest::{
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
    strategy::ValueTree,
    test_runner::TestRunner,
};
use tokio::{net::TcpStream, time::timeout};

use crate::helpers::{
    Browser, PATIENCE, Phone, Service, Settings,
    haproxy::HaProxy,
    nginx::Nginx,
    raw::{Raw, frame, text_frame},
};

/// What is hidden behind a handshake: a whole request, with an answer that nobody could overlook.
const HIDDEN: &str = "GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

/// A handshake, line by line.
#[derive(Clone, Debug)]
struct Handshake {
    line: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Handshake {
    fn good() -> Self {
        let headers = [
            "Host: 127.0.0.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        Self {
            line: "GET /ws HTTP/1.1".into(),
            headers: headers.map(String::from).into(),
            body: Vec::new(),
        }
    }

    /// Another value, or several, or none for a header.
    fn with(mut self, name: &str, values: &[&str]) -> Self {
        self.headers.retain(|line| !line.starts_with(&format!("{name}:")));
        self.headers.extend(values.iter().map(|value| format!("{name}: {value}")));
        self
    }

    fn line(mut self, line: &str) -> Self {
        self.line = line.into();
        self
    }

    fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n{}\r\n\r\n", self.line, self.headers.join("\r\n"));
        bytes.retain(|sign| sign != '\0');
        [bytes.as_bytes(), &self.body].concat()
    }

    fn is_resume(&self) -> bool {
        self.line.contains("resume=1")
    }
}

/// What the service says of a handshake: status and whatever follows its head.
struct Heard {
    status: u16,
    rest: Vec<u8>,
}

/// Whether there is a further answer among these bytes.
fn is_answer(bytes: &[u8]) -> bool {
    bytes.windows(10).any(|part| part.starts_with(b"HTTP/1.1 ") && part[9].is_ascii_digit())
}

/// A head, and what came with it.
async fn head(raw: &mut Raw) -> Heard {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break at + 4;
        }
        let mut more = [0; 2048];
        let read = tokio::io::AsyncReadExt::read(&mut raw.0, &mut more);
        let read = timeout(PATIENCE, read).await.expect("an answer in time").unwrap_or(0);
        assert!(read > 0, "no whole answer: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&more[..read]);
    };
    let status = str::from_utf8(&bytes[9..12]).unwrap().parse().unwrap();
    Heard { status, rest: bytes[end..].to_vec() }
}

/// Bytes until `wanted` is among them.
async fn until(raw: &mut Raw, mut bytes: Vec<u8>, wanted: &[u8]) -> Vec<u8> {
    while !bytes.windows(wanted.len()).any(|part| part == wanted) {
        let mut more = [0; 2048];
        let read = tokio::io::AsyncReadExt::read(&mut raw.0, &mut more);
        let read = timeout(PATIENCE, read).await.expect("it comes in time").unwrap_or(0);
        assert!(read > 0, "the end before it: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&more[..read]);
    }
    bytes
}

/// The answer to a handshake; a 101 must be a socket, and after anything else nothing is answered. A
/// resume brings this secret, of a login that waits.
async fn judge(address: SocketAddr, handshake: &Handshake, (at_once, secret): (bool, &str)) -> u16 {
    let mut raw = Raw::connect(address).await;
    let mut bytes = handshake.bytes();
    if at_once {
        bytes.extend_from_slice(HIDDEN.as_bytes());
    }
    raw.send(&bytes).await.expect("it is taken");
    let Heard { status, rest } = head(&mut raw).await;
    if status != 101 {
        assert!((400..500).contains(&status) || status == 503, "{status}: {handshake:?}");
        // It may be closed already.
        let _ = raw.send(HIDDEN.as_bytes()).await;
        let after = raw.rest(PATIENCE).await.unwrap_or_else(|| panic!("open: {handshake:?}"));
        let all = [rest, after].concat();
        assert!(!is_answer(&all), "answered: {handshake:?}");
    } else if at_once {
        // What followed are frames, and no good ones.
        let after = raw.rest(PATIENCE).await.unwrap_or_else(|| panic!("open: {handshake:?}"));
        let all = [rest, after].concat();
        assert!(!is_answer(&all), "answered: {handshake:?}");
    } else {
        let mut rest = rest;
        if handshake.is_resume() {
            let resume = format!(r#"{{"type":"resume","resume":"{secret}"}}"#);
            raw.send(&text_frame(&resume)).await.unwrap();
            rest = until(&mut raw, rest, br#"{"type":"key""#).await;
        }
        raw.send(&frame(0x89, 2, b"hi")).await.unwrap();
        let heard = until(&mut raw, rest, b"\x8a\x02hi").await;
        assert_eq!(heard[0], 0x81, "the key comes before the pong");
    }
    status
}

async fn refused(service: &Service) -> f64 {
    service.metric("scanlogin_sockets_refused_total{reason=\"handshake\"}").await
}

async fn created(service: &Service) -> f64 {
    service.metric("scanlogin_store_seconds_count{operation=\"create\"}").await
}

/// Handshakes that some reader takes for one and another does not.
fn half_handshakes() -> Vec<(Handshake, u16)> {
    let good = Handshake::good;
    let mut all = Vec::new();
    for value in [
        "h2c, websocket",
        "websocket, h2c",
        "xwebsocketx",
        "websocket/13",
        "websocket;q=1",
        "\"websocket\"",
        "web socket",
        "h2c",
    ] {
        all.push((good().with("Upgrade", &[value]), 400));
        // A body that the answer does not wait for, and what stands behind it.
        let with_body = good().with("Upgrade", &[value]).with("Content-Length", &["5"]);
        all.push((with_body.body(b"12345"), 400));
    }
    for two in [["h2c", "websocket"], ["websocket", "h2c"], ["websocket", "websocket"]] {
        all.push((good().with("Upgrade", &two), 400));
    }
    all.push((good().with("Transfer-Encoding", &["chunked"]).body(b"0\r\n\r\n"), 400));
    all.push((good().with("Transfer-Encoding", &["chunked"]).body(b"ffff\r\n"), 400));
    all.push((good().with("Transfer-Encoding", &["gzip"]), 400));
    all.push((good().with("Content-Length", &["5"]).body(b"12345"), 400));
    all.push((good().with("Content-Length", &["00"]), 400));
    all.push((good().line("GET /ws HTTP/1.0"), 400));
    all.push((good().line("GET /ws?resume=1 HTTP/1.1").with("Upgrade", &["h2c, websocket"]), 400));
    all.push((good().with("Upgrade", &[]), 426));
    all.push((good().with("Connection", &["keep-alive"]), 426));
    all.push((good().with("Connection", &["close, Upgrade"]), 426));
    all.push((good().line("POST /ws HTTP/1.1"), 405));
    all.push((good().line("POST /ws HTTP/1.1").with("Upgrade", &["h2c, websocket"]), 405));
    all
}

#[tokio::test]
async fn half_a_handshake_is_no_socket_and_nothing_behind_it_is_answered() {
    let service = Service::start(Settings::embedded()).await;
    for (handshake, wanted) in half_handshakes() {
        for at_once in [true, false] {
            let status = judge(service.address, &handshake, (at_once, "x")).await;
            assert_eq!(status, wanted, "{handshake:?}");
        }
    }
    assert_eq!(created(&service).await, 0.0, "no login was made");
    // Whole ones, as browsers and proxies write them.
    let (_waits, key) = Browser::json(service.address).await;
    let secret = key["resume"].as_str().unwrap();
    for handshake in [
        Handshake::good(),
        Handshake::good().with("Upgrade", &["WebSocket"]),
        Handshake::good().with("Connection", &["keep-alive, Upgrade"]),
        Handshake::good().with("Content-Length", &["0"]),
        Handshake::good()
            .line("GET /ws?resume=1 HTTP/1.1")
            .with("Sec-WebSocket-Protocol", &["scanlogin.v1"]),
    ] {
        assert_eq!(judge(service.address, &handshake, (false, secret)).await, 101, "{handshake:?}");
    }
}

#[tokio::test]
async fn a_handshake_behind_a_body_that_nobody_reads_is_not_answered_and_takes_no_answer_away() {
    let service = Service::start(Settings::embedded()).await;
    for closes in ["Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "\r\n"] {
        let first = format!("GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n{closes}");
        let mut raw = Raw::connect(service.address).await;
        raw.send(&[first.as_bytes(), &Handshake::good().bytes()].concat()).await.unwrap();
        let first = head(&mut raw).await;
        assert_eq!(first.status, 404);
        if closes.starts_with('T') {
            let rest = [first.rest, raw.rest(PATIENCE).await.expect("the end")].concat();
            assert!(!is_answer(&rest), "{}", String::from_utf8_lossy(&rest));
            assert_eq!(created(&service).await, 0.0);
        } else {
            until(&mut raw, first.rest, b"HTTP/1.1 101").await;
        }
    }
}

/// Each line of a handshake as it should be, or else.
fn any_handshake() -> impl Strategy<Value = Handshake> {
    let path = select(vec!["/ws", "/ws?resume=1", "/ws?qr=svg", "/ws?resume=1&resume=1"]);
    let method = prop_oneof![9 => Just("GET"), 1 => select(vec!["POST", "HEAD", "get"])];
    let version = prop_oneof![9 => Just("1.1"), 1 => Just("1.0")];
    let line = (method, path, version)
        .prop_map(|(method, path, version)| format!("{method} {path} HTTP/{version}"));
    let upgrade = prop_oneof![
        6 => select(vec!["websocket", "WebSocket", "WEBSOCKET"]).prop_map(|one| vec![one.to_owned()]),
        1 => select(vec!["h2c, websocket", "websocket,", ",websocket", "websocket\t", " websocket"])
            .prop_map(|one| vec![one.to_owned()]),
        1 => "[ -~]{0,12}".prop_map(|one| vec![one]),
        1 => proptest::collection::vec(select(vec!["websocket", "h2c", ""]), 0..3)
            .prop_map(|all| all.into_iter().map(str::to_owned).collect()),
    ];
    let connection = prop_oneof![
        6 => Just("Upgrade"),
        2 => select(vec!["keep-alive, Upgrade", "upgrade", "close", "Upgrade, close", "x"]),
    ];
    let body = prop_oneof![
        8 => Just((None, None, &b""[..])),
        1 => Just((Some("Content-Length: 0"), None, &b""[..])),
        1 => Just((Some("Content-Length: 3"), None, &b"abc"[..])),
        1 => Just((Some("Content-Length: 3"), None, &b"a"[..])),
        1 => Just((Some("Transfer-Encoding: chunked"), None, &b"3\r\nabc\r\n0\r\n\r\n"[..])),
        1 => Just((Some("Transfer-Encoding: chunked"), None, &b"3\r\na"[..])),
        1 => Just((Some("Transfer-Encoding: identity"), None, &b""[..])),
        1 => Just((Some("Transfer-Encoding: chunked"), Some("Content-Length: 3"), &b"abc"[..])),
    ];
    let protocol = select(vec!["", "", "scanlogin.v1", "chat, scanlogin.v1", "chat"]);
    let version_header = prop_oneof![9 => Just("13"), 1 => select(vec!["8", "12", ""])];
    (line, upgrade, connection, body, protocol, version_header).prop_map(
        |(line, upgrade, connection, (one, other, body), protocol, version)| {
            let upgrade: Vec<&str> = upgrade.iter().map(String::as_str).collect();
            let mut handshake = Handshake::good()
                .line(&line)
                .with("Upgrade", &upgrade)
                .with("Connection", &[connection])
                .with("Sec-WebSocket-Version", &[version])
                .body(body);
            if !protocol.is_empty() {
                handshake = handshake.with("Sec-WebSocket-Protocol", &[protocol]);
            }
            handshake.headers.extend([one, other].into_iter().flatten().map(str::to_owned));
            handshake
        },
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_101_is_a_socket_and_everything_else_ends_the_connection_and_is_counted() {
    const TRIES: u32 = 400;
    let service = Service::start(Settings::embedded()).await;
    let (_waits, key) = Browser::json(service.address).await;
    let secret = key["resume"].as_str().unwrap();
    let mut runner = TestRunner::deterministic();
    let handshakes = (any_handshake(), any::<bool>());
    let (mut sockets, mut refusals) = (0_u32, 0_u32);
    for _ in 0..TRIES {
        let (handshake, at_once) = handshakes.new_tree(&mut runner).expect("a value").current();
        // A method that is no handshake's, without a word of an upgrade, is a request like others.
        let names_it = handshake.headers.iter().any(|line| {
            line.starts_with("Upgrade") && line.to_ascii_lowercase().contains("websocket")
        });
        if !handshake.line.starts_with("GET") && !names_it {
            continue;
        }
        match judge(service.address, &handshake, (at_once, secret)).await {
            101 => sockets += 1,
            _ => refusals += 1,
        }
    }
    assert!(sockets.min(refusals) > TRIES / 8, "{sockets} and {refusals}");
    let text = reqwest::get(format!("http://{}/metrics", service.admin_address)).await.unwrap();
    let text = text.text().await.unwrap();
    let counted = |wanted: &dyn Fn(&str) -> bool| -> f64 {
        let lines = text
            .lines()
            .filter(|line| line.starts_with("scanlogin_http_requests_total{") && wanted(line));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    // With the one that waits from the beginning.
    assert_eq!(counted(&|line| line.contains("status=\"101\"")), f64::from(sockets + 1));
    assert_eq!(counted(&|line| !line.contains("status=\"101\"")), f64::from(refusals));
    assert!(refused(&service).await > 0.0);
}

/// The request that is to reach the service past the proxy, its length hidden in another's body.
fn hidden_poll() -> Vec<u8> {
    let body = "{}";
    format!(
        "POST /stream/poll HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: 198.51.100.66\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Tries to speak past a proxy at `address`: nothing that is hidden may reach the service behind it.
async fn smuggle(address: SocketAddr, service: &Service, tries: usize) {
    let good = || Handshake::good().with("Upgrade", &["h2c, websocket"]);
    for attempt in 0..tries {
        let handshake = match attempt % 3 {
            0 => good().with("Content-Length", &["16384"]).body(&[b'x'; 16384]),
            1 => good().with("Transfer-Encoding", &["chunked"]).body(b"0\r\n\r\n"),
            // HAProxy takes the upgrade out of a handshake that has a body, and hands this one on.
            _ => good(),
        };
        let mut raw = Raw::connect(address).await;
        let _ = raw.send(&handshake.bytes()).await;
        let _ = raw.send(&hidden_poll()).await;
        // A key would come at once; the end may take the proxy a while.
        let heard = raw.rest(Duration::from_millis(400)).await.unwrap_or_default();
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert!(!heard.contains("101 Switching"), "{heard}");
        assert!(!heard.contains("\"resume\""), "attempt {attempt}: {heard}");
    }
    assert_eq!(created(service).await, 0.0, "a login was made for a request past the proxy");
    let phone = Phone::of(address, "alice");
    assert_eq!(phone.scan("x").await.codes(), (404, -1), "others are served");
}

#[tokio::test]
async fn nobody_speaks_past_nginx() {
    let settings = Settings::embedded().with("TRUSTED_PROXIES", "127.0.0.0/8");
    for buffering in ["", "proxy_request_buffering off;"] {
        let service = Service::start(settings.clone()).await;
        // Only what goes past the proxy gets past its rules.
        let rules = format!("{buffering} if ($uri = /stream/poll) {{ return 403; }}");
        let nginx = Nginx::start_with(&[service.address], &rules).await;
        smuggle(nginx.address, &service, 30).await;
    }
}

#[tokio::test]
async fn the_documented_proxies_hand_on_a_websockets_upgrade_and_no_other() {
    let settings = Settings::embedded().with("TRUSTED_PROXIES", "127.0.0.0/8");
    let service = Service::start(settings).await;
    let nginx = Nginx::documented([service.address; 2]).await;
    let haproxy = HaProxy::documented([(service.address, service.admin_address); 2]).await;
    for address in [nginx.address, haproxy.address] {
        let (mut browser, key) = Browser::plain(address).await;
        assert_eq!(Phone::of(address, "alice").scan(&key).await.codes(), (200, 100));
        assert!(browser.text().await.len() > 100);
        let many = Handshake::good().with("Upgrade", &["h2c, websocket"]);
        let mut raw = Raw::connect(address).await;
        raw.send(&many.bytes()).await.unwrap();
        let status = head(&mut raw).await.status;
        assert!([400, 426].contains(&status), "{status}");
    }
}

#[tokio::test]
async fn the_documented_proxies_bound_the_connections_of_an_address() {
    const MOST: usize = 200;
    let settings = Settings::embedded().with("TRUSTED_PROXIES", "127.0.0.0/8");
    let service = Service::start(settings).await;
    let nginx = Nginx::documented([service.address; 2]).await;
    let mut open = Vec::new();
    for _ in 0..MOST {
        open.push(Browser::plain(nginx.address).await);
    }
    let mut raw = Raw::connect(nginx.address).await;
    raw.send(&Handshake::good().bytes()).await.unwrap();
    assert_eq!(head(&mut raw).await.status, 429, "one too many");
    drop(open);

    let haproxy = HaProxy::documented([(service.address, service.admin_address); 2]).await;
    let mut open = Vec::new();
    for _ in 0..MOST {
        open.push(Browser::plain(haproxy.address).await);
    }
    // The reset that it gets may come before the connection is known to be there.
    if let Ok(stream) = TcpStream::connect(haproxy.address).await {
        let mut raw = Raw(stream);
        let _ = raw.send(&Handshake::good().bytes()).await;
        assert_eq!(raw.rest(PATIENCE).await.expect("the end"), b"", "one too many");
    }
}

#[tokio::test]
async fn nobody_speaks_past_haproxy() {
    let settings = Settings::embedded().with("TRUSTED_PROXIES", "127.0.0.0/8");
    let service = Service::start(settings).await;
    let rules = ["option forwardfor", "http-request deny if { path /stream/poll }"];
    let haproxy = HaProxy::start(&[service.address], &rules).await;
    smuggle(haproxy.address, &service, 30).await;
}
