//! Who may wait, and what must be finished before the process ends.

use std::{
    ops::Deref,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::Worker;
use crate::metrics::Metrics;

/// Counts the sockets of the instance, and closes the door.
pub struct Admission {
    most: usize,
    taken: AtomicUsize,
    draining: AtomicBool,
    left: Notify,
    metrics: Arc<Metrics>,
}

impl Admission {
    /// A door for `most` sockets.
    pub fn new(most: usize, metrics: Arc<Metrics>) -> Self {
        metrics.max_waiting_sockets.set(most as i64);
        let (taken, draining, left) = Default::default();
        Self { most, taken, draining, left, metrics }
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.metrics.draining.set(1);
    }

    /// Whether the door is closed.
    pub fn is_closed(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Waits until the last socket is gone, its Close written.
    pub async fn emptied(&self) {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            // Before looking, as below.
            left.as_mut().enable();
            if self.taken.load(Ordering::SeqCst) == 0 {
                return;
            }
            left.await;
        }
    }

    /// Whether there was room; to be left in either case.
    fn enter(&self) -> bool {
        self.metrics.waiting_sockets.inc();
        self.taken.fetch_add(1, Ordering::SeqCst) < self.most
    }

    fn leave(&self) {
        self.metrics.waiting_sockets.dec();
        if self.taken.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.left.notify_waiters();
        }
    }
}

/// One socket's place, by way of what it needs of its thread anyway: an idle socket holds one
/// address, not two. Free again when dropped.
pub(super) struct Seat(Rc<Worker>);

impl Seat {
    pub(super) fn take(worker: &Rc<Worker>) -> Option<Self> {
        let has_room = worker.admission.enter();
        let seat = Self(worker.clone());
        has_room.then_some(seat)
    }
}

impl Deref for Seat {
    type Target = Rc<Worker>;

    fn deref(&self) -> &Rc<Worker> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.admission.leave();
    }
}

/// Counts what is written after a socket is gone, so that a drain can wait for it.
#[derive(Default)]
pub struct Background {
    under_way: AtomicUsize,
    none: Notify,
}

/// Something under way.
pub(crate) struct UnderWay(Arc<Background>);

impl Background {
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(self.clone())
    }

    /// Waits until nothing is under way.
    pub async fn finished(&self) {
        loop {
            let mut none = std::pin::pin!(self.none.notified());
            // Before looking: `notify_waiters` wakes only those that wait already, and the last
            // one may end on another thread in between.
            none.as_mut().enable();
            if self.under_way.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
