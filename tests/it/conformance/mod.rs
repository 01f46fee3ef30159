//! One suite for both stores: the same calls must have the same results.
//!
//! Redis has a clock of its own, so nothing here waits for a moment to come: a login that is in the
//! middle of its life is made by `reclaim`, with a beginning in the past.

mod bound;
mod browser;
mod matching;
mod outbox;
mod phone;
mod random;
mod reserve;
mod sessions;
mod standing;

use std::{rc::Rc, time::Duration};

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use scanlogin::{
    clock::{Clock, Timestamp},
    keys::{Claim, Entropy, Hash, LoginId, Seed, Ticket},
    login::{
        Answer, Attempt, Because, Bringer, Codes, Ending, Facts, Held, HiddenNumber, Login,
        MatchNumber, Note, PhoneRefusal, Profile, Protocol, Redeemed, Scan, Standing, State, Then,
        TicketRefusal, Windows, bind, hashes,
    },
    store::{
        Backend, ConfirmDone, EmbeddedStore, EndDone, Entry, Head, NewLogin, ResumeDone, ScanDone,
        Session, StoreError,
        outbox::{Put, Revocation, Taken},
        redis::{Connector, RedisStore},
    },
};

use crate::helpers::{RedisServer, Settings};

const SECOND: Duration = Duration::from_secs(1);
/// What two readings of a clock may differ in one test.
const TOLERANCE: Duration = Duration::from_secs(5);
const WAIT: Duration = Duration::from_secs(120);
const COLLECT: Duration = Duration::from_secs(60);

/// One of the stores. Looks after each call whether everything in Redis has a TTL.
struct Rig {
    name: &'static str,
    backend: Box<dyn Backend>,
    redis: Option<(RedisServer, MultiplexedConnection)>,
}

impl Rig {
    fn embedded() -> Self {
        let backend = Box::new(EmbeddedStore::new(Clock::system()));
        Self { name: "embedded", backend, redis: None }
    }

    async fn redis() -> Self {
        let server = RedisServer::start().await;
        let config = Settings::redis(&server).config().redis.expect("a Redis");
        let connector = Connector::new(config, true).expect("no files to read");
        let backend = Box::new(RedisStore::new(connector.into(), Clock::system(), Rc::default()));
        let connection = server.connection().await;
        Self { name: "redis", backend, redis: Some((server, connection)) }
    }

    /// Every key of ours, and what is left of its life.
    async fn lives(&self) -> Vec<(String, Duration)> {
        let Some((_server, connection)) = &self.redis else { return Vec::new() };
        let mut connection = connection.clone();
        let keys: Vec<String> =
            redis::cmd("KEYS").arg("*").query_async(&mut connection).await.expect("KEYS works");
        let mut lives = Vec::new();
        for key in keys {
            let left: i64 = redis::cmd("PTTL")
                .arg(&key)
                .query_async(&mut connection)
                .await
                .expect("PTTL works");
            assert_ne!(left, -1, "{key} would stay for ever");
            lives.push((key, Duration::from_millis(left.max(0) as u64)));
        }
        lives
    }

    async fn checked<T>(&self, call: impl Future<Output = T>) -> T {
        let result = call.await;
        self.lives().await;
        result
    }

    /// The record.
    async fn record(&self, id: LoginId) -> Option<Login> {
        let record = self.read(&[id]).await.expect("the store answers").pop().flatten();
        let heads = self.backend.heads(&[id]).await.expect("the store answers");
        assert_eq!(heads, [record.as_ref().map(Head::of)]);
        record
    }

    /// The `jti` of the user's current web login.
    async fn current(&self, user: &str) -> Result<Option<LoginId>, StoreError> {
        Ok(self.entry(user).await?.id())
    }

    /// Whether a record's time in Redis ends when the login says that it is gone.
    async fn assert_life(&self, login: &Login) {
        if self.redis.is_none() {
            return;
        }
        let mut lives = self.lives().await;
        lives.retain(|(key, _)| key.contains("l:"));
        let [(_, left)] = &lives[..] else { panic!("one record, not {lives:?}") };
        let wanted = self.now().until(login.gone_at());
        assert!(left.abs_diff(wanted) < TOLERANCE, "{left:?} left instead of {wanted:?}");
    }
}

#[async_trait(?Send)]
impl Backend for Rig {
    async fn create(&self, login: &NewLogin) -> Result<Timestamp, StoreError> {
        self.checked(self.backend.create(login)).await
    }
    async fn scan(
        &self,
        id: LoginId,
        attempt: Attempt,
    ) -> Result<Result<ScanDone, PhoneRefusal>, StoreError> {
        self.checked(self.backend.scan(id, attempt)).await
    }
    async fn reserve(
        &self,
        id: LoginId,
        code: &Hash,
        user: &str,
        lease: Duration,
    ) -> Result<Result<Option<Answer>, PhoneRefusal>, StoreError> {
        self.checked(self.backend.reserve(id, code, user, lease)).await
    }
    async fn release(&self, id: LoginId, code: &Hash, user: &str) -> Result<(), StoreError> {
        self.checked(self.backend.release(id, code, user)).await
    }
    async fn outbox_put(&self, one: &Revocation, after: Duration) -> Result<Put, StoreError> {
        self.checked(self.backend.outbox_put(one, after)).await
    }
    async fn outbox_take(&self, most: usize) -> Result<Taken, StoreError> {
        self.checked(self.backend.outbox_take(most)).await
    }
    async fn outbox_done(&self, one: &Revocation) -> Result<(), StoreError> {
        self.checked(self.backend.outbox_done(one)).await
    }
    async fn outbox_again(
        &self,
        one: &Revocation,
        next: &Revocation,
        after: Duration,
    ) -> Result<(), StoreError> {
        self.checked(self.backend.outbox_again(one, next, after)).await
    }
    async fn confirm(
        &self,
        claim: &Claim,
        user: &str,
        number: Option<HiddenNumber>,
        sealed: Vec<u8>,
        collect: Duration,
    ) -> Result<Result<ConfirmDone, PhoneRefusal>, StoreError> {
        self.checked(self.backend.confirm(claim, user, number, sealed, collect)).await
    }
    async fn look(
        &self,
        id: LoginId,
        user: &Hash,
    ) -> Result<(Option<Login>, Standing), StoreError> {
        self.checked(self.backend.look(id, user)).await
    }
    async fn note(&self, user: &Hash, note: Note) -> Result<(), StoreError> {
        self.checked(self.backend.note(user, note)).await
    }
    async fn deny(
        &self,
        claim: &Claim,
        user: &str,
    ) -> Result<Result<bool, PhoneRefusal>, StoreError> {
        self.checked(self.backend.deny(claim, user)).await
    }
    async fn read(&self, ids: &[LoginId]) -> Result<Vec<Option<Login>>, StoreError> {
        self.checked(self.backend.read(ids)).await
    }
    async fn redeem(
        &self,
        ticket: &Ticket,
        by: Bringer,
        again: Duration,
    ) -> Result<Result<Redeemed, TicketRefusal>, StoreError> {
        self.checked(self.backend.redeem(ticket, by, again)).await
    }
    async fn rebind(&self, id: LoginId, proof: &Hash, browser: &Hash) -> Result<(), StoreError> {
        self.checked(self.backend.rebind(id, proof, browser)).await
    }
    async fn acknowledge(
        &self,
        epoch: u32,
        user: &str,
        session: &Session,
        ttl: Duration,
    ) -> Result<Result<(), scanlogin::login::OwnerRefusal>, StoreError> {
        self.checked(self.backend.acknowledge(epoch, user, session, ttl)).await
    }
    async fn end(&self, id: LoginId, epoch: u32, because: Because) -> Result<EndDone, StoreError> {
        self.checked(self.backend.end(id, epoch, because)).await
    }
    async fn resume(&self, id: LoginId, proof: &Hash) -> Result<ResumeDone, StoreError> {
        self.checked(self.backend.resume(id, proof)).await
    }
    async fn bury(&self, id: LoginId, proof: &Hash, time: Duration) -> Result<bool, StoreError> {
        self.checked(self.backend.bury(id, proof, time)).await
    }
    fn may_have_forgotten(&self) -> bool {
        self.backend.may_have_forgotten()
    }
    async fn reclaim(&self, id: LoginId, login: &Login) -> Result<Login, StoreError> {
        self.checked(self.backend.reclaim(id, login)).await
    }
    async fn entry(&self, user: &str) -> Result<Entry, StoreError> {
        self.checked(self.backend.entry(user)).await
    }
    async fn end_session(&self, user: &str) -> Result<Option<LoginId>, StoreError> {
        self.checked(self.backend.end_session(user)).await
    }
    async fn revoke(&self, user: &str, id: LoginId) -> Result<bool, StoreError> {
        self.checked(self.backend.revoke(user, id)).await
    }
    fn now(&self) -> Timestamp {
        self.backend.now()
    }
}

/// Runs the same test on both stores.
async fn on_both(test: impl AsyncFn(&Rig)) {
    for rig in [Rig::embedded(), Rig::redis().await] {
        // Shown only when the test fails.
        eprintln!("on the {} store", rig.name);
        test(&rig).await;
    }
}

/// A login as its browser's instance and a phone know it.
#[derive(Clone)]
struct Subject {
    id: LoginId,
    seed: Seed,
}

impl Subject {
    fn new() -> Self {
        Self { id: LoginId::random(Entropy::Os), seed: Seed::random(Entropy::Os) }
    }

    /// One that has just begun to wait.
    async fn created(rig: &Rig, protocol: Protocol) -> Self {
        let subject = Self::new();
        let rotate = (protocol == Protocol::Json).then_some(30 * SECOND);
        rig.create(&subject.new_login(protocol, rotate)).await.expect("the store answers");
        subject
    }

    /// One that has been waiting for `age`, made again as after a loss.
    async fn aged(rig: &Rig, age: Duration, rotate: Option<Duration>) -> Self {
        let subject = Self::new();
        let login = subject.waiting(rig.now() - age, rotate);
        rig.reclaim(subject.id, &login).await.expect("the store answers");
        subject
    }

    fn new_login(&self, protocol: Protocol, rotate: Option<Duration>) -> NewLogin {
        let windows = Windows::lay_out(1, Timestamp::default(), WAIT, rotate);
        NewLogin {
            id: self.id,
            protocol,
            proof: self.seed.proof(),
            hashes: hashes(&self.seed, 1, windows.count),
            browser: None,
            wait: WAIT,
            rotate,
            facts: Some(facts()),
        }
    }

    /// The same of a login that belongs to the browser whose cookie has this hash.
    fn bound(&self, browser: Hash) -> NewLogin {
        let mut new = self.new_login(Protocol::Json, Some(30 * SECOND));
        bind(&mut new.hashes, browser);
        NewLogin { browser: Some(browser), ..new }
    }

    /// The record of a login that began then.
    fn waiting(&self, created: Timestamp, rotate: Option<Duration>) -> Login {
        let windows = Windows::lay_out(1, created, WAIT, rotate);
        let codes = Codes::of(&self.seed, windows);
        let proof = self.seed.proof();
        let mut login = Login::new(1, Protocol::Json, proof, codes, created + WAIT, created);
        login.facts = Some(facts());
        login
    }

    /// The same in a later state, which it has been in since `changed`.
    fn later(&self, mut login: Login, state: State, changed: Timestamp) -> Login {
        if matches!(state, State::Ended { .. }) {
            login.facts = None;
            login.codes.hashes.clear();
        }
        Login { state, changed, ..login }
    }

    fn scan_of(&self, number: u32, user: &str, answer: Answer) -> Scan {
        Scan {
            user: user.into(),
            code: self.seed.code(number).hash(),
            number,
            claim: self.claim(number, user).hash(),
            answer,
            profile: Profile::default(),
            matching: None,
        }
    }

    fn claim(&self, number: u32, user: &str) -> Claim {
        self.seed.code(number).claim(self.id, user)
    }

    /// A phone scans the code with this number.
    async fn scan(
        &self,
        rig: &Rig,
        number: u32,
        user: &str,
        then: Then,
    ) -> Result<ScanDone, PhoneRefusal> {
        let (code, claim) = (self.seed.code(number).hash(), self.claim(number, user).hash());
        let attempt = Attempt { code, user: user.into(), claim, then };
        rig.scan(self.id, attempt).await.expect("the store answers")
    }

    /// Its browser comes back; the login if it is its own now.
    async fn resumed(&self, rig: &Rig) -> Option<Login> {
        match rig.resume(self.id, &self.seed.proof()).await.expect("the store answers") {
            ResumeDone::Resumed(login) => Some(*login),
            ResumeDone::Over(_) | ResumeDone::Refused | ResumeDone::Unknown => None,
        }
    }

    /// Confirms without a number; whether that is a repetition.
    async fn confirm(&self, rig: &Rig, number: u32, user: &str) -> Result<bool, PhoneRefusal> {
        self.confirm_with(rig, number, user, None).await.map(|done| done.repeated)
    }

    /// Confirms with the digits that a person typed.
    async fn confirm_with(
        &self,
        rig: &Rig,
        number: u32,
        user: &str,
        digits: Option<u64>,
    ) -> Result<ConfirmDone, PhoneRefusal> {
        let claim = self.claim(number, user);
        let digits = digits.map(|digits| self.hidden(number, user, digits));
        let confirmed = rig.confirm(&claim, user, digits, b"sealed".to_vec(), COLLECT).await;
        confirmed.expect("the store answers")
    }

    /// These digits as the record of this user's scan has them.
    fn hidden(&self, number: u32, user: &str, digits: u64) -> HiddenNumber {
        MatchNumber::from_number(digits).expect("two digits").hidden(&self.claim(number, user))
    }

    async fn deny(&self, rig: &Rig, number: u32, user: &str) -> Result<bool, PhoneRefusal> {
        rig.deny(&self.claim(number, user), user).await.expect("the store answers")
    }

    async fn end(&self, rig: &Rig, epoch: u32, because: Because) -> EndDone {
        rig.end(self.id, epoch, because).await.expect("the store answers")
    }

    async fn acknowledge(
        &self,
        rig: &Rig,
        epoch: u32,
        user: &str,
    ) -> Result<(), scanlogin::login::OwnerRefusal> {
        let session = self.session(rig).await;
        rig.acknowledge(epoch, user, &session, 3600 * SECOND).await.expect("the store answers")
    }

    /// What an acknowledgement makes of it: since its approval, or since a moment that no store has
    /// seen yet.
    async fn session(&self, rig: &Rig) -> Session {
        let since = match rig.record(self.id).await {
            Some(login) if matches!(login.state, State::Approved { .. }) => login.changed,
            _ => rig.now() + SECOND,
        };
        Session { id: self.id, since, browser: b"facts".to_vec() }
    }

    /// The ticket of its browser, after this scan.
    fn ticket(&self, number: u32, user: &str) -> Ticket {
        Ticket::new(&self.seed, self.claim(number, user))
    }

    /// The record, which must be there.
    async fn record(&self, rig: &Rig) -> Login {
        rig.record(self.id).await.expect("a record")
    }

    async fn ending(&self, rig: &Rig) -> Option<Ending> {
        match self.record(rig).await.state {
            State::Ended { ending, .. } => Some(ending),
            _ => None,
        }
    }

    /// What the browser's instance holds of it.
    fn held(&self, login: &Login) -> Held {
        Held::of(self.id, self.seed.clone(), login)
    }
}

fn facts() -> Facts {
    Facts::new("192.0.2.7".into(), "https://www.example.com", "Firefox/127.0")
}

fn approve() -> Then {
    Then::Approve { sealed: b"sealed".to_vec(), collect: COLLECT }
}

fn claim() -> Then {
    claim_with(None)
}

/// A claim that asks for a number.
fn claim_with(number: Option<HiddenNumber>) -> Then {
    let name = Some("Älice".to_owned());
    Then::Claim(Profile { name, picture: None }, number)
}

fn assert_close(left: Timestamp, right: Timestamp) {
    let apart = left.since(right) + right.since(left);
    assert!(apart < TOLERANCE, "{left:?} and {right:?} are {apart:?} apart");
}
