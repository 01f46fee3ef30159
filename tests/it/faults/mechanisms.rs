//! What each mechanism is for: the same fault, with it and without it.

use std::time::Duration;

use scanlogin::{app::Options, feed::Mechanisms};

use super::{Pair, Waiter, forgotten};
use crate::helpers::eventually;

/// Longer than the probe's interval and its timeout.
const LONG: Duration = Duration::from_secs(11);

fn with(mechanisms: Mechanisms) -> Options {
    Options { mechanisms, ..Options::default() }
}

/// Whether a browser is logged in that was approved while its feed was deaf.
async fn survives_deafness(mechanisms: Mechanisms) -> bool {
    let pair = Pair::start(with(mechanisms)).await;
    let mut waiter = Waiter::open(pair.through.address, true, "alice").await;
    // Deaf for this instance alone: the other one would turn notifications on again.
    pair.proxy.hold_present();
    waiter.is_scanned(pair.direct.address).await;
    waiter.browser.next_within(LONG).await.is_some()
}

#[tokio::test]
async fn without_the_probe_a_browser_starves_behind_a_half_open_feed() {
    assert!(!survives_deafness(Mechanisms { probe: false, ..Mechanisms::default() }).await);
}

#[tokio::test]
async fn with_the_probe_it_does_not() {
    assert!(survives_deafness(Mechanisms::default()).await);
}

/// Whether a browser is logged in that was approved while its feed was away.
async fn survives_an_outage(mechanisms: Mechanisms) -> bool {
    let pair = Pair::start(with(mechanisms)).await;
    let mut waiter = Waiter::open(pair.through.address, true, "alice").await;
    pair.proxy.refuse();
    eventually("the feed is lost", || async { (pair.connected().await == 0.0).then_some(()) })
        .await;
    waiter.is_scanned(pair.direct.address).await;
    pair.proxy.restore();
    eventually("the feed is back", || async { (pair.connected().await == 1.0).then_some(()) })
        .await;
    waiter.browser.next_within(Duration::from_secs(4)).await.is_some()
}

#[tokio::test]
async fn without_the_resync_a_login_approved_during_an_outage_is_missed() {
    assert!(!survives_an_outage(Mechanisms { resync: false, ..Mechanisms::default() }).await);
}

#[tokio::test]
async fn with_the_resync_it_is_found() {
    assert!(survives_an_outage(Mechanisms::default()).await);
}

/// Whether a browser goes on with its login that comes back elsewhere before Redis, which forgot
/// it, was reminded.
async fn survives_forgetting(mechanisms: Mechanisms) -> bool {
    let (pair, mut waiter) = forgotten::asked_for_in_vain(with(mechanisms)).await;
    pair.proxy.restore();
    waiter.browser.message().await["type"] == "key"
}

#[tokio::test]
async fn without_doubt_a_login_that_redis_forgot_is_told_to_be_over() {
    assert!(!survives_forgetting(Mechanisms { doubt: false, ..Mechanisms::default() }).await);
}

#[tokio::test]
async fn with_doubt_it_goes_on() {
    assert!(survives_forgetting(Mechanisms::default()).await);
}
