//! Redis forgets while a browser is on its way from one instance to the other.

use scanlogin::{
    app::Options,
    feed::Mechanisms,
    keys::{Entropy, LoginId, Resume, Seed},
};

use super::{Pair, Waiter, all_are_logged_in};
use crate::helpers::{Browser, Closed, Phone, RedisServer, Service, Settings, eventually};

/// The key and the secret of a login that only the instance behind the proxy knows of: its socket
/// is gone, Redis has restarted empty, and that instance does not reach it.
async fn forgotten(pair: &mut Pair) -> (String, String) {
    let Waiter { browser, key, resume, .. } =
        Waiter::open(pair.through.address, true, "alice").await;
    drop(browser);
    eventually("the socket is gone", || async {
        (pair.through.metric("scanlogin_waiting_sockets").await == 0.0).then_some(())
    })
    .await;
    pair.proxy.refuse();
    pair.redis.restart_empty(std::time::Duration::ZERO).await;
    (key, resume)
}

/// The browser of such a login has come back to the other instance, which has not found it.
pub(super) async fn asked_for_in_vain(options: Options) -> (Pair, Waiter) {
    let mut pair = Pair::start(options).await;
    let (key, resume) = forgotten(&mut pair).await;
    let browser = Browser::resume(pair.direct.address, &resume).await;
    eventually("it has been looked for in vain", || async {
        let asked = pair.direct.metric("scanlogin_store_seconds_count{operation=\"resume\"}").await;
        (asked >= 1.0).then_some(())
    })
    .await;
    (pair, Waiter { browser, json: true, key, resume, user: "alice".into() })
}

#[tokio::test]
async fn who_comes_back_elsewhere_before_redis_was_reminded_of_the_login_goes_on_with_it() {
    let (pair, mut waiter) = asked_for_in_vain(Options::default()).await;
    pair.proxy.restore();
    assert_eq!(waiter.browser.message().await["key"], waiter.key.as_str());
    waiter.is_scanned(pair.direct.address).await;
    waiter.gets_its_token().await;
}

#[tokio::test]
async fn a_line_on_which_a_command_got_no_answer_is_made_anew_and_not_doubted_for_ever() {
    // Without the probe nobody but that command can tell.
    let mechanisms = Mechanisms { probe: false, ..Mechanisms::default() };
    let pair = Pair::start(Options { mechanisms, ..Options::default() }).await;
    let (browser, key) = Browser::json(pair.through.address).await;
    let over = key["resume"].as_str().expect("a secret").to_owned();
    browser.leave(1000).await;
    eventually("the login is over", || async { pair.redis.keys().await.is_empty().then_some(()) })
        .await;
    pair.proxy.hold();
    let phone = Phone::of(pair.through.address, "alice");
    assert_eq!(phone.scan(key["key"].as_str().expect("a key")).await.codes(), (503, -6));
    pair.proxy.restore();
    let ask = async || {
        let mut back = Browser::resume(pair.through.address, &over).await;
        back.next().await.is_ok_and(|text| text.contains("expired")).then_some(())
    };
    eventually("the feed has made its line anew", || async {
        phone.scan(key["key"].as_str().expect("a key")).await;
        let resyncs = "scanlogin_feed_resyncs_total{reason=\"reconnected\"}";
        (pair.through.metric(resyncs).await >= 1.0).then_some(())
    })
    .await;
    eventually("what is over is called over again", ask).await;
}

#[tokio::test]
async fn who_waits_while_redis_is_flushed_goes_on_waiting() {
    let redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis)).await;
    let waiters = Waiter::some(service.address, 4).await;
    let mut away = Waiter::open(service.address, true, "away").await;
    away.browser.leave(1001).await;
    eventually("it is away", || async {
        (service.metric("scanlogin_waiting_sockets").await == 4.0).then_some(())
    })
    .await;
    // No connection breaks by it.
    redis.command::<()>(&["FLUSHALL"]).await;
    all_are_logged_in(waiters, service.address).await;
    away.browser = Browser::resume(service.address, &away.resume).await;
    assert_eq!(away.browser.message().await["key"], away.key.as_str());
    let resyncs = "scanlogin_feed_resyncs_total{reason=\"reconnected\"}";
    assert_eq!(service.metric(resyncs).await, 0.0);
}

#[tokio::test]
async fn while_redis_may_have_forgotten_a_login_that_is_told_to_be_over_costs_as_much_as_a_new_one()
{
    let redis = RedisServer::start().await;
    let settings = Settings::redis(&redis).with("CONNECTS_PER_MINUTE", "3");
    let service = Service::start(settings.with("WORKERS", "1")).await;
    redis.command::<i64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    eventually("the connection is made anew", || async {
        let resyncs = "scanlogin_feed_resyncs_total{reason=\"reconnected\"}";
        (service.metric(resyncs).await == 1.0).then_some(())
    })
    .await;
    let asked = (0..20).map(|_| async {
        let secret = Resume { id: LoginId::random(Entropy::Os), seed: Seed::random(Entropy::Os) };
        let mut browser = Browser::resume(service.address, &secret.expose()).await;
        let told = browser.next().await;
        // As long as it may come back, it is asked for again.
        if told.is_ok_and(|text| text.contains("expired")) { 1 } else { 0 }
    });
    let expired: usize = futures_util::future::join_all(asked).await.into_iter().sum();
    assert!((3..=4).contains(&expired), "{expired}");
    assert_eq!(redis.keys().await.len(), expired);
}

#[tokio::test]
async fn a_login_whose_browser_was_told_that_it_is_over_is_not_made_again() {
    let mut pair = Pair::start(Options::default()).await;
    let (key, resume) = forgotten(&mut pair).await;
    let mut browser = Browser::resume(pair.direct.address, &resume).await;
    assert_eq!(browser.message().await["type"], "expired", "nobody has made it again");
    assert_eq!(browser.closed().await, Closed::Code(4000));
    pair.proxy.restore();
    eventually("the other instance has read its logins again", || async {
        let resyncs = "scanlogin_feed_resyncs_total{reason=\"reconnected\"}";
        (pair.through.metric(resyncs).await >= 1.0).then_some(())
    })
    .await;
    eventually("it has let go of this one", || async {
        let pattern = "*scanlogin:l:*";
        let channels: Vec<String> = pair.redis.command(&["PUBSUB", "CHANNELS", pattern]).await;
        channels.is_empty().then_some(())
    })
    .await;
    // Neither of them can tell the phone 100 now.
    for service in [&pair.through, &pair.direct] {
        let scan = Phone::of(service.address, "alice").scan(&key).await;
        assert_eq!(scan.codes(), (404, -1));
    }
}
