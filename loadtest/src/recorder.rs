//! What was measured: a histogram per step, counts, and the client's own lateness.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

/// Longest time that is told apart from longer ones, in microseconds: ten minutes.
const MOST_MICROS: u64 = 600_000_000;

/// A step of a login, each a metric of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// From the start of the connection to the 101.
    Connect,
    /// From the start of the connection to the key.
    Key,
    /// The phone's `POST /scan`, from sent to answered.
    Scan,
    /// The phone's `POST /scan/confirm`.
    Confirm,
    /// From when the scan was due to the token at the browser.
    Token,
    /// From the token to the server's Close, `received` or the Close's answer in between.
    Received,
    /// From the start of a reconnection to what `resume` is owed.
    Resume,
    /// From a `cancel`, or from the deadline, to the server's Close.
    End,
    /// A call that is meant to be refused, from sent to answered.
    Refusal,
}

impl Step {
    /// The name in our own reports.
    pub fn name(self) -> &'static str {
        self.goose_name().1
    }

    /// The method and name in goose's reports.
    pub fn goose_name(self) -> (&'static str, &'static str) {
        match self {
            Self::Connect => ("WS", "connect"),
            Self::Key => ("WS", "key"),
            Self::Scan => ("POST", "scan"),
            Self::Confirm => ("POST", "confirm"),
            Self::Token => ("WS", "token"),
            Self::Received => ("WS", "received"),
            Self::Resume => ("WS", "resume"),
            Self::End => ("WS", "end"),
            Self::Refusal => ("POST", "refusal"),
        }
    }
}

/// One measurement, as goose gets it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What was measured.
    pub step: Step,
    /// How long it took.
    pub took: Duration,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// A histogram of microseconds to three digits.
pub type Micros = Histogram<u64>;

/// An empty histogram.
pub fn micros() -> Micros {
    Histogram::new_with_bounds(1, MOST_MICROS, 3).expect("the bounds are constants")
}

/// All that a run has measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// By step, successful ones.
    pub steps: BTreeMap<Step, Micros>,
    /// Logins that ended as they should.
    pub logins: u64,
    /// What went wrong, and how often.
    pub failures: BTreeMap<String, u64>,
    /// How much later than due the client itself was.
    pub late: Micros,
}

impl Measured {
    /// Nothing.
    pub fn new() -> Self {
        Self { steps: BTreeMap::new(), logins: 0, failures: BTreeMap::new(), late: micros() }
    }

    /// A step's histogram, empty if it was never taken.
    pub fn step(&self, step: Step) -> Micros {
        self.steps.get(&step).cloned().unwrap_or_else(micros)
    }

    /// Everything that went wrong.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Adds what another crew has measured. Exact: all histograms have the same bounds.
    pub fn add(&mut self, other: &Self) {
        for (step, histogram) in &other.steps {
            add(self.steps.entry(*step).or_insert_with(micros), histogram);
        }
        self.logins += other.logins;
        for (why, count) in &other.failures {
            *self.failures.entry(why.clone()).or_default() += count;
        }
        add(&mut self.late, &other.late);
    }
}

impl Default for Measured {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds a histogram of the same bounds.
pub fn add(to: &mut Micros, histogram: &Micros) {
    to.add(histogram).expect("all histograms have the bounds of `micros`");
}

/// What happened since it was last asked for.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Scan to token.
    pub token: Micros,
    /// Logins that ended as they should.
    pub logins: u64,
    /// What went wrong.
    pub failures: u64,
}

impl Interval {
    /// Nothing.
    pub fn new() -> Self {
        Self { token: micros(), logins: 0, failures: 0 }
    }

    /// Adds what happened elsewhere.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.token, &other.token);
        self.logins += other.logins;
        self.failures += other.failures;
    }
}

impl Default for Interval {
    fn default() -> Self {
        Self::new()
    }
}

/// Collects from any number of tasks.
pub struct Recorder {
    measured: Mutex<Measured>,
    interval: Mutex<Interval>,
    goose: Option<UnboundedSender<Sample>>,
}

impl Recorder {
    /// One that keeps what it is told.
    pub fn new() -> Self {
        let (measured, interval) = (Measured::new(), Interval::new());
        Self { measured: Mutex::new(measured), interval: Mutex::new(interval), goose: None }
    }

    /// One that passes every step on, too.
    pub fn with_goose(goose: UnboundedSender<Sample>) -> Self {
        Self { goose: Some(goose), ..Self::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn lock_interval(&self) -> MutexGuard<'_, Interval> {
        self.interval.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Scan to token, logins and failures since the last call.
    pub fn take_interval(&self) -> Interval {
        std::mem::take(&mut *self.lock_interval())
    }

    /// A step that succeeded.
    pub fn step(&self, step: Step, took: Duration) {
        self.lock().steps.entry(step).or_insert_with(micros).saturating_record(in_micros(took));
        if step == Step::Token {
            self.lock_interval().token.saturating_record(in_micros(took));
        }
        self.tell(step, took, None);
    }

    /// A step that failed, and why, in words from a closed set.
    pub fn failure(&self, step: Step, took: Duration, why: &str) {
        let name = step.name();
        *self.lock().failures.entry(format!("{name}: {why}")).or_default() += 1;
        self.lock_interval().failures += 1;
        self.tell(step, took, Some(why.to_owned()));
    }

    /// A login that ended as it should.
    pub fn login(&self) {
        self.lock().logins += 1;
        self.lock_interval().logins += 1;
    }

    /// The client did something later than it was due.
    pub fn late(&self, by: Duration) {
        self.lock().late.saturating_record(in_micros(by));
    }

    /// What was measured so far.
    pub fn so_far(&self) -> Measured {
        self.lock().clone()
    }

    /// Forgets everything: the warm-up is over.
    pub fn reset(&self) {
        *self.lock() = Measured::new();
    }

    fn tell(&self, step: Step, took: Duration, error: Option<String>) {
        if let Some(goose) = &self.goose {
            // Closed only when the run is over.
            let _ = goose.send(Sample { step, took, error });
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

fn in_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half were quicker.
    pub p50: f64,
    /// Nine of ten were quicker.
    pub p90: f64,
    /// 99 of 100 were quicker.
    pub p99: f64,
    /// 999 of 1,000 were quicker.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl Percentiles {
    /// Of a histogram of microseconds; all 0 if it is empty.
    pub fn of(histogram: &Micros) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}
