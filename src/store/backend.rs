//! What a store must do, and what it answers.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    Entry, Session,
    outbox::{Put, Revocation, Taken},
};
use crate::{
    clock::Timestamp,
    keys::{Claim, Hash, LoginId, Seed, Ticket},
    login::{
        Answer, Attempt, Because, Bringer, Facts, Held, HiddenNumber, Login, Note, OwnerRefusal,
        PhoneRefusal, Protocol, Redeemed, Standing, State, TicketRefusal,
    },
    metrics::StoreErrorKind,
    origin::ClientNetwork,
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
    /// The hashes of all its codes, and the mark of its browser ([`crate::login::bind`]).
    pub hashes: Vec<Hash>,
    /// The hash of the cookie of the browser that it belongs to, where it does to one.
    pub browser: Option<Hash>,
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
            from: ClientNetwork::default(),
            seed,
            epoch: 1,
            protocol: self.protocol,
            created: now,
            deadline: now + self.wait,
            codes_start: now,
            rotate_ms: Held::in_ms(self.rotate),
            first_code: 1,
            browser: self.browser.map(Box::new),
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
    /// It is this browser's, and it is over, or too late: the record tells how.
    Over(Box<Login>),
    /// There is a record, and it is not for this browser.
    Refused,
    /// There is no record: it never was, it is over, or the store forgot it.
    Unknown,
}

/// How far a login is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// That of its owner.
    pub epoch: u32,
    /// Nobody has scanned, and it is not over.
    pub is_waiting: bool,
}

impl Head {
    /// That of this login.
    pub fn of(login: &Login) -> Self {
        Self { epoch: login.epoch, is_waiting: matches!(login.state, State::Waiting { .. }) }
    }
}

/// How well this process knows the store's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownTime {
    /// As well as tokens need it.
    Well,
    /// It was not measured lately.
    Old,
    /// Since it was measured our wall clock was set, or the machine was suspended.
    Jumped,
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

    /// How far records are, in the order of the ids: what tells whether their holders have missed
    /// something, for thousands at a time.
    async fn heads(&self, ids: &[LoginId]) -> Result<Vec<Option<Head>>, StoreError> {
        let logins = self.read(ids).await?;
        Ok(logins.iter().map(|login| login.as_ref().map(Head::of)).collect())
    }

    /// The record as this very process has approved it a moment ago, if it did and nobody has asked
    /// yet: for a holder who is notified of a change, and knows of no approval.
    async fn just_approved(&self, _: LoginId) -> Option<Login> {
        None
    }

    /// A ticket is redeemed: the token is the caller's now, and so is the acknowledgement. Once, or,
    /// where the login belongs to a browser, again by that one until `again` after the delivery.
    async fn redeem(
        &self,
        ticket: &Ticket,
        by: Bringer,
        again: Duration,
    ) -> Result<Result<Redeemed, TicketRefusal>, StoreError>;

    /// The browser that holds a login which belongs to one, and which nobody has scanned, has another
    /// cookie by now: the login belongs to that.
    async fn rebind(&self, id: LoginId, proof: &Hash, browser: &Hash) -> Result<(), StoreError>;

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

    /// Whether an instance that has not noticed yet what the store forgot may still make a record
    /// again: the store may have forgotten within the `life` of a login.
    fn may_be_reminded(&self, _life: Duration) -> bool {
        false
    }

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

    /// The store's clock, as far as this process knows it: for deadlines, which are compared by it. No step of
    /// this machine's wall clock moves it.
    fn now(&self) -> Timestamp;

    /// The time that web tokens and cookies are minted and judged by, as far as this process knows it. Redis's
    /// own, so that all instances agree; where there is but one process, its wall clock.
    fn token_time(&self) -> Timestamp {
        self.now()
    }

    /// How well [`Self::token_time`] is known.
    fn known_time(&self) -> KnownTime {
        KnownTime::Well
    }

    /// Asks for it.
    async fn ask_time(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
