//! Calls that a phone holds open until the outcome is final (spec 3.4).
//!
//! Two bounds keep them cheap. One user holds a few at once, counted by each instance for itself as
//! the other limits of a user are. And all that are held on one thread look at their records
//! together: one read each [`LOOK_AGAIN`], in one command however many wait, and of each login once.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    keys::LoginId,
    login::Login,
    metrics::StoreErrorKind,
    store::{Store, StoreError},
};

/// Calls that one user may hold open at once: those of the few logins that may be open
/// (`SCANLOGIN_CLAIMS_PER_USER`), and some whose phone has lost its network and asks again.
pub const MOST_HELD: u32 = 8;
/// Between two looks at a record while calls are held open for it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Records that are read by one command.
const AT_ONCE: usize = 512;

/// How many calls each user holds open at this instance.
#[derive(Clone, Default)]
pub struct HeldCalls(Arc<Mutex<HashMap<String, u32>>>);

/// One of them, until it is dropped.
pub struct HeldCall {
    calls: HeldCalls,
    user: String,
}

impl HeldCalls {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more call of this user; `None` where there are [`MOST_HELD`].
    pub fn hold(&self, user: &str) -> Option<HeldCall> {
        let mut held = self.lock();
        match held.get_mut(user) {
            Some(count) if *count >= MOST_HELD => return None,
            Some(count) => *count += 1,
            None => drop(held.insert(user.to_owned(), 1)),
        }
        Some(HeldCall { calls: self.clone(), user: user.to_owned() })
    }
}

impl Drop for HeldCall {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.calls.lock().entry(std::mem::take(&mut self.user))
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

type Look = Result<Option<Rc<Login>>, StoreError>;

/// The looks at records that the held calls of one thread share.
#[derive(Clone, Default)]
pub struct SharedLooks(Rc<RefCell<HashMap<LoginId, Vec<oneshot::Sender<Look>>>>>);

impl SharedLooks {
    /// The record as the next look finds it, at most a quarter of a second and a read from now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn next(&self, store: &Store, id: LoginId) -> Look {
        let (tell, told) = oneshot::channel();
        let is_first = {
            let mut asked = self.0.borrow_mut();
            let is_first = asked.is_empty();
            asked.entry(id).or_default().push(tell);
            is_first
        };
        if is_first {
            actix_rt::spawn(self.clone().look(store.clone()));
        }
        told.await.unwrap_or_else(|_| {
            let detail = "the look at this record was given up".into();
            Err(StoreError { kind: StoreErrorKind::Other, detail })
        })
    }

    /// One look for all who have asked by then.
    async fn look(self, store: Store) {
        tokio::time::sleep(LOOK_AGAIN).await;
        let mut asked: Vec<_> = self.0.take().into_iter().collect();
        // Their phones have hung up.
        asked.retain(|(_, waiting)| waiting.iter().any(|tell| !tell.is_closed()));
        while !asked.is_empty() {
            let now = asked.split_off(asked.len().saturating_sub(AT_ONCE));
            let ids: Vec<_> = now.iter().map(|(id, _)| *id).collect();
            let found = store.read_many(&ids).await;
            let mut found = found.map(|logins| logins.into_iter().map(|one| one.map(Rc::new)));
            for (_, waiting) in now {
                let look = match &mut found {
                    Ok(logins) => Ok(logins.next().flatten()),
                    Err(error) => Err(error.clone()),
                };
                for tell in waiting {
                    let _ = tell.send(look.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_holds_a_few_calls_and_each_place_is_free_again() {
        let calls = HeldCalls::default();
        let mut held: Vec<_> = (0..MOST_HELD).map(|_| calls.hold("alice")).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(calls.hold("alice").is_none());
        assert!(calls.hold("bob").is_some(), "another user");
        held.pop();
        assert!(calls.hold("alice").is_some());
        drop(held);
        assert!(calls.lock().is_empty(), "nothing is kept of who holds nothing");
    }
}
