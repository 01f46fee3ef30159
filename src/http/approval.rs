//! How a phone's yes becomes a token for the browser: minted here and stored in one step, or made by
//! the webhook while the login is kept for its user.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::scan::refusal;
use crate::{
    error::ApiError,
    keys::{Claim, Code, LoginId},
    login::{Attempt, LEASE, State, Then},
    metrics::{WebhookEvent, WebhookResult},
    socket::Worker,
    store::{
        ScanDone,
        outbox::{Put, Revocation, due_after},
    },
    tokens::{self, CallError, WebToken, Webhook},
};

/// A scan in one step.
///
/// # Errors
/// The scan's refusals, [`ApiError::StoreAway`], [`ApiError::WebhookAway`].
pub(super) async fn scan(
    worker: &Rc<Worker>,
    id: LoginId,
    code: Code,
    claim: &Claim,
    user: String,
) -> Result<ScanDone, ApiError> {
    match worker.webhook.clone() {
        None => {
            let token = worker.issuer.mint(&user, id, worker.clock.now());
            store_scan(worker, id, &code, claim, user, &token).await
        }
        Some(webhook) => {
            let call = scan_by_webhook(worker.clone(), webhook, id, code, claim.clone(), user);
            to_its_end(worker, call).await
        }
    }
}

/// A confirmation; whether it repeats an earlier one.
///
/// # Errors
/// As [`scan`].
pub(super) async fn confirm(
    worker: &Rc<Worker>,
    claim: &Claim,
    user: &str,
) -> Result<bool, ApiError> {
    match worker.webhook.clone() {
        None => {
            let token = worker.issuer.mint(user, claim.id, worker.clock.now());
            store_confirm(worker, claim, user, &token).await
        }
        Some(webhook) => {
            let call = confirm_by_webhook(worker.clone(), webhook, claim.clone(), user.into());
            to_its_end(worker, call).await
        }
    }
}

/// Runs a call to its end even if the phone hangs up on the way: what the webhook has made is to be
/// stored, and what it has not made to be released. A drain waits for it.
async fn to_its_end<T: 'static>(
    worker: &Worker,
    call: impl Future<Output = Result<T, ApiError>> + 'static,
) -> Result<T, ApiError> {
    let under_way = worker.background.begin();
    let task = actix_rt::spawn(async move {
        let result = call.await;
        drop(under_way);
        result
    });
    // It ends without a result only with its thread.
    task.await.unwrap_or(Err(ApiError::StoreAway))
}

async fn scan_by_webhook(
    worker: Rc<Worker>,
    webhook: Arc<Webhook>,
    id: LoginId,
    code: Code,
    claim: Claim,
    user: String,
) -> Result<ScanDone, ApiError> {
    let kept = worker.store.reserve(id, &code.hash(), &user, LEASE).await;
    if let Some(answer) = kept.map_err(|_| ApiError::StoreAway)?.map_err(refusal)? {
        return Ok(ScanDone { answer, repeated: true, facts: None });
    }
    match made(&worker, &webhook, id, &user).await {
        Ok(token) => {
            let done = store_scan(&worker, id, &code, &claim, user.clone(), &token).await;
            stored(&worker, id, &user, done).await
        }
        Err(error) => {
            // If the store is away, the lease does it.
            let _ = worker.store.release(id, &code.hash(), &user).await;
            Err(error)
        }
    }
}

async fn confirm_by_webhook(
    worker: Rc<Worker>,
    webhook: Arc<Webhook>,
    claim: Claim,
    user: String,
) -> Result<bool, ApiError> {
    // Claimed logins are kept for their user already: only what would be refused, or repeats an
    // earlier confirmation, needs no token.
    let login = worker.store.read(claim.id).await.map_err(|_| ApiError::StoreAway)?;
    let login = login.ok_or(ApiError::UnknownKey)?;
    let repeated = !matches!(login.state, State::Scanned { .. });
    let now = worker.store.now();
    login
        .confirm(&claim, &user, Vec::new(), worker.config.collect, now)
        .map_err(|refused| refusal(refused.why))?;
    if repeated {
        return Ok(true);
    }
    let token = made(&worker, &webhook, claim.id, &user).await?;
    let done = store_confirm(&worker, &claim, &user, &token).await;
    stored(&worker, claim.id, &user, done).await
}

/// A token by the webhook. That it may have to be revoked is written down before it is asked.
async fn made(
    worker: &Worker,
    webhook: &Webhook,
    id: LoginId,
    user: &str,
) -> Result<WebToken, ApiError> {
    let (entry, after) = (Revocation::new(id, user), due_after(worker.config.collect));
    let put = worker.store.outbox_put(&entry, after).await.map_err(|_| ApiError::StoreAway)?;
    if put == Put::Full {
        worker.metrics.webhook_requests.inc(WebhookEvent::Login, WebhookResult::QueueFull);
        tracing::error!("the queue for the webhook is full: no token is asked for");
        return Err(ApiError::WebhookAway);
    }
    match webhook.login(id, user).await {
        Ok(token) => Ok(token),
        Err(error) => {
            tracing::warn!(login = id.log_id(), %error, "the webhook made no token");
            if let (CallError::Unreachable(_), Put::New) = (error, put) {
                // It has heard nothing, now or before: there is nothing to revoke.
                let _ = worker.store.outbox_done(&entry).await;
            }
            Err(ApiError::WebhookAway)
        }
    }
}

async fn store_scan(
    worker: &Worker,
    id: LoginId,
    code: &Code,
    claim: &Claim,
    user: String,
    token: &WebToken,
) -> Result<ScanDone, ApiError> {
    let sealed = tokens::seal(token, claim, worker.entropy);
    let then = Then::Approve { sealed, collect: worker.config.collect };
    let attempt = Attempt { code: code.hash(), user, claim: claim.hash(), then };
    let done = worker.store.scan(id, attempt).await.map_err(|_| ApiError::StoreAway)?;
    done.map_err(refusal)
}

async fn store_confirm(
    worker: &Worker,
    claim: &Claim,
    user: &str,
    token: &WebToken,
) -> Result<bool, ApiError> {
    let sealed = tokens::seal(token, claim, worker.entropy);
    let done = worker.store.confirm(claim, user, sealed, worker.config.collect).await;
    done.map_err(|_| ApiError::StoreAway)?.map_err(refusal)
}

/// A token that the webhook has made and the store has not taken: the login ended meanwhile, and
/// the webhook is to hear of it at once.
async fn stored<T>(
    worker: &Worker,
    id: LoginId,
    user: &str,
    done: Result<T, ApiError>,
) -> Result<T, ApiError> {
    if done.is_err() {
        // If the store is away, the entry that is there already will be due.
        let _ = worker.store.outbox_put(&Revocation::new(id, user), Duration::ZERO).await;
    }
    done
}
