//! Sending every browser elsewhere.

use std::time::Duration;

use actix::{AsyncContext, Handler, ResponseFuture};

use super::{Drain, Entry, Holder, Registry, TICK, Wake, Wakeable};

impl<A: Wakeable> Registry<A> {
    fn sockets(&self) -> usize {
        let is_socket = |entry: &&Entry<A>| !matches!(entry.holder, Holder::Nobody(_));
        self.entries.values().filter(is_socket).count()
    }
}

impl<A: Wakeable> Handler<Drain> for Registry<A> {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Drain(over): Drain, ctx: &mut Self::Context) -> Self::Result {
        self.taken();
        self.draining = true;
        let now = self.clock.now();
        // Spread evenly; the map's order is random already, which is the jitter that keeps
        // neighbours from coming back together.
        let sockets: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| !matches!(entry.holder, Holder::Nobody(_)))
            .map(|(id, _)| *id)
            .collect();
        let count = sockets.len().max(1) as u32;
        for (index, id) in sockets.into_iter().enumerate() {
            let at = over * index as u32 / count;
            ctx.run_later(at, move |registry, ctx| {
                registry.wake(id, Wake::Drain, ctx);
            });
        }
        let (done, finished) = tokio::sync::oneshot::channel();
        let mut done = Some(done);
        // After the time is over, sockets get as long as a token takes to be acknowledged.
        let last = now + over + Duration::from_secs(5);
        ctx.run_interval(TICK, move |registry, _| {
            let over = registry.sockets() == 0 || registry.clock.now() > last;
            if let Some(done) = done.take_if(|_| over) {
                let _ = done.send(());
            }
        });
        Box::pin(async move {
            let _ = finished.await;
        })
    }
}
