//! Where logins are kept. Only this folder knows key names and TTLs.
//!
//! [`Store`] is what the rest of the service calls: one [`Backend`], timed and counted. There are
//! two backends, one conformance suite (`tests/it/conformance.rs`), and one rule: each method is
//! one atomic transition on the store's own clock.

mod backend;
mod embedded;
pub mod outbox;
pub mod redis;
mod session;

use std::{rc::Rc, sync::Arc, time::Duration};

use self::outbox::{Put, Revocation, Taken};
pub use self::{
    backend::{
        Backend, ConfirmDone, EndDone, Head, KnownTime, NewLogin, ResumeDone, ScanDone, StoreError,
    },
    embedded::EmbeddedStore,
    session::{ENDED_FOR, Entry, Session},
};
use crate::{
    clock::{Clock, Timestamp},
    keys::{Claim, Hash, LoginId, Seed, Ticket},
    login::{
        Answer, Attempt, Because, Bringer, Held, HiddenNumber, Login, Note, Outcome, OwnerRefusal,
        PhoneRefusal, Redeemed, Standing, TicketRefusal,
    },
    metrics::{Metrics, StoreOperation},
};

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

    /// See [`Backend::heads`].
    pub async fn heads(&self, ids: &[LoginId]) -> Result<Vec<Option<Head>>, StoreError> {
        self.timed(StoreOperation::Read, self.backend.heads(ids)).await
    }

    /// One record.
    pub async fn read(&self, id: LoginId) -> Result<Option<Login>, StoreError> {
        Ok(self.read_many(&[id]).await?.pop().flatten())
    }

    /// The record after a change, for a holder who knows of no approval yet: see
    /// [`Backend::just_approved`].
    pub async fn read_changed(&self, id: LoginId) -> Result<Option<Login>, StoreError> {
        match self.backend.just_approved(id).await {
            Some(login) => Ok(Some(login)),
            None => self.read(id).await,
        }
    }

    /// See [`Backend::redeem`].
    pub async fn redeem(
        &self,
        ticket: &Ticket,
        by: Bringer,
        again: Duration,
    ) -> Result<Result<Redeemed, TicketRefusal>, StoreError> {
        self.timed(StoreOperation::Redeem, self.backend.redeem(ticket, by, again)).await
    }

    /// See [`Backend::rebind`]; counted as a part of the resume.
    pub async fn rebind(
        &self,
        id: LoginId,
        proof: &Hash,
        browser: &Hash,
    ) -> Result<(), StoreError> {
        self.timed(StoreOperation::Resume, self.backend.rebind(id, proof, browser)).await
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

    /// See [`Backend::may_be_reminded`].
    pub fn may_be_reminded(&self, life: Duration) -> bool {
        self.backend.may_be_reminded(life)
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

    /// The time to mint a token with, or to judge one by: see [`Backend::token_time`]. The store is asked only
    /// where its time was measured more than 10 s ago, or this machine was suspended or its clock set since.
    ///
    /// # Errors
    /// [`StoreError`]: nobody knows what time it is.
    pub async fn token_time(&self) -> Result<Timestamp, StoreError> {
        if self.backend.known_time() != KnownTime::Well {
            self.timed(StoreOperation::Time, self.backend.ask_time()).await?;
        }
        Ok(self.backend.token_time())
    }

    /// True after a suspend of the machine, or a step of its wall clock, until the store's time is measured
    /// again. Deadlines are not to wait for the next regular measurement.
    pub fn doubts_its_time(&self) -> bool {
        self.backend.known_time() == KnownTime::Jumped
    }

    /// The same without asking: to tell how long a token is still good for.
    pub fn token_time_as_known(&self) -> Timestamp {
        self.backend.token_time()
    }
}
