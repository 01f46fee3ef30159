//! What the feed says, and reading records again where it may have said too little.

use actix::{AsyncContext, Context, Handler, WrapFuture};
use futures_util::{StreamExt, stream};

use super::{
    Changed, Poll, Polling, Registry, Resync, Snapshot, Wake, Wakeable,
    messages::{ReadAgain, ReadingDone},
};
use crate::keys::LoginId;

/// Records read by one command of a resync: they keep Redis's other clients waiting for a fraction of
/// a millisecond.
const CHUNK: usize = 128;
/// Such commands that are under way at a time: Redis and this thread need not wait for each other.
const AHEAD: usize = 4;

impl<A: Wakeable> Registry<A> {
    /// Reads records again, in batches, and hands each result to its entry.
    pub(super) fn read_again(&mut self, which: Poll, ctx: &mut Context<Self>) {
        let everything = matches!(which, Poll::Everything);
        if self.reading_again {
            // What asks for everything has a reason that the reading under way may not know.
            self.read_all_next |= everything;
            return;
        }
        let ids = self.entries.keys().copied();
        let ids: Vec<_> = match which {
            Poll::Nothing => return,
            Poll::Everything => ids.collect(),
            Poll::These(pick) => ids.filter(|id| pick(*id)).collect(),
        };
        self.reading_again = true;
        let (store, registry) = (self.store.clone(), self.own_address(ctx));
        let read = async move {
            let mut done = ReadingDone { owed: false };
            let read = async |ids: Vec<LoginId>| (store.heads(&ids).await, ids);
            let chunks = ids.chunks(CHUNK).map(<[_]>::to_vec);
            let mut chunks = stream::iter(chunks).map(read).buffered(AHEAD);
            while let Some((found, chunk)) = chunks.next().await {
                let Ok(found) = found else {
                    // Polling comes back by itself. A resync does not: the feed may be up again
                    // while the connection of this thread still has to find out that its own is
                    // dead, and says so only once.
                    done.owed = everything;
                    break;
                };
                let heads = chunk.into_iter().zip(found).collect();
                let _ = registry.ask(ReadAgain(heads)).await;
            }
            let _ = registry.ask(done).await;
        };
        ctx.spawn(read.into_actor(self));
    }
}

impl<A: Wakeable> Handler<Changed> for Registry<A> {
    type Result = ();

    fn handle(&mut self, Changed(ids): Changed, ctx: &mut Self::Context) {
        self.taken();
        for id in ids {
            let result = self.wake(id, Wake::Changed, ctx);
            self.metrics.notifications.inc(result);
        }
    }
}

impl<A: Wakeable> Handler<Resync> for Registry<A> {
    type Result = ();

    fn handle(&mut self, Resync(reason): Resync, ctx: &mut Self::Context) {
        self.taken();
        self.metrics.feed_resyncs.inc(reason);
        tracing::info!(?reason, logins = self.entries.len(), "reading all waiting logins again");
        self.read_again(Poll::Everything, ctx);
    }
}

impl<A: Wakeable> Handler<Polling> for Registry<A> {
    type Result = ();

    fn handle(&mut self, Polling(polling): Polling, _: &mut Self::Context) {
        self.taken();
        self.polling = polling;
    }
}

impl<A: Wakeable> Handler<Snapshot> for Registry<A> {
    type Result = actix::MessageResult<Snapshot>;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        self.taken();
        actix::MessageResult(self.entries.keys().copied().collect())
    }
}

impl<A: Wakeable> Handler<ReadAgain> for Registry<A> {
    type Result = ();

    fn handle(&mut self, ReadAgain(heads): ReadAgain, ctx: &mut Self::Context) {
        self.taken();
        for (id, head) in heads {
            let Some(entry) = self.entries.get(&id) else { continue };
            match head {
                None => {
                    self.wake(id, Wake::Missing, ctx);
                }
                Some(head) => {
                    if head.epoch != entry.epoch || !head.is_waiting {
                        self.wake(id, Wake::Found, ctx);
                    }
                }
            }
        }
    }
}

impl<A: Wakeable> Handler<ReadingDone> for Registry<A> {
    type Result = ();

    fn handle(&mut self, ReadingDone { owed }: ReadingDone, ctx: &mut Self::Context) {
        self.taken();
        self.reading_again = false;
        self.resync_owed |= owed;
        if std::mem::take(&mut self.read_all_next) {
            self.read_again(Poll::Everything, ctx);
        }
    }
}
