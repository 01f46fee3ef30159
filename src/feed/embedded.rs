//! The feed of a single process: the store says what has changed.

use tokio::sync::mpsc;

use crate::{
    crash::{Crash, Part},
    keys::LoginId,
    registry::{Changed, RegistryAddr, Wakeable},
};

/// Changes that are handed over together.
const BATCH: usize = 256;

/// Hands changes to the registry until the store is gone.
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
