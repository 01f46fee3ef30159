//! Thousands of browsers are cut at once and come back.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream};

use super::Waiter;
use crate::helpers::{
    Browser, Process, RedisServer, Settings, eventually, nginx::Nginx, service::metric,
};

const BROWSERS: usize = 5000;

async fn commands(redis: &RedisServer) -> i64 {
    let info: String = redis.command(&["INFO", "stats"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    line.expect("a count").trim().parse().expect("a number")
}

/// The load balancer is killed and started again: every browser is cut off in the same moment. Each
/// party is a process of its own, so that all stay within the files that one may open.
#[tokio::test]
async fn thousands_cut_at_once_come_back_with_few_commands_each_and_all_are_logged_in() {
    let redis = RedisServer::start().await;
    // No deadline and no rotation that a slow machine would run into.
    let settings = Settings::redis(&redis).with("WAIT_SECONDS", "900").with("ROTATE_SECONDS", "0");
    let service = Process::start(settings).await;
    let mut nginx = Nginx::start(&[service.address]).await;
    let (at, phones) = (nginx.address, service.address);
    let opens = (0..BROWSERS)
        .map(|number| async move { Waiter::open(at, true, &format!("user-{number}")).await });
    let mut waiters: Vec<_> = stream::iter(opens).buffer_unordered(200).collect().await;

    let waiting = service.peak_memory();
    nginx.kill();
    for waiter in &mut waiters {
        assert!(waiter.browser.next().await.is_err());
    }
    let before = commands(&redis).await;
    nginx.start_again();
    // As the page does: all at once, plus jitter, and again where nobody listens yet.
    let back = waiters.into_iter().enumerate().map(|(number, mut waiter)| async move {
        tokio::time::sleep(Duration::from_millis((number as u64 * 7919) % 500)).await;
        eventually("the load balancer is back", || async {
            tokio::net::TcpStream::connect(at).await.ok()
        })
        .await;
        waiter.browser = Browser::resume(at, &waiter.resume).await;
        let again = waiter.browser.message_of("key").await;
        assert_eq!(again["key"], waiter.key.as_str(), "the same code");
        waiter
    });
    let waiters: Vec<_> = stream::iter(back).buffer_unordered(BROWSERS).collect().await;
    // A resume is one script, with its own two commands inside, a subscription, and a read; the
    // socket that is gone may cost one read more.
    let each = (commands(&redis).await - before) as f64 / BROWSERS as f64;
    assert!(each <= 12.0, "{each} commands for each resume");
    // While they come back, some of the old sockets are still there.
    let peak = service.peak_memory();
    assert!(peak <= 2 * waiting, "{waiting} bytes while all waited, {peak} at most");

    let logins = waiters.into_iter().map(|waiter| login(waiter, phones));
    stream::iter(logins).buffer_unordered(100).collect::<Vec<()>>().await;
    let delivered = "scanlogin_logins_total{outcome=\"delivered\"}";
    eventually("all are counted once", || async {
        (metric(service.admin_address, delivered).await == BROWSERS as f64).then_some(())
    })
    .await;
}

async fn login(mut waiter: Waiter, phones: SocketAddr) {
    waiter.is_scanned(phones).await;
    waiter.gets_its_token().await;
}
