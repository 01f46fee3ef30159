//! Who is due, and how many are woken at a time.

use std::time::Duration;

use actix::{AsyncContext, Context};

use super::{Registry, Wakeable};

/// Due entries that are woken in one turn. Browsers that came in one moment, after a drain or a failover,
/// rotate and are pinged in one moment ever after; a scan is not to wait behind thousands of them.
const AT_A_TIME: u64 = 32;
/// Between two such turns. With [`AT_A_TIME`] it serves 3,200 a second, a tenth of a core; each turn is a wake-up
/// of the thread, which is a part of what idling costs.
const TURN: Duration = Duration::from_millis(10);
/// For each of these that the first of them is late, twice as many: codes are good for 15 s longer than they
/// are shown, and pages wait 8 s for a frame that is due.
const LATE: Duration = Duration::from_secs(1);

impl<A: Wakeable> Registry<A> {
    /// Wakes who is due, a few at a time.
    pub(super) fn wake_due(&mut self, ctx: &mut Context<Self>) {
        let now = self.store.now();
        let mut left = AT_A_TIME;
        if let Some((at, _)) = self.due.first() {
            left <<= (now.since(*at).as_millis() / LATE.as_millis()).min(16);
        }
        self.catching_up = false;
        while let Some((at, id)) = self.due.first().copied()
            && at <= now
        {
            if left == 0 {
                self.catching_up = true;
                ctx.run_later(TURN, Self::wake_due);
                return;
            }
            left -= 1;
            self.due.remove(&(at, id));
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let wake = entry.owed.take().or_else(|| entry.schedule.take_due(now));
            entry.due = entry.schedule.next();
            let due = entry.due;
            self.due.insert((due, id));
            if let Some(wake) = wake {
                self.wake(id, wake, ctx);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::Arc};

    use actix::{Actor, WeakAddr};
    use tokio::{sync::mpsc, task::LocalSet, time::sleep};

    use super::*;
    use crate::{
        clock::{Clock, Timestamp},
        crash::Crash,
        feed::{EmbeddedHandle, Feed},
        journal::Journal,
        keys::{Entropy, LoginId},
        metrics::Metrics,
        registry::{ConnId, NotWoken, Register, RegistryAddr, Schedule, Snapshot, TICK, Wake},
        store::{EmbeddedStore, StoreFactory},
    };

    const WAITING: u64 = 1_000;
    const SECOND: Duration = Duration::from_secs(1);

    thread_local!(static WOKEN: Cell<u64> = const { Cell::new(0) });

    struct Socket;

    impl Actor for Socket {
        type Context = Context<Self>;
    }

    impl Wakeable for Socket {
        fn wake(_: &WeakAddr<Self>, wake: Wake) -> Result<(), NotWoken> {
            assert_eq!(wake, Wake::Rotate);
            WOKEN.set(WOKEN.get() + 1);
            Ok(())
        }
    }

    /// Browsers that came in one moment and rotate in one.
    async fn crowd(clock: &Clock) -> RegistryAddr<Socket> {
        let embedded = EmbeddedStore::new(clock.clone());
        let (changes, _) = mpsc::channel(1);
        let feed = Feed::Embedded(EmbeddedHandle::new(embedded.clone(), changes));
        let metrics = Arc::new(Metrics::new());
        let store = StoreFactory::Embedded(embedded).make(&metrics, clock);
        let journal = Journal::new(metrics.clone(), clock.clone(), None, None).into();
        let crash = Crash::default();
        let registry = Registry::start(feed, store, clock.clone(), metrics, journal, crash);
        let now = clock.now();
        let schedule = Schedule::new(now + 20 * SECOND, Some(now + SECOND), now);
        for _ in 0..WAITING {
            let (id, conn) = (LoginId::random(Entropy::Os), ConnId::next());
            let socket = Some(Socket.start().downgrade());
            let register = Register { id, conn, epoch: 1, socket, schedule };
            registry.ask(register).await.expect("a registry");
        }
        registry
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_due_in_one_moment_is_woken_a_few_at_a_time_and_others_come_in_between() {
        let test = async {
            let clock = Clock::manual(Timestamp::from_micros(1_795_422_968_475_960));
            let registry = crowd(&clock).await;
            clock.advance(SECOND);
            sleep(TICK).await;
            let mut turns = 0;
            while WOKEN.get() < WAITING {
                let before = WOKEN.get();
                registry.ask(Snapshot).await.expect("a registry");
                assert!(WOKEN.get() - before <= AT_A_TIME);
                sleep(TURN).await;
                turns += 1;
            }
            assert_eq!(WOKEN.get(), WAITING, "each of them once");
            assert!(turns <= WAITING / AT_A_TIME + 1, "{turns}");
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_late_is_woken_with_more_others() {
        let test = async {
            let clock = Clock::manual(Timestamp::from_micros(1_795_422_968_475_960));
            let _registry = crowd(&clock).await;
            clock.advance(SECOND + 6 * LATE);
            sleep(TICK + TURN).await;
            assert_eq!(WOKEN.get(), WAITING, "32 times 64 at once");
        };
        LocalSet::new().run_until(test).await;
    }
}
