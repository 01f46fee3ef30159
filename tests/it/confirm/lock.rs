//! Who has missed the number nine times may not scan for a while.

use std::time::Duration;

use scanlogin::{
    app::Options,
    clock::{Clock, Timestamp},
    feed::Mechanisms,
    login::{LOCK, MAX_FAILED_MATCHES},
};
use serde_json::{Value, json};

use super::{confirm, matching, other_than, scanned};
use crate::helpers::{
    Answer, Browser, Phone, RedisServer, Service, Settings, both, eventually,
    phone::{app_token, now},
    proxy::Proxy,
    raw::Raw,
    service::APP_SECRET,
};

/// Ends one login by wrong numbers.
async fn miss(service: &Service, phone: &Phone) {
    let (_browser, asked, told) = scanned(service, phone).await;
    let wrong = other_than(told["match"].as_str().unwrap());
    for _ in 0..3 {
        assert_eq!(confirm(phone, asked.text("claim"), &wrong).await.codes(), (403, -7));
    }
}

pub(super) async fn try_scan(service: &Service, phone: &Phone) -> (Browser, Value, Answer) {
    let (browser, key) = Browser::json(service.address).await;
    let answer = phone.scan(key["key"].as_str().unwrap()).await;
    (browser, key, answer)
}

#[tokio::test]
async fn three_logins_missed_lock_the_user_on_every_instance_and_nobody_else() {
    let redis = RedisServer::start().await;
    let settings = || matching("always")(Settings::redis(&redis));
    let services = [Service::start(settings()).await, Service::start(settings()).await];
    let alice = Phone::of(services[0].address, "alice");
    // Claimed before the lock: it may still be decided, and its scan repeated.
    let (mut open, open_key) = Browser::json(services[0].address).await;
    let open_key = open_key["key"].as_str().unwrap();
    let asked = alice.scan(open_key).await;
    let told = open.message_of("scanned").await;
    for round in 0..3 {
        miss(&services[round % 2], &Phone::of(services[round % 2].address, "alice")).await;
    }
    for service in &services {
        let phone = Phone::of(service.address, "alice");
        let (mut browser, key, locked) = try_scan(service, &phone).await;
        assert_eq!(locked.codes(), (429, -4));
        let wait: u64 = locked.header("retry-after").parse().unwrap();
        assert!((1..=900).contains(&wait), "{wait}");
        let nothing = browser.next_within(Duration::from_millis(200)).await;
        assert_eq!(nothing, None, "the login is as it was");
        let bob = phone.lent_to("bob").scan(key["key"].as_str().unwrap()).await;
        assert_eq!(bob.codes(), (200, 101));
        // Not even whether a key exists is told.
        assert_eq!(phone.scan(&"A".repeat(43)).await.codes(), (429, -4));
        assert_eq!(service.metric("scanlogin_scans_total{result=\"locked\"}").await, 2.0);
    }
    let again = alice.scan(open_key).await;
    assert_eq!((again.codes(), again.text("claim")), ((200, 101), asked.text("claim")));
    let digits = told["match"].as_str().unwrap();
    assert_eq!(confirm(&alice, asked.text("claim"), digits).await.codes(), (200, 100));
    assert_eq!(open.message().await["type"], "token");
    // Nobody who reads Redis sees who is locked.
    for key in redis.keys().await.iter().filter(|key| key.contains(":h:")) {
        let value: Vec<u8> = redis.command(&["GET", key]).await;
        assert!(!value.windows(5).any(|window| window == b"alice") && !key.contains("alice"));
    }
}

#[tokio::test]
async fn after_a_quarter_of_an_hour_the_user_may_scan_again() {
    let clock = Clock::manual(Timestamp::default() + Duration::from_secs(now()));
    let options = Options { clock: clock.clone(), ..Options::default() };
    let settings = matching("always")(Settings::embedded());
    let service = Service::with_options(settings, options).await;
    let claims = json!({ "sub": "alice", "exp": now() + 3600 });
    let phone = Phone::with_token(service.address, &app_token(&claims, APP_SECRET));
    for _ in 0..3 {
        miss(&service, &phone).await;
    }
    let second = Duration::from_secs(1);
    clock.advance(LOCK - second);
    let (_browser, _, locked) = try_scan(&service, &phone).await;
    assert_eq!((locked.codes(), locked.header("retry-after")), ((429, -4), "1"));
    clock.advance(second);
    let (_browser, _, free) = try_scan(&service, &phone).await;
    assert_eq!(free.codes(), (200, 101));
}

#[tokio::test]
async fn who_leaves_each_login_after_two_wrong_numbers_is_locked_too() {
    for (service, _redis) in both(matching("always")).await {
        let phone = Phone::of(service.address, "alice");
        let mut wrong = 0;
        let locked = loop {
            let (mut browser, _, asked) = try_scan(&service, &phone).await;
            if asked.codes() == (429, -4) {
                break asked;
            }
            assert!(wrong < MAX_FAILED_MATCHES, "never locked");
            let told = browser.message_of("scanned").await;
            let (claim, digits) = (asked.text("claim"), told["match"].as_str().unwrap());
            for left in [2, 1] {
                let missed = confirm(&phone, claim, &other_than(digits)).await;
                assert_eq!((missed.codes(), &missed.body["tries_left"]), ((403, -7), &json!(left)));
                wrong += 1;
            }
            let deny = phone.post("/scan/deny", &json!({ "claim": claim })).await;
            assert_eq!(deny.codes(), (200, 100));
        };
        let wait: u64 = locked.header("retry-after").parse().unwrap();
        assert!((1..=900).contains(&wait), "{wait}");
        // The ninth came in the fifth login, which may be decided all the same.
        assert_eq!(wrong, MAX_FAILED_MATCHES + 1);
    }
}

#[tokio::test]
async fn a_wrong_number_is_counted_whether_or_not_its_sender_waits_for_the_answer() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to_port(redis.port);
    let settings = matching("always")(Settings::redis(&redis)).with("WORKERS", "1");
    // What is held up is the test's own.
    let mechanisms = Mechanisms { probe: false, ..Mechanisms::default() };
    let options = Options { mechanisms, ..Options::default() };
    let settings = settings.with("REDIS_URL", &proxy.redis_url());
    let service = Service::with_options(settings, options).await;
    let phone = Phone::of(service.address, "alice");
    for _ in 0..2 {
        miss(&service, &phone).await;
    }
    let (_browser, asked, told) = scanned(&service, &phone).await;
    let (claim, wrong) = (asked.text("claim"), other_than(told["match"].as_str().unwrap()));
    for _ in 0..2 {
        assert_eq!(confirm(&phone, claim, &wrong).await.codes(), (403, -7));
    }
    // The ninth: its sender is gone before Redis has answered.
    let body = json!({ "claim": claim, "match": wrong }).to_string();
    let head = format!(
        "POST /scan/confirm HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        service.address,
        phone.token,
        body.len()
    );
    proxy.hold();
    let sent = proxy.sent();
    let mut raw = Raw::connect(service.address).await;
    raw.send(format!("{head}{body}").as_bytes()).await.unwrap();
    eventually("the confirmation is under way", || async { (proxy.sent() > sent).then_some(()) })
        .await;
    raw.0.set_zero_linger().unwrap();
    drop(raw);
    let serving = "scanlogin_connections{port=\"public\",state=\"request\"}";
    eventually("its connection is gone", || async {
        (service.metric(serving).await == 0.0).then_some(())
    })
    .await;
    proxy.restore();
    eventually("it is counted", || async {
        let (_browser, _, answer) = try_scan(&service, &phone).await;
        (answer.codes() == (429, -4)).then_some(())
    })
    .await;
}
