//! Where logins are kept. Only this folder knows key names and TTLs.
//!
//! [`Store`] is what the rest of the service calls: one [`Backend`], timed and counted. There are
//! two backends, one conformance suite (`tests/it/conformance.rs`), and one rule: each method is
//! one atomic transition on the store's own clock.

mod embedded;
pub mod outbox;
pub mod redis;
mod session;

use std::{rc::Rc, sync::Arc, time::Duration};

use async_trait::async_trait;

use self::outbox::{Put, Revocation, Taken};
pub use self::{
    embedded::EmbeddedStore,
    session::{ENDED_FOR, Entry, Session},
};
use crate::{
    clock::{Clock, Timestamp},
    keys::{Claim, Hash, LoginId, Seed, Ticket},
    login::{
        Answer, Attempt, Because, Facts, Held, HiddenNumber, Login, Note, Outcome, OwnerRefusal,
        PhoneRefusal, Protocol, Redeemed, Standing,
    },
    metrics::{Metrics, StoreErrorKind, StoreOperation},
};

/// The store could not be asked, or gave an answer that makes no sense.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct StoreError {
    /// For the metric.
    pub kind: StoreErrorKind,
    /// For the log; holds no key and no token.
    pub detail: String,
}

/// What is needed for a new login besides the store's time.
#[derive(Clone, Debug)]
pub struct NewLogin {
    /// Its id.
    pub id: LoginId,
    /// The browser's protocol.
    pub protocol: Protocol,
    /// Recognises the resume secret.
    pub proof: Hash,
    /// The hashes of all its codes.
    pub hashes: Vec<Hash>,
    /// How long it waits.
    pub wait: Duration,
    /// How long each code is shown.
    pub rotate: Option<Duration>,
    /// What the person who confirms will be shown.
    pub facts: Option<Facts>,
}

impl NewLogin {
    /// What its owner keeps of it, where it was created at `now`.
    pub fn held(&self, seed: Seed, now: Timestamp) -> Held {
        Held {
            id: self.id,
            seed,
            epoch: 1,
            protocol: self.protocol,
            created: now,
            deadline: now + self.wait,
            codes_start: now,
            rotate: self.rotate,
            first_code: 1,
        }
    }
}

/// What a scan did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanDone {
    /// What the phone is told.
    pub answer: Answer,
    /// Whether it had been told the same before.
    pub repeated: bool,
    /// The browser's facts, and when the login was created and claimed: only while it waits for
    /// the confirmation.
    pub facts: Option<(Facts, Timestamp)>,
    /// Whether the confirmation must bring the number that the browser shows: said as long as the
    /// facts are.
    pub asks_number: bool,
}

/// What a confirmation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmDone {
    /// Whether it had been confirmed before.
    pub repeated: bool,
    /// The browser's address, if this call was the one and it is known: the record keeps it no
    /// longer.
    pub ip: Option<String>,
}

/// What an owner's attempt to end a login found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndDone {
    /// It is over now; `undelivered`: with a token that nobody collected.
    Ended {
        /// Whether a token was waiting.
        undelivered: bool,
    },
    /// There was no record: expired by itself, or forgotten.
    Gone,
    /// Not ended.
    Refused(OwnerRefusal, Box<Login>),
}

/// What a browser that came back with its secret found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumeDone {
    /// The login is its own now, under a raised epoch.
    Resumed(Box<Login>),
    /// There is a record, and not for this browser, or not any more.
    Refused,
    /// There is no record: it never was, it is over, or the store forgot it.
    Unknown,
}

/// What a store must do. Every method is one atomic step on the store's clock.
#[async_trait(?Send)]
pub trait Backend {
    /// Creates a record with its TTL; the store's time.
    async fn create(&self, login: &NewLogin) -> Result<Timestamp, StoreError>;

    /// Whether [`Self::create_and_listen`] and [`Self::acknowledge_and_forget`] see to the
    /// subscription: the feed's connection carries the commands of this thread.
    fn carries_subscriptions(&self) -> bool {
        false
    }

    /// [`Self::create`]; and from then on changes of the record are heard, if it says so. The login
    /// is in the registry already: should the line break, the feed subscribes to what stands there.
    async fn create_and_listen(&self, login: &NewLogin) -> Result<(Timestamp, bool), StoreError> {
        Ok((self.create(login).await?, false))
    }

    /// A phone scans.
    async fn scan(
        &self,
        id: LoginId,
        attempt: Attempt,
    ) -> Result<Result<ScanDone, PhoneRefusal>, StoreError>;

    /// Keeps a login for a user who scans and whose token is made elsewhere, until `lease` is over.
    /// `Some`: there is nothing to make, the phone is told the same again.
    async fn reserve(
        &self,
        id: LoginId,
        code: &Hash,
        user: &str,
        lease: Duration,
    ) -> Result<Result<Option<Answer>, PhoneRefusal>, StoreError>;

    /// Gives up a reservation of this user with this code.
    async fn release(&self, id: LoginId, code: &Hash, user: &str) -> Result<(), StoreError>;

    /// Puts an entry into the queue of revocations, due after so long.
    async fn outbox_put(&self, one: &Revocation, after: Duration) -> Result<Put, StoreError>;

    /// Takes what is due, at most so many.
    async fn outbox_take(&self, most: usize) -> Result<Taken, StoreError>;

    /// An entry is settled.
    async fn outbox_done(&self, one: &Revocation) -> Result<(), StoreError>;

    /// An entry is to be looked at again after so long, as `next`.
    async fn outbox_again(
        &self,
        one: &Revocation,
        next: &Revocation,
        after: Duration,
    ) -> Result<(), StoreError>;

    /// The person confirms, with the number that the browser shows where one is asked for.
    async fn confirm(
        &self,
        claim: &Claim,
        user: &str,
        number: Option<HiddenNumber>,
        sealed: Vec<u8>,
        collect: Duration,
    ) -> Result<Result<ConfirmDone, PhoneRefusal>, StoreError>;

    /// The person declines; whether it had been declined before.
    async fn deny(
        &self,
        claim: &Claim,
        user: &str,
    ) -> Result<Result<bool, PhoneRefusal>, StoreError>;

    /// Before a scan that must be confirmed: the record, and the standing under the user's hash.
    /// Writes nothing.
    async fn look(&self, id: LoginId, user: &Hash)
    -> Result<(Option<Login>, Standing), StoreError>;

    /// Adds to what is remembered under a user's hash.
    async fn note(&self, user: &Hash, note: Note) -> Result<(), StoreError>;

    /// Records, in the order of the ids.
    async fn read(&self, ids: &[LoginId]) -> Result<Vec<Option<Login>>, StoreError>;

    /// A ticket is redeemed, once; `None` if it is good for nothing (any more). The token is the
    /// caller's now, and so is the acknowledgement.
    async fn redeem(&self, ticket: &Ticket) -> Result<Option<Redeemed>, StoreError>;

    /// The browser has the token: first the user's web login, which lasts `ttl`, then the record.
    async fn acknowledge(
        &self,
        epoch: u32,
        user: &str,
        session: &Session,
        ttl: Duration,
    ) -> Result<Result<(), OwnerRefusal>, StoreError>;

    /// [`Self::acknowledge`] by who has listened to this login's changes until now; nothing is told
    /// of this one. The login is out of the registry already.
    async fn acknowledge_and_forget(
        &self,
        epoch: u32,
        user: &str,
        session: &Session,
        ttl: Duration,
    ) -> Result<Result<(), OwnerRefusal>, StoreError> {
        self.acknowledge(epoch, user, session, ttl).await
    }

    /// The owner ends a login.
    async fn end(&self, id: LoginId, epoch: u32, because: Because) -> Result<EndDone, StoreError>;

    /// A browser takes its login over.
    async fn resume(&self, id: LoginId, proof: &Hash) -> Result<ResumeDone, StoreError>;

    /// Sees to it that a login without a record gets none for so long: a browser is about to be
    /// told that it is over. `false`: there is a record after all.
    async fn bury(&self, id: LoginId, proof: &Hash, time: Duration) -> Result<bool, StoreError>;

    /// Whether the store may have forgotten so lately that instances are still making records of
    /// their waiting logins again.
    fn may_have_forgotten(&self) -> bool;

    /// Makes a forgotten record again if it is absent, and raises an epoch that fell back; the
    /// login as it stands then.
    async fn reclaim(&self, id: LoginId, login: &Login) -> Result<Login, StoreError>;

    /// What is known of the user's web login.
    async fn entry(&self, user: &str) -> Result<Entry, StoreError>;

    /// Ends the web login `id` of `user`, current or pending; whether it was there.
    async fn revoke(&self, user: &str, id: LoginId) -> Result<bool, StoreError>;

    /// Ends the user's current web login, and with it every one that is approved by now and not
    /// acknowledged; the current one, if there was one.
    async fn end_session(&self, user: &str) -> Result<Option<LoginId>, StoreError>;

    /// The store's clock, as far as this process knows it.
    fn now(&self) -> Timestamp;
}

/// The store of one thread: a backend, timed and counted.
#[derive(Clone)]
pub struct Store {
    backend: Rc<dyn Backend>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// Makes the store of each thread: connections are driven by the thread that uses them, so that no
/// command waits for another thread to wake up.
#[derive(Clone)]
pub enum StoreFactory {
    /// One process, in memory.
    Embedded(EmbeddedStore),
    /// Shared by many.
    Redis(Arc<redis::Connector>),
}

impl StoreFactory {
    /// The store of the calling thread, where no feed shares its line.
    pub fn make(&self, metrics: &Arc<Metrics>, clock: &Clock) -> Store {
        self.make_on(Rc::default(), metrics, clock)
    }

    /// The store of the calling thread, which uses the feed's line when there is one.
    pub fn make_on(
        &self,
        line: Rc<redis::ThreadLine>,
        metrics: &Arc<Metrics>,
        clock: &Clock,
    ) -> Store {
        let backend: Rc<dyn Backend> = match self {
            Self::Embedded(store) => Rc::new(store.clone()),
            Self::Redis(connector) => {
                Rc::new(redis::RedisStore::new(connector.clone(), clock.clone(), line))
            }
        };
        Store { backend, metrics: metrics.clone(), clock: clock.clone() }
    }
}

impl Store {
    async fn timed<T>(
        &self,
        operation: StoreOperation,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let start = self.clock.now();
        let result = call.await;
        self.metrics.store_seconds.observe(operation, self.clock.now().since(start));
        if let Err(error) = &result {
            self.metrics.store_errors.inc(operation, error.kind);
            tracing::debug!(?operation, kind = ?error.kind, detail = error.detail, "store failed");
        }
        result
    }

    /// See [`Backend::carries_subscriptions`].
    pub fn carries_subscriptions(&self) -> bool {
        self.backend.carries_subscriptions()
    }

    /// See [`Backend::create_and_listen`]; what the owner keeps of the new login, and whether its
    /// changes are heard.
    pub async fn create_and_listen(
        &self,
        login: &NewLogin,
        seed: Seed,
    ) -> Result<(Held, bool), StoreError> {
        let call = self.backend.create_and_listen(login);
        let (now, heard) = self.timed(StoreOperation::Create, call).await?;
        Ok((login.held(seed, now), heard))
    }

    /// See [`Backend::scan`].
    pub async fn scan(
        &self,
        id: LoginId,
        attempt: Attempt,
    ) -> Result<Result<ScanDone, PhoneRefusal>, StoreError> {
        self.timed(StoreOperation::Scan, self.backend.scan(id, attempt)).await
    }

    /// See [`Backend::reserve`].
    pub async fn reserve(
        &self,
        id: LoginId,
        code: &Hash,
        user: &str,
        lease: Duration,
    ) -> Result<Result<Option<Answer>, PhoneRefusal>, StoreError> {
        let call = self.backend.reserve(id, code, user, lease);
        self.timed(StoreOperation::Reserve, call).await
    }

    /// See [`Backend::release`].
    pub async fn release(&self, id: LoginId, code: &Hash, user: &str) -> Result<(), StoreError> {
        self.timed(StoreOperation::Release, self.backend.release(id, code, user)).await
    }

    /// See [`Backend::outbox_put`].
    pub async fn outbox_put(&self, one: &Revocation, after: Duration) -> Result<Put, StoreError> {
        self.timed(StoreOperation::Outbox, self.backend.outbox_put(one, after)).await
    }

    /// See [`Backend::outbox_take`].
    pub async fn outbox_take(&self, most: usize) -> Result<Taken, StoreError> {
        self.timed(StoreOperation::Outbox, self.backend.outbox_take(most)).await
    }

    /// See [`Backend::outbox_done`].
    pub async fn outbox_done(&self, one: &Revocation) -> Result<(), StoreError> {
        self.timed(StoreOperation::Outbox, self.backend.outbox_done(one)).await
    }

    /// See [`Backend::outbox_again`].
    pub async fn outbox_again(
        &self,
        one: &Revocation,
        next: &Revocation,
        after: Duration,
    ) -> Result<(), StoreError> {
        self.timed(StoreOperation::Outbox, self.backend.outbox_again(one, next, after)).await
    }

    /// See [`Backend::confirm`].
    pub async fn confirm(
        &self,
        claim: &Claim,
        user: &str,
        number: Option<HiddenNumber>,
        sealed: Vec<u8>,
        collect: Duration,
    ) -> Result<Result<ConfirmDone, PhoneRefusal>, StoreError> {
        let call = self.backend.confirm(claim, user, number, sealed, collect);
        self.timed(StoreOperation::Confirm, call).await
    }

    /// See [`Backend::look`].
    pub async fn look(
        &self,
        id: LoginId,
        user: &Hash,
    ) -> Result<(Option<Login>, Standing), StoreError> {
        self.timed(StoreOperation::Look, self.backend.look(id, user)).await
    }

    /// See [`Backend::note`].
    pub async fn note(&self, user: &Hash, note: Note) -> Result<(), StoreError> {
        self.timed(StoreOperation::Note, self.backend.note(user, note)).await
    }

    /// See [`Backend::deny`].
    pub async fn deny(
        &self,
        claim: &Claim,
        user: &str,
    ) -> Result<Result<bool, PhoneRefusal>, StoreError> {
        self.timed(StoreOperation::Deny, self.backend.deny(claim, user)).await
    }

    /// See [`Backend::read`].
    pub async fn read_many(&self, ids: &[LoginId]) -> Result<Vec<Option<Login>>, StoreError> {
        self.timed(StoreOperation::Read, self.backend.read(ids)).await
    }

    /// One record.
    pub async fn read(&self, id: LoginId) -> Result<Option<Login>, StoreError> {
        Ok(self.read_many(&[id]).await?.pop().flatten())
    }

    /// See [`Backend::redeem`].
    pub async fn redeem(&self, ticket: &Ticket) -> Result<Option<Redeemed>, StoreError> {
        self.timed(StoreOperation::Redeem, self.backend.redeem(ticket)).await
    }

    /// See [`Backend::acknowledge`].
    pub async fn acknowledge(
        &self,
        epoch: u32,
        user: &str,
        session: &Session,
        ttl: Duration,
    ) -> Result<Result<(), OwnerRefusal>, StoreError> {
        let call = self.backend.acknowledge(epoch, user, session, ttl);
        self.timed(StoreOperation::Acknowledge, call).await
    }

    /// See [`Backend::acknowledge_and_forget`].
    pub async fn acknowledge_and_forget(
        &self,
        epoch: u32,
        user: &str,
        session: &Session,
        ttl: Duration,
    ) -> Result<Result<(), OwnerRefusal>, StoreError> {
        let call = self.backend.acknowledge_and_forget(epoch, user, session, ttl);
        self.timed(StoreOperation::Acknowledge, call).await
    }

    /// See [`Backend::end`].
    pub async fn end(
        &self,
        id: LoginId,
        epoch: u32,
        because: Because,
    ) -> Result<EndDone, StoreError> {
        self.timed(StoreOperation::End, self.backend.end(id, epoch, because)).await
    }

    /// See [`Backend::end`]; nor does it begin again. Where there is no record, the store forgot it, and
    /// what makes it again may be under way: from then on, for so long, that finds it over.
    pub async fn end_for_good(
        &self,
        held: &Held,
        because: Because,
        time: Duration,
    ) -> Result<EndDone, StoreError> {
        loop {
            let done = self.end(held.id, held.epoch, because).await?;
            if done != EndDone::Gone || self.bury(held.id, &held.seed.proof(), time).await? {
                return Ok(done);
            }
        }
    }

    /// See [`Backend::resume`].
    pub async fn resume(&self, id: LoginId, proof: &Hash) -> Result<ResumeDone, StoreError> {
        self.timed(StoreOperation::Resume, self.backend.resume(id, proof)).await
    }

    /// See [`Backend::bury`]; counted as a part of the resume.
    pub async fn bury(
        &self,
        id: LoginId,
        proof: &Hash,
        time: Duration,
    ) -> Result<bool, StoreError> {
        self.timed(StoreOperation::Resume, self.backend.bury(id, proof, time)).await
    }

    /// See [`Backend::may_have_forgotten`].
    pub fn may_have_forgotten(&self) -> bool {
        self.backend.may_have_forgotten()
    }

    /// See [`Backend::reclaim`].
    pub async fn reclaim(&self, id: LoginId, login: &Login) -> Result<Login, StoreError> {
        self.timed(StoreOperation::Reclaim, self.backend.reclaim(id, login)).await
    }

    /// What the phone's receipt shows; `None` if the claim is not of a login that is known.
    pub async fn outcome(&self, claim: &Claim) -> Result<Option<(Outcome, String)>, StoreError> {
        let Some(login) = self.read(claim.id).await? else { return Ok(None) };
        let Some(scan) = login.scan().filter(|scan| scan.claim.matches(&claim.hash())) else {
            return Ok(None);
        };
        let now = self.now();
        // The web login is written before the record: where the record still says approved, the
        // user's entry knows better.
        let current = match login.outcome(false, now) {
            Outcome::Approved | Outcome::Ended(crate::login::Ending::Undelivered) => {
                self.current(&scan.user).await? == Some(claim.id)
            }
            _ => false,
        };
        Ok(Some((login.outcome(current, now), scan.user.clone())))
    }

    /// See [`Backend::entry`].
    pub async fn entry(&self, user: &str) -> Result<Entry, StoreError> {
        self.timed(StoreOperation::Current, self.backend.entry(user)).await
    }

    /// The `jti` of the user's current web login.
    pub async fn current(&self, user: &str) -> Result<Option<LoginId>, StoreError> {
        Ok(self.entry(user).await?.id())
    }

    /// Whether the web login `id` of `user` is good: current, or pending.
    pub async fn is_good(&self, user: &str, id: LoginId) -> Result<bool, StoreError> {
        let entry = self.entry(user).await?;
        if entry.id() == Some(id) {
            return Ok(true);
        }
        let login = self.read(id).await?;
        let pending = login.filter(|login| login.is_pending_for(user, self.now()));
        if pending.is_some_and(|login| !entry.has_ended(login.changed)) {
            return Ok(true);
        }
        // The acknowledgement may have come between the two: it writes the user's entry first, so
        // whoever no longer finds the login pending finds it current.
        Ok(self.current(user).await? == Some(id))
    }

    /// See [`Backend::revoke`].
    pub async fn revoke(&self, user: &str, id: LoginId) -> Result<bool, StoreError> {
        self.timed(StoreOperation::Revoke, self.backend.revoke(user, id)).await
    }

    /// See [`Backend::end_session`].
    pub async fn end_session(&self, user: &str) -> Result<Option<LoginId>, StoreError> {
        self.timed(StoreOperation::EndSession, self.backend.end_session(user)).await
    }

    /// See [`Backend::now`].
    pub fn now(&self) -> Timestamp {
        self.backend.now()
    }
}
