//! The line between a browser and its instance goes half-open: nobody is told that it did.

use std::time::Duration;

use futures_util::StreamExt;
use scanlogin::{app::Options, clock::Clock};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::Waiter;
use crate::helpers::{
    Browser, PATIENCE, RedisServer, Service, Settings, eventually, phone, proxy::Proxy,
};

#[tokio::test]
async fn a_token_pushed_into_a_half_open_line_is_had_over_a_new_one_elsewhere() {
    let redis = RedisServer::start().await;
    let first = Service::start(Settings::redis(&redis)).await;
    let other = Service::start(Settings::redis(&redis)).await;
    let line = Proxy::to(first.address);
    let mut waiter = Waiter::open(line.address, true, "alice").await;
    line.hold_present();
    let scan = waiter.is_scanned(other.address).await;
    eventually("the token is on its way into nowhere", || async {
        let pushed = first.metric("scanlogin_scan_to_push_seconds_count").await;
        (pushed == 1.0).then_some(())
    })
    .await;
    // The page hears nothing by the time at which the next code was due, and comes back.
    let lost = std::mem::replace(
        &mut waiter.browser,
        Browser::resume(other.address, &waiter.resume).await,
    );
    waiter.gets_its_token().await;
    let phone = phone::Phone::of(other.address, "alice");
    let claim = scan.body["claim"].as_str().expect("a claim");
    assert_eq!(phone.outcome(claim, 10).await.body["state"], "delivered");
    drop(lost);
    let delivered = "scanlogin_logins_total{outcome=\"delivered\"}";
    assert_eq!(first.metric(delivered).await + other.metric(delivered).await, 1.0);
}

/// Reads until the service's ping has come; the library answers it.
async fn is_pinged(browser: &mut Browser) {
    let ping = async {
        while !matches!(browser.socket.next().await, Some(Ok(Message::Ping(_)))) {}
        // What is answered goes out with the next read.
        let _ = timeout(Duration::from_millis(1), browser.socket.next()).await;
    };
    timeout(PATIENCE, ping).await.expect("a ping");
}

#[tokio::test]
async fn a_browser_that_answers_no_pings_is_let_go_and_can_come_back() {
    let clock = Clock::system();
    let clock = Clock::manual(clock.now());
    let options = Options { clock: clock.clone(), ..Options::default() };
    let service = Service::with_options(Settings::embedded(), options).await;
    let line = Proxy::to(service.address);
    let silent = Waiter::open(line.address, true, "alice").await;
    let mut healthy = Waiter::open(service.address, false, "bob").await;
    line.hold_present();
    for round in 0..3 {
        assert_eq!(service.metric("scanlogin_waiting_sockets").await, 2.0, "round {round}");
        clock.advance(Duration::from_secs(25));
        is_pinged(&mut healthy.browser).await;
    }
    eventually("the silent one is gone", || async {
        (service.metric("scanlogin_waiting_sockets").await == 1.0).then_some(())
    })
    .await;
    let mut again = Waiter { browser: silent.browser, ..silent };
    again.browser = Browser::resume(service.address, &again.resume).await;
    again.key = again.browser.message_of("key").await["key"].as_str().expect("a key").into();
    again.is_scanned(service.address).await;
    again.gets_its_token().await;
}
