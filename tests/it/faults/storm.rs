//! Thousands of browsers are cut at once and come back.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream};

use super::Waiter;
use crate::helpers::{Browser, RedisServer, Service, Settings, proxy::Proxy};

/// Four files each in this process: browser, both sides of the proxy, service. All stay within its limit.
const BROWSERS: usize = 3000;

async fn commands(redis: &RedisServer) -> i64 {
    let info: String = redis.command(&["INFO", "stats"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    line.expect("a count").trim().parse().expect("a number")
}

#[tokio::test]
async fn thousands_cut_at_once_come_back_with_few_commands_each_and_all_are_logged_in() {
    let redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis)).await;
    let proxy = Proxy::to(service.address);
    let opens = (0..BROWSERS).map(|number| {
        let address = proxy.address;
        async move { Waiter::open(address, true, &format!("user-{number}")).await }
    });
    let mut waiters: Vec<_> = stream::iter(opens).buffer_unordered(200).collect().await;

    proxy.cut();
    for waiter in &mut waiters {
        assert!(waiter.browser.next().await.is_err());
    }
    let before = commands(&redis).await;
    // As the page does: all at once, plus jitter.
    let back = waiters.into_iter().enumerate().map(|(number, mut waiter)| {
        let address = proxy.address;
        async move {
            tokio::time::sleep(Duration::from_millis((number as u64 * 7919) % 500)).await;
            waiter.browser = Browser::resume(address, &waiter.resume).await;
            let again = waiter.browser.message_of("key").await;
            assert_eq!(again["key"], waiter.key.as_str(), "the same code in the same window");
            waiter
        }
    });
    let waiters: Vec<_> = stream::iter(back).buffer_unordered(BROWSERS).collect().await;
    // A resume is one script, with its own two commands inside, a subscription, and a read; the
    // socket that is gone may cost one read more.
    let each = (commands(&redis).await - before) as f64 / BROWSERS as f64;
    assert!(each <= 12.0, "{each} commands for each resume");

    let logins = waiters.into_iter().map(|waiter| login(waiter, service.address));
    stream::iter(logins).buffer_unordered(100).collect::<Vec<()>>().await;
    let delivered = "scanlogin_logins_total{outcome=\"delivered\"}";
    crate::helpers::eventually("all are counted once", || async {
        (service.metric(delivered).await == BROWSERS as f64).then_some(())
    })
    .await;
}

async fn login(mut waiter: Waiter, phones: SocketAddr) {
    waiter.is_scanned(phones).await;
    waiter.gets_its_token().await;
}
