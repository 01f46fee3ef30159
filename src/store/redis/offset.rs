//! How far Redis's clock is from ours.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use crate::{
    clock::{Moment, Timestamp},
    store::KnownTime,
};

/// How long a measurement is good enough for tokens. Each feed measures every 5 s, or twice in
/// 7 s where Redis sends no notifications (feed/redis/probe.rs), so it is older only where no feed is up.
const FRESH: Duration = Duration::from_secs(10);
/// A change of the distance between our two clocks that is no inaccuracy of reading them, in microseconds: the
/// wall clock was set, or the machine was suspended while Redis's went on.
const JUMP: u64 = 1_000_000;

/// The distance of Redis's clock from both of ours, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Offset {
    /// Redis's clock minus our steady one, in microseconds. Read without the lock, written under it.
    known: AtomicI64,
    last: Mutex<Option<Moment>>,
}

impl Offset {
    /// Redis's clock minus our steady one, in microseconds: for deadlines, which no step of our wall clock
    /// moves.
    pub(super) fn get(&self) -> i64 {
        self.known.load(Ordering::Relaxed)
    }

    fn last(&self) -> MutexGuard<'_, Option<Moment>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what Redis's clock showed at some moment between two readings of ours.
    ///
    /// What is known is moved only as far as this proves it wrong: between the two may lie seconds
    /// in which a connection was made, and half-way would be off by as much. A login whose record
    /// Redis forgot was told to be over half a second before its deadline by such a clock.
    ///
    /// An answer that was asked for before a suspend and read after it says nothing: our steady clock did not
    /// count the time in between.
    pub(super) fn compare(&self, theirs: Timestamp, sent: Moment, received: Moment) {
        if has_jumped(sent, received) {
            return;
        }
        let ahead_of = |ours: Timestamp| theirs.as_micros() as i64 - ours.as_micros() as i64;
        let (one, other) = (ahead_of(sent.steady), ahead_of(received.steady));
        let (least, most) = (one.min(other), one.max(other));
        let mut last = self.last();
        self.known.store(self.get().clamp(least, most), Ordering::Relaxed);
        *last = Some(received);
    }

    /// How well Redis's time is known.
    pub(super) fn how_well(&self, now: Moment) -> KnownTime {
        match *self.last() {
            Some(last) if has_jumped(last, now) => KnownTime::Jumped,
            Some(last) if now.steady.since(last.steady) <= FRESH => KnownTime::Well,
            Some(_) | None => KnownTime::Old,
        }
    }

    /// Redis's clock minus our wall clock when it was last measured, in microseconds; `None` before that.
    pub(super) fn ahead_of_wall(&self) -> Option<i64> {
        let last = self.last();
        last.map(|last| self.get() - last.wall_offset())
    }
}

/// The wall clock was set between the two, or the machine was suspended.
fn has_jumped(before: Moment, after: Moment) -> bool {
    before.wall_offset().abs_diff(after.wall_offset()) >= JUMP
}

#[cfg(test)]
mod tests {
    use super::{KnownTime::*, *};

    /// A second of the steady clock, and by how many the wall clock is ahead of it.
    fn at(millis: u64, ahead: i64) -> Moment {
        let steady = Timestamp::from_micros(1_000_000_000_000_000 + millis * 1000);
        Moment { steady, wall: steady.shifted(ahead * 1_000_000) }
    }

    fn theirs(millis: u64) -> Timestamp {
        at(millis, 0).steady
    }

    #[test]
    fn an_answer_moves_the_clock_no_further_than_it_must() {
        let offset = Offset::default();
        // Theirs is 5 s ahead, and the first answer took 20 ms.
        offset.compare(theirs(5010), at(0, 0), at(20, 0));
        let known = offset.get();
        assert!((4_990_000..=5_010_000).contains(&known), "{known}");
        // The next took 2 s, since a connection had to be made first.
        offset.compare(theirs(7990), at(1000, 0), at(3000, 0));
        assert_eq!(offset.get(), known);
        // And where theirs is set back, the next answer tells.
        offset.compare(theirs(4010), at(4000, 0), at(4020, 0));
        let known = offset.get();
        assert!((-10_000..=10_000).contains(&known), "{known}");
    }

    #[test]
    fn a_step_of_our_wall_clock_moves_no_deadline_and_has_redis_asked_again() {
        for step in [3600, -3600, 86_400, -86_400] {
            let offset = Offset::default();
            assert_eq!(offset.how_well(at(0, 0)), Old, "nothing is known yet");
            assert_eq!(offset.ahead_of_wall(), None);
            offset.compare(theirs(5), at(0, 0), at(10, 0));
            let known = offset.get();
            assert_eq!((offset.how_well(at(20, 0)), offset.ahead_of_wall()), (Well, Some(known)));
            assert_eq!(offset.how_well(at(20, step)), Jumped);
            assert_eq!(offset.ahead_of_wall(), Some(known), "as it was when it was measured");
            offset.compare(theirs(35), at(30, step), at(40, step));
            assert_eq!(offset.get(), known, "deadlines stay where they are");
            assert_eq!(offset.how_well(at(50, step)), Well);
            assert_eq!(offset.ahead_of_wall(), Some(known - step * 1_000_000));
        }
    }

    #[test]
    fn after_a_suspend_redis_is_asked_again_and_an_answer_from_before_says_nothing() {
        let offset = Offset::default();
        offset.compare(theirs(5), at(0, 0), at(10, 0));
        // The machine slept for 3 h between the question and the reading of the answer.
        let slept = 3 * 3600;
        offset.compare(theirs(25), at(20, 0), at(30, slept));
        assert_eq!(offset.how_well(at(40, slept)), Jumped);
        let ahead = slept as u64 * 1000;
        offset.compare(theirs(ahead + 55), at(50, slept), at(60, slept));
        assert_eq!(offset.how_well(at(70, slept)), Well);
        assert!(offset.get().abs_diff(slept * 1_000_000) <= 5000, "{}", offset.get());
        assert!(offset.ahead_of_wall().unwrap().abs() <= 5000);
    }

    #[test]
    fn what_was_measured_long_ago_is_asked_again() {
        let offset = Offset::default();
        offset.compare(theirs(0), at(0, 0), at(0, 0));
        assert_eq!(offset.how_well(at(FRESH.as_millis() as u64, 0)), Well);
        assert_eq!(offset.how_well(at(FRESH.as_millis() as u64 + 1, 0)), Old);
    }
}
