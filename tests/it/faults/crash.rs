//! A part of an instance dies by a panic, or ends: the rest goes with it, and says so.

use std::{sync::Arc, thread::JoinHandle};

use scanlogin::{
    app::{Application, Options, RunError},
    crash::{Crash, Part},
    lifecycle::Stopper,
};
use tokio::sync::Notify;

use super::Waiter;
use crate::helpers::{
    Browser, Closed, RedisServer, Service, Settings, cluster::Cluster, eventually,
};

type Ended = JoinHandle<Result<(), RunError>>;

/// An instance with two browsers that wait, and what makes this part of it die.
async fn instance(settings: Settings, part: Part) -> (Ended, Arc<Notify>, Stopper, [Browser; 2]) {
    let (crash, now) = Crash::of(part);
    let options = Options { crash, ..Options::default() };
    let (stopper, stops) = Stopper::new();
    let (sender, address) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let application = Application::build(settings.config(), options).await;
            let application = application.expect("the service starts");
            let _ = sender.send(application.address());
            application.run(stops).await
        })
    });
    let address = address.await.expect("the service starts");
    let browsers = [Browser::plain(address).await.0, Browser::plain(address).await.0];
    (thread, now, stopper, browsers)
}

async fn ended(thread: Ended) -> Result<(), RunError> {
    // Not waited for by a thread of its own, which would outlive a test that fails.
    eventually("it ends", || async { thread.is_finished().then_some(()) }).await;
    thread.join().expect("an error, not a panic")
}

const PARTS: [Part; 6] =
    [Part::Feed, Part::Registry, Part::Server, Part::Admin, Part::KeySet, Part::Revoker];

/// Whether the instance ends, each time that a part of it dies. `main` makes exit code 1 of it.
async fn dies(settings: &Settings, parts: &[Part]) {
    for part in parts {
        let (thread, now, _stopper, _browsers) = instance(settings.clone(), *part).await;
        now.notify_one();
        let died = match ended(thread).await {
            Err(RunError::Died(died)) => died,
            other => panic!("{part} died, and the instance ended with {other:?}"),
        };
        // The feed cannot do without the registry, and may be seen to die first.
        assert!(died == *part || (*part, died) == (Part::Registry, Part::Feed), "{died}");
    }
}

#[tokio::test]
async fn an_instance_ends_with_an_error_when_any_part_of_it_dies() {
    let redis = RedisServer::start().await;
    dies(&Settings::redis(&redis), &PARTS).await;
}

#[tokio::test]
async fn the_same_holds_in_memory() {
    dies(&Settings::embedded(), &PARTS).await;
}

#[tokio::test]
async fn the_same_holds_where_one_of_several_feeds_of_a_cluster_dies() {
    let cluster = Cluster::start().await;
    dies(&Settings::embedded().with("REDIS_URL", &cluster.url()), &[Part::Feed]).await;
}

#[tokio::test]
async fn a_part_that_dies_during_the_drain_is_an_error_too() {
    let redis = RedisServer::start().await;
    for part in [Part::Feed, Part::Registry, Part::Server] {
        // One thread: each spreads its own browsers over the time, and one alone goes at once.
        let settings = Settings::redis(&redis).with("DRAIN_SECONDS", "60").with("WORKERS", "1");
        let (thread, now, stopper, [mut one, mut other]) = instance(settings, part).await;
        stopper.stop();
        // One of the two is sent away at once, the other half-way through the time.
        let word = tokio::select! { word = one.text() => word, word = other.text() => word };
        assert_eq!(word, "again");
        now.notify_one();
        assert!(matches!(ended(thread).await, Err(RunError::Died(_))), "{part}");
    }
}

#[tokio::test]
async fn a_socket_that_dies_by_a_panic_leaves_its_login_as_a_lost_one_does() {
    for embedded in [true, false] {
        let redis = RedisServer::start().await;
        let settings = if embedded { Settings::embedded() } else { Settings::redis(&redis) };
        for json in [true, false] {
            let (crash, now) = Crash::of(Part::Socket);
            let options = Options { crash, ..Options::default() };
            let settings = settings.clone().with("RESUME_SECONDS", "1");
            let service = Service::with_options(settings, options).await;
            let mut waiter = Waiter::open(service.address, json, "alice").await;
            now.notify_one();
            let scanned = waiter.is_scanned(service.address).await;
            assert_eq!(waiter.browser.closed().await, Closed::Lost);
            // Nobody comes back for it; only the JSON protocol could.
            let outcome = "undelivered";
            let series = format!("scanlogin_logins_total{{outcome=\"{outcome}\"}}");
            eventually("its end is counted", || async {
                (service.metric(&series).await == 1.0).then_some(())
            })
            .await;
            let phone = crate::helpers::Phone::of(service.address, "alice");
            let state = phone.outcome(scanned.text("claim"), 0).await;
            assert_eq!(state.body["state"], outcome);
        }
    }
}
