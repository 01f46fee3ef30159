//! The store of a single process: a map under a lock, the transitions of [`crate::login`].

use std::{
    collections::{HashMap, hash_map},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{
    Backend, ConfirmDone, ENDED_FOR, EndDone, Entry, NewLogin, ResumeDone, ScanDone, Session,
    StoreError,
    outbox::{MOST, Put, Revocation, Taken, WORK},
};
use crate::{
    clock::{Clock, Timestamp},
    keys::{Claim, Hash, LoginId, Ticket},
    login::{
        Answer, Attempt, Because, Bringer, Codes, Ending, HiddenNumber, Login, Note, OwnerRefusal,
        PhoneRefusal, Redeemed, Refused, ResumeRefusal, Standing, State, TicketRefusal,
    },
};

/// How often what has ended is thrown away.
const SWEEP: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Inner {
    logins: HashMap<LoginId, Login>,
    /// The entry of each user, and when it goes by itself.
    users: HashMap<String, (Entry, Timestamp)>,
    /// What is remembered of users, and when that is forgotten.
    standings: HashMap<Hash, (Standing, Timestamp)>,
    /// What the webhook must still be told, and when that is due.
    outbox: HashMap<Revocation, Timestamp>,
    /// Who wants to be told of a login's changes.
    watchers: HashMap<LoginId, Vec<mpsc::Sender<LoginId>>>,
    swept: Timestamp,
}

/// A store in memory, shared by the threads of one process.
#[derive(Clone)]
pub struct EmbeddedStore {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
}

impl EmbeddedStore {
    /// An empty store.
    pub fn new(clock: Clock) -> Self {
        Self { inner: Arc::default(), clock }
    }

    /// Tells `changes` of each change of this login from now on. Where `changes` is full, the
    /// transition waits: the phone that causes it feels the load, and nothing is lost.
    pub fn watch(&self, id: LoginId, changes: mpsc::Sender<LoginId>) {
        self.lock().watchers.entry(id).or_default().push(changes);
    }

    /// Tells `changes` of this login no more.
    pub fn unwatch(&self, id: LoginId, changes: &mpsc::Sender<LoginId>) {
        let mut inner = self.lock();
        if let hash_map::Entry::Occupied(mut watchers) = inner.watchers.entry(id) {
            watchers.get_mut().retain(|watcher| !watcher.same_channel(changes));
            if watchers.get().is_empty() {
                watchers.remove();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under this lock would leave a login taken out of the map, nothing worse.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes a live login out of the map, applies `transition`, puts back what it gives.
    fn transition<T>(
        &self,
        id: LoginId,
        transition: impl FnOnce(Option<Login>, Timestamp) -> (Option<Login>, T),
    ) -> T {
        let now = self.clock.now();
        let mut inner = self.lock();
        let login = inner.logins.remove(&id).filter(|login| now < login.gone_at());
        let (login, result) = transition(login, now);
        if let Some(login) = login {
            inner.logins.insert(id, login);
        }
        result
    }

    async fn changed(&self, id: LoginId) {
        let watchers = self.lock().watchers.get(&id).cloned().unwrap_or_default();
        for watcher in watchers {
            // Closed only when the feed is gone, and then the process is about to end.
            let _ = watcher.send(id).await;
        }
    }

    /// How many records there are: for tests that look for leftovers.
    pub fn len(&self) -> usize {
        self.lock().logins.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

type Kept<T> = (Option<Login>, T);

fn kept<T, E>(result: Result<(Login, T), Box<Refused<E>>>) -> Kept<Result<T, E>> {
    match result {
        Ok((login, value)) => (Some(login), Ok(value)),
        Err(refused) => (Some(refused.login), Err(refused.why)),
    }
}

#[async_trait(?Send)]
impl Backend for EmbeddedStore {
    async fn create(&self, new: &NewLogin) -> Result<Timestamp, StoreError> {
        let now = self.clock.now();
        let mut inner = self.lock();
        if now.since(inner.swept) >= SWEEP {
            inner.swept = now;
            inner.logins.retain(|_, login| now < login.gone_at());
            inner.users.retain(|_, (_, until)| now < *until);
            inner.standings.retain(|_, (_, until)| now < *until);
        }
        let codes = Codes { start: now, rotate: new.rotate, first: 1, hashes: new.hashes.clone() };
        let mut login = Login::new(1, new.protocol, new.proof, codes, now + new.wait, now);
        login.facts = new.facts.clone();
        inner.logins.insert(new.id, login);
        Ok(now)
    }

    async fn scan(
        &self,
        id: LoginId,
        attempt: Attempt,
    ) -> Result<Result<ScanDone, PhoneRefusal>, StoreError> {
        let result = self.transition(id, |login, now| {
            let Some(login) = login else { return (None, Err(PhoneRefusal::Unknown)) };
            kept(login.attempt(attempt, now).map(|(login, answer, repeated)| {
                let (facts, asks_number) = match &login.state {
                    State::Scanned { scan, .. } => {
                        let facts = login.facts.clone().map(|f| (f, login.created));
                        (facts, scan.matching.is_some())
                    }
                    _ => (None, false),
                };
                (login, ScanDone { answer, repeated, facts, asks_number })
            }))
        });
        let changed = match &result {
            Ok(done) => !done.repeated,
            Err(why) => *why == PhoneRefusal::CannotMatch,
        };
        if changed {
            self.changed(id).await;
        }
        Ok(result)
    }

    async fn reserve(
        &self,
        id: LoginId,
        code: &Hash,
        user: &str,
        lease: Duration,
    ) -> Result<Result<Option<Answer>, PhoneRefusal>, StoreError> {
        Ok(self.transition(id, |login, now| {
            let Some(login) = login else { return (None, Err(PhoneRefusal::Unknown)) };
            kept(login.reserve(code, user, lease, now))
        }))
    }

    async fn release(&self, id: LoginId, code: &Hash, user: &str) -> Result<(), StoreError> {
        self.transition(id, |login, _| (login.map(|login| login.release(code, user)), ()));
        Ok(())
    }

    async fn outbox_put(&self, one: &Revocation, after: Duration) -> Result<Put, StoreError> {
        let due = self.clock.now() + after;
        let outbox = &mut self.lock().outbox;
        if outbox.len() >= MOST && !outbox.contains_key(one) {
            return Ok(Put::Full);
        }
        Ok(if outbox.insert(one.clone(), due).is_some() { Put::Known } else { Put::New })
    }

    async fn outbox_take(&self, most: usize) -> Result<Taken, StoreError> {
        let now = self.clock.now();
        let outbox = &mut self.lock().outbox;
        let mut taken = Taken { due: Vec::new(), length: outbox.len() as u64 };
        for (one, due) in outbox.iter_mut().filter(|(_, due)| **due <= now).take(most) {
            *due = now + WORK;
            taken.due.push(one.clone());
        }
        Ok(taken)
    }

    async fn outbox_done(&self, one: &Revocation) -> Result<(), StoreError> {
        self.lock().outbox.remove(one);
        Ok(())
    }

    async fn outbox_again(
        &self,
        one: &Revocation,
        next: &Revocation,
        after: Duration,
    ) -> Result<(), StoreError> {
        let due = self.clock.now() + after;
        let outbox = &mut self.lock().outbox;
        if outbox.remove(one).is_some() {
            outbox.insert(next.clone(), due);
        }
        Ok(())
    }

    async fn confirm(
        &self,
        claim: &Claim,
        user: &str,
        number: Option<HiddenNumber>,
        sealed: Vec<u8>,
        collect: Duration,
    ) -> Result<Result<ConfirmDone, PhoneRefusal>, StoreError> {
        let mut ip = None;
        let decided = self.decide(claim, |login, now| {
            ip = login.facts.as_ref().map(|facts| facts.ip.clone());
            login.confirm(claim, user, number, sealed, collect, now)
        });
        let repeated = match decided.await {
            Ok(repeated) => repeated,
            Err(why) => return Ok(Err(why)),
        };
        Ok(Ok(ConfirmDone { repeated, ip: ip.filter(|_| !repeated) }))
    }

    async fn deny(
        &self,
        claim: &Claim,
        user: &str,
    ) -> Result<Result<bool, PhoneRefusal>, StoreError> {
        Ok(self.decide(claim, |login, now| login.deny(claim, user, now)).await)
    }

    async fn look(
        &self,
        id: LoginId,
        user: &Hash,
    ) -> Result<(Option<Login>, Standing), StoreError> {
        let now = self.clock.now();
        let login = self.read(&[id]).await?.pop().flatten();
        let standing = self.lock().standings.get(user).filter(|(_, until)| now < *until).cloned();
        Ok((login, standing.unwrap_or_default().0))
    }

    async fn note(&self, user: &Hash, note: Note) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut inner = self.lock();
        let standing = inner.standings.remove(user).filter(|(_, until)| now < *until);
        let standing = standing.unwrap_or_default().0.noted(note, now);
        let until = now + standing.life();
        inner.standings.insert(*user, (standing, until));
        Ok(())
    }

    async fn read(&self, ids: &[LoginId]) -> Result<Vec<Option<Login>>, StoreError> {
        let now = self.clock.now();
        let inner = self.lock();
        let live = |id| inner.logins.get(id).filter(|login| now < login.gone_at()).cloned();
        Ok(ids.iter().map(live).collect())
    }

    async fn redeem(
        &self,
        ticket: &Ticket,
        by: Bringer,
        again: Duration,
    ) -> Result<Result<Redeemed, TicketRefusal>, StoreError> {
        let redeemed = self.transition(ticket.claim.id, |login, now| {
            let Some(login) = login else { return (None, Err(TicketRefusal::Unknown)) };
            kept(login.redeem(ticket, by, again, now))
        });
        // Nobody has anything to do about it before the acknowledgement.
        Ok(redeemed)
    }

    async fn rebind(&self, id: LoginId, proof: &Hash, browser: &Hash) -> Result<(), StoreError> {
        self.transition(id, |login, now| {
            (login.map(|login| login.rebind(proof, *browser, now).0), ())
        });
        Ok(())
    }

    async fn acknowledge(
        &self,
        epoch: u32,
        user: &str,
        session: &Session,
        ttl: Duration,
    ) -> Result<Result<(), OwnerRefusal>, StoreError> {
        let id = session.id;
        let Ok(older) = self.enter(user, session, ttl) else {
            if self.revoke_pending(user, id) {
                self.changed(id).await;
            }
            return Ok(Err(OwnerRefusal::Over));
        };
        let (mut is_there, mut redeemed) = (false, false);
        let result = self.transition(id, |login, now| {
            let Some(login) = login else { return (None, Err(OwnerRefusal::Over)) };
            (is_there, redeemed) = (true, login.is_redeemed());
            kept(login.acknowledge(epoch, now).map(|login| (login, ())))
        });
        if is_there && result == Err(OwnerRefusal::Over) {
            // A log-out that came before the acknowledgement stands, and what this login would
            // have replaced goes on.
            if self.revoke_current(user, id)
                && let Some(older) = older.filter(|(older, _)| older.id() != Some(id))
            {
                self.lock().users.insert(user.into(), older);
            }
        }
        if redeemed || result.is_ok() {
            // What was said in a request of its own is news to the line that the token went out on.
            // One that acknowledges by itself listens no more.
            self.changed(id).await;
        }
        Ok(result)
    }

    async fn end(&self, id: LoginId, epoch: u32, because: Because) -> Result<EndDone, StoreError> {
        Ok(self.transition(id, |login, now| {
            let Some(login) = login else { return (None, EndDone::Gone) };
            match login.end(epoch, because, now) {
                Ok(login) => {
                    let is_undelivered =
                        |s: &State| matches!(s, State::Ended { ending: Ending::Undelivered, .. });
                    let undelivered = login.as_ref().is_some_and(|l| is_undelivered(&l.state));
                    (login, EndDone::Ended { undelivered })
                }
                Err(refused) => {
                    let Refused { login, why } = *refused;
                    (Some(login.clone()), EndDone::Refused(why, Box::new(login)))
                }
            }
        }))
    }

    async fn resume(&self, id: LoginId, proof: &Hash) -> Result<ResumeDone, StoreError> {
        let done = self.transition(id, |login, now| {
            let Some(login) = login else { return (None, ResumeDone::Unknown) };
            match login.resume(proof, now) {
                Ok(login) => (Some(login.clone()), ResumeDone::Resumed(Box::new(login))),
                Err(refused) => {
                    let Refused { login, why } = *refused;
                    let done = match why {
                        ResumeRefusal::Over => ResumeDone::Over(Box::new(login.clone())),
                        ResumeRefusal::NotYours => ResumeDone::Refused,
                    };
                    (Some(login), done)
                }
            }
        });
        if matches!(done, ResumeDone::Resumed(_)) {
            self.changed(id).await;
        }
        Ok(done)
    }

    async fn bury(&self, id: LoginId, _: &Hash, _: Duration) -> Result<bool, StoreError> {
        // Nothing is ever forgotten here, so nothing is made again.
        Ok(self.transition(id, |login, _| {
            let absent = login.is_none();
            (login, absent)
        }))
    }

    fn may_have_forgotten(&self) -> bool {
        false
    }

    async fn reclaim(&self, id: LoginId, wanted: &Login) -> Result<Login, StoreError> {
        Ok(self.transition(id, |login, _| {
            let login = match login {
                None => wanted.clone(),
                Some(login) => Login { epoch: login.epoch.max(wanted.epoch), ..login },
            };
            (Some(login.clone()), login)
        }))
    }

    async fn entry(&self, user: &str) -> Result<Entry, StoreError> {
        Ok(self.live_entry(&self.lock(), user))
    }

    async fn revoke(&self, user: &str, id: LoginId) -> Result<bool, StoreError> {
        let was_current = self.revoke_current(user, id);
        let was_pending = self.revoke_pending(user, id);
        Ok(was_current || was_pending)
    }

    async fn end_session(&self, user: &str) -> Result<Option<LoginId>, StoreError> {
        let now = self.clock.now();
        let mut inner = self.lock();
        let before = self.live_entry(&inner, user);
        inner.users.insert(user.into(), (Entry::Ended(now), now + ENDED_FOR));
        Ok(before.id())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn token_time(&self) -> Timestamp {
        self.clock.wall()
    }
}

impl EmbeddedStore {
    fn live_entry(&self, inner: &Inner, user: &str) -> Entry {
        let now = self.clock.now();
        let live = inner.users.get(user).filter(|(_, until)| now < *until);
        live.map_or(Entry::Nobody, |(entry, _)| entry.clone())
    }

    /// Makes `session` the user's: what stood there. Refused where the user's web logins were ended
    /// after it was approved.
    fn enter(
        &self,
        user: &str,
        session: &Session,
        ttl: Duration,
    ) -> Result<Option<(Entry, Timestamp)>, ()> {
        let until = self.clock.now() + ttl;
        let mut inner = self.lock();
        if self.live_entry(&inner, user).has_ended(session.since) {
            return Err(());
        }
        let since = self.clock.wall_at(session.since);
        let entry = Entry::Session(Session { since, ..session.clone() });
        Ok(inner.users.insert(user.into(), (entry, until)))
    }

    /// Ends the user's current web login if it is this one.
    fn revoke_current(&self, user: &str, id: LoginId) -> bool {
        let mut inner = self.lock();
        let current = self.live_entry(&inner, user).id() == Some(id);
        if current {
            inner.users.remove(user);
        }
        current
    }

    /// Ends this login if it is the user's and pending.
    fn revoke_pending(&self, user: &str, id: LoginId) -> bool {
        self.transition(id, |login, now| match login {
            None => (None, false),
            Some(login) => match login.revoke(user, now) {
                Ok(login) => (Some(login), true),
                Err(login) => (Some(*login), false),
            },
        })
    }

    /// A confirmation or a denial: whether it repeats an earlier one.
    async fn decide(
        &self,
        claim: &Claim,
        decision: impl FnOnce(Login, Timestamp) -> Result<Login, Box<Refused<PhoneRefusal>>>,
    ) -> Result<bool, PhoneRefusal> {
        let result = self.transition(claim.id, |login, now| {
            let Some(login) = login else { return (None, Err(PhoneRefusal::Unknown)) };
            // Only a scanned login can be decided about; after that an answer is a repetition.
            let repeated = !matches!(login.state, State::Scanned { .. });
            kept(decision(login, now).map(|login| (login, repeated)))
        });
        if matches!(result, Ok(false) | Err(PhoneRefusal::WrongNumber { .. })) {
            self.changed(claim.id).await;
        }
        result
    }
}
