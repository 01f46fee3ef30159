//! How many questions may wait for one person.

use futures_util::future::join_all;
use serde_json::json;

use super::{confirming, scanned};
use crate::helpers::{Answer, Browser, Phone, RedisServer, Service, Settings, both, eventually};

async fn try_scan(service: &Service, phone: &Phone) -> (Browser, Answer) {
    let (browser, key) = Browser::json(service.address).await;
    (browser, phone.scan(key["key"].as_str().unwrap()).await)
}

#[tokio::test]
async fn past_the_most_open_claims_a_user_is_refused_until_one_is_decided_or_left() {
    for (service, _redis) in both(|s| confirming(s).with("CLAIMS_PER_USER", "2")).await {
        let phone = Phone::of(service.address, "alice");
        let (_first, first, _) = scanned(&service, &phone).await;
        let (second_browser, second, _) = scanned(&service, &phone).await;
        let (_browser, refused) = try_scan(&service, &phone).await;
        assert_eq!(refused.codes(), (429, -4));
        let wait: u32 = refused.header("retry-after").parse().unwrap();
        assert!((1..=90).contains(&wait), "{wait}");
        assert_eq!(service.metric("scanlogin_scans_total{result=\"crowded\"}").await, 1.0);
        let (_bobs, bobs) = try_scan(&service, &phone.lent_to("bob")).await;
        assert_eq!(bobs.codes(), (200, 101), "another user");
        // One confirmed, one denied, one left by its browser: a place each.
        let body = json!({ "claim": first.text("claim") });
        assert_eq!(phone.post("/scan/confirm", &body).await.codes(), (200, 100));
        let (_third, third, _) = scanned(&service, &phone).await;
        assert_eq!(try_scan(&service, &phone).await.1.codes(), (429, -4));
        let body = json!({ "claim": third.text("claim") });
        assert_eq!(phone.post("/scan/deny", &body).await.codes(), (200, 100));
        let (_fourth, ..) = scanned(&service, &phone).await;
        assert_eq!(try_scan(&service, &phone).await.1.codes(), (429, -4));
        second_browser.leave(1000).await;
        eventually("the login goes with its browser", || async {
            let state = phone.outcome(second.text("claim"), 0).await;
            (state.body["state"] == "cancelled").then_some(())
        })
        .await;
        let _fifth = scanned(&service, &phone).await;
    }
}

#[tokio::test]
async fn a_repetition_needs_no_place_and_a_scan_that_fails_takes_none() {
    let service =
        Service::start(confirming(Settings::embedded()).with("CLAIMS_PER_USER", "1")).await;
    let phone = Phone::of(service.address, "alice");
    let (_bobs, bobs_key) = Browser::json(service.address).await;
    let bobs_key = bobs_key["key"].as_str().unwrap();
    assert_eq!(phone.lent_to("bob").scan(bobs_key).await.codes(), (200, 101));
    assert_eq!(phone.scan(bobs_key).await.codes(), (409, -3));
    let (_browser, key) = Browser::json(service.address).await;
    let key = key["key"].as_str().unwrap();
    let first = phone.scan(key).await;
    assert_eq!(first.codes(), (200, 101));
    let again = phone.scan(key).await;
    assert_eq!((again.codes(), again.text("claim")), ((200, 101), first.text("claim")));
}

#[tokio::test]
async fn a_repetition_at_an_instance_that_is_full_for_its_user_is_answered_as_before() {
    let redis = RedisServer::start().await;
    let settings = || confirming(Settings::redis(&redis)).with("CLAIMS_PER_USER", "1");
    let (a, b) = (Service::start(settings()).await, Service::start(settings()).await);
    let (_browser, key) = Browser::json(a.address).await;
    let key = key["key"].as_str().unwrap();
    let first = Phone::of(a.address, "alice").scan(key).await;
    let elsewhere = Phone::of(b.address, "alice");
    let _other = scanned(&b, &elsewhere).await;
    let again = elsewhere.scan(key).await;
    assert_eq!((again.codes(), again.text("claim")), ((200, 101), first.text("claim")));
}

#[tokio::test]
async fn scans_of_the_same_moment_do_not_slip_through() {
    for (service, _redis) in both(|s| confirming(s).with("CLAIMS_PER_USER", "3")).await {
        let phone = Phone::of(service.address, "alice");
        let browsers = join_all((0..12).map(|_| Browser::json(service.address))).await;
        let scans = browsers.iter().map(|(_, key)| phone.scan(key["key"].as_str().unwrap()));
        let answers = join_all(scans).await;
        let claimed = answers.iter().filter(|answer| answer.codes() == (200, 101)).count();
        let refused = answers.iter().filter(|answer| answer.codes() == (429, -4)).count();
        assert_eq!((claimed, refused), (3, 9));
    }
}

#[tokio::test]
async fn what_was_decided_at_another_instance_frees_its_place_here() {
    let redis = RedisServer::start().await;
    let settings = || confirming(Settings::redis(&redis)).with("CLAIMS_PER_USER", "1");
    let (a, b) = (Service::start(settings()).await, Service::start(settings()).await);
    let phone = Phone::of(a.address, "alice");
    let (_first, asked, _) = scanned(&a, &phone).await;
    assert_eq!(try_scan(&a, &phone).await.1.codes(), (429, -4));
    let body = json!({ "claim": asked.text("claim") });
    let elsewhere = Phone::of(b.address, "alice");
    assert_eq!(elsewhere.post("/scan/confirm", &body).await.codes(), (200, 100));
    let _second = scanned(&a, &phone).await;
}

#[tokio::test]
async fn without_a_limit_there_is_none() {
    let settings = confirming(Settings::embedded()).with("CLAIMS_PER_USER", "0");
    let service = Service::start(settings).await;
    let phone = Phone::of(service.address, "alice");
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(scanned(&service, &phone).await);
    }
}
