//! The very moment of the deadline.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use super::Waiter;
use crate::helpers::{Closed, Phone, RedisServer, Service, Settings};

/// Spread around the deadline, on both of its sides.
async fn at_the_deadline(settings: Settings, count: u64) {
    let service = Service::start(settings.with("WAIT_SECONDS", "2").with("ROTATE_SECONDS", "0"));
    let service = service.await;
    let address = service.address;
    let logins = (0..count).map(|number| async move {
        // One after the other: what the key is late here, the scan would be late, too.
        tokio::time::sleep(Duration::from_millis(3 * number)).await;
        let mut waiter = Waiter::open(address, number % 2 == 0, &format!("user-{number}")).await;
        let opened = tokio::time::Instant::now();
        let phone = Phone::of(address, &waiter.user);
        // From 300 ms before the deadline to 200 ms after it: it is noticed within a tick. Not in the
        // order of opening.
        let at = Duration::from_micros(1_700_000 + (number * 7 % count) * 500_000 / count);
        let scan = async {
            tokio::time::sleep_until(opened + at).await;
            phone.scan(&waiter.key).await
        };
        let (scan, word) = tokio::join!(scan, waiter.browser.text());
        let word = serde_json::from_str::<Value>(&word)
            .map_or(word, |message| message["type"].as_str().unwrap_or_default().to_owned());
        let end = waiter.browser.closed().await;
        let is_token = !matches!(word.as_str(), "again" | "expired");
        match scan.codes() {
            (200, 100) => assert!(is_token, "told 100 and {word}"),
            (404, -1) => {
                assert!(!is_token);
                let code = if waiter.json { 4000 } else { 1000 };
                assert_eq!(end, Closed::Code(code));
            }
            other => panic!("{other:?}"),
        }
        usize::from(is_token)
    });
    let tokens: usize = join_all(logins).await.into_iter().sum();
    assert!((1..count as usize).contains(&tokens), "both must happen: {tokens} of {count}");
}

#[tokio::test]
async fn at_the_very_deadline_a_phone_that_was_told_100_never_meets_expired_with_redis() {
    let redis = RedisServer::start().await;
    at_the_deadline(Settings::redis(&redis), 600).await;
}

#[tokio::test]
async fn at_the_very_deadline_a_phone_that_was_told_100_never_meets_expired_in_memory() {
    at_the_deadline(Settings::embedded(), 600).await;
}
