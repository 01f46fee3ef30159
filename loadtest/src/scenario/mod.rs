//! The scenarios: what is played, against what, and what it came to.

mod play;
mod preflight;
mod settings;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::mpsc::unbounded_channel;

pub use self::settings::{NotASpread, Settings, Spread};
use crate::{
    crew::Crew,
    engine::Span,
    goose_run,
    live::{Second, Watch},
    outcome::{Outcome, Servers},
    proc,
    recorder::{Measured, Recorder},
    target::{self, Store, Target, Usage, Wanted, redis, service},
    tokens,
};

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Browsers arrive, are scanned, are logged in.
    Login,
    /// Browsers wait.
    Wait,
    /// Browsers arrive and leave: without a word, or with `cancel`.
    Abandon,
    /// All browsers lose their connection at once, come back, and go on.
    Storm,
    /// Many phones scan one key.
    Race,
    /// Attackers beside people.
    Abuse,
    /// A morning: most wait 5 to 25 s and log in, some leave, some let it expire.
    Mixed,
}

/// What a scenario does where nothing is said.
struct Defaults {
    logins_per_second: f64,
    waiting: u64,
    seconds: f64,
    think: Spread,
    /// `SCANLOGIN_WAIT_SECONDS` of services of the run's own.
    wait: Option<Duration>,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Login, Self::Wait, Self::Abandon, Self::Storm, Self::Race, Self::Abuse, Self::Mixed];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Wait => "wait",
            Self::Abandon => "abandon",
            Self::Storm => "storm",
            Self::Race => "race",
            Self::Abuse => "abuse",
            Self::Mixed => "mixed",
        }
    }

    fn defaults(self) -> Defaults {
        let second = Spread { from: 1.0, to: 1.0 };
        let long = Some(Duration::from_secs(900));
        let base = Defaults {
            logins_per_second: 100.0,
            waiting: 0,
            seconds: 30.0,
            think: second,
            wait: long,
        };
        match self {
            Self::Login => base,
            Self::Wait => Defaults { waiting: 10_000, logins_per_second: 0.0, ..base },
            Self::Abandon => Defaults { think: Spread { from: 0.2, to: 2.0 }, ..base },
            Self::Storm => Defaults { waiting: 5_000, logins_per_second: 0.0, ..base },
            Self::Race => Defaults { logins_per_second: 10.0, ..base },
            Self::Abuse => base,
            Self::Mixed => Defaults {
                seconds: 60.0,
                think: Spread { from: 5.0, to: 25.0 },
                // So that those who let it expire are seen to the end.
                wait: Some(Duration::from_secs(40)),
                ..base
            },
        }
    }
}

/// Everything that a scenario is played with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which one.
    pub scenario: Scenario,
    /// Arrivals a second.
    pub logins_per_second: f64,
    /// Browsers that wait all the time.
    pub waiting: u64,
    /// What is measured.
    pub time: Duration,
    /// From arrival to what a browser comes for.
    pub think: Spread,
    /// Phones on one key.
    pub phones: u64,
}

impl Plan {
    /// The settings, and the scenario's defaults where they say nothing.
    pub fn new(scenario: Scenario, settings: &Settings) -> Self {
        let defaults = scenario.defaults();
        Self {
            scenario,
            logins_per_second: settings.logins_per_second.unwrap_or(defaults.logins_per_second),
            waiting: settings.waiting.unwrap_or(defaults.waiting),
            time: Duration::from_secs_f64(settings.seconds.unwrap_or(defaults.seconds).max(0.1)),
            think: settings.think_seconds.unwrap_or(defaults.think),
            phones: settings.phones.unwrap_or(10).max(1),
        }
    }

    /// Until arrivals, browsers that wait and browsers that leave are in balance.
    fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.think.to) + Duration::from_millis(500)
    }

    fn span(&self) -> Span {
        Span::of(self.warm_up(), self.time)
    }

    /// Browsers that are open at the same time, roughly.
    pub fn browsers(&self) -> u64 {
        self.waiting + (self.logins_per_second * (self.think.to + 1.0)) as u64
    }
}

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing to test.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// It is there, and will not have us.
    #[error("{0}")]
    Refused(String),
    /// More than this process may have open.
    #[error(
        "{0} browsers are more than the {1} that the limit of open files leaves to this process: \
         raise it (ulimit -n), or give fewer by --waiting or --logins-per-second"
    )]
    Files(u64, u64),
    /// goose's.
    #[error("goose: {0:?}")]
    Goose(Box<goose::GooseError>),
    /// The operating system's.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A wrong `--set`.
    #[error("--set {0}: wants NAME=VALUE, for example --set WORKERS=1")]
    Set(String),
}

impl From<goose::GooseError> for Error {
    fn from(error: goose::GooseError) -> Self {
        Self::Goose(Box::new(error))
    }
}

/// The servers for a scenario.
///
/// # Errors
/// [`Error`].
pub fn target(scenario: Scenario, settings: &Settings) -> Result<Target, Error> {
    if let Some(host) = &settings.host {
        return Ok(Target::there(host, app_tokens(settings)?)?);
    }
    let binary = match &settings.service {
        Some(binary) => binary.clone(),
        None => service::binary()?,
    };
    let mut more: Vec<(String, String)> = Vec::new();
    if scenario == Scenario::Abuse {
        // What answers attackers is what is tested here. People have an address and a user each.
        more.push(("CONNECTS_PER_MINUTE".into(), "600".into()));
        more.push(("SCANS_PER_MINUTE".into(), "30".into()));
    }
    for set in &settings.set {
        let (name, value) = set.split_once('=').ok_or_else(|| Error::Set(set.clone()))?;
        more.push((name.to_owned(), value.to_owned()));
    }
    let installed = redis::is_installed();
    Ok(Target::start(&Wanted {
        binary,
        store: settings.store.unwrap_or(if installed { Store::Redis } else { Store::Embedded }),
        instances: settings.instances.unwrap_or(1),
        confirm: settings.confirm,
        wait: scenario.defaults().wait,
        more,
    })?)
}

fn app_tokens(settings: &Settings) -> Result<Vec<String>, target::Error> {
    let file_error = |file: &std::path::PathBuf| {
        let file = file.clone();
        move |error| target::Error::File(file, error)
    };
    if let Some(file) = &settings.app_tokens {
        return tokens::read(file).map_err(file_error(file));
    }
    let secret = match &settings.app_secret_file {
        Some(file) => {
            std::fs::read_to_string(file).map_err(file_error(file))?.trim_end().to_owned()
        }
        None => settings.app_secret.clone().ok_or(target::Error::NoTokens)?,
    };
    Ok(tokens::mint(&secret, target::USERS))
}

/// What playing a scenario gave.
#[derive(Default)]
struct Played {
    measured: Option<Measured>,
    seconds: f64,
    more: BTreeMap<&'static str, f64>,
    begun: Usage,
    ended: Usage,
    series: Vec<Second>,
}

/// Plays a scenario against these servers, driven by goose; `line` gets what a person wants to see
/// meanwhile.
///
/// # Errors
/// [`Error`].
pub async fn run(
    plan: &Plan,
    settings: &Settings,
    target: Arc<Target>,
    line: fn(&str),
) -> Result<Outcome, Error> {
    let most = proc::most_browsers();
    if plan.browsers() > most {
        return Err(Error::Files(plan.browsers(), most));
    }
    preflight::check(&target, settings).await?;
    let (sender, samples) = unbounded_channel();
    let crew = Crew::new(
        &target.endpoints,
        settings.protocol,
        settings.confirm,
        target.tokens.clone(),
        Recorder::with_goose(sender),
    )?;
    let played = Arc::new(Mutex::new(Played::default()));
    let (plan, result, host) = (plan.clone(), played.clone(), target.endpoints[0].host.clone());
    let scenario = plan.scenario;
    let servers = target.clone();
    let run = Box::pin(async move {
        let watch = Watch::start(&crew, line);
        let mut played = play::play(&plan, &crew, &servers).await;
        played.ended = servers.usage();
        played.series = watch.finish();
        *result.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = played;
    });
    goose_run::drive(scenario.name(), &host, settings.html.as_deref(), run, samples).await?;
    let played = std::mem::take(&mut *played.lock().unwrap_or_else(|p| p.into_inner()));
    Ok(outcome(scenario, settings, &target, played))
}

fn outcome(scenario: Scenario, settings: &Settings, target: &Target, played: Played) -> Outcome {
    let Played { measured, seconds, more, begun, ended, series } = played;
    let measured = measured.unwrap_or_else(|| Recorder::new().so_far());
    let mut outcome = Outcome::new(scenario.name(), &measured, seconds);
    outcome.target = target.description.clone();
    outcome.protocol = format!("{:?}", settings.protocol).to_lowercase();
    outcome.confirm = settings.confirm;
    outcome.waiting = series.iter().map(|second| second.waiting).max().unwrap_or_default();
    outcome.more = more;
    outcome.series = series;
    let share = |from: Duration, to: Duration| {
        100.0 * to.saturating_sub(from).as_secs_f64() / seconds.max(f64::EPSILON)
    };
    outcome.servers = (ended.server_pss > 0).then(|| Servers {
        cpu_percent: share(begun.server_cpu, ended.server_cpu),
        redis_cpu_percent: share(begun.redis_cpu, ended.redis_cpu),
        memory_bytes: ended.server_pss,
        redis_memory_bytes: ended.redis_memory,
    });
    outcome
}
