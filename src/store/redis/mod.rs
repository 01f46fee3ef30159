//! The store that instances share: Redis, with each transition as one Lua call.

mod acknowledge;
mod answers;
mod approvals;
mod connect;
mod connection;
mod driver;
mod line;
mod multiplexer;
mod names;
mod offset;
mod outbox;
mod piggyback;
mod record;
mod reply;
mod run;
mod standing;
mod stream;

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use bb8_redis::bb8;
use futures_util::future::{try_join, try_join_all};
use redis::{Script, ScriptInvocation, Value};

use self::{
    acknowledge::acknowledged,
    answers::{
        EARLY, ENDED_UNDELIVERED, GONE, IS_APPROVED, NOT_YOURS, OK, OVER, REPEATED, SUPERSEDED,
        UNKNOWN, WRONG_NUMBER, decided, nonsense, phone_refusal, told, unpack,
    },
    connect::{Manager, NotMade, store_error},
    piggyback::Role,
};
pub use self::{
    connect::{CONNECT_TIMEOUT, Connector, DOUBT, RESPONSE_TIMEOUT},
    connection::Connection,
    line::ThreadLine,
    multiplexer::{Heard, Multiplexer},
    names::{Names, slot_of},
};
use super::{
    Backend, ConfirmDone, ENDED_FOR, EndDone, Entry, Head, KnownTime, NewLogin, ResumeDone,
    ScanDone, Session, StoreError,
    outbox::{Put, Revocation, Taken},
};
use crate::{
    clock::{Clock, Moment, Timestamp},
    config::RedisNodes,
    keys::{Claim, Hash, LoginId, Ticket},
    login::{
        Answer, Attempt, Because, Bringer, Codes, Ending, HiddenNumber, Login, Note, OwnerRefusal,
        PhoneRefusal, Protocol, RECEIPT, Redeemed, SLACK, Standing, State, Then, TicketRefusal,
    },
};

macro_rules! script {
    ($name:ident, $file:literal) => {
        script!($name, "", include_str!($file));
    };
    // One whose usual case is dealt with before the prelude.
    ($name:ident, $usual:literal, then $file:literal) => {
        script!($name, include_str!($usual), include_str!($file));
    };
    ($name:ident, $usual:expr, $all:expr) => {
        static $name: LazyLock<Script> = LazyLock::new(|| {
            let (now, prelude) = (include_str!("now.lua"), include_str!("prelude.lua"));
            Script::new(&[&record::lua_constants(), now, $usual, prelude, $all].concat())
        });
    };
}
use script;
script!(SCAN, "scan_waiting.lua", then "scan.lua");
script!(RESERVE, "reserve.lua");
script!(RELEASE, "release.lua");
script!(DECIDE, "decide.lua");
script!(NOTE, "note.lua");
script!(END, "end.lua");
script!(RESUME, "resume.lua");
script!(RECLAIM, "reclaim.lua");
script!(REVOKE_PENDING, "revoke_pending.lua");
script!(REDEEM, "redeem.lua");
script!(REBIND, "rebind.lua");
script!(END_SESSION, "end_session.lua");
static CREATE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("create.lua")));
static REVOKE_CURRENT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("revoke_current.lua")));

/// The store of one thread.
pub struct RedisStore {
    /// The feed's connection, where it listens on one that can carry commands.
    line: Rc<ThreadLine>,
    pool: bb8::Pool<Manager>,
    not_made: NotMade,
    connector: Arc<Connector>,
    clock: Clock,
    /// Until when connecting is not tried again.
    away_until: Cell<Timestamp>,
}

impl RedisStore {
    /// Ends this login if it is the user's and pending.
    async fn revoke_pending(&self, user: &str, id: LoginId) -> Result<bool, StoreError> {
        let mut call = REVOKE_PENDING.key(self.login_key(id));
        call.arg(user);
        self.script(&call).await
    }

    /// Two keys that need not be in one slot, in one command where they may be.
    async fn get_two(
        &self,
        keys: &[String; 2],
    ) -> Result<(Option<Vec<u8>>, Option<Vec<u8>>), StoreError> {
        if matches!(self.connector.nodes(), RedisNodes::Cluster(_)) {
            let get = async |key: &String| {
                let get = redis::cmd("GET").arg(key).take();
                self.run(async |connection| get.query_async(connection).await).await
            };
            return try_join(get(&keys[0]), get(&keys[1])).await;
        }
        let mget = redis::cmd("MGET").arg(keys).take();
        self.run(async |connection| mget.query_async(connection).await).await
    }

    /// Records as they stand in Redis.
    async fn raw(&self, ids: &[LoginId]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let keys: Vec<_> = ids.iter().map(|id| self.login_key(*id)).collect();
        let get = async |key: &String| {
            let get = redis::cmd("GET").arg(key).take();
            self.run(async |connection| get.query_async(connection).await).await
        };
        Ok(match &keys[..] {
            [] => Vec::new(),
            [key] => vec![get(key).await?],
            // One by one: an MGET of keys of one slot is refused (TRYAGAIN) while that slot moves
            // and its keys are at two nodes. Hardly two logins share a slot, so it costs no more.
            keys if matches!(self.connector.nodes(), RedisNodes::Cluster(_)) => {
                try_join_all(keys.iter().map(get)).await?
            }
            keys => {
                let mget = redis::cmd("MGET").arg(keys).take();
                self.run(async |connection| mget.query_async(connection).await).await?
            }
        })
    }

    fn creation(&self, new: &NewLogin) -> ScriptInvocation<'static> {
        let zero = Timestamp::default();
        let codes = Codes { start: zero, rotate: new.rotate, first: 1, hashes: new.hashes.clone() };
        let mut login = Login::new(1, new.protocol, new.proof, codes, zero, zero);
        login.facts = new.facts.clone();
        let mut call = CREATE.key(self.login_key(new.id));
        let life = (new.wait + SLACK).as_micros().div_ceil(1000) as u64;
        call.arg(record::pack(&login)).arg(micros(new.wait)).arg(life);
        call
    }

    /// Redis's time of a creation that was sent then.
    fn created(&self, time: (u64, u64), sent: Moment) -> Timestamp {
        self.connector.compare_clocks(time, sent, &self.clock)
    }

    fn login_key(&self, id: LoginId) -> String {
        self.connector.names().login(id)
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

#[async_trait(?Send)]
impl Backend for RedisStore {
    async fn create(&self, new: &NewLogin) -> Result<Timestamp, StoreError> {
        let sent = self.clock.moment();
        let now = self.script(&self.creation(new)).await?;
        Ok(self.created(now, sent))
    }

    async fn create_and_listen(&self, new: &NewLogin) -> Result<(Timestamp, bool), StoreError> {
        let Some(line) = self.line.get() else { return Ok((self.create(new).await?, false)) };
        let mut line = line.with_role(Role::Carrier);
        let sent = self.clock.moment();
        let mut pipeline = redis::pipe();
        pipeline.invoke_script(&self.creation(new));
        pipeline.cmd("SUBSCRIBE").arg(self.connector.names().channel(new.id));
        match pipeline.query_async(&mut line).await {
            Ok((now, Value::Push { .. })) => Ok((self.created(now, sent), true)),
            Err(error) if error.is_timeout() => Err(store_error(&error)),
            // A script that Redis does not know yet, or a line that broke. What was made may be
            // made again.
            _ => Ok((self.create(new).await?, false)),
        }
    }

    fn carries_subscriptions(&self) -> bool {
        self.line.get().is_some()
    }

    async fn scan(
        &self,
        id: LoginId,
        attempt: Attempt,
    ) -> Result<Result<ScanDone, PhoneRefusal>, StoreError> {
        let (answer, collect, number) = match attempt.then {
            Then::Approve { collect, .. } => (0, collect, None),
            Then::Claim(_, number) => (1, Duration::ZERO, number),
        };
        let life = (collect + SLACK + RECEIPT).as_micros().div_ceil(1000) as u64;
        let (front, back) = record::around_the_number(&attempt);
        let mut call = SCAN.key(self.login_key(id));
        call.arg(attempt.code.as_bytes()).arg(answer).arg(micros(collect)).arg(life);
        call.arg(front).arg(back);
        if let Some(number) = number {
            call.arg(number.get());
        }
        let approval = if answer == 0 { self.connector.approvals().begin(id) } else { None };
        let (tag, answer, raw): (u8, u8, Vec<u8>) = self.script(&call).await?;
        if !matches!(tag, OK | REPEATED) {
            return Ok(Err(phone_refusal(tag)?));
        }
        let mut done = ScanDone {
            answer: told(answer),
            repeated: tag == REPEATED,
            facts: None,
            asks_number: false,
        };
        if !raw.is_empty() {
            let login = unpack(&raw)?;
            match &login.state {
                State::Scanned { scan, .. } => {
                    done.asks_number = scan.matching.is_some();
                    done.facts = login.facts.map(|facts| (facts, login.created));
                }
                _ => {
                    if let Some(approval) = approval {
                        approval.done(login);
                    }
                }
            }
        }
        Ok(Ok(done))
    }

    async fn reserve(
        &self,
        id: LoginId,
        code: &Hash,
        user: &str,
        lease: Duration,
    ) -> Result<Result<Option<Answer>, PhoneRefusal>, StoreError> {
        let mut call = RESERVE.key(self.login_key(id));
        call.arg(code.as_bytes()).arg(user).arg(micros(lease));
        let (tag, answer): (u8, u8) = self.script(&call).await?;
        match tag {
            OK => Ok(Ok(None)),
            REPEATED => Ok(Ok(Some(told(answer)))),
            other => Ok(Err(phone_refusal(other)?)),
        }
    }

    async fn release(&self, id: LoginId, code: &Hash, user: &str) -> Result<(), StoreError> {
        let mut call = RELEASE.key(self.login_key(id));
        call.arg(code.as_bytes()).arg(user);
        self.script::<u8>(&call).await.map(drop)
    }

    async fn outbox_put(&self, one: &Revocation, after: Duration) -> Result<Put, StoreError> {
        self.put(one, after).await
    }

    async fn outbox_take(&self, most: usize) -> Result<Taken, StoreError> {
        self.take(most).await
    }

    async fn outbox_done(&self, one: &Revocation) -> Result<(), StoreError> {
        self.done(one).await
    }

    async fn outbox_again(
        &self,
        one: &Revocation,
        next: &Revocation,
        after: Duration,
    ) -> Result<(), StoreError> {
        self.again(one, next, after).await
    }

    async fn confirm(
        &self,
        claim: &Claim,
        user: &str,
        number: Option<HiddenNumber>,
        sealed: Vec<u8>,
        collect: Duration,
    ) -> Result<Result<ConfirmDone, PhoneRefusal>, StoreError> {
        let mut call = DECIDE.key(self.login_key(claim.id));
        call.arg(claim.hash().as_bytes()).arg(user).arg("confirm").arg(sealed).arg(micros(collect));
        call.arg(record::hidden(number));
        let approval = self.connector.approvals().begin(claim.id);
        let (tag, ip, tries_left, raw): (u8, String, u8, Vec<u8>) = self.script(&call).await?;
        if let (Some(approval), false) = (approval, raw.is_empty()) {
            approval.done(unpack(&raw)?);
        }
        if tag == WRONG_NUMBER {
            return Ok(Err(PhoneRefusal::WrongNumber { tries_left }));
        }
        let ip = Some(ip).filter(|ip| !ip.is_empty());
        Ok(decided(tag)?.map(|repeated| ConfirmDone { repeated, ip }))
    }

    async fn deny(
        &self,
        claim: &Claim,
        user: &str,
    ) -> Result<Result<bool, PhoneRefusal>, StoreError> {
        let mut call = DECIDE.key(self.login_key(claim.id));
        call.arg(claim.hash().as_bytes()).arg(user).arg("deny");
        let (tag, _, _, _): (u8, String, u8, Vec<u8>) = self.script(&call).await?;
        decided(tag)
    }

    async fn look(
        &self,
        id: LoginId,
        user: &Hash,
    ) -> Result<(Option<Login>, Standing), StoreError> {
        let keys = [self.login_key(id), self.connector.names().standing(user)];
        let (login, standing) = self.get_two(&keys).await?;
        let login = login.as_deref().map(unpack).transpose()?;
        // Whoever cannot read it forgets it: it is no reason to let nobody in.
        let standing = standing.as_deref().and_then(standing::unpack).unwrap_or_default();
        Ok((login, standing))
    }

    async fn note(&self, user: &Hash, note: Note) -> Result<(), StoreError> {
        let mut call = NOTE.key(self.connector.names().standing(user));
        match note {
            Note::Place(place) => call.arg(place.as_bytes()),
            Note::FailedMatch => call.arg(""),
        };
        self.script(&call).await
    }

    async fn read(&self, ids: &[LoginId]) -> Result<Vec<Option<Login>>, StoreError> {
        let raw = self.raw(ids).await?;
        raw.iter().map(|raw| raw.as_deref().map(unpack).transpose()).collect()
    }

    async fn heads(&self, ids: &[LoginId]) -> Result<Vec<Option<Head>>, StoreError> {
        let raw = self.raw(ids).await?;
        let head = |raw: &Option<Vec<u8>>| raw.as_deref().map(record::head).transpose();
        raw.iter().map(|raw| head(raw).map_err(nonsense)).collect()
    }

    async fn just_approved(&self, id: LoginId) -> Option<Login> {
        self.connector.approvals().take(id).await
    }

    async fn redeem(
        &self,
        ticket: &Ticket,
        by: Bringer,
        again: Duration,
    ) -> Result<Result<Redeemed, TicketRefusal>, StoreError> {
        let mut call = REDEEM.key(self.login_key(ticket.claim.id));
        call.arg(ticket.proof().as_bytes()).arg(ticket.claim.hash().as_bytes());
        match by {
            Bringer::Anyone => call.arg("*"),
            Bringer::Browser(None) => call.arg(""),
            Bringer::Browser(Some(browser)) => call.arg(browser.as_bytes()),
        };
        call.arg(micros(again));
        let (tag, raw): (u8, Vec<u8>) = self.script(&call).await?;
        match tag {
            OK => {}
            UNKNOWN => return Ok(Err(TicketRefusal::Unknown)),
            NOT_YOURS => return Ok(Err(TicketRefusal::OtherBrowser)),
            other => return Err(nonsense(format_args!("redeem.lua answered {other}"))),
        }
        let Login { changed, facts, state, .. } = unpack(&raw)?;
        let (scan, sealed, repeated) = match state {
            State::Approved { scan, sealed, .. } => (scan, sealed, false),
            State::Ended { ending: Ending::Delivered, scan, sealed, .. } => (scan, sealed, true),
            _ => return Err(nonsense("redeem.lua gave a login without a token")),
        };
        Ok(Ok(Redeemed { user: scan.user, sealed, approved: changed, facts, repeated }))
    }

    async fn rebind(&self, id: LoginId, proof: &Hash, browser: &Hash) -> Result<(), StoreError> {
        let mut call = REBIND.key(self.login_key(id));
        call.arg(proof.as_bytes()).arg(browser.as_bytes());
        self.script::<u8>(&call).await.map(drop)
    }

    async fn acknowledge(
        &self,
        epoch: u32,
        user: &str,
        session: &Session,
        ttl: Duration,
    ) -> Result<Result<(), OwnerRefusal>, StoreError> {
        match self.connector.nodes() {
            RedisNodes::Cluster(_) => self.acknowledge_in_two(epoch, user, session, ttl).await,
            _ => self.acknowledge_in_one(epoch, user, session, ttl).await,
        }
    }

    async fn acknowledge_and_forget(
        &self,
        epoch: u32,
        user: &str,
        session: &Session,
        ttl: Duration,
    ) -> Result<Result<(), OwnerRefusal>, StoreError> {
        if let Some(line) = self.line.get() {
            let mut line = line.with_role(Role::Passenger);
            let mut pipeline = redis::pipe();
            pipeline.cmd("UNSUBSCRIBE").arg(self.connector.names().channel(session.id));
            pipeline.invoke_script(&self.acknowledgement(epoch, user, session, ttl));
            match pipeline.query_async(&mut line).await {
                Ok((Value::Push { .. }, tag)) => return acknowledged(tag),
                Err(error) if error.is_timeout() => return Err(store_error(&error)),
                // As above.
                _ => {}
            }
        }
        self.acknowledge(epoch, user, session, ttl).await
    }

    async fn end(&self, id: LoginId, epoch: u32, because: Because) -> Result<EndDone, StoreError> {
        let because = match because {
            Because::Deadline => "deadline",
            Because::Left => "left",
            Because::Lost => "lost",
            Because::Crowded => "crowded",
        };
        let mut call = END.key(self.login_key(id));
        call.arg(epoch).arg(because);
        let (tag, raw): (u8, Vec<u8>) = self.script(&call).await?;
        let why = match tag {
            OK => return Ok(EndDone::Ended { undelivered: false }),
            ENDED_UNDELIVERED => return Ok(EndDone::Ended { undelivered: true }),
            GONE => return Ok(EndDone::Gone),
            SUPERSEDED => OwnerRefusal::Superseded,
            IS_APPROVED => OwnerRefusal::Approved,
            EARLY => OwnerRefusal::Early,
            OVER => OwnerRefusal::Over,
            other => return Err(nonsense(format_args!("end.lua answered {other}"))),
        };
        let login = unpack(&raw)?;
        Ok(EndDone::Refused(why, Box::new(login)))
    }

    async fn resume(&self, id: LoginId, proof: &Hash) -> Result<ResumeDone, StoreError> {
        let mut call = RESUME.key(self.login_key(id));
        call.arg(proof.as_bytes());
        let (tag, raw): (u8, Vec<u8>) = self.script(&call).await?;
        match tag {
            OK => Ok(ResumeDone::Resumed(Box::new(unpack(&raw)?))),
            OVER => Ok(ResumeDone::Over(Box::new(unpack(&raw)?))),
            NOT_YOURS => Ok(ResumeDone::Refused),
            GONE => Ok(ResumeDone::Unknown),
            other => Err(nonsense(format_args!("resume.lua answered {other}"))),
        }
    }

    async fn bury(&self, id: LoginId, proof: &Hash, time: Duration) -> Result<bool, StoreError> {
        // A login that nobody can own any more, over since ever. Who waits for it hears of it, as
        // of any take-over, and who would make it again finds it there.
        let zero = Timestamp::default();
        let codes = Codes { start: zero, rotate: None, first: 1, hashes: Vec::new() };
        let over = Login::new(u32::MAX, Protocol::Json, *proof, codes, zero, zero);
        let mut set = redis::cmd("SET");
        set.arg(self.login_key(id)).arg(record::pack(&over)).arg("NX");
        set.arg("PX").arg(time.as_millis() as u64);
        let set: Option<String> =
            self.run(async |connection| set.query_async(connection).await).await?;
        Ok(set.is_some())
    }

    fn may_have_forgotten(&self) -> bool {
        self.connector.may_have_forgotten()
    }

    fn may_be_reminded(&self, life: Duration) -> bool {
        self.connector.may_be_reminded(life)
    }

    async fn reclaim(&self, id: LoginId, login: &Login) -> Result<Login, StoreError> {
        let mut call = RECLAIM.key(self.login_key(id));
        call.arg(record::pack(login)).arg(login.epoch);
        unpack(&self.script::<Vec<u8>>(&call).await?)
    }

    async fn entry(&self, user: &str) -> Result<Entry, StoreError> {
        let get = redis::cmd("GET").arg(self.connector.names().user(user)).take();
        let raw: Option<Vec<u8>> =
            self.run(async |connection| get.query_async(connection).await).await?;
        raw.map_or(Ok(Entry::Nobody), |raw| record::unpack_entry(&raw).map_err(nonsense))
    }

    async fn revoke(&self, user: &str, id: LoginId) -> Result<bool, StoreError> {
        // Pending first: once the record is over, no acknowledgement can make it current again.
        let pending = self.revoke_pending(user, id).await?;
        let mut call = REVOKE_CURRENT.key(self.connector.names().user(user));
        call.arg(id.as_bytes());
        let current: bool = self.script(&call).await?;
        Ok(pending || current)
    }

    async fn end_session(&self, user: &str) -> Result<Option<LoginId>, StoreError> {
        let mut call = END_SESSION.key(self.connector.names().user(user));
        call.arg(ENDED_FOR.as_millis() as u64);
        let id: Vec<u8> = self.script(&call).await?;
        Ok(id.try_into().ok().map(LoginId::from_bytes))
    }

    fn now(&self) -> Timestamp {
        self.clock.now().shifted(self.connector.clock_offset())
    }

    fn known_time(&self) -> KnownTime {
        self.connector.known_time(&self.clock)
    }

    async fn ask_time(&self) -> Result<(), StoreError> {
        let (sent, time) = (self.clock.moment(), redis::cmd("TIME"));
        let answer = self.run(async |connection| time.query_async(connection).await).await?;
        self.connector.compare_clocks(answer, sent, &self.clock);
        Ok(())
    }
}
