//! Tells the webhook of tokens that it made and that were never delivered, or are to be good no more.
//!
//! Every instance looks at the queue of [`crate::store::outbox`]. What is due is judged by the
//! login's record: delivered, still open, or to be revoked; an ended session by its user's entry. An entry is taken out only after the
//! webhook has been told, so it is told at least once.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use crate::{
    clock::Timestamp,
    login::{Because, Ending, Login, OwnerRefusal, State},
    metrics::{Metrics, WebhookEvent, WebhookResult},
    store::{
        EndDone, Store, StoreError,
        outbox::{Cause, MARGIN, MAX_ATTEMPTS, Revocation},
    },
    tokens::Webhook,
};

/// How often the queue is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How many entries are worked on at once: the webhook is not to be flooded when it comes back.
const AT_ONCE: usize = 16;

/// The task.
pub struct Revoker {
    store: Store,
    metrics: Arc<Metrics>,
}

/// What an entry calls for.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The browser has its token, or there is nothing to revoke.
    Settled,
    /// Not decided before so long.
    Open(Duration),
    /// Nobody will ever have the token, or nobody is to have it any more.
    Revoke,
}

impl Revoker {
    /// With a store of the thread that will run it.
    pub fn new(store: Store, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics }
    }

    /// Works for ever.
    pub async fn run(self, webhook: Arc<Webhook>) {
        loop {
            let taken = self.store.outbox_take(AT_ONCE).await.unwrap_or_default();
            self.metrics.webhook_queue.set(taken.length as i64);
            let full = taken.due.len() == AT_ONCE;
            join_all(taken.due.iter().map(|one| async {
                // If the store is away, the entry is due again by itself.
                let _ = self.work(&webhook, one).await;
            }))
            .await;
            if !full {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    async fn work(&self, webhook: &Webhook, one: &Revocation) -> Result<(), StoreError> {
        match self.judge(one).await? {
            Verdict::Settled => self.store.outbox_done(one).await,
            Verdict::Open(wait) => self.store.outbox_again(one, one, wait).await,
            Verdict::Revoke => self.tell(webhook, one).await,
        }
    }

    async fn tell(&self, webhook: &Webhook, one: &Revocation) -> Result<(), StoreError> {
        let login = one.id.log_id();
        let Err(error) = webhook.revoked(one.id, &one.user).await else {
            tracing::info!(login, "the webhook knows that the login is revoked");
            return self.store.outbox_done(one).await;
        };
        let next = one.after_attempt();
        if next.attempts >= MAX_ATTEMPTS {
            tracing::error!(login, %error, "told the webhook in vain for a day: given up");
            self.metrics.webhook_requests.inc(WebhookEvent::Revoked, WebhookResult::GivenUp);
            return self.store.outbox_done(one).await;
        }
        tracing::warn!(login, %error, attempts = next.attempts, "the webhook was not told");
        self.store.outbox_again(one, &next, next.pause()).await
    }

    async fn judge(&self, one: &Revocation) -> Result<Verdict, StoreError> {
        if one.cause == Cause::Ended {
            let current = self.store.current(&one.user).await?;
            return Ok(if current == Some(one.id) { Verdict::Settled } else { Verdict::Revoke });
        }
        let login = self.store.read(one.id).await?;
        let verdict = verdict(login.as_ref(), &one.user, self.store.now());
        if verdict != Verdict::Revoke {
            return Ok(verdict);
        }
        // The user's entry is written before the record: it knows better.
        if self.store.current(&one.user).await? == Some(one.id) {
            return Ok(Verdict::Settled);
        }
        let Some(login) = login else { return Ok(Verdict::Revoke) };
        if !matches!(&login.state, State::Approved { scan, .. } if scan.user == one.user) {
            return Ok(Verdict::Revoke);
        }
        // Whoever still has the token may acknowledge it late: not after this.
        Ok(match self.store.end(one.id, login.epoch, Because::Lost).await? {
            EndDone::Ended { .. } | EndDone::Gone => Verdict::Revoke,
            EndDone::Refused(
                OwnerRefusal::Superseded
                | OwnerRefusal::Approved
                | OwnerRefusal::Early
                | OwnerRefusal::Over,
                _,
            ) => Verdict::Open(LOOK),
        })
    }
}

/// What the record says about a token that was made for this user.
fn verdict(login: Option<&Login>, user: &str, now: Timestamp) -> Verdict {
    let Some(login) = login else { return Verdict::Revoke };
    let until = |end: Timestamp| now.until(end) + MARGIN;
    match &login.state {
        // The phone may come back and have the same token stored.
        State::Waiting { deadline } | State::Scanned { deadline, .. } if now < *deadline => {
            Verdict::Open(until(*deadline))
        }
        State::Approved { collect_until, scan, .. }
            if scan.user == user && now < *collect_until + MARGIN =>
        {
            Verdict::Open(until(*collect_until))
        }
        State::Ended { ending: Ending::Delivered | Ending::Revoked, scan, .. }
            if scan.user == user =>
        {
            Verdict::Settled
        }
        State::Waiting { .. }
        | State::Scanned { .. }
        | State::Approved { .. }
        | State::Ended { .. } => Verdict::Revoke,
    }
}
