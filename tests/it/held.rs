//! Calls that a phone holds open: how many, and what they cost Redis.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;

use crate::helpers::{
    Browser, Phone, RedisServer, Service, Settings, both, eventually, phone::Answer,
};

/// What one user may hold open at once (README).
const MOST: usize = 8;

/// A login that this user has scanned and must still confirm: its browser, and the claim.
async fn scanned(service: &Service, phone: &Phone) -> (Browser, String) {
    let (browser, key) = Browser::json(service.address).await;
    let scanned = phone.scan(key["key"].as_str().unwrap()).await;
    assert_eq!(scanned.codes(), (200, 101));
    (browser, scanned.text("claim").to_owned())
}

/// A call that is held open, as soon as there is a place for it.
async fn held(phone: Phone, claim: String) -> Answer {
    eventually("it is held", || async {
        Some(phone.outcome(&claim, 10).await).filter(|answer| answer.status != 429)
    })
    .await
}

/// Until one more call of this user is refused.
async fn until_full(phone: &Phone, claim: &str) {
    eventually("all places are taken", || async {
        let refused = phone.outcome(claim, 1).await;
        (refused.codes() == (429, -4)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_user_holds_a_few_calls_open_and_is_refused_more_of_them() {
    for (service, _redis) in both(|settings| settings.with("CONFIRM", "required")).await {
        let (alice, bob) = (Phone::of(service.address, "alice"), Phone::of(service.address, "bob"));
        let (browser, claim) = scanned(&service, &alice).await;
        let (_of_bob, claim_of_bob) = scanned(&service, &bob).await;
        let calls: Vec<_> =
            (0..MOST).map(|_| tokio::spawn(held(alice.clone(), claim.clone()))).collect();
        until_full(&alice, &claim).await;
        let refused = alice.outcome(&claim, 10).await;
        assert_eq!(refused.codes(), (429, -4));
        assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
        // Asked without waiting, and by others, as ever.
        assert_eq!(alice.outcome(&claim, 0).await.text("state"), "scanned");
        assert_eq!(bob.outcome(&claim_of_bob, 1).await.text("state"), "scanned");
        // What a call is for is done all the same, and its state is what it is by then.
        let confirmed = alice.post("/scan/confirm?wait=10", &json!({ "claim": claim })).await;
        assert_eq!((confirmed.codes(), confirmed.text("state")), ((200, 100), "approved"));
        let ended = alice.post("/scan/deny", &json!({ "claim": claim })).await;
        assert_eq!(ended.codes(), (409, -3));
        drop(browser);
        for call in calls {
            let answer = call.await.unwrap();
            assert_eq!(answer.codes(), (200, 100));
        }
        // And the places are free again.
        assert_eq!(alice.outcome(&claim, 1).await.codes(), (200, 100));
    }
}

#[tokio::test]
async fn a_scan_that_waits_for_its_outcome_is_under_the_same_bound() {
    let service = Service::start(Settings::embedded()).await;
    let alice = Phone::of(service.address, "alice");
    // Approved in one step, and nobody takes the token: held until the time is over.
    let mut browsers = Vec::new();
    let mut held = Vec::new();
    for _ in 0..MOST {
        let (browser, key) = Browser::json(service.address).await;
        browsers.push(browser);
        let alice = alice.clone();
        held.push(tokio::spawn(async move {
            alice.post("/scan?wait=10", &json!({ "key": key["key"] })).await
        }));
    }
    for browser in &mut browsers {
        browser.message_of("token").await;
    }
    let (mut more, key) = Browser::json(service.address).await;
    let at_once = alice.post("/scan?wait=10", &json!({ "key": key["key"] })).await;
    assert_eq!((at_once.codes(), at_once.text("state")), ((200, 100), "approved"));
    more.message_of("token").await;
    assert_eq!(alice.outcome(at_once.text("claim"), 10).await.codes(), (429, -4));
    for (browser, call) in browsers.iter_mut().zip(held) {
        browser.say(&json!({ "type": "received" })).await;
        assert_eq!(call.await.unwrap().text("state"), "delivered");
    }
}

/// Commands that the service has sent to read records and entries.
async fn reads(redis: &RedisServer) -> usize {
    let text: String = redis.command(&["INFO", "commandstats"]).await;
    let calls = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":calls="));
        line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
    };
    calls("cmdstat_get") + calls("cmdstat_mget")
}

#[tokio::test]
async fn calls_that_are_held_open_look_at_their_logins_together() {
    const CALLS: usize = 100;
    let redis = RedisServer::start().await;
    let settings = Settings::redis(&redis).with("CONFIRM", "required").with("WORKERS", "1");
    let service = Service::start(settings).await;
    let mut all = Vec::new();
    for number in 0..CALLS {
        let phone = Phone::of(service.address, &format!("user-{number}"));
        let (browser, claim) = scanned(&service, &phone).await;
        // Approved: what a call waits for nearly always, and what took two reads for each look.
        let confirmed = phone.post("/scan/confirm", &json!({ "claim": claim })).await;
        assert_eq!(confirmed.codes(), (200, 100));
        all.push((phone, browser, claim));
    }
    let (before, began) = (reads(&redis).await, Instant::now());
    let calls = all.iter().map(|(phone, _, claim)| phone.outcome(claim, 8));
    for answer in join_all(calls).await {
        assert_eq!(answer.text("state"), "approved");
    }
    let (reads, took) = (reads(&redis).await - before, began.elapsed());
    // Two for the first look of each and two for its last, and one each 250 ms for all of them, and
    // as many for what else the service reads meanwhile. One by one they were 6,400.
    let most = 4 * CALLS + 8 * took.as_secs() as usize + 50;
    eprintln!("{CALLS} calls held for {took:?}: {reads} reads");
    assert!(reads <= most, "{reads} reads for {CALLS} calls in {took:?}, not {most}");
}
