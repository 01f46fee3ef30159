//! When a holder is woken.

use std::time::Duration;

use super::Wake;
use crate::clock::Timestamp;

/// When a holder wants to be woken, on the store's clock as this process knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// [`Wake::Deadline`].
    pub deadline: Timestamp,
    /// [`Wake::Rotate`].
    pub rotate: Option<Timestamp>,
    /// [`Wake::Ping`], and then at the same distance again.
    pub ping: Option<(Timestamp, Duration)>,
}

impl Schedule {
    pub(super) fn next(&self) -> Timestamp {
        let ping = self.ping.map(|(at, _)| at);
        [self.rotate, ping].into_iter().flatten().fold(self.deadline, Timestamp::min)
    }

    /// What is due at `now`; it will not be due again.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Wake> {
        if self.rotate.is_some_and(|at| at <= now) {
            self.rotate = None;
            return Some(Wake::Rotate);
        }
        if let Some((at, every)) = &mut self.ping
            && *at <= now
        {
            *at = now + *every;
            return Some(Wake::Ping);
        }
        if self.deadline <= now {
            // Until the holder says when to be woken next: it may have found the store away.
            self.deadline = now + Duration::from_secs(5);
            return Some(Wake::Deadline);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_once_and_the_ping_comes_again() {
        let at = |seconds| Timestamp::default() + Duration::from_secs(seconds);
        let mut schedule = Schedule {
            deadline: at(60),
            rotate: Some(at(30)),
            ping: Some((at(25), Duration::from_secs(25))),
        };
        assert_eq!(schedule.next(), at(25));
        assert_eq!(schedule.take_due(at(24)), None);
        assert_eq!(schedule.take_due(at(25)), Some(Wake::Ping));
        assert_eq!(schedule.take_due(at(25)), None);
        assert_eq!(schedule.next(), at(30));
        assert_eq!(schedule.take_due(at(30)), Some(Wake::Rotate));
        assert_eq!(schedule.next(), at(50));
        assert_eq!(schedule.take_due(at(60)), Some(Wake::Ping));
        assert_eq!(schedule.take_due(at(60)), Some(Wake::Deadline));
        assert_eq!(schedule.take_due(at(60)), None);
    }
}
