//! How a phone's yes becomes a token for the browser: minted here and stored in one step, or made by
//! the webhook while the login is kept for its user.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::scan::{note, refusal};
use crate::{
    clock::Timestamp,
    error::ApiError,
    keys::{Claim, Code, LoginId},
    login::{Attempt, HiddenNumber, LEASE, Note, PhoneRefusal, State, Then},
    metrics::{WebhookEvent, WebhookResult},
    socket::Worker,
    store::{
        ConfirmDone, ScanDone,
        outbox::{Cause, Put, Revocation, due_after},
    },
    tokens::{self, CallError, WebToken, Webhook},
    trace::TraceContext,
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
    trace: Option<TraceContext>,
) -> Result<ScanDone, ApiError> {
    match worker.webhook.clone() {
        None => {
            let token = worker.issuer.mint(&user, id, token_time(worker).await?);
            store_scan(worker, id, &code, claim, user, &token).await
        }
        Some(webhook) => {
            let call =
                scan_by_webhook(worker.clone(), webhook, id, code, claim.clone(), user, trace);
            to_its_end(worker, call).await
        }
    }
}

/// A confirmation, with the number that the browser shows where one is asked for. A wrong one is
/// counted, whether or not its sender waits for the answer.
///
/// # Errors
/// [`ApiError::StoreAway`], [`ApiError::WebhookAway`]; what the store refuses is within.
pub(super) async fn confirm(
    worker: &Rc<Worker>,
    claim: &Claim,
    user: &str,
    number: Option<HiddenNumber>,
    trace: Option<TraceContext>,
) -> Result<Result<ConfirmDone, PhoneRefusal>, ApiError> {
    let decision = decide(worker.clone(), claim.clone(), user.to_owned(), number, trace);
    to_its_end(worker, decision).await
}

async fn decide(
    worker: Rc<Worker>,
    claim: Claim,
    user: String,
    number: Option<HiddenNumber>,
    trace: Option<TraceContext>,
) -> Result<Result<ConfirmDone, PhoneRefusal>, ApiError> {
    let done = match &worker.webhook {
        None => {
            let token = worker.issuer.mint(&user, claim.id, token_time(&worker).await?);
            store_confirm(&worker, &claim, &user, number, &token).await?
        }
        Some(webhook) => confirm_by_webhook(&worker, webhook, &claim, &user, number, trace).await?,
    };
    if let Err(PhoneRefusal::WrongNumber { tries_left }) = done {
        worker.journal.missed(claim.id, tries_left, trace);
        note(&worker, &user, Note::FailedMatch).await;
        if tries_left == 0 {
            worker.limits.claims.leave(&user, claim.id);
        }
    }
    Ok(done)
}

async fn token_time(worker: &Worker) -> Result<Timestamp, ApiError> {
    worker.store.token_time().await.map_err(|_| ApiError::StoreAway)
}

/// Runs a call to its end even if the phone hangs up on the way: what the webhook has made is to be
/// stored, what it has not made to be released, and a wrong number to be counted. A drain waits for it.
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
    trace: Option<TraceContext>,
) -> Result<ScanDone, ApiError> {
    let kept = worker.store.reserve(id, &code.hash(), &user, LEASE).await;
    if let Some(answer) = kept.map_err(|_| ApiError::StoreAway)?.map_err(refusal)? {
        return Ok(ScanDone { answer, repeated: true, facts: None, asks_number: false });
    }
    match made(&worker, &webhook, id, &user, trace).await {
        Ok(token) => {
            let done = store_scan(&worker, id, &code, &claim, user.clone(), &token).await;
            stored(&worker, id, &user, done.is_ok()).await;
            done
        }
        Err(error) => {
            // If the store is away, the lease does it.
            let _ = worker.store.release(id, &code.hash(), &user).await;
            Err(error)
        }
    }
}

async fn confirm_by_webhook(
    worker: &Worker,
    webhook: &Webhook,
    claim: &Claim,
    user: &str,
    number: Option<HiddenNumber>,
    trace: Option<TraceContext>,
) -> Result<Result<ConfirmDone, PhoneRefusal>, ApiError> {
    // Claimed logins are kept for their user already: only what would be refused, or repeats an
    // earlier confirmation, needs no token.
    let login = worker.store.read(claim.id).await.map_err(|_| ApiError::StoreAway)?;
    let login = login.ok_or(ApiError::UnknownKey)?;
    let repeated = !matches!(login.state, State::Scanned { .. });
    let (now, collect) = (worker.store.now(), worker.config.collect);
    if let Err(refused) = login.confirm(claim, user, number, Vec::new(), collect, now) {
        if let PhoneRefusal::WrongNumber { .. } = refused.why {
            // To be counted. A number belongs to its claim, so what is wrong once stays wrong, and
            // the nothing that is handed over here never becomes a token.
            let counted = worker.store.confirm(claim, user, number, Vec::new(), collect).await;
            return counted.map_err(|_| ApiError::StoreAway);
        }
        return Ok(Err(refused.why));
    }
    if repeated {
        return Ok(Ok(ConfirmDone { repeated: true, ip: None }));
    }
    let token = made(worker, webhook, claim.id, user, trace).await?;
    let done = store_confirm(worker, claim, user, number, &token).await;
    let is_stored = matches!(done, Ok(Ok(_)));
    stored(worker, claim.id, user, is_stored).await;
    done
}

/// A token by the webhook. That it may have to be revoked is written down before it is asked.
async fn made(
    worker: &Worker,
    webhook: &Webhook,
    id: LoginId,
    user: &str,
    trace: Option<TraceContext>,
) -> Result<WebToken, ApiError> {
    let now = token_time(worker).await?;
    let (entry, after) =
        (Revocation::new(id, user, Cause::Undelivered), due_after(worker.config.collect));
    let put = worker.store.outbox_put(&entry, after).await.map_err(|_| ApiError::StoreAway)?;
    if put == Put::Full {
        worker.metrics.webhook_requests.inc(WebhookEvent::Login, WebhookResult::QueueFull);
        tracing::error!("the queue for the webhook is full: no token is asked for");
        return Err(ApiError::WebhookAway);
    }
    match webhook.login(id, user, now, trace).await {
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
    number: Option<HiddenNumber>,
    token: &WebToken,
) -> Result<Result<ConfirmDone, PhoneRefusal>, ApiError> {
    let sealed = tokens::seal(token, claim, worker.entropy);
    let done = worker.store.confirm(claim, user, number, sealed, worker.config.collect).await;
    done.map_err(|_| ApiError::StoreAway)
}

/// Whether the store has taken a token that the webhook has made. If not, the login ended
/// meanwhile, and the webhook is to hear of it at once.
async fn stored(worker: &Worker, id: LoginId, user: &str, is_stored: bool) {
    if !is_stored {
        // If the store is away, the entry that is there already will be due.
        let _ = worker
            .store
            .outbox_put(&Revocation::new(id, user, Cause::Undelivered), Duration::ZERO)
            .await;
    }
}
