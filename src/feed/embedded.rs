//! The feed of a single process: the store says what has changed.

use tokio::sync::mpsc;

use crate::{
    keys::LoginId,
    registry::{Changed, RegistryAddr, Wakeable},
};

/// Changes that are handed over together.
const BATCH: usize = 256;

/// Hands changes to the registry until the store is gone.
pub async fn run<A: Wakeable>(mut changes: mpsc::Receiver<LoginId>, registry: RegistryAddr<A>) {
    let mut ids = Vec::with_capacity(BATCH);
    while changes.recv_many(&mut ids, BATCH).await > 0 {
        if registry.ask(Changed(std::mem::take(&mut ids))).await.is_err() {
            return;
        }
    }
}
