//! Browsers and phones, and what each of them has seen.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{ClientRequestBuilder, http::Uri},
};

use super::{
    dice::Dice,
    world::{COLLECT, WAIT},
};
use crate::{
    faults::subject,
    helpers::{Browser, Closed, Phone},
};

/// What a phone was answered.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) user: String,
    pub(super) from: Duration,
    pub(super) at: Duration,
    /// Status and code; `None`: no answer, so it may have happened.
    pub(super) codes: Option<(u16, i64)>,
    pub(super) claim: Option<String>,
}

/// How a browser's story ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It got its token and was closed, or the token at least.
    Token,
    /// `expired`, or `again`, and the close code.
    Over(u16),
    /// Its user left.
    Left,
    /// A plain socket was lost: nobody comes back for it.
    Lost,
    /// It never got a key: the service was not there for it.
    NeverBegan,
    /// It waited for longer than it may.
    Starved,
    /// What the protocol does not allow.
    Odd(String),
}

/// One login, as its browser and its phones saw it.
#[derive(Clone, Debug)]
pub(super) struct Story {
    pub(super) number: usize,
    pub(super) json: bool,
    pub(super) opened: Duration,
    pub(super) told: Vec<Told>,
    pub(super) token: Option<(String, Duration)>,
    /// Whether its page has said `received`.
    pub(super) said: bool,
    /// When it was told 1000 then.
    pub(super) acknowledged: Option<Duration>,
    pub(super) end: End,
    pub(super) ended: Duration,
    pub(super) events: Vec<String>,
    /// The receipt in the end, by claim.
    pub(super) receipts: Vec<(String, String)>,
}

/// What one login is to do.
struct Plan {
    json: bool,
    start: Duration,
    scan: Option<Duration>,
    rival: bool,
    /// Drops its socket after this time and comes back.
    drops: Option<Duration>,
    /// Its user leaves after this time.
    leaves: Option<Duration>,
    /// Its page is frozen when the token comes: nobody says `received`, and the network stack answers
    /// Closes.
    freezes: Option<Freezes>,
}

/// For how long a page is frozen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Freezes {
    /// Until its socket has ended: then it comes back.
    Once,
    /// It is not looked at any more.
    ForEver,
}

impl Plan {
    fn of(dice: &mut Dice, over: Duration) -> Self {
        let json = dice.percent(65);
        Self {
            json,
            start: dice.millis(0, over.as_millis() as u64),
            scan: dice.percent(90).then(|| dice.millis(20, 6000)),
            rival: dice.percent(15),
            drops: (json && dice.percent(20)).then(|| dice.millis(50, 3000)),
            leaves: dice.percent(6).then(|| dice.millis(100, 4000)),
            freezes: (json && dice.percent(15))
                .then(|| if dice.percent(50) { Freezes::Once } else { Freezes::ForEver }),
        }
    }
}

/// Where everything is.
#[derive(Clone)]
pub(super) struct Places {
    pub(super) start: Instant,
    /// For browsers: the proxies.
    pub(super) browsers: Vec<SocketAddr>,
    /// For phones: the instances.
    pub(super) phones: Vec<SocketAddr>,
    pub(super) http: reqwest::Client,
}

/// The longest silence after its deadline, or of a socket that comes back after it: the time of one
/// try to reach a store that is away, or of finding out whether it forgot.
const PROMPT: Duration = Duration::from_secs(10);

/// Lives one login.
pub(super) async fn live(number: usize, seed: u64, places: Places, over: Duration) -> Story {
    let mut dice = Dice::of(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
    let plan = Plan::of(&mut dice, over);
    sleep(plan.start).await;
    let (show, shown) = watch::channel(None);
    let log = Log { start: places.start, events: Arc::default() };
    let mut phone_dice = Dice::of(dice.next());
    let phones = async {
        let Some(after) = plan.scan else { return Vec::new() };
        let mut waiting = shown.clone();
        if waiting.wait_for(Option::is_some).await.is_err() {
            return Vec::new();
        }
        sleep(after).await;
        let users = 1 + usize::from(plan.rival);
        let calls = (0..users).map(|user| {
            let user = format!("user-{number}-{user}");
            scan(user, shown.clone(), &places, log.clone(), Dice::of(phone_dice.next()))
        });
        let calls: Vec<_> = calls.collect();
        join_all(calls).await.into_iter().flatten().collect()
    };
    let mut page = Page {
        json: plan.json,
        places: places.clone(),
        log: log.clone(),
        show,
        opened: Duration::ZERO,
        resume: None,
        token: None,
        said: false,
        acknowledged: None,
        freezes: plan.freezes,
        dice,
    };
    let browser = async {
        let end = page.live(&plan).await;
        let ended = places.start.elapsed();
        log.say(format!("end: {end:?}"));
        // Phones that still wait for a key need not.
        page.show.send_modify(|_| {});
        (end, ended, page)
    };
    let (told, (end, ended, page)) = tokio::join!(phones, async {
        let (end, ended, page) = browser.await;
        let Page { opened, token, said, acknowledged, show, .. } = page;
        drop(show);
        (end, ended, (opened, token, said, acknowledged))
    });
    let (opened, token, said, acknowledged) = page;
    let events = log.events.lock().expect("never poisoned").clone();
    let receipts = Vec::new();
    let json = plan.json;
    Story { number, json, opened, told, token, said, acknowledged, end, ended, events, receipts }
}

#[derive(Clone)]
struct Log {
    start: Instant,
    events: Arc<Mutex<Vec<String>>>,
}

impl Log {
    fn say(&self, what: impl std::fmt::Display) {
        let line = format!("{:8.3} {what}", self.start.elapsed().as_secs_f64());
        self.events.lock().expect("never poisoned").push(line);
    }
}

/// A phone scans whatever the browser shows now, and tries again as apps do.
async fn scan(
    user: String,
    shown: watch::Receiver<Option<String>>,
    places: &Places,
    log: Log,
    mut dice: Dice,
) -> Vec<Told> {
    let mut told = Vec::new();
    let Some(key) = shown.borrow().clone() else { return told };
    let phone = Phone::of(places.phones[0], &user);
    for _ in 0..12 {
        let at = places.phones[dice.below(2) as usize];
        let from = places.start.elapsed();
        let request = places
            .http
            .request(Method::POST, format!("http://{at}/scan"))
            .bearer_auth(&phone.token)
            .json(&json!({ "key": key }))
            .timeout(Duration::from_secs(8));
        let (mut codes, mut claim) = (None, None);
        if let Ok(answer) = request.send().await {
            let status = answer.status().as_u16();
            if let Ok(body) = answer.json::<Value>().await {
                codes = Some((status, body["code"].as_i64().unwrap_or_default()));
                claim = body["claim"].as_str().map(str::to_owned);
            }
        }
        log.say(format_args!("{user} at {} is told {codes:?}", at.port()));
        told.push(Told { user: user.clone(), from, at: places.start.elapsed(), codes, claim });
        match codes {
            None | Some((503, -6)) => sleep(dice.millis(100, 500)).await,
            // Perhaps a record that is being made again.
            Some((404, -1)) if told.len() < 4 => sleep(dice.millis(100, 500)).await,
            _ => break,
        }
    }
    told
}

/// A page that waits.
struct Page {
    json: bool,
    places: Places,
    log: Log,
    show: watch::Sender<Option<String>>,
    opened: Duration,
    resume: Option<String>,
    token: Option<(String, Duration)>,
    said: bool,
    acknowledged: Option<Duration>,
    freezes: Option<Freezes>,
    dice: Dice,
}

impl Page {
    fn now(&self) -> Duration {
        self.places.start.elapsed()
    }

    /// No word may come later than this: the deadline or, for an approved login, the end of the
    /// collecting, and the time of one try to reach a store that is away.
    fn patience(&self) -> Duration {
        self.opened + WAIT + COLLECT + Duration::from_secs(8)
    }

    async fn live(&mut self, plan: &Plan) -> End {
        let mut drops = plan.drops;
        let begun = self.now();
        let mut socket = loop {
            // Its time begins with the request that makes it, not with the answer.
            self.opened = self.now();
            if let Some(socket) = self.connect().await {
                break socket;
            }
            if self.now() > begun + Duration::from_secs(10) {
                return End::NeverBegan;
            }
            sleep(self.dice.millis(50, 300)).await;
        };
        loop {
            let until = match (drops, plan.leaves) {
                (Some(at), _) | (None, Some(at)) => {
                    at.saturating_sub(self.now().saturating_sub(self.opened))
                }
                // A socket that is open must hear something by its deadline: a token or a word. One
                // that comes back later than that, at once, or as soon as it is known whether Redis
                // has forgotten its login.
                _ => (self.opened + WAIT).saturating_sub(self.now()) + PROMPT,
            };
            match socket.next_within(until).await {
                None if drops.take().is_some() => {
                    self.log.say("drops its socket");
                    drop(socket);
                    if self.resume.is_none() {
                        return End::Left;
                    }
                }
                None if plan.leaves.is_some() => {
                    self.log.say("leaves");
                    socket.leave_within(Duration::from_secs(5)).await;
                    return End::Left;
                }
                None => return End::Starved,
                Some(Ok(text)) => {
                    if let Some(end) = self.hear(&text, &mut socket).await {
                        return end;
                    }
                    continue;
                }
                Some(Err(closed)) => {
                    self.log.say(format_args!("{closed:?}"));
                    match (closed, self.resume.is_some()) {
                        (Closed::Code(1001 | 1011 | 1012) | Closed::Lost, true) => {}
                        // The answer to `received`, on this socket or on the one before.
                        (Closed::Code(1000), true) if self.said => {
                            self.acknowledged = Some(self.now());
                            return End::Token;
                        }
                        (Closed::Lost, false) => return End::Lost,
                        (closed, _) => return End::Odd(format!("{closed:?} without a word")),
                    }
                }
            }
            socket = loop {
                if self.now() > self.patience() {
                    return if self.token.is_some() { End::Token } else { End::Starved };
                }
                sleep(self.dice.millis(30, 300)).await;
                if let Some(socket) = self.connect().await {
                    break socket;
                }
            };
        }
    }

    /// A socket at either instance, with the secret said if there is one.
    async fn connect(&mut self) -> Option<Browser> {
        let address = self.places.browsers[self.dice.below(2) as usize];
        let query = if self.resume.is_some() { "?resume=1" } else { "" };
        let uri: Uri = format!("ws://{address}/ws{query}").parse().expect("a URI");
        let mut request = ClientRequestBuilder::new(uri);
        if self.json {
            request = request.with_sub_protocol("scanlogin.v1");
        }
        let open = async {
            let stream = TcpStream::connect(address).await.ok()?;
            let (socket, _) = client_async(request, stream).await.ok()?;
            let mut browser = Browser { socket };
            if let Some(resume) = &self.resume {
                let words = json!({ "type": "resume", "resume": resume });
                browser.try_say(&words).await.ok()?;
            }
            Some(browser)
        };
        let browser = timeout(Duration::from_secs(10), open).await.ok()?;
        let what = if browser.is_some() { "connects to" } else { "does not reach" };
        self.log.say(format_args!("{what} {}", address.port()));
        browser
    }

    async fn hear(&mut self, text: &str, socket: &mut Browser) -> Option<End> {
        if !self.json {
            return self.hear_plain(text, socket).await;
        }
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return Some(End::Odd(format!("no JSON: {text}")));
        };
        let kind = message["type"].as_str().unwrap_or_default().to_owned();
        self.log.say(&kind);
        match kind.as_str() {
            "key" => {
                let word = |name: &str| message[name].as_str().map(str::to_owned);
                if self.resume.is_some() && self.resume != word("resume") {
                    return Some(End::Odd("another resume secret".into()));
                }
                self.resume = word("resume");
                self.show.send_replace(word("key"));
                None
            }
            "token" => {
                let token = message["token"].as_str().unwrap_or_default();
                self.token = Some((subject(token), self.now()));
                match self.freezes {
                    None => {
                        self.said |= socket.try_say(&json!({ "type": "received" })).await.is_ok();
                        None
                    }
                    Some(freezes) => {
                        let end = socket.next_within(Duration::from_secs(5)).await;
                        self.log.say(format_args!("frozen, then {end:?}"));
                        if freezes == Freezes::ForEver {
                            return Some(End::Token);
                        }
                        self.freezes = None;
                        None
                    }
                }
            }
            "expired" => {
                let end = socket.next_within(Duration::from_secs(5)).await;
                Some(match end {
                    _ if self.token.is_some() => End::Token,
                    Some(Err(Closed::Code(code))) => End::Over(code),
                    _ => End::Over(4000),
                })
            }
            "drain" => None,
            _ => Some(End::Odd(text.to_owned())),
        }
    }

    async fn hear_plain(&mut self, text: &str, socket: &mut Browser) -> Option<End> {
        if self.show.borrow().is_none() {
            self.show.send_replace(Some(text.to_owned()));
            self.log.say("key");
            return None;
        }
        self.log.say(if text == "again" { text } else { "token" });
        let end = socket.next_within(Duration::from_secs(5)).await;
        self.log.say(format_args!("then {end:?}"));
        let code = match end {
            Some(Err(Closed::Code(code))) => Some(code),
            _ => None,
        };
        if text == "again" {
            return Some(code.map_or(End::Lost, End::Over));
        }
        self.token = Some((subject(text), self.now()));
        // The library has answered it.
        self.acknowledged = (code == Some(1000)).then(|| self.now());
        Some(End::Token)
    }
}
