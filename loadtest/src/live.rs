//! Second by second, while it runs: the line on the terminal, and what the picture is drawn from.

use std::{
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::task::JoinHandle;

use crate::{
    crew::Crew,
    recorder::{Interval, Percentiles},
};

/// What can be watched: one crew, or the workers of a run.
pub trait Watched: Send + Sync {
    /// Browsers that have a key now.
    fn waiting(&self) -> u64;
    /// What happened since the last call.
    fn take_interval(&self) -> Interval;
}

impl Watched for Crew {
    fn waiting(&self) -> u64 {
        Self::waiting(self)
    }

    fn take_interval(&self) -> Interval {
        self.recorder.take_interval()
    }
}

/// One second of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Second {
    /// Since the start of the run.
    pub second: f64,
    /// Browsers with a key, at its end.
    pub waiting: u64,
    /// Logins within it.
    pub logins: u64,
    /// Failures within it.
    pub failures: u64,
    /// Scan to token within it, in milliseconds.
    pub p50: f64,
    /// The same.
    pub p99: f64,
}

/// Watches until it is asked what it saw.
pub struct Watch {
    seconds: Arc<Mutex<Vec<Second>>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Watches; `line` gets a line a second.
    pub fn start(watched: Weak<dyn Watched>, line: fn(&str)) -> Self {
        let seconds = Arc::new(Mutex::new(Vec::new()));
        let seen = seconds.clone();
        let task = tokio::spawn(async move {
            let started = Instant::now();
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let Some(watched) = watched.upgrade() else { return };
                let Interval { token, logins, failures } = watched.take_interval();
                let Percentiles { p50, p99, .. } = Percentiles::of(&token);
                let second = started.elapsed().as_secs_f64();
                let waiting = watched.waiting();
                line(&format!(
                    "{second:4.0} s  {waiting:6} waiting  {logins:5} logins/s  \
                     p50 {p50:7.2} ms  p99 {p99:7.2} ms  {failures} failed"
                ));
                let second = Second { second, waiting, logins, failures, p50, p99 };
                seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(second);
            }
        });
        Self { seconds, task }
    }

    /// What it saw.
    pub fn finish(self) -> Vec<Second> {
        self.task.abort();
        std::mem::take(&mut *self.seconds.lock().unwrap_or_else(|p| p.into_inner()))
    }
}
