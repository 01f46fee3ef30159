//! The addresses from which a user has confirmed before.

use serde_json::{Value, json};

use super::{browser_from, confirming};
use crate::helpers::{Phone, RedisServer, Service, Settings, both};

const JSON: Option<&str> = Some("scanlogin.v1");

/// The flags of a login of alice's phone, by a browser at this address, which is then decided.
async fn flags(service: &Service, client: &str, decision: &str) -> Value {
    let phone = Phone::of(service.address, "alice");
    let (_browser, key) = browser_from(service, client, JSON).await;
    let asked = phone.scan(&key).await;
    let body = json!({ "claim": asked.text("claim") });
    assert_eq!(phone.post(decision, &body).await.codes(), (200, 100));
    asked.body["flags"].clone()
}

#[tokio::test]
async fn an_address_is_known_after_a_confirmation_and_an_ipv6_address_with_its_network() {
    for (service, _redis) in both(confirming).await {
        let (differs, known) =
            (json!(["address_differs"]), json!(["address_differs", "address_known_to_user"]));
        let of = async |client, decision| flags(&service, client, decision).await;
        assert_eq!(of("203.0.113.9", "/scan/deny").await, differs);
        assert_eq!(of("203.0.113.9", "/scan/confirm").await, differs, "a denial teaches nothing");
        assert_eq!(of("203.0.113.9", "/scan/deny").await, known);
        assert_eq!(of("203.0.113.10", "/scan/deny").await, differs);
        assert_eq!(of("2001:db8::1", "/scan/confirm").await, differs);
        assert_eq!(of("2001:db8::2", "/scan/deny").await, known);
        assert_eq!(of("2001:db8:0:1::1", "/scan/deny").await, differs);
        // The phone's own address, known by now.
        assert_eq!(of("127.0.0.1", "/scan/confirm").await, json!([]));
        assert_eq!(of("127.0.0.1", "/scan/deny").await, json!(["address_known_to_user"]));
    }
}

#[tokio::test]
async fn instances_share_the_history_and_redis_shows_neither_addresses_nor_users() {
    let redis = RedisServer::start().await;
    let settings = || confirming(Settings::redis(&redis));
    let (a, b) = (Service::start(settings()).await, Service::start(settings()).await);
    flags(&a, "203.0.113.9", "/scan/confirm").await;
    let known = json!(["address_differs", "address_known_to_user"]);
    assert_eq!(flags(&b, "203.0.113.9", "/scan/deny").await, known);
    let keys = redis.keys().await;
    let history: Vec<_> = keys.iter().filter(|key| key.contains(":h:")).collect();
    assert_eq!(history.len(), 1, "{keys:?}");
    let value: Vec<u8> = redis.command(&["GET", history[0]]).await;
    let shown = [value, history[0].clone().into_bytes()].concat();
    let ipv4 = [203, 0, 113, 9];
    for secret in [&b"alice"[..], b"203.0.113", &ipv4] {
        let found = shown.windows(secret.len()).any(|window| window == secret);
        assert!(!found, "{secret:?} in {shown:?}");
    }
    // Nor does the user's other name in Redis, a hash without a key, lead to this one.
    let user = scanlogin::keys::user_hash("alice");
    assert!(!history[0].contains(&user));
    let left: i64 = redis.command(&["TTL", history[0]]).await;
    assert!((89 * 86_400..=90 * 86_400).contains(&left), "{left}");
    // Another secret knows nobody.
    let other = settings().with("TOKEN_SECRET", "another-secret-that-is-as-long-as-it-must-be");
    let c = Service::start(other).await;
    assert_eq!(flags(&c, "203.0.113.9", "/scan/deny").await, json!(["address_differs"]));
}

#[tokio::test]
async fn one_step_logins_leave_no_history() {
    let redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis)).await;
    let (_browser, key) = browser_from(&service, "203.0.113.9", JSON).await;
    assert_eq!(Phone::of(service.address, "alice").scan(&key).await.codes(), (200, 100));
    assert!(redis.keys().await.iter().all(|key| !key.contains(":h:")));
}
