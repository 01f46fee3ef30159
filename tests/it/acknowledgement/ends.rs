//! A browser that has its token and says nothing: how long it is listened to, and what becomes of its
//! login.

use std::time::Duration;

use scanlogin::{app::Options, clock::Clock};
use tokio::time::timeout;

use super::{RECEIVED, counted, done, scanned, silent, state, text, told};
use crate::helpers::{
    Browser, Closed, PATIENCE, Phone, RedisServer, Service, Settings, both, eventually,
    phone::verify,
    proxy::Proxy,
    raw::{Raw, frame, text_frame},
};

/// The answer to a Close.
fn close_frame() -> Vec<u8> {
    frame(0x88, 2, &1000_u16.to_be_bytes())
}

async fn waiting(service: &Service) -> f64 {
    service.metric("scanlogin_waiting_sockets").await
}

async fn nobody_is_there(service: &Service) {
    eventually("the socket is gone", || async { (waiting(service).await == 0.0).then_some(()) })
        .await;
}

/// Token and Close are here, unanswered; the token.
async fn pushed(browser: &mut Raw, json: bool) -> String {
    let token = browser.text().await;
    assert_eq!(browser.close().await, if json { 1012 } else { 1000 });
    if !json {
        return token;
    }
    let message: serde_json::Value = serde_json::from_str(&token).expect("JSON");
    text(&message, "token").to_owned()
}

#[tokio::test]
async fn who_answers_nothing_is_listened_to_until_the_collecting_is_over() {
    for (service, _redis) in both(|settings| settings.with("RESUME_SECONDS", "7")).await {
        let at = service.address;
        for json in [false, true] {
            let phone = Phone::of(at, if json { "alice" } else { "bob" });
            let (mut browser, key) = silent(at, json).await;
            let claim = scanned(&phone, &key).await;
            let token = pushed(&mut browser, json).await;
            // Longer than a Close is waited for, and its socket lingers, otherwise.
            let more = timeout(Duration::from_millis(4500), browser.frame()).await;
            assert!(more.is_err(), "neither a word nor the end: {more:?}");
            assert_eq!(waiting(&service).await, 1.0);
            assert_eq!(state(&phone, &claim, 0).await, "approved");
            assert_eq!(verify(at, &token).await.status, 200);
            assert_eq!(browser.frame().await, None, "the end, and nothing before");
            assert_eq!(state(&phone, &claim, 10).await, "undelivered");
            nobody_is_there(&service).await;
        }
        counted(&[&service], "undelivered", 2.0).await;
    }
}

#[tokio::test]
async fn a_plain_line_that_ends_without_an_answer_has_lost_its_token() {
    for (service, _redis) in both(|settings| settings).await {
        let at = service.address;
        let phone = Phone::of(at, "alice");
        let (mut browser, key) = silent(at, false).await;
        let claim = scanned(&phone, &key).await;
        let token = pushed(&mut browser, false).await;
        drop(browser);
        assert_eq!(state(&phone, &claim, 10).await, "undelivered");
        assert_eq!(verify(at, &token).await.status, 401);
        counted(&[&service], "undelivered", 1.0).await;
    }
}

#[tokio::test]
async fn nothing_follows_our_close_and_silence_after_it_is_counted_as_that_of_pings_is() {
    let clock = Clock::manual(Clock::system().now());
    let options = Options { clock: clock.clone(), ..Options::default() };
    let settings = Settings::embedded().with("RESUME_SECONDS", "300").with("WORKERS", "1");
    let service = Service::with_options(settings.with("ROTATE_SECONDS", "0"), options).await;
    let at = service.address;
    let phone = Phone::of(at, "alice");
    let mut silent_ones = Vec::new();
    for json in [false, true] {
        let (mut browser, key) = silent(at, json).await;
        let claim = scanned(&phone, &key).await;
        pushed(&mut browser, json).await;
        silent_ones.push((browser, claim));
    }
    // Began to wait last: where its ping is here, the others have had their turn.
    let (mut healthy, _) = silent(at, true).await;
    for _ in 0..3 {
        clock.advance(Duration::from_secs(25));
        assert_eq!(healthy.frame().await, Some((9, Vec::new())), "a ping");
        healthy.send(&frame(0x8a, 0, &[])).await.expect("it listens");
    }
    let [(plain, claim), (json, _)] = &mut silent_ones[..] else { panic!("two") };
    // It can come back with its secret.
    assert_eq!(json.frame().await, None, "the end, and nothing before");
    // It cannot.
    plain.send(&close_frame()).await.expect("it is listened to");
    assert_eq!(plain.frame().await, None, "the end, and nothing before");
    assert_eq!(state(&phone, claim, 10).await, "delivered");
}

#[tokio::test]
async fn a_flood_after_our_close_ends_the_socket_and_not_the_login() {
    let service = Service::start(Settings::embedded().with("RESUME_SECONDS", "300")).await;
    let at = service.address;
    let phone = Phone::of(at, "alice");
    let (mut browser, key) = silent(at, true).await;
    let claim = scanned(&phone, &key).await;
    pushed(&mut browser, true).await;
    browser.send(&text_frame(r#"{"type":"later"}"#).repeat(101)).await.expect("it listens");
    assert_eq!(browser.frame().await, None, "the end");
    nobody_is_there(&service).await;
    assert_eq!(state(&phone, &claim, 0).await, "approved");
    let mut again = Browser::resume(at, text(&key, "resume")).await;
    again.message_of("token").await;
    again.say_text(RECEIVED).await;
    assert_eq!(again.closed().await, Closed::Code(1000));
    counted(&[&service], "delivered", 1.0).await;
}

#[tokio::test]
async fn who_has_come_back_elsewhere_is_not_listened_to_for_long_and_what_it_says_counts() {
    let redis = RedisServer::start().await;
    let settings = || Settings::redis(&redis).with("RESUME_SECONDS", "300");
    let (a, b) = (Service::start(settings()).await, Service::start(settings()).await);
    let phone = Phone::of(a.address, "alice");
    for other in [&a, &b] {
        for early in [true, false] {
            let (mut left, key) = silent(a.address, true).await;
            let claim = scanned(&phone, &key).await;
            let first = left.text().await;
            if !early {
                assert_eq!(left.close().await, 1012);
            }
            let mut again = Browser::resume(other.address, text(&key, "resume")).await;
            let token = again.message_of("token").await;
            assert!(first.contains(text(&token, "token")));
            if early {
                assert_eq!(left.close().await, 1012);
            }
            assert_eq!(left.frame().await, None, "though the collecting goes on");
            again.say_text(RECEIVED).await;
            // By the time that the other one was let go, its own 2 s may have been over.
            let closed = again.closed().await;
            assert!(matches!(closed, Closed::Code(1000 | 1012)), "{closed:?}");
            assert_eq!(state(&phone, &claim, 10).await, "delivered");
        }
    }
    counted(&[&a, &b], "delivered", 4.0).await;
    // The page that was left has the token all the same, and says so.
    let (mut left, key) = silent(a.address, true).await;
    let claim = scanned(&phone, &key).await;
    left.text().await;
    let mut again = Browser::resume(b.address, text(&key, "resume")).await;
    again.message_of("token").await;
    left.send(&text_frame(RECEIVED)).await.expect("it listens");
    assert_eq!(left.close().await, 1000);
    assert_eq!(state(&phone, &claim, 10).await, "delivered");
    assert_eq!(again.closed().await, Closed::Code(1012));
}

#[tokio::test]
async fn what_a_socket_said_that_was_left_is_known_after_the_collecting_too() {
    for (service, _redis) in both(|settings| settings.with("RESUME_SECONDS", "4")).await {
        let at = service.address;
        let phone = Phone::of(at, "alice");
        let (mut left, key) = silent(at, true).await;
        let claim = scanned(&phone, &key).await;
        left.text().await;
        let mut again = Browser::resume(at, text(&key, "resume")).await;
        again.message_of("token").await;
        drop(again);
        left.send(&text_frame(RECEIVED)).await.expect("it listens");
        assert_eq!(left.close().await, 1000);
        assert_eq!(state(&phone, &claim, 10).await, "delivered");
        // Counted when the collecting is over, by who held it last.
        counted(&[&service], "delivered", 1.0).await;
        assert_eq!(told(at, text(&key, "resume")).await, done());
    }
}

/// By a clock that stands still: so a drain ends when nobody is left, and not because it has waited for
/// long enough.
#[tokio::test]
async fn a_drain_does_not_wait_for_who_answers_nothing() {
    for (json, early) in [(false, false), (true, true), (true, false)] {
        let clock = Clock::manual(Clock::system().now());
        let options = Options { clock, ..Options::default() };
        let settings = Settings::embedded().with("RESUME_SECONDS", "300");
        let service = Service::with_options(settings, options).await;
        let (mut browser, key) = silent(service.address, json).await;
        scanned(&Phone::of(service.address, "alice"), &key).await;
        browser.text().await;
        let (drained, code) = if early {
            let drained = tokio::spawn(service.drained());
            (drained, browser.close().await)
        } else {
            let code = browser.close().await;
            (tokio::spawn(service.drained()), code)
        };
        assert_eq!(code, if json { 1012 } else { 1000 });
        assert_eq!(browser.frame().await, None, "the end, and nothing before");
        let ended = timeout(PATIENCE, drained).await;
        ended.unwrap_or_else(|_| panic!("it never ended: {json} {early}")).expect("it ends well");
    }
}

#[tokio::test]
async fn nor_for_whom_it_finds_approved_as_its_turn_comes() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to_port(redis.port);
    let options = Options { clock: Clock::manual(Clock::system().now()), ..Options::default() };
    let settings = Settings::redis(&redis).with("RESUME_SECONDS", "300").with("WORKERS", "1");
    let other = Service::start(settings.clone()).await;
    let settings = settings.with("REDIS_URL", &proxy.redis_url());
    let service = Service::with_options(settings, options).await;
    let (mut browser, key) = silent(service.address, false).await;
    proxy.hold();
    scanned(&Phone::of(other.address, "alice"), &key).await;
    let before = proxy.sent();
    let drained = tokio::spawn(service.drained());
    eventually("it wants to end the login", || async { (proxy.sent() > before).then_some(()) })
        .await;
    proxy.restore();
    pushed(&mut browser, false).await;
    assert_eq!(browser.frame().await, None, "the end, and nothing before");
    timeout(PATIENCE, drained).await.expect("it ends").expect("it ends well");
}

#[tokio::test]
async fn a_drain_takes_no_token_away() {
    let redis = RedisServer::start().await;
    let settings = || Settings::redis(&redis).with("RESUME_SECONDS", "300");
    let other = Service::start(settings()).await;
    let service = Service::start(settings()).await;
    let alice = Phone::of(other.address, "alice");
    let bob = Phone::of(other.address, "bob");
    let (mut json, key) = silent(service.address, true).await;
    scanned(&alice, &key).await;
    json.text().await;
    let (mut plain, plain_key) = silent(service.address, false).await;
    let claim = scanned(&bob, &plain_key).await;
    let token = pushed(&mut plain, false).await;
    let drained = tokio::spawn(service.drained());
    assert_eq!(json.close().await, 1012);
    assert_eq!(json.frame().await, None);
    assert_eq!(plain.frame().await, None, "long before the collecting is over");
    timeout(PATIENCE, drained).await.expect("it ends").expect("it ends well");
    assert_eq!(state(&bob, &claim, 0).await, "approved");
    assert_eq!(verify(other.address, &token).await.status, 200, "good for as long as promised");
    let mut again = Browser::resume(other.address, text(&key, "resume")).await;
    again.message_of("token").await;
    again.say_text(RECEIVED).await;
    assert_eq!(again.closed().await, Closed::Code(1000));
    counted(&[&other], "delivered", 1.0).await;
}
