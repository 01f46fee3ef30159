//! The way that a login goes, and each way that it can end, on both stores.

use std::time::Duration;

use serde_json::json;

use crate::helpers::{
    Browser, Closed, Phone, Service, both, eventually,
    phone::{logout, verify},
    service::claims,
};

#[tokio::test]
async fn a_plain_browser_gets_its_key_then_its_token_and_a_close() {
    for (service, _redis) in both(|settings| settings).await {
        let (mut browser, key) = Browser::plain(service.address).await;
        let scanned = Phone::of(service.address, "alice").scan(&key).await;
        assert_eq!(scanned.codes(), (200, 100));
        assert_eq!(scanned.body["msg"], "Sao successfully");
        let token = browser.text().await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        let verified = verify(service.address, &token).await;
        assert_eq!((verified.status, &verified.body["user"]), (200, &json!("alice")));
        assert_eq!(verified.body["platform"], "web");
    }
}

#[tokio::test]
async fn a_json_browser_acknowledges_its_token_and_the_phone_sees_it_delivered() {
    for (service, _redis) in both(|settings| settings).await {
        let (mut browser, key) = Browser::json(service.address).await;
        assert_eq!(key["seq"], 1);
        let phone = Phone::of(service.address, "alice");
        let scanned = phone.scan(key["url"].as_str().unwrap()).await;
        assert_eq!(scanned.codes(), (200, 100));
        let claim = scanned.text("claim");
        let token = browser.message().await;
        assert_eq!((&token["type"], &token["user"]), (&json!("token"), &json!("alice")));
        assert_eq!(token["token_type"], "Bearer");
        assert_eq!(phone.outcome(claim, 0).await.body["state"], "approved");
        browser.say(&json!({ "type": "received" })).await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        assert_eq!(phone.outcome(claim, 10).await.body["state"], "delivered");
        let token = token["token"].as_str().unwrap();
        assert_eq!(verify(service.address, token).await.status, 200);
        assert_eq!(logout(service.address, token).await.status, 200);
        assert_eq!(verify(service.address, token).await.status, 401);
    }
}

#[tokio::test]
async fn a_token_says_who_for_whom_and_until_when() {
    for (service, _redis) in both(|settings| settings.with("TOKEN_AUDIENCE", "the-page")).await {
        let (mut browser, key) = Browser::plain(service.address).await;
        Phone::of(service.address, "alice").scan(&key).await;
        let token = browser.text().await;
        let (header, claims) = claims(&token);
        assert_eq!((&header["typ"], &header["alg"]), (&json!("scanlogin+jwt"), &json!("HS256")));
        for (name, value) in [
            ("sub", json!("alice")),
            ("platform", json!("web")),
            ("iss", json!("scanlogin")),
            ("aud", json!("the-page")),
            ("amr", json!(["qr"])),
        ] {
            assert_eq!(claims[name], value, "{name}");
        }
        let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
        assert_eq!(expires - issued, 30 * 24 * 3600);
        assert!(crate::helpers::phone::now().abs_diff(issued) < 30);
        assert_eq!(claims["jti"].as_str().unwrap().len(), 36);
        let names: Vec<_> = claims.as_object().unwrap().keys().collect();
        assert_eq!(names, ["amr", "aud", "exp", "iat", "iss", "jti", "platform", "sub"]);
        assert_eq!(verify(service.address, &token).await.body["expires_at"], expires);
    }
}

#[tokio::test]
async fn at_the_deadline_a_plain_browser_hears_again_and_a_json_browser_expired() {
    let short = |settings: crate::helpers::Settings| settings.with("WAIT_SECONDS", "1");
    for (service, _redis) in both(|settings| short(settings).with("ROTATE_SECONDS", "0")).await {
        let (mut plain, plain_key) = Browser::plain(service.address).await;
        let (mut json, json_key) = Browser::json(service.address).await;
        assert_eq!(plain.text().await, "again");
        assert_eq!(plain.closed().await, Closed::Code(1000));
        assert_eq!(json.message().await, json!({ "type": "expired" }));
        assert_eq!(json.closed().await, Closed::Code(4000));
        let phone = Phone::of(service.address, "alice");
        for key in [&plain_key, json_key["key"].as_str().unwrap()] {
            assert_eq!(phone.scan(key).await.codes(), (404, -1), "it has expired");
        }
        let expired = "scanlogin_logins_total{outcome=\"expired\"}";
        assert_eq!(service.metric(expired).await, 2.0, "each is counted once");
    }
    // With a rotation as long as the wait there is one code all the same.
    for (service, _redis) in both(|settings| short(settings).with("ROTATE_SECONDS", "1")).await {
        let (mut json, _key) = Browser::json(service.address).await;
        assert_eq!(json.message().await["type"], "expired");
    }
}

#[tokio::test]
async fn the_code_rotates_and_the_one_before_stays_good_for_a_while() {
    for (service, _redis) in
        both(|settings| settings.with("WAIT_SECONDS", "10").with("ROTATE_SECONDS", "5")).await
    {
        let (mut browser, first) = Browser::json(service.address).await;
        let second = browser.message().await;
        assert_eq!((&second["type"], &second["seq"]), (&json!("key"), &json!(2)));
        assert_ne!(first["key"], second["key"]);
        assert_eq!(first["resume"], second["resume"], "one secret for the whole life");
        assert!(first["valid_ms"].as_u64().unwrap() <= 5_000);
        assert!(second["lifetime_ms"].as_u64().unwrap() <= 5_100);
        let phone = Phone::of(service.address, "alice");
        assert_eq!(phone.scan(first["key"].as_str().unwrap()).await.codes(), (200, 100));
        assert_eq!(browser.message().await["type"], "token");
    }
}

/// Waits until so many logins have been cancelled.
async fn cancelled(service: &Service, count: f64) {
    eventually("the login goes with its browser", || async {
        let cancelled = "scanlogin_logins_total{outcome=\"cancelled\"}";
        (service.metric(cancelled).await == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_not_good_any_more_is_like_one_that_never_was() {
    for (service, _redis) in both(|settings| settings).await {
        let alice = Phone::of(service.address, "alice");
        let bob = alice.lent_to("bob");
        let never = "A".repeat(43);
        let unknown = alice.scan(&never).await;
        assert_eq!(unknown.codes(), (404, -1));
        assert_eq!(unknown.body["msg"], "Key does not exist");
        // What is no key at all is the same, and said to be none.
        let mut no_key = unknown.body.clone();
        no_key["is_key"] = false.into();
        for text in ["", "x", &"A".repeat(129), "https://example.com/s#x"] {
            assert_eq!(alice.scan(text).await.body, no_key, "{text}");
        }
        // Used: another user learns nothing of it.
        let (mut browser, key) = Browser::plain(service.address).await;
        alice.scan(&key).await;
        browser.text().await;
        browser.closed().await;
        eventually("it is over for others", || async {
            Some(bob.scan(&key).await).filter(|answer| answer.codes() == (404, -1))
        })
        .await;
        assert_eq!(alice.scan(&key).await.codes(), (200, 100), "the same phone is told the same");
        // Its browser left. A scan before the service has heard of it would win.
        for (count, code) in [(1.0, 1000), (2.0, 1001)] {
            let (browser, key) = Browser::plain(service.address).await;
            browser.leave(code).await;
            cancelled(&service, count).await;
            assert_eq!(alice.scan(&key).await.body, unknown.body, "{code}");
        }
        let (browser, key) = Browser::json(service.address).await;
        browser.leave(1000).await;
        cancelled(&service, 3.0).await;
        assert_eq!(alice.scan(key["key"].as_str().unwrap()).await.body, unknown.body);
    }
}

#[tokio::test]
async fn only_an_acknowledged_login_replaces_the_older_one() {
    for (service, _redis) in both(|settings| settings).await {
        let address = service.address;
        let phone = Phone::of(address, "alice");
        let log_in = async |received: bool| {
            let (mut browser, key) = Browser::json(address).await;
            let scanned = phone.scan(key["key"].as_str().unwrap()).await;
            let token = browser.message_of("token").await;
            if received {
                browser.say(&json!({ "type": "received" })).await;
                assert_eq!(browser.closed().await, Closed::Code(1000));
                let state = phone.outcome(scanned.text("claim"), 10).await;
                assert_eq!(state.body["state"], "delivered");
            }
            (browser, token["token"].as_str().unwrap().to_owned())
        };
        let (_, first) = log_in(true).await;
        assert_eq!(verify(address, &first).await.status, 200);
        let (pending_browser, pending) = log_in(false).await;
        drop(pending_browser);
        assert_eq!(verify(address, &first).await.status, 200, "nobody collected the other");
        assert_eq!(verify(address, &pending).await.status, 200, "a pending one is good too");
        let (_, second) = log_in(true).await;
        assert_eq!(verify(address, &second).await.status, 200);
        assert_eq!(verify(address, &first).await.codes(), (401, -2), "replaced");
        // Another user's logins have nothing to do with it.
        let (mut browser, key) = Browser::plain(address).await;
        phone.lent_to("bob").scan(&key).await;
        let bobs = browser.text().await;
        browser.closed().await;
        assert_eq!(verify(address, &second).await.status, 200);
        assert_eq!(verify(address, &bobs).await.status, 200);
    }
}

#[tokio::test]
async fn a_logout_stands_although_the_acknowledgement_comes_after_it() {
    for (service, _redis) in both(|settings| settings).await {
        let (mut browser, key) = Browser::json(service.address).await;
        let phone = Phone::of(service.address, "alice");
        let scanned = phone.scan(key["key"].as_str().unwrap()).await;
        let token = browser.message().await["token"].as_str().unwrap().to_owned();
        assert_eq!(logout(service.address, &token).await.status, 200);
        // With Redis the socket may have heard of it and closed already.
        // The socket may be closed by now.
        let _ = browser.try_say(&json!({ "type": "received" })).await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        eventually("the login is counted", || async {
            let delivered = "scanlogin_logins_total{outcome=\"delivered\"}";
            (service.metric(delivered).await == 1.0).then_some(())
        })
        .await;
        assert_eq!(verify(service.address, &token).await.status, 401);
        let state = phone.outcome(scanned.text("claim"), 0).await;
        assert_eq!(state.body["state"], "delivered", "whoever logs out has the token");
    }
}

#[tokio::test]
async fn a_plain_close_of_ours_that_is_answered_acknowledges_and_an_end_without_one_does_not() {
    for (service, _redis) in both(|settings| settings).await {
        let phone = Phone::of(service.address, "alice");
        // The helper answers our Close, as every browser does by itself.
        let (mut browser, key) = Browser::plain(service.address).await;
        let scanned = phone.scan(&key).await;
        browser.text().await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        assert_eq!(phone.outcome(scanned.text("claim"), 10).await.body["state"], "delivered");

        let (browser, key) = Browser::plain(service.address).await;
        let scanned = phone.scan(&key).await;
        let token = browser.token_without_close().await;
        let state = phone.outcome(scanned.text("claim"), 10).await;
        assert_eq!(state.body["state"], "undelivered");
        assert_eq!(verify(service.address, &token).await.status, 401, "never collected");
        let undelivered = "scanlogin_logins_total{outcome=\"undelivered\"}";
        assert_eq!(service.metric(undelivered).await, 1.0);
    }
}

#[tokio::test]
async fn a_browser_that_cancels_ends_its_login_at_once() {
    for (service, _redis) in both(|settings| settings).await {
        let (mut browser, key) = Browser::json(service.address).await;
        browser.say(&json!({ "type": "cancel" })).await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        let phone = Phone::of(service.address, "alice");
        cancelled(&service, 1.0).await;
        assert_eq!(phone.scan(key["key"].as_str().unwrap()).await.codes(), (404, -1));
        let secret = key["resume"].as_str().unwrap();
        let mut again = Browser::resume(service.address, secret).await;
        assert_eq!(again.message().await["type"], "expired");
        assert_eq!(again.closed().await, Closed::Code(4000));
        // With a token on its way, cancelling changes nothing: it stays collectable.
        let (mut browser, key) = Browser::json(service.address).await;
        phone.scan(key["key"].as_str().unwrap()).await;
        browser.message_of("token").await;
        browser.say(&json!({ "type": "cancel" })).await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        let secret = key["resume"].as_str().unwrap();
        let mut again = Browser::resume(service.address, secret).await;
        assert_eq!(again.message().await["type"], "token");
    }
}

#[tokio::test]
async fn a_browser_that_is_quiet_or_strange_within_the_rules_is_left_alone() {
    for (service, _redis) in both(|settings| settings).await {
        let (mut browser, key) = Browser::json(service.address).await;
        browser.say(&json!({ "type": "a-type-of-next-year", "field": 1 })).await;
        browser.say(&json!({ "type": "received", "early": true })).await;
        let (mut plain, plain_key) = Browser::plain(service.address).await;
        plain.say(&json!("whatever")).await;
        assert!(plain.next_within(Duration::from_millis(300)).await.is_none());
        let phone = Phone::of(service.address, "alice");
        phone.scan(key["key"].as_str().unwrap()).await;
        assert_eq!(browser.message().await["type"], "token");
        phone.scan(&plain_key).await;
        assert!(plain.text().await.len() > 100);
        for text in [
            "not json",
            "[]",
            "{}",
            r#"{"type":"resume","resume":"x"}"#,
            // Lists of what stands in a message, which a derived parser takes for one.
            r#"["received"]"#,
            r#"["cancel"]"#,
            r#"["resume","x"]"#,
            r#"["resume",{"resume":"x"}]"#,
            r#"["a-type-of-next-year"]"#,
            r#"[{"type":"received"}]"#,
            r#"{"type":["received"]}"#,
            r#"{"type":{"received":null}}"#,
        ] {
            let (mut browser, _key) = Browser::json(service.address).await;
            browser.say_text(text).await;
            assert_eq!(browser.closed().await, Closed::Code(4003), "{text}");
        }
    }
}
