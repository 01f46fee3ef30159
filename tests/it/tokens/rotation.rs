//! Keys and secrets are exchanged, and nobody is logged out.

use jsonwebtoken::{Algorithm, decode_header};
use serde_json::Value;

use super::{
    ACCEPTED, REFUSED, claims, scan_with,
    web_keys::{key_set, token},
};
use crate::helpers::{
    RedisServer, Service, Settings,
    pem::Keys,
    phone::{app_token, verify},
    service::{APP_SECRET, TOKEN_SECRET},
};

const OTHER: &str = "another-secret-of-these-tests-is-long-enough";

#[tokio::test]
async fn the_first_key_signs_and_all_are_listed_and_accepted() {
    let (keys, redis) = (Keys::new(), RedisServer::start().await);
    keys.make("old", Algorithm::RS256);
    keys.make("new", Algorithm::EdDSA);
    let (old, new) = (keys.text("old.pem"), keys.text("new.pem"));
    let steps = [
        keys.write("1", &old),
        keys.write("2", &format!("{old}{new}")),
        keys.write("3", &format!("{new}{old}")),
        keys.write("4", &new),
    ];
    let mut services = Vec::new();
    for path in steps {
        let settings = Settings::redis(&redis).without("TOKEN_SECRET");
        services.push(Service::start(settings.with("TOKEN_PRIVATE_KEY_FILE", &path)).await);
    }
    let (mut signed, mut listed) = (Vec::new(), Vec::new());
    for (step, service) in services.iter().enumerate() {
        let token = token(service.address, &format!("user{step}")).await;
        signed.push((decode_header(&token).unwrap().kid.unwrap(), token));
        let set: Value = key_set(service.address).await.0.json().await.unwrap();
        let ids = set["keys"].as_array().unwrap().iter().map(|key| key["kid"].to_string());
        listed.push(ids.collect::<Vec<_>>());
    }
    assert_eq!((signed[0].0 == signed[1].0, signed[1].0 == signed[2].0), (true, false));
    assert_eq!(signed[2].0, signed[3].0);
    assert_eq!(listed.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 2, 1]);
    // Two neighbouring steps, which are out at the same time, accept each other's tokens.
    let accepted = [&[0, 1][..], &[0, 1, 2, 3], &[0, 1, 2, 3], &[2, 3]];
    for (step, service) in services.iter().enumerate() {
        for (by, (_, token)) in signed.iter().enumerate() {
            let status = verify(service.address, token).await.status;
            assert_eq!(status == 200, accepted[step].contains(&by), "step {by} at step {step}");
        }
    }
}

#[tokio::test]
async fn a_previous_token_secret_verifies_and_never_signs() {
    let redis = RedisServer::start().await;
    let before = Service::start(Settings::redis(&redis)).await;
    let with = Settings::redis(&redis).with("TOKEN_SECRET", OTHER);
    let during = with.clone().with("TOKEN_SECRET_PREVIOUS", TOKEN_SECRET);
    let (during, after) = (Service::start(during).await, Service::start(with).await);
    let old = token(before.address, "alice").await;
    let new = token(during.address, "bob").await;
    for (service, old_status, new_status) in
        [(&before, 200, 401), (&during, 200, 200), (&after, 401, 200)]
    {
        assert_eq!(verify(service.address, &old).await.status, old_status);
        assert_eq!(verify(service.address, &new).await.status, new_status);
    }
}

#[tokio::test]
async fn a_previous_secret_also_leads_from_a_secret_to_a_key() {
    let (redis, keys) = (RedisServer::start().await, Keys::new());
    let app = keys.make("app", Algorithm::ES256);
    keys.make("token", Algorithm::ES256);
    let before = Service::start(Settings::redis(&redis)).await;
    let during = Settings::redis(&redis)
        .without("TOKEN_SECRET")
        .without("APP_JWT_SECRET")
        .with("TOKEN_PRIVATE_KEY_FILE", &keys.path("token.pem"))
        .with("TOKEN_SECRET_PREVIOUS", TOKEN_SECRET)
        .with("APP_JWT_PUBLIC_KEY_FILE", &keys.path("app.pub"))
        .with("APP_JWT_SECRET_PREVIOUS", APP_SECRET);
    let during = Service::start(during).await;
    let old = token(before.address, "alice").await;
    let new = token(during.address, "bob").await;
    for token in [old, new] {
        assert_eq!(verify(during.address, &token).await.status, 200);
    }
    assert_eq!(scan_with(during.address, &app.sign(&claims("alice"))).await, ACCEPTED);
}

#[tokio::test]
async fn a_previous_app_secret_is_accepted_beside_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("previous");
    std::fs::write(&path, format!("{APP_SECRET}\n")).unwrap();
    let settings = Settings::embedded()
        .with("APP_JWT_SECRET", OTHER)
        .with("APP_JWT_SECRET_PREVIOUS_FILE", path.to_str().unwrap());
    let service = Service::start(settings).await;
    for (secret, result) in [(APP_SECRET, ACCEPTED), (OTHER, ACCEPTED), (TOKEN_SECRET, REFUSED)] {
        let token = app_token(&claims("alice"), secret);
        assert_eq!(scan_with(service.address, &token).await, result, "{secret}");
    }
}
