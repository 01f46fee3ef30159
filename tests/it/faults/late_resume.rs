//! A resume that is under way when its socket dies, and arrives after its browser's next one.

use scanlogin::{app::Options, feed::Mechanisms};

use super::Waiter;
use crate::helpers::{
    Browser, Closed, RedisServer, Service, Settings, both, eventually, proxy::Proxy,
};

/// How many scripts Redis has run.
async fn scripts(redis: &RedisServer) -> u64 {
    let stats: String = redis.command(&["INFO", "commandstats"]).await;
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let calls = calls.and_then(|line| line.split(',').next()).expect("it has run some");
    calls.parse().expect("a number")
}

async fn no_socket_is_at(service: &Service) {
    eventually("the socket is gone", || async {
        (service.metric("scanlogin_waiting_sockets").await == 0.0).then_some(())
    })
    .await;
}

/// How often this instance asked the store to resume a login.
async fn resumes(service: &Service) -> f64 {
    service.metric("scanlogin_store_seconds_count{operation=\"resume\"}").await
}

#[tokio::test]
async fn a_resume_that_arrives_after_its_browsers_next_one_costs_nobody_the_login() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to_port(redis.port);
    // One thread, so one line to Redis, and no probe: what is sent on it is what the test does.
    let settings = Settings::redis(&redis).with("WORKERS", "1");
    let mechanisms = Mechanisms { probe: false, ..Mechanisms::default() };
    let options = Options { mechanisms, ..Options::default() };
    let direct = Service::with_options(settings.clone(), options.clone()).await;
    let settings = settings.with("REDIS_URL", &proxy.redis_url());
    let slow = Service::with_options(settings, options).await;

    let mut waiter = Waiter::open(slow.address, true, "alice").await;
    // Once at each, so that Redis and both instances know the script.
    for service in [&slow, &direct] {
        waiter.browser = Browser::resume(service.address, &waiter.resume).await;
        assert_eq!(waiter.browser.message().await["type"], "key");
    }
    drop(waiter.browser);
    no_socket_is_at(&slow).await;
    no_socket_is_at(&direct).await;

    proxy.hold();
    let before = proxy.sent();
    let first = Browser::resume(slow.address, &waiter.resume).await;
    eventually("its resume is on its way", || async { (proxy.sent() > before).then_some(()) })
        .await;
    drop(first);
    no_socket_is_at(&slow).await;
    waiter.browser = Browser::resume(direct.address, &waiter.resume).await;
    assert_eq!(waiter.browser.message().await["type"], "key");
    let before = scripts(&redis).await;
    proxy.restore();
    eventually("it has arrived", || async { (scripts(&redis).await > before).then_some(()) }).await;

    waiter.is_scanned(direct.address).await;
    waiter.gets_its_token().await;
    // Whose socket was lost with its resume under way holds the login no longer either.
    eventually("it is counted once", || async {
        let delivered = "scanlogin_logins_total{outcome=\"delivered\"}";
        let channels: Vec<String> = redis.command(&["PUBSUB", "CHANNELS", "*scanlogin:l:*"]).await;
        let count = direct.metric(delivered).await + slow.metric(delivered).await;
        (channels.is_empty() && count == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_tabs_that_have_both_just_resumed_settle_on_the_later_one() {
    let redis = RedisServer::start().await;
    let settings = || Settings::redis(&redis).with("WORKERS", "1");
    let (a, b) = (Service::start(settings()).await, Service::start(settings()).await);
    for other in [&a, &b] {
        let asked = resumes(&a).await + resumes(&b).await;
        let mut waiter = Waiter::open(a.address, true, "alice").await;
        let mut first = Browser::resume(a.address, &waiter.resume).await;
        assert_eq!(first.message().await["key"], waiter.key.as_str());
        assert_eq!(waiter.browser.closed().await, Closed::Code(4002), "it had not resumed");
        waiter.browser = Browser::resume(other.address, &waiter.resume).await;
        assert_eq!(waiter.browser.message().await["key"], waiter.key.as_str());
        // Neither is shown anything of how they settle it.
        assert_eq!(first.closed().await, Closed::Code(4002));
        waiter.is_scanned(a.address).await;
        waiter.gets_its_token().await;
        // Each has resumed, and once more.
        assert_eq!(resumes(&a).await + resumes(&b).await, asked + 4.0);
    }
}

#[tokio::test]
async fn a_socket_that_has_waited_for_long_gives_way_at_once() {
    for (service, _redis) in both(|settings| settings).await {
        let asked = resumes(&service).await;
        let mut waiter = Waiter::open(service.address, true, "alice").await;
        let resumed = Browser::resume(service.address, &waiter.resume).await;
        assert_eq!(waiter.browser.closed().await, Closed::Code(4002));
        waiter.browser = resumed;
        assert_eq!(waiter.browser.message().await["key"], waiter.key.as_str());
        assert_eq!(resumes(&service).await, asked + 1.0);
    }
}
