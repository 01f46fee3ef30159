//! Loads: browsers that arrive, logins as fast as they go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    crew::Crew,
    pacer::Arrivals,
    recorder::Measured,
    visit::{Visit, Visits},
};

/// The longest that logins under way at the end may take.
const TAIL: Duration = Duration::from_secs(12);

/// A closed loop that fails at once would otherwise measure how fast it can fail.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// What a load came to.
pub struct Load {
    /// The steps and counts of the logins that were due in the measured time.
    pub measured: Measured,
    /// The measured time.
    pub time: Duration,
}

impl Load {
    /// Logins a second.
    pub fn per_second(&self) -> f64 {
        self.measured.logins as f64 / self.time.as_secs_f64()
    }
}

/// When a load begins to count, and when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first arrival.
    pub start: Instant,
    /// What is due before is not counted.
    pub counts_from: Instant,
    /// What is due later does not happen.
    pub until: Instant,
}

impl Span {
    /// From now on.
    pub fn of(warm_up: Duration, time: Duration) -> Self {
        let start = Instant::now();
        Self { start, counts_from: start + warm_up, until: start + warm_up + time }
    }

    fn time(&self) -> Duration {
        self.until - self.counts_from
    }
}

/// Open loop: browsers arrive as independent people do, each for what `choose` says at its arrival,
/// whatever became of the others. `begin` is called when it begins to count.
pub async fn open_loop(
    crew: &Arc<Crew>,
    per_second: f64,
    span: Span,
    mut choose: impl FnMut(Instant) -> Visit,
    begin: impl FnOnce(),
) -> Load {
    let mut visits = Visits::default();
    let mut begin = Some(begin);
    let seed = per_second.to_bits() ^ crew.first();
    for arrival in Arrivals::new(span.start, per_second, seed) {
        if arrival >= span.until {
            break;
        }
        crew.pacer.until(arrival).await;
        crew.recorder.late(arrival.elapsed());
        if arrival >= span.counts_from
            && let Some(begin) = begin.take()
        {
            crew.recorder.reset();
            begin();
        }
        let visit = choose(arrival);
        // Who is scanned after the end still waits until then.
        let counted = visit.due().is_some_and(|due| due < span.until);
        visits.begin(crew, visit, counted);
    }
    crew.pacer.until(span.until).await;
    visits.finish(TAIL).await;
    Load { measured: crew.recorder.so_far(), time: span.time() }
}

/// Closed loop: so many at a time, each begins anew as soon as it is done.
pub async fn closed_loop(
    crew: &Arc<Crew>,
    at_a_time: usize,
    warm_up: Duration,
    time: Duration,
    begin: impl FnOnce(),
) -> Load {
    let over = Arc::new(AtomicBool::new(false));
    let mut loops = JoinSet::new();
    for _ in 0..at_a_time {
        let (crew, over) = (crew.clone(), over.clone());
        loops.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                if !crew.clone().visit(Visit::LogIn(None)).await {
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        });
    }
    tokio::time::sleep(warm_up).await;
    crew.recorder.reset();
    begin();
    let started = Instant::now();
    tokio::time::sleep(time).await;
    let load = Load { measured: crew.recorder.so_far(), time: started.elapsed() };
    over.store(true, Ordering::Relaxed);
    let all = async { while loops.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(TAIL, all).await;
    load
}
