//! Wakes tasks at the microsecond that was planned.
//!
//! tokio's timers turn once a millisecond, which is more than the latencies that are measured here.
//! One timer of the kernel, armed for the earliest of all plans, serves every task.

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::{
    io::unix::AsyncFd,
    sync::{Notify, oneshot},
    task::JoinHandle,
};

/// Plans, earliest first; the number tells those of the same instant apart.
type Plans = BTreeMap<(Instant, u64), oneshot::Sender<()>>;

#[derive(Default)]
struct Shared {
    plans: Mutex<(Plans, u64)>,
    earlier: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (Plans, u64)> {
        self.plans.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A clock that wakes.
pub struct Pacer {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Pacer {
    /// Starts one on the current runtime.
    ///
    /// # Errors
    /// Where the kernel has no timer to give.
    pub fn start() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, which is forbidden here; this \
            descriptor is owned from here on and never replaced, as that would demand"
        )]
        let timer = AsyncFd::new(timer)?;
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(run(shared.clone(), timer));
        Ok(Self { shared, task })
    }

    /// Waits until then; returns at once if it has passed.
    pub async fn until(&self, due: Instant) {
        if due <= Instant::now() {
            return;
        }
        let (sender, woken) = oneshot::channel();
        let first = {
            let mut guard = self.shared.lock();
            let (plans, number) = &mut *guard;
            *number += 1;
            plans.insert((due, *number), sender);
            plans.first_key_value().is_some_and(|(key, _)| key.1 == *number)
        };
        if first {
            self.shared.earlier.notify_one();
        }
        // Dropped unanswered only where the pacer itself ends.
        let _ = woken.await;
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(shared: Arc<Shared>, timer: AsyncFd<OwnedFd>) {
    loop {
        let next = {
            let mut guard = shared.lock();
            let now = Instant::now();
            let later = guard.0.split_off(&(now, u64::MAX));
            let due = std::mem::replace(&mut guard.0, later);
            let next = guard.0.first_key_value().map(|(key, _)| key.0);
            drop(guard);
            for (_, sender) in due {
                let _ = sender.send(());
            }
            next
        };
        let fires = next.is_some_and(|next| arm(&timer, next).is_ok());
        tokio::select! {
            ready = timer.readable(), if fires => if let Ok(mut ready) = ready {
                let _ = ready.try_io(|timer| {
                    Ok(rustix::io::read(timer.get_ref(), &mut [0; 8])?)
                });
            },
            () = shared.earlier.notified() => {}
        }
    }
}

fn arm(timer: &AsyncFd<OwnedFd>, due: Instant) -> io::Result<()> {
    // Zero would disarm it.
    let left = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
    let it_value = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
    timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}

/// Arrivals of independent people: the gaps of a Poisson process.
#[derive(Clone, Debug)]
pub struct Arrivals {
    per_second: f64,
    random: Random,
    next: Instant,
}

impl Arrivals {
    /// From `start` on, so many a second on average.
    pub fn new(start: Instant, per_second: f64, seed: u64) -> Self {
        Self { per_second, random: Random::new(seed), next: start }
    }
}

impl Iterator for Arrivals {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        // 1 - u is never 0.
        let gap = -(1.0 - self.random.unit()).ln() / self.per_second;
        self.next += Duration::from_secs_f64(gap);
        Some(self.next)
    }
}

/// SplitMix64: even enough for arrivals and choices, and the same for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0, less than 1.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
