//! An injected clock, and times that others compare with theirs or that we have from others: the webhook's
//! signature, spans, the age of the key set.

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::{DAY, HOUR, STEPS, TOLERANCE, log_in, phone_at, stepping, stepping_on_both, text};
use crate::{
    helpers::{
        Browser, Phone, RedisServer, Settings, eventually,
        pem::{Keys, SigningKey},
        upstream::{Reply, Upstream},
    },
    tokens::{key_set::make, webhook},
    traces::{collector, spans},
};

#[tokio::test]
async fn the_webhooks_signature_has_the_wall_clock_of_its_moment() {
    let maker = webhook::maker().await;
    for (service, clock, _redis) in stepping_on_both(|s| webhook::hooked(s, &maker)).await {
        for step in STEPS {
            clock.step(step);
            let wall = clock.wall().as_secs();
            let frame = log_in(&phone_at(service.address, wall)).await;
            let heard = maker.heard().pop().expect("a call");
            let signed = heard.header("Scanlogin-Signature").to_owned();
            assert!(signed.starts_with(&format!("t={wall},")), "{signed} at {wall}");
            assert_eq!(heard.json()["time"], wall);
            let left = frame["expires_in"].as_u64().unwrap();
            assert!((58..=60).contains(&left), "the maker said 60, the browser heard {left}");
            clock.step(-step);
        }
    }
}

#[tokio::test]
async fn spans_are_where_the_wall_clock_was_when_they_ended() {
    let redis = RedisServer::start().await;
    for settings in [Settings::embedded(), Settings::redis(&redis)] {
        for step in [DAY, -DAY] {
            let (collector, maker) = (collector().await, webhook::maker().await);
            let settings = webhook::hooked(settings.clone(), &maker);
            let (service, clock) =
                stepping(settings.with("OTLP_ENDPOINT", &collector.url(""))).await;
            clock.step(step);
            let wall = clock.wall().as_secs();
            log_in(&phone_at(service.address, wall)).await;
            service.drained().await;
            let spans = spans(&collector);
            let mut names: Vec<_> = spans.iter().map(|span| &span.name[..]).collect();
            names.sort_unstable();
            assert_eq!(names, ["GET /ws", "POST /scan", "login", "webhook"]);
            for span in &spans {
                let events = span.events.iter().map(|event| event.time_unix_nano);
                let times = [span.start_time_unix_nano, span.end_time_unix_nano].into_iter();
                for nanos in times.chain(events) {
                    let apart = (nanos / 1_000_000_000).abs_diff(wall);
                    assert!(apart <= TOLERANCE, "{}: {apart} s, after {step}", span.name);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_was_withdrawn_while_the_machine_slept_is_good_no_more_when_it_wakes() {
    const FETCHED: &str = "scanlogin_jwks_refreshed_timestamp_seconds";
    let keys = Keys::new();
    let (key, jwk) = make(&keys, "key", Algorithm::ES256);
    let (_, other) = make(&keys, "other", Algorithm::EdDSA);
    let set = |keys: serde_json::Value| move |_: &_| Reply::Json(json!({ "keys": keys }));
    let upstream = Upstream::start(set(json!([jwk]))).await;
    let settings = Settings::embedded().without("APP_JWT_SECRET");
    let (service, clock) = stepping(settings.with("APP_JWKS_URL", &upstream.url("/keys"))).await;
    let began = clock.wall().as_secs();
    assert_eq!(service.metric(FETCHED).await, began as f64);
    let scan = async || {
        let (_browser, key_frame) = Browser::json(service.address).await;
        let claims = json!({ "sub": "alice", "exp": clock.wall().as_secs() + 600 });
        // One that names its key would ask for the set by itself, if it is not in it.
        let nameless = SigningKey { id: None, ..key.clone() };
        let phone = Phone::with_token(service.address, &nameless.sign(&claims));
        phone.scan(text(&key_frame, "key")).await.codes()
    };
    assert_eq!(scan().await, (200, 100));
    // Once more when the clock was set forward, not at all when it was set back.
    for (step, fetches) in [(HOUR, 1), (0, 0), (-HOUR, 0), (DAY, 1)] {
        let before = upstream.heard().len();
        clock.step(step);
        assert_eq!(scan().await, (200, 100));
        assert_eq!(upstream.heard().len() - before, fetches, "{step} s");
        if fetches > 0 {
            assert_eq!(service.metric(FETCHED).await, clock.wall().as_secs() as f64);
        }
    }
    upstream.answer(set(json!([other])));
    assert_eq!(scan().await, (200, 100), "known until the set is fetched again");
    clock.step(3 * HOUR);
    assert_eq!(scan().await, (401, -2));
    // While it cannot be fetched the old keys stay, and nobody waits for it time and again.
    upstream.answer(set(json!([jwk])));
    clock.step(HOUR);
    assert_eq!(scan().await, (200, 100));
    upstream.answer(|_| Reply::Status(500));
    clock.step(HOUR);
    assert_eq!(scan().await, (200, 100));
    let failed = "scanlogin_jwks_refreshes_total{result=\"status\"}";
    let count = eventually("it was tried", || async {
        Some(service.metric(failed).await).filter(|count| *count > 0.0)
    })
    .await;
    for _ in 0..5 {
        assert_eq!(scan().await, (200, 100));
    }
    assert!(service.metric(failed).await - count < 5.0, "a fetch for each token");
}
