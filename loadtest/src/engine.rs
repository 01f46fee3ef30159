//! Loads: browsers that wait, logins that arrive, logins as fast as they go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    crew::{Crew, Wrong},
    pacer::Arrivals,
    recorder::{Measured, Step},
};

/// Connections that are being opened at the same time while a fleet assembles.
const OPENERS: usize = 128;
/// The longest that logins under way at the end may take.
const TAIL: Duration = Duration::from_secs(12);

/// A closed loop that fails at once would otherwise measure how fast it can fail.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Browsers that wait, until dropped: then they are gone without a word.
pub struct Fleet {
    tasks: JoinSet<()>,
    /// How long it took until the last had its key.
    pub assembled_in: Duration,
}

impl Fleet {
    /// Opens so many, as fast as they go, and waits until each has its key or has failed.
    pub async fn assemble(crew: &Arc<Crew>, browsers: u64) -> Self {
        let started = Instant::now();
        let left = Arc::new(std::sync::atomic::AtomicU64::new(browsers));
        let mut openers = JoinSet::new();
        for _ in 0..OPENERS {
            let (crew, left) = (crew.clone(), left.clone());
            openers.spawn(async move {
                let mut opened = Vec::new();
                let one = |left| (left > 0_u64).then(|| left - 1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one).is_ok() {
                    let begun = Instant::now();
                    match crew.open().await {
                        Ok(visitor) => opened.push(visitor),
                        Err(Wrong(step, why)) => {
                            crew.recorder.failure(step, begun.elapsed(), &why);
                        }
                    }
                }
                opened
            });
        }
        let mut tasks = JoinSet::new();
        while let Some(opened) = openers.join_next().await {
            for mut visitor in opened.unwrap_or_default() {
                let crew = crew.clone();
                tasks.spawn(async move {
                    let for_ever = Instant::now() + Duration::from_secs(3600);
                    let begun = Instant::now();
                    if let Err(why) = crew.show_until(&mut visitor, for_ever).await {
                        crew.recorder.failure(Step::Key, begun.elapsed(), &why);
                    }
                });
            }
        }
        Self { tasks, assembled_in: started.elapsed() }
    }

    /// How many there are still.
    pub fn waiting(&mut self) -> usize {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len()
    }
}

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

/// Open loop: browsers arrive as independent people do, and each is scanned `think` later, whatever
/// became of the others. The first `warm_up` is not counted; `begin` is called at its end.
pub async fn open_loop(
    crew: &Arc<Crew>,
    per_second: f64,
    think: Duration,
    warm_up: Duration,
    time: Duration,
    begin: impl FnOnce(),
) -> Load {
    let start = Instant::now();
    let measured_from = start + warm_up;
    let until = measured_from + time;
    let mut logins = JoinSet::new();
    let mut begin = Some(begin);
    for arrival in Arrivals::new(start, per_second, per_second.to_bits()) {
        let due = arrival + think;
        if due >= until {
            break;
        }
        crew.pacer.until(arrival).await;
        if Instant::now() >= measured_from
            && let Some(begin) = begin.take()
        {
            crew.recorder.reset();
            begin();
        }
        let login = crew.clone().one_login(Some(due));
        logins.spawn(async move {
            let _ = login.await;
        });
        while logins.try_join_next().is_some() {}
    }
    crew.pacer.until(until).await;
    finish(logins).await;
    Load { measured: crew.recorder.so_far(), time }
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
                if !crew.clone().one_login(None).await {
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
    finish(loops).await;
    load
}

async fn finish(mut tasks: JoinSet<()>) {
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(TAIL, all).await;
}
