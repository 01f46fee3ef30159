//! The ways in which a login leaves its socket. Each takes `held` out, so each counts once.

use std::{rc::Rc, time::Duration};

use actix::{ActorFutureExt, AsyncContext, WrapFuture};

use super::{Ctx, Phase, Pushed, Waiting};
use crate::{
    clock::Timestamp,
    close::Close,
    journal::Ended,
    login::{Because, Held, OwnerRefusal, Protocol, State},
    metrics::LoginOutcome,
    protocol::ServerMessage,
    registry::{ConnId, Detach, Leave, Reschedule, Unregister, Wake},
    socket::Worker,
    store::{
        EndDone, StoreError,
        outbox::{Cause, Revocation},
    },
};

/// Pauses between attempts to store an acknowledgement while the store is away.
const ACKNOWLEDGE_AGAIN: Duration = Duration::from_millis(500);

impl Waiting {
    pub(super) fn reschedule(&self, deadline: Timestamp, rotate: Option<Timestamp>) {
        let Some(held) = &self.held else { return };
        let (id, conn) = (held.id, self.conn);
        self.worker.registry.tell(Reschedule { id, conn, deadline, rotate });
    }

    pub(super) fn unregister(&self, held: &Held) {
        self.worker.registry.tell(Unregister { id: held.id, conn: self.conn });
    }

    /// The login is over: counted here, then the last word.
    pub(super) fn end(&mut self, outcome: LoginOutcome, close: Close, ctx: &mut Ctx) {
        if let Some(held) = self.held.take() {
            self.unregister(&held);
            self.worker.journal.ended(&Ended::of(&held, outcome, self.now()));
        }
        self.close(close, ctx);
    }

    pub(super) fn taken_over(&mut self, ctx: &mut Ctx) {
        if let Some(held) = self.held.take() {
            self.unregister(&held);
        }
        self.close(Close::TakenOver, ctx);
    }

    /// Asks the store to end the login; the phone may have been quicker.
    pub(super) fn end_by_store(
        &mut self,
        because: Because,
        outcome: LoginOutcome,
        close: Close,
        ctx: &mut Ctx,
    ) {
        let Some(held) = self.held.clone() else { return };
        let (store, longest) = (self.worker.store.clone(), self.worker.longest());
        let end = async move { store.end_for_good(&held, because, longest).await };
        ctx.spawn(end.into_actor(self).map(move |done, waiting, ctx| match done {
            Ok(EndDone::Ended { .. } | EndDone::Gone) => waiting.end(outcome, close, ctx),
            Ok(EndDone::Refused(OwnerRefusal::Superseded, _)) => waiting.superseded(ctx),
            Ok(EndDone::Refused(OwnerRefusal::Early, login)) => {
                if let State::Waiting { deadline } | State::Scanned { deadline, .. } = login.state {
                    if let Some(held) = &mut waiting.held {
                        held.deadline = deadline;
                    }
                    waiting.reschedule(deadline, None);
                }
            }
            Ok(EndDone::Refused(OwnerRefusal::Approved | OwnerRefusal::Over, login)) => {
                waiting.follow(*login, Wake::Deadline, ctx);
                if close == Close::Restart && matches!(waiting.phase, Phase::Pushed { .. }) {
                    // Its turn to leave has come and gone.
                    waiting.drain(ctx);
                }
            }
            // Neither `expired` nor `again` is said on our own authority.
            Err(_) => waiting.end(LoginOutcome::Failed, Close::Failure, ctx),
        }));
    }

    pub(super) fn drain(&mut self, ctx: &mut Ctx) {
        match (&self.phase, self.protocol) {
            (Phase::Waiting | Phase::Scanned(_), Protocol::Plain) => {
                self.end_by_store(Because::Left, LoginOutcome::Cancelled, Close::Restart, ctx);
            }
            (Phase::Waiting | Phase::Scanned(_) | Phase::Ticketed, Protocol::Json) => {
                // Not ended: whoever it resumes at will count it.
                if let Some(held) = self.held.take() {
                    self.unregister(&held);
                }
                let retry_in_ms = u64::from(self.worker.entropy.bytes::<1>()[0]) * 4;
                self.say(&ServerMessage::Drain { retry_in_ms });
                self.close(Close::Restart, ctx);
            }
            (Phase::Introducing(_) | Phase::Resuming, _) => self.close(Close::Restart, ctx),
            (Phase::Pushed { .. }, Protocol::Json) => self.pushed_elsewhere(ctx),
            (Phase::Pushed { .. }, Protocol::Plain) => self.drain_plain(ctx),
            // Almost done.
            (Phase::Closing | Phase::Ticketed, _) => {}
        }
    }

    /// The browser has the token: nothing more is to be announced, then it is written down.
    pub(super) fn acknowledged(&mut self, what: Rc<Pushed>) {
        let Some(held) = self.held.take() else { return };
        let (worker, conn) = (self.worker.clone(), self.conn);
        let under_way = worker.background.begin();
        actix_rt::spawn(async move {
            let Held { id, epoch, deadline, .. } = *held;
            let carried = worker.store.carries_subscriptions();
            let mut forget =
                carried && worker.registry.ask(Leave { id, conn }).await.is_ok_and(|own| own);
            if !carried {
                let _ = worker.registry.ask(Unregister { id, conn }).await;
            }
            let ttl = worker.config.token_ttl;
            let (user, session) =
                (&what.user, worker.session(id, what.approved, what.facts.as_ref()));
            let outcome = loop {
                // Once: later, somebody else may listen to it again.
                let done = match std::mem::take(&mut forget) {
                    true => worker.store.acknowledge_and_forget(epoch, user, &session, ttl).await,
                    false => worker.store.acknowledge(epoch, user, &session, ttl).await,
                };
                match done {
                    Ok(stored) => {
                        if worker.webhook.is_some() && stored.is_ok() {
                            // If that fails, it is found delivered when it is due.
                            let delivered = Revocation::new(id, &what.user, Cause::Undelivered);
                            let _ = worker.store.outbox_done(&delivered).await;
                        }
                        // Whoever took it over meanwhile finds it the user's, and counts it.
                        break (stored != Err(OwnerRefusal::Superseded))
                            .then_some(LoginOutcome::Delivered);
                    }
                    Err(_) if worker.store.now() < deadline => {
                        tokio::time::sleep(ACKNOWLEDGE_AGAIN).await;
                    }
                    Err(_) => break Some(LoginOutcome::Undelivered),
                }
            };
            if let Some(outcome) = outcome {
                worker.journal.ended(&Ended {
                    approved: Some(what.approved),
                    pushed: Some(what.pushed),
                    ..Ended::of(&held, outcome, worker.store.now())
                });
            }
            drop(under_way);
        });
    }

    /// The socket is gone, or its user is: what becomes of a login that is still held.
    pub(super) fn let_go(&mut self, because: Because) {
        let Some(held) = self.held.take() else { return };
        let because = match self.protocol {
            // Nobody can come back, not even for a token.
            Protocol::Plain => Because::Lost,
            Protocol::Json if because == Because::Left => because,
            Protocol::Json => {
                return self.worker.registry.tell(Detach { conn: self.conn, held });
            }
        };
        let (worker, conn) = (self.worker.clone(), self.conn);
        let under_way = worker.background.begin();
        actix_rt::spawn(async move {
            leave(&worker, conn, held, because).await;
            drop(under_way);
        });
    }
}

/// Ends a login whose browser has left, and counts it. `false`: another socket had taken it over.
pub(in crate::socket) async fn leave(
    worker: &Worker,
    conn: ConnId,
    held: Box<Held>,
    because: Because,
) -> bool {
    let id = held.id;
    let outcome = match worker.store.end_for_good(&held, because, worker.longest()).await {
        Ok(EndDone::Ended { undelivered: true }) => Some(LoginOutcome::Undelivered),
        Ok(EndDone::Ended { undelivered: false } | EndDone::Gone) => Some(LoginOutcome::Cancelled),
        Ok(EndDone::Refused(OwnerRefusal::Approved | OwnerRefusal::Early, login)) => {
            // An approved login stays collectable.
            let held = Held::of(id, held.seed.clone(), &login).connected_from(held.from);
            let held = Box::new(held);
            worker.registry.tell(Detach { conn, held });
            return true;
        }
        Ok(EndDone::Refused(OwnerRefusal::Superseded, _)) => None,
        Ok(EndDone::Refused(OwnerRefusal::Over, _)) => Some(LoginOutcome::Cancelled),
        Err(StoreError { .. }) => Some(LoginOutcome::Failed),
    };
    worker.registry.tell(Unregister { id, conn });
    if let Some(outcome) = outcome {
        worker.journal.ended(&Ended::of(&held, outcome, worker.store.now()));
    }
    outcome.is_some()
}
