//! Several instances on one Redis: the phone lands on another one than the browser.

use serde_json::{Value, json};

use crate::helpers::{
    Browser, Closed, Phone, RedisServer, Service, Settings,
    nginx::Nginx,
    phone::{logout, verify},
};

async fn instances(redis: &RedisServer, count: usize) -> Vec<Service> {
    let mut services = Vec::new();
    for _ in 0..count {
        services.push(Service::start(Settings::redis(redis)).await);
    }
    services
}

fn text<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap()
}

#[tokio::test]
async fn the_phone_may_land_on_another_instance_than_the_browser() {
    let redis = RedisServer::start().await;
    let services = instances(&redis, 2).await;
    let (a, b) = (services[0].address, services[1].address);
    for (browser_at, phone_at) in [(a, b), (b, a)] {
        let (mut browser, key) = Browser::plain(browser_at).await;
        let phone = Phone::of(phone_at, "alice");
        let scanned = phone.scan(&key).await;
        assert_eq!(scanned.codes(), (200, 100));
        let token = browser.text().await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        let state = phone.outcome(scanned.text("claim"), 10).await;
        assert_eq!(state.body["state"], "delivered");
        for at in [a, b] {
            assert_eq!(verify(at, &token).await.body["user"], "alice");
        }
        assert_eq!(logout(phone_at, &token).await.status, 200);
        assert_eq!(verify(browser_at, &token).await.status, 401);
    }
}

#[tokio::test]
async fn a_browser_goes_on_at_another_instance() {
    let redis = RedisServer::start().await;
    let services = instances(&redis, 2).await;
    let (a, b) = (&services[0], &services[1]);
    let phone = Phone::of(a.address, "alice");
    // While its first socket is still open: that one is told, on whichever instance it is.
    let (mut first, key) = Browser::json(a.address).await;
    let mut second = Browser::resume(b.address, text(&key, "resume")).await;
    assert_eq!(second.message().await["key"], key["key"]);
    assert_eq!(first.closed().await, Closed::Code(4002));
    assert_eq!(phone.scan(text(&key, "key")).await.codes(), (200, 100));
    assert_eq!(second.message().await["type"], "token");
    second.say(&json!({ "type": "received" })).await;
    assert_eq!(second.closed().await, Closed::Code(1000));

    // After its first socket was lost, and the phone scanned meanwhile.
    let (first, key) = Browser::json(a.address).await;
    drop(first);
    let scanned = phone.scan(text(&key, "key")).await;
    assert_eq!(scanned.codes(), (200, 100));
    let mut second = Browser::resume(b.address, text(&key, "resume")).await;
    let token = second.message_of("token").await;
    second.say(&json!({ "type": "received" })).await;
    assert_eq!(second.closed().await, Closed::Code(1000));
    let state = phone.outcome(scanned.text("claim"), 10).await;
    assert_eq!(state.body["state"], "delivered");
    assert_eq!(verify(a.address, text(&token, "token")).await.status, 200);
    // Counted by who held the socket last, and by nobody else.
    let delivered = "scanlogin_logins_total{outcome=\"delivered\"}";
    crate::helpers::eventually("both are counted at the second", || async {
        (b.metric(delivered).await == 2.0).then_some(())
    })
    .await;
    assert_eq!(a.metric(delivered).await, 0.0);
    drop(services);
}

#[tokio::test]
async fn a_browser_that_is_sent_away_by_a_drain_goes_on_elsewhere() {
    let redis = RedisServer::start().await;
    let mut services = instances(&redis, 2).await;
    let (b, a) = (services.pop().unwrap(), services.pop().unwrap());
    let (mut browser, key) = Browser::json(a.address).await;
    let drained = tokio::spawn(a.drained());
    assert_eq!(browser.message().await["type"], "drain");
    assert_eq!(browser.closed().await, Closed::Code(1012));
    let mut again = Browser::resume(b.address, text(&key, "resume")).await;
    assert_eq!(again.message().await["key"], key["key"], "no new QR code is needed");
    drained.await.unwrap();
    assert_eq!(Phone::of(b.address, "alice").scan(text(&key, "key")).await.codes(), (200, 100));
    assert_eq!(again.message().await["type"], "token");
}

#[tokio::test]
async fn behind_a_real_nginx_without_stickiness_every_login_works() {
    let redis = RedisServer::start().await;
    let services = instances(&redis, 2).await;
    let nginx = Nginx::start(&[services[0].address, services[1].address]).await;
    let phone = Phone::of(nginx.address, "alice");
    for round in 0..10 {
        let (mut browser, key) = Browser::json(nginx.address).await;
        assert!(
            text(&key, "url").contains(&nginx.address.to_string()),
            "the name that it was called by"
        );
        if round % 2 == 1 {
            // The next connection goes to the other instance.
            drop(std::mem::replace(
                &mut browser,
                Browser::resume(nginx.address, text(&key, "resume")).await,
            ));
            assert_eq!(browser.message().await["key"], key["key"]);
        }
        if round % 3 == 0 {
            // Without it the phone would always follow the browser in nginx's turn.
            verify(nginx.address, "x").await;
        }
        let phone = phone.lent_to(&format!("user-{round}"));
        let scanned = phone.scan(text(&key, "key")).await;
        assert_eq!(scanned.codes(), (200, 100));
        let token = browser.message_of("token").await;
        browser.say(&json!({ "type": "received" })).await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
        let state = phone.outcome(scanned.text("claim"), 10).await;
        assert_eq!(state.body["state"], "delivered");
        assert_eq!(verify(nginx.address, text(&token, "token")).await.status, 200);
    }
    for service in &services {
        for series in [
            "scanlogin_sockets_opened_total{protocol=\"json\"}",
            "scanlogin_scans_total{result=\"approved\"}",
        ] {
            assert!(service.metric(series).await >= 2.0, "both had a share: {series}");
        }
    }
}
