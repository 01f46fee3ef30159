//! Number matching: the person proves to stand before the browser.

use serde_json::json;

use super::{browser_from, confirm, matching, other_than, scanned};
use crate::helpers::{Browser, Closed, Phone, RedisServer, Service, Settings, both};

#[tokio::test]
async fn a_login_with_a_number_needs_the_two_digits_that_the_browser_shows() {
    for (service, _redis) in both(matching("always")).await {
        let phone = Phone::of(service.address, "alice");
        let (mut browser, asked, told) = scanned(&service, &phone).await;
        assert_eq!(asked.body["match"], true);
        let digits = told["match"].as_str().unwrap();
        assert!(digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()), "{digits}");
        assert!(!asked.body.to_string().contains(&format!("\"{digits}\"")), "not for the phone");
        let claim = asked.text("claim");
        let missed = confirm(&phone, claim, &other_than(digits)).await;
        assert_eq!((missed.codes(), &missed.body["tries_left"]), ((403, -7), &json!(2)));
        let missing = phone.post("/scan/confirm", &json!({ "claim": claim })).await;
        assert_eq!((missing.codes(), &missing.body["tries_left"]), ((403, -7), &json!(1)));
        // What cannot be two digits is a mistake of the app, and no try.
        for nonsense in [json!("7"), json!(""), json!("123"), json!("x1"), json!(100), json!([])] {
            let body = json!({ "claim": claim, "match": nonsense });
            let answer = phone.post("/scan/confirm", &body).await;
            assert_eq!((answer.codes(), answer.text("msg").contains("'match'")), ((400, -5), true));
        }
        let others = phone.lent_to("bob");
        assert_eq!(confirm(&others, claim, digits).await.codes(), (403, -7), "not bob's");
        assert_eq!(phone.outcome(claim, 0).await.text("state"), "scanned");
        assert_eq!(confirm(&phone, claim, digits).await.codes(), (200, 100));
        let next = browser.message().await;
        assert_eq!(next["type"], "token", "a miss is not announced, nor the question repeated");
        assert_eq!(service.metric("scanlogin_scans_total{result=\"mismatch\"}").await, 2.0);
    }
}

#[tokio::test]
async fn digits_may_come_as_a_number_or_in_a_form() {
    let service = Service::start(matching("always")(Settings::embedded())).await;
    let phone = Phone::of(service.address, "alice");
    for form in [false, true] {
        let (_browser, asked, told) = scanned(&service, &phone).await;
        let (claim, digits) = (asked.text("claim"), told["match"].as_str().unwrap());
        let confirmed = if form {
            phone.post_form("/scan/confirm", "match", &format!("{digits}&claim={claim}")).await
        } else {
            let number: u8 = digits.parse().unwrap();
            phone.post("/scan/confirm", &json!({ "claim": claim, "match": number })).await
        };
        assert_eq!(confirmed.codes(), (200, 100));
    }
}

#[tokio::test]
async fn the_third_wrong_number_denies_the_login_at_once() {
    for (service, _redis) in both(matching("always")).await {
        let phone = Phone::of(service.address, "alice");
        let (mut browser, asked, told) = scanned(&service, &phone).await;
        let (claim, digits) = (asked.text("claim"), told["match"].as_str().unwrap());
        for left in [2, 1, 0] {
            let missed = confirm(&phone, claim, &other_than(digits)).await;
            assert_eq!((missed.codes(), &missed.body["tries_left"]), ((403, -7), &json!(left)));
        }
        assert_eq!(browser.message().await, json!({ "type": "denied" }));
        assert_eq!(browser.closed().await, Closed::Code(4001));
        assert_eq!(confirm(&phone, claim, digits).await.codes(), (404, -1), "too late");
        assert_eq!(phone.outcome(claim, 0).await.text("state"), "denied");
        let denied = "scanlogin_logins_total{outcome=\"denied\"}";
        assert_eq!(service.metric(denied).await, 1.0);
    }
}

#[tokio::test]
async fn a_browser_that_comes_back_elsewhere_shows_the_same_digits() {
    let redis = RedisServer::start().await;
    let settings = || matching("always")(Settings::redis(&redis));
    let (a, b) = (Service::start(settings()).await, Service::start(settings()).await);
    let (first, key) = Browser::json(a.address).await;
    let phone = Phone::of(b.address, "alice");
    let asked = phone.scan(key["key"].as_str().unwrap()).await;
    drop(first);
    let mut again = Browser::resume(b.address, key["resume"].as_str().unwrap()).await;
    let told = again.message_of("scanned").await;
    let mut back = Browser::resume(a.address, key["resume"].as_str().unwrap()).await;
    assert_eq!(back.message_of("scanned").await["match"], told["match"]);
    let digits = told["match"].as_str().unwrap();
    let phone = Phone::of(a.address, "alice");
    assert_eq!(confirm(&phone, asked.text("claim"), digits).await.codes(), (200, 100));
    assert_eq!(back.message().await["type"], "token");
}

#[tokio::test]
async fn a_risky_login_is_one_from_an_address_that_neither_the_phone_nor_the_past_vouches_for() {
    for (service, _redis) in both(matching("risky")).await {
        let phone = Phone::of(service.address, "alice");
        let json = Some("scanlogin.v1");
        // The phone's own network: not risky. (It comes without the header: 127.0.0.1.)
        let (mut browser, asked, told) = scanned(&service, &phone).await;
        assert_eq!((asked.body.get("match"), told.get("match")), (None, None));
        assert_eq!(asked.body["flags"], json!([]));
        let body = json!({ "claim": asked.text("claim") });
        assert_eq!(phone.post("/scan/confirm", &body).await.codes(), (200, 100));
        assert_eq!(browser.message().await["type"], "token");
        // Elsewhere for the first time: risky; and from then on known.
        for (known, flags) in [
            (false, json!(["address_differs"])),
            (true, json!(["address_differs", "address_known_to_user"])),
        ] {
            let (mut browser, key) = browser_from(&service, "203.0.113.9", json).await;
            let asked = phone.scan(&key).await;
            assert_eq!(asked.body["flags"], flags);
            let told = browser.message_of("scanned").await;
            assert_eq!(
                (asked.body.get("match").is_some(), told.get("match").is_some()),
                (!known, !known)
            );
            let claim = asked.text("claim");
            if known {
                let body = json!({ "claim": claim });
                assert_eq!(phone.post("/scan/confirm", &body).await.codes(), (200, 100));
            } else {
                let digits = told["match"].as_str().unwrap();
                let missed = confirm(&phone, claim, &other_than(digits)).await;
                assert_eq!(missed.codes(), (403, -7));
                assert_eq!(confirm(&phone, claim, digits).await.codes(), (200, 100));
            }
            assert_eq!(browser.message().await["type"], "token");
        }
        // Known to alice is not known to bob.
        let (_browser, key) = browser_from(&service, "203.0.113.9", json).await;
        assert_eq!(phone.lent_to("bob").scan(&key).await.body["match"], true);
    }
}

/// A phone's scan from this address.
async fn scan_from(phone: &Phone, client: &str, key: &str) -> crate::helpers::Answer {
    let request = phone.request(reqwest::Method::POST, "/scan").header("X-Forwarded-For", client);
    crate::helpers::phone::answer(request.json(&json!({ "key": key }))).await
}

#[tokio::test]
async fn a_phone_that_moves_to_the_browsers_network_is_asked_for_the_number_all_the_same() {
    let rotating = |settings: Settings| {
        matching("risky")(settings).with("WAIT_SECONDS", "10").with("ROTATE_SECONDS", "5")
    };
    for (service, _redis) in both(rotating).await {
        let phone = Phone::of(service.address, "alice");
        let (mut browser, first) =
            browser_from(&service, "203.0.113.9", Some("scanlogin.v1")).await;
        let second = browser.message_of("key").await;
        let asked = scan_from(&phone, "203.0.113.77", &first).await;
        assert_eq!((asked.codes(), &asked.body["match"]), ((200, 101), &json!(true)));
        let told = browser.message_of("scanned").await;
        // The next code, from where the browser is: no flag, and yet.
        let asked = scan_from(&phone, "203.0.113.9", second["key"].as_str().unwrap()).await;
        assert_eq!((&asked.body["flags"], &asked.body["match"]), (&json!([]), &json!(true)));
        let again = browser.message_of("scanned").await;
        let claim = asked.text("claim");
        let digits = again["match"].as_str().unwrap();
        if told["match"] != again["match"] {
            let old = told["match"].as_str().unwrap();
            assert_eq!(confirm(&phone, claim, old).await.codes(), (403, -7), "a new question");
        }
        assert_eq!(confirm(&phone, claim, digits).await.codes(), (200, 100));
        assert_eq!(browser.message().await["type"], "token");
    }
}

#[tokio::test]
async fn a_risky_login_on_a_plain_socket_is_denied_and_one_that_is_not_goes_on() {
    for (service, _redis) in both(matching("risky")).await {
        let phone = Phone::of(service.address, "alice");
        let (mut browser, key) = browser_from(&service, "203.0.113.9", None).await;
        let refused = phone.scan(&key).await;
        assert_eq!((refused.codes(), refused.body.get("claim")), ((403, -7), None));
        assert_eq!(browser.text().await, "again");
        assert_eq!(browser.closed().await, Closed::Code(1000));
        assert_eq!(phone.scan(&key).await.body, refused.body, "repeated");
        let (mut browser, key) = Browser::plain(service.address).await;
        let asked = phone.scan(&key).await;
        assert_eq!(asked.codes(), (200, 101));
        phone.post("/scan/confirm", &json!({ "claim": asked.text("claim") })).await;
        assert!(browser.text().await.len() > 100);
    }
}

#[tokio::test]
async fn where_every_login_has_a_number_a_plain_socket_is_refused_before_the_upgrade() {
    for (service, redis) in both(matching("always")).await {
        let refused = Browser::open(service.address, "", None, &[]).await.err().expect("refused");
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!(-5)));
        assert!(refused.body["msg"].as_str().unwrap().contains("scanlogin.v1"));
        let counter = "scanlogin_sockets_refused_total{reason=\"protocol\"}";
        assert_eq!(service.metric(counter).await, 1.0);
        if let Some(redis) = redis {
            assert_eq!(redis.keys().await, Vec::<String>::new());
        }
    }
}
