//! How many logins of one user may wait for a confirmation at once.
//!
//! Counted by each instance for itself, as the other limits of a user are: who floods a person with
//! questions calls one load balancer, and an exact number across instances would cost a write per
//! scan. What another instance has ended meanwhile is found by reading the records, and only where
//! a user would otherwise be refused.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use crate::{
    clock::Timestamp,
    keys::LoginId,
    login::{CONFIRM, Login, State},
};

/// One login that counts.
#[derive(Clone, Copy, Debug)]
struct Claim {
    id: LoginId,
    /// When it no longer counts, whatever became of it.
    until: Timestamp,
    /// Whether its scan is still under way: then its record says nothing yet.
    under_way: bool,
}

type Open = HashMap<String, Vec<Claim>>;

/// The logins that wait for a confirmation, by user.
#[derive(Clone)]
pub struct OpenClaims {
    most: Option<NonZeroU32>,
    open: Arc<Mutex<Open>>,
}

/// What stands in the way of one more.
#[derive(Debug, PartialEq, Eq)]
pub struct Crowded {
    /// The logins that count and may have ended elsewhere.
    pub ids: Vec<LoginId>,
    /// When the first of all that count ends by itself.
    pub wait: Duration,
}

/// The place of a login whose scan is under way: free again when dropped.
pub struct Place {
    open: Arc<Mutex<Open>>,
    user: String,
    id: LoginId,
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl OpenClaims {
    /// At most so many per user; `None`: unlimited.
    pub fn new(most: Option<NonZeroU32>) -> Self {
        Self { most, open: Arc::default() }
    }

    /// Takes a place for a scan. `Ok(None)`: none is needed, since nothing is limited or this login
    /// has one already.
    ///
    /// # Errors
    /// `Crowded`: the user has as many as one may have.
    pub fn enter(&self, user: &str, id: LoginId, now: Timestamp) -> Result<Option<Place>, Crowded> {
        let Some(most) = self.most else { return Ok(None) };
        let mut open = lock(&self.open);
        let claims = open.entry(user.to_owned()).or_default();
        claims.retain(|claim| now < claim.until);
        if claims.iter().any(|claim| claim.id == id) {
            return Ok(None);
        }
        if claims.len() >= most.get() as usize {
            let known = claims.iter().filter(|claim| !claim.under_way);
            let first = claims.iter().map(|claim| claim.until).min().unwrap_or(now);
            return Err(Crowded {
                ids: known.map(|claim| claim.id).collect(),
                wait: now.until(first),
            });
        }
        claims.push(Claim { id, until: now + CONFIRM, under_way: true });
        Ok(Some(Place { open: self.open.clone(), user: user.to_owned(), id }))
    }

    /// A login no longer waits for this user's confirmation.
    pub fn leave(&self, user: &str, id: LoginId) {
        let mut open = lock(&self.open);
        if let Some(claims) = open.get_mut(user) {
            claims.retain(|claim| claim.id != id);
            if claims.is_empty() {
                open.remove(user);
            }
        }
    }

    /// Frees the places of those that wait no longer, as their records have it.
    pub fn check(&self, user: &str, ids: &[LoginId], records: &[Option<Login>], now: Timestamp) {
        for (id, record) in ids.iter().zip(records) {
            let waits = record.as_ref().is_some_and(|login| {
                matches!(&login.state, State::Scanned { deadline, scan }
                    if now < *deadline && scan.user == user)
            });
            if !waits {
                self.leave(user, *id);
            }
        }
    }

    /// Frees the memory of what has ended by itself.
    pub fn forget_the_idle(&self, now: Timestamp) {
        lock(&self.open).retain(|_, claims| {
            claims.retain(|claim| now < claim.until);
            !claims.is_empty()
        });
    }
}

impl Place {
    /// The scan has claimed the login: the place is taken until it is decided or its time is over.
    pub fn keep(self) {
        let mut open = lock(&self.open);
        let claims = open.get_mut(&self.user);
        if let Some(claim) = claims.and_then(|claims| claims.iter_mut().find(|c| c.id == self.id)) {
            claim.under_way = false;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        let Some(claims) = open.get_mut(&self.user) else { return };
        claims.retain(|claim| claim.id != self.id || !claim.under_way);
        if claims.is_empty() {
            open.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Entropy;

    fn id() -> LoginId {
        LoginId::random(Entropy::Os)
    }

    #[test]
    fn a_place_is_free_again_when_its_scan_fails_its_login_is_decided_or_its_time_is_over() {
        let claims = OpenClaims::new(NonZeroU32::new(2));
        let (now, first, second) = (Timestamp::default(), id(), id());
        claims.enter("alice", first, now).unwrap().unwrap().keep();
        let place = claims.enter("alice", second, now).unwrap().unwrap();
        // A scan under way is not looked up: its record does not show it yet.
        let crowded = claims.enter("alice", id(), now).err().unwrap();
        assert_eq!(crowded, Crowded { ids: vec![first], wait: CONFIRM });
        assert!(claims.enter("alice", first, now).unwrap().is_none(), "it has its place");
        assert!(claims.enter("bob", id(), now).is_ok(), "another user");
        drop(place);
        claims.enter("alice", second, now).unwrap().unwrap().keep();
        assert!(claims.enter("alice", id(), now).is_err());
        claims.leave("alice", second);
        drop(claims.enter("alice", id(), now).unwrap());
        assert!(claims.enter("alice", second, now + CONFIRM).unwrap().is_some());
        claims.forget_the_idle(now + CONFIRM);
        assert!(lock(&claims.open).is_empty(), "nothing is kept of who has nothing open");
    }

    #[test]
    fn what_ended_elsewhere_does_not_count() {
        let claims = OpenClaims::new(NonZeroU32::new(1));
        let (now, ended) = (Timestamp::default(), id());
        claims.enter("alice", ended, now).unwrap().unwrap().keep();
        let crowded = claims.enter("alice", id(), now).err().unwrap();
        claims.check("alice", &crowded.ids, &[None], now);
        assert!(claims.enter("alice", id(), now).is_ok());
        assert!(OpenClaims::new(None).enter("alice", id(), now).unwrap().is_none());
    }
}
