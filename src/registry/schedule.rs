//! When a holder is woken.

use std::time::Duration;

use super::Wake;
use crate::clock::Timestamp;

/// Between two pings (spec 2.4). Load balancers commonly cut what is silent for 60 s.
const PING_EVERY: Duration = Duration::from_secs(25);

/// When a holder wants to be woken, on the store's clock as this process knows it.
///
/// Three numbers, [`Timestamp::NEVER`] where nothing is wanted: every entry has one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// [`Wake::Deadline`].
    pub deadline: Timestamp,
    /// [`Wake::Rotate`].
    pub rotate: Timestamp,
    /// [`Wake::Ping`], and then every 25 s.
    pub ping: Timestamp,
}

impl Schedule {
    /// A socket's: pinged from `now` on.
    pub fn new(deadline: Timestamp, rotate: Option<Timestamp>, now: Timestamp) -> Self {
        let rotate = rotate.unwrap_or(Timestamp::NEVER);
        Self { deadline, rotate, ping: now + PING_EVERY }
    }

    /// Nobody's: only the end matters.
    pub fn until(deadline: Timestamp) -> Self {
        Self { deadline, rotate: Timestamp::NEVER, ping: Timestamp::NEVER }
    }

    pub(super) fn next(&self) -> Timestamp {
        self.deadline.min(self.rotate).min(self.ping)
    }

    /// What is due at `now`; it will not be due again.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Wake> {
        if self.rotate <= now {
            self.rotate = Timestamp::NEVER;
            return Some(Wake::Rotate);
        }
        if self.ping <= now {
            self.ping = now + PING_EVERY;
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
        let mut schedule = Schedule::new(at(60), Some(at(30)), at(0));
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
