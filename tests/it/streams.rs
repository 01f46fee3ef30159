//! Where WebSockets are blocked: the same login over an event stream, over polls, and across all.

use std::collections::HashMap;

use reqwest::Client;
use serde_json::{Value, json};

use crate::helpers::{
    Browser, Closed, Phone, RedisServer, Service, Settings,
    events::{Events, poll, tell},
    eventually,
    phone::{answer, verify},
};

fn text<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap_or_else(|| panic!("no {field} in {message}"))
}

fn logins(outcome: &str) -> String {
    format!("scanlogin_logins_total{{outcome=\"{outcome}\"}}")
}

async fn counts(services: &[&Service], outcome: &str, expected: f64) {
    let series = logins(outcome);
    eventually("it is counted once", || async {
        let mut sum = 0.0;
        for service in services {
            sum += service.metric(&series).await;
        }
        assert!(sum <= expected, "counted {sum} times");
        (sum == expected).then_some(())
    })
    .await;
}

async fn nobody_waits(service: &Service) {
    eventually("its place is free", || async {
        (service.metric("scanlogin_waiting_sockets").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_login_over_an_event_stream() {
    let service = Service::start(Settings::embedded()).await;
    let at = service.address;
    let (mut events, key) = Events::new(at).await;
    assert_eq!(service.metric("scanlogin_waiting_sockets").await, 1.0);
    let phone = Phone::of(at, "alice");
    let scanned = phone.scan(text(&key, "key")).await;
    assert_eq!(scanned.codes(), (200, 100));
    let token = events.frame_of("token").await;
    assert_eq!(tell(at, text(&key, "resume"), "received").await.codes(), (200, 100));
    // The holder hears of its own end.
    events.closes(1000).await;
    let state = phone.outcome(scanned.text("claim"), 10).await;
    assert_eq!(state.body["state"], "delivered");
    assert_eq!(verify(at, text(&token, "token")).await.body["user"], "alice");
    // A message whose answer was lost is repeated.
    assert_eq!(tell(at, text(&key, "resume"), "received").await.codes(), (200, 100));
    counts(&[&service], "delivered", 1.0).await;
    nobody_waits(&service).await;
}

#[tokio::test]
async fn a_login_over_polls_each_at_another_instance() {
    let redis = RedisServer::start().await;
    let (a, b) = (
        Service::start(Settings::redis(&redis).with("CONFIRM", "required")).await,
        Service::start(Settings::redis(&redis).with("CONFIRM", "required")).await,
    );
    let first = poll(a.address, &json!({})).await;
    let key = &first.body["frames"][0];
    let (resume, seen) = (text(key, "resume"), json!({ "type": "key", "seq": key["seq"] }));
    // Without `seen` it is told at once what it would show.
    let again = poll(b.address, &json!({ "resume": resume })).await;
    assert_eq!(again.body["frames"][0]["key"], key["key"]);

    let phone = Phone::of(a.address, "alice");
    let asked = json!({ "resume": resume, "seen": seen });
    let (news, claimed) = tokio::join!(poll(b.address, &asked), phone.scan(text(key, "key")));
    assert_eq!(news.body["frames"][0]["type"], "scanned");
    let asked = json!({ "resume": resume, "seen": { "type": "scanned" } });
    let claim = json!({ "claim": claimed.text("claim") });
    let (news, confirmed) =
        tokio::join!(poll(a.address, &asked), phone.post("/scan/confirm", &claim));
    assert_eq!(confirmed.codes(), (200, 100));
    let token = &news.body["frames"][0];
    assert_eq!(token["type"], "token");
    assert_eq!(tell(b.address, resume, "received").await.codes(), (200, 100));
    let state = phone.outcome(claimed.text("claim"), 10).await;
    assert_eq!(state.body["state"], "delivered");
    assert_eq!(verify(b.address, text(token, "token")).await.status, 200);
    counts(&[&a, &b], "delivered", 1.0).await;
    nobody_waits(&a).await;
    nobody_waits(&b).await;
}

#[tokio::test]
async fn one_login_wanders_from_a_socket_to_a_stream_to_a_poll_and_back() {
    let redis = RedisServer::start().await;
    let a = Service::start(Settings::redis(&redis)).await;
    let b = Service::start(Settings::redis(&redis)).await;
    let (mut socket, key) = Browser::json(a.address).await;
    let resume = text(&key, "resume");
    let mut events = Events::open(b.address, &json!({ "resume": resume })).await;
    assert_eq!(events.frame_of("key").await["key"], key["key"]);
    assert_eq!(socket.closed().await, Closed::Code(4002));
    let news = poll(a.address, &json!({ "resume": resume })).await;
    assert_eq!(news.body["frames"][0]["key"], key["key"]);
    // Who polls is there if another poll comes.
    let news = poll(a.address, &json!({ "resume": resume })).await;
    assert_eq!(news.body["frames"][0]["key"], key["key"]);
    events.closes(4002).await;
    let mut socket = Browser::resume(b.address, resume).await;
    assert_eq!(socket.message().await["key"], key["key"]);
    assert_eq!(Phone::of(a.address, "alice").scan(text(&key, "key")).await.codes(), (200, 100));
    assert_eq!(socket.message().await["type"], "token");
    socket.say(&json!({ "type": "received" })).await;
    assert_eq!(socket.closed().await, Closed::Code(1000));
    counts(&[&a, &b], "delivered", 1.0).await;
}

#[tokio::test]
async fn a_stream_that_is_cut_leaves_its_login_to_be_scanned_and_resumed() {
    let service = Service::start(Settings::embedded()).await;
    let (events, key) = Events::new(service.address).await;
    drop(events);
    nobody_waits(&service).await;
    assert_eq!(
        Phone::of(service.address, "alice").scan(text(&key, "key")).await.codes(),
        (200, 100)
    );
    let resume = text(&key, "resume");
    let mut events = Events::open(service.address, &json!({ "resume": resume })).await;
    events.frame_of("token").await;
    // Not acknowledged, it closes by itself, and the token can be had again.
    events.closes(1012).await;
    let news = poll(service.address, &json!({ "resume": resume })).await;
    assert_eq!(news.body["frames"][0]["type"], "token");
    assert_eq!(tell(service.address, resume, "received").await.codes(), (200, 100));
    counts(&[&service], "delivered", 1.0).await;
}

#[tokio::test]
async fn who_cancels_at_any_instance_leaves_a_key_that_is_good_for_nothing() {
    let redis = RedisServer::start().await;
    let settings = || Settings::redis(&redis).with("CONFIRM", "required");
    let (a, b) = (Service::start(settings()).await, Service::start(settings()).await);
    let phone = Phone::of(a.address, "alice");
    let ways = [(false, false), (true, false), (false, true), (true, true)];
    for (so_far, (scanned, resumed)) in ways.into_iter().enumerate() {
        let (mut events, key) = Events::new(a.address).await;
        if resumed {
            // One that has just resumed does not give way to a socket that may be gone already.
            drop(events);
            nobody_waits(&a).await;
            events = Events::open(a.address, &json!({ "resume": key["resume"] })).await;
            events.frame_of("key").await;
        }
        if scanned {
            assert_eq!(phone.scan(text(&key, "key")).await.codes(), (200, 101));
            events.frame_of("scanned").await;
        }
        let told = tell(b.address, text(&key, "resume"), "cancel").await;
        assert_eq!(told.codes(), (200, 100));
        let late = phone.lent_to("bob").scan(text(&key, "key")).await;
        assert_eq!(late.codes(), (404, -1), "from now on");
        events.closes(4002).await;
        counts(&[&a, &b], "cancelled", so_far as f64 + 1.0).await;
        let mut gone = Events::open(a.address, &json!({ "resume": key["resume"] })).await;
        gone.frame_of("expired").await;
        gone.closes(4000).await;
    }
}

#[tokio::test]
async fn a_denial_and_an_expiry_are_said_on_a_stream_and_on_a_poll() {
    let settings = Settings::embedded().with("CONFIRM", "required");
    let service = Service::start(settings.with("WAIT_SECONDS", "2")).await;
    let at = service.address;
    let (mut events, key) = Events::new(at).await;
    let phone = Phone::of(at, "alice");
    let claimed = phone.scan(text(&key, "key")).await;
    events.frame_of("scanned").await;
    let claim = json!({ "claim": claimed.text("claim") });
    assert_eq!(phone.post("/scan/deny", &claim).await.codes(), (200, 100));
    events.frame_of("denied").await;
    events.closes(4001).await;

    let first = poll(at, &json!({})).await;
    let key = &first.body["frames"][0];
    let seen = json!({ "type": "key", "seq": 1 });
    let last = poll(at, &json!({ "resume": key["resume"], "seen": seen })).await;
    assert_eq!(last.body["frames"], json!([{ "type": "expired" }]));
    assert_eq!(last.body["close"], 4000);
    let (mut events, _) = Events::new(at).await;
    events.frame_of("expired").await;
    events.closes(4000).await;
}

#[tokio::test]
async fn streams_and_polls_are_admitted_limited_and_counted_as_sockets_are() {
    let settings = Settings::embedded().with("MAX_WAITING", "1");
    let service = Service::start(settings.with("CONNECTS_PER_MINUTE", "5")).await;
    let at = service.address;
    let (_events, _) = Events::new(at).await;
    for path in ["/stream", "/stream/poll"] {
        let url = format!("http://{at}{path}");
        let post = || Client::new().post(&url);
        let full = answer(post().json(&json!({}))).await;
        assert_eq!((full.codes(), full.header("retry-after")), ((503, -6), "2"), "{path}");
        for (origin, host, reason) in
            [("https://evil.example", "", "origin"), ("", "evil.example", "host")]
        {
            let headers = [("Origin", origin), ("Host", host)];
            let wrong = headers.iter().filter(|(_, value)| !value.is_empty());
            let request =
                wrong.fold(post().json(&json!({})), |r, (name, value)| r.header(*name, *value));
            assert_eq!(answer(request).await.codes(), (403, -7), "{path} {reason}");
        }
        for body in ["", "[]", "7", "{\"resume\":7}", "{\"seen\":7}"] {
            let request = post().header("Content-Type", "application/json").body(body);
            assert_eq!(answer(request).await.codes(), (400, -5), "{path} {body}");
        }
        assert_eq!(answer(post().body("{}")).await.codes(), (415, -5), "{path}");
        let big = json!({ "resume": "x".repeat(9000) });
        assert_eq!(answer(post().json(&big)).await.codes(), (413, -5), "{path}");
        assert_eq!(answer(Client::new().get(&url)).await.codes(), (405, -5), "{path}");
    }
    let refused: HashMap<&str, f64> =
        [("full", 2.0), ("origin", 2.0), ("host", 2.0), ("handshake", 14.0)].into();
    for (reason, count) in refused {
        let series = format!("scanlogin_sockets_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(service.metric(&series).await, count, "{reason}");
    }
    for _ in 0..2 {
        poll(at, &json!({})).await;
    }
    let limited = poll(at, &json!({})).await;
    assert_eq!(limited.codes(), (429, -4));
    assert_ne!(limited.header("retry-after"), "");
    for (protocol, count) in [("stream", 1.0), ("poll", 0.0), ("json", 0.0)] {
        let series = format!("scanlogin_sockets_opened_total{{protocol=\"{protocol}\"}}");
        assert_eq!(service.metric(&series).await, count, "{protocol}");
    }
}

#[tokio::test]
async fn a_message_about_nothing_is_refused_and_changes_nothing() {
    let service = Service::start(Settings::embedded()).await;
    let at = service.address;
    let (mut events, key) = Events::new(at).await;
    let (resume, code) = (text(&key, "resume"), text(&key, "key"));
    // Nothing has come yet; a QR key; a secret with one letter changed; no secret at all.
    let altered = format!("{}{}", &resume[..63], if resume.ends_with('A') { "B" } else { "A" });
    for (secret, kind) in [
        (resume, "received"),
        (code, "received"),
        (code, "cancel"),
        (&altered, "received"),
        (&altered, "cancel"),
        ("", "cancel"),
    ] {
        assert_eq!(tell(at, secret, kind).await.codes(), (404, -1), "{secret} {kind}");
    }
    assert_eq!(tell(at, resume, "token").await.codes(), (400, -5));
    let scanned = Phone::of(at, "alice").scan(code).await;
    assert_eq!(scanned.codes(), (200, 100));
    events.frame_of("token").await;
    // Who photographed the code cannot say that the token has arrived.
    assert_eq!(tell(at, code, "received").await.codes(), (404, -1));
    assert_eq!(tell(at, &altered, "received").await.codes(), (404, -1));
    let state = Phone::of(at, "alice").outcome(scanned.text("claim"), 0).await;
    assert_eq!(state.body["state"], "approved");
}

#[tokio::test]
async fn a_drain_sends_streams_and_polls_elsewhere_with_their_login() {
    let redis = RedisServer::start().await;
    let a = Service::start(Settings::redis(&redis).with("DRAIN_SECONDS", "0")).await;
    let b = Service::start(Settings::redis(&redis)).await;
    let (mut events, key) = Events::new(a.address).await;
    let first = poll(a.address, &json!({})).await;
    let polled = first.body["frames"][0].clone();
    let asked = json!({ "resume": polled["resume"], "seen": { "type": "key", "seq": 1 } });
    let held = tokio::spawn({
        let (at, asked) = (a.address, asked.clone());
        async move { poll(at, &asked).await }
    });
    eventually("the poll has its login", || async {
        (a.metric("scanlogin_resumes_total{result=\"resumed\"}").await == 1.0).then_some(())
    })
    .await;
    a.drained().await;
    let news = held.await.unwrap();
    assert_eq!(news.body["frames"][0]["type"], "drain");
    assert_eq!(news.body["close"], 1012);
    events.frame_of("drain").await;
    events.closes(1012).await;
    let mut events = Events::open(b.address, &json!({ "resume": key["resume"] })).await;
    assert_eq!(events.frame_of("key").await["key"], key["key"]);
    assert_eq!(poll(b.address, &json!({ "resume": polled["resume"] })).await.status, 200);
}

#[tokio::test]
async fn the_code_is_drawn_where_it_is_asked_for() {
    let service = Service::start(Settings::embedded()).await;
    let url = format!("http://{}/stream/poll?qr=svg", service.address);
    let drawn = answer(Client::new().post(url).json(&json!({}))).await;
    assert!(text(&drawn.body["frames"][0], "qr_svg").starts_with("<svg"));
    let plain = poll(service.address, &json!({})).await;
    assert_eq!(plain.body["frames"][0].get("qr_svg"), None);
}
