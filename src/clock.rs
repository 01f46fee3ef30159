//! Time as an argument: nothing else in the crate asks the operating system what time it is.
//!
//! There are two clocks, and mixing them up is the fault that this file guards against:
//! - the *steady* one ([`Clock::now`]) is for waiting: deadlines, durations, schedules. A step of the wall
//!   clock does not move it;
//! - the *wall* clock ([`Clock::wall`]) is for times that others read, or compare with clocks of their own: the
//!   `exp` of a token, the `t=` of a signature, the time of a span.
//!
//! Web tokens and cookies have their time from the store ([`crate::store::Store::token_time`]).

use std::{
    fmt,
    ops::{Add, Sub},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A point in time: microseconds since the Unix epoch.
///
/// Microseconds, because Redis's `TIME` has them, and because a Lua number (a double) holds them
/// exactly until the year 2255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Later than anything that will happen.
    pub const NEVER: Self = Self(u64::MAX);

    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, as a JWT counts.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time that has passed since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The time left until `later`; zero if it has passed.
    pub fn until(self, later: Self) -> Duration {
        later.since(self)
    }

    /// This point on a clock that shows `offset` microseconds more than the one it was read from.
    pub fn shifted(self, offset: i64) -> Self {
        Self(self.0.saturating_add_signed(offset))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Where the time comes from. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    /// The operating system's. `CLOCK_MONOTONIC` since `at` is added to what the wall clock showed then, so
    /// that times look like times; nothing relies on it.
    System { began: Timestamp, at: Instant },
    /// Both stand still until told otherwise.
    Manual(Arc<Manual>),
}

struct Manual {
    steady: AtomicU64,
    /// The wall clock minus the steady one, in microseconds.
    wall_offset: AtomicI64,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The steady clock.
    pub steady: Timestamp,
    /// The wall clock.
    pub wall: Timestamp,
}

impl Moment {
    /// The wall clock minus the steady one, in microseconds. Both run at one rate, so only a step of the wall
    /// clock changes it, or a suspend of the machine, which the steady clock does not count.
    pub fn wall_offset(self) -> i64 {
        self.wall.as_micros() as i64 - self.steady.as_micros() as i64
    }
}

impl Clock {
    /// The operating system's clocks.
    pub fn system() -> Self {
        Self(Source::System { began: wall(), at: Instant::now() })
    }

    /// A clock for tests, standing at `start` until it is advanced.
    pub fn manual(start: Timestamp) -> Self {
        let (steady, wall_offset) = (AtomicU64::new(start.0), AtomicI64::new(0));
        Self(Source::Manual(Arc::new(Manual { steady, wall_offset })))
    }

    /// The steady clock: for waiting, and for nothing that leaves this process.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { began, at } => *began + at.elapsed(),
            Source::Manual(manual) => Timestamp(manual.steady.load(Ordering::SeqCst)),
        }
    }

    /// The wall clock: for times that others read or compare. It may step, also backwards.
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => wall(),
            Source::Manual(manual) => self.now().shifted(manual.wall_offset.load(Ordering::SeqCst)),
        }
    }

    /// Both.
    pub fn moment(&self) -> Moment {
        Moment { steady: self.now(), wall: self.wall() }
    }

    /// A moment of the steady clock as the wall clock would have shown it, had it stood then as it does now.
    pub fn wall_at(&self, steady: Timestamp) -> Timestamp {
        steady.shifted(self.moment().wall_offset())
    }

    /// Lets time pass on a manual clock; the system's clocks stay as they are.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            manual.steady.fetch_add(by.as_micros() as u64, Ordering::SeqCst);
        }
    }

    /// Steps a manual clock's wall clock by so many seconds, and its steady one not. A suspended machine does
    /// the same.
    pub fn step(&self, seconds: i64) {
        if let Source::Manual(manual) = &self.0 {
            manual.wall_offset.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
        }
    }
}

/// The operating system's wall clock.
#[expect(clippy::disallowed_methods, reason = "the one place where time enters")]
fn wall() -> Timestamp {
    Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.moment())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_moves_nothing_that_waits() {
        let start = Timestamp::from_micros(1_795_422_968_475_960);
        for seconds in [3600, -3600, 86_400, -86_400] {
            let clock = Clock::manual(start);
            assert_eq!(clock.moment().wall_offset(), 0);
            clock.step(seconds);
            clock.advance(Duration::from_secs(1));
            assert_eq!(clock.now(), start + Duration::from_secs(1));
            assert_eq!(clock.wall().as_secs() as i64, 1_795_422_969 + seconds);
            assert_eq!(clock.moment().wall_offset(), seconds * 1_000_000);
            assert_eq!(clock.wall_at(start).as_secs() as i64, 1_795_422_968 + seconds);
        }
    }
}
