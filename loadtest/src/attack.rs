//! Attackers: each does one thing again and again, and expects the limit that answers it.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::timeout};

use crate::{
    browser::{Event, Failed},
    crew::{Crew, ended, reason, refusal},
    dialect::{Dialect, Endpoint},
    recorder::Step,
};

/// All attackers share one address, as a single host would.
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Between two attempts of one attacker. What is tested is whether limits answer and others do not
/// suffer, not how much one machine can send to itself.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A text of more than this is refused (4 KiB a frame).
const TOO_LONG: usize = 5 * 1024;
/// More messages than this a minute are a flood.
const TOO_MANY: usize = 110;

/// What an attacker does.
#[derive(Clone, Copy, Debug)]
enum Kind {
    UnknownKey,
    BadToken,
    Flood,
    LongFrame,
    HalfHead,
    Connects,
}

/// An attack that goes on until it is called off.
pub struct Attack(JoinSet<()>);

impl Attack {
    /// One attacker of each kind.
    pub fn start(crew: &Arc<Crew>) -> Self {
        use Kind::*;
        let endpoint = crew.endpoint();
        let mut attackers = JoinSet::new();
        for kind in [UnknownKey, BadToken, Flood, LongFrame, HalfHead, Connects] {
            let (crew, endpoint) = (crew.clone(), endpoint.clone());
            attackers.spawn(async move {
                loop {
                    attempt(&crew, &endpoint, kind).await;
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self(attackers)
    }

    /// Calls it off.
    pub async fn finish(mut self) {
        self.0.shutdown().await;
    }
}

async fn attempt(crew: &Arc<Crew>, endpoint: &Endpoint, kind: Kind) {
    let started = Instant::now();
    let result = timeout(PATIENCE, async {
        match kind {
            Kind::UnknownKey => unknown_key(crew).await,
            Kind::BadToken => bad_token(crew).await,
            Kind::Flood => flood(crew).await,
            Kind::LongFrame => long_frame(crew).await,
            Kind::HalfHead => half_head(endpoint).await,
            Kind::Connects => connects(crew).await,
        }
    });
    match result.await.unwrap_or(Err("no answer".into())) {
        Ok(()) => crew.recorder.step(Step::Refusal, started.elapsed()),
        Err(why) => {
            crew.recorder.failure(Step::Refusal, started.elapsed(), &format!("{kind:?}: {why}"));
        }
    }
}

/// Wants one of these answers.
fn expect(answer: Result<String, String>, wanted: &[&str]) -> Result<(), String> {
    let answer = answer?;
    if wanted.contains(&answer.as_str()) { Ok(()) } else { Err(answer) }
}

async fn unknown_key(crew: &Crew) -> Result<(), String> {
    let (path, body) = crew.dialect().scan(&"A".repeat(54));
    // One user: the limit per user answers sooner or later.
    let answer = crew.call(&path, crew.token(u64::MAX), &body).await;
    expect(answer.map(|answer| refusal(&answer)), &["404 code -1", "429 code -4"])
}

async fn bad_token(crew: &Crew) -> Result<(), String> {
    let (path, body) = crew.dialect().scan(&"A".repeat(54));
    let answer = crew.call(&path, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", &body).await;
    expect(answer.map(|answer| refusal(&answer)), &["401 code -2", "429 code -4"])
}

async fn socket(crew: &Crew) -> Result<Option<crate::browser::Browser>, String> {
    match crew.connect_from(Some(SOURCE), 0, false).await {
        Ok(browser) => Ok(Some(browser)),
        // The limit per address is an answer, too.
        Err(Failed::Refused { status: 429, .. }) => Ok(None),
        Err(failed) => Err(reason(&failed)),
    }
}

/// How the socket ends, whatever is said before.
async fn end(browser: &mut crate::browser::Browser) -> Event {
    loop {
        match browser.next().await {
            Event::Text(_) => {}
            event => return event,
        }
    }
}

async fn flood(crew: &Crew) -> Result<(), String> {
    let Some(mut browser) = socket(crew).await? else { return Ok(()) };
    for _ in 0..TOO_MANY {
        if browser.say(r#"{"type":"of a later version"}"#).await.is_err() {
            break;
        }
    }
    let wanted = if crew.dialect() == Dialect::Json { 4003 } else { 1008 };
    match end(&mut browser).await {
        Event::Close(code) if code == wanted => Ok(()),
        event => Err(ended(&event)),
    }
}

async fn long_frame(crew: &Crew) -> Result<(), String> {
    let Some(mut browser) = socket(crew).await? else { return Ok(()) };
    let _ = browser.say(&"x".repeat(TOO_LONG)).await;
    match end(&mut browser).await {
        Event::Close(1009) => Ok(()),
        event => Err(ended(&event)),
    }
}

/// A head that never ends is hung up on.
async fn half_head(endpoint: &Endpoint) -> Result<(), String> {
    use tokio::io::AsyncReadExt;
    let failed = |error: std::io::Error| format!("{:?}", error.kind());
    let mut stream = TcpStream::connect(endpoint.address).await.map_err(failed)?;
    stream.write_all(b"GET /ws HTTP/1.1\r\nHost: ").await.map_err(failed)?;
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    Ok(())
}

async fn connects(crew: &Crew) -> Result<(), String> {
    for _ in 0..20 {
        if socket(crew).await?.is_none() {
            return Ok(());
        }
    }
    Ok(())
}
