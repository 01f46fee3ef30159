//! What a browser says that has no socket to say it on: a request at whichever instance.

use std::rc::Rc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Waiting, Worker, waiting::leave};
use crate::{
    config::Deliver,
    error::ApiError,
    keys::{Hash, LoginId, Resume},
    login::{Because, Ending, Held, OwnerRefusal, State},
    origin::ClientNetwork,
    registry::{ConnId, Register},
    store::ResumeDone,
};

/// Attempts while the browser's own resumes come between.
const ATTEMPTS: u8 = 3;

/// The messages.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// The token is stored.
    Received,
    /// The user left.
    Cancel,
}

/// Does what the browser says about the login of this secret, from its address.
///
/// # Errors
/// [`ApiError::UnknownKey`] where there is nothing that it could be said about.
pub async fn hear(
    worker: &Rc<Worker>,
    secret: &str,
    said: Said,
    from: ClientNetwork,
) -> Result<(), ApiError> {
    let secret = Resume::parse(secret).map_err(|_| ApiError::UnknownKey)?;
    match said {
        Said::Received => received(worker, secret.id, &secret.seed.proof()).await,
        Said::Cancel => cancel(worker, secret, from).await,
    }
}

/// Nothing is taken over for it: whoever holds the login hears of its end, and counts it.
async fn received(worker: &Worker, id: LoginId, proof: &Hash) -> Result<(), ApiError> {
    for _ in 0..ATTEMPTS {
        let login = worker.store.read(id).await.map_err(|_| ApiError::StoreAway)?;
        let Some(login) = login.filter(|login| login.proof == *proof) else {
            return Err(ApiError::UnknownKey);
        };
        let scan = match login.state {
            // A ticket is acknowledged by redeeming it.
            State::Approved { scan, collect_until, .. }
                if worker.config.deliver == Deliver::Token
                    && worker.store.now() < collect_until =>
            {
                scan
            }
            // Said before, and its answer was lost.
            State::Ended { ending: Ending::Delivered | Ending::Revoked, .. } => return Ok(()),
            State::Waiting { .. }
            | State::Scanned { .. }
            | State::Approved { .. }
            | State::Ended { .. } => {
                return Err(ApiError::UnknownKey);
            }
        };
        let ttl = worker.config.token_ttl;
        let session = worker.session(id, login.changed, login.facts.as_ref());
        let done = worker.store.acknowledge(login.epoch, &scan.user, &session, ttl).await;
        match done.map_err(|_| ApiError::StoreAway)? {
            Ok(()) => return Ok(()),
            Err(OwnerRefusal::Superseded) => {}
            Err(_) => return Err(ApiError::UnknownKey),
        }
    }
    Err(ApiError::UnknownKey)
}

/// Takes the login over, so that nobody goes on with it, and ends it.
async fn cancel(worker: &Rc<Worker>, secret: Resume, from: ClientNetwork) -> Result<(), ApiError> {
    let Resume { id, seed } = secret;
    let proof = seed.proof();
    for _ in 0..ATTEMPTS {
        let done = worker.store.resume(id, &proof).await.map_err(|_| ApiError::StoreAway)?;
        let ResumeDone::Resumed(login) = done else { return Err(ApiError::UnknownKey) };
        let held = Box::new(Held::of(id, seed.clone(), &login).connected_from(from));
        let (conn, epoch) = (ConnId::next(), held.epoch);
        let schedule = Waiting::schedule(&held, worker.store.now());
        // The registry lives as long as the process.
        let _ = worker.registry.ask(Register { id, conn, epoch, socket: None, schedule }).await;
        if leave(worker, conn, held, Because::Left).await {
            return Ok(());
        }
    }
    Err(ApiError::StoreAway)
}
