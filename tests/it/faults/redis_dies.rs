//! Redis dies, or its connections do, while browsers wait.

use std::time::{Duration, Instant};

use scanlogin::app::Options;

use super::{Pair, Waiter, all_are_logged_in, feed_connected};
use crate::helpers::{RedisServer, Service, Settings, eventually};

#[tokio::test]
async fn redis_is_stopped_or_killed_and_comes_back_empty_and_all_who_wait_are_logged_in() {
    let mut redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis)).await;
    for kill in [true, false] {
        let waiters = Waiter::some(service.address, 40).await;
        if !kill {
            // Answered by the end of the connection.
            let client = redis::Client::open(redis.url()).expect("a URL");
            let mut connection = client.get_multiplexed_async_connection().await.expect("it runs");
            let shutdown =
                redis::cmd("SHUTDOWN").arg("NOSAVE").query_async::<()>(&mut connection).await;
            assert!(shutdown.is_err());
        }
        redis.kill();
        tokio::time::sleep(Duration::from_millis(500)).await;
        redis.start_again().await;
        all_are_logged_in(waiters, service.address).await;
    }
    assert_eq!(service.metric("scanlogin_logins_total{outcome=\"failed\"}").await, 0.0);
}

#[tokio::test]
async fn a_half_open_connection_is_noticed_and_who_was_approved_meanwhile_is_logged_in() {
    let pair = Pair::start(Options::default()).await;
    let mut waiters = Waiter::some(pair.through.address, 10).await;
    pair.proxy.hold_present();
    let start = Instant::now();
    for waiter in &waiters {
        waiter.is_scanned(pair.direct.address).await;
    }
    for waiter in &mut waiters {
        waiter.gets_its_token().await;
    }
    // The probe's interval and its timeout, then the time of calls on connections that are dead.
    assert!(start.elapsed() < Duration::from_secs(14), "{:?}", start.elapsed());
    eventually("it listens again", || async { (pair.connected().await == 1.0).then_some(()) })
        .await;
}

#[tokio::test]
async fn a_command_connection_that_goes_half_open_alone_keeps_nobody_waiting() {
    let pair = Pair::start(Options::default()).await;
    let mut waiters = Waiter::some(pair.through.address, 10).await;
    // A network that is slow for longer than a command may take: the notification comes, late, and
    // the read that it causes fails.
    pair.proxy.delay(Duration::from_millis(2500));
    for waiter in &waiters {
        waiter.is_scanned(pair.direct.address).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    pair.proxy.restore();
    for waiter in &mut waiters {
        waiter.gets_its_token().await;
    }
}

#[tokio::test]
async fn killed_subscriptions_and_killed_commands_lose_nothing() {
    let redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis)).await;
    for kind in ["pubsub", "normal", "pubsub"] {
        let waiters = Waiter::some(service.address, 40).await;
        let logins = all_are_logged_in(waiters, service.address);
        let kills = async {
            for _ in 0..5 {
                let _: i64 = redis.command(&["CLIENT", "KILL", "TYPE", kind]).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::join!(logins, kills);
    }
    let resyncs = "scanlogin_feed_resyncs_total{reason=\"reconnected\"}";
    assert!(service.metric(resyncs).await >= 1.0);
}

#[tokio::test]
async fn a_subscription_that_is_connected_but_deaf_is_found_by_the_probe() {
    let redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis)).await;
    let waiters = Waiter::some(service.address, 4).await;
    let _: () = redis.command(&["CONFIG", "SET", "notify-keyspace-events", ""]).await;
    all_are_logged_in(waiters, service.address).await;
    assert!(service.metric("scanlogin_feed_resyncs_total{reason=\"probe\"}").await >= 1.0);
    assert!(service.metric("scanlogin_feed_rescued_total").await >= 1.0);
    // The setting is made again, so the next ones are heard of.
    eventually("it listens again", || async {
        (feed_connected(&service, redis.port).await == 1.0).then_some(())
    })
    .await;
    all_are_logged_in(Waiter::some(service.address, 4).await, service.address).await;
}

#[tokio::test]
async fn a_redis_that_forbids_config_is_polled_or_heard_as_its_setting_allows() {
    for (options, heard) in [(&[][..], 0.0), (&["--notify-keyspace-events", "K$"], 1.0)] {
        let options = [options, &["--rename-command", "CONFIG", ""]].concat();
        let redis = RedisServer::with(&options).await;
        let service = Service::start(Settings::redis(&redis)).await;
        let waiters = Waiter::some(service.address, 10).await;
        all_are_logged_in(waiters, service.address).await;
        let delivered = "scanlogin_notifications_total{result=\"delivered\"}";
        assert_eq!(service.metric(delivered).await.min(1.0), heard);
    }
}
