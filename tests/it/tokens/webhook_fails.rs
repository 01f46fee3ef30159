//! A webhook that makes no token: the phone is told to try again, and the login is as it was.

use serde_json::json;

use super::webhook::{PATH, approve, hooked, maker, token_for};
use crate::helpers::{
    Browser, Phone, RedisServer, Service, Settings, both, eventually,
    upstream::{Reply, Upstream},
};

const AWAY: (u16, i64) = (503, -6);

async fn failed(service: &Service, result: &str) -> f64 {
    let series = format!("scanlogin_webhook_requests_total{{event=\"login\",result=\"{result}\"}}");
    service.metric(&series).await
}

fn make_again(upstream: &Upstream) {
    upstream.answer(|heard| Reply::Json(json!({ "token": token_for(heard) })));
}

#[tokio::test]
async fn whatever_is_wrong_with_its_answer_the_login_is_as_it_was() {
    let upstream = maker().await;
    let long = "x".repeat(4097);
    let failures = [
        ("status", Reply::Status(500)),
        ("status", Reply::Status(403)),
        ("status", Reply::Status(204)),
        ("status", Reply::Redirect(upstream.url("/elsewhere"))),
        ("invalid", Reply::Text("no JSON".into())),
        ("invalid", Reply::Json(json!({ "code": 100 }))),
        ("invalid", Reply::Json(json!(["t"]))),
        ("invalid", Reply::Json(json!(["t", 60]))),
        ("invalid", Reply::Json(json!({ "token": 7 }))),
        ("invalid", Reply::Json(json!({ "token": "" }))),
        ("invalid", Reply::Json(json!({ "token": "a\nb" }))),
        ("invalid", Reply::Json(json!({ "token": long }))),
        ("invalid", Reply::Json(json!({ "token": "t", "expires_in": 0 }))),
        ("invalid", Reply::Json(json!({ "token": "t", "expires_in": 31_536_001 }))),
        ("invalid", Reply::Json(json!({ "token": "t", "more": "x".repeat(20_000) }))),
        ("no_answer", Reply::Never),
    ];
    for confirm in ["off", "required"] {
        let change = |settings| hooked(settings, &upstream).with("CONFIRM", confirm);
        for (service, _redis) in both(change).await {
            for (result, reply) in &failures {
                let (mut browser, key) = Browser::plain(service.address).await;
                let before = failed(&service, result).await;
                let failing = reply.clone();
                upstream.answer(move |_| failing.clone());
                let phone = Phone::of(service.address, "alice");
                let refused = approve(&phone, &key).await;
                assert_eq!(refused.codes(), AWAY, "{reply:?}");
                assert!(!refused.header("Retry-After").is_empty());
                assert_eq!(failed(&service, result).await, before + 1.0, "{reply:?}");
                make_again(&upstream);
                // In one step it is free again for anybody; claimed it stays its user's.
                let user = if confirm == "off" { "bob" } else { "alice" };
                let phone = Phone::of(service.address, user);
                assert_eq!(approve(&phone, &key).await.codes(), (200, 100), "{reply:?}");
                assert_eq!(browser.text().await, format!("made for {user}"));
            }
        }
    }
    assert!(upstream.heard().iter().all(|heard| heard.path == PATH), "a redirect was followed");
}

#[tokio::test]
async fn a_webhook_that_is_not_there_has_heard_nothing_and_nothing_stays_in_the_queue() {
    let mut upstream = maker().await;
    let redis = RedisServer::start().await;
    let service = Service::start(hooked(Settings::redis(&redis), &upstream)).await;
    let (mut browser, key) = Browser::plain(service.address).await;
    let phone = Phone::of(service.address, "alice");
    let queue = async || redis.command::<u64>(&["ZCARD", "scanlogin:outbox"]).await;
    upstream.down().await;
    assert_eq!(phone.scan(&key).await.codes(), AWAY);
    assert_eq!((failed(&service, "unreachable").await, queue().await), (1.0, 0));
    upstream.up().await;
    upstream.answer(|_| Reply::Status(500));
    assert_eq!(phone.scan(&key).await.codes(), AWAY);
    assert_eq!(queue().await, 1, "it may have made one");
    upstream.down().await;
    assert_eq!(phone.scan(&key).await.codes(), AWAY);
    assert_eq!(queue().await, 1, "and still may have");
    upstream.up().await;
    make_again(&upstream);
    assert_eq!(phone.scan(&key).await.codes(), (200, 100));
    assert_eq!(browser.text().await, "made for alice");
    browser.closed().await;
    eventually("what is delivered leaves the queue", || async {
        (queue().await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_refused_scan_and_a_key_that_does_not_exist_are_no_business_of_the_webhook() {
    let upstream = maker().await;
    for confirm in ["off", "required"] {
        let settings = hooked(Settings::embedded(), &upstream).with("CONFIRM", confirm);
        let service = Service::start(settings).await;
        let (_browser, key) = Browser::plain(service.address).await;
        let phone = Phone::of(service.address, "alice");
        assert_eq!(phone.scan("x").await.codes(), (404, -1));
        let nobody = Phone::with_token(service.address, "x");
        assert_eq!(nobody.scan(&key).await.codes(), (401, -2));
        let claim = json!({ "claim": "A".repeat(64) });
        assert_eq!(phone.post("/scan/confirm", &claim).await.codes(), (404, -1));
        if confirm == "required" {
            let claim = phone.scan(&key).await.text("claim").to_owned();
            let claim = json!({ "claim": claim });
            let other = Phone::of(service.address, "bob");
            assert_eq!(other.post("/scan/confirm", &claim).await.codes(), (403, -7));
            assert_eq!(phone.post("/scan/deny", &claim).await.codes(), (200, 100));
            assert_eq!(phone.post("/scan/confirm", &claim).await.codes(), (404, -1));
        }
    }
    assert_eq!(upstream.heard().len(), 0);
}

#[tokio::test]
async fn a_wrong_number_is_counted_and_no_business_of_the_webhook() {
    let redis = RedisServer::start().await;
    for settings in [Settings::embedded(), Settings::redis(&redis)] {
        let upstream = maker().await;
        let settings = hooked(settings, &upstream).with("CONFIRM", "required");
        let service = Service::start(settings.with("MATCH", "always")).await;
        let (mut browser, key) = Browser::json(service.address).await;
        let phone = Phone::of(service.address, "alice");
        let scanned = phone.scan(key["key"].as_str().unwrap()).await;
        let shown = browser.message_of("scanned").await["match"].as_str().unwrap().to_owned();
        let wrong = if shown == "00" { "01" } else { "00" };
        let confirm = |number: &str| {
            let body = json!({ "claim": scanned.text("claim"), "match": number });
            async { phone.post("/scan/confirm", &{ body }).await }
        };
        for tries_left in [2, 1] {
            let missed = confirm(wrong).await;
            assert_eq!(
                (missed.codes(), &missed.body["tries_left"]),
                ((403, -7), &json!(tries_left))
            );
        }
        assert_eq!(upstream.heard().len(), 0);
        assert_eq!(confirm(&shown).await.codes(), (200, 100));
        assert_eq!(browser.message_of("token").await["token"], "made for alice");
        assert_eq!(upstream.heard().len(), 1);
    }
}
