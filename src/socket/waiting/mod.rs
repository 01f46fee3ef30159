//! The actor of one browser's socket.
//!
//! Its inputs, and nothing else:
//! 1. frames from the browser, or the end of them;
//! 2. wake-ups from the registry ([`Wake`]): a change of the record, a tick of the schedule, a
//!    take-over, the drain;
//! 3. the answers of its own calls to the store;
//! 4. short timers, which exist only around the end: for the acknowledgement and for the close.
//!
//! The record decides, the actor follows: whatever wakes it, it reads the record and acts on what
//! stands there ([`Waiting::follow`]). Who ends a login counts it: `held` is taken out at that
//! moment, so it cannot be counted twice.

mod ends;
mod follow;
mod hearing;
mod pushed;
mod resuming;

use std::{rc::Rc, time::Duration};

use actix::{Actor, AsyncContext, Handler, WeakAddr, dev::SendError};
use actix_http::ws::{CloseCode, CloseReason, Message};
use actix_web_actors::ws::WebsocketContext;

pub(in crate::socket) use self::ends::leave;
use super::{Seat, line::Line};
use crate::{
    clock::Timestamp,
    close::Close,
    crash::Part,
    keys::{Hash, Key, Resume},
    login::{Because, Facts, Held, Protocol, Scan},
    metrics::{LoginOutcome, ResumeResult},
    origin::ClientNetwork,
    protocol::{AGAIN, ServerMessage},
    registry::{Attach, ConnId, NotWoken, Schedule, Wake, Wakeable},
};

/// Pings without an answer after which a client is dead (spec 2.4).
const MAX_UNANSWERED: u8 = 2;
/// How long the server waits for the answer to its Close.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// How long a resuming client has for its first frame (spec 2.2).
const INTRODUCTION: Duration = Duration::from_secs(10);

/// Where the conversation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// `?resume=1`: the first frame must bring the secret.
    Introducing(Box<Newcomer>),
    /// The secret is being looked at.
    Resuming,
    /// A code is shown.
    Waiting,
    /// Somebody has scanned and must confirm: this claim.
    Scanned(Box<Scan>),
    /// The token is out; `closing`: so is our Close; `leaving`: the login goes on elsewhere.
    Pushed { what: Rc<Pushed>, closing: bool, leaving: bool },
    /// The ticket is out, and whoever redeems it acknowledges.
    Ticketed,
    /// Our Close is out; nothing but its answer matters.
    Closing,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Newcomer {
    /// Where it comes from.
    pub from: ClientNetwork,
    /// The hash of its cookie, where it comes back to a login that may belong to it.
    pub browser: Option<Box<Hash>>,
}

/// What an acknowledgement makes a web login of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pushed {
    user: String,
    approved: Timestamp,
    pushed: Timestamp,
    facts: Option<Facts>,
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
    /// What it needs of its thread, and its one of `SCANLOGIN_MAX_WAITING`.
    worker: Seat,
    wire: Line,
    conn: ConnId,
    /// The login that this socket must still bring to an end. `None` before a resume, and after
    /// the end.
    held: Option<Box<Held>>,
    protocol: Protocol,
    phase: Phase,
    reading: Reading,
    /// What the QR code's URL begins with.
    base: Rc<String>,
    qr_svg: bool,
    /// The number of the code that is shown.
    code: u32,
    unanswered_pings: u8,
    messages: u8,
    /// Whether the browser was given its cookie with this login: said in the first `key`.
    new_browser: bool,
    /// Whether it resumes once more where another socket seems to have taken its login over.
    may_contest: bool,
    /// When the counting of `messages` began: at first, when the request's head was there.
    minute: Timestamp,
    /// The beginning of a message that comes in pieces.
    #[expect(clippy::box_collection, reason = "eight bytes in each idle socket, not 24")]
    fragments: Option<Box<Vec<u8>>>,
}

/// With what actix keeps of a WebSocket this fills a block of 512 bytes; the allocator's next size is
/// 640, and every waiting browser would have it (docs/capacity.md).
const _: () = assert!(size_of::<Waiting>() <= 96);

/// What a request hands to its socket.
pub(super) struct Opening {
    pub conn: ConnId,
    /// `None`: the client wants to resume.
    pub held: Option<Box<Held>>,
    pub newcomer: Newcomer,
    pub protocol: Protocol,
    pub base: Rc<String>,
    pub qr_svg: bool,
    /// When the request's head was there.
    pub opened: Timestamp,
    pub seat: Seat,
    /// Whether it was given its cookie just now.
    pub new_browser: bool,
}

type Ctx = WebsocketContext<Waiting>;

impl Waiting {
    pub(super) fn new(wire: Line, opening: Opening) -> Self {
        let Opening { conn, held, newcomer, protocol, base, qr_svg, opened, seat, new_browser } =
            opening;
        Self {
            worker: seat,
            wire,
            conn,
            phase: match &held {
                Some(_) => Phase::Waiting,
                None => Phase::Introducing(Box::new(newcomer)),
            },
            held,
            protocol,
            reading: Reading::Idle,
            base,
            qr_svg,
            code: 0,
            unanswered_pings: 0,
            messages: 0,
            new_browser,
            may_contest: false,
            minute: opened,
            fragments: None,
        }
    }

    /// When a new login's socket is to be woken.
    pub(super) fn schedule(held: &Held, now: Timestamp) -> Schedule {
        let windows = held.windows();
        let rotate = match held.protocol {
            Protocol::Json => windows.next_after(windows.shown_at(now)),
            Protocol::Plain => None,
        };
        Schedule::new(held.deadline, rotate, now)
    }

    fn now(&self) -> Timestamp {
        self.worker.store.now()
    }

    fn say(&self, message: &ServerMessage<'_>) {
        self.wire.say(Message::Text(message.to_text().into()));
    }

    /// Shows the code of this moment.
    fn show_key(&mut self) {
        let now = self.now();
        let Some(held) = &self.held else { return };
        let windows = held.windows();
        let seq = windows.shown_at(now);
        self.code = seq;
        let key = Key { id: held.id, code: held.seed.code(seq) }.expose();
        if self.protocol == Protocol::Plain {
            self.wire.say(Message::Text(key.into()));
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
            new_browser: std::mem::take(&mut self.new_browser),
        };
        self.say(&message);
    }

    fn show_scanned(&mut self, deadline: Timestamp, scan: &Scan) {
        self.phase = Phase::Scanned(Box::new(scan.clone()));
        if self.protocol == Protocol::Json {
            let number = self.held.as_ref().zip(scan.matching).map(|(held, matching)| {
                let claim = held.seed.code(scan.number).claim(held.id, &scan.user);
                matching.hidden.shown(&claim).expose()
            });
            let message = ServerMessage::Scanned {
                number: number.as_deref(),
                name: scan.profile.name.as_deref(),
                picture: scan.profile.picture.as_deref(),
                lifetime_ms: self.now().until(deadline).as_millis() as u64,
            };
            self.say(&message);
        }
        self.reschedule(deadline, None);
    }

    /// The last word and our Close; then only the peer's Close is waited for.
    fn close(&mut self, close: Close, ctx: &mut Ctx) {
        if self.phase == Phase::Closing {
            return;
        }
        if !self.is_closing() {
            match (self.protocol, close) {
                (Protocol::Plain, _) if close.plain_again() => {
                    self.wire.say(Message::Text(AGAIN.into()));
                }
                (Protocol::Json, Close::Expired) => self.say(&ServerMessage::Expired),
                (Protocol::Json, Close::Denied) => self.say(&ServerMessage::Denied),
                _ => {}
            }
            self.say_close(close);
        }
        self.phase = Phase::Closing;
        self.stop_soon(ctx);
    }

    fn say_close(&self, close: Close) {
        let (code, description) = match self.protocol {
            Protocol::Plain => (close.plain_code(), None),
            Protocol::Json => (close.code(), Some(close.meaning().to_owned())),
        };
        let reason = CloseReason { code: CloseCode::from(code), description };
        self.wire.say(Message::Close(Some(reason)));
    }
}

impl Actor for Waiting {
    type Context = Ctx;

    fn started(&mut self, ctx: &mut Ctx) {
        match &self.held {
            Some(held) => {
                let (id, socket) = (held.id, ctx.address().downgrade());
                let schedule = Self::schedule(held, self.now());
                self.worker.registry.tell(Attach { id, conn: self.conn, socket, schedule });
                self.show_key();
                let waited = self.worker.clock.now().since(self.minute);
                self.worker.metrics.open_to_key.observe(waited.as_secs_f64());
            }
            None => {
                ctx.run_later(INTRODUCTION, |waiting, ctx| {
                    if matches!(waiting.phase, Phase::Introducing(_)) {
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

/// The secret of a client that cannot say it in a first frame.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(in crate::socket) struct Introduce(pub(in crate::socket) String);

impl Handler<Introduce> for Waiting {
    type Result = ();

    fn handle(&mut self, Introduce(secret): Introduce, ctx: &mut Ctx) {
        if matches!(self.phase, Phase::Introducing(_)) {
            self.introduce(&secret, ctx);
        }
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
        assert!(!self.worker.crash.has_come(Part::Socket), "told to crash");
        match wake {
            Wake::Changed | Wake::Found => self.read(wake, ctx),
            Wake::Missing => self.reclaim(ctx),
            Wake::Ping => self.ping(ctx),
            Wake::Rotate => {
                if self.phase == Phase::Waiting {
                    self.show_key();
                    if let Some(held) = &self.held {
                        self.reschedule(held.deadline, held.windows().next_after(self.code));
                    }
                }
            }
            Wake::Deadline => match self.phase {
                Phase::Waiting | Phase::Scanned(_) => {
                    self.end_by_store(Because::Deadline, LoginOutcome::Expired, Close::Expired, ctx)
                }
                // Over, or redeemed at the last moment: the record knows.
                Phase::Ticketed => self.read(wake, ctx),
                Phase::Pushed { .. } => self.collected(ctx),
                _ => {}
            },
            Wake::TakenOver => self.superseded(ctx),
            Wake::Drain => self.drain(ctx),
        }
    }
}
