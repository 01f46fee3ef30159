//! The actor that knows which logins wait on this thread, and wakes them.
//!
//! Its inputs:
//! 1. sockets: [`Register`], [`Enter`], [`Attach`], [`Reschedule`], [`Detach`], [`Unregister`],
//!    [`Leave`];
//! 2. the feed: [`Changed`], [`Resync`], [`Snapshot`], [`Polling`];
//! 3. the lifecycle: [`Drain`];
//! 4. the pool of places for detached logins: `MakeRoom`;
//! 5. its own timer, for who is due next.
//!
//! A login has one entry, and an entry has one holder: a request that has not become a socket yet,
//! a socket's actor, or nobody, where the browser may still come back (`detached`). Every message
//! of a holder carries its connection's id, and only the entry that it put in is touched: a socket
//! that was taken over can say what it likes.
//!
//! Deadlines live in the entry and in one ordered set, not in a timer for each actor, and holders
//! are known by weak addresses: an entry costs about a hundred bytes and pins nothing.

mod address;
mod detached;
mod drain;
mod due;
mod messages;
mod pool;
mod reading;
mod schedule;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, ResponseFuture,
    WeakAddr, WrapFuture,
};

pub use self::{
    address::{RegistryAddr, RegistryGone},
    messages::{
        Attach, Changed, ConnId, Detach, Drain, Enter, Leave, NotWoken, Poll, Polling, Register,
        Reschedule, Resync, Snapshot, Unregister, Wake, Wakeable,
    },
    pool::DetachedPool,
    schedule::Schedule,
};
use self::{due::Look, pool::Place};
use crate::{
    clock::{Clock, Timestamp},
    crash::{Crash, Part},
    feed::Feed,
    journal::Journal,
    keys::LoginId,
    login::{Because, Held},
    metrics::{Metrics, NotificationResult},
    store::Store,
};

/// Due entries are not looked for more often: the precision of deadlines and rotations.
const TICK: Duration = Duration::from_millis(100);
/// How often records are read where notifications cannot be had.
const POLL: Duration = Duration::from_secs(1);
/// Messages that may wait for the registry before senders that can wait have to.
const MAILBOX: usize = 16 * 1024;
/// When to try again to wake an actor whose mailbox was full.
const RETRY: Duration = Duration::from_millis(100);

enum Holder<A: Wakeable> {
    /// A request that will become a socket; what it is to be told then.
    Request { owed: Option<Wake> },
    /// A socket.
    Socket(WeakAddr<A>),
    /// Nobody: a browser that may come back. It has a place in the pool, but for the moment in which it
    /// is to end for another.
    Nobody(Box<Held>),
}

struct Entry<A: Wakeable> {
    conn: ConnId,
    epoch: u32,
    holder: Holder<A>,
    schedule: Schedule,
    /// When it stands in the ordered set.
    due: Timestamp,
    /// A wake-up that did not fit into the actor's mailbox.
    owed: Option<Wake>,
}

/// The registry of one instance; `A` is the socket's actor.
pub struct Registry<A: Wakeable> {
    entries: HashMap<LoginId, Entry<A>>,
    due: BTreeSet<(Timestamp, LoginId)>,
    /// Where those that nobody holds have their places, and its number for this registry.
    pool: Arc<DetachedPool>,
    thread: u16,
    feed: Feed,
    store: Store,
    clock: Clock,
    metrics: Arc<Metrics>,
    journal: Arc<Journal>,
    /// Whose records are read in batches because nobody hears of their changes.
    polling: Poll,
    last_poll: Timestamp,
    next_look: Option<Look>,
    reading_again: bool,
    read_all_next: bool,
    /// A resync was asked for and the store did not answer: it is still owed.
    resync_owed: bool,
    draining: bool,
    crash: Crash,
}

impl<A: Wakeable> Registry<A> {
    /// Starts an empty registry on this thread.
    pub fn start(
        feed: Feed,
        store: Store,
        clock: Clock,
        metrics: Arc<Metrics>,
        journal: Arc<Journal>,
        pool: Arc<DetachedPool>,
        crash: Crash,
    ) -> RegistryAddr<A> {
        let registry = Self {
            entries: HashMap::new(),
            due: BTreeSet::new(),
            pool,
            thread: 0,
            feed,
            store,
            clock,
            metrics,
            journal,
            polling: Poll::Nothing,
            last_poll: Timestamp::default(),
            next_look: None,
            reading_again: false,
            read_all_next: false,
            resync_owed: false,
            draining: false,
            crash,
        };
        let metrics = registry.metrics.clone();
        RegistryAddr { addr: Actor::start(registry), metrics }
    }

    /// A message has left the mailbox.
    fn taken(&self) {
        self.metrics.registry_mailbox.dec();
    }

    fn own_address(&self, ctx: &Context<Self>) -> RegistryAddr<A> {
        RegistryAddr { addr: ctx.address(), metrics: self.metrics.clone() }
    }

    /// The entry of this login, if this connection put it in.
    fn own(&mut self, id: LoginId, conn: ConnId) -> Option<&mut Entry<A>> {
        self.entries.get_mut(&id).filter(|entry| entry.conn == conn)
    }

    fn set_due(&mut self, id: LoginId, due: Timestamp, ctx: &mut Context<Self>) {
        self.look_by(due, ctx);
        if let Some(entry) = self.entries.get_mut(&id) {
            self.due.remove(&(entry.due, id));
            entry.due = due;
            self.due.insert((due, id));
        }
    }

    /// Puts an entry in, in the place of an older one.
    fn enter(&mut self, id: LoginId, entry: Entry<A>, ctx: &mut Context<Self>) {
        // On this thread the older socket hears of its take-over here; elsewhere from the record.
        let other =
            |old: &Entry<A>| old.conn != entry.conn && matches!(old.holder, Holder::Socket(_));
        if self.entries.get(&id).is_some_and(other) {
            self.wake(id, Wake::TakenOver, ctx);
        }
        let due = entry.due;
        self.due.insert((due, id));
        self.look_by(due, ctx);
        if let Some(old) = self.entries.insert(id, entry) {
            if old.due != due {
                self.due.remove(&(old.due, id));
            }
            self.release(&old);
        }
        if self.draining {
            // Let in a moment before the door was closed.
            self.wake(id, Wake::Drain, ctx);
        }
    }

    fn remove(&mut self, id: LoginId, conn: ConnId) -> Option<Entry<A>> {
        self.own(id, conn)?;
        let entry = self.entries.remove(&id)?;
        self.due.remove(&(entry.due, id));
        self.release(&entry);
        Some(entry)
    }

    /// Wakes whoever holds the login. `false`: there is nobody, or the mailbox was full.
    fn wake(&mut self, id: LoginId, wake: Wake, ctx: &mut Context<Self>) -> NotificationResult {
        let Some(entry) = self.entries.get_mut(&id) else { return NotificationResult::Unknown };
        match &mut entry.holder {
            Holder::Request { owed } => {
                // The drain comes back to the record by itself.
                if !matches!(wake, Wake::Ping | Wake::Rotate) && *owed != Some(Wake::Drain) {
                    *owed = Some(wake);
                }
                NotificationResult::Delivered
            }
            Holder::Socket(socket) => match A::wake(socket, wake) {
                Ok(()) => NotificationResult::Delivered,
                Err(NotWoken::Full) => {
                    // A ping can be left out; a change or an end cannot.
                    if wake != Wake::Ping {
                        entry.owed = Some(wake);
                        let retry = self.store.now() + RETRY;
                        self.set_due(id, retry, ctx);
                    }
                    NotificationResult::Full
                }
                // It is about to say `Detach` or `Unregister`.
                Err(NotWoken::Gone) => NotificationResult::Unknown,
            },
            Holder::Nobody(held) => {
                let place = Place { from: held.from, conn: entry.conn };
                let due = self.store.now() >= held.deadline;
                // One that is about to end for another is looked at after that: what is found missing
                // meanwhile would be made again.
                if self.pool.holds(place) {
                    self.settle(id, due.then_some(Because::Deadline), ctx);
                }
                NotificationResult::Delivered
            }
        }
    }

    /// Reads what has to be read because nobody hears of its changes.
    fn poll(&mut self, ctx: &mut Context<Self>) {
        let owed = std::mem::take(&mut self.resync_owed);
        let which = if owed { Poll::Everything } else { self.polling.clone() };
        self.read_again(which, ctx);
    }
}

impl<A: Wakeable> Actor for Registry<A> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.thread = self.pool.join(ctx.address().downgrade().recipient());
        self.look(ctx);
        let crash = self.crash.clone();
        ctx.spawn(async move { crash.comes(Part::Registry).await }.into_actor(self).map(
            |(), _, _| {
                panic!("told to crash");
            },
        ));
    }
}

impl<A: Wakeable> Handler<Register<A>> for Registry<A> {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, message: Register<A>, ctx: &mut Self::Context) -> Self::Result {
        self.taken();
        let Register { id, conn, epoch, socket, schedule } = message;
        let holder = socket.map_or(Holder::Request { owed: None }, Holder::Socket);
        let due = schedule.next();
        self.enter(id, Entry { conn, epoch, holder, schedule, due, owed: None }, ctx);
        Box::pin(self.feed.subscribe(id).into_actor(self).map(move |(), registry, ctx| {
            // Whoever registered reads the record next; one that has left since does not.
            if let Some(Entry { holder: Holder::Nobody(_), .. }) = registry.own(id, conn) {
                registry.wake(id, Wake::Changed, ctx);
            }
        }))
    }
}

impl<A: Wakeable> Handler<Enter> for Registry<A> {
    type Result = ();

    fn handle(&mut self, Enter { id, conn, schedule }: Enter, ctx: &mut Self::Context) {
        self.taken();
        let (holder, due) = (Holder::Request { owed: None }, schedule.next());
        self.enter(id, Entry { conn, epoch: 1, holder, schedule, due, owed: None }, ctx);
    }
}

impl<A: Wakeable> Handler<Attach<A>> for Registry<A> {
    type Result = ();

    fn handle(&mut self, message: Attach<A>, ctx: &mut Self::Context) {
        self.taken();
        let Attach { id, conn, socket, schedule } = message;
        let Some(entry) = self.own(id, conn) else {
            // Taken over in the moment between the request and the socket.
            let _ = A::wake(&socket, Wake::TakenOver);
            return;
        };
        entry.schedule = schedule;
        if entry.due != schedule.next() {
            self.set_due(id, schedule.next(), ctx);
        }
        let Some(entry) = self.own(id, conn) else { return };
        let holder = std::mem::replace(&mut entry.holder, Holder::Socket(socket));
        if let Holder::Request { owed: Some(wake) } = holder {
            self.wake(id, wake, ctx);
        }
    }
}

impl<A: Wakeable> Handler<Reschedule> for Registry<A> {
    type Result = ();

    fn handle(&mut self, message: Reschedule, ctx: &mut Self::Context) {
        self.taken();
        let Reschedule { id, conn, deadline, rotate } = message;
        if let Some(entry) = self.own(id, conn) {
            entry.schedule.deadline = deadline;
            entry.schedule.rotate = rotate.unwrap_or(Timestamp::NEVER);
            let due = entry.schedule.next();
            self.set_due(id, due, ctx);
        }
    }
}

impl<A: Wakeable> Handler<Detach> for Registry<A> {
    type Result = ();

    fn handle(&mut self, Detach { conn, held }: Detach, ctx: &mut Self::Context) {
        self.taken();
        let (id, deadline) = (held.id, held.deadline);
        let Some(entry) = self.own(id, conn) else { return };
        entry.schedule = Schedule::until(deadline);
        entry.holder = Holder::Nobody(held);
        entry.owed = None;
        self.set_due(id, deadline, ctx);
        self.hold(id, true);
        // Its last holder may have left without hearing of a change, a take-over elsewhere above
        // all: then two would count its end.
        self.wake(id, Wake::Changed, ctx);
    }
}

impl<A: Wakeable> Handler<Unregister> for Registry<A> {
    type Result = ResponseFuture<()>;

    fn handle(
        &mut self,
        Unregister { id, conn }: Unregister,
        _: &mut Self::Context,
    ) -> Self::Result {
        self.taken();
        if self.remove(id, conn).is_some() {
            Box::pin(self.feed.unsubscribe(id))
        } else {
            Box::pin(std::future::ready(()))
        }
    }
}

impl<A: Wakeable> Handler<Leave> for Registry<A> {
    type Result = bool;

    fn handle(&mut self, Leave { id, conn }: Leave, _: &mut Self::Context) -> bool {
        self.taken();
        self.remove(id, conn).is_some()
    }
}
