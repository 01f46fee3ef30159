//! The wall clock of a running service is set forward and back, as by NTP, after a wrong clock at boot, or by a
//! suspend of the machine (docs/decisions.md, 22).

mod elsewhere;
mod injected;
mod stepped;

use std::net::SocketAddr;

use reqwest::Method;
use scanlogin::{
    app::Options,
    clock::{Clock, Timestamp},
};
use serde_json::{Value, json};

use crate::helpers::{
    Answer, Browser, Closed, Phone, RedisServer, Service, Settings,
    phone::{answer, app_token, now},
    service::{APP_SECRET, claims},
};

/// Seconds.
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
const STEPS: [i64; 4] = [HOUR, -HOUR, DAY, -DAY];
/// How long a web token lasts in these tests, in seconds: longer than some steps, shorter than others.
const TTL: u64 = 7200;
/// Seconds that may pass between two readings in one test.
const TOLERANCE: u64 = 20;

/// A service whose wall clock the test steps. Its steady clock goes on by the test's word only.
async fn stepping(settings: Settings) -> (Service, Clock) {
    let clock = Clock::manual(Timestamp::default() + std::time::Duration::from_secs(now()));
    let options = Options { clock: clock.clone(), ..Options::default() };
    let settings = settings.with("TOKEN_TTL_SECONDS", &TTL.to_string());
    (Service::with_options(settings, options).await, clock)
}

/// The same on each store.
async fn stepping_on_both(
    change: impl Fn(Settings) -> Settings,
) -> Vec<(Service, Clock, Option<RedisServer>)> {
    let redis = RedisServer::start().await;
    let (shared, shared_clock) = stepping(change(Settings::redis(&redis))).await;
    let (embedded, clock) = stepping(change(Settings::embedded())).await;
    vec![(embedded, clock, None), (shared, shared_clock, Some(redis))]
}

/// A phone of alice's, by a backend that has this time.
fn phone_at(address: SocketAddr, now: u64) -> Phone {
    let claims = json!({ "sub": "alice", "exp": now + 600 });
    Phone::with_token(address, &app_token(&claims, APP_SECRET))
}

/// A browser that the phone logs in and that acknowledges: its frame `token`.
async fn log_in(phone: &Phone) -> Value {
    let (browser, key) = Browser::json(phone.address).await;
    logged_in(phone, browser, &key).await
}

/// The same of a browser that waits already, and its frame `key`.
async fn logged_in(phone: &Phone, mut browser: Browser, key: &Value) -> Value {
    assert_eq!(phone.scan(text(key, "key")).await.codes(), (200, 100));
    let token = browser.message_of("token").await;
    received(browser).await;
    token
}

async fn received(mut browser: Browser) {
    browser.say(&json!({ "type": "received" })).await;
    assert_eq!(browser.closed().await, Closed::Code(1000));
}

/// The token says that it was minted at this time, and the frame how long it is good for.
fn assert_minted_at(frame: &Value, now: u64) {
    let (_, claims) = claims(text(frame, "token"));
    let iat = claims["iat"].as_u64().expect("a time");
    assert!(iat.abs_diff(now) <= TOLERANCE, "iat {iat} at {now}");
    assert_eq!(claims["exp"].as_u64().expect("a time"), iat + TTL);
    let left = frame["expires_in"].as_u64().expect("seconds");
    assert!(left.abs_diff(TTL) <= TOLERANCE, "good for {left} s more");
}

async fn weblogin(phone: &Phone) -> Answer {
    answer(phone.request(Method::GET, "/weblogin")).await
}

fn text<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap_or_else(|| panic!("no {field} in {message}"))
}

/// This many seconds later, or earlier.
fn shifted(time: u64, seconds: i64) -> u64 {
    time.checked_add_signed(seconds).expect("a time after 1970")
}
