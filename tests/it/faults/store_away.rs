//! The store is away: nobody is told anything on our own authority, and everything heals by itself.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use scanlogin::{app::Options, feed::Mechanisms};
use serde_json::json;

use super::{Waiter, all_are_logged_in, scanned};
use crate::helpers::{
    Browser, Closed, Phone, RedisServer, Service, Settings, eventually, proxy::Proxy,
};

async fn away(service: &Service, waiter: &Waiter, within: Duration) {
    // Failing is quick, so that nobody waits for nothing.
    let start = Instant::now();
    let refused = Browser::open(service.address, "", None, &[]).await.err().expect("a refusal");
    assert_eq!((refused.status, refused.body["code"].as_i64()), (503, Some(-6)));
    assert!(refused.headers.iter().any(|(name, _)| name == "retry-after"));
    // By its own user: what says -6 may have been done all the same.
    let scan = Phone::of(service.address, &waiter.user).scan(&waiter.key).await;
    assert_eq!(scan.codes(), (503, -6));
    assert!(start.elapsed() < within, "{:?}", start.elapsed());
    let ready = format!("http://{}/readyz", service.admin_address);
    assert_eq!(reqwest::get(ready).await.unwrap().status(), 200);
}

#[tokio::test]
async fn while_redis_is_away_the_instance_stays_ready_refuses_clearly_and_then_heals() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to_port(redis.port);
    let settings = Settings::redis(&redis).with("REDIS_URL", &proxy.redis_url());
    let service = Service::start(settings).await;
    for half_open in [false, true] {
        let waiters = Waiter::some(service.address, 10).await;
        if half_open {
            proxy.hold()
        } else {
            proxy.refuse()
        }
        // Refused at once, or after the timeouts of both calls.
        let within = Duration::from_secs(if half_open { 9 } else { 2 });
        away(&service, &waiters[0], within).await;
        proxy.restore();
        all_are_logged_in(waiters, service.address).await;
        // And new ones find it as it was.
        eventually("sockets are taken again", || async {
            Browser::open(service.address, "", None, &[]).await.ok()
        })
        .await;
    }
}

#[tokio::test]
async fn while_redis_is_away_nothing_spins_however_many_ask() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to_port(redis.port);
    let settings = Settings::redis(&redis).with("REDIS_URL", &proxy.redis_url());
    let service = Service::start(settings.with("WORKERS", "2")).await;
    let waiters = Waiter::some(service.address, 50).await;
    proxy.refuse();
    let (start, before) = (Instant::now(), proxy.attempts());
    let mut answers = 0;
    while start.elapsed() < Duration::from_secs(4) {
        let scans = waiters.iter().map(async |waiter| {
            let scan = Phone::of(service.address, &waiter.user).scan(&waiter.key).await;
            assert_eq!(scan.codes(), (503, -6));
        });
        answers += join_all(scans).await.len();
    }
    let (tried, seconds) = (proxy.attempts() - before, start.elapsed().as_secs_f64());
    // Three threads use the store, and each pauses for 100 ms after an attempt that failed; the
    // feed doubles its pauses. A slow machine tries less.
    let most = 3.0 * 10.0 * seconds + 10.0;
    assert!((tried as f64) < most, "{tried} connections in {seconds} s, {answers} answers");
    proxy.restore();
    all_are_logged_in(waiters, service.address).await;
}

#[tokio::test]
async fn who_waits_while_redis_is_away_waits_until_the_deadline_and_is_told_1011() {
    let mut redis = RedisServer::start().await;
    let settings = Settings::redis(&redis).with("WAIT_SECONDS", "4").with("ROTATE_SECONDS", "0");
    let service = Service::start(settings).await;
    let opened = Instant::now();
    let waiters = Waiter::some(service.address, 20).await;
    redis.kill();
    let ends = waiters.into_iter().map(|mut waiter| async move {
        let end = match waiter.browser.next().await {
            Ok(word) => {
                assert_eq!((word.as_str(), waiter.json), ("again", false));
                waiter.browser.closed().await
            }
            Err(end) => end,
        };
        assert_eq!(end, Closed::Code(1011));
        let waited = opened.elapsed();
        assert!(waited > Duration::from_millis(3900), "{waited:?}");
        assert!(waited < Duration::from_secs(9), "{waited:?}");
    });
    join_all(ends).await;
}

#[tokio::test]
async fn an_acknowledgement_while_redis_is_away_is_stored_when_it_is_back() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to_port(redis.port);
    let settings = Settings::redis(&redis);
    let direct = Service::start(settings.clone()).await;
    let through = Service::start(settings.with("REDIS_URL", &proxy.redis_url())).await;
    for json in [true, false] {
        let user = if json { "alice" } else { "bob" };
        let mut waiter = Waiter::open(through.address, json, user).await;
        let scan = waiter.is_scanned(direct.address).await;
        let claim = scan.body["claim"].as_str().unwrap();
        if json {
            waiter.browser.message_of("token").await;
            proxy.refuse();
            waiter.browser.say(&json!({ "type": "received" })).await;
        } else {
            waiter.browser.text().await;
            proxy.refuse();
        }
        assert_eq!(waiter.browser.closed().await, Closed::Code(1000));
        let phone = Phone::of(direct.address, user);
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(phone.outcome(claim, 0).await.body["state"], "approved");
        proxy.restore();
        eventually("it is stored", || async {
            (phone.outcome(claim, 0).await.body["state"] == "delivered").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_redis_that_is_full_gives_clear_errors_loses_nothing_and_heals() {
    let redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis)).await;
    let waiters = Waiter::some(service.address, 10).await;
    let _: () = redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    away(&service, &waiters[0], Duration::from_secs(2)).await;
    let errors = "scanlogin_store_errors_total{kind=\"oom\",operation=\"scan\"}";
    assert!(service.metric(errors).await >= 1.0);
    // Long enough for the canary to be refused too.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let _: () = redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    all_are_logged_in(waiters, service.address).await;
}

#[tokio::test]
async fn a_replica_given_as_single_redis_is_told_apart_clearly() {
    let mut primary = RedisServer::start().await;
    let port = primary.port.to_string();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port]).await;
    // As after a failover that nobody told us of: it was the primary when we started.
    let _: () = replica.command(&["REPLICAOF", "NO", "ONE"]).await;
    let service = Service::start(Settings::redis(&replica)).await;
    let waiter = Waiter::open(service.address, true, "alice").await;
    let _: () = replica.command(&["REPLICAOF", "127.0.0.1", &port]).await;
    away(&service, &waiter, Duration::from_secs(2)).await;
    let errors = "scanlogin_store_errors_total{kind=\"readonly\",operation=\"scan\"}";
    assert!(service.metric(errors).await >= 1.0);
    primary.kill();
    let _: () = replica.command(&["REPLICAOF", "NO", "ONE"]).await;
    let phone = Phone::of(service.address, "bob");
    eventually("it heals", || async {
        let (browser, key) = match Browser::open(service.address, "", None, &[]).await {
            Ok(mut browser) => {
                let key = browser.text().await;
                (browser, key)
            }
            Err(_) => return None,
        };
        scanned(&phone, &key).await;
        Some(browser)
    })
    .await;
}

#[tokio::test]
async fn a_primary_that_was_demoted_is_left_by_the_first_command_that_it_refuses() {
    let redis = RedisServer::start().await;
    // Without the probe nobody but that command can tell.
    let mechanisms = Mechanisms { probe: false, ..Mechanisms::default() };
    let options = Options { mechanisms, ..Options::default() };
    let service = Service::with_options(Settings::redis(&redis), options).await;
    let mut waiter = Waiter::open(service.address, true, "alice").await;
    // Of nobody, so that it keeps what it has.
    let _: () = redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let refused = Phone::of(service.address, "alice").scan(&waiter.key).await;
    assert_eq!(refused.codes(), (503, -6));
    let _: () = redis.command(&["REPLICAOF", "NO", "ONE"]).await;
    eventually("it has connected anew", || async {
        // Whoever asks next finds out that the line is of no use.
        Browser::plain(service.address).await;
        let resyncs = "scanlogin_feed_resyncs_total{reason=\"reconnected\"}";
        (service.metric(resyncs).await >= 1.0).then_some(())
    })
    .await;
    waiter.is_scanned(service.address).await;
    waiter.gets_its_token().await;
}
