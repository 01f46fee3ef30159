//! Has recorded all that was said in a login, and says it again.

use serde_json::json;

use crate::helpers::{
    Browser, Closed, Phone, both, eventually,
    phone::{logout, verify},
};

#[tokio::test]
async fn what_was_said_in_a_login_is_worth_nothing_when_it_is_said_again() {
    for confirm in ["off", "required"] {
        for (service, _redis) in both(|settings| settings.with("CONFIRM", confirm)).await {
            let alice = Phone::of(service.address, "alice");
            let mallory = alice.lent_to("mallory");
            let (mut browser, key) = Browser::json(service.address).await;
            let text = |field: &str| key[field].as_str().expect("a text").to_owned();
            let scanned = alice.scan(&text("key")).await;
            let claim = json!({ "claim": scanned.text("claim") });
            if confirm == "required" {
                alice.post("/scan/confirm", &claim).await;
            }
            let token = browser.message_of("token").await;
            let token = token["token"].as_str().expect("a token").to_owned();
            browser.say(&json!({ "type": "received" })).await;
            assert_eq!(browser.closed().await, Closed::Code(1000));
            eventually("it is written down", || async {
                let state = alice.outcome(scanned.text("claim"), 0).await;
                (state.body["state"] == "delivered").then_some(())
            })
            .await;

            // The browser's frames, on a socket of the replayer's.
            let mut replayer = Browser::resume(service.address, &text("resume")).await;
            assert_eq!(replayer.closed().await, Closed::Code(1000), "it is over, and nothing else");
            let (mut bystander, other) = Browser::json(service.address).await;
            bystander.say(&json!({ "type": "received" })).await;
            // The phone's calls, by another user and by the same.
            assert_eq!(mallory.scan(&text("key")).await.codes(), (404, -1));
            let again = alice.scan(&text("key")).await;
            assert_eq!(again.body["claim"], scanned.body["claim"], "the same answer, no new login");
            for path in ["/scan/confirm", "/scan/deny"] {
                let answer = mallory.post(path, &claim).await;
                assert_ne!(answer.status, 200, "{path}: {answer:?}");
                let answer = alice.post(path, &claim).await;
                let same = path == "/scan/confirm" && answer.codes() == (200, 100);
                assert!(same || answer.status >= 400, "{path}: {answer:?}");
            }
            let state = alice.outcome(scanned.text("claim"), 0).await;
            assert_eq!(state.body["state"], "delivered", "nothing has changed");
            assert_eq!(verify(service.address, &token).await.status, 200);
            // The token, after its end.
            assert_eq!(logout(service.address, &token).await.status, 200);
            assert_eq!(verify(service.address, &token).await.codes(), (401, -2));
            let _ = logout(service.address, &token).await;
            assert_eq!(verify(service.address, &token).await.codes(), (401, -2));
            // Nobody else was touched.
            let other = other["key"].as_str().expect("a key");
            assert_eq!(alice.lent_to("bob").scan(other).await.status, 200);
        }
    }
}
