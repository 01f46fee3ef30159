//! How others reach the registry.

use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, Message};

use super::{Registry, Wakeable};
use crate::metrics::Metrics;

/// What sockets and the feed hold of the registry: its address, and the count of what waits there.
pub struct RegistryAddr<A: Wakeable> {
    pub(super) addr: Addr<Registry<A>>,
    pub(super) metrics: Arc<Metrics>,
}

impl<A: Wakeable> Clone for RegistryAddr<A> {
    fn clone(&self) -> Self {
        Self { addr: self.addr.clone(), metrics: self.metrics.clone() }
    }
}

/// The registry is gone; the process is about to end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the registry is gone")]
pub struct RegistryGone;

impl<A: Wakeable> RegistryAddr<A> {
    /// Sends a message and waits for its answer; waits for room first.
    ///
    /// # Errors
    /// [`RegistryGone`].
    pub async fn ask<M>(&self, message: M) -> Result<M::Result, RegistryGone>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Registry<A>: Actor<Context = Context<Registry<A>>> + Handler<M>,
    {
        self.metrics.registry_mailbox.inc();
        self.addr.send(message).await.map_err(|_| RegistryGone)
    }

    /// Sends a message from where nobody can wait. Bounded all the same: a connection says each of
    /// these things once.
    pub fn tell<M>(&self, message: M)
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Registry<A>: Actor<Context = Context<Registry<A>>> + Handler<M>,
    {
        self.metrics.registry_mailbox.inc();
        self.addr.do_send(message);
    }

    /// Whether the registry is alive.
    pub fn is_alive(&self) -> bool {
        self.addr.connected()
    }
}
