//! Browsers and phones of one run: what each of them does, and what it tells the recorder.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::timeout;

use crate::{
    browser::{Browser, Event, Failed, Opening},
    dialect::{Dialect, Endpoint, Message, Shown},
    limits::SOURCES,
    pacer::Pacer,
    phone::{Answer, Phones},
    recorder::{Recorder, Step},
};

/// How long a browser waits for what it is owed at once, before it counts as failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How often a browser comes back for the answer to its acknowledgement: a page goes on more slowly.
const RESUMES: u32 = 5;

/// One server with its phones.
struct Site {
    endpoint: Endpoint,
    phones: Phones,
}

/// What everybody in a run shares.
pub struct Crew {
    sites: Vec<Site>,
    dialect: Dialect,
    confirm: bool,
    tokens: Vec<String>,
    /// Where everything is counted.
    pub recorder: Recorder,
    /// When everything happens.
    pub pacer: Pacer,
    number: AtomicU64,
    first: AtomicU64,
    waiting: AtomicI64,
}

/// A browser that shows a key.
pub struct Visitor {
    /// Its socket.
    pub browser: Browser,
    /// What it shows.
    pub shown: Shown,
    /// Who it is among all.
    pub number: u64,
    /// Dropped with it, wherever that happens.
    _counted: Counted,
}

struct Counted(Arc<Crew>);

impl Counted {
    fn new(crew: &Arc<Crew>) -> Self {
        crew.waiting.fetch_add(1, Ordering::Relaxed);
        Self(crew.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Which step went wrong, and why: in words from a closed set, so that they can be counted.
#[derive(Debug)]
pub struct Wrong(pub Step, pub String);

impl Crew {
    /// Browsers and phones for these servers, in turn.
    pub fn new(
        endpoints: &[Endpoint],
        dialect: Dialect,
        confirm: bool,
        tokens: Vec<String>,
        recorder: Recorder,
    ) -> std::io::Result<Arc<Self>> {
        let sites = endpoints.iter().map(|endpoint| Site {
            phones: Phones::new(endpoint.address, &endpoint.host),
            endpoint: endpoint.clone(),
        });
        Ok(Arc::new(Self {
            sites: sites.collect(),
            dialect,
            confirm,
            tokens,
            recorder,
            pacer: Pacer::start()?,
            number: AtomicU64::new(0),
            first: AtomicU64::new(0),
            waiting: AtomicI64::new(0),
        }))
    }

    /// Begins to count its browsers here, so that those of several crews are told apart.
    #[must_use]
    pub fn counting_from(self: Arc<Self>, first: u64) -> Arc<Self> {
        self.number.store(first, Ordering::Relaxed);
        self.first.store(first, Ordering::Relaxed);
        self
    }

    /// The number of its first browser, which no other crew has: a seed.
    pub fn first(&self) -> u64 {
        self.first.load(Ordering::Relaxed)
    }

    /// How many browsers have a key now.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed).try_into().unwrap_or(0)
    }

    fn site(&self, number: u64) -> &Site {
        &self.sites[(number % self.sites.len() as u64) as usize]
    }

    /// The phone of a browser's user is at another instance than the browser, where there are more.
    fn phones(&self, number: u64) -> &Phones {
        &self.site(number.wrapping_add(1)).phones
    }

    /// The app token of this browser's user.
    pub fn token(&self, number: u64) -> &str {
        &self.tokens[(number % self.tokens.len() as u64) as usize]
    }

    /// The protocol that is spoken.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The first server.
    pub fn endpoint(&self) -> Endpoint {
        self.sites[0].endpoint.clone()
    }

    async fn connect(&self, number: u64, resume: bool) -> Result<Browser, Wrong> {
        // Only loopback has more source addresses than one: each has 28,000 ports, and keeps one for a
        // minute after the end of its connection. The first is left to attackers.
        let last = 2 + (number / self.sites.len() as u64) % SOURCES;
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last as u8));
        let endpoint = &self.site(number).endpoint;
        let source = Some(source).filter(|_| endpoint.is_loopback());
        let opened = self.connect_from(source, number, resume).await;
        opened.map_err(|failed| Wrong(Step::Connect, reason(&failed)))
    }

    /// Only the connection and its handshake, from this address; records nothing.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn connect_from(
        &self,
        source: Option<IpAddr>,
        number: u64,
        resume: bool,
    ) -> Result<Browser, Failed> {
        let endpoint = &self.site(number).endpoint;
        let opening = Opening {
            address: endpoint.address,
            source,
            host: &endpoint.host,
            path: &self.dialect.socket_path(&channel(number), resume),
            protocol: self.dialect.subprotocol(),
        };
        Browser::open(&opening).await
    }

    /// Opens a socket and waits for its key.
    ///
    /// # Errors
    /// [`Wrong`].
    pub async fn open(self: &Arc<Self>) -> Result<Visitor, Wrong> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let mut browser = self.connect(number, false).await?;
        self.recorder.step(Step::Connect, started.elapsed());
        let shown = if self.dialect.server_makes_keys() {
            self.key_of(&mut browser).await.map_err(|why| Wrong(Step::Key, why))?
        } else {
            Shown { key: channel(number), ..Shown::default() }
        };
        self.recorder.step(Step::Key, started.elapsed());
        Ok(Visitor { browser, shown, number, _counted: Counted::new(self) })
    }

    /// Comes back with a login's secret, and waits for the key that is owed at once.
    ///
    /// # Errors
    /// [`Wrong`].
    pub async fn resume(self: &Arc<Self>, number: u64, secret: &str) -> Result<Visitor, Wrong> {
        let started = Instant::now();
        let mut browser = self.connect(number, true).await?;
        self.say_resume(&mut browser, secret).await.map_err(|why| Wrong(Step::Resume, why))?;
        let shown = self.key_of(&mut browser).await.map_err(|why| Wrong(Step::Resume, why))?;
        self.recorder.step(Step::Resume, started.elapsed());
        Ok(Visitor { browser, shown, number, _counted: Counted::new(self) })
    }

    async fn say_resume(&self, browser: &mut Browser, secret: &str) -> Result<(), String> {
        let Some(resume) = self.dialect.resume(secret) else { return Ok(()) };
        browser.say(&resume).await.map_err(|error| format!("{:?}", error.kind()))
    }

    /// A new socket of a login that may be over.
    async fn comes_back(&self, number: u64, secret: &str) -> Result<Browser, String> {
        let mut browser = self.connect(number, true).await.map_err(|Wrong(_, why)| why)?;
        self.say_resume(&mut browser, secret).await?;
        Ok(browser)
    }

    async fn key_of(&self, browser: &mut Browser) -> Result<Shown, String> {
        match timeout(PATIENCE, browser.next()).await {
            Ok(Event::Text(text)) => match self.dialect.read(&text, false) {
                Message::Key(shown) => Ok(shown),
                _ => Err("not a key".into()),
            },
            Ok(event) => Err(ended(&event)),
            Err(_) => Err("timeout".into()),
        }
    }

    /// Shows the key until then, as a page does: a new one replaces it.
    ///
    /// # Errors
    /// Where the socket ended before.
    pub async fn show_until(&self, visitor: &mut Visitor, due: Instant) -> Result<(), String> {
        loop {
            tokio::select! {
                biased;
                event = visitor.browser.next() => match event {
                    Event::Text(text) => match self.dialect.read(&text, true) {
                        Message::Key(shown) => visitor.shown = shown,
                        Message::Over(why) => return Err(why),
                        Message::Token => return Err("a token for nobody".into()),
                        Message::Scanned | Message::Other => {}
                    },
                    event => return Err(ended(&event)),
                },
                () = self.pacer.until(due) => return Ok(()),
            }
        }
    }

    /// A phone scans what the browser shows, and the browser gets its token.
    ///
    /// # Errors
    /// [`Wrong`].
    pub async fn log_in(&self, mut visitor: Visitor, due: Instant) -> Result<(), Wrong> {
        let number = visitor.number;
        let key = std::mem::take(&mut visitor.shown.key);
        let token = async {
            let token = timeout(PATIENCE, self.token_of(&mut visitor.browser)).await;
            token.unwrap_or(Err("timeout".into())).map_err(|why| Wrong(Step::Token, why))?;
            self.recorder.step(Step::Token, due.elapsed());
            Ok(())
        };
        // Whichever fails first ends the login: nothing comes after a refused scan.
        tokio::try_join!(token, self.scan(number, number, &key))?;
        self.acknowledge(&mut visitor).await.map_err(|why| Wrong(Step::Received, why))?;
        self.recorder.login();
        Ok(())
    }

    /// This user's phone scans, and confirms if that is asked for.
    ///
    /// # Errors
    /// [`Wrong`].
    pub async fn scan(&self, number: u64, user: u64, key: &str) -> Result<(), Wrong> {
        let (path, body) = self.dialect.scan(key);
        let answer = self.post(Step::Scan, (number, user), &path, &body).await?;
        if !self.confirm {
            return Ok(());
        }
        let claim = answer.text("claim").ok_or(Wrong(Step::Scan, "no claim".into()))?;
        let body = format!(r#"{{"claim":"{claim}"}}"#);
        self.post(Step::Confirm, (number, user), "/scan/confirm", &body).await.map(drop)
    }

    async fn post(
        &self,
        step: Step,
        (number, user): (u64, u64),
        path: &str,
        body: &str,
    ) -> Result<Answer, Wrong> {
        let call = self.dialect.call(path, self.token(user), body);
        let sent = Instant::now();
        match self.phones(number).send(&call).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                self.recorder.step(step, sent.elapsed());
                Ok(answer)
            }
            Ok(answer) => Err(Wrong(step, refusal(&answer))),
            Err(error) => Err(Wrong(step, format!("{:?}", error.kind()))),
        }
    }

    /// Any call, with any token; records nothing.
    ///
    /// # Errors
    /// Those of the connection, by name.
    pub async fn call(&self, path: &str, bearer: &str, body: &str) -> Result<Answer, String> {
        let call = self.dialect.call(path, bearer, body);
        self.sites[0].phones.send(&call).await.map_err(|error| format!("{:?}", error.kind()))
    }

    /// Waits for the token.
    ///
    /// # Errors
    /// Why it does not come.
    pub async fn token_of(&self, browser: &mut Browser) -> Result<(), String> {
        loop {
            match browser.next().await {
                Event::Text(text) => match self.dialect.read(&text, true) {
                    Message::Token => return Ok(()),
                    Message::Over(why) => return Err(why),
                    Message::Key(_) | Message::Scanned | Message::Other => {}
                },
                event => return Err(ended(&event)),
            }
        }
    }

    /// Says that the token has arrived, and comes back until it is told that this was heard.
    ///
    /// # Errors
    /// How it ended otherwise.
    pub async fn acknowledge(&self, visitor: &mut Visitor) -> Result<(), String> {
        let started = Instant::now();
        for _ in 0..=RESUMES {
            let browser = &mut visitor.browser;
            if let Some(received) = self.dialect.received() {
                browser.say(received).await.map_err(|error| format!("{:?}", error.kind()))?;
            }
            if self.dialect.browser_closes() {
                browser.close(1000).await.map_err(|error| format!("{:?}", error.kind()))?;
            }
            let mut event = timeout(PATIENCE, browser.next()).await.map_err(|_| "timeout")?;
            if event == Event::Close(1012)
                && let Some(resume) = visitor.shown.resume.as_deref()
            {
                // It was said too late, or before the token was there.
                visitor.browser = self.comes_back(visitor.number, resume).await?;
                let next = timeout(PATIENCE, visitor.browser.next()).await;
                event = next.map_err(|_| "timeout")?;
            }
            match event {
                Event::Close(1000) => {
                    self.recorder.step(Step::Received, started.elapsed());
                    return Ok(());
                }
                // A peer need not answer a Close before it hangs up.
                Event::Lost if self.dialect.browser_closes() => return Ok(()),
                Event::Text(text) if self.dialect.read(&text, true) == Message::Token => {}
                event => return Err(ended(&event)),
            }
        }
        Err("never acknowledged".into())
    }
}

/// Channel names of the peer; unique within a run, and runs have servers of their own.
fn channel(number: u64) -> String {
    format!("channel{number:016x}")
}

/// Why a connection failed, without what differs from one to the next.
pub fn reason(failed: &Failed) -> String {
    match failed {
        Failed::Io(kind) => format!("{kind:?}"),
        Failed::Refused { status, body } => {
            refusal(&Answer { status: *status, body: body.clone() })
        }
        Failed::Timeout => "timeout".into(),
        Failed::NotAHandshake => "not a handshake".into(),
    }
}

/// A status, and the code in the body.
pub fn refusal(answer: &Answer) -> String {
    match answer.number("code") {
        Some(code) => format!("{} code {code}", answer.status),
        None => format!("{}", answer.status),
    }
}

/// How a socket ended, when something else was expected.
pub fn ended(event: &Event) -> String {
    match event {
        Event::Close(code) => format!("closed {code}"),
        Event::Lost => "lost".into(),
        Event::Text(_) => "an unexpected text".into(),
    }
}
