//! `bench`: what a waiting browser and a login cost, and the same for the peer, pair by pair.

mod round;
mod table;

use std::{path::PathBuf, time::Duration};

pub use self::table::{Figures, Row, Table};
use crate::{
    dialect::Dialect,
    target::{Error, Store, Target, Wanted, peer, redis, service},
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
    /// How often everything is measured; medians are reported
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
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

/// A deadline beyond the test.
const WAIT: Duration = Duration::from_secs(900);

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
        wait: Some(WAIT),
        more: Vec::new(),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let with_peer = !settings.no_peer && installed && peer::is_installed();
    let mut table = Table::new(settings, store, cores);
    for round in 1..=settings.rounds {
        progress(&format!("round {round} of {}: the service", settings.rounds));
        let start = || Target::start(&wanted);
        table.service.push(round::measure(settings, settings.protocol, &start, &progress).await?);
        if with_peer {
            progress(&format!("round {round} of {}: nginx with nchan", settings.rounds));
            let start = || Target::start_peer(cores);
            table.peer.push(round::measure(settings, Dialect::Nchan, &start, &progress).await?);
        }
    }
    Ok(table)
}
