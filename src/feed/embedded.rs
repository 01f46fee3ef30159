//! The feed of a single process: the store says what has changed.

use tokio::sync::mpsc;

use crate::{
    crash::{Crash, Part},
    keys::LoginId,
    registry::{Changed, RegistryAddr, Wakeable},
    store::EmbeddedStore,
};

/// Changes that are handed over together.
const BATCH: usize = 256;

/// What a thread's registry holds of its feed.
#[derive(Clone)]
pub struct Handle {
    store: EmbeddedStore,
    changes: mpsc::Sender<LoginId>,
}

impl Handle {
    /// Changes of what is watched go to `changes`.
    pub fn new(store: EmbeddedStore, changes: mpsc::Sender<LoginId>) -> Self {
        Self { store, changes }
    }

    pub(super) fn subscribe(&self, id: LoginId) {
        self.store.watch(id, self.changes.clone());
    }

    pub(super) fn unsubscribe(&self, id: LoginId) {
        self.store.unwatch(id, &self.changes);
    }
}

/// Hands changes to the registry until nobody can send any more.
pub async fn run<A: Wakeable>(
    mut changes: mpsc::Receiver<LoginId>,
    registry: RegistryAddr<A>,
    crash: Crash,
) {
    let mut ids = Vec::with_capacity(BATCH);
    loop {
        let count = tokio::select! {
            count = changes.recv_many(&mut ids, BATCH) => count,
            () = crash.comes(Part::Feed) => panic!("told to crash"),
        };
        if count == 0 {
            return;
        }
        if registry.ask(Changed(std::mem::take(&mut ids))).await.is_err() {
            return;
        }
    }
}
