//! An instance dies.

use serde_json::json;

use super::{Waiter, subject};
use crate::helpers::{
    Browser, Phone, Process, RedisServer, Service, Settings, phone::verify, proxy::Proxy,
};

#[tokio::test]
async fn an_instance_killed_between_approval_and_push_leaves_its_browsers_to_the_other() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to_port(redis.port);
    let other = Service::start(Settings::redis(&redis)).await;
    let settings = Settings::redis(&redis).with("REDIS_URL", &proxy.redis_url());
    let mut process = Process::start(settings).await;
    let mut waiters = Vec::new();
    for number in 0..20 {
        waiters.push(Waiter::open(process.address, true, &format!("user-{number}")).await);
    }
    // It can hear nothing and read nothing: the push cannot happen.
    proxy.hold();
    let mut claims = Vec::new();
    for waiter in &waiters {
        let scan = waiter.is_scanned(other.address).await;
        claims.push(scan.body["claim"].as_str().unwrap().to_owned());
    }
    process.kill();
    for (mut waiter, claim) in waiters.into_iter().zip(claims) {
        assert!(waiter.browser.next().await.is_err(), "nothing was pushed");
        waiter.browser = Browser::resume(other.address, &waiter.resume).await;
        let token = waiter.gets_its_token().await;
        assert_eq!(verify(other.address, &token).await.status, 200);
        let outcome = Phone::of(other.address, &waiter.user).outcome(&claim, 10).await;
        assert_eq!(outcome.body["state"], "delivered");
    }
}

#[tokio::test]
async fn a_token_pushed_by_an_instance_that_dies_before_the_acknowledgement_can_be_had_again() {
    let redis = RedisServer::start().await;
    let other = Service::start(Settings::redis(&redis)).await;
    let mut process = Process::start(Settings::redis(&redis)).await;
    let mut waiter = Waiter::open(process.address, true, "alice").await;
    waiter.is_scanned(other.address).await;
    let first = waiter.browser.message_of("token").await;
    process.kill();
    waiter.browser = Browser::resume(other.address, &waiter.resume).await;
    assert_eq!(waiter.gets_its_token().await, first["token"].as_str().unwrap());
}

#[tokio::test]
async fn a_socket_lost_in_the_middle_of_its_resume_leaves_nothing_behind() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to_port(redis.port);
    let settings = Settings::redis(&redis).with("REDIS_URL", &proxy.redis_url());
    let service = Service::start(settings.with("WAIT_SECONDS", "6")).await;
    let waiter = Waiter::open(service.address, true, "alice").await;
    let (key, resume) = (waiter.key.clone(), waiter.resume.clone());
    drop(waiter);
    // Slow enough for the client to leave while the service still reads.
    proxy.delay(std::time::Duration::from_millis(300));
    for _ in 0..3 {
        let protocol = Some("scanlogin.v1");
        let mut browser =
            Browser::open(service.address, "?resume=1", protocol, &[]).await.expect("a socket");
        browser.say(&json!({ "type": "resume", "resume": resume })).await;
        tokio::time::sleep(std::time::Duration::from_millis(900)).await;
        drop(browser);
    }
    proxy.restore();
    // Still there for who stays.
    let mut browser = Browser::resume(service.address, &resume).await;
    assert_eq!(browser.message().await["type"], "key");
    drop(browser);
    let ended = || async {
        let ended = service.metric("scanlogin_logins_total{outcome=\"expired\"}").await;
        (ended == 1.0).then_some(())
    };
    crate::helpers::eventually("its end is counted once", ended).await;
    assert_eq!(Phone::of(service.address, "alice").scan(&key).await.codes(), (404, -1));
    let channels: Vec<String> = redis.command(&["PUBSUB", "CHANNELS", "*scanlogin:l:*"]).await;
    assert!(channels.is_empty(), "{channels:?}");
}

#[tokio::test]
async fn the_token_reaches_the_browser_of_the_key_and_no_other() {
    let redis = RedisServer::start().await;
    let (one, two) = (
        Service::start(Settings::redis(&redis)).await,
        Service::start(Settings::redis(&redis)).await,
    );
    let mut first = Waiter::open(one.address, true, "alice").await;
    let mut second = Waiter::open(two.address, false, "bob").await;
    first.is_scanned(two.address).await;
    second.is_scanned(one.address).await;
    assert_eq!(subject(&first.gets_its_token().await), "alice");
    assert_eq!(subject(&second.gets_its_token().await), "bob");
}
