//! The way that a login goes, and each way that it can end, on both stores.

use serde_json::json;

use crate::helpers::{
    Browser, Closed, Phone, RedisServer, Service, Settings,
    phone::{logout, verify},
};

/// A service on each store.
async fn both(change: impl Fn(Settings) -> Settings) -> Vec<(Service, Option<RedisServer>)> {
    let redis = RedisServer::start().await;
    let shared = Service::start(change(Settings::redis(&redis))).await;
    let embedded = Service::start(change(Settings::embedded())).await;
    vec![(embedded, None), (shared, Some(redis))]
}

#[tokio::test]
async fn a_plain_browser_gets_its_key_then_its_token_and_a_close() {
    for (service, _redis) in both(|settings| settings).await {
        let (mut browser, key) = Browser::plain(service.address).await;
        let scanned = Phone::of(service.address, "alice").scan(&key).await;
        assert_eq!(scanned.codes(), (200, 100));
        assert_eq!(scanned.body["msg"], "Sao successfully");
        let token = browser.text().await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        let verified = verify(service.address, &token).await;
        assert_eq!((verified.status, &verified.body["user"]), (200, &json!("alice")));
        assert_eq!(verified.body["platform"], "web");
    }
}

#[tokio::test]
async fn a_json_browser_acknowledges_its_token_and_the_phone_sees_it_delivered() {
    for (service, _redis) in both(|settings| settings).await {
        let (mut browser, key) = Browser::json(service.address).await;
        assert_eq!(key["seq"], 1);
        let phone = Phone::of(service.address, "alice");
        let scanned = phone.scan(key["url"].as_str().unwrap()).await;
        assert_eq!(scanned.codes(), (200, 100));
        let claim = scanned.body["claim"].as_str().unwrap();
        let token = browser.message().await;
        assert_eq!((&token["type"], &token["user"]), (&json!("token"), &json!("alice")));
        assert_eq!(phone.outcome(claim, 0).await.body["state"], "approved");
        browser.say(&json!({ "type": "received" })).await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        assert_eq!(phone.outcome(claim, 10).await.body["state"], "delivered");
        let token = token["token"].as_str().unwrap();
        assert_eq!(verify(service.address, token).await.status, 200);
        assert_eq!(logout(service.address, token).await.status, 200);
        assert_eq!(verify(service.address, token).await.status, 401);
    }
}
