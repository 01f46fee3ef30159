//! Cluster: a primary dies, and a slot moves, while browsers wait.

use std::collections::HashMap;

use futures_util::future::join_all;
use scanlogin::{keys::Key, store::redis::Names};

use super::{Waiter, all_are_logged_in, feed_connected, scanned};
use crate::helpers::{Phone, Service, Settings, cluster::Cluster, eventually};

fn record(waiter: &Waiter) -> (String, u16) {
    let names = Names::new("scanlogin:", 0);
    let id = Key::parse(&waiter.key).expect("a key").id;
    (names.login(id), names.slot(id))
}

#[tokio::test]
async fn a_cluster_failover_is_followed() {
    let mut cluster = Cluster::start().await;
    let service = Service::start(Settings::embedded().with("REDIS_URL", &cluster.url())).await;
    all_are_logged_in(Waiter::some(service.address, 20).await, service.address).await;
    let waiters = Waiter::some(service.address, 40).await;
    let (_, slot) = record(&waiters[0]);
    let old = cluster.primary_of(slot, &cluster.servers[0]).await;
    cluster.server_mut(old.port).kill();
    all_are_logged_in(waiters, service.address).await;
    let seen_by = cluster.servers.iter().find(|server| server.port != old.port).unwrap();
    assert_ne!(cluster.primary_of(slot, seen_by).await.port, old.port);
}

#[tokio::test]
async fn logins_in_a_slot_that_moves_are_found_at_each_step_of_the_migration() {
    let cluster = Cluster::start().await;
    let service = Service::start(Settings::embedded().with("REDIS_URL", &cluster.url())).await;
    let address = service.address;
    for server in &cluster.servers[..1] {
        eventually("it listens", || async {
            (feed_connected(&service, server.port).await == 1.0).then_some(())
        })
        .await;
    }
    // Enough for two in one slot: a chance of nearly one that some slot has two.
    let mut by_slot: HashMap<u16, Vec<Waiter>> = HashMap::new();
    let opened = (0..400).map(|n| Waiter::open(address, n % 2 == 0, "alice"));
    for waiter in join_all(opened).await {
        by_slot.entry(record(&waiter).1).or_default().push(waiter);
    }
    let slot = *by_slot.iter().max_by_key(|(_, waiters)| waiters.len()).unwrap().0;
    let mut waiters = by_slot.remove(&slot).unwrap();
    assert!(waiters.len() >= 2, "no two logins in one slot");
    for (number, waiter) in waiters.iter_mut().enumerate() {
        waiter.user = format!("user-{number}");
    }
    let source = cluster.primary_of(slot, &cluster.servers[0]).await;
    let nodes = cluster.nodes_of(&cluster.servers[0]).await;
    let target = nodes.iter().find(|node| node.is_primary && node.id != source.id).unwrap();
    let (from, to) = (cluster.server(source.port), cluster.server(target.port));
    let number = slot.to_string();
    let _: () = to.command(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &source.id]).await;
    let _: () = from.command(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &target.id]).await;

    // One key after the other leaves; each is scanned where it then is, while the rest are still
    // at the source. The first is scanned at once: before anybody can have noticed.
    let port = target.port.to_string();
    while waiters.len() > 1 {
        let mut waiter = waiters.remove(0);
        let (key, _) = record(&waiter);
        let moved: String = from.command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "2000"]).await;
        assert_eq!(moved, "OK");
        scanned(&Phone::of(address, &waiter.user), &waiter.key).await;
        waiter.gets_its_token().await;
    }
    // The last one leaves with the slot.
    let mut last = waiters.remove(0);
    let (key, _) = record(&last);
    let _: String = from.command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "2000"]).await;
    for server in [to, from] {
        let _: () = server.command(&["CLUSTER", "SETSLOT", &number, "NODE", &target.id]).await;
    }
    scanned(&Phone::of(address, &last.user), &last.key).await;
    last.gets_its_token().await;

    // The others never noticed.
    let mut others: Vec<Waiter> = by_slot.into_values().flatten().take(40).collect();
    for (number, waiter) in others.iter_mut().enumerate() {
        waiter.user = format!("other-{number}");
    }
    all_are_logged_in(others, address).await;
}
