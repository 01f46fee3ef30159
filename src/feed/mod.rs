//! How changes of records reach the registry of a thread.
//!
//! What a feed promises:
//! - [`Feed::subscribe`] resolves when a change of that record, from then on, will be heard, or
//!   will be found by the polling that stands in for hearing;
//! - each change is told to the registry as a hint that carries no data, at least once while the
//!   feed is up;
//! - after every time that it may have missed something, it asks the registry for a resync.

mod embedded;
mod redis;

pub use self::{
    embedded::{Handle as EmbeddedHandle, run as run_embedded},
    redis::{Handle as RedisHandle, Instance, Mechanisms, Warned, run as run_redis},
};
use crate::keys::LoginId;

/// What the registry holds of the feed.
#[derive(Clone)]
pub enum Feed {
    /// The embedded store tells whoever watches.
    Embedded(EmbeddedHandle),
    /// Exact keyspace channels.
    Redis(RedisHandle),
}

impl Feed {
    /// Wants to hear of this login from now on. The order of calls counts, not of the waiting.
    pub fn subscribe(&self, id: LoginId) -> impl Future<Output = ()> + 'static {
        let confirmed = match self {
            Self::Embedded(handle) => {
                handle.subscribe(id);
                None
            }
            Self::Redis(handle) => Some(handle.subscribe(id)),
        };
        wait(confirmed)
    }

    /// Wants to hear of this login no more; resolves when Redis has confirmed it.
    pub fn unsubscribe(&self, id: LoginId) -> impl Future<Output = ()> + 'static {
        let confirmed = match self {
            Self::Embedded(handle) => {
                handle.unsubscribe(id);
                None
            }
            Self::Redis(handle) => Some(handle.unsubscribe(id)),
        };
        wait(confirmed)
    }
}

async fn wait(confirmed: Option<tokio::sync::oneshot::Receiver<()>>) {
    if let Some(confirmed) = confirmed {
        // Dropped unanswered only where the feed itself ends.
        let _ = confirmed.await;
    }
}
