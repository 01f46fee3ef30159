//! The actor of one browser's socket.
//!
//! Its inputs, and nothing else:
//! 1. frames from the browser, or the end of them;
//! 2. wake-ups from the registry ([`Wake`]): a change of the record, a tick of the schedule, a
//!    take-over, the drain;
//! 3. the answers of its own calls to the store;
//! 4. two short timers, which exist only around the end: for the acknowledgement and for the close.
//!
//! The record decides, the actor follows: whatever wakes it, it reads the record and acts on what
//! stands there ([`Waiting::follow`]). Who ends a login counts it: `held` is taken out at that
//! moment, so it cannot be counted twice.

use std::{rc::Rc, time::Duration};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, StreamHandler, WeakAddr,
    WrapFuture, dev::SendError,
};
use actix_http::ws::{CloseCode, CloseReason, Item, Message, ProtocolError};
use actix_web::error::PayloadError;
use actix_web_actors::ws::WebsocketContext;

use super::{Seat, Worker, transport::MAX_FRAME};
use crate::{
    clock::Timestamp,
    close::Close,
    keys::{Key, Resume},
    login::{Because, Ending, Held, Login, OwnerRefusal, Protocol, Scan, State},
    metrics::{LoginOutcome, ResumeResult},
    protocol::{AGAIN, ClientMessage, ServerMessage},
    registry::{
        Attach, ConnId, Detach, NotWoken, Register, Reschedule, Schedule, Unregister, Wake,
        Wakeable, ended,
    },
    store::{EndDone, StoreError},
    tokens,
};

/// Between two pings (spec 2.4). Load balancers commonly cut what is silent for 60 s.
pub(super) const PING_EVERY: Duration = Duration::from_secs(25);
/// Pings without an answer after which a client is dead (spec 2.4).
const MAX_UNANSWERED: u8 = 2;
/// How long the server waits for `received` before it closes by itself (spec 2.2).
const RECEIVED_WAIT: Duration = Duration::from_secs(2);
/// How long the server waits for the answer to its Close.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// How long a resuming client has for its first frame (spec 2.2).
const INTRODUCTION: Duration = Duration::from_secs(10);
/// Messages that a client may send in a minute (spec 2.1).
const MESSAGES_PER_MINUTE: u8 = 100;
/// Pauses between attempts to store an acknowledgement while the store is away.
const ACKNOWLEDGE_AGAIN: Duration = Duration::from_millis(500);

/// Where the conversation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// `?resume=1`: the first frame must bring the secret.
    Introducing,
    /// The secret is being looked at.
    Resuming,
    /// A code is shown.
    Waiting,
    /// Somebody has scanned and must confirm: this claim.
    Scanned(Box<Scan>),
    /// The token is out; `closing`: so is our Close.
    Pushed { user: String, closing: bool },
    /// Our Close is out; nothing but its answer matters.
    Closing,
}

/// At most one read is under way, and a wake-up during it means one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Idle,
    Busy,
    Again(Wake),
}

/// The actor.
pub struct Waiting {
    worker: Rc<Worker>,
    conn: ConnId,
    /// The login that this socket must still bring to an end. `None` before a resume, and after
    /// the end.
    held: Option<Box<Held>>,
    protocol: Protocol,
    phase: Phase,
    reading: Reading,
    /// What the QR code's URL begins with.
    base: Rc<str>,
    qr_svg: bool,
    /// The number of the code that is shown.
    code: u32,
    unanswered_pings: u8,
    messages: u8,
    minute: Timestamp,
    fragments: Vec<u8>,
    opened: Timestamp,
    /// One of `SCANLOGIN_MAX_WAITING`.
    _seat: Seat,
}

/// What a request hands to its socket.
pub(super) struct Opening {
    pub conn: ConnId,
    /// `None`: the client wants to resume.
    pub held: Option<Box<Held>>,
    pub protocol: Protocol,
    pub base: Rc<str>,
    pub qr_svg: bool,
    /// When the request's head was there.
    pub opened: Timestamp,
    pub seat: Seat,
}

type Ctx = WebsocketContext<Waiting>;

impl Waiting {
    pub(super) fn new(worker: Rc<Worker>, opening: Opening) -> Self {
        let Opening { conn, held, protocol, base, qr_svg, opened, seat } = opening;
        Self {
            worker,
            conn,
            phase: if held.is_some() { Phase::Waiting } else { Phase::Introducing },
            held,
            protocol,
            reading: Reading::Idle,
            base,
            qr_svg,
            code: 0,
            unanswered_pings: 0,
            messages: 0,
            minute: opened,
            fragments: Vec::new(),
            opened,
            _seat: seat,
        }
    }

    /// When a new login's socket is to be woken.
    pub(super) fn schedule(held: &Held, now: Timestamp) -> Schedule {
        let windows = held.windows();
        let rotate = match held.protocol {
            Protocol::Json => windows.next_after(windows.shown_at(now)),
            Protocol::Plain => None,
        };
        let ping = Some((now + PING_EVERY, PING_EVERY));
        Schedule { deadline: held.deadline, rotate, ping }
    }

    fn now(&self) -> Timestamp {
        self.worker.store.now()
    }

    // ---- saying ----

    fn say(&self, message: &ServerMessage<'_>, ctx: &mut Ctx) {
        ctx.text(message.to_text());
    }

    /// Shows the code of this moment.
    fn show_key(&mut self, ctx: &mut Ctx) {
        let now = self.now();
        let Some(held) = &self.held else { return };
        let windows = held.windows();
        let seq = windows.shown_at(now);
        self.code = seq;
        let key = Key { id: held.id, code: held.seed.code(seq) }.expose();
        if self.protocol == Protocol::Plain {
            ctx.text(key);
            return;
        }
        let until = windows.next_after(seq).unwrap_or(held.deadline);
        let url = format!("{}/s#{key}", self.base);
        let qr_svg = self.qr_svg.then(|| super::qr::svg(&url));
        let resume = Resume { id: held.id, seed: held.seed.clone() }.expose();
        let message = ServerMessage::Key {
            seq,
            key: &key,
            url: &url,
            qr_svg: qr_svg.as_deref(),
            valid_ms: now.until(until).as_millis() as u64,
            lifetime_ms: now.until(held.deadline).as_millis() as u64,
            resume: &resume,
        };
        self.say(&message, ctx);
    }

    fn show_scanned(&mut self, deadline: Timestamp, scan: &Scan, ctx: &mut Ctx) {
        self.phase = Phase::Scanned(Box::new(scan.clone()));
        if self.protocol == Protocol::Json {
            let message = ServerMessage::Scanned {
                name: scan.profile.name.as_deref(),
                picture: scan.profile.picture.as_deref(),
                lifetime_ms: self.now().until(deadline).as_millis() as u64,
            };
            self.say(&message, ctx);
        }
        self.reschedule(deadline, None);
    }

    /// The last word and our Close; then only the peer's Close is waited for.
    fn close(&mut self, close: Close, ctx: &mut Ctx) {
        if matches!(self.phase, Phase::Closing | Phase::Pushed { closing: true, .. }) {
            return;
        }
        match (self.protocol, close) {
            (Protocol::Plain, _) if close.plain_again() => ctx.text(AGAIN),
            (Protocol::Json, Close::Expired) => self.say(&ServerMessage::Expired, ctx),
            (Protocol::Json, Close::Denied) => self.say(&ServerMessage::Denied, ctx),
            _ => {}
        }
        self.phase = Phase::Closing;
        self.send_close(close, ctx);
    }

    fn send_close(&self, close: Close, ctx: &mut Ctx) {
        let (code, description) = match self.protocol {
            Protocol::Plain => (close.plain_code(), None),
            Protocol::Json => (close.code(), Some(close.meaning().to_owned())),
        };
        ctx.close(Some(CloseReason { code: CloseCode::from(code), description }));
        ctx.run_later(CLOSE_WAIT, |_, ctx| ctx.stop());
    }

    // ---- following the record ----

    /// Reads the record and acts on it; one read at a time.
    fn read(&mut self, wake: Wake, ctx: &mut Ctx) {
        let Some(held) = &self.held else { return };
        if self.reading != Reading::Idle {
            self.reading = Reading::Again(wake);
            return;
        }
        self.reading = Reading::Busy;
        let (store, id) = (self.worker.store.clone(), held.id);
        let read = async move { store.read(id).await };
        ctx.spawn(read.into_actor(self).map(move |login, waiting, ctx| {
            let again = std::mem::replace(&mut waiting.reading, Reading::Idle);
            match login {
                Ok(Some(login)) => waiting.follow(login, wake, ctx),
                Ok(None) => waiting.reclaim(ctx),
                // The deadline, the next notification or the feed's resync comes back to it.
                Err(_) => {}
            }
            if let Reading::Again(wake) = again {
                waiting.read(wake, ctx);
            }
        }));
    }

    /// Acts on the record as it stands.
    fn follow(&mut self, login: Login, wake: Wake, ctx: &mut Ctx) {
        let Some(held) = &self.held else { return };
        if login.epoch > held.epoch {
            return self.taken_over(ctx);
        }
        if login.epoch < held.epoch && !matches!(login.state, State::Ended { .. }) {
            // The take-over that brought us here was lost with the store.
            return self.reclaim(ctx);
        }
        let rescued = match login.state {
            State::Waiting { .. } => {
                if matches!(self.phase, Phase::Scanned(_)) {
                    // The claim was lost with the store: show a code again.
                    self.phase = Phase::Waiting;
                    self.show_key(ctx);
                }
                false
            }
            State::Scanned { deadline, scan } => {
                let known = matches!(&self.phase, Phase::Scanned(known) if **known == scan);
                let open = matches!(self.phase, Phase::Waiting | Phase::Scanned(_));
                if open && !known {
                    if let Some(held) = &mut self.held {
                        held.deadline = deadline;
                    }
                    self.show_scanned(deadline, &scan, ctx);
                }
                open && !known
            }
            State::Approved { collect_until, ref scan, ref sealed } => {
                let open = matches!(self.phase, Phase::Waiting | Phase::Scanned(_));
                if open {
                    self.push(collect_until, login.changed, scan, sealed, ctx);
                }
                open
            }
            State::Ended { ending, .. } => {
                let (outcome, close) = match ending {
                    Ending::Denied => (LoginOutcome::Denied, Close::Denied),
                    Ending::Delivered => (LoginOutcome::Delivered, Close::Done),
                    Ending::Undelivered => (LoginOutcome::Undelivered, Close::Expired),
                    Ending::Expired => (LoginOutcome::Expired, Close::Expired),
                    Ending::Cancelled => (LoginOutcome::Cancelled, Close::Expired),
                };
                self.end(outcome, close, ctx);
                true
            }
        };
        if rescued && wake == Wake::Found {
            self.worker.metrics.feed_rescued.inc();
        }
    }

    /// Opens the token and hands it to the browser.
    fn push(
        &mut self,
        collect_until: Timestamp,
        approved: Timestamp,
        scan: &Scan,
        sealed: &[u8],
        ctx: &mut Ctx,
    ) {
        let now = self.now();
        let Some(held) = &mut self.held else { return };
        let claim = held.seed.code(scan.number).claim(held.id, &scan.user);
        let Ok(token) = tokens::open(sealed, &claim) else {
            tracing::error!(login = held.id.log_id(), "a sealed token cannot be opened");
            return self.end(LoginOutcome::Failed, Close::Failure, ctx);
        };
        held.deadline = collect_until;
        let user = scan.user.clone();
        match self.protocol {
            Protocol::Plain => {
                // Token and close together; the client's Close acknowledges.
                ctx.text(token.token);
                self.phase = Phase::Pushed { user, closing: true };
                self.send_close(Close::Done, ctx);
            }
            Protocol::Json => {
                let message = ServerMessage::Token {
                    token: &token.token,
                    token_type: "Bearer",
                    expires_in: token.expires_at.saturating_sub(now.as_secs()),
                    user: &user,
                };
                self.say(&message, ctx);
                self.phase = Phase::Pushed { user, closing: false };
                ctx.run_later(RECEIVED_WAIT, |waiting, ctx| {
                    if let Phase::Pushed { closing: closing @ false, .. } = &mut waiting.phase {
                        *closing = true;
                        waiting.send_close(Close::Done, ctx);
                    }
                });
            }
        }
        self.worker.metrics.scan_to_push.observe(now.since(approved).as_secs_f64());
    }

    /// Redis has no record, or an older epoch: it forgot. Made again, unless the login is over.
    fn reclaim(&mut self, ctx: &mut Ctx) {
        let now = self.now();
        let Some(held) = &mut self.held else { return };
        let open = matches!(self.phase, Phase::Waiting | Phase::Scanned(_));
        if !open || now >= held.deadline {
            return;
        }
        if matches!(self.phase, Phase::Scanned(_)) {
            // Nobody can scan the old windows' codes again: new ones up to the deadline.
            held.first_code = held.windows().last() + 1;
            held.codes_start = now;
        }
        let (store, id, login) = (self.worker.store.clone(), held.id, held.as_waiting(now));
        let reclaim = async move { store.reclaim(id, &login).await };
        ctx.spawn(reclaim.into_actor(self).map(|login, waiting, ctx| {
            if let Ok(login) = login {
                waiting.follow(login, Wake::Missing, ctx);
            }
        }));
    }

    // ---- ends ----

    fn reschedule(&self, deadline: Timestamp, rotate: Option<Timestamp>) {
        let Some(held) = &self.held else { return };
        let (id, conn) = (held.id, self.conn);
        self.worker.registry.tell(Reschedule { id, conn, deadline, rotate });
    }

    fn unregister(&self, held: &Held) {
        self.worker.registry.tell(Unregister { id: held.id, conn: self.conn });
    }

    /// The login is over: counted here, then the last word.
    fn end(&mut self, outcome: LoginOutcome, close: Close, ctx: &mut Ctx) {
        if let Some(held) = self.held.take() {
            self.unregister(&held);
            let waited = self.now().since(held.created);
            ended(&self.worker.metrics, held.id, outcome, waited);
        }
        self.close(close, ctx);
    }

    fn taken_over(&mut self, ctx: &mut Ctx) {
        if let Some(held) = self.held.take() {
            self.unregister(&held);
        }
        self.close(Close::TakenOver, ctx);
    }

    /// Asks the store to end the login; the phone may have been quicker.
    fn end_by_store(
        &mut self,
        because: Because,
        outcome: LoginOutcome,
        close: Close,
        ctx: &mut Ctx,
    ) {
        let Some(held) = &self.held else { return };
        let (store, id, epoch) = (self.worker.store.clone(), held.id, held.epoch);
        let end = async move { store.end(id, epoch, because).await };
        ctx.spawn(end.into_actor(self).map(move |done, waiting, ctx| match done {
            Ok(EndDone::Ended { .. } | EndDone::Gone) => waiting.end(outcome, close, ctx),
            Ok(EndDone::Refused(OwnerRefusal::Superseded, _)) => waiting.taken_over(ctx),
            Ok(EndDone::Refused(OwnerRefusal::Early, login)) => {
                if let State::Waiting { deadline } | State::Scanned { deadline, .. } = login.state {
                    if let Some(held) = &mut waiting.held {
                        held.deadline = deadline;
                    }
                    waiting.reschedule(deadline, None);
                }
            }
            Ok(EndDone::Refused(OwnerRefusal::Approved | OwnerRefusal::Over, login)) => {
                waiting.follow(*login, Wake::Deadline, ctx);
            }
            // Neither `expired` nor `again` is said on our own authority.
            Err(_) => waiting.end(LoginOutcome::Failed, Close::Failure, ctx),
        }));
    }

    fn drain(&mut self, ctx: &mut Ctx) {
        match (&self.phase, self.protocol) {
            (Phase::Waiting | Phase::Scanned(_), Protocol::Plain) => {
                self.end_by_store(Because::Left, LoginOutcome::Cancelled, Close::Restart, ctx);
            }
            (Phase::Waiting | Phase::Scanned(_), Protocol::Json) => {
                // Not ended: whoever it resumes at will count it.
                if let Some(held) = self.held.take() {
                    self.unregister(&held);
                }
                let retry_in_ms = u64::from(self.worker.entropy.bytes::<1>()[0]) * 4;
                self.say(&ServerMessage::Drain { retry_in_ms }, ctx);
                self.close(Close::Restart, ctx);
            }
            (Phase::Introducing | Phase::Resuming, _) => self.close(Close::Restart, ctx),
            // Almost done.
            (Phase::Pushed { .. } | Phase::Closing, _) => {}
        }
    }

    /// The browser has the token: nothing more is to be announced, then it is written down.
    fn acknowledged(&mut self, user: String) {
        let Some(held) = self.held.take() else { return };
        let (worker, conn) = (self.worker.clone(), self.conn);
        let under_way = worker.background.begin();
        actix_rt::spawn(async move {
            let Held { id, epoch, created, deadline, .. } = *held;
            let _ = worker.registry.ask(Unregister { id, conn }).await;
            let ttl = worker.config.token_ttl;
            let outcome = loop {
                match worker.store.acknowledge(id, epoch, &user, ttl).await {
                    Ok(_) => break LoginOutcome::Delivered,
                    Err(_) if worker.store.now() < deadline => {
                        tokio::time::sleep(ACKNOWLEDGE_AGAIN).await;
                    }
                    Err(_) => break LoginOutcome::Undelivered,
                }
            };
            ended(&worker.metrics, id, outcome, worker.store.now().since(created));
            drop(under_way);
        });
    }

    /// The socket is gone, or its user is: what becomes of a login that is still held.
    fn let_go(&mut self, because: Because) {
        let Some(held) = self.held.take() else { return };
        let because = match self.protocol {
            // Nobody can come back, not even for a token.
            Protocol::Plain => Because::Lost,
            Protocol::Json if because == Because::Left => because,
            Protocol::Json => {
                return self.worker.registry.tell(Detach { conn: self.conn, held });
            }
        };
        let (worker, conn) = (self.worker.clone(), self.conn);
        let under_way = worker.background.begin();
        actix_rt::spawn(async move {
            let id = held.id;
            let outcome = match worker.store.end(id, held.epoch, because).await {
                Ok(EndDone::Ended { undelivered: true }) => Some(LoginOutcome::Undelivered),
                Ok(EndDone::Ended { undelivered: false } | EndDone::Gone) => {
                    Some(LoginOutcome::Cancelled)
                }
                Ok(EndDone::Refused(OwnerRefusal::Approved | OwnerRefusal::Early, login)) => {
                    // An approved login stays collectable.
                    let held = Box::new(Held::of(id, held.seed.clone(), &login));
                    return worker.registry.tell(Detach { conn, held });
                }
                Ok(EndDone::Refused(OwnerRefusal::Superseded, _)) => None,
                Ok(EndDone::Refused(OwnerRefusal::Over, _)) => Some(LoginOutcome::Cancelled),
                Err(StoreError { .. }) => Some(LoginOutcome::Failed),
            };
            worker.registry.tell(Unregister { id, conn });
            if let Some(outcome) = outcome {
                ended(&worker.metrics, id, outcome, worker.store.now().since(held.created));
            }
            drop(under_way);
        });
    }

    // ---- hearing ----

    /// Whether this message is one too many.
    fn is_flood(&mut self) -> bool {
        let now = self.worker.clock.now();
        if now.since(self.minute) >= Duration::from_secs(60) {
            self.minute = now;
            self.messages = 0;
        }
        self.messages = self.messages.saturating_add(1);
        self.messages > MESSAGES_PER_MINUTE
    }

    fn hear_text(&mut self, text: &str, ctx: &mut Ctx) {
        if self.protocol == Protocol::Plain || self.phase == Phase::Closing {
            return;
        }
        let Ok(message) = ClientMessage::parse(text) else {
            return self.close(Close::Malformed, ctx);
        };
        match (message, &self.phase) {
            (ClientMessage::Resume { resume }, Phase::Introducing) => self.resume(&resume, ctx),
            (_, Phase::Introducing) | (ClientMessage::Resume { .. }, _) => {
                self.close(Close::Malformed, ctx);
            }
            (ClientMessage::Received, Phase::Pushed { user, closing }) => {
                let (user, closing) = (user.clone(), *closing);
                self.acknowledged(user);
                if !closing {
                    self.phase = Phase::Closing;
                    self.send_close(Close::Done, ctx);
                }
            }
            (ClientMessage::Cancel, Phase::Waiting | Phase::Scanned(_) | Phase::Pushed { .. }) => {
                self.let_go(Because::Left);
                self.close(Close::Done, ctx);
            }
            (ClientMessage::Cancel | ClientMessage::Received | ClientMessage::Unknown, _) => {}
        }
    }

    /// Puts a fragmented message together, within one frame's limit.
    fn hear_fragment(&mut self, item: Item, ctx: &mut Ctx) {
        let (bytes, last) = match item {
            Item::FirstText(bytes) => {
                self.fragments.clear();
                (bytes, false)
            }
            Item::FirstBinary(_) if self.protocol == Protocol::Json => {
                return self.close(Close::Malformed, ctx);
            }
            Item::FirstBinary(bytes) | Item::Continue(bytes) => (bytes, false),
            Item::Last(bytes) => (bytes, true),
        };
        if self.protocol == Protocol::Plain {
            return;
        }
        if self.fragments.len() + bytes.len() > MAX_FRAME {
            return self.close(Close::TooBig, ctx);
        }
        self.fragments.extend_from_slice(&bytes);
        if last {
            match String::from_utf8(std::mem::take(&mut self.fragments)) {
                Ok(text) => self.hear_text(&text, ctx),
                Err(_) => self.close(Close::Malformed, ctx),
            }
        }
    }

    fn hear_close(&mut self, reason: Option<CloseReason>, ctx: &mut Ctx) {
        match std::mem::replace(&mut self.phase, Phase::Closing) {
            // The answer to our Close.
            Phase::Pushed { user, closing: true } => self.acknowledged(user),
            Phase::Closing => {}
            // A Close of its own: it may have crossed the token on the wire.
            phase => {
                let code = reason.as_ref().map(|reason| u16::from(reason.code));
                // No code at all is what `close()` without an argument sends.
                let left = matches!(code, None | Some(1000 | 1005));
                let pushed = matches!(phase, Phase::Pushed { .. });
                ctx.close(reason);
                let because = if left && !pushed { Because::Left } else { Because::Lost };
                self.let_go(because);
            }
        }
        ctx.stop();
    }

    // ---- resuming ----

    fn resume(&mut self, secret: &str, ctx: &mut Ctx) {
        self.phase = Phase::Resuming;
        let results = &self.worker.metrics.resumes;
        let Ok(secret) = Resume::parse(secret) else {
            results.inc(ResumeResult::Refused);
            return self.close(Close::Expired, ctx);
        };
        let (worker, conn, socket) = (self.worker.clone(), self.conn, ctx.address().downgrade());
        let attempt = async move {
            let Resume { id, seed } = secret;
            let Some(login) = worker.store.resume(id, &seed.proof()).await? else {
                return Ok(None);
            };
            let held = Box::new(Held::of(id, seed, &login));
            let mut schedule = Self::schedule(&held, worker.store.now());
            if !matches!(login.state, State::Waiting { .. }) {
                schedule.rotate = None;
            }
            let epoch = held.epoch;
            let register = Register { id, conn, epoch, socket: Some(socket), schedule };
            // The registry lives as long as the process.
            let _ = worker.registry.ask(register).await;
            // What changed before the subscription was heard by nobody here.
            let login = worker.store.read(id).await?;
            Ok::<_, StoreError>(Some((held, login)))
        };
        ctx.spawn(attempt.into_actor(self).map(|resumed, waiting, ctx| {
            waiting.resumed(resumed, ctx);
        }));
    }

    fn resumed(
        &mut self,
        resumed: Result<Option<(Box<Held>, Option<Login>)>, StoreError>,
        ctx: &mut Ctx,
    ) {
        let results = &self.worker.metrics.resumes;
        match resumed {
            Ok(Some((held, login))) => {
                let is_waiting =
                    matches!(&login, None | Some(Login { state: State::Waiting { .. }, .. }));
                let is_approved =
                    matches!(&login, Some(Login { state: State::Approved { .. }, .. }));
                results.inc(if is_approved {
                    ResumeResult::Delivered
                } else {
                    ResumeResult::Resumed
                });
                self.held = Some(held);
                if self.phase != Phase::Resuming {
                    // The socket began to close meanwhile.
                    return self.let_go(Because::Lost);
                }
                self.phase = Phase::Waiting;
                if is_waiting {
                    self.show_key(ctx);
                }
                match login {
                    Some(login) => self.follow(login, Wake::Changed, ctx),
                    None => self.reclaim(ctx),
                }
            }
            Ok(None) => {
                results.inc(ResumeResult::Refused);
                self.close(Close::Expired, ctx);
            }
            Err(_) => {
                results.inc(ResumeResult::Store);
                self.close(Close::Failure, ctx);
            }
        }
    }
}

impl Actor for Waiting {
    type Context = Ctx;

    fn started(&mut self, ctx: &mut Ctx) {
        match &self.held {
            Some(held) => {
                let (id, socket) = (held.id, ctx.address().downgrade());
                self.worker.registry.tell(Attach { id, conn: self.conn, socket });
                self.show_key(ctx);
                let waited = self.worker.clock.now().since(self.opened);
                self.worker.metrics.open_to_key.observe(waited.as_secs_f64());
            }
            None => {
                ctx.run_later(INTRODUCTION, |waiting, ctx| {
                    if waiting.phase == Phase::Introducing {
                        waiting.worker.metrics.resumes.inc(ResumeResult::Malformed);
                        waiting.close(Close::Restart, ctx);
                    }
                });
            }
        }
    }

    fn stopped(&mut self, _: &mut Ctx) {
        self.let_go(Because::Lost);
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for Waiting {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Ctx) {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                let close = if is_too_big(&error) { Close::TooBig } else { Close::Malformed };
                self.close(close, ctx);
                // The stream would give the same error for ever.
                return ctx.stop();
            }
        };
        let solicited = matches!(&message, Message::Pong(_)) && self.unanswered_pings > 0;
        let is_close = matches!(&message, Message::Close(_));
        if !solicited && !is_close && self.is_flood() {
            return self.close(Close::Malformed, ctx);
        }
        match message {
            Message::Text(text) => self.hear_text(&text, ctx),
            Message::Binary(_) if self.protocol == Protocol::Json => {
                self.close(Close::Malformed, ctx);
            }
            Message::Continuation(item) => self.hear_fragment(item, ctx),
            Message::Ping(bytes) => ctx.pong(&bytes),
            Message::Pong(_) => self.unanswered_pings = 0,
            Message::Close(reason) => self.hear_close(reason, ctx),
            Message::Binary(_) | Message::Nop => {}
        }
    }
}

/// The transport's word for a frame that declares too much passes through two crates that keep
/// nothing of it but its text.
fn is_too_big(error: &ProtocolError) -> bool {
    match error {
        ProtocolError::Overflow => true,
        ProtocolError::Io(error) => error.to_string() == PayloadError::Overflow.to_string(),
        _ => false,
    }
}

impl Wakeable for Waiting {
    fn wake(socket: &WeakAddr<Self>, wake: Wake) -> Result<(), NotWoken> {
        let addr = socket.upgrade().ok_or(NotWoken::Gone)?;
        addr.try_send(wake).map_err(|error| match error {
            SendError::Full(_) => NotWoken::Full,
            SendError::Closed(_) => NotWoken::Gone,
        })
    }
}

impl Handler<Wake> for Waiting {
    type Result = ();

    fn handle(&mut self, wake: Wake, ctx: &mut Ctx) {
        match wake {
            Wake::Changed | Wake::Found => self.read(wake, ctx),
            Wake::Missing => self.reclaim(ctx),
            Wake::Ping if self.unanswered_pings >= MAX_UNANSWERED => ctx.stop(),
            Wake::Ping => {
                self.unanswered_pings += 1;
                ctx.ping(b"");
            }
            Wake::Rotate => {
                if self.phase == Phase::Waiting {
                    self.show_key(ctx);
                    if let Some(held) = &self.held {
                        self.reschedule(held.deadline, held.windows().next_after(self.code));
                    }
                }
            }
            Wake::Deadline => match self.phase {
                Phase::Waiting | Phase::Scanned(_) => {
                    self.end_by_store(Because::Deadline, LoginOutcome::Expired, Close::Expired, ctx)
                }
                _ => {}
            },
            Wake::TakenOver => self.taken_over(ctx),
            Wake::Drain => self.drain(ctx),
        }
    }
}
