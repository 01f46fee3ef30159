//! The health of the worker threads: one event loop each, and everything of a login on one of them.

use std::time::Duration;

use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry,
};
use tokio::runtime::RuntimeMetrics;

use super::register;

/// From what the timer's own precision, a millisecond, makes to what nobody would wait for.
const LAG: &[f64] = &[0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The families; a thread has one series of each.
pub struct Threads {
    lag: HistogramVec,
    busy: CounterVec,
    wake_ups: IntCounterVec,
    tasks: IntGaugeVec,
    queue: IntGaugeVec,
}

impl Threads {
    pub(super) fn new(registry: &Registry) -> Self {
        const LABEL: &[&str] = &["thread"];
        let (name, help) = (
            "scanlogin_event_loop_lag_seconds",
            "How much later than it wanted a worker thread came back to its event loop; below 2 ms \
             is the timer's own precision",
        );
        let lag = HistogramVec::new(HistogramOpts::new(name, help).buckets(LAG.to_vec()), LABEL);
        let opts = |name: &str, help: &str| Opts::new(name, help);
        let busy = opts(
            "scanlogin_runtime_busy_seconds_total",
            "Time that a worker thread spent working, not waiting for events: 1 a second is all of it",
        );
        let wake_ups = opts(
            "scanlogin_runtime_wakeups_total",
            "Times that a worker thread had nothing to do and slept until the next event",
        );
        let tasks = opts(
            "scanlogin_runtime_tasks",
            "Tasks that live on a worker thread: at least one for each socket and open connection",
        );
        let queue = opts(
            "scanlogin_runtime_queue",
            "Tasks that other threads have woken and a worker thread has not come to yet",
        );
        Self {
            lag: register(registry, lag),
            busy: register(registry, CounterVec::new(busy, LABEL)),
            wake_ups: register(registry, IntCounterVec::new(wake_ups, LABEL)),
            tasks: register(registry, IntGaugeVec::new(tasks, LABEL)),
            queue: register(registry, IntGaugeVec::new(queue, LABEL)),
        }
    }

    /// The series of this many threads, at 0.
    pub fn expect(&self, threads: usize) {
        (0..threads).for_each(|number| drop(self.of(number)));
    }

    /// The series of a thread.
    pub fn of(&self, number: usize) -> Thread {
        let number = number.to_string();
        let label = [number.as_str()];
        Thread {
            lag: self.lag.with_label_values(&label),
            busy: self.busy.with_label_values(&label),
            wake_ups: self.wake_ups.with_label_values(&label),
            tasks: self.tasks.with_label_values(&label),
            queue: self.queue.with_label_values(&label),
        }
    }
}

/// The series of one thread.
pub struct Thread {
    lag: Histogram,
    busy: Counter,
    wake_ups: IntCounter,
    tasks: IntGauge,
    queue: IntGauge,
}

impl Thread {
    /// It came back this much late, and its runtime says this of itself. Gives how long it has worked since
    /// it was observed before.
    pub fn observe(&self, lag: Duration, runtime: &RuntimeMetrics) -> Duration {
        self.lag.observe(lag.as_secs_f64());
        // A worker thread's runtime has one worker: itself.
        let busy = runtime.worker_total_busy_duration(0).as_secs_f64();
        let busy = (busy - self.busy.get()).max(0.0);
        self.busy.inc_by(busy);
        self.wake_ups.inc_by(runtime.worker_park_count(0).saturating_sub(self.wake_ups.get()));
        self.tasks.set(runtime.num_alive_tasks() as i64);
        self.queue.set(runtime.global_queue_depth() as i64);
        Duration::from_secs_f64(busy)
    }
}
