//! Keyspace notifications of Redis.
//!
//! Exactly the channels of the logins that wait here are subscribed to: with a pattern, every
//! instance would hear every login, and Redis would spend its time on telling.

mod cluster;
mod lines;
mod probe;
mod supervisor;

use std::{
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
};

use tokio::sync::Notify;

pub use self::lines::Handle;
use self::{lines::Unheard, supervisor::Supervisor};
use crate::{
    clock::Clock,
    config::RedisNodes,
    crash::Crash,
    keys::Entropy,
    metrics::Metrics,
    registry::{RegistryAddr, Wakeable},
    store::redis::{Connector, ThreadLine},
};

/// What can be turned off in-process, by a test that shows what happens without it.
#[derive(Clone, Copy, Debug)]
pub struct Mechanisms {
    /// Writing a canary and listening for it.
    pub probe: bool,
    /// Reading all records after a reconnection.
    pub resync: bool,
    /// Asking again for what is not found, where Redis may have forgotten it.
    pub doubt: bool,
}

impl Default for Mechanisms {
    fn default() -> Self {
        Self { probe: true, resync: true, doubt: true }
    }
}

/// What an operator is told once, by one of the feeds.
#[derive(Debug, Default)]
pub struct Warned {
    no_notifications: AtomicBool,
    evicts: AtomicBool,
}

/// What a feed belongs to.
pub struct Instance<A: Wakeable> {
    /// Which of the instance's feeds it is.
    pub line: usize,
    /// Whom to tell.
    pub registry: RegistryAddr<A>,
    /// How to reach Redis.
    pub connector: Arc<Connector>,
    /// Where this thread's store finds the line that listens.
    pub thread_line: Rc<ThreadLine>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// What is turned on.
    pub mechanisms: Mechanisms,
    /// What the operator was told already.
    pub warned: Arc<Warned>,
    /// Makes it die, in a test.
    pub crash: Crash,
    /// Told once, when the feed has listened or polled for the first time.
    pub ready: Rc<Notify>,
}

/// Keeps the feed up for ever; returns only when the registry is gone, or a part of the feed.
pub async fn run<A: Wakeable>(instance: Instance<A>, handle: Handle) {
    let instance = Rc::new(instance);
    let names = instance.connector.names().clone();
    let unheard = Rc::new(Unheard::new(instance.registry.clone(), names.clone()));
    let canary = names.canary(&canary_name());
    if let RedisNodes::Cluster(_) = instance.connector.nodes() {
        cluster::run(instance, handle, unheard, canary).await;
    } else {
        // Single or Sentinel: the supervisor asks who is the primary each time that it connects.
        let queue = handle.only();
        Supervisor::new(instance, handle, queue, unheard, None, canary).run().await;
    }
}

/// Each feed has a canary of its own.
fn canary_name() -> String {
    Entropy::Os.bytes::<8>().iter().map(|byte| format!("{byte:02x}")).collect()
}
