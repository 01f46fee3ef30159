//! `capacity`: how many logins a second, and how many waiting browsers, until an objective breaks.
//!
//! Each dimension is doubled until it breaks and then bisected, each step on servers of its own: a
//! login that lost its browser stays with the service until its deadline, and the next step must
//! not pay for the last one.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    limits,
    outcome::Outcome,
    scenario::{self, Error, Plan, Scenario, Settings},
    target::Target,
};

/// Logins a second beside the browsers that wait, while those are counted.
const BESIDE: f64 = 50.0;
/// A part that is busier than this share of what it can be is what saturated, in percent.
const SATURATED: f64 = 85.0;
/// Bisecting ends when the bounds are this close.
const CLOSE: f64 = 1.1;

/// What may not break, and where to begin.
#[derive(Clone, Debug, clap::Args)]
pub struct Search {
    #[command(flatten)]
    settings: Settings,
    /// Logins a second of the first step
    #[arg(long, value_name = "N", default_value_t = 200.0, help_heading = "Search")]
    first_logins_per_second: f64,
    /// Waiting browsers of the first step
    #[arg(long, value_name = "N", default_value_t = 2_500, help_heading = "Search")]
    first_waiting: u64,
    /// Most waiting browsers that are tried; else what this machine's memory, or its ports, allow
    #[arg(long, value_name = "N", help_heading = "Search")]
    most_waiting: Option<u64>,
    /// Only one of both
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Search")]
    only: Option<Only>,
}

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Most logins a second.
    Logins,
    /// Most waiting browsers.
    Waiting,
}

impl Search {
    /// Where the result goes, for machines.
    pub fn json(&self) -> Option<&Path> {
        self.settings.json.as_deref()
    }
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// What was tried.
    pub load: f64,
    /// Whether every objective held.
    pub held: bool,
    /// What was full, or broke.
    pub because: String,
    /// The whole result.
    pub outcome: Outcome,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Capacity {
    /// Logins a second of the best step that held; nothing where none did, or was tried.
    pub most_logins_per_second: Option<f64>,
    /// Waiting browsers of the best step that held.
    pub most_waiting: Option<f64>,
    /// Steps of logins a second.
    pub logins: Vec<Attempt>,
    /// Steps of waiting browsers.
    pub waiting: Vec<Attempt>,
    /// Cores of this machine, shared by all.
    pub cores: usize,
}

/// Searches both dimensions; `line` gets each step.
///
/// # Errors
/// [`Error`].
pub async fn search(search: &Search, line: fn(&str), live: fn(&str)) -> Result<Capacity, Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut capacity = Capacity {
        most_logins_per_second: None,
        most_waiting: None,
        logins: Vec::new(),
        waiting: Vec::new(),
        cores,
    };
    let settings = &search.settings;
    let seconds = Some(settings.seconds.unwrap_or(8.0));
    if search.only != Some(Only::Waiting) {
        let attempts = steps(search.first_logins_per_second, f64::MAX, async |rate| {
            let settings = Settings {
                logins_per_second: Some(rate),
                waiting: Some(settings.waiting.unwrap_or(1_000)),
                seconds,
                ..settings.clone()
            };
            let attempt = attempt(Scenario::Login, rate, &settings, cores, live).await?;
            line(&format!("{rate:.0} logins/s: {}", attempt.because));
            Ok(attempt)
        });
        capacity.logins = attempts.await?;
    }
    if search.only != Some(Only::Logins) {
        let most = match &settings.host {
            Some(host) => {
                limits::browsers_of_all_ports(&Target::there(host, Vec::new())?.endpoints)
            }
            None => limits::browsers_of_this_memory(),
        };
        // Those that log in beside them need room, too.
        let most = most.saturating_sub((BESIDE * 4.0) as u64);
        let most = search.most_waiting.unwrap_or(most).min(most) as f64;
        let attempts = steps(search.first_waiting as f64, most, async |waiting| {
            let settings = Settings {
                logins_per_second: Some(BESIDE),
                waiting: Some(waiting as u64),
                seconds,
                ..settings.clone()
            };
            let mut attempt = attempt(Scenario::Wait, waiting, &settings, cores, live).await?;
            if attempt.held && waiting >= most {
                attempt.because = match search.most_waiting {
                    Some(_) => format!("{}; no more were to be tried", attempt.because),
                    None => format!("{}; this machine has no room for more", attempt.because),
                };
            }
            line(&format!("{waiting:.0} waiting: {}", attempt.because));
            Ok(attempt)
        });
        capacity.waiting = attempts.await?;
    }
    let most = |attempts: &[Attempt]| best(attempts).map(|attempt| attempt.load);
    capacity.most_logins_per_second = most(&capacity.logins);
    capacity.most_waiting = most(&capacity.waiting);
    Ok(capacity)
}

async fn steps<F>(first: f64, most: f64, attempt: F) -> Result<Vec<Attempt>, Error>
where
    F: AsyncFn(f64) -> Result<Attempt, Error>,
{
    let mut attempts = Vec::new();
    let (mut good, mut bad) = (0.0, None);
    let mut next = first.min(most);
    loop {
        let tried = attempt(next.round()).await?;
        if tried.held {
            good = next;
        } else {
            bad = Some(next);
        }
        attempts.push(tried);
        next = match bad {
            None if good >= most => break,
            None => (good * 2.0).min(most),
            // Nothing holds at all.
            Some(bad) if bad < 1.0 => break,
            Some(bad) if good > 0.0 && bad <= good * CLOSE => break,
            Some(bad) => f64::midpoint(good, bad),
        };
    }
    Ok(attempts)
}

async fn attempt(
    scenario: Scenario,
    load: f64,
    settings: &Settings,
    cores: usize,
    live: fn(&str),
) -> Result<Attempt, Error> {
    let plan = Plan::new(scenario, settings);
    let target = Arc::new(scenario::target(&plan, settings)?);
    let outcome = scenario::run(&plan, settings, target, live).await?;
    let short = is_short(outcome.logins, plan.logins_per_second * plan.time.as_secs_f64());
    let broken = outcome.broken(settings.max_failures, settings.max_p99);
    // A late client makes latencies look longer, never shorter: what held in spite of it has held.
    let held = broken.is_empty() && !short;
    let because = match broken.first() {
        None if held => {
            let at_most = if outcome.client_limited { "at most " } else { "" };
            format!("held: p99 {at_most}{:.1} ms", outcome.scan_to_token_ms.p99)
        }
        broken => {
            let why = broken.cloned().unwrap_or_else(|| {
                format!("{:.0} logins/s of those that arrived", outcome.logins_per_second)
            });
            format!("{why}; {}", saturated(&outcome, cores))
        }
    };
    // Ports and sockets of the last step are gone before the next begins.
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(Attempt { load, held, because, outcome })
}

/// Whether fewer logged in than should have: by more than a twentieth, and by more than chance, which
/// gives a Poisson process a deviation of its root.
fn is_short(logins: u64, expected: f64) -> bool {
    (logins as f64) < 0.95 * expected - 3.0 * expected.sqrt()
}

fn saturated(outcome: &Outcome, cores: usize) -> String {
    let machine_percent = outcome.client.machine_percent;
    let servers = outcome.servers.unwrap_or_default();
    let redis = servers.redis_cpu_percent / servers.redis_nodes.max(1) as f64;
    if redis > SATURATED {
        return format!("Redis's one core is full ({redis:.0} %)");
    }
    if servers.cpu_percent > SATURATED * cores as f64 {
        return format!("the service has all cores ({:.0} %)", servers.cpu_percent);
    }
    if machine_percent > SATURATED {
        return format!(
            "the machine is full ({machine_percent:.0} % of {cores} cores: service {:.0} %, Redis \
             {:.0} %, this client {:.0} % of one)",
            servers.cpu_percent, servers.redis_cpu_percent, outcome.client.cpu_percent
        );
    }
    if outcome.client_limited {
        return "the client was late".into();
    }
    format!("nothing was full (machine {machine_percent:.0} %): it waits for something")
}

/// The best step that held.
fn best(attempts: &[Attempt]) -> Option<&Attempt> {
    let held = attempts.iter().filter(|attempt| attempt.held);
    held.max_by(|a, b| a.load.total_cmp(&b.load))
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, attempts) in [("logins/s", &self.logins), ("waiting browsers", &self.waiting)] {
            if attempts.is_empty() {
                continue;
            }
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            writeln!(
                f,
                "\n| {what} | held | p50 ms | p99 ms | service CPU % of a core | Redis CPU % | client CPU % | \
                 instances | service MiB | Redis MiB | why |"
            )?;
            writeln!(f, "|---|---|---|---|---|---|---|---|---|---|---|")?;
            for Attempt { load, held, because, outcome, .. } in attempts {
                let servers = outcome.servers.unwrap_or_default();
                writeln!(
                    f,
                    "| {load:.0} | {} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} | {} | {:.1} | {:.1} | {because} |",
                    if *held { "yes" } else { "no" },
                    outcome.scan_to_token_ms.p50,
                    outcome.scan_to_token_ms.p99,
                    servers.cpu_percent,
                    servers.redis_cpu_percent,
                    outcome.client.cpu_percent,
                    servers.instances,
                    mib(servers.memory_bytes),
                    mib(servers.redis_memory_bytes),
                )?;
            }
            match best(attempts) {
                Some(best) => writeln!(f, "\nMost {what}: **{:.0}**", best.load)?,
                None => writeln!(f, "\nMost {what}: none of the steps held")?,
            }
            if let Some(broke) = attempts
                .iter()
                .filter(|attempt| !attempt.held)
                .min_by(|a, b| a.load.total_cmp(&b.load))
            {
                writeln!(f, "What broke first, at {:.0}: {}", broke.load, broke.because)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_search_ends_between_what_held_and_what_broke() {
        let attempt = async |load: f64| {
            let outcome = Outcome::new("login", &crate::recorder::Measured::new(), 1.0);
            Ok(Attempt { load, held: load <= 1_000.0, because: String::new(), outcome })
        };
        let attempts = steps(200.0, f64::MAX, attempt).await.expect("no error");
        let best = best(&attempts).expect("200 held").load;
        assert!((909.0..=1_000.0).contains(&best), "{best}");
        // Bounded, it ends at the bound.
        let attempts = steps(200.0, 500.0, attempt).await.expect("no error");
        let loads: Vec<f64> = attempts.iter().map(|attempt| attempt.load).collect();
        assert_eq!(loads, [200.0, 400.0, 500.0]);
        // Nothing holds.
        let attempts = steps(5_000.0, f64::MAX, async |load| attempt(load + 1_000.0).await);
        assert!(super::best(&attempts.await.expect("no error")).is_none());
    }

    #[test]
    fn chance_is_no_shortfall() {
        assert!(!is_short(262, 300.0));
        assert!(is_short(200, 300.0));
        assert!(is_short(9_000, 10_000.0));
    }
}
