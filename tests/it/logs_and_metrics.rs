//! What the service shows of itself, and what it must not show.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::helpers::{
    Browser, Closed, Phone, Process, RedisServer, Service, Settings, both,
    phone::{logout, verify},
    recording::Recording,
};

/// The names of the contract's section 7 that exist so far, with a label where they have one.
const NAMES: &[&str] = &[
    "scanlogin_waiting_sockets",
    "scanlogin_sockets_opened_total{protocol=\"plain\"}",
    "scanlogin_sockets_opened_total{protocol=\"json\"}",
    "scanlogin_sockets_refused_total{reason=\"origin\"}",
    "scanlogin_sockets_refused_total{reason=\"full\"}",
    "scanlogin_sockets_refused_total{reason=\"store\"}",
    "scanlogin_logins_total{outcome=\"delivered\"}",
    "scanlogin_logins_total{outcome=\"undelivered\"}",
    "scanlogin_logins_total{outcome=\"denied\"}",
    "scanlogin_logins_total{outcome=\"expired\"}",
    "scanlogin_logins_total{outcome=\"cancelled\"}",
    "scanlogin_logins_total{outcome=\"failed\"}",
    "scanlogin_scans_total{result=\"approved\"}",
    "scanlogin_scans_total{result=\"unknown\"}",
    "scanlogin_open_to_key_seconds_count",
    "scanlogin_scan_to_push_seconds_count",
    "scanlogin_wait_seconds_count",
    "scanlogin_resumes_total{result=\"resumed\"}",
    "scanlogin_notifications_total{result=\"delivered\"}",
    "scanlogin_feed_resyncs_total{reason=\"reconnected\"}",
    "scanlogin_feed_probe_seconds_count",
    "scanlogin_feed_rescued_total",
    "scanlogin_store_seconds_count{operation=\"create\"}",
    "scanlogin_store_errors_total{kind=\"io\",operation=\"create\"}",
    "scanlogin_registry_mailbox",
    "scanlogin_http_requests_total{route=\"/scan\",status=\"200\"}",
    "scanlogin_http_request_seconds_count{route=\"/scan\"}",
    "scanlogin_draining",
];

async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("http://{address}{path}")).await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a text"))
}

#[tokio::test]
async fn every_series_is_there_at_zero_before_anything_has_happened() {
    let service = Service::start(Settings::embedded()).await;
    for series in NAMES {
        assert_eq!(service.metric(series).await, 0.0, "{series}");
    }
    let (status, text) = get(service.admin_address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("scanlogin_build_info{version="));
    assert!(text.contains("process_resident_memory_bytes"));
    for line in text.lines().filter(|line| line.starts_with("# HELP")) {
        assert!(line.split(' ').count() > 4, "says something: {line}");
    }
}

#[tokio::test]
async fn logins_are_counted_and_no_series_comes_or_goes_with_them() {
    for (service, redis) in both(|settings| settings).await {
        let series = async || -> BTreeSet<String> {
            let (_, text) = get(service.admin_address, "/metrics").await;
            let names = text.lines().filter(|line| !line.starts_with('#'));
            names.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
        };
        let before = series().await;
        let phone = Phone::of(service.address, "alice");
        let (mut browser, key) = Browser::plain(service.address).await;
        assert_eq!(service.metric("scanlogin_waiting_sockets").await, 1.0);
        let scanned = phone.scan(&key).await;
        browser.text().await;
        browser.closed().await;
        phone.outcome(scanned.text("claim"), 10).await;
        phone.scan("x").await;
        for (name, value) in [
            ("scanlogin_sockets_opened_total{protocol=\"plain\"}", 1.0),
            ("scanlogin_scans_total{result=\"approved\"}", 1.0),
            ("scanlogin_scans_total{result=\"unknown\"}", 1.0),
            ("scanlogin_open_to_key_seconds_count", 1.0),
            ("scanlogin_scan_to_push_seconds_count", 1.0),
            ("scanlogin_http_requests_total{route=\"/ws\",status=\"101\"}", 1.0),
            ("scanlogin_http_requests_total{route=\"/scan\",status=\"404\"}", 1.0),
            ("scanlogin_store_seconds_count{operation=\"create\"}", 1.0),
        ] {
            assert_eq!(service.metric(name).await, value, "{name}");
        }
        crate::helpers::eventually("the end is counted, once", || async {
            let delivered = service.metric("scanlogin_logins_total{outcome=\"delivered\"}").await;
            let waited = service.metric("scanlogin_wait_seconds_count").await;
            let sockets = service.metric("scanlogin_waiting_sockets").await;
            ((delivered, waited, sockets) == (1.0, 1.0, 0.0)).then_some(())
        })
        .await;
        assert_eq!(service.metric("scanlogin_registry_mailbox").await, 0.0);
        assert_eq!(series().await, before, "closed sets of labels");
        if let Some(redis) = redis {
            let node = format!("scanlogin_feed_connected{{node=\"127.0.0.1:{}\"}}", redis.port);
            assert_eq!(service.metric(&node).await, 1.0);
        }
    }
}

#[tokio::test]
async fn health_and_metrics_are_on_the_admin_port_only() {
    let service = Service::start(Settings::embedded()).await;
    for (path, starts) in [("/livez", "alive"), ("/readyz", "ready"), ("/metrics", "# HELP")] {
        let (status, text) = get(service.admin_address, path).await;
        assert_eq!((status, text.starts_with(starts)), (200, true), "{path}: {text}");
        assert_eq!(get(service.address, path).await.0, 404, "{path}");
    }
    for path in ["/ws", "/scan", "/verify", "/"] {
        assert_eq!(get(service.admin_address, path).await.0, 404, "{path}");
    }
}

/// Everything of one login that must be seen nowhere.
#[derive(Default)]
struct Secrets {
    texts: Vec<(&'static str, String)>,
    bytes: Vec<(&'static str, Vec<u8>)>,
}

impl Secrets {
    /// A text that holds the login's id (which is no secret) and a secret.
    fn add(&mut self, what: &'static str, text: &str) {
        let bytes = URL_SAFE_NO_PAD.decode(text).expect("base64url");
        self.bytes.push((what, bytes[16..].to_vec()));
        self.texts.push((what, text.to_owned()));
        // The secret half, wherever it may have been cut out: the id is 16 bytes, 21 1/3 characters.
        self.texts.push((what, text[22..].to_owned()));
        let hex = bytes[16..].iter().map(|byte| format!("{byte:02x}")).collect();
        self.texts.push((what, hex));
        self.texts.push((what, format!("{:?}", &bytes[16..]).trim_matches(['[', ']']).to_owned()));
    }

    fn add_text(&mut self, what: &'static str, text: &str) {
        self.bytes.push((what, text.as_bytes().to_vec()));
        self.texts.push((what, text.to_owned()));
    }

    fn assert_absent(&self, place: &str, text: &str) {
        for (what, secret) in &self.texts {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{what} in {place}: {}", line.unwrap_or_default());
        }
    }

    fn assert_not_within(&self, place: &str, bytes: &[u8]) {
        for (what, secret) in &self.bytes {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{what} in {place}");
        }
    }
}

/// All that lies in Redis, names and values.
async fn everything(redis: &RedisServer) -> Vec<u8> {
    let mut all = Vec::new();
    let keys: Vec<Vec<u8>> = redis.command(&["KEYS", "*"]).await;
    for key in keys {
        let name = String::from_utf8(key).expect("our names are ASCII");
        let value: Option<Vec<u8>> = redis.command(&["GET", &name]).await;
        let dumped: Option<Vec<u8>> = redis.command(&["DUMP", &name]).await;
        all.extend_from_slice(name.as_bytes());
        all.extend(value.unwrap_or_default());
        all.extend(dumped.unwrap_or_default());
    }
    all
}

/// MONITOR shows bytes that are not printable as `\xNN` and a few others.
fn unescaped(line: &str) -> Vec<u8> {
    let (mut out, mut bytes) = (Vec::new(), line.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'x') => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let digits = str::from_utf8(&digits).expect("ASCII");
                out.push(u8::from_str_radix(digits, 16).expect("two digits"));
            }
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'a') => out.push(7),
            Some(b'b') => out.push(8),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[tokio::test]
async fn nothing_usable_is_in_the_log_the_metrics_or_redis() {
    for confirm in ["off", "required"] {
        let redis = RedisServer::start().await;
        let recording = Recording::start(&redis).await;
        let settings = Settings::redis(&redis).with("LOG", "trace").with("CONFIRM", confirm);
        let process = Process::start(settings).await;
        let (mut secrets, mut seen) = (Secrets::default(), Vec::new());
        let phone = Phone::of(process.address, "alice");
        let text = |message: &Value, field: &str| message[field].as_str().unwrap().to_owned();

        let (browser, key) = Browser::json(process.address).await;
        secrets.add("a key", &text(&key, "key"));
        secrets.add("a resume secret", &text(&key, "resume"));
        seen.extend(everything(&redis).await);
        drop(browser);
        let mut browser = Browser::resume(process.address, &text(&key, "resume")).await;
        browser.message().await;
        let scanned = phone.scan(&text(&key, "url")).await;
        let claim = scanned.text("claim");
        secrets.add("a claim", claim);
        seen.extend(everything(&redis).await);
        if confirm == "required" {
            assert_eq!(scanned.codes(), (200, 101));
            phone.post("/scan/confirm", &json!({ "claim": claim })).await;
        }
        seen.extend(everything(&redis).await);
        let token = text(&browser.message_of("token").await, "token");
        secrets.add_text("a web token", &token);
        // An app token is no secret of ours, and no business of anybody who reads our log.
        secrets.add_text("an app token", &phone.token);
        browser.say(&json!({ "type": "received" })).await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        assert_eq!(phone.outcome(claim, 10).await.text("state"), "delivered");
        assert_eq!(verify(process.address, &token).await.status, 200);
        seen.extend(everything(&redis).await);
        logout(process.address, &token).await;

        let (mut plain, key) = Browser::plain(process.address).await;
        secrets.add("a key", &key);
        let scanned = phone.scan(&key).await;
        secrets.add("a claim", scanned.text("claim"));
        if confirm == "required" {
            let body = json!({ "claim": scanned.text("claim") });
            phone.post("/scan/confirm", &body).await;
        }
        secrets.add_text("a web token", &plain.text().await);
        plain.closed().await;
        // Malformed ones are not repeated either.
        let almost = format!("{key}A");
        phone.scan(&almost).await;
        secrets.add_text("a malformed key", &almost);

        secrets.assert_not_within("a record", &seen);
        secrets.assert_absent("a name or record", &String::from_utf8_lossy(&seen));
        let lines = recording.lines(&redis).await;
        assert!(lines.iter().any(|line| line.contains("EVALSHA")), "it has recorded");
        for line in &lines {
            secrets.assert_not_within(&format!("MONITOR: {line}"), &unescaped(line));
        }
        let (_, metrics) = get(process.admin_address, "/metrics").await;
        secrets.assert_absent("/metrics", &metrics);
        assert!(!metrics.contains("alice"), "no user is a label");
        let log = process.log();
        assert!(log.contains("\"TRACE\""), "it logs everything");
        assert!(log.contains("login ended"));
        secrets.assert_absent("the log", &log);
    }
}
