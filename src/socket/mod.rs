//! The browser's side: from `GET /ws` to the actor that waits.
//!
//! Everything is checked while it is still a request ([`open`]); refusing costs nothing. What needs
//! actix-web-actors stays in this folder.

mod admission;
pub mod answer;
pub mod frame_guard;
mod handshake;
mod line;
pub mod message;
mod qr;
pub mod transport;
pub mod upgrade;
mod waiting;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use actix_http::ws::Codec;
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderValue},
};
use actix_web_actors::ws::WebsocketContext;

use self::{
    admission::Seat,
    frame_guard::MAX_FRAME,
    line::Line,
    transport::{Incoming, Pump, Pumped, Wire},
    upgrade::{NewSocket, UpgradeHook},
    waiting::{Newcomer, Opening},
};
pub use self::{
    admission::{Admission, Background},
    waiting::Waiting,
};
use crate::{
    clock::{Clock, Timestamp},
    config::{Config, Confirm, Deliver, MatchWhen},
    connection::{AddressPermit, Connection, OpenConnections},
    crash::Crash,
    error::ApiError,
    http::{Limits, SharedLooks, client::Client, cookie},
    journal::Journal,
    keys::{Entropy, Hash, LoginId, Seed},
    login::{Because, CONFIRM, Facts, Held, Protocol, Windows, bind, hashes},
    metrics::{Label, Metrics, ProtocolLabel, RefusedReason, TokenKind, TokenRefusal},
    protocol::SUBPROTOCOL,
    registry::{ConnId, Enter, Register, RegistryAddr, Unregister},
    store::{NewLogin, Session, Store},
    tokens::{AppAuth, FactsKey, Issuer, Webhook},
    trace::{self, TraceContext},
};

/// What one thread's sockets and handlers share.
pub struct Worker {
    /// The configuration.
    pub config: Arc<Config>,
    /// This thread's store.
    pub store: Store,
    /// The registry of the instance.
    pub registry: RegistryAddr<Waiting>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The log of what happens to logins.
    pub journal: Arc<Journal>,
    /// The time.
    pub clock: Clock,
    /// The randomness.
    pub entropy: Entropy,
    /// Who may wait.
    pub admission: Arc<Admission>,
    /// Who is connected.
    pub connections: Arc<OpenConnections>,
    /// What QR codes' URLs begin with.
    pub(crate) bases: Bases,
    /// What must be finished before the process ends.
    pub background: Arc<Background>,
    /// What one address or user may do.
    pub limits: Arc<Limits>,
    /// What held calls look at together.
    pub looks: SharedLooks,
    /// Who phones are.
    pub app_auth: Arc<AppAuth>,
    /// Makes web tokens.
    pub issuer: Arc<Issuer>,
    /// Makes them in our place, if it is configured.
    pub webhook: Option<Arc<Webhook>>,
    /// Seals what is known of a browser into its user's entry.
    pub facts: Arc<FactsKey>,
    /// Makes a socket die, in a test.
    pub crash: Crash,
}

impl Worker {
    /// Longer than any login that is open now may wait and be confirmed.
    fn longest(&self) -> Duration {
        self.config.wait + CONFIRM
    }

    /// The trace of a request about this login: to be logged, and passed on.
    pub(crate) fn trace(&self, request: &HttpRequest, id: LoginId) -> Option<TraceContext> {
        trace::join(self.journal.tracer.as_ref(), request, id)
    }

    /// What an acknowledgement of this login, approved then, makes its user's.
    pub(crate) fn session(
        &self,
        id: LoginId,
        approved: Timestamp,
        facts: Option<&Facts>,
    ) -> Session {
        let seal = |facts| self.facts.seal(facts, id, self.entropy);
        Session { id, since: approved, browser: facts.map(seal).unwrap_or_default() }
    }
}

/// The few texts that the URLs of all QR codes begin with, each kept once: a socket holds eight
/// bytes of it.
#[derive(Default)]
pub(crate) struct Bases(RefCell<Vec<Rc<String>>>);

impl Bases {
    /// How many are kept: a service has few names, and a stranger may send any `Host`.
    const KEPT: usize = 16;

    fn intern(&self, base: String) -> Rc<String> {
        let mut kept = self.0.borrow_mut();
        if let Some(known) = kept.iter().find(|known| ***known == base) {
            return known.clone();
        }
        let base = Rc::new(base);
        if kept.len() < Self::KEPT {
            kept.push(base.clone());
        }
        base
    }
}

/// What a client asks for.
struct Wanted {
    protocol: Protocol,
    resume: bool,
    qr_svg: bool,
}

/// `GET /ws`: refuses, or answers with 101 and a hook that starts the actor.
///
/// # Errors
/// Every refusal before the upgrade.
pub async fn open(request: HttpRequest, worker: Rc<Worker>) -> Result<HttpResponse, ApiError> {
    let opened = worker.clock.now();
    let refuse = |reason, error| {
        // What follows a handshake that fails is nobody's request: its sender, or a proxy in
        // between, may have taken the connection for a socket already.
        if let Some(connection) = Connection::current() {
            connection.close_after_answer();
        }
        worker.refuse(reason, error)
    };
    let client = Client::of(&request, &worker.config);
    client.check_host(&worker.config).map_err(|e| refuse(RefusedReason::Host, e))?;
    client.check_origin(&worker.config).map_err(|e| refuse(RefusedReason::Origin, e))?;
    let mut response =
        handshake::answer(&request).map_err(|e| refuse(RefusedReason::Handshake, e))?;
    let wanted =
        wanted(&request, &worker.config).map_err(|e| refuse(RefusedReason::Protocol, e))?;
    let Admitted { conn, reserved, seat, permit, browser, set_cookie } =
        Admitted::of(&worker, &client, wanted.protocol, wanted.resume).await?;
    let new_browser = set_cookie.is_some();
    if let Some(cookie) = set_cookie {
        response.insert_header((header::SET_COOKIE, cookie));
    }
    let label = match wanted.protocol {
        Protocol::Plain => ProtocolLabel::Plain,
        Protocol::Json => {
            response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL));
            ProtocolLabel::Json
        }
    };
    let base = worker.bases.intern(client.public_base(&worker.config));
    let from = client.network();
    let mut response = response.finish();
    let Wanted { protocol, qr_svg, .. } = wanted;
    response.extensions_mut().insert(UpgradeHook::new(move |socket| {
        let NewSocket { io, early, head, mut place } = socket;
        if let Some((place, permit)) = place.as_mut().zip(permit) {
            place.of_client(permit);
        }
        let held = reserved.map(Reserved::take);
        worker.metrics.sockets_opened.inc(label);
        let newcomer = Newcomer { from, browser };
        let opening =
            Opening { conn, held, newcomer, protocol, base, qr_svg, opened, seat, new_browser };
        let metrics = worker.metrics.clone();
        let wire = Rc::new(Wire::new(io, head).in_place(place));
        let context = WebsocketContext::with_codec(
            Waiting::new(Line::Socket(wire.clone()), opening),
            Incoming::new(wire.clone(), early),
            Codec::new().max_size(MAX_FRAME),
        );
        // Made out here: a task that first held the context and then the pump would keep room for
        // both, half a kilobyte a socket.
        let pump = Pump::new(wire, context);
        actix_rt::spawn(async move {
            if pump.await == Pumped::Slow {
                metrics.slow_clients.inc();
            }
        });
    }));
    Ok(response)
}

fn wanted(request: &HttpRequest, config: &Config) -> Result<Wanted, ApiError> {
    // Bytes: what is offered and is no text is offered all the same, and is none that we know.
    let offered: Vec<&[u8]> = request
        .headers()
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let protocol = match &offered[..] {
        [] if config.match_when == MatchWhen::Always => {
            let what = "A number must be shown: only the sub-protocol scanlogin.v1 can do that";
            return Err(ApiError::Malformed(what));
        }
        [] => Protocol::Plain,
        offered if offered.contains(&SUBPROTOCOL.as_bytes()) => Protocol::Json,
        _ => return Err(ApiError::Malformed("No sub-protocol that is known: scanlogin.v1")),
    };
    if protocol == Protocol::Plain && config.deliver == Deliver::Ticket {
        // It knows of no ticket, and the token is not for its ears.
        return Err(ApiError::Malformed(
            "Logins are delivered by ticket here: only the sub-protocol scanlogin.v1 has them",
        ));
    }
    let resume = query_has(request, ("resume", "1"));
    if resume && protocol == Protocol::Plain {
        return Err(ApiError::Malformed("Only the sub-protocol scanlogin.v1 can resume"));
    }
    Ok(Wanted { protocol, resume, qr_svg: wants_qr(request) })
}

fn query_has(request: &HttpRequest, wanted: (&str, &str)) -> bool {
    serde_urlencoded::from_str::<Vec<(String, String)>>(request.query_string())
        .unwrap_or_default()
        .iter()
        .any(|(name, value)| (name.as_str(), value.as_str()) == wanted)
}

/// Whether the code is wanted drawn.
pub fn wants_qr(request: &HttpRequest) -> bool {
    query_has(request, ("qr", "svg"))
}

impl Worker {
    /// Counts a token that is refused, and says why in the log. The answer is 401, or 429 where the
    /// client's address has brought too many forged ones.
    pub(crate) fn refuse_token(
        &self,
        client: &Client,
        kind: TokenKind,
        why: TokenRefusal,
    ) -> ApiError {
        self.metrics.tokens_refused.inc(kind, why);
        tracing::debug!(kind = kind.text(), reason = why.text(), "a token was refused");
        self.limits.refuse_token(client, why)
    }

    /// Counts a refusal, and hands it on.
    pub(crate) fn refuse(&self, reason: RefusedReason, error: ApiError) -> ApiError {
        self.metrics.sockets_refused.inc(reason);
        error
    }
}

/// A place among those who wait, and the login if it is a new one.
struct Admitted {
    conn: ConnId,
    reserved: Option<Reserved>,
    seat: Seat,
    permit: Option<AddressPermit>,
    /// The hash of the cookie that the browser has, where one comes back to a login that may belong
    /// to it.
    browser: Option<Box<Hash>>,
    /// For a browser without a cookie, where logins belong to browsers.
    set_cookie: Option<HeaderValue>,
}

impl Admitted {
    /// Whoever waits, on whatever line, comes through here.
    async fn of(
        worker: &Rc<Worker>,
        client: &Client,
        protocol: Protocol,
        resume: bool,
    ) -> Result<Self, ApiError> {
        if worker.admission.is_closed() {
            return Err(worker.refuse(RefusedReason::Draining, ApiError::Draining));
        }
        let limit = if resume { &worker.limits.resumes } else { &worker.limits.connects };
        limit
            .check(client.limit_key())
            .map_err(|wait| worker.refuse(RefusedReason::Limited, ApiError::Limited(wait)))?;
        let permit = worker
            .connections
            .enter_behind_proxy(client.peer, client.ip)
            .map_err(|_| worker.refuse(RefusedReason::Crowded, ApiError::Crowded))?;
        let full = || worker.refuse(RefusedReason::Full, ApiError::Full);
        let seat = Seat::take(worker).ok_or_else(full)?;
        let conn = ConnId::next();
        let (mut browser, mut set_cookie) = (None, None);
        let reserved = if resume {
            if worker.config.binds_browsers() {
                browser = cookie::browser_hash(client.request()).map(Box::new);
            }
            None
        } else {
            let known = worker
                .config
                .binds_browsers()
                .then(|| cookie::Known::of(client.request(), worker.entropy));
            let own = known.as_ref().map(|known| known.browser);
            set_cookie = known.and_then(|known| known.set);
            let reserved = Reserved::create(worker, conn, protocol, client, own)
                .await
                .map_err(|e| worker.refuse(RefusedReason::Store, e))?;
            if let Some(held) = &reserved.held {
                worker.trace(client.request(), held.id);
            }
            Some(reserved)
        };
        Ok(Self { conn, reserved, seat, permit, browser, set_cookie })
    }
}

/// A login that is in the registry before its record is made, so that the feed knows of it if the
/// line that brings both the record and the subscription breaks. Taken out again when dropped.
struct Entered {
    worker: Rc<Worker>,
    id: LoginId,
    conn: ConnId,
    stays: bool,
}

impl Entered {
    /// Enters it, where subscribing is not left to the registry.
    fn before(worker: &Rc<Worker>, conn: ConnId, new: &NewLogin, seed: &Seed) -> Option<Self> {
        if !worker.store.carries_subscriptions() {
            return None;
        }
        let (id, now) = (new.id, worker.store.now());
        let schedule = Waiting::schedule(&new.held(seed.clone(), now), now);
        worker.registry.tell(Enter { id, conn, schedule });
        Some(Self { worker: worker.clone(), id, conn, stays: false })
    }

    /// Its record is there.
    fn stays(mut self) -> bool {
        self.stays = true;
        true
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if !self.stays {
            self.worker.registry.tell(Unregister { id: self.id, conn: self.conn });
        }
    }
}

/// A login that was made for a request. If the request never becomes a socket, it ends.
struct Reserved {
    worker: Rc<Worker>,
    conn: ConnId,
    held: Option<Box<Held>>,
}

impl Reserved {
    async fn create(
        worker: &Rc<Worker>,
        conn: ConnId,
        protocol: Protocol,
        client: &Client,
        browser: Option<Hash>,
    ) -> Result<Self, ApiError> {
        let config = &worker.config;
        let seed = Seed::random(worker.entropy);
        let rotate = config.rotate.filter(|_| protocol == Protocol::Json);
        let windows = Windows::lay_out(1, Timestamp::default(), config.wait, rotate);
        let mut hashes = hashes(&seed, 1, windows.count);
        if let Some(browser) = browser {
            bind(&mut hashes, browser);
        }
        let new = NewLogin {
            id: LoginId::random(worker.entropy),
            protocol,
            proof: seed.proof(),
            hashes,
            browser,
            wait: config.wait,
            rotate,
            facts: (config.confirm == Confirm::Required).then(|| {
                Facts::new(client.ip.to_string(), client.origin_text(), client.user_agent())
            }),
        };
        let entered = Entered::before(worker, conn, &new, &seed);
        let created = worker.store.create_and_listen(&new, seed).await;
        let (held, heard) = created.map_err(|_| ApiError::StoreAway)?;
        let is_entered = entered.is_some_and(Entered::stays);
        let held = held.connected_from(client.network());
        let schedule = Waiting::schedule(&held, worker.store.now());
        let register = Register { id: held.id, conn, epoch: 1, socket: None, schedule };
        let reserved = Self { worker: worker.clone(), conn, held: Some(Box::new(held)) };
        if !(heard && is_entered) {
            // The registry lives as long as the process: without it there is nobody to wait.
            worker.registry.ask(register).await.map_err(|_| ApiError::StoreAway)?;
        }
        Ok(reserved)
    }

    fn take(mut self) -> Box<Held> {
        self.held.take().expect("taken once, by value")
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let (worker, conn) = (self.worker.clone(), self.conn);
        actix_rt::spawn(async move {
            worker.registry.tell(Unregister { id: held.id, conn });
            // If the store is away, the TTL does it.
            let _ = worker.store.end(held.id, held.epoch, Because::Lost).await;
        });
    }
}
