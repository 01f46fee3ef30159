//! What a request's head must be on both ports: `Host`, and HEAD where GET is answered.

use std::net::SocketAddr;

use reqwest::{Client, Method};
use scanlogin::{
    app::Options,
    clock::{Clock, Timestamp},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::helpers::{
    Browser, PATIENCE, Phone, Service, Settings,
    contract::document,
    events::{Events, poll},
    phone::{answer, now},
    raw::Raw,
};

/// All that comes in answer to these bytes.
async fn heard(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut raw = Raw::connect(address).await;
    raw.send(bytes).await.expect("it reads");
    raw.rest(PATIENCE).await.expect("the end")
}

/// Head and body of an answer.
fn parts(answer: &[u8]) -> (String, Vec<u8>) {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").expect("a whole head");
    (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer[end + 4..].to_vec())
}

fn assert_refused(answer: &[u8], what: &str) {
    let (head, body) = parts(answer);
    assert!(head.starts_with("http/1.1 400 "), "{what}: {head}");
    assert!(head.contains("connection: close"), "{what}: {head}");
    assert!(head.contains("content-type: application/json"), "{what}: {head}");
    let body: Value = serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(body["code"], -5, "{what}");
    assert!(body["msg"].as_str().expect("a text").contains("Host"), "{what}: {body}");
}

#[tokio::test]
async fn a_host_that_is_none_is_refused_with_a_body_on_both_ports() {
    // Listed origins: the names of a loopback listener are not what refuses here.
    let settings = Settings::embedded().with("ALLOWED_ORIGINS", "https://www.example.com");
    let service = Service::start(settings).await;
    let long = format!("Host: {}.example\r\n", "a".repeat(248));
    let with_port = format!("Host: {}:80\r\n", "a".repeat(253));
    let huge = format!("Host: {}\r\n", "a".repeat(15_000));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (address, paths) in [
        (service.address, &["/verify", "/ws", "/scanlogin.js", "/stream", "/nothing"][..]),
        (service.admin_address, &["/metrics", "/livez", "/readyz", "/revoke", "/nothing"]),
    ] {
        for path in paths {
            for host in [
                "",
                "Host:\r\n",
                "Host: \r\n",
                "Host: a.example\r\nHost: a.example\r\n",
                "Host: a.example\r\nhost: b.example\r\n",
                "Host: localhost:8080evil.example\r\n",
                "Host: localhost:8080@evil.example\r\n",
                "Host: user@localhost\r\n",
                "Host: localhost/..\r\n",
                "Host: localhost, evil.example\r\n",
                "Host: [::1\r\n",
                "Host: b\u{fc}cher.example\r\n",
                &long,
                &with_port,
                &huge,
            ] {
                // Behind the refusal nothing is answered.
                let next = "GET /verify HTTP/1.1\r\nHost: localhost\r\n\r\n";
                let request = format!("GET {path} HTTP/1.1\r\n{host}\r\n{next}");
                let what = format!("{path}: {:.40}", host.escape_debug().to_string());
                let answer = heard(address, request.as_bytes()).await;
                assert_refused(&answer, &what);
                assert_eq!(
                    answer.windows(9).filter(|part| *part == b"HTTP/1.1 ").count(),
                    1,
                    "{what}"
                );
            }
        }
    }
    let handshake = format!("GET /ws HTTP/1.1\r\n{huge}{upgrade}\r\n");
    assert_refused(&heard(service.address, handshake.as_bytes()).await, "a handshake");
    let handshake = format!("GET /ws HTTP/1.1\r\n{upgrade}\r\n");
    assert_refused(&heard(service.address, handshake.as_bytes()).await, "a handshake");
    assert_eq!(service.metric("scanlogin_store_seconds_count{operation=\"create\"}").await, 0.0);

    let host = format!("{}:80", "a".repeat(252));
    let good = format!("GET /verify HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let (head, _) = parts(&heard(service.address, good.as_bytes()).await);
    assert!(head.starts_with("http/1.1 401 "), "255 bytes are not too long: {head}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_a_body_also_behind_one_that_is() {
    let service = Service::start(Settings::embedded()).await;
    let good = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for address in [service.address, service.admin_address] {
        for bad in ["NO\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/3.0\r\nHost: x\r\n\r\n"] {
            assert_refused(&heard(address, bad.as_bytes()).await, bad);
            let both = heard(address, format!("{good}{bad}").as_bytes()).await;
            let text = String::from_utf8_lossy(&both);
            let (first, second) = text.split_at(text.rfind("HTTP/1.1 ").expect("an answer"));
            assert_eq!(first.matches("HTTP/1.1 ").count(), 1, "{text}");
            assert_refused(second.as_bytes(), bad);
        }
    }
}

#[tokio::test]
async fn http_1_0_may_do_without_a_host() {
    let settings = Settings::embedded().with("PUBLIC_URL", "https://login.example.com");
    let service = Service::start(settings).await;
    for (address, path, wanted) in [
        (service.address, "/openapi.json", "HTTP/1.0 200"),
        (service.address, "/verify", "HTTP/1.0 401"),
        (service.admin_address, "/readyz", "HTTP/1.0 200"),
        (service.admin_address, "/metrics", "HTTP/1.0 200"),
    ] {
        let answer = heard(address, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with(wanted), "{path}: {text}");
        let foreign = format!("GET {path} HTTP/1.0\r\nHost: rebound.example\r\n\r\n");
        let answer = heard(address, foreign.as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.0 403"), "{path}: one that it names is checked");
        let malformed = format!("GET {path} HTTP/1.0\r\nHost: localhost:1evil\r\n\r\n");
        let answer = heard(address, malformed.as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.0 400"), "{path}");
    }
}

/// Headers that say when and where an answer was made.
fn comparable(head: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = head.lines().filter(|line| !line.starts_with("date: ")).collect();
    lines[1..].sort_unstable();
    lines
}

/// That HEAD says of this path what GET says, and no body. `around`: further lines of the head.
async fn assert_head_is_get(address: SocketAddr, path: &str, around: &str) {
    let ask = async |method: &str| {
        let head = format!("Host: localhost\r\nConnection: close\r\n{around}");
        parts(&heard(address, format!("{method} {path} HTTP/1.1\r\n{head}\r\n").as_bytes()).await)
    };
    let ((get, body), (head, nothing)) = (ask("GET").await, ask("HEAD").await);
    assert_eq!(nothing, b"", "HEAD {path}");
    if path == "/metrics" {
        // Its figures move between the two.
        let known = |head: &str| {
            let lines = comparable(head).into_iter().map(str::to_owned);
            lines.filter(|line| !line.starts_with("content-length: ")).collect::<Vec<_>>()
        };
        assert_eq!(known(&head), known(&get), "{path}");
        return;
    }
    assert_eq!(comparable(&head), comparable(&get), "{path} {around:?}");
    if !get.starts_with("http/1.1 304") {
        assert!(!body.is_empty(), "{path}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{path}: {head}");
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body_wherever_get_only_reads() {
    let settings = Settings::embedded().with("DEMO", "unsafe");
    let service = Service::start(crate::app_links::with_apps(settings)).await;
    let phone = Phone::of(service.address, "alice");
    let (mut browser, key) = Browser::plain(service.address).await;
    let claim = phone.scan(&key).await.text("claim").to_owned();
    let web_token = browser.text().await;
    let app = format!("Authorization: Bearer {}\r\n", phone.token);
    let paths = document()["paths"].as_object().expect("paths").iter();
    let gets: Vec<&str> =
        paths.filter(|(_, methods)| !methods["get"].is_null()).map(|(path, _)| &path[..]).collect();
    assert!(gets.len() > 15, "{gets:?}");
    for path in gets.into_iter().filter(|path| *path != "/ws").chain(["/nothing"]) {
        for around in [
            String::new(),
            "Accept: text/html\r\n".into(),
            app.clone(),
            format!("Authorization: Bearer {web_token}\r\n"),
            format!("{app}Scanlogin-Claim: {claim}\r\n"),
            "Origin: http://localhost\r\n".into(),
            "Origin: https://evil.example\r\n".into(),
            "If-None-Match: *\r\n".into(),
            // Leaves actix-http's own way of writing answers.
            "Upgrade: websocket\r\n".into(),
        ] {
            assert_head_is_get(service.address, path, &around).await;
        }
    }
    for path in ["/metrics", "/livez", "/readyz", "/nothing"] {
        assert_head_is_get(service.admin_address, path, "").await;
    }
    assert_head_is_get(service.admin_address, "/livez", "Upgrade: websocket\r\n").await;
}

#[tokio::test]
async fn head_of_what_acts_is_refused_and_does_nothing() {
    let service = Service::start(Settings::embedded().with("DEMO", "unsafe")).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for path in ["/ws", "/ws?resume=1", "/stream", "/stream/poll", "/stream/message", "/scan"] {
        for around in ["Connection: close\r\n", upgrade] {
            let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n{around}\r\n");
            let (head, body) = parts(&heard(service.address, request.as_bytes()).await);
            assert!(head.starts_with("http/1.1 405 "), "{path} {around:?}: {head}");
            let allow = if path.starts_with("/ws") { "get" } else { "post" };
            assert!(head.lines().any(|line| line == format!("allow: {allow}")), "{path}: {head}");
            assert_eq!(body, b"", "{path} {around:?}: {}", body.escape_ascii());
        }
    }
    for path in ["/scan/confirm", "/scan/deny", "/logout", "/demo/app-token"] {
        let url = format!("http://{}{path}", service.address);
        let answer = Client::new().head(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 405, "{path}");
        assert_eq!(answer.headers()["allow"], "POST", "{path}");
    }
    assert_eq!(service.metric("scanlogin_store_seconds_count{operation=\"create\"}").await, 0.0);
    assert_eq!(service.metric("scanlogin_waiting_sockets").await, 0.0);
}

#[tokio::test]
async fn head_of_a_receipt_never_waits() {
    // Its clock stands still: a call that waits ends with the login and no sooner.
    let clock = Clock::manual(Timestamp::from_micros(now() * 1_000_000));
    let options = Options { clock, ..Options::default() };
    let settings = Settings::embedded().with("CONFIRM", "required");
    let service = Service::with_options(settings, options).await;
    let phone = Phone::of(service.address, "alice");
    let (_browser, key) = Browser::json(service.address).await;
    let scanned = phone.scan(key["key"].as_str().expect("a key")).await;
    let ask = |method: Method, wait: &str| {
        let request = phone.request(method, &format!("/scan/outcome?wait={wait}"));
        answer(request.header("Scanlogin-Claim", scanned.text("claim")))
    };
    for _ in 0..5 {
        let head = timeout(PATIENCE, ask(Method::HEAD, "10")).await.expect("it does not wait");
        assert_eq!((head.status, head.body), (200, Value::Null));
    }
    assert_eq!(ask(Method::HEAD, "x").await.status, 400, "what GET refuses");
    let deny = json!({ "claim": scanned.text("claim") });
    let (get, denied) =
        tokio::join!(ask(Method::GET, "10"), async { phone.post("/scan/deny", &deny).await });
    assert_eq!((denied.codes(), get.text("state")), ((200, 100), "denied"));
}

#[tokio::test]
async fn pages_of_apps_and_extensions_log_in_where_they_are_listed() {
    let listed = [
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "app://Bundle.1",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "moz-extension://1b9e0e6c-4b8e-4d51-a0c5-1f2d3c4b5a69",
    ];
    let settings = Settings::embedded().with("ALLOWED_ORIGINS", &listed.join(","));
    let service = Service::start(settings).await;
    let open = async |origin: &str| {
        let protocol = Some("scanlogin.v1");
        match Browser::open(service.address, "", protocol, &[("Origin", origin)]).await {
            Ok(_) => 101,
            Err(refused) => refused.status,
        }
    };
    let post = |path: &str, origin: &str| {
        let request = Client::new().post(format!("http://{}{path}", service.address));
        answer(request.header("Origin", origin).json(&json!({ "resume": "x" })))
    };
    let preflight = async |origin: &str| {
        let request = Client::new()
            .request(Method::OPTIONS, format!("http://{}/scan", service.address))
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization");
        request.send().await.expect("an answer")
    };
    for origin in listed {
        assert_eq!(open(origin).await, 101, "{origin}");
        assert_eq!(post("/stream/poll", origin).await.status, 200, "{origin}");
        let scan = post("/scan", origin).await;
        assert_eq!(scan.codes(), (401, -2), "{origin}");
        assert_eq!(scan.header("access-control-allow-origin"), origin);
        let answer = preflight(origin).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["access-control-allow-origin"]),
            (200, &origin.parse().expect("a header"))
        );
    }
    for origin in [
        "capacitor://localhost:80",
        "capacitor://LOCALHOST",
        "capacitor://localhost/",
        "capacitor:localhost",
        "Capacitor://localhost",
        "app://bundle.1",
        "ionic://evil",
        "chrome-extension://bbcdefghijklmnopabcdefghijklmnop",
        "moz-extension://1B9E0E6C-4b8e-4d51-a0c5-1f2d3c4b5a69",
        "http://localhost",
        "null",
    ] {
        assert_eq!(open(origin).await, 403, "{origin}");
        for path in ["/stream", "/stream/poll", "/stream/message", "/scan"] {
            assert_eq!(post(path, origin).await.codes(), (403, -7), "{path} {origin}");
        }
        assert_eq!(preflight(origin).await.status(), 400, "{origin}");
    }
}

#[tokio::test]
async fn an_origin_longer_than_any_is_none_even_where_any_may_come() {
    let service = Service::start(Settings::embedded().with("ALLOWED_ORIGINS", "*")).await;
    for (length, open, scan) in [(320, 101, 401), (321, 403, 403), (14_000, 403, 403)] {
        let origin = format!("https://{}", "a".repeat(length - 8));
        let headers = [("Origin", &origin[..])];
        let opened = Browser::open(service.address, "", Some("scanlogin.v1"), &headers).await;
        assert_eq!(opened.map_or_else(|refused| refused.status, |_| 101), open, "{length}");
        for (path, wanted) in [("/scan", scan), ("/stream", if open == 101 { 200 } else { 403 })] {
            let request = Client::new().post(format!("http://{}{path}", service.address));
            let request = request.header("Origin", &origin).json(&json!({}));
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), wanted, "{path} {length}");
            let cors = answer.headers().contains_key("access-control-allow-origin");
            assert_eq!(cors, open == 101, "{path} {length}");
        }
    }
}

#[tokio::test]
async fn a_page_that_traces_may_call() {
    let service = Service::start(Settings::embedded()).await;
    let preflight = async |path: &str, method: &str, headers: &str| {
        let request = Client::new()
            .request(Method::OPTIONS, format!("http://{}{path}", service.address))
            .header("Origin", format!("http://{}", service.address))
            .header("Access-Control-Request-Method", method)
            .header("Access-Control-Request-Headers", headers);
        request.send().await.expect("an answer")
    };
    let added = "authorization,content-type,scanlogin-claim,traceparent,tracestate,baggage,\
                 sentry-trace,x-requested-with";
    for (path, method) in [
        ("/stream", "POST"),
        ("/stream/poll", "POST"),
        ("/stream/message", "POST"),
        ("/scan", "POST"),
        ("/scan/outcome", "GET"),
        ("/scan/outcome", "HEAD"),
        ("/weblogin", "DELETE"),
        ("/verify", "HEAD"),
        ("/logout", "POST"),
    ] {
        let answer = preflight(path, method, added).await;
        assert_eq!(answer.status(), 200, "{method} {path}");
        let allowed = answer.headers()["access-control-allow-headers"].to_str().expect("a text");
        let allowed = allowed.to_ascii_lowercase();
        for name in added.split(',') {
            assert!(allowed.split(", ").any(|one| one == name), "{name} is not in {allowed}");
        }
        assert_eq!(preflight(path, method, "x-other").await.status(), 400, "{method} {path}");
    }
    // And so it does.
    let headers = [("Origin", &format!("http://{}", service.address)[..])];
    assert!(Browser::open(service.address, "", None, &headers).await.is_ok());
    let (_events, _) = Events::new(service.address).await;
    poll(service.address, &json!({})).await;
}
