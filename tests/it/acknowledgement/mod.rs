//! Only what says that the page has its token acknowledges it: `received`, on whatever line; in the plain
//! protocol the answer to our Close, for want of a word.

mod ends;
mod stalls;

use std::net::SocketAddr;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::helpers::{
    Answer, Browser, Closed, Phone, RedisServer, Service, Settings, both,
    events::{Event, Events, poll, tell},
    eventually,
    phone::{answer, logout, verify},
    raw::{Raw, text_frame},
};

const RECEIVED: &str = r#"{"type":"received"}"#;

fn text<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap_or_else(|| panic!("no {field} in {message}"))
}

/// A browser that answers nothing by itself, not even a Close, and what it was shown.
async fn silent(address: SocketAddr, json: bool) -> (Raw, Value) {
    let mut raw = Raw::upgraded(address, json.then_some("scanlogin.v1")).await;
    let shown = raw.text().await;
    let shown =
        if json { serde_json::from_str(&shown).expect("JSON") } else { json!({ "key": shown }) };
    (raw, shown)
}

/// A phone of alice's scans it; what her claim is.
async fn scanned(phone: &Phone, key: &Value) -> String {
    let scanned = phone.scan(text(key, "key")).await;
    assert_eq!(scanned.codes(), (200, 100));
    scanned.text("claim").to_owned()
}

async fn state(phone: &Phone, claim: &str, wait: u32) -> String {
    phone.outcome(claim, wait).await.text("state").to_owned()
}

/// How many logins all of these have counted, and how they ended.
async fn counted(services: &[&Service], outcome: &str, wanted: f64) {
    let series = format!("scanlogin_logins_total{{outcome=\"{outcome}\"}}");
    eventually(&format!("{wanted} {outcome}"), || async {
        let mut count = 0.0;
        for service in services {
            count += service.metric(&series).await;
        }
        assert!(count <= wanted, "{count} {outcome}");
        (count == wanted).then_some(())
    })
    .await;
}

/// A web login of alice's, acknowledged.
async fn older(address: SocketAddr, phone: &Phone) -> String {
    let (mut browser, key) = Browser::json(address).await;
    let claim = scanned(phone, &key).await;
    let token = browser.message_of("token").await;
    browser.say_text(RECEIVED).await;
    assert_eq!(browser.closed().await, Closed::Code(1000));
    assert_eq!(state(phone, &claim, 10).await, "delivered");
    text(&token, "token").to_owned()
}

/// What each kind of line says to a browser that comes back: the types of the frames, and the Close.
async fn told(address: SocketAddr, resume: &str) -> Vec<(Vec<String>, u64)> {
    let mut told = Vec::new();
    let mut socket = Browser::resume(address, resume).await;
    let mut frames = Vec::new();
    let code = loop {
        match socket.next().await {
            Ok(text) => frames.push(serde_json::from_str::<Value>(&text).expect("JSON")),
            Err(Closed::Code(code)) => break u64::from(code),
            Err(Closed::Lost) => panic!("lost"),
        }
    };
    told.push((kinds(&frames), code));
    let mut events = Events::open(address, &json!({ "resume": resume })).await;
    let mut frames = Vec::new();
    let code = loop {
        match events.next().await {
            Event::Frame(frame) => frames.push(frame),
            Event::Close(code) => break code,
            Event::End => panic!("an end without a Close"),
        }
    };
    told.push((kinds(&frames), code));
    let news = poll(address, &json!({ "resume": resume })).await;
    let frames = news.body["frames"].as_array().expect("frames");
    told.push((kinds(frames), news.body["close"].as_u64().unwrap_or_default()));
    told
}

fn kinds(frames: &[Value]) -> Vec<String> {
    frames.iter().map(|frame| text(frame, "type").to_owned()).collect()
}

/// "It is over", by each of the three.
fn expired() -> Vec<(Vec<String>, u64)> {
    vec![(vec!["expired".to_owned()], 4000); 3]
}

/// "It was acknowledged", by each of the three.
fn done() -> Vec<(Vec<String>, u64)> {
    vec![(Vec::new(), 1000); 3]
}

/// The same secret with one letter changed.
fn altered(resume: &str) -> String {
    let last = if resume.ends_with('A') { 'Q' } else { 'A' };
    format!("{}{last}", &resume[..resume.len() - 1])
}

#[tokio::test]
async fn a_close_that_is_answered_acknowledges_nothing() {
    for (service, _redis) in both(|settings| settings.with("RESUME_SECONDS", "7")).await {
        let at = service.address;
        let phone = Phone::of(at, "alice");
        let before = older(at, &phone).await;
        let (mut browser, key) = Browser::json(at).await;
        let claim = scanned(&phone, &key).await;
        let token = browser.message_of("token").await;
        let collect = token["collect_ms"].as_u64().expect("milliseconds");
        assert!((4_000..=7_000).contains(&collect), "{collect}");
        // The helper answers our Close, as every network stack does by itself.
        assert_eq!(browser.closed().await, Closed::Code(1012), "without 'received', after 2 s");
        assert_eq!(state(&phone, &claim, 0).await, "approved");
        assert_eq!(verify(at, text(&token, "token")).await.status, 200);
        assert_eq!(verify(at, &before).await.status, 200, "nobody has replaced it");
        let mut again = Browser::resume(at, text(&key, "resume")).await;
        let second = again.message().await;
        assert_eq!(second["token"], token["token"]);
        assert!(second["collect_ms"].as_u64().expect("milliseconds") + 1_900 < collect);
        assert_eq!(again.closed().await, Closed::Code(1012));
        assert_eq!(state(&phone, &claim, 10).await, "undelivered");
        assert_eq!(verify(at, &before).await.status, 200, "it lives");
        assert_eq!(told(at, text(&key, "resume")).await, expired());
        counted(&[&service], "undelivered", 1.0).await;
        counted(&[&service], "delivered", 1.0).await;
        // Too late to be said.
        assert_eq!(tell(at, text(&key, "resume"), "received").await.codes(), (404, -1));
        assert_eq!(state(&phone, &claim, 0).await, "undelivered");
    }
}

#[tokio::test]
async fn a_stream_and_a_poll_that_nobody_acknowledges_end_the_same_way() {
    for (service, _redis) in both(|settings| settings.with("RESUME_SECONDS", "6")).await {
        let at = service.address;
        let phone = Phone::of(at, "alice");
        let (mut events, key) = Events::new(at).await;
        let claim = scanned(&phone, &key).await;
        let token = events.frame_of("token").await;
        events.closes(1012).await;
        let resume = json!({ "resume": key["resume"] });
        let news = poll(at, &resume).await;
        assert_eq!(news.body["frames"][0]["token"], token["token"]);
        // The line is gone; what is known already is not said again, and in 2 s nobody has spoken.
        let seen = json!({ "resume": key["resume"], "seen": { "type": "token" } });
        assert_eq!(poll(at, &seen).await.body["close"], 1012);
        assert_eq!(state(&phone, &claim, 0).await, "approved");
        assert_eq!(state(&phone, &claim, 10).await, "undelivered");
        counted(&[&service], "undelivered", 1.0).await;
    }
}

#[tokio::test]
async fn received_counts_after_our_close_however_late() {
    for (service, _redis) in both(|settings| settings).await {
        let at = service.address;
        let phone = Phone::of(at, "alice");
        for wait in [0, 5] {
            let (mut browser, key) = silent(at, true).await;
            let claim = scanned(&phone, &key).await;
            assert!(browser.text().await.contains("\"token\""));
            assert_eq!(browser.close().await, 1012);
            // Longer than a Close is waited for otherwise.
            sleep(Duration::from_secs(wait)).await;
            assert_eq!(state(&phone, &claim, 0).await, "approved");
            browser.send(&text_frame(RECEIVED)).await.expect("it listens");
            assert_eq!(browser.frame().await, None, "no second Close");
            assert_eq!(state(&phone, &claim, 10).await, "delivered");
            assert_eq!(told(at, text(&key, "resume")).await, done());
        }
        counted(&[&service], "delivered", 2.0).await;
    }
}

#[tokio::test]
async fn who_comes_back_for_what_was_acknowledged_is_told_1000_and_nothing_before() {
    let redis = RedisServer::start().await;
    let a = Service::start(Settings::redis(&redis)).await;
    let b = Service::start(Settings::redis(&redis)).await;
    let alone = Service::start(Settings::embedded()).await;
    for (at, elsewhere) in [(&a, &b), (&alone, &alone)] {
        let phone = Phone::of(at.address, "alice");
        let (mut browser, key) = Browser::json(at.address).await;
        let claim = scanned(&phone, &key).await;
        browser.message_of("token").await;
        browser.say_text(RECEIVED).await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        assert_eq!(state(&phone, &claim, 10).await, "delivered");
        let resume = text(&key, "resume");
        assert_eq!(told(elsewhere.address, resume).await, done());
        assert_eq!(told(at.address, resume).await, done(), "however often");
        for wrong in [altered(resume), text(&key, "key").to_owned()] {
            assert_eq!(told(elsewhere.address, &wrong).await, expired(), "{wrong}");
        }
        assert_eq!(tell(at.address, resume, "cancel").await.codes(), (404, -1));
        assert_eq!(state(&phone, &claim, 0).await, "delivered");
        let refused = elsewhere.metric("scanlogin_resumes_total{result=\"refused\"}").await;
        assert_eq!(refused, 6.0, "only the wrong ones");
    }
    counted(&[&a, &b], "delivered", 1.0).await;
    counted(&[&alone], "delivered", 1.0).await;
}

#[tokio::test]
async fn who_comes_back_for_what_ended_otherwise_is_told_expired() {
    for (service, _redis) in both(|settings| settings.with("CONFIRM", "required")).await {
        let at = service.address;
        let phone = Phone::of(at, "alice");
        let claimed = async |key: &Value| {
            let scanned = phone.scan(text(key, "key")).await;
            assert_eq!(scanned.codes(), (200, 101));
            json!({ "claim": scanned.text("claim") })
        };
        let (mut browser, key) = Browser::json(at).await;
        phone.post("/scan/deny", &claimed(&key).await).await;
        browser.message_of("denied").await;
        assert_eq!(told(at, text(&key, "resume")).await, expired(), "denied");
        let (mut browser, key) = Browser::json(at).await;
        claimed(&key).await;
        browser.message_of("scanned").await;
        browser.say(&json!({ "type": "cancel" })).await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        counted(&[&service], "cancelled", 1.0).await;
        assert_eq!(told(at, text(&key, "resume")).await, expired(), "cancelled");
        // Logged out before it was acknowledged: 1000 would promise a token that is dead.
        let (mut browser, key) = Browser::json(at).await;
        phone.post("/scan/confirm", &claimed(&key).await).await;
        let token = browser.message_of("token").await;
        drop(browser);
        assert_eq!(logout(at, text(&token, "token")).await.status, 200);
        assert_eq!(told(at, text(&key, "resume")).await, expired(), "logged out");
    }
}

#[tokio::test]
async fn what_was_said_in_a_call_of_its_own_is_answered_1000_on_every_line() {
    let redis = RedisServer::start().await;
    let a = Service::start(Settings::redis(&redis)).await;
    let b = Service::start(Settings::redis(&redis)).await;
    let phone = Phone::of(a.address, "alice");
    let (mut events, key) = Events::new(a.address).await;
    let claim = scanned(&phone, &key).await;
    events.frame_of("token").await;
    events.closes(1012).await;
    let resume = text(&key, "resume");
    assert_eq!(tell(b.address, resume, "received").await.codes(), (200, 100));
    assert_eq!(told(b.address, resume).await, done());
    assert_eq!(told(a.address, resume).await, done());
    assert_eq!(state(&phone, &claim, 10).await, "delivered");
    counted(&[&a, &b], "delivered", 1.0).await;
}

/// The app's own end of everything that the user is logged in with.
async fn everything_ended(phone: &Phone) -> Answer {
    answer(phone.request(Method::DELETE, "/weblogin")).await
}

#[tokio::test]
async fn what_was_acknowledged_stays_so_for_who_comes_back_although_it_was_ended_since() {
    for (service, _redis) in both(|settings| settings).await {
        let at = service.address;
        let phone = Phone::of(at, "alice");
        let (mut browser, key) = Browser::json(at).await;
        let claim = scanned(&phone, &key).await;
        browser.message_of("token").await;
        browser.say_text(RECEIVED).await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        assert_eq!(state(&phone, &claim, 10).await, "delivered");
        assert_eq!(everything_ended(&phone).await.status, 200);
        assert_eq!(told(at, text(&key, "resume")).await, done());
    }
}
