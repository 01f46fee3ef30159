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
