//! What clients may do to the service, and that nobody else notices.

use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::json;

use crate::helpers::{
    Browser, Closed, Phone, Process, Service, Settings, eventually,
    phone::{Answer, answer, app_token, logout, now, verify},
    raw::{Raw, close_code, frame, text_frame},
    service::APP_SECRET,
};

/// Larger than anything that a limit would let through, smaller than what abuse would take.
const MEMORY: u64 = 24 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

/// A whole login: what everybody else can still do.
async fn log_in(address: std::net::SocketAddr) {
    let (mut browser, key) = Browser::plain(address).await;
    assert_eq!(Phone::of(address, "bystander").scan(&key).await.codes(), (200, 100));
    assert!(browser.text().await.len() > 100);
    assert_eq!(browser.closed().await, Closed::Code(1000));
}

#[tokio::test]
async fn a_frame_that_declares_too_much_is_refused_before_a_byte_of_it_is_kept() {
    let process = Process::start(Settings::embedded()).await;
    log_in(process.address).await;
    let before = process.memory();
    let mut others = Vec::new();
    for _ in 0..20 {
        for (protocol, declared) in
            [(None, 8 << 30), (Some("scanlogin.v1"), 8 << 30), (None, 4097), (None, u64::MAX)]
        {
            let mut raw = Raw::upgraded(process.address, protocol).await;
            // Some of it comes, and there could be more.
            let sent = raw.send(&frame(0x81, declared, &[0; 1000])).await;
            assert!(sent.is_ok());
            others.push((raw, protocol));
        }
    }
    for (raw, protocol) in &mut others {
        let heard = raw.rest(PATIENCE).await.expect("it is closed");
        assert_eq!(close_code(&heard), Some(1009), "{protocol:?}");
    }
    assert!(process.memory() < before + MEMORY);
    let mut raw = Raw::upgraded(process.address, None).await;
    raw.send(&text_frame(&"x".repeat(4096))).await.unwrap();
    assert_eq!(raw.rest(Duration::from_millis(300)).await, None, "as much as is allowed");
    log_in(process.address).await;
}

#[tokio::test]
async fn fragments_do_not_add_up_to_more_than_one_frame_may_be() {
    let service = Service::start(Settings::embedded()).await;
    let mut raw = Raw::upgraded(service.address, Some("scanlogin.v1")).await;
    let part = [b' '; 1500];
    for first in [0x01, 0x00, 0x00] {
        raw.send(&frame(first, 1500, &part)).await.unwrap();
    }
    assert_eq!(close_code(&raw.rest(PATIENCE).await.unwrap()), Some(1009));
    // A message in parts is a message.
    let mut raw = Raw::upgraded(service.address, Some("scanlogin.v1")).await;
    for (first, text) in [(0x01, r#"{"type""#), (0x80, r#":"cancel"}"#)] {
        raw.send(&frame(first, text.len() as u64, text.as_bytes())).await.unwrap();
    }
    raw.send(&frame(0x88, 2, &1000_u16.to_be_bytes())).await.unwrap();
    assert_eq!(close_code(&raw.rest(PATIENCE).await.unwrap()), Some(1000));
}

#[tokio::test]
async fn a_megabyte_of_messages_is_cut_after_a_hundred() {
    let process = Process::start(Settings::embedded()).await;
    log_in(process.address).await;
    let before = process.memory();
    let flood = text_frame(r#"{"type":"flood"}"#).repeat(1024 * 1024 / 22);
    for (protocol, code) in [(None, 1008), (Some("scanlogin.v1"), 4003)] {
        let mut raw = Raw::upgraded(process.address, protocol).await;
        // The connection may be gone before all of it is out.
        let (sent, ()) = tokio::join!(raw.send(&flood), log_in(process.address));
        if sent.is_ok() {
            let heard = raw.rest(PATIENCE).await.expect("it is closed");
            assert_eq!(close_code(&heard), Some(code));
        }
        // A hundred in a minute are allowed.
        let mut raw = Raw::upgraded(process.address, protocol).await;
        raw.send(&text_frame(r#"{"type":"flood"}"#).repeat(100)).await.unwrap();
        assert_eq!(raw.rest(Duration::from_millis(300)).await, None);
        raw.send(&text_frame(r#"{"type":"flood"}"#)).await.unwrap();
        let heard = raw.rest(PATIENCE).await.expect("the next one is too many");
        assert_eq!(close_code(&heard), Some(code));
    }
    assert!(process.memory() < before + MEMORY);
}

#[tokio::test]
async fn clients_that_never_read_cost_nothing_but_their_own_login() {
    let process = Process::start(Settings::embedded().with("RESUME_SECONDS", "3")).await;
    log_in(process.address).await;
    let before = process.memory();
    let mut silent = Vec::new();
    for _ in 0..50 {
        let mut raw = Raw::upgraded(process.address, None).await;
        // Ninety pongs are owed to each, and nobody takes them.
        raw.send(&frame(0x89, 125, &[7; 125]).repeat(90)).await.unwrap();
        silent.push(raw);
    }
    log_in(process.address).await;
    assert!(process.memory() < before + MEMORY);
    // One whose phone scans gets its token and as long as that can be collected, like any other.
    let mut raw = Raw::upgraded(process.address, None).await;
    let mut key = [0; 45];
    tokio::io::AsyncReadExt::read_exact(&mut raw.0, &mut key).await.unwrap();
    let key = str::from_utf8(&key[2..]).unwrap();
    let scanned = Phone::of(process.address, "alice").scan(key).await;
    assert_eq!(scanned.codes(), (200, 100));
    let phone = Phone::of(process.address, "alice");
    let state = phone.outcome(scanned.text("claim"), 10).await;
    assert_eq!(state.body["state"], "undelivered", "it never answered our Close");
}

#[tokio::test]
async fn half_a_handshake_and_a_silent_connection_end_within_their_time() {
    let service = Service::start(Settings::embedded()).await;
    let started = Instant::now();
    let mut halves = Vec::new();
    for head in ["", "GET /ws HT", "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"] {
        let mut raw = Raw::connect(service.address).await;
        raw.send(head.as_bytes()).await.unwrap();
        halves.push((raw, head));
    }
    log_in(service.address).await;
    // 5 s for a head, 10 s for silence, and what a busy machine adds.
    for (raw, head) in halves.iter_mut().rev() {
        let most = Duration::from_secs(if head.is_empty() { 14 } else { 9 });
        let left = most.saturating_sub(started.elapsed());
        assert!(raw.rest(left).await.is_some(), "still open after {most:?}: {head:?}");
    }
    let mut slow = Raw::connect(service.address).await;
    slow.send(b"POST /scan HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\n{")
        .await
        .unwrap();
    let answered = slow.rest(Duration::from_secs(13)).await.expect("it does not wait for ever");
    assert!(answered.starts_with(b"HTTP/1.1 401"), "an unknown phone's body is not waited for");
}

#[tokio::test]
async fn past_the_most_waiting_sockets_a_browser_is_refused_before_the_upgrade() {
    let service = Service::start(Settings::embedded().with("MAX_WAITING", "2")).await;
    let (first, _) = Browser::plain(service.address).await;
    let (_second, _) = Browser::json(service.address).await;
    for protocol in [None, Some("scanlogin.v1")] {
        let refused = Browser::open(service.address, "", protocol, &[]).await;
        let refused = refused.err().expect("refused");
        assert_eq!((refused.status, &refused.body["code"]), (503, &json!(-6)));
        assert!(refused.headers.iter().any(|(name, value)| {
            name == "retry-after" && value.parse::<u32>().is_ok_and(|seconds| seconds > 0)
        }));
    }
    assert_eq!(service.metric("scanlogin_sockets_refused_total{reason=\"full\"}").await, 2.0);
    assert_eq!(service.metric("scanlogin_waiting_sockets").await, 2.0);
    first.leave(1000).await;
    eventually("a place is free again", || async {
        Browser::open(service.address, "", None, &[]).await.ok()
    })
    .await;
}

#[tokio::test]
async fn one_address_may_open_so_many_logins_a_minute_and_resume_ten_times_as_often() {
    let service = Service::start(Settings::embedded().with("CONNECTS_PER_MINUTE", "2")).await;
    let (_first, key) = Browser::json(service.address).await;
    let (_second, _) = Browser::plain(service.address).await;
    let refused = Browser::open(service.address, "", None, &[]).await.err().expect("refused");
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!(-4)));
    let wait = refused.headers.iter().find(|(name, _)| name == "retry-after").expect("a time");
    assert!((1..=60).contains(&wait.1.parse::<u32>().unwrap()), "{wait:?}");
    // The header of a proxy that nobody has named does not make another client of it.
    let forwarded = [("X-Forwarded-For", "203.0.113.9")];
    let refused = Browser::open(service.address, "", None, &forwarded).await;
    assert_eq!(refused.err().expect("refused").status, 429);
    for _ in 0..10 {
        let mut again = Browser::resume(service.address, key["resume"].as_str().unwrap()).await;
        assert_eq!(again.message().await["type"], "key");
    }
    let settings = Settings::embedded().with("CONNECTS_PER_MINUTE", "1");
    let service = Service::start(settings.with("TRUSTED_PROXIES", "127.0.0.0/8")).await;
    for client in ["203.0.113.9", "203.0.113.10", "2001:db8::1"] {
        let forwarded = [("X-Forwarded-For", client)];
        Browser::open(service.address, "", None, &forwarded).await.expect("a client of its own");
    }
    let neighbour = [("X-Forwarded-For", "2001:db8::2")];
    let refused = Browser::open(service.address, "", None, &neighbour).await;
    assert_eq!(refused.err().expect("one network, one client").status, 429);
}

#[tokio::test]
async fn one_user_may_call_so_often_a_minute_and_others_are_not_held_back() {
    let service = Service::start(Settings::embedded().with("SCANS_PER_MINUTE", "3")).await;
    let alice = Phone::of(service.address, "alice");
    let claim = json!({ "claim": "A".repeat(64) });
    assert_eq!(alice.scan("x").await.codes(), (404, -1));
    assert_eq!(alice.post("/scan/confirm", &claim).await.codes(), (404, -1));
    assert_eq!(alice.post("/scan/deny", &claim).await.codes(), (404, -1));
    for path in ["/scan", "/scan/confirm", "/scan/deny"] {
        let limited = alice.post(path, &json!({ "key": "x", "claim": "x" })).await;
        assert_eq!(limited.codes(), (429, -4), "{path}");
        assert!((1..=60).contains(&limited.header("retry-after").parse::<u32>().unwrap()));
    }
    let limited = "scanlogin_scans_total{result=\"limited\"}";
    assert_eq!(service.metric(limited).await, 3.0);
    log_in(service.address).await;
}

/// A call of each endpoint that takes a token, with this one, as this client of a proxy's.
async fn with_token(service: &Service, token: Option<&str>, client: &str) -> Vec<Answer> {
    const CALLS: [(Method, &str); 8] = [
        (Method::POST, "/scan"),
        (Method::POST, "/scan/confirm"),
        (Method::POST, "/scan/deny"),
        (Method::GET, "/scan/outcome"),
        (Method::GET, "/weblogin"),
        (Method::DELETE, "/weblogin"),
        (Method::GET, "/verify"),
        (Method::POST, "/logout"),
    ];
    let mut answers = Vec::new();
    for (method, path) in CALLS {
        let url = format!("http://{}{path}", service.address);
        let mut request = Client::new().request(method, url).header("X-Forwarded-For", client);
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        answers.push(answer(request).await);
    }
    answers
}

#[tokio::test]
async fn a_forger_is_refused_by_its_address_whatever_it_calls_and_nobody_else_is() {
    let settings = Settings::embedded().with("TRUSTED_PROXIES", "127.0.0.0/8");
    let service = Service::start(settings.with("BAD_TOKENS_PER_MINUTE", "16")).await;
    let (forger, neighbour, other) = ("2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1");
    let forged = app_token(&json!({ "sub": "alice", "exp": now() + 600 }), &"x".repeat(32));
    let mut codes = Vec::new();
    for token in [&format!("Bearer {forged}")[..], "Bearer x", "Bearer a.b.c"] {
        for refused in with_token(&service, Some(token), forger).await {
            codes.push(refused.codes());
            if refused.status == 429 {
                assert!((1..=60).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
            }
        }
    }
    // One comes back each 3.75 s.
    let allowed = codes.iter().filter(|codes| **codes == (401, -2)).count();
    assert_eq!(codes[..16], [(401, -2); 16]);
    assert!(allowed < codes.len(), "{codes:?}");
    assert!(codes.iter().all(|codes| [(401, -2), (429, -4)].contains(codes)), "{codes:?}");
    let answers = with_token(&service, Some("Bearer a.b.c"), neighbour).await;
    assert!(answers.iter().any(|answer| answer.codes() == (429, -4)), "one network, one client");
    for answer in with_token(&service, Some("Bearer a.b.c"), other).await {
        assert_eq!(answer.codes(), (401, -2), "another network");
    }
    // Beside the forger: no token, one that is over, and a good one.
    let over = app_token(&json!({ "sub": "alice", "exp": now() - 600 }), APP_SECRET);
    let later =
        app_token(&json!({ "sub": "alice", "exp": now() + 900, "nbf": now() + 600 }), APP_SECRET);
    for round in 0..3 {
        for token in [None, Some(&over), Some(&later)] {
            let token = token.map(|token| format!("Bearer {token}"));
            // Where web tokens are judged, the app's are forged ones.
            let answers = with_token(&service, token.as_deref(), forger).await;
            for answer in answers.iter().take(if token.is_some() { 6 } else { 8 }) {
                assert_eq!(answer.codes(), (401, -2), "round {round}: {token:?}");
            }
        }
        let good = app_token(&json!({ "sub": "alice", "exp": now() + 600 }), APP_SECRET);
        let answers = with_token(&service, Some(&format!("Bearer {good}")), forger).await;
        assert!(answers.iter().take(6).all(|answer| ![401, 429].contains(&answer.status)));
    }
}

#[tokio::test]
async fn good_web_tokens_never_count_and_those_that_are_over_get_their_answer() {
    const CALLS: usize = 5_000;
    const AT_ONCE: usize = 25;
    let service = Service::start(Settings::embedded().without("BAD_TOKENS_PER_MINUTE")).await;
    let token = async |user: &str| {
        let (mut browser, key) = Browser::plain(service.address).await;
        assert_eq!(Phone::of(service.address, user).scan(&key).await.codes(), (200, 100));
        let token = browser.text().await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        token
    };
    let (good, ended) = (token("alice").await, token("bob").await);
    assert_eq!(logout(service.address, &ended).await.codes(), (200, 100));
    let url = format!("http://{}/verify", service.address);
    // A forger at the same address, as fast as it gets answers.
    let forging = async {
        let (mut calls, mut refused, http) = (0, 0, Client::new());
        while refused < 50 {
            calls += 1;
            assert!(calls < 20_000, "refused {refused} times");
            let answer = http.get(&url).bearer_auth("a.b.c").send().await.unwrap();
            match answer.status().as_u16() {
                401 => {}
                429 => refused += 1,
                other => panic!("{other}"),
            }
        }
    };
    let asking = futures_util::future::join_all((0..AT_ONCE).map(|_| async {
        let http = Client::new();
        for _ in 0..CALLS / AT_ONCE {
            let answer = http.get(&url).bearer_auth(&good).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
    }));
    let ((), _) = tokio::join!(forging, asking);
    // More than the limit of those whose users have logged out: a backend has to hear it.
    for _ in 0..700 {
        let answer = Client::new().get(&url).bearer_auth(&ended).send().await.unwrap();
        assert_eq!(answer.status(), 401);
    }
    assert_eq!(verify(service.address, &good).await.codes(), (200, 100));
}

#[tokio::test]
async fn heads_have_a_size() {
    let service = Service::start(Settings::embedded()).await;
    let phone = Phone::of(service.address, "alice");
    for (size, wanted) in [(15 * 1024, (404, -1)), (17 * 1024, (431, -5))] {
        let request = phone.request(Method::POST, "/scan").header("X", "y".repeat(size));
        let answer = answer(request.json(&json!({ "key": "x" }))).await;
        assert_eq!(answer.codes(), wanted, "{size}");
    }
    let long = format!("?x={}", "y".repeat(17 * 1024));
    let refused = Browser::open(service.address, &long, None, &[]).await.err().expect("refused");
    assert_eq!((refused.status, &refused.body["code"]), (431, &json!(-5)));
    for route in ["/ws", "/scan"] {
        let counted = format!("scanlogin_http_requests_total{{route=\"{route}\",status=\"431\"}}");
        assert_eq!(service.metric(&counted).await, 1.0, "{route}");
    }
    assert_eq!(service.metric("scanlogin_store_seconds_count{operation=\"create\"}").await, 0.0);
}

#[tokio::test]
async fn who_breaks_a_rule_on_a_socket_is_counted() {
    let service = Service::start(Settings::embedded()).await;
    let flood = text_frame(r#"{"type":"flood"}"#).repeat(150);
    for (reason, bytes, code) in [
        ("flood", flood, 4003),
        ("too_big", frame(0x81, 4097, &[0; 100]), 1009),
        ("malformed", text_frame("[]"), 4003),
    ] {
        let mut raw = Raw::upgraded(service.address, Some("scanlogin.v1")).await;
        raw.send(&bytes).await.unwrap();
        assert_eq!(close_code(&raw.rest(PATIENCE).await.unwrap()), Some(code), "{reason}");
        let series = format!("scanlogin_sockets_cut_total{{reason=\"{reason}\"}}");
        assert_eq!(service.metric(&series).await, 1.0, "{reason}");
    }
}

#[tokio::test]
async fn bodies_have_a_size_and_a_type() {
    let service = Service::start(Settings::embedded()).await;
    let phone = Phone::of(service.address, "alice");
    let large = phone.post("/scan", &json!({ "key": "x", "more": "y".repeat(8 * 1024) })).await;
    assert_eq!(large.codes(), (413, -5));
    let fits = phone.post("/scan", &json!({ "key": "x", "more": "y".repeat(8 * 1024 - 30) })).await;
    assert_eq!(fits.codes(), (404, -1));
    let endless = phone.request(Method::POST, "/scan");
    let endless = endless.header("Content-Type", "application/json").body("[".repeat(1 << 20));
    // Refused before all of it is there: the connection may break under who goes on sending.
    if let Ok(answer) = endless.send().await {
        assert_eq!(answer.status(), 413);
    }
    for kind in ["text/plain", "multipart/form-data; boundary=x", "application/jsonx", ""] {
        let request = phone.request(Method::POST, "/scan").header("Content-Type", kind);
        let answer = answer(request.body(r#"{"key":"x"}"#)).await;
        assert_eq!(answer.codes(), (415, -5), "{kind}");
    }
}
