//! Many phones, one key, the same instant.

use futures_util::future::join_all;
use serde_json::json;

use crate::helpers::{Browser, Closed, Phone, both, phone::verify, service::claims};

#[tokio::test]
async fn of_fifty_users_who_scan_one_key_at_once_exactly_one_wins() {
    for (service, _redis) in both(|settings| settings).await {
        let (mut browser, key) = Browser::json(service.address).await;
        let key = key["key"].as_str().unwrap();
        let phone = Phone::of(service.address, "user-0");
        let phones: Vec<_> = (0..50).map(|n| phone.lent_to(&format!("user-{n}"))).collect();
        let answers = join_all(phones.iter().map(|phone| phone.scan(key))).await;
        let winners: Vec<_> = answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| answer.codes() == (200, 100))
            .map(|(n, _)| format!("user-{n}"))
            .collect();
        let [winner] = &winners[..] else { panic!("exactly one, not {winners:?}") };
        for answer in &answers {
            assert!([(200, 100), (409, -3), (404, -1)].contains(&answer.codes()), "{answer:?}");
            assert_eq!(answer.body.get("claim").is_some(), answer.status == 200);
        }
        let token = browser.message().await;
        assert_eq!((&token["type"], &token["user"]), (&json!("token"), &json!(winner)));
        browser.say(&json!({ "type": "received" })).await;
        assert_eq!(browser.closed().await, Closed::Code(1000), "one token and nothing after it");
        let token = token["token"].as_str().unwrap();
        assert_eq!(claims(token).1["sub"], json!(winner));
        assert_eq!(verify(service.address, token).await.body["user"], json!(winner));
    }
}

#[tokio::test]
async fn one_user_who_scans_twenty_times_at_once_is_told_the_same_each_time() {
    for (service, _redis) in both(|settings| settings).await {
        let (mut browser, key) = Browser::plain(service.address).await;
        let phone = Phone::of(service.address, "alice");
        let answers = join_all((0..20).map(|_| phone.scan(&key))).await;
        for answer in &answers {
            assert_eq!(answer.codes(), (200, 100));
            assert_eq!(answer.body, answers[0].body);
        }
        let token = browser.text().await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        assert_eq!(verify(service.address, &token).await.status, 200);
        let repeated = "scanlogin_scans_total{result=\"repeated\"}";
        assert_eq!(service.metric(repeated).await, 19.0);
    }
}

#[tokio::test]
async fn a_confirmation_and_a_denial_at_once_come_to_one_decision() {
    for (service, _redis) in both(|settings| settings.with("CONFIRM", "required")).await {
        for _ in 0..10 {
            let (mut browser, key) = Browser::json(service.address).await;
            let phone = Phone::of(service.address, "alice");
            let scanned = phone.scan(key["key"].as_str().unwrap()).await;
            assert_eq!(scanned.codes(), (200, 101));
            assert_eq!(browser.message().await["type"], "scanned");
            let claim = json!({ "claim": scanned.text("claim") });
            let (confirmed, denied) =
                tokio::join!(phone.post("/scan/confirm", &claim), phone.post("/scan/deny", &claim));
            let heard = browser.message().await;
            match (confirmed.codes(), denied.codes()) {
                ((200, 100), (409, -3)) => assert_eq!(heard["type"], "token"),
                ((404, -1), (200, 100)) => assert_eq!(heard["type"], "denied"),
                other => panic!("one decision, not {other:?}"),
            }
        }
    }
}
