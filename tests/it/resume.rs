//! A lost socket is not a lost login: coming back, on the same instance.

use futures_util::{StreamExt, stream};
use scanlogin::keys::{Entropy, LoginId, Resume, Seed, Ticket};
use serde_json::{Value, json};

use crate::helpers::{
    Browser, Closed, Phone, RedisServer, Service, Settings, both,
    events::Events,
    eventually,
    phone::{answer, verify},
};

fn text<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap()
}

#[tokio::test]
async fn a_json_login_outlives_its_socket_and_can_be_scanned_meanwhile() {
    for (service, _redis) in both(|settings| settings).await {
        let phone = Phone::of(service.address, "alice");
        let (browser, key) = Browser::json(service.address).await;
        drop(browser);
        let none = "scanlogin_waiting_sockets";
        eventually("the socket is gone", || async {
            (service.metric(none).await == 0.0).then_some(())
        })
        .await;
        let mut again = Browser::resume(service.address, text(&key, "resume")).await;
        let same = again.message().await;
        for field in ["type", "seq", "key", "url", "resume"] {
            assert_eq!(same[field], key[field], "{field}");
        }
        again.leave(1001).await;
        let scanned = phone.scan(text(&key, "key")).await;
        assert_eq!(scanned.codes(), (200, 100));
        assert_eq!(phone.outcome(scanned.text("claim"), 0).await.body["state"], "approved");
        let mut third = Browser::resume(service.address, text(&key, "resume")).await;
        let token = third.message().await;
        assert_eq!(token["type"], "token", "owed at once");
        third.say(&json!({ "type": "received" })).await;
        assert_eq!(third.closed().await, Closed::Code(1000));
        assert_eq!(phone.outcome(scanned.text("claim"), 10).await.body["state"], "delivered");
        assert_eq!(verify(service.address, text(&token, "token")).await.status, 200);
        let mut late = Browser::resume(service.address, text(&key, "resume")).await;
        assert_eq!(late.closed().await, Closed::Code(1000), "it was acknowledged");
        let delivered = "scanlogin_logins_total{outcome=\"delivered\"}";
        assert_eq!(service.metric(delivered).await, 1.0);
    }
}

#[tokio::test]
async fn a_second_socket_takes_the_login_over_and_the_end_of_the_first_changes_nothing() {
    for (service, _redis) in both(|settings| settings).await {
        let (mut first, key) = Browser::json(service.address).await;
        let mut second = Browser::resume(service.address, text(&key, "resume")).await;
        assert_eq!(second.message().await["key"], key["key"]);
        assert_eq!(first.closed().await, Closed::Code(4002));
        let mut third = Browser::resume(service.address, text(&key, "resume")).await;
        assert_eq!(third.message().await["key"], key["key"]);
        assert_eq!(second.closed().await, Closed::Code(4002));
        let phone = Phone::of(service.address, "alice");
        assert_eq!(phone.scan(text(&key, "key")).await.codes(), (200, 100));
        assert_eq!(third.message().await["type"], "token");
    }
}

#[tokio::test]
async fn who_comes_back_and_cancels_at_once_leaves_no_code_that_is_good() {
    for (service, _redis) in both(|settings| settings).await {
        let phone = Phone::of(service.address, "alice");
        // The former holder hears of it when the login may be over already, or not yet.
        for _ in 0..10 {
            let (mut first, key) = Browser::json(service.address).await;
            let mut second = Browser::resume(service.address, text(&key, "resume")).await;
            second.say(&json!({ "type": "cancel" })).await;
            assert_eq!(first.closed().await, Closed::Code(4002));
            assert_eq!(second.message().await["type"], "key");
            assert_eq!(second.closed().await, Closed::Code(1000));
            assert_eq!(phone.scan(text(&key, "key")).await.codes(), (404, -1));
        }
    }
}

#[tokio::test]
async fn whoever_has_only_seen_the_qr_code_cannot_resume() {
    for (service, _redis) in both(|settings| settings).await {
        let (mut browser, key) = Browser::json(service.address).await;
        let right = text(&key, "resume");
        let altered = format!("{}{}", &right[..63], if right.ends_with('A') { 'B' } else { 'A' });
        for secret in [text(&key, "key"), &altered, "", "x", &"A".repeat(64), &"A".repeat(4000)] {
            let mut stranger = Browser::resume(service.address, secret).await;
            assert_eq!(stranger.message().await, json!({ "type": "expired" }), "{secret}");
            assert_eq!(stranger.closed().await, Closed::Code(4000));
        }
        // Nothing has changed for the browser.
        Phone::of(service.address, "alice").scan(text(&key, "key")).await;
        assert_eq!(browser.message().await["type"], "token");
    }
}

#[tokio::test]
async fn a_resume_must_be_the_first_message_and_announced_in_the_url() {
    for (service, _redis) in both(|settings| settings).await {
        let open = async |query| {
            Browser::open(service.address, query, Some("scanlogin.v1"), &[]).await.unwrap()
        };
        let mut browser = open("?resume=1").await;
        browser.say(&json!({ "type": "received" })).await;
        assert_eq!(browser.closed().await, Closed::Code(4003));
        let (mut browser, key) = Browser::json(service.address).await;
        browser.say(&json!({ "type": "resume", "resume": key["resume"] })).await;
        assert_eq!(browser.closed().await, Closed::Code(4003), "without the flag");
        let plain = Browser::open(service.address, "?resume=1", None, &[]).await;
        assert_eq!(plain.err().expect("a refusal").status, 400);
    }
}

#[tokio::test]
async fn who_wants_to_resume_and_says_nothing_is_asked_to_come_back() {
    let service = Service::start(Settings::embedded()).await;
    let protocol = Some("scanlogin.v1");
    let mut silent = Browser::open(service.address, "?resume=1", protocol, &[]).await.unwrap();
    assert_eq!(silent.closed().await, Closed::Code(1012));
    let malformed = "scanlogin_resumes_total{result=\"malformed\"}";
    assert_eq!(service.metric(malformed).await, 1.0);
}

#[tokio::test]
async fn a_browser_that_comes_back_too_late_finds_nothing() {
    for (service, _redis) in both(|settings| {
        settings.with("WAIT_SECONDS", "1").with("ROTATE_SECONDS", "0").with("RESUME_SECONDS", "1")
    })
    .await
    {
        let phone = Phone::of(service.address, "alice");
        let (unscanned, unscanned_key) = Browser::json(service.address).await;
        let (approved, approved_key) = Browser::json(service.address).await;
        drop((unscanned, approved));
        let scanned = phone.scan(text(&approved_key, "key")).await;
        for outcome in ["expired", "undelivered"] {
            let series = format!("scanlogin_logins_total{{outcome=\"{outcome}\"}}");
            eventually("both end by themselves", || async {
                (service.metric(&series).await == 1.0).then_some(())
            })
            .await;
        }
        for key in [&unscanned_key, &approved_key] {
            let mut late = Browser::resume(service.address, text(key, "resume")).await;
            assert_eq!(late.message().await["type"], "expired");
        }
        let state = phone.outcome(scanned.text("claim"), 0).await;
        assert_eq!(state.body["state"], "undelivered");
    }
}

/// A secret of a login that never was.
fn junk() -> String {
    Resume { id: LoginId::random(Entropy::Os), seed: Seed::random(Entropy::Os) }.expose()
}

/// So many at a time.
async fn each<F: Future<Output = ()>>(count: usize, call: impl Fn() -> F) {
    stream::iter((0..count).map(|_| call())).buffer_unordered(50).collect::<()>().await;
}

#[tokio::test]
async fn ten_thousand_secrets_of_logins_that_never_were_leave_nothing_in_redis() {
    let redis = RedisServer::start().await;
    let settings = Settings::redis(&redis).with("DELIVER", "ticket");
    let page = "https://www.example.com";
    let service = Service::start(settings.with("ALLOWED_ORIGINS", page)).await;
    let at = service.address;
    assert_eq!(redis.keys().await, [""; 0]);
    let http = reqwest::Client::new();
    let post = |path: &str, body: Value| {
        let url = format!("http://{at}{path}");
        answer(http.post(url).header("Origin", page).json(&body))
    };
    each(1_000, || async {
        let mut stranger = Browser::resume(at, &junk()).await;
        assert_eq!(stranger.message().await["type"], "expired");
    })
    .await;
    each(500, || async {
        let mut events = Events::open(at, &json!({ "resume": junk() })).await;
        events.frame_of("expired").await;
        events.closes(4000).await;
    })
    .await;
    each(7_500, || async {
        let told = post("/stream/poll", json!({ "resume": junk() })).await;
        assert_eq!((told.status, &told.body["close"]), (200, &json!(4000)));
    })
    .await;
    each(400, || async {
        let cancel = json!({ "resume": junk(), "type": "cancel" });
        assert_eq!(post("/stream/message", cancel).await.codes(), (404, -1));
    })
    .await;
    each(300, || async {
        let received = json!({ "resume": junk(), "type": "received" });
        assert_eq!(post("/stream/message", received).await.codes(), (404, -1));
    })
    .await;
    each(300, || async {
        let (id, seed) = (LoginId::random(Entropy::Os), Seed::random(Entropy::Os));
        let ticket = Ticket::new(&seed, seed.code(1).claim(id, "alice")).expose();
        assert_eq!(post("/redeem", json!({ "ticket": ticket })).await.codes(), (404, -1));
    })
    .await;
    assert_eq!(redis.keys().await, [""; 0]);
    let refused = "scanlogin_resumes_total{result=\"refused\"}";
    assert_eq!(service.metric(refused).await, 9_000.0);
}

#[tokio::test]
async fn an_instance_that_goes_away_sends_its_browsers_elsewhere() {
    for (service, _redis) in both(|settings| settings).await {
        let (mut plain, _) = Browser::plain(service.address).await;
        let (mut json, _) = Browser::json(service.address).await;
        service.stop();
        assert_eq!(plain.text().await, "again");
        assert_eq!(plain.closed().await, Closed::Code(1012));
        let drain = json.message().await;
        assert_eq!(drain["type"], "drain");
        assert!(drain["retry_in_ms"].as_u64().unwrap() <= 5_000);
        assert_eq!(json.closed().await, Closed::Code(1012));
        service.drained().await;
    }
}

#[tokio::test]
async fn while_it_drains_it_refuses_sockets_and_answers_phones() {
    for (service, _redis) in both(|settings| settings.with("DRAIN_SECONDS", "3")).await {
        let (mut first, _) = Browser::json(service.address).await;
        let (mut second, key) = Browser::plain(service.address).await;
        service.stop();
        let ready = format!("http://{}/readyz", service.admin_address);
        eventually("it is not ready any more", || async {
            (reqwest::get(&ready).await.unwrap().status() == 503).then_some(())
        })
        .await;
        let refused = Browser::open(service.address, "", None, &[]).await.err().expect("refused");
        assert_eq!((refused.status, &refused.body["code"]), (503, &json!(-6)));
        assert!(refused.headers.iter().any(|(name, _)| name == "retry-after"));
        assert_eq!(service.metric("scanlogin_draining").await, 1.0);
        // One of the two is sent away at once, the other half-way through the time.
        let scanned = Phone::of(service.address, "alice").scan(&key).await;
        let heard = second.text().await;
        // Whoever was told 100 never meets a browser that was told `again`.
        assert_eq!(scanned.codes() == (200, 100), heard != "again", "{scanned:?} and {heard}");
        assert_eq!(first.message().await["type"], "drain");
        service.drained().await;
    }
}
