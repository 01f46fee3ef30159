//! Sentinel: the primary changes while browsers wait.

use super::{Waiter, all_are_logged_in};
use crate::helpers::{Service, Settings, sentinel::Sentinels};

#[tokio::test]
async fn a_sentinel_failover_is_followed_whether_asked_for_or_forced_by_a_death() {
    let mut sentinels = Sentinels::start().await;
    let settings = Settings::embedded().with("REDIS_URL", &sentinels.url());
    let service = Service::start(settings).await;
    all_are_logged_in(Waiter::some(service.address, 10).await, service.address).await;

    let waiters = Waiter::some(service.address, 20).await;
    sentinels.fail_over().await;
    all_are_logged_in(waiters, service.address).await;

    let waiters = Waiter::some(service.address, 20).await;
    let second = sentinels.primary().await;
    let primary = sentinels.servers.iter_mut().find(|server| server.port == second);
    primary.expect("one of ours").kill();
    sentinels.moved_from(second).await;
    all_are_logged_in(waiters, service.address).await;
}

#[tokio::test]
async fn a_sentinel_that_names_a_dead_primary_is_not_believed() {
    let sentinels = Sentinels::at_odds().await;
    let service = Service::start(Settings::embedded().with("REDIS_URL", &sentinels.url())).await;
    all_are_logged_in(Waiter::some(service.address, 2).await, service.address).await;
}
