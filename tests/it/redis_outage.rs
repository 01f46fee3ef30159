//! Redis away, cut off, emptied, or not allowed to say anything.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, future::join_all, stream};
use serde_json::json;

use crate::helpers::{
    Browser, Phone, Process, RedisServer, Service, Settings, eventually, phone::verify,
    recording::Recording,
};

const CROWD: usize = 500;

/// As many waiting browsers of both protocols, each with its key.
async fn crowd(service: &Service) -> Vec<(Browser, String)> {
    let open = |index: usize| async move {
        if index.is_multiple_of(2) {
            return Browser::plain(service.address).await;
        }
        let (browser, key) = Browser::json(service.address).await;
        let key = key["key"].as_str().unwrap().to_owned();
        (browser, key)
    };
    stream::iter(0..CROWD).map(open).buffer_unordered(32).collect().await
}

/// Scans for everybody, and waits until everybody has a token.
async fn log_in_all(service: &Service, crowd: Vec<(Browser, String)>) {
    let phone = &Phone::of(service.address, "user");
    let log_in = |(index, (mut browser, key)): (usize, (Browser, String))| async move {
        let phone = phone.lent_to(&format!("user-{index}"));
        let scanned = phone.scan_when_possible(&key).await;
        assert_eq!(scanned.codes(), (200, 100), "{index}");
        let heard = browser.text().await;
        assert_ne!(heard, "again");
        if heard.starts_with('{') {
            assert!(heard.contains("\"type\":\"token\""), "{heard}");
        }
    };
    stream::iter(crowd.into_iter().enumerate())
        .map(log_in)
        .buffer_unordered(32)
        .collect::<Vec<()>>()
        .await;
}

async fn resynced(service: &Service, before: f64) {
    eventually("the feed is back", || async { (resyncs(service).await > before).then_some(()) })
        .await;
}

async fn resyncs(service: &Service) -> f64 {
    service.metric("scanlogin_feed_resyncs_total{reason=\"reconnected\"}").await
}

#[tokio::test]
async fn browsers_that_wait_while_redis_cuts_every_connection_are_all_logged_in() {
    let redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis)).await;
    let crowd = crowd(&service).await;
    let before = resyncs(&service).await;
    for kind in ["normal", "pubsub"] {
        redis.command::<i64>(&["CLIENT", "KILL", "TYPE", kind]).await;
    }
    // At once, while the connections are being made again.
    log_in_all(&service, crowd).await;
    resynced(&service, before).await;
    assert_eq!(service.metric("scanlogin_logins_total{outcome=\"failed\"}").await, 0.0);
}

#[tokio::test]
async fn browsers_that_wait_while_redis_forgets_everything_are_all_logged_in() {
    let mut redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis)).await;
    let crowd = crowd(&service).await;
    assert_eq!(redis.keys().await.len(), CROWD);
    redis.restart_empty(Duration::from_millis(300)).await;
    eventually("every record is made again", || async {
        (redis.keys().await.len() == CROWD).then_some(())
    })
    .await;
    log_in_all(&service, crowd).await;
}

#[tokio::test]
async fn a_scan_that_redis_forgot_is_shown_as_a_new_code() {
    let mut redis = RedisServer::start().await;
    let settings = Settings::redis(&redis).with("CONFIRM", "required");
    let service = Service::start(settings).await;
    let (mut browser, key) = Browser::json(service.address).await;
    let phone = Phone::of(service.address, "alice");
    phone.scan(key["key"].as_str().unwrap()).await;
    assert_eq!(browser.message().await["type"], "scanned");
    redis.restart_empty(Duration::ZERO).await;
    let again = browser.message().await;
    assert_eq!(again["type"], "key", "the claim is lost: scan again");
    assert_ne!(again["key"], key["key"]);
    assert_eq!(again["resume"], key["resume"]);
    let scanned = phone.scan_when_possible(again["key"].as_str().unwrap()).await;
    assert_eq!(scanned.codes(), (200, 101));
    assert_eq!(browser.message().await["type"], "scanned");
    let claim = json!({ "claim": scanned.text("claim") });
    assert_eq!(phone.post("/scan/confirm", &claim).await.codes(), (200, 100));
    assert_eq!(browser.message().await["type"], "token");
}

#[tokio::test]
async fn a_notification_that_is_lost_is_found_by_the_resync() {
    let redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis)).await;
    let (mut browser, key) = Browser::plain(service.address).await;
    let before = resyncs(&service).await;
    // Scanned in the moment in which nobody listens.
    redis.command::<String>(&["CONFIG", "SET", "notify-keyspace-events", ""]).await;
    assert_eq!(Phone::of(service.address, "alice").scan(&key).await.codes(), (200, 100));
    redis.command::<i64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert!(browser.text().await.len() > 100);
    resynced(&service, before).await;
    assert_eq!(service.metric("scanlogin_feed_rescued_total").await, 1.0);
}

#[tokio::test]
async fn a_feed_that_went_deaf_is_found_by_the_probe() {
    let redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis)).await;
    let (mut browser, key) = Browser::plain(service.address).await;
    redis.command::<String>(&["CONFIG", "SET", "notify-keyspace-events", ""]).await;
    assert_eq!(Phone::of(service.address, "alice").scan(&key).await.codes(), (200, 100));
    // Nobody tells; the canary is missed, and the setting is made again.
    assert!(browser.text().await.len() > 100);
    eventually("the probe's resync", || async {
        let probed = service.metric("scanlogin_feed_resyncs_total{reason=\"probe\"}").await;
        (probed >= 1.0).then_some(())
    })
    .await;
    let flags: Vec<String> = redis.command(&["CONFIG", "GET", "notify-keyspace-events"]).await;
    assert!(flags[1].contains('K') && flags[1].contains('$'), "{flags:?}");
}

#[tokio::test]
async fn while_redis_is_away_everybody_is_told_so_and_nobody_hangs() {
    let mut redis = RedisServer::start().await;
    let settings = Settings::redis(&redis).with("WAIT_SECONDS", "4").with("ROTATE_SECONDS", "0");
    let service = Service::start(settings).await;
    let (mut plain, key) = Browser::plain(service.address).await;
    let (mut json, _) = Browser::json(service.address).await;
    redis.kill();
    let phone = Phone::of(service.address, "alice");
    let killed = Instant::now();
    for protocol in [None, Some("scanlogin.v1")] {
        let refused = Browser::open(service.address, "", protocol, &[]).await;
        let refused = refused.err().expect("refused before the upgrade");
        assert_eq!((refused.status, &refused.body["code"]), (503, &json!(-6)));
        assert!(refused.headers.iter().any(|(name, _)| name == "retry-after"));
    }
    let scanned = phone.scan(&key).await;
    assert_eq!(scanned.codes(), (503, -6));
    assert!(!scanned.header("retry-after").is_empty());
    assert_eq!(verify(service.address, &phone.token).await.status, 401, "no store is needed");
    let ready = reqwest::get(format!("http://{}/readyz", service.admin_address)).await.unwrap();
    assert_eq!(ready.status(), 200, "taking every instance away would not help");
    assert!(killed.elapsed() < Duration::from_secs(3), "a refused connection is no timeout");
    let away = "scanlogin_store_errors_total{kind=\"io\",operation=\"scan\"}";
    assert!(service.metric(away).await >= 1.0);
    // Neither `expired` nor a plain goodbye is said without the store.
    assert_eq!(plain.text().await, "again");
    assert_eq!(plain.closed().await, crate::helpers::Closed::Code(1011));
    assert_eq!(json.closed().await, crate::helpers::Closed::Code(1011));
    assert_eq!(service.metric("scanlogin_logins_total{outcome=\"failed\"}").await, 2.0);
    redis.start_again().await;
    let (mut browser, key) = eventually("sockets are taken again", || async {
        let browser = Browser::open(service.address, "", None, &[]).await;
        let mut browser = browser.ok()?;
        let key = browser.text().await;
        Some((browser, key))
    })
    .await;
    assert_eq!(phone.scan_when_possible(&key).await.codes(), (200, 100));
    assert!(browser.text().await.len() > 100);
}

#[tokio::test]
async fn where_notifications_cannot_be_had_one_warning_says_so_and_polling_logs_in() {
    let redis = RedisServer::with(&["--rename-command", "CONFIG", ""]).await;
    let recording = Recording::start(&redis).await;
    let process = Process::start(Settings::redis(&redis)).await;
    let (mut plain, plain_key) = Browser::plain(process.address).await;
    let (mut json, key) = Browser::json(process.address).await;
    let phone = Phone::of(process.address, "alice");
    assert_eq!(phone.scan(&plain_key).await.codes(), (200, 100));
    assert!(plain.text().await.len() > 100);
    assert_eq!(phone.scan(key["key"].as_str().unwrap()).await.codes(), (200, 100));
    assert_eq!(json.message().await["type"], "token");
    // With the third canary, the second has been waited for in vain too.
    eventually("it goes on trying", || async {
        let lines = recording.lines(&redis).await;
        let is_canary = |line: &&String| line.contains("\"SET\" \"scanlogin:probe:");
        (lines.iter().filter(is_canary).count() >= 3).then_some(())
    })
    .await;
    let log = process.log();
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.contains("\"WARN\"") && line.contains("notify-keyspace-events"))
        .collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains("K$"), "it says what to set: {}", warnings[0]);
}

#[tokio::test]
async fn a_redis_that_drops_logins_when_it_is_full_is_warned_about_once() {
    for (policy, expected) in [("volatile-lru", 1), ("noeviction", 0)] {
        let redis = RedisServer::with(&["--maxmemory-policy", policy]).await;
        let process = Process::start(Settings::redis(&redis)).await;
        // Each of the two threads' feeds has looked before it says so.
        eventually("both feeds listen", || async {
            let listening = process.logged("listening to keyspace notifications").len();
            (listening == 2).then_some(())
        })
        .await;
        let log = process.log();
        let is_warning =
            |line: &&str| line.contains("\"WARN\"") && line.contains("maxmemory-policy");
        let warnings: Vec<_> = log.lines().filter(is_warning).collect();
        assert_eq!(warnings.len(), expected, "{log}");
        for warning in warnings {
            assert!(warning.contains(policy) && warning.contains("noeviction"), "{warning}");
        }
    }
}

#[tokio::test]
async fn an_instance_that_is_killed_leaves_nothing_in_redis() {
    let redis = RedisServer::start().await;
    let mut process = Process::start(Settings::redis(&redis)).await;
    let phone = Phone::of(process.address, "alice");
    let (_waiting, _) = Browser::plain(process.address).await;
    let (_json, _) = Browser::json(process.address).await;
    let (mut approved, key) = Browser::json(process.address).await;
    phone.scan(key["key"].as_str().unwrap()).await;
    approved.message_of("token").await;
    process.kill();
    let keys: Vec<String> = redis.command(&["KEYS", "*"]).await;
    assert!(keys.len() >= 3, "{keys:?}");
    for key in &keys {
        let left: i64 = redis.command(&["PTTL", key]).await;
        // The longest is an approved record: 60 s to collect, 30 s of slack, 300 s of receipt.
        assert!((1..=390_000).contains(&left), "{key}: {left}");
        redis.command::<i64>(&["PEXPIRE", key, "1"]).await;
    }
    eventually("nothing is left", || async {
        let keys: Vec<String> = redis.command(&["KEYS", "*"]).await;
        keys.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_approval_is_pushed_by_another_instance_where_the_first_was_killed() {
    let redis = RedisServer::start().await;
    let mut first = Process::start(Settings::redis(&redis)).await;
    let second = Service::start(Settings::redis(&redis)).await;
    let keys = join_all((0..5).map(|_| Browser::json(first.address))).await;
    first.kill();
    for (index, (mut browser, key)) in keys.into_iter().enumerate() {
        assert_eq!(browser.closed().await, crate::helpers::Closed::Lost);
        let phone = Phone::of(second.address, &format!("user-{index}"));
        assert_eq!(phone.scan(key["key"].as_str().unwrap()).await.codes(), (200, 100));
        let mut again = Browser::resume(second.address, key["resume"].as_str().unwrap()).await;
        assert_eq!(again.message().await["type"], "token");
    }
}
