//! The figures of `bench`, their medians, and how they read.

use std::{collections::BTreeMap, fmt};

use serde_json::{Value, json};

use super::{Bar, Settings};
use crate::target::Store;

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// PSS of the servers without Redis.
    BytesPerSocket,
    /// Redis's `used_memory`.
    RedisBytesPerSocket,
    /// Both.
    AllBytesPerSocket,
    /// The kernel's, of both ends of the connection.
    KernelBytesPerSocket,
    /// PSS of this client.
    ClientBytesPerSocket,
    /// Percent of a core, without Redis.
    IdleCpu,
    /// Percent of a core.
    IdleRedisCpu,
    /// Sockets with a key, while the fleet assembles.
    ConnectsPerSecond,
    /// Scan due to token, in milliseconds, at so many logins a second.
    P50At(u32),
    /// The same.
    P90At(u32),
    /// The same.
    P99At(u32),
    /// The client's own lateness within it, in milliseconds.
    LateP50At(u32),
    /// The same.
    LateP99At(u32),
    /// Logins that failed.
    FailuresAt(u32),
    /// Processor milliseconds per login (seconds per 1,000), without Redis.
    CpuAt(u32),
    /// The same of Redis.
    RedisCpuAt(u32),
    /// Both.
    AllCpuAt(u32),
    /// Logins a second at saturation.
    LoginsPerSecond,
    /// Processor milliseconds per login at saturation, without Redis.
    CpuAtMost,
    /// The same of Redis.
    RedisCpuAtMost,
    /// Both.
    AllCpuAtMost,
    /// Percent of a core that this client needed at saturation.
    ClientCpuAtMost,
    /// Logins that failed at saturation.
    FailuresAtMost,
    /// Commands that clients sent to Redis per login, with so many instances.
    CommandsSent(usize),
    /// Commands that scripts called per login.
    CommandsInside(usize),
    /// Notifications that the service counted per login.
    Notifications(usize),
    /// From a new connection to the last record that is read again, in milliseconds.
    ResyncTime,
    /// The slowest token of who was scanned in the second from then on, in milliseconds.
    WorstBesideResync,
    /// PSS of the servers, before anybody is replaced.
    BytesBeforeChurn,
    /// How often a part was replaced.
    ChurnRounds,
    /// How many percent more bytes per socket there are after that.
    ChurnGrowth,
    /// Browsers that did not stay to the end.
    LostWhileWaiting,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BytesPerSocket => f.write_str("bytes per waiting socket, PSS"),
            Self::RedisBytesPerSocket => f.write_str("bytes per waiting socket, Redis used_memory"),
            Self::AllBytesPerSocket => f.write_str("bytes per waiting socket, both"),
            Self::KernelBytesPerSocket => f.write_str("kernel bytes per connection, both ends"),
            Self::ClientBytesPerSocket => f.write_str("bytes per simulated browser (this client)"),
            Self::IdleCpu => f.write_str("idle CPU, % of a core"),
            Self::IdleRedisCpu => f.write_str("idle CPU of Redis, % of a core"),
            Self::ConnectsPerSecond => f.write_str("connects/s with key received"),
            Self::P50At(rate) => write!(f, "scan -> token p50 at {rate}/s, ms"),
            Self::P90At(rate) => write!(f, "scan -> token p90 at {rate}/s, ms"),
            Self::P99At(rate) => write!(f, "scan -> token p99 at {rate}/s, ms"),
            Self::LateP50At(rate) => write!(f, "  client late p50 at {rate}/s, ms"),
            Self::LateP99At(rate) => write!(f, "  client late p99 at {rate}/s, ms"),
            Self::FailuresAt(rate) => write!(f, "  failures at {rate}/s"),
            Self::CpuAt(rate) => write!(f, "server CPU per 1,000 logins at {rate}/s, s"),
            Self::RedisCpuAt(rate) => write!(f, "Redis CPU per 1,000 logins at {rate}/s, s"),
            Self::AllCpuAt(rate) => write!(f, "both per 1,000 logins at {rate}/s, s"),
            Self::AllCpuAtMost => f.write_str("both per 1,000 logins there, s"),
            Self::LoginsPerSecond => f.write_str("logins/s at saturation"),
            Self::CpuAtMost => f.write_str("server CPU per 1,000 logins there, s"),
            Self::RedisCpuAtMost => f.write_str("Redis CPU per 1,000 logins there, s"),
            Self::ClientCpuAtMost => f.write_str("  client CPU there, % of a core"),
            Self::FailuresAtMost => f.write_str("  failures there"),
            Self::CommandsSent(n) => write!(f, "commands sent to Redis per login, {n} instances"),
            Self::CommandsInside(n) => write!(f, "  commands inside scripts, {n} instances"),
            Self::Notifications(n) => write!(f, "notifications per login, {n} instances"),
            Self::ResyncTime => f.write_str("resync of the waiting logins, ms"),
            Self::WorstBesideResync => f.write_str("slowest token of others beside it, ms"),
            Self::BytesBeforeChurn => f.write_str("  bytes per waiting socket before the churn"),
            Self::ChurnRounds => f.write_str("  rounds of churn"),
            Self::ChurnGrowth => f.write_str("more bytes per waiting socket after the churn, %"),
            Self::LostWhileWaiting => f.write_str("  waiting browsers lost"),
        }
    }
}

/// What one side came to in one round.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    rows: BTreeMap<Row, f64>,
}

impl Figures {
    /// Notes a figure.
    pub fn set(&mut self, row: Row, value: f64) {
        self.rows.insert(row, value);
    }
}

/// All rounds of both sides.
#[derive(Clone, Debug)]
pub struct Table {
    settings: Settings,
    store: Store,
    cores: usize,
    /// The service's rounds.
    pub service: Vec<Figures>,
    /// The peer's rounds.
    pub peer: Vec<Figures>,
}

impl Table {
    pub(super) fn new(settings: &Settings, store: Store, cores: usize) -> Self {
        let settings = settings.clone();
        Self { settings, store, cores, service: Vec::new(), peer: Vec::new() }
    }

    fn rows(&self) -> Vec<Row> {
        let all = self.service.iter().chain(&self.peer).flat_map(|round| round.rows.keys());
        let rows: std::collections::BTreeSet<Row> = all.copied().collect();
        rows.into_iter().collect()
    }

    /// For machines: every round, and the medians.
    pub fn json(&self) -> Value {
        let rounds = |side: &[Figures]| -> Value {
            let rounds = side.iter().map(|round| {
                let rows: serde_json::Map<String, Value> = round
                    .rows
                    .iter()
                    .map(|(row, value)| (row.to_string().trim().to_owned(), json!(value)))
                    .collect();
                json!({ "figures": rows })
            });
            rounds.collect()
        };
        json!({
            "waiting": self.settings.waiting,
            "seconds": self.settings.seconds,
            "cores": self.cores,
            "protocol": self.settings.protocol,
            "store": format!("{:?}", self.store).to_lowercase(),
            "service": rounds(&self.service),
            "nchan": rounds(&self.peer),
        })
    }
}

fn median(side: &[Figures], row: Row) -> Option<f64> {
    middle_of(side.iter().filter_map(|round| round.rows.get(&row).copied()).collect())
}

/// The median of the pairs' ratios, each of which was measured within a minute or two. That of all the
/// service's rounds by that of all the peer's would compare different times.
fn ratio(service: &[Figures], peer: &[Figures], row: Row) -> Option<f64> {
    let pairs = service.iter().zip(peer).filter_map(|(ours, theirs)| {
        let (ours, theirs) = (ours.rows.get(&row)?, theirs.rows.get(&row)?);
        (*theirs > 0.0).then_some(ours / theirs)
    });
    middle_of(pairs.collect())
}

fn middle_of(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Three digits that mean something.
fn short(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { waiting, seconds, rounds, at_a_time, .. } = &self.settings;
        writeln!(
            f,
            "{waiting} waiting, {seconds} s a load, {at_a_time} at a time at saturation; medians of \
             {rounds} rounds, and of their pairs' ratios, on {} cores that server, Redis and client \
             share\n",
            self.cores
        )?;
        writeln!(f, "| | service | nginx + nchan + Redis | ratio | bar | moonshot | |")?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for row in self.rows() {
            let (ours, theirs) = (median(&self.service, row), median(&self.peer, row));
            let ratio = ratio(&self.service, &self.peer, row);
            let (ours_text, theirs_text) = (short(ours), short(theirs));
            write!(f, "| {row} | {ours_text} | {theirs_text} | {} |", short(ratio))?;
            match Bar::of(row) {
                None => writeln!(f, " | | |")?,
                Some((bar, moonshot)) => {
                    let met = match (bar.is_met(ours, ratio), moonshot.is_met(ours, ratio)) {
                        (None, _) => "",
                        (Some(false), _) => "**not met**",
                        (_, Some(true)) => "moonshot",
                        (Some(true), _) => "met",
                    };
                    writeln!(f, " {} | {} | {met} |", bar.text(), moonshot.text())?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slows_both_of_a_pair_does_not_show_in_the_ratio() {
        let side = |values: [f64; 3]| {
            values.map(|value| Figures { rows: BTreeMap::from([(Row::LoginsPerSecond, value)]) })
        };
        let (service, peer) = (side([12.0, 3.0, 13.0]), side([10.0, 2.0, 11.0]));
        assert_eq!(median(&service, Row::LoginsPerSecond), Some(12.0));
        assert_eq!(ratio(&service, &peer, Row::LoginsPerSecond), Some(1.2));
        assert_eq!(ratio(&service, &[], Row::LoginsPerSecond), None);
    }
}
