//! What the registry is told, and what it tells.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Message, WeakAddr};

use super::{Schedule, detached::Settled};
use crate::{
    clock::Timestamp,
    keys::LoginId,
    login::{Because, Held},
    metrics::ResyncReason,
    store::Head,
};

/// Names one connection of this process; every message of a holder carries it. Later ones have larger
/// numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

impl ConnId {
    /// No connection's number is smaller.
    pub(super) const FIRST: Self = Self(0);

    /// One that was never used.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Why a socket's actor is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum Wake {
    /// Its record has changed.
    Changed,
    /// A resync found its record changed: the notification was lost.
    Found,
    /// A resync found no record.
    Missing,
    /// Time to ask whether the client is there.
    Ping,
    /// Time to show the next code.
    Rotate,
    /// The end of the waiting, or of the collecting.
    Deadline,
    /// Another socket has resumed the login on this instance.
    TakenOver,
    /// This instance goes away.
    Drain,
}

/// Why a socket's actor could not be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWoken {
    /// Its mailbox is full.
    Full,
    /// It has stopped.
    Gone,
}

/// A socket's actor.
pub trait Wakeable: Actor {
    /// Puts a wake-up into its mailbox; never waits.
    ///
    /// # Errors
    /// [`NotWoken`].
    fn wake(socket: &WeakAddr<Self>, wake: Wake) -> Result<(), NotWoken>;
}

/// A login begins to wait here, or goes on waiting: it is subscribed to, and the answer comes when
/// Redis has confirmed that.
pub struct Register<A: Wakeable> {
    /// The login.
    pub id: LoginId,
    /// The holder's connection.
    pub conn: ConnId,
    /// The epoch under which it owns the login.
    pub epoch: u32,
    /// The socket, if it is there already.
    pub socket: Option<WeakAddr<A>>,
    /// When to wake it.
    pub schedule: Schedule,
}

impl<A: Wakeable> Message for Register<A> {
    type Result = ();
}

/// A new login will wait here; whoever says so subscribes to it, or says [`Register`] after all.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Enter {
    /// The login.
    pub id: LoginId,
    /// The holder's connection.
    pub conn: ConnId,
    /// When to wake it, as far as that is known before its record is there.
    pub schedule: Schedule,
}

/// The request has become a socket.
pub struct Attach<A: Wakeable> {
    /// The login.
    pub id: LoginId,
    /// The holder's connection.
    pub conn: ConnId,
    /// The socket.
    pub socket: WeakAddr<A>,
    /// When to wake it.
    pub schedule: Schedule,
}

impl<A: Wakeable> Message for Attach<A> {
    type Result = ();
}

/// The holder wants to be woken at other times.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reschedule {
    /// The login.
    pub id: LoginId,
    /// The holder's connection.
    pub conn: ConnId,
    /// Its deadline and rotation; the ping goes on.
    pub deadline: Timestamp,
    /// The next rotation, if any.
    pub rotate: Option<Timestamp>,
}

/// The socket is gone, and the browser may come back: the login stays registered without an actor,
/// so that its end is counted.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Detach {
    /// The connection that is gone.
    pub conn: ConnId,
    /// What is needed to look after the login.
    pub held: Box<Held>,
}

/// The holder has nothing to wait for any more. Answered when Redis has confirmed that nothing
/// more will be announced.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unregister {
    /// The login.
    pub id: LoginId,
    /// The holder's connection.
    pub conn: ConnId,
}

/// The same by a holder that sees to the subscription; whether it was the login's holder.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct Leave {
    /// The login.
    pub id: LoginId,
    /// The holder's connection.
    pub conn: ConnId,
}

/// Notifications have arrived.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Changed(pub Vec<LoginId>);

/// Notifications may have been lost: read all records again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Resync(pub ResyncReason);

/// Which logins' records must be read again and again, because nobody hears of their changes.
#[derive(Clone)]
pub enum Poll {
    /// None: all are heard of.
    Nothing,
    /// All.
    Everything,
    /// Those that this picks.
    These(Arc<dyn Fn(LoginId) -> bool + Send + Sync>),
}

/// From now on, poll these.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Polling(pub Poll);

/// The logins that should be subscribed to.
#[derive(Message)]
#[rtype(result = "Vec<LoginId>")]
pub struct Snapshot;

/// Send every browser elsewhere, spread over this time; answered when none is left.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain(pub Duration);

/// What became of a login whose browser is away.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Seen {
    pub(super) id: LoginId,
    pub(super) conn: ConnId,
    /// Why it was to end, if it was.
    pub(super) because: Option<Because>,
    pub(super) settled: Settled,
}

/// What a batch of reads found.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ReadAgain(pub(super) Vec<(LoginId, Option<Head>)>);

/// The reads are over.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ReadingDone {
    /// All were asked for, and the store did not answer.
    pub(super) owed: bool,
}
