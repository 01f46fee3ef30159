//! The scenarios: what is played, against what, and what it came to.

mod play;
mod preflight;
mod run;
mod servers;
mod settings;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::{
    play::{Assembled, Played, play},
    run::run,
    servers::target,
    settings::{NotASpread, Settings, Spread, number},
};
use crate::{engine::Span, target, workers};

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Logins after the last storm.
const IN_THE_END: u64 = 100;

/// Everything that a scenario is played with.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// Of those that wait, how many log in after the last storm.
    pub in_the_end: u64,
    /// Whether attackers come with them.
    pub attackers: bool,
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
            in_the_end: IN_THE_END,
            attackers: scenario == Scenario::Abuse,
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

    /// What one of so many processes plays of it.
    pub fn share(&self, processes: usize, number: usize) -> Self {
        Self {
            logins_per_second: self.logins_per_second / processes as f64,
            waiting: workers::share(self.waiting, processes, number),
            in_the_end: workers::share(self.in_the_end, processes, number),
            attackers: self.attackers && number == 0,
            ..self.clone()
        }
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
    /// More than the processes that were asked for may have open.
    #[error(
        "{browsers} browsers are more than the {most} that the limit of open files leaves to \
         {processes} process(es) of this client: leave out --processes, or raise the limit (ulimit -n)"
    )]
    Files {
        /// Browsers that are wanted at the same time.
        browsers: u64,
        /// What there is room for.
        most: u64,
        /// In so many processes.
        processes: usize,
    },
    /// More connections than there are ports.
    #[error(
        "{0} browsers are more than the {1} ports that this machine has towards --host (one address \
         here, net.ipv4.ip_local_port_range): widen the range, or run from several machines"
    )]
    Ports(u64, u64),
    /// More than fits, where service, store and client are all on this machine.
    #[error(
        "{0} browsers with their service and store need more memory than this machine has to give: \
         about {1} would fit; or give a service elsewhere by --host"
    )]
    Memory(u64, u64),
    /// More than the instances may hold.
    #[error(
        "{browsers} browsers are more than the {most} that the limit of open files leaves to \
         {instances} instance(s) of the service: {advice}, or raise the limit (ulimit -n)"
    )]
    Instances {
        /// Browsers that are wanted at the same time.
        browsers: u64,
        /// What there is room for.
        most: u64,
        /// In so many instances.
        instances: usize,
        /// What to do.
        advice: &'static str,
    },
    /// A worker process.
    #[error(transparent)]
    Worker(#[from] workers::Error),
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
