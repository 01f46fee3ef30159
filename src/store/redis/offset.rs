//! How far Redis's clock is from ours.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::Timestamp;

/// What Redis's clock shows more than ours, in microseconds, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Offset(AtomicI64);

impl Offset {
    pub(super) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes what Redis's clock showed at some moment between two readings of ours.
    ///
    /// What is known is moved only as far as this proves it wrong: between the two may lie seconds
    /// in which a connection was made, and half-way would be off by as much. A login whose record
    /// Redis forgot was told to be over half a second before its deadline by such a clock.
    pub(super) fn compare(&self, theirs: Timestamp, sent: Timestamp, received: Timestamp) {
        let ahead_of = |ours: Timestamp| theirs.as_micros() as i64 - ours.as_micros() as i64;
        let (one, other) = (ahead_of(sent), ahead_of(received));
        let (least, most) = (one.min(other), one.max(other));
        let note = |known: i64| Some(known.clamp(least, most));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_moves_the_clock_no_further_than_it_must() {
        let offset = Offset::default();
        let at = |millis: u64| Timestamp::from_micros(1_000_000_000 + millis * 1000);
        // Theirs is 5 s ahead, and the first answer took 20 ms.
        offset.compare(at(5010), at(0), at(20));
        let known = offset.get();
        assert!((4_990_000..=5_010_000).contains(&known), "{known}");
        // The next took 2 s, since a connection had to be made first.
        offset.compare(at(7990), at(1000), at(3000));
        assert_eq!(offset.get(), known);
        // And where theirs is set back, the next answer tells.
        offset.compare(at(4010), at(4000), at(4020));
        let known = offset.get();
        assert!((-10_000..=10_000).contains(&known), "{known}");
    }
}
