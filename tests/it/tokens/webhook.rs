//! Tokens that another server makes.

use std::net::SocketAddr;

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::web_keys::key_set;
use crate::helpers::{
    Answer, Browser, Closed, Phone, RedisServer, Service, Settings, acl, both,
    phone::{logout, now, verify},
    recording::Recording,
    upstream::{Gate, Heard, Reply, Upstream},
};

pub(super) const SECRET: &str = "the-webhook-secret-of-these-tests-is-long-enough";
pub(crate) const PATH: &str = "/tokens";

/// A server that makes tokens from its user's name.
pub(crate) async fn maker() -> Upstream {
    Upstream::start(|heard| Reply::Json(json!({ "token": token_for(heard), "expires_in": 60 })))
        .await
}

pub(super) fn token_for(heard: &Heard) -> String {
    format!("made for {}", heard.json()["user"].as_str().expect("a user"))
}

pub(crate) fn hooked(settings: Settings, upstream: &Upstream) -> Settings {
    settings
        .without("TOKEN_SECRET")
        .with("TOKEN_WEBHOOK_URL", &upstream.url(PATH))
        .with("TOKEN_WEBHOOK_SECRET", SECRET)
}

/// A scan, and the confirmation where one is needed.
pub(super) async fn approve(phone: &Phone, key: &str) -> Answer {
    let scanned = phone.scan(key).await;
    if scanned.codes() != (200, 101) {
        return scanned;
    }
    phone.post("/scan/confirm", &json!({ "claim": scanned.text("claim") })).await
}

fn assert_signed(heard: &Heard) {
    let signature = heard.header("Scanlogin-Signature");
    let (time, tag) = signature.split_once(",v1=").expect("two parts");
    let time = time.strip_prefix("t=").expect("a time");
    assert!(now().abs_diff(time.parse().expect("seconds")) < 30, "{signature}");
    let tag: Vec<u8> = (0..tag.len() / 2)
        .map(|i| u8::from_str_radix(&tag[2 * i..2 * i + 2], 16).expect("hex"))
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let message = format!("{time}.{}", heard.body);
    hmac::verify(&key, message.as_bytes(), &tag).expect("the signature of the body");
}

#[tokio::test]
async fn what_the_webhook_makes_is_what_the_browser_gets() {
    for confirm in ["off", "required"] {
        let upstream = maker().await;
        for (service, _redis) in both(|s| hooked(s, &upstream).with("CONFIRM", confirm)).await {
            let before = upstream.heard().len();
            let phone = Phone::of(service.address, "alice");
            let (mut plain, key) = Browser::plain(service.address).await;
            assert_eq!(approve(&phone, &key).await.codes(), (200, 100));
            assert_eq!(plain.text().await, "made for alice");
            assert_eq!(plain.closed().await, Closed::Code(1000));
            let (mut json, key) = Browser::json(service.address).await;
            assert_eq!(approve(&phone, key["key"].as_str().unwrap()).await.codes(), (200, 100));
            let message = json.message_of("token").await;
            assert_eq!(
                (&message["token"], &message["user"]),
                (&json!("made for alice"), &json!("alice"))
            );
            assert!((58..=60).contains(&message["expires_in"].as_u64().unwrap()), "{message}");
            let heard = upstream.heard().split_off(before);
            assert_eq!(heard.len(), 2, "one call a login");
            for one in &heard {
                assert_signed(one);
                assert_eq!(one.path, PATH);
                assert_eq!(one.header("Content-Type"), "application/json");
                let body = one.json();
                let (id, user) = (body["id"].as_str().unwrap(), body["user"].as_str().unwrap());
                assert_eq!((&body["event"], user), (&json!("login"), "alice"));
                assert_eq!((id.len(), &body["platform"]), (36, &json!("web")));
                assert!(body["time"].as_u64().unwrap().abs_diff(now()) < 30);
                assert!(one.header("Idempotency-Key").starts_with(&format!("{id}.")));
            }
            let keys: Vec<_> = heard.iter().map(|one| one.header("Idempotency-Key")).collect();
            assert_ne!(keys[0], keys[1]);
            let ok = "scanlogin_webhook_requests_total{event=\"login\",result=\"ok\"}";
            assert_eq!(service.metric(ok).await, 2.0);
            assert_eq!(
                service.metric("scanlogin_webhook_seconds_count{event=\"login\"}").await,
                2.0
            );
        }
    }
}

#[tokio::test]
async fn nobody_here_can_judge_its_tokens() {
    let upstream = maker().await;
    let service = Service::start(hooked(Settings::embedded(), &upstream)).await;
    assert_eq!(verify(service.address, "made for alice").await.codes(), (404, -5));
    assert_eq!(logout(service.address, "made for alice").await.codes(), (404, -5));
    assert_eq!(key_set(service.address).await.0.status(), 404);
}

/// A phone's call that is under way.
fn calling(address: SocketAddr, user: &'static str, key: &str) -> tokio::task::JoinHandle<Answer> {
    let key = key.to_owned();
    tokio::spawn(async move { Phone::of(address, user).scan(&key).await })
}

/// Waits until the webhook has been called so often.
pub(super) async fn called(upstream: &Upstream, times: usize) -> Vec<Heard> {
    crate::helpers::eventually("the webhook is called", || async {
        Some(upstream.heard()).filter(|heard| heard.len() >= times)
    })
    .await
}

/// From now on tokens are made when the gate opens.
fn held_back(upstream: &Upstream) -> Gate {
    let gate = Gate::closed();
    let closed = gate.clone();
    upstream.answer(move |heard| {
        let made = Reply::Json(json!({ "token": token_for(heard) }));
        Reply::Held(closed.clone(), Box::new(made))
    });
    gate
}

#[tokio::test]
async fn while_a_token_is_made_other_users_are_too_late_and_the_same_phone_is_not() {
    let upstream = maker().await;
    for (service, _redis) in both(|settings| hooked(settings, &upstream)).await {
        let before = upstream.heard().len();
        let gate = held_back(&upstream);
        let (mut browser, key) = Browser::plain(service.address).await;
        let first = calling(service.address, "alice", &key);
        called(&upstream, before + 1).await;
        assert_eq!(Phone::of(service.address, "bob").scan(&key).await.codes(), (409, -3));
        let again = calling(service.address, "alice", &key);
        let heard = called(&upstream, before + 2).await.split_off(before);
        let keys: Vec<_> = heard.iter().map(|one| one.header("Idempotency-Key")).collect();
        assert_eq!(keys[0], keys[1], "the same, said twice");
        gate.open();
        let (first, again) = (first.await.unwrap(), again.await.unwrap());
        assert_eq!((first.codes(), again.codes()), ((200, 100), (200, 100)));
        assert_eq!(first.text("claim"), again.text("claim"));
        assert_eq!(browser.text().await, "made for alice");
        assert_eq!(browser.closed().await, Closed::Code(1000));
        let repeated = Phone::of(service.address, "alice").scan(&key).await;
        assert_eq!(repeated.codes(), (200, 100));
        assert_eq!(upstream.heard().len(), before + 2, "a repetition needs no token");
        assert_eq!(Phone::of(service.address, "bob").scan(&key).await.codes(), (404, -1));
    }
}

#[tokio::test]
async fn a_phone_that_hangs_up_leaves_nothing_half_done() {
    let upstream = maker().await;
    for (service, _redis) in both(|settings| hooked(settings, &upstream)).await {
        let before = upstream.heard().len();
        let gate = held_back(&upstream);
        let (mut browser, key) = Browser::plain(service.address).await;
        let call = calling(service.address, "alice", &key);
        called(&upstream, before + 1).await;
        call.abort();
        let _ = call.await;
        gate.open();
        assert_eq!(browser.text().await, "made for alice");
    }
}

#[tokio::test]
async fn the_acl_of_the_readme_is_enough_and_no_token_is_in_redis() {
    let redis = RedisServer::start().await;
    acl::prepare(&redis, acl::WEBHOOK).await;
    let recording = Recording::start(&redis).await;
    let upstream = maker().await;
    let settings = hooked(Settings::embedded(), &upstream).with("REDIS_URL", &acl::url(&redis));
    let service = Service::start(settings).await;
    let (mut browser, key) = Browser::plain(service.address).await;
    let phone = Phone::of(service.address, "alice");
    upstream.answer(|_| Reply::Status(500));
    assert_eq!(phone.scan(&key).await.codes(), (503, -6));
    upstream.answer(|_| Reply::Json(json!({ "token": "a token that is a secret" })));
    assert_eq!(phone.scan(&key).await.codes(), (200, 100));
    let claim = phone.scan(&key).await.text("claim").to_owned();
    assert_eq!(browser.text().await, "a token that is a secret");
    assert_eq!(browser.closed().await, Closed::Code(1000));
    assert_eq!(phone.outcome(&claim, 10).await.body["state"], "delivered");
    let lines = recording.lines(&redis).await;
    let queue = lines.iter().filter(|line| line.contains("\"scanlogin:outbox\""));
    assert!(queue.count() > 2, "the queue is used");
    for secret in ["a token that is a secret", SECRET, &key, &claim] {
        assert!(!lines.iter().any(|line| line.contains(secret)), "{secret}");
    }
    assert_eq!(acl::refused(&redis).await, [""; 0]);
}

#[tokio::test]
async fn without_a_lifetime_of_its_own_a_token_has_the_configured_one() {
    let upstream = Upstream::start(|_| Reply::Json(json!({ "token": "t", "more": [1] }))).await;
    let settings = hooked(Settings::embedded(), &upstream).with("TOKEN_TTL_SECONDS", "600");
    let service = Service::start(settings).await;
    let (mut browser, key) = Browser::json(service.address).await;
    let scanned = Phone::of(service.address, "alice").scan(key["key"].as_str().unwrap()).await;
    assert_eq!(scanned.codes(), (200, 100));
    let message: Value = browser.message().await;
    assert!((598..=600).contains(&message["expires_in"].as_u64().unwrap()), "{message}");
}
