//! What a run came to: for machines as JSON, for people as a table, for pipelines as an exit code.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    live::Second,
    recorder::{Measured, Percentiles, Step},
};

/// A client that is later than this share of what it measures, at the 99th percentile, measures
/// itself: it is late when it begins, and about as late when it hears of the end.
const MOST_OF_P99: f64 = 0.25;
/// Below this lateness in milliseconds, a twentieth of the default objective, it is noise, and shown
/// beside what was measured.
const LATE_BUT_FINE: f64 = 5.0;

/// A run's result.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Its name.
    pub scenario: &'static str,
    /// What was tested.
    pub target: String,
    /// `plain` or `json`.
    pub protocol: String,
    /// Whether phones confirmed.
    pub confirm: bool,
    /// Seconds that were measured.
    pub seconds: f64,
    /// Logins that got their token and acknowledged it.
    pub logins: u64,
    /// Visits that went wrong.
    pub failures: u64,
    /// What went wrong, and how often.
    pub failure_reasons: BTreeMap<String, u64>,
    /// Share of all visits that failed, in percent.
    pub failures_percent: f64,
    /// Logins a second.
    pub logins_per_second: f64,
    /// Most browsers that waited at the same time.
    pub waiting: u64,
    /// From when the scan was due to the token.
    pub scan_to_token_ms: Percentiles,
    /// From the start of the connection to the key.
    pub open_to_key_ms: Percentiles,
    /// Every step.
    pub steps: BTreeMap<&'static str, StepOutcome>,
    /// How much later than due the client was.
    pub client_late_ms: Percentiles,
    /// The worst of it.
    pub client_late_ms_max: f64,
    /// Whether the client, not the service, was the bottleneck.
    pub client_limited: bool,
    /// What this client was.
    pub client: Client,
    /// What the servers used; nothing where they are not the run's own.
    pub servers: Option<Servers>,
    /// More figures, by scenario.
    pub more: BTreeMap<&'static str, f64>,
    /// Second by second.
    pub series: Vec<Second>,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct StepOutcome {
    /// How often it succeeded.
    pub count: u64,
    /// How long it took.
    pub ms: Percentiles,
}

/// What the client used while it counted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Client {
    /// Processes that held the browsers.
    pub processes: usize,
    /// Percent of a core, all processes together.
    pub cpu_percent: f64,
    /// How busy all cores of its machine were, whoever used them, in percent.
    pub machine_percent: f64,
    /// What a browser that waits costs its process; nothing where too few waited.
    pub bytes_per_browser: Option<f64>,
}

/// What servers used while it counted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Servers {
    /// How many instances.
    pub instances: usize,
    /// How many servers the store has.
    pub redis_nodes: usize,
    /// Percent of a core, all instances together, without Redis.
    pub cpu_percent: f64,
    /// The same of Redis, all nodes together.
    pub redis_cpu_percent: f64,
    /// The same of nginx, where one is in front.
    pub proxy_cpu_percent: f64,
    /// PSS at the end in bytes, all instances together.
    pub memory_bytes: u64,
    /// Redis's `used_memory` at the end.
    pub redis_memory_bytes: u64,
}

impl Outcome {
    /// From what was measured.
    pub fn new(scenario: &'static str, measured: &Measured, seconds: f64) -> Self {
        let token = Percentiles::of(&measured.step(Step::Token));
        let late = Percentiles::of(&measured.late);
        // Where nobody logs in, what counts is how browsers come.
        let timed = if token.max > 0.0 { Step::Token } else { Step::Key };
        let timed = Percentiles::of(&measured.step(timed)).p99;
        let steps = measured.steps.iter().map(|(step, histogram)| {
            let outcome = StepOutcome { count: histogram.len(), ms: Percentiles::of(histogram) };
            (step.name(), outcome)
        });
        let failures = measured.failed();
        // Each visit opens, and each opened one ends one way; logins are never more than that.
        let visits = measured.step(Step::Connect).len().max(measured.logins) + failures;
        Self {
            scenario,
            target: String::new(),
            protocol: String::new(),
            confirm: false,
            seconds,
            logins: measured.logins,
            failures,
            failure_reasons: measured.failures.clone(),
            failures_percent: 100.0 * failures as f64 / visits.max(1) as f64,
            logins_per_second: measured.logins as f64 / seconds.max(f64::EPSILON),
            waiting: 0,
            scan_to_token_ms: token,
            open_to_key_ms: Percentiles::of(&measured.step(Step::Key)),
            steps: steps.collect(),
            client_late_ms: late,
            client_late_ms_max: late.max,
            client_limited: late.p99 > LATE_BUT_FINE && late.p99 > MOST_OF_P99 * timed,
            client: Client::default(),
            servers: None,
            more: BTreeMap::new(),
            series: Vec::new(),
        }
    }

    /// What the thresholds have against it, one line each.
    pub fn broken(&self, max_failures: f64, max_p99: f64) -> Vec<String> {
        let mut broken = Vec::new();
        if self.failures_percent > max_failures {
            broken.push(format!(
                "{:.3} % of all visits failed: more than --max-failures {max_failures}",
                self.failures_percent
            ));
        }
        if self.scan_to_token_ms.p99 > max_p99 {
            broken.push(format!(
                "p99 from scan to token is {:.1} ms: more than --max-p99 {max_p99}",
                self.scan_to_token_ms.p99
            ));
        }
        broken
    }

    /// Which setting of the service stands in the way, if one does.
    pub fn hints(&self) -> Vec<&'static str> {
        let has = |what: &str| self.failure_reasons.keys().any(|reason| reason.contains(what));
        let mut hints = Vec::new();
        if has("connect: 503") {
            hints.push("the service is full or draining: SCANLOGIN_MAX_WAITING, or its open files");
        }
        if has("connect: AddrNotAvailable") || has("connect: AddrInUse") {
            hints
                .push("this client has no ports left: fewer logins a second, or a loopback target");
        }
        hints
    }

    /// The difference from an earlier result, one line a figure.
    pub fn against(&self, earlier: &Value) -> String {
        let number = |path: &[&str]| {
            path.iter().try_fold(earlier, |value, field| value.get(field))?.as_f64()
        };
        let rows = [
            ("logins/s", self.logins_per_second, number(&["logins_per_second"])),
            (
                "scan to token p50, ms",
                self.scan_to_token_ms.p50,
                number(&["scan_to_token_ms", "p50"]),
            ),
            (
                "scan to token p99, ms",
                self.scan_to_token_ms.p99,
                number(&["scan_to_token_ms", "p99"]),
            ),
            ("open to key p99, ms", self.open_to_key_ms.p99, number(&["open_to_key_ms", "p99"])),
            ("failures, %", self.failures_percent, number(&["failures_percent"])),
        ];
        let mut text = String::from("against the baseline:\n");
        for (name, now, before) in rows {
            let Some(before) = before else { continue };
            let change = 100.0 * (now - before) / before;
            let _ = match change.is_finite() {
                true => writeln!(text, "  {name:24} {before:10.3} -> {now:10.3}  {change:+.1} %"),
                false => writeln!(text, "  {name:24} {before:10.3} -> {now:10.3}"),
            };
        }
        text
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "service: {:.1} % of a core, {:.1} MiB",
            self.cpu_percent,
            mib(self.memory_bytes)
        )?;
        if self.redis_nodes > 0 {
            let (cpu, memory) = (self.redis_cpu_percent, mib(self.redis_memory_bytes));
            write!(f, "; Redis: {cpu:.1} %, {memory:.1} MiB")?;
        }
        if self.proxy_cpu_percent > 0.0 {
            write!(f, "; nginx: {:.1} %", self.proxy_cpu_percent)?;
        }
        Ok(())
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.processes == 1 { "process" } else { "processes" };
        write!(f, "client: {:.1} % of a core in {} {plural}", self.cpu_percent, self.processes)?;
        if let Some(bytes) = self.bytes_per_browser {
            write!(f, ", {bytes:.0} bytes per waiting browser")?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{} against {}, {:.0} s", self.scenario, self.target, self.seconds)?;
        writeln!(
            f,
            "{} logins ({:.1}/s), {} failures ({:.3} %), at most {} waiting",
            self.logins, self.logins_per_second, self.failures, self.failures_percent, self.waiting
        )?;
        for (reason, count) in &self.failure_reasons {
            writeln!(f, "  failed: {count} x {reason}")?;
        }
        if self.client_limited {
            writeln!(
                f,
                "THE CLIENT WAS THE BOTTLENECK: it was {:.1} ms late at its own 99th percentile, so \
                 what it measured is itself; fewer logins a second, or a machine of its own",
                self.client_late_ms.p99
            )?;
        } else {
            let head = ["count", "p50", "p90", "p99", "p99.9", "max ms"];
            write!(f, "{:14}", "")?;
            head.iter().try_for_each(|head| write!(f, "{head:>10}"))?;
            writeln!(f)?;
            for (name, step) in &self.steps {
                let Percentiles { p50, p90, p99, p999, max } = step.ms;
                write!(f, "{name:14}{:>10}", step.count)?;
                [p50, p90, p99, p999, max].iter().try_for_each(|ms| write!(f, "{ms:>10.2}"))?;
                writeln!(f)?;
            }
            let late = self.client_late_ms;
            writeln!(
                f,
                "the client itself was late by p50 {:.2}, p99 {:.2}, at most {:.2} ms",
                late.p50, late.p99, late.max
            )?;
        }
        for (name, value) in &self.more {
            writeln!(f, "{name}: {value:.3}")?;
        }
        if let Some(servers) = &self.servers {
            writeln!(f, "{servers}")?;
        }
        writeln!(f, "{}", self.client)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::recorder::Recorder;

    fn limited(step: Step, took: u64, late: u64) -> bool {
        let recorder = Recorder::new();
        recorder.step(step, Duration::from_millis(took));
        recorder.late(Duration::from_millis(late));
        Outcome::new("login", &recorder.so_far(), 1.0).client_limited
    }

    #[test]
    fn a_client_is_the_bottleneck_where_its_lateness_is_much_of_what_it_measures() {
        assert!(limited(Step::Token, 100, 30));
        assert!(!limited(Step::Token, 100, 20));
        assert!(!limited(Step::Token, 8, 4), "nobody cares about so little");
        assert!(limited(Step::Key, 100, 30), "browsers that never log in");
        assert!(!limited(Step::Key, 100, 20));
    }
}
