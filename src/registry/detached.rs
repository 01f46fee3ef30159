//! Logins whose socket is gone and whose browser may come back: nobody but the instance that held
//! the socket last can tell how they end.

use std::time::Duration;

use actix::{Context, Handler};

use super::{
    Entry, Holder, Registry, Wake, Wakeable,
    messages::Seen,
    pool::{self, MakeRoom, Place},
};
use crate::{
    clock::Timestamp,
    journal::Ended,
    keys::LoginId,
    login::{Because, Ending, Held, Login, Outcome, OwnerRefusal, State},
    metrics::LoginOutcome,
    store::{EndDone, Store, StoreError},
};

/// How long a login is looked after past its deadline while the store is away.
const PATIENCE: Duration = Duration::from_secs(60);
/// When to look again where the store did not answer.
const AGAIN: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug)]
pub(super) enum Settled {
    /// It goes on.
    Keep {
        /// Until then.
        until: Timestamp,
        /// Whether nobody has scanned it, and it is kept for nobody.
        waits: bool,
    },
    /// The store did not answer: look again at this time. It changes nothing of the login's own.
    Again(Timestamp),
    /// Another instance has it now and will count it.
    TakenOver,
    /// It is over.
    Over(LoginOutcome),
}

impl<A: Wakeable> Entry<A> {
    /// What it has in the pool of detached logins.
    fn place(&self) -> Option<Place> {
        match &self.holder {
            Holder::Nobody(held) => Some(Place { from: held.from, conn: self.conn }),
            _ => None,
        }
    }
}

impl<A: Wakeable> Registry<A> {
    /// An entry is gone, and with it its place.
    pub(super) fn release(&self, gone: &Entry<A>) {
        if let Some(place) = gone.place() {
            self.pool.release(place);
        }
    }

    /// Gives a login that nobody holds a place.
    pub(super) fn hold(&self, id: LoginId, waits: bool) {
        if let Some(place) = self.entries.get(&id).and_then(Entry::place) {
            self.pool.hold(place, pool::Holder { id, thread: self.thread }, waits);
        }
    }

    /// Tells the pool how far a login is that has a place.
    fn update(&self, id: LoginId, waits: bool) {
        if let Some(place) = self.entries.get(&id).and_then(Entry::place) {
            self.pool.update(place, pool::Holder { id, thread: self.thread }, waits);
        }
    }

    /// Looks at a login that nobody holds, and ends it if there is a reason. In a task of its own: all
    /// of an actor's futures are polled whenever one of them is woken, and thousands of browsers may be
    /// cut off in one moment.
    pub(super) fn settle(&self, id: LoginId, because: Option<Because>, ctx: &Context<Self>) {
        let Some(Entry { conn, holder: Holder::Nobody(held), .. }) = self.entries.get(&id) else {
            return;
        };
        let (conn, held) = (*conn, held.clone());
        let (store, registry) = (self.store.clone(), self.own_address(ctx));
        actix_rt::spawn(async move {
            let settled = settle(&store, &held, because).await;
            registry.tell(Seen { id, conn, because, settled });
        });
    }

    fn settled(&mut self, seen: Seen, ctx: &mut Context<Self>) {
        let Seen { id, conn, because, settled } = seen;
        match settled {
            Settled::Keep { until, waits } => {
                if let Some(entry) = self.own(id, conn) {
                    entry.schedule.deadline = until;
                    if let Holder::Nobody(held) = &mut entry.holder {
                        held.deadline = until;
                    }
                    self.set_due(id, until, ctx);
                    match because {
                        // Its place was taken from it, and what has changed since was not looked at.
                        Some(Because::Crowded) => {
                            self.hold(id, waits);
                            self.wake(id, Wake::Changed, ctx);
                        }
                        _ => self.update(id, waits),
                    }
                }
            }
            Settled::Again(at) => {
                if let Some(entry) = self.own(id, conn) {
                    entry.schedule.deadline = at;
                    self.set_due(id, at, ctx);
                    if because == Some(Because::Crowded) {
                        // Not as one that may end: the next attempt would fail at once, too.
                        self.hold(id, false);
                    }
                }
            }
            Settled::TakenOver => {
                if self.remove(id, conn).is_some() {
                    drop(self.feed.unsubscribe(id));
                }
            }
            Settled::Over(outcome) => {
                if let Some(Entry { holder: Holder::Nobody(held), .. }) = self.remove(id, conn) {
                    drop(self.feed.unsubscribe(id));
                    if because == Some(Because::Crowded) {
                        self.metrics.detached_ended.inc();
                    }
                    self.journal.ended(&Ended::of(&held, outcome, self.store.now()));
                }
            }
        }
    }
}

impl<A: Wakeable> Handler<Seen> for Registry<A> {
    type Result = ();

    fn handle(&mut self, seen: Seen, ctx: &mut Self::Context) {
        self.taken();
        self.settled(seen, ctx);
    }
}

impl<A: Wakeable> Handler<MakeRoom> for Registry<A> {
    type Result = ();

    fn handle(&mut self, MakeRoom { id, conn }: MakeRoom, ctx: &mut Self::Context) {
        self.taken();
        // Not where its browser has come back meanwhile.
        if self.own(id, conn).is_some() {
            self.settle(id, Some(Because::Crowded), ctx);
        }
    }
}

/// Looks at the record of a login that nobody holds, and ends it if there is a reason.
async fn settle(store: &Store, held: &Held, because: Option<Because>) -> Settled {
    match try_settle(store, held, because).await {
        Ok(settled) => settled,
        Err(_) if store.now() < held.deadline + PATIENCE => Settled::Again(store.now() + AGAIN),
        Err(_) => Settled::Over(LoginOutcome::Failed),
    }
}

async fn try_settle(
    store: &Store,
    held: &Held,
    because: Option<Because>,
) -> Result<Settled, StoreError> {
    let over = Settled::Over;
    if let Some(because) = because {
        return match store.end(held.id, held.epoch, because).await? {
            EndDone::Ended { .. } | EndDone::Gone => Ok(over(match because {
                Because::Deadline => LoginOutcome::Expired,
                _ => LoginOutcome::Cancelled,
            })),
            EndDone::Refused(OwnerRefusal::Superseded, _) => Ok(Settled::TakenOver),
            EndDone::Refused(_, login) => follow(store, held, &login).await,
        };
    }
    match store.read(held.id).await? {
        Some(login) => follow(store, held, &login).await,
        None => {
            let now = store.now();
            if now >= held.deadline {
                return Ok(over(LoginOutcome::Expired));
            }
            // Redis forgot it: the browser that comes back must find it.
            let login = store.reclaim(held.id, &held.as_waiting(now)).await?;
            follow(store, held, &login).await
        }
    }
}

/// What to do about a record as it stands.
async fn follow(store: &Store, held: &Held, login: &Login) -> Result<Settled, StoreError> {
    let over = Settled::Over;
    if login.epoch > held.epoch {
        return Ok(Settled::TakenOver);
    }
    let now = store.now();
    let current = match &login.state {
        State::Approved { collect_until, scan, .. } if now >= *collect_until => {
            store.current(&scan.user).await? == Some(held.id)
        }
        _ => false,
    };
    Ok(match (login.outcome(current, now), &login.state) {
        (_, State::Waiting { deadline }) => {
            Settled::Keep { until: *deadline, waits: !login.is_reserved(now) }
        }
        (_, State::Scanned { deadline: until, .. })
        | (Outcome::Approved, State::Approved { collect_until: until, .. }) => {
            Settled::Keep { until: *until, waits: false }
        }
        (Outcome::Ended(ending), _) => over(match ending {
            Ending::Delivered | Ending::Revoked => LoginOutcome::Delivered,
            Ending::Undelivered => LoginOutcome::Undelivered,
            Ending::Denied => LoginOutcome::Denied,
            Ending::Expired => LoginOutcome::Expired,
            Ending::Cancelled => LoginOutcome::Cancelled,
        }),
        (_, State::Approved { .. } | State::Ended { .. }) => over(LoginOutcome::Undelivered),
    })
}
