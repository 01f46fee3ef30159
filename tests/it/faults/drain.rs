//! An instance is asked to go.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use super::Waiter;
use crate::helpers::{
    Browser, Closed, Phone, Process, RedisServer, Service, Settings, eventually, phone::verify,
};

fn ready(process: &Process) -> String {
    format!("http://{}/readyz", process.admin_address)
}

#[tokio::test]
async fn a_drain_sends_everybody_elsewhere_spread_over_its_time_and_exits_with_0() {
    let redis = RedisServer::start().await;
    let other = Service::start(Settings::redis(&redis)).await;
    let settings = Settings::redis(&redis).with("DRAIN_SECONDS", "3");
    let mut process = Process::start(settings).await;
    let mut waiters = Vec::new();
    for number in 0..60 {
        waiters.push(Waiter::open(process.address, true, &format!("user-{number}")).await);
    }
    // One that was let in and has not said yet what it resumes.
    let protocol = Some("scanlogin.v1");
    let mut silent = Browser::open(process.address, "?resume=1", protocol, &[]).await.unwrap();
    let start = Instant::now();
    process.terminate();
    let readiness = ready(&process);
    eventually("not ready", || async {
        reqwest::get(&readiness).await.ok().filter(|answer| answer.status() == 503)
    })
    .await;
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    let refused = Browser::open(process.address, "", protocol, &[]).await.err().expect("a refusal");
    assert_eq!((refused.status, refused.body["code"].as_i64()), (503, Some(-6)));
    assert!(refused.headers.iter().any(|(name, _)| name == "retry-after"));

    // Whom it takes over is told so, or had been sent elsewhere already.
    let taken_over = waiters.swap_remove(0);
    silent.say(&json!({ "type": "resume", "resume": taken_over.resume })).await;
    assert_eq!(silent.closed().await, Closed::Code(1012));
    let ends = waiters.into_iter().map(|mut waiter| async move {
        let drain = waiter.browser.message_of("drain").await;
        assert!(drain["retry_in_ms"].is_u64());
        assert_eq!(waiter.browser.closed().await, Closed::Code(1012));
        (start.elapsed(), waiter)
    });
    let ends = join_all(ends).await;
    let times: Vec<_> = ends.iter().map(|(time, _)| *time).collect();
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(*last - *first > Duration::from_millis(1500), "spread: {first:?} to {last:?}");

    // Phones are answered meanwhile; browsers go on elsewhere with the same code.
    let logins = ends.into_iter().map(|(_, mut waiter)| {
        let address = other.address;
        async move {
            waiter.is_scanned(address).await;
            waiter.browser = Browser::resume(address, &waiter.resume).await;
            waiter.gets_its_token().await;
        }
    });
    join_all(logins).await;
    let exit = tokio::task::spawn_blocking(move || process.child.wait()).await.unwrap();
    assert_eq!(exit.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let redis = RedisServer::start().await;
    let settings = Settings::redis(&redis).with("DRAIN_SECONDS", "60");
    let mut process = Process::start(settings).await;
    let _waiters = Waiter::some(process.address, 10).await;
    process.terminate();
    let readiness = ready(&process);
    eventually("not ready", || async {
        reqwest::get(&readiness).await.ok().filter(|answer| answer.status() == 503)
    })
    .await;
    let start = Instant::now();
    process.terminate();
    let exit = tokio::task::spawn_blocking(move || process.child.wait()).await.unwrap();
    assert!(exit.unwrap().code().is_some());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn at_a_drain_a_plain_browser_gets_its_token_if_the_phone_was_quicker_and_again_if_not() {
    for round in 0..3 {
        let redis = RedisServer::start().await;
        let other = Service::start(Settings::redis(&redis)).await;
        let settings = Settings::redis(&redis).with("DRAIN_SECONDS", "1");
        let service = Service::start(settings).await;
        let mut waiters = Vec::new();
        for number in 0..40 {
            waiters.push(Waiter::open(service.address, false, &format!("user-{number}")).await);
        }
        service.stop();
        let phones = other.address;
        let logins = waiters.into_iter().enumerate().map(|(number, mut waiter)| async move {
            // Spread like the drain, so that some are before it and some after.
            tokio::time::sleep(Duration::from_millis(number as u64 * 25 + round * 7)).await;
            let phone = Phone::of(phones, &waiter.user);
            let (scan, word) = tokio::join!(phone.scan(&waiter.key), waiter.browser.text());
            let end = waiter.browser.closed().await;
            if scan.codes() == (200, 100) {
                assert_eq!(verify(phones, &word).await.status, 200, "{word}");
                assert_eq!(end, Closed::Code(1000));
                let claim = scan.body["claim"].as_str().unwrap();
                assert_eq!(phone.outcome(claim, 10).await.body["state"], "delivered");
                1
            } else {
                assert_eq!(scan.codes(), (404, -1));
                assert_eq!((word.as_str(), end), ("again", Closed::Code(1012)));
                0
            }
        });
        let tokens: usize = join_all(logins).await.into_iter().sum();
        assert!((1..40).contains(&tokens), "both must happen: {tokens}");
        service.drained().await;
    }
}
