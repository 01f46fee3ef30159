//! Commands that nobody waits for go out with one that goes out anyway.
//!
//! When a login is acknowledged its browser has its token already. Sent at once, the acknowledgement
//! would wake Redis, and its answer this thread, for nothing else; where nothing else is under way,
//! sleeping and waking is what a login costs most (docs/capacity.md). So it waits for the next
//! creation, as TCP's acknowledgements wait for data (RFC 1122, 4.2.3.2): not for a scan, which
//! would be answered behind it. Only while creations come often enough, and never for long.

use std::time::Duration;

use tokio::time::Instant;

use super::multiplexer::Waiting;

/// The longest that a command waits for another one. Short beside the round trip of most browsers,
/// for which an acknowledgement may be under way when an instance dies.
pub(super) const PATIENCE: Duration = Duration::from_millis(8);
/// How often carriers come while others wait for them: six of seven meet one in time then, if they
/// come by chance (1 - 1/e^2), and the seventh costs what all would.
const OFTEN: Duration = Duration::from_millis(4);

/// What a command is to others that go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing: it goes out at once, alone.
    Plain,
    /// It goes out at once, with those that wait for it.
    Carrier,
    /// It may wait for a carrier.
    Passenger,
}

/// Those that wait to go out with a carrier.
#[derive(Default)]
pub(super) struct Piggyback {
    out: Vec<u8>,
    waiting: Vec<Waiting>,
    last_carrier: Option<Instant>,
    /// The time between carriers, smoothed as TCP does with its round trips (RFC 6298, 2.3).
    gap: Option<Duration>,
}

impl Piggyback {
    /// Notes that a carrier goes out.
    pub(super) fn carrier(&mut self, now: Instant) {
        if let Some(last) = self.last_carrier.replace(now) {
            // A night without logins is not to be outweighed by a morning of them.
            let gap = now.saturating_duration_since(last).min(4 * PATIENCE);
            self.gap = Some(self.gap.map_or(gap, |smooth| (smooth * 7 + gap) / 8));
        }
    }

    /// Whether a command that comes now may wait.
    pub(super) fn may_wait(&self, now: Instant) -> bool {
        let carrier_was_here = |last| now.saturating_duration_since(last) <= PATIENCE;
        self.last_carrier.is_some_and(carrier_was_here) && self.gap.is_some_and(|gap| gap <= OFTEN)
    }

    /// Lets it wait: somebody has to look at [`Self::due`] from now on.
    pub(super) fn put(&mut self, waiting: Waiting, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.out);
        self.waiting.push(waiting);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When the first of them has waited for long enough, and all go out by themselves.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.first().map(|one| one.asked + PATIENCE)
    }

    /// All of them, to go out: their bytes, and who waits for the answers, in the same order. What is
    /// taken is counted from now on.
    pub(super) fn take(&mut self, now: Instant) -> (&mut Vec<u8>, impl Iterator<Item = Waiting>) {
        let from_now = move |one| Waiting { asked: now, ..one };
        (&mut self.out, self.waiting.drain(..).map(from_now))
    }

    /// Whoever waits hears that nobody will answer.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use redis::{Value, aio::ConnectionLike};
    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::{
        super::multiplexer::{
            Multiplexer,
            tests::{Wired, expect, get, until_idle, wired, within_a_minute},
        },
        *,
    };

    /// Creations, one each millisecond, as at 1,000 logins a second.
    async fn carriers(line: &Multiplexer, redis: &mut DuplexStream, count: u32) {
        let carrier = line.clone().with_role(Role::Carrier);
        for _ in 0..count {
            let asked = get(&carrier, "carrier");
            expect(redis, &[&redis::cmd("GET").arg("carrier").take()]).await;
            redis.write_all(b"_\r\n").await.unwrap();
            asked.await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_passenger_goes_out_behind_the_next_carrier() {
        let test = async {
            let Wired { line, mut redis, .. } = wired();
            carriers(&line, &mut redis, 3).await;
            let begin = Instant::now();
            let passenger = get(&line.clone().with_role(Role::Passenger), "passenger");
            until_idle().await;
            let plain = get(&line, "plain");
            let cmd = |key| redis::cmd("GET").arg(key).take();
            expect(&mut redis, &[&cmd("plain")]).await;
            let carrier = get(&line.clone().with_role(Role::Carrier), "carrier");
            expect(&mut redis, &[&cmd("carrier"), &cmd("passenger")]).await;
            assert_eq!(begin.elapsed(), Duration::ZERO);
            redis.write_all(b"$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n").await.unwrap();
            for (asked, answer) in [(plain, b"1"), (carrier, b"2"), (passenger, b"3")] {
                assert_eq!(asked.await.unwrap().unwrap(), Value::BulkString(answer.into()));
            }
        };
        within_a_minute(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_listens_again_does_so_behind_what_ends_the_listening_before() {
        let test = async {
            let Wired { line, mut redis, .. } = wired();
            carriers(&line, &mut redis, 3).await;
            let mut passenger = line.clone().with_role(Role::Passenger);
            let cmd = |name| redis::cmd(name).arg("channel").take();
            let (leaves, enters) = (cmd("UNSUBSCRIBE"), cmd("SUBSCRIBE"));
            let mut pipeline = redis::pipe();
            pipeline.add_command(leaves.clone());
            let _left = tokio::task::spawn_local(async move {
                passenger.req_packed_commands(&pipeline, 0, 1).await
            });
            until_idle().await;
            let again = async move { line.subscribe(&["channel".into()]).await };
            let _again = tokio::task::spawn_local(again);
            expect(&mut redis, &[&leaves, &enters]).await;
        };
        within_a_minute(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_passenger_that_no_carrier_takes_goes_by_itself() {
        // Creations before it, the time since the last, and whether it waits for another.
        let second = Duration::from_secs(1);
        for (creations, since, waits) in [
            (0, Duration::ZERO, false),
            (1, Duration::ZERO, false),
            (3, Duration::ZERO, true),
            (3, second, false),
        ] {
            let test = async {
                let Wired { line, mut redis, .. } = wired();
                carriers(&line, &mut redis, creations).await;
                tokio::time::sleep(since).await;
                let begin = Instant::now();
                let _passenger = get(&line.with_role(Role::Passenger), "passenger");
                expect(&mut redis, &[&redis::cmd("GET").arg("passenger").take()]).await;
                let waited = begin.elapsed();
                assert_eq!(waited >= PATIENCE, waits, "behind {creations}, {since:?} ago");
                assert!(waited <= PATIENCE + Duration::from_millis(1));
            };
            within_a_minute(test).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_creations_are_rare_no_passenger_waits_for_one() {
        let test = async {
            let Wired { line, mut redis, .. } = wired();
            for _ in 0..8 {
                carriers(&line, &mut redis, 1).await;
                tokio::time::sleep(PATIENCE).await;
            }
            carriers(&line, &mut redis, 1).await;
            let begin = Instant::now();
            let _passenger = get(&line.with_role(Role::Passenger), "passenger");
            expect(&mut redis, &[&redis::cmd("GET").arg("passenger").take()]).await;
            assert_eq!(begin.elapsed(), Duration::ZERO);
        };
        within_a_minute(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_passenger_is_told_when_the_connection_ends_under_it() {
        let test = async {
            let Wired { line, mut redis, .. } = wired();
            carriers(&line, &mut redis, 3).await;
            let passenger = get(&line.clone().with_role(Role::Passenger), "passenger");
            until_idle().await;
            drop(redis);
            let told = tokio::time::timeout(PATIENCE / 2, passenger).await;
            assert!(told.expect("at once").unwrap().unwrap_err().is_unrecoverable_error());
        };
        within_a_minute(test).await;
    }
}
