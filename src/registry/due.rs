//! Who is due, and how many are woken at a time.

use std::time::Duration;

use actix::{AsyncContext, Context, SpawnHandle};

use super::{POLL, Registry, TICK, Wakeable};
use crate::clock::Timestamp;

/// Due entries that are woken in one turn. Browsers that came in one moment, after a drain or a failover,
/// rotate and are pinged in one moment ever after; a scan is not to wait behind thousands of them.
const AT_A_TIME: u64 = 64;
/// Between two such turns. With [`AT_A_TIME`] it serves 3,200 a second, a tenth of a core; each turn is a wake-up
/// or two of the thread, and half as many of them cost a tenth less for ten thousand browsers (docs/capacity.md).
const TURN: Duration = Duration::from_millis(20);
/// For each of these that the first of them is late, twice as many: codes are good for 15 s longer than they
/// are shown, and pages wait 8 s for a frame that is due.
const LATE: Duration = Duration::from_secs(1);

/// When due entries are looked for next, and the timer for it.
pub(super) struct Look {
    at: Timestamp,
    timer: SpawnHandle,
}

impl<A: Wakeable> Registry<A> {
    /// Looks for what is due, and sees to it that the next look comes in time: a thread on which nobody is due is
    /// not woken for it ten times a second.
    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        self.next_look = None;
        let more = self.wake_due(ctx);
        let now = self.store.now();
        if now.since(self.last_poll) >= POLL {
            self.last_poll = now;
            self.poll(ctx);
        }
        let first = self.due.first().map_or(Timestamp::NEVER, |(at, _)| *at);
        let next = first.min(self.last_poll + POLL);
        // The store's clock may be set while the timer runs: it is looked at again before long.
        let pause = if more { TURN } else { now.until(next).clamp(TICK, POLL) };
        self.look_in(pause, now, ctx);
    }

    /// An entry is due at this moment, which may be before the next look.
    pub(super) fn look_by(&mut self, due: Timestamp, ctx: &mut Context<Self>) {
        // Without one, a look is under way.
        if let Some(look) = self.next_look.take_if(|look| due + TICK < look.at) {
            ctx.cancel_future(look.timer);
            let now = self.store.now();
            self.look_in(now.until(due).max(TICK), now, ctx);
        }
    }

    fn look_in(&mut self, pause: Duration, now: Timestamp, ctx: &mut Context<Self>) {
        let timer = ctx.run_later(pause, Self::look);
        self.next_look = Some(Look { at: now + pause, timer });
    }

    /// Wakes who is due, a few at a time. Whether more are.
    fn wake_due(&mut self, ctx: &mut Context<Self>) -> bool {
        let now = self.store.now();
        let mut left = AT_A_TIME;
        if let Some((at, _)) = self.due.first() {
            left <<= (now.since(*at).as_millis() / LATE.as_millis()).min(16);
        }
        while let Some((at, id)) = self.due.first().copied()
            && at <= now
        {
            if left == 0 {
                return true;
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
        false
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::Arc};

    use actix::{Actor, WeakAddr};
    use tokio::{sync::mpsc, task::LocalSet, time::sleep};

    use super::*;
    use crate::{
        clock::Clock,
        crash::Crash,
        feed::{EmbeddedHandle, Feed},
        journal::Journal,
        keys::{Entropy, LoginId},
        metrics::Metrics,
        registry::{
            ConnId, DetachedPool, NotWoken, Register, RegistryAddr, Reschedule, Schedule, Snapshot,
            Wake,
        },
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

    fn registry(clock: &Clock) -> RegistryAddr<Socket> {
        let embedded = EmbeddedStore::new(clock.clone());
        let (changes, _) = mpsc::channel(1);
        let feed = Feed::Embedded(EmbeddedHandle::new(embedded.clone(), changes));
        let metrics = Arc::new(Metrics::new());
        let store = StoreFactory::Embedded(embedded).make(&metrics, clock);
        let journal = Journal::new(metrics.clone(), clock.clone(), None, None).into();
        let crash = Crash::default();
        let pool = DetachedPool::new(0, metrics.clone()).into();
        Registry::start(feed, store, clock.clone(), metrics, journal, pool, crash)
    }

    /// Browsers that came in one moment and rotate in one.
    async fn crowd(clock: &Clock) -> RegistryAddr<Socket> {
        let registry = registry(clock);
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
            sleep(POLL).await;
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
            sleep(POLL + TURN).await;
            assert_eq!(WOKEN.get(), WAITING, "64 times 64 at once");
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_due_before_the_next_look_is_woken_in_time() {
        let test = async {
            let clock = Clock::manual(Timestamp::from_micros(1_795_422_968_475_960));
            let registry = registry(&clock);
            let now = clock.now();
            let later = now + 20 * SECOND;
            let (id, conn) = (LoginId::random(Entropy::Os), ConnId::next());
            let socket = Some(Socket.start().downgrade());
            let schedule = Schedule::new(later, None, now);
            let register = Register { id, conn, epoch: 1, socket, schedule };
            registry.ask(register).await.expect("a registry");
            let sooner = Some(now + 3 * TICK);
            registry.tell(Reschedule { id, conn, deadline: later, rotate: sooner });
            for _ in 0..3 {
                assert_eq!(WOKEN.get(), 0);
                clock.advance(TICK);
                sleep(TICK).await;
            }
            registry.ask(Snapshot).await.expect("a registry");
            assert_eq!(WOKEN.get(), 1);
        };
        LocalSet::new().run_until(test).await;
    }
}
