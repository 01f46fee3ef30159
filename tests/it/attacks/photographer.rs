//! Has the QR code, as everybody has who sees the screen; knows even who will scan it.

use scanlogin::keys::Key;
use serde_json::{Value, json};

use crate::helpers::{Browser, Closed, Phone, both, phone::verify};

fn text<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap_or_else(|| panic!("no {field} in {message}"))
}

/// Everything that can be made out of a QR code and the name of the user who scans it.
fn loot(qr: &str, user: &str) -> Vec<String> {
    let key = Key::parse(qr).expect("a key");
    let claim = key.code.claim(key.id, user).expose();
    vec![qr.to_owned(), key.expose(), claim, key.code.claim(key.id, "mallory").expose()]
}

#[tokio::test]
async fn the_photographer_cannot_collect_resume_confirm_or_read() {
    for confirm in ["off", "required"] {
        for (service, _redis) in both(|settings| settings.with("CONFIRM", confirm)).await {
            let (mut browser, key) = Browser::json(service.address).await;
            let loot = loot(text(&key, "url"), "alice");
            let alice = Phone::of(service.address, "alice");
            let mallory = alice.lent_to("mallory");
            let attack = async || {
                for secret in &loot {
                    let mut thief = Browser::resume(service.address, secret).await;
                    assert_eq!(thief.message().await, json!({ "type": "expired" }));
                    assert_eq!(thief.closed().await, Closed::Code(4000));
                    for path in ["/scan/confirm", "/scan/deny"] {
                        let answer = mallory.post(path, &json!({ "claim": secret })).await;
                        assert!([(404, -1), (403, -7)].contains(&answer.codes()), "{answer:?}");
                    }
                    let read = mallory.outcome(secret, 0).await;
                    assert!([(404, -1), (403, -7)].contains(&read.codes()), "{read:?}");
                    assert_eq!(verify(service.address, secret).await.codes(), (401, -2));
                }
            };
            attack().await;
            let scanned = alice.scan(text(&key, "key")).await;
            assert_eq!(scanned.status, 200, "the attempts have changed nothing");
            // The claim is the one that the photographer can derive: it is bound to its user.
            assert_eq!(scanned.text("claim"), loot[2]);
            attack().await;
            assert_eq!(mallory.scan(text(&key, "key")).await.codes(), (409, -3));
            if confirm == "required" {
                let body = json!({ "claim": scanned.text("claim") });
                assert_eq!(alice.post("/scan/confirm", &body).await.codes(), (200, 100));
            }
            attack().await;
            let token = browser.message_of("token").await;
            assert_eq!(text(&token, "user"), "alice");
            browser.say(&json!({ "type": "received" })).await;
            assert_eq!(browser.closed().await, Closed::Code(1000));
            attack().await;
            assert_eq!(verify(service.address, text(&token, "token")).await.status, 200);
        }
    }
}
