//! `bench`: what a waiting browser and a login cost, and the same for the peer, pair by pair.

mod bars;
mod churn;
mod resync;
mod round;
mod table;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use self::{
    bars::Bar,
    table::{Figures, Row, Table},
};
use crate::{
    crew::Crew,
    dialect::Dialect,
    economy,
    recorder::Recorder,
    target::{Error, Store, Target, Wanted, peer, redis, service},
    visit::Visit,
};

/// What to measure, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Browsers that wait
    #[arg(long, default_value_t = 10_000)]
    pub waiting: u64,
    /// Seconds of each load
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Seconds of idling: 30 hold one rotation and one ping of every socket
    #[arg(long, default_value_t = 30)]
    pub idle_seconds: u64,
    /// Logins a second of the open loops
    #[arg(long, value_delimiter = ',', default_values_t = [200, 1000])]
    pub logins_per_second: Vec<u32>,
    /// Logins at a time at saturation
    #[arg(long, default_value_t = 64)]
    pub at_a_time: usize,
    /// How often the first two parts are measured, pair by pair; medians are reported
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::ALL)]
    pub parts: Vec<Part>,
    /// Instances of the service whose commands are counted
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16])]
    pub instances: Vec<usize>,
    /// Browsers that wait while others are replaced
    #[arg(long, default_value_t = 15_000)]
    pub churn_waiting: u64,
    /// How many of them are replaced at a time, chosen at random
    #[arg(long, default_value_t = 5_000)]
    pub churn_replaced: u64,
    /// How often
    #[arg(long, default_value_t = 50)]
    pub churn_rounds: u64,
    /// The service's protocol
    #[arg(long, value_enum, default_value_t = Dialect::Json)]
    pub protocol: Dialect,
    /// The service's store; a Redis of its own, if redis-server is installed
    #[arg(long, value_enum)]
    pub store: Option<Store>,
    /// Leave out nginx with nchan, which is measured if it is installed
    #[arg(long)]
    pub no_peer: bool,
    /// Which binary of the service; else the one beside this, built anew
    #[arg(long, value_name = "FILE")]
    pub service: Option<PathBuf>,
    /// Write all figures here, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Browsers that wait, and logins beside them
    Waiting,
    /// As many logins as go
    Saturation,
    /// Commands and notifications, with several instances
    Instances,
    /// Reading all logins again after Redis dropped its connections
    Resync,
    /// Memory after browsers have come and gone for long
    Churn,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Saturation, Self::Instances, Self::Resync, Self::Churn];
}

/// Between the last connection and a look at the memory.
const SETTLE: Duration = Duration::from_secs(4);
/// Logins at each instance before any is counted.
const FIRST_LOGINS: usize = 4;
/// What a browser waits for where nothing is configured. The peer keeps its messages as long.
const DEFAULT_WAIT: Duration = Duration::from_secs(120);
/// What assembling, settling and the ends of loads may take together.
const AROUND: Duration = Duration::from_secs(30);
/// A deadline beyond any part.
const LONG_WAIT: Duration = Duration::from_secs(900);

/// Whether everything with browsers that wait is over before the default deadline; else they get a
/// longer one, and with it more codes, which are part of a login's cost.
fn wait(settings: &Settings) -> Option<Duration> {
    let load = Duration::from_secs(settings.seconds) + round::WARM_UP;
    let loads = load * u32::try_from(settings.logins_per_second.len()).unwrap_or(u32::MAX);
    let all = Duration::from_secs(settings.idle_seconds) + loads + AROUND;
    (all > DEFAULT_WAIT).then_some(LONG_WAIT)
}

fn crew(target: &Target, dialect: Dialect) -> Result<Arc<Crew>, Error> {
    let tokens = target.tokens.clone();
    Ok(Crew::new(&target.endpoints, dialect, false, tokens, Recorder::new())?)
}

/// Measures; `progress` gets a line at each step.
///
/// # Errors
/// Where a server cannot be started.
pub async fn run(settings: &Settings, progress: impl Fn(&str)) -> Result<Table, Error> {
    let binary = match &settings.service {
        Some(binary) => binary.clone(),
        None => service::binary()?,
    };
    let installed = redis::is_installed();
    let store = settings.store.unwrap_or(if installed { Store::Redis } else { Store::Embedded });
    let wanted = Wanted {
        binary,
        store,
        instances: 1,
        confirm: false,
        proxy_workers: None,
        wait: wait(settings),
        more: Vec::new(),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let with_peer = !settings.no_peer && installed && peer::is_installed();
    let mut table = Table::new(settings, store, cores);
    let mut in_pairs = vec![Part::Waiting, Part::Saturation];
    in_pairs.retain(|part| settings.parts.contains(part));
    let sides = if with_peer { 2 } else { 1 };
    for round in 1..=if in_pairs.is_empty() { 0 } else { settings.rounds } {
        let mut figures = [Figures::default(), Figures::default()];
        // One right after the other, and who was first is second next time: what else goes on on the machine
        // is to favour neither.
        for part in &in_pairs {
            for turn in 1..=sides {
                let side = (round + turn) % sides;
                let peer = side == 1;
                let name = if peer { "nginx with nchan" } else { "the service" };
                progress(&format!("round {round} of {}: {name}", settings.rounds));
                let (target, dialect) = match peer {
                    true => (Target::start_peer(cores)?, Dialect::Nchan),
                    false => (Target::start(&wanted)?, settings.protocol),
                };
                let figures = &mut figures[side];
                round::measure(settings, *part, dialect, &target, figures, &progress).await?;
            }
        }
        let [service, peer] = figures;
        table.service.push(service);
        table.peer.extend(with_peer.then_some(peer));
    }
    table.service.push(alone(settings, &wanted, &progress).await?);
    Ok(table)
}

/// What is compared with nobody, once.
async fn alone(
    settings: &Settings,
    wanted: &Wanted,
    progress: &impl Fn(&str),
) -> Result<Figures, Error> {
    let (mut figures, dialect) = (Figures::default(), settings.protocol);
    let long = Wanted { wait: Some(LONG_WAIT), ..wanted.clone() };
    let measures = |part| settings.parts.contains(&part);
    for instances in settings.instances.iter().filter(|_| measures(Part::Instances)) {
        let target = Target::start(&Wanted { instances: *instances, ..wanted.clone() })?;
        let crew = crew(&target, dialect)?;
        // The first one teaches Redis the scripts.
        for _ in 0..FIRST_LOGINS * *instances {
            crew.clone().visit(Visit::LogIn(None)).await;
        }
        if let Some(counted) = economy::count(&crew, &target).await? {
            figures.set(Row::CommandsSent(*instances), counted.sent_each());
            figures.set(Row::CommandsInside(*instances), counted.inside_each());
            figures.set(Row::Notifications(*instances), counted.notifications);
            progress(&format!("{instances} instances: {:?}", counted.sent));
        }
    }
    if measures(Part::Resync) {
        resync::measure(settings, dialect, &Target::start(&long)?, &mut figures, progress).await?;
    }
    if measures(Part::Churn) {
        churn::measure(settings, dialect, &Target::start(&long)?, &mut figures, progress).await?;
    }
    Ok(figures)
}
