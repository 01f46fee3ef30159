//! Logins whose socket is gone and whose browser may come back: nobody but the instance that held
//! the socket last can tell how they end.

use std::time::Duration;

use crate::{
    clock::Timestamp,
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
    /// It goes on until then.
    Keep(Timestamp),
    /// The store did not answer: look again at this time. It changes nothing of the login's own.
    Again(Timestamp),
    /// Another instance has it now and will count it.
    TakenOver,
    /// It is over.
    Over(LoginOutcome),
}

/// Looks at the record of a login that nobody holds, and ends it if its deadline is `due`.
pub(super) async fn settle(store: Store, held: Box<Held>, due: bool) -> Settled {
    match try_settle(&store, &held, due).await {
        Ok(settled) => settled,
        Err(_) if store.now() < held.deadline + PATIENCE => Settled::Again(store.now() + AGAIN),
        Err(_) => Settled::Over(LoginOutcome::Failed),
    }
}

async fn try_settle(store: &Store, held: &Held, due: bool) -> Result<Settled, StoreError> {
    let over = Settled::Over;
    if due {
        return match store.end(held.id, held.epoch, Because::Deadline).await? {
            EndDone::Ended { .. } | EndDone::Gone => Ok(over(LoginOutcome::Expired)),
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
        (_, State::Waiting { deadline: end } | State::Scanned { deadline: end, .. })
        | (Outcome::Approved, State::Approved { collect_until: end, .. }) => Settled::Keep(*end),
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
