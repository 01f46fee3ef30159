//! A thousand phones, one key, the same moment, on two instances.

use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::helpers::{Browser, Closed, Phone, RedisServer, Service, Settings, phone::verify};

const USERS: usize = 1000;
/// Calls under way at once.
const AT_ONCE: usize = 250;

#[tokio::test]
async fn of_a_thousand_users_who_scan_one_key_exactly_one_wins() {
    let redis = RedisServer::start().await;
    let first = Service::start(Settings::redis(&redis)).await;
    let second = Service::start(Settings::redis(&redis)).await;
    let (mut browser, key) = Browser::json(first.address).await;
    let key = key["key"].as_str().expect("a key");
    let phones = [first.address, second.address].map(|address| Phone::of(address, "nobody"));
    let scans = stream::iter(0..USERS).map(|number| {
        let user = format!("user-{number}");
        let phone = phones[number % 2].lent_to(&user);
        async move { (user, phone.scan(key).await) }
    });
    // A browser that is slow to acknowledge would be asked to come back.
    let acknowledged = async {
        let token = browser.message().await;
        browser.say(&json!({ "type": "received" })).await;
        token
    };
    let scans = scans.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
    let (answers, token) = tokio::join!(scans, acknowledged);
    let winners: Vec<_> =
        answers.iter().filter(|(_, answer)| answer.codes() == (200, 100)).collect();
    let [(winner, _)] = &winners[..] else { panic!("exactly one, not {}", winners.len()) };
    for (user, answer) in &answers {
        let lost = [(409, -3), (404, -1)].contains(&answer.codes());
        assert!(lost || user == winner, "{user}: {answer:?}");
        assert_eq!(answer.body.get("claim").is_some(), user == winner, "{user}");
    }
    assert_eq!((&token["type"], &token["user"]), (&json!("token"), &json!(winner)));
    assert_eq!(browser.closed().await, Closed::Code(1000), "one token and nothing after it");
    let verified = verify(second.address, token["token"].as_str().expect("a token")).await;
    assert_eq!(verified.body["user"], json!(winner));
}
