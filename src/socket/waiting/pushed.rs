//! A token that is out and that nobody has acknowledged yet.
//!
//! In the JSON protocol `received` acknowledges, and nothing else: a Close that is answered says that a
//! network stack lives, and the page above it may be frozen, or in the back-forward cache. In the plain
//! protocol there is no other word than the answer to our Close. Neither is hurried: a line may stall for
//! as long as the token can be collected (spec 2.1, 2.2).

use std::{rc::Rc, time::Duration};

use actix::{ActorContext, AsyncContext};

use super::{CLOSE_WAIT, Ctx, Phase, Pushed, Waiting};
use crate::{close::Close, journal::Ended, login::Protocol, metrics::LoginOutcome};

/// How long the server waits for `received` before it says by its Close that the browser should come
/// back (spec 2.2).
const RECEIVED_WAIT: Duration = Duration::from_secs(2);
/// How long a drain waits for the answer to a plain socket's Close: with the transport's patience after
/// it, no longer than the registry waits for its last sockets.
const DRAIN_WAIT: Duration = Duration::from_secs(3);

impl Waiting {
    /// The token was said, and in the plain protocol the Close with it.
    pub(super) fn pushed(&mut self, what: Pushed, ctx: &mut Ctx) {
        let closing = self.protocol == Protocol::Plain;
        if closing {
            self.say_close(Close::Done);
        }
        self.phase = Phase::Pushed { what: Rc::new(what), closing, leaving: false };
        ctx.run_later(RECEIVED_WAIT, Self::unacknowledged);
    }

    /// Whether our Close is out.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Pushed { closing: true, .. })
    }

    /// The usual time is over. What is said from now on is heard until the end of the collecting.
    fn unacknowledged(&mut self, ctx: &mut Ctx) {
        let Phase::Pushed { closing, leaving, .. } = &mut self.phase else { return };
        let (was_closing, leaving) = (std::mem::replace(closing, true), *leaving);
        if !was_closing {
            self.say_close(Close::Restart);
        }
        if leaving || !self.wire.hears() {
            return self.stop_soon(ctx);
        }
        if let Some(held) = &self.held {
            self.reschedule(held.deadline, None);
        }
    }

    /// The login goes on elsewhere, with another socket or at another instance: what the browser says
    /// here still counts, and is not waited for any longer than the answer to a Close.
    pub(super) fn pushed_elsewhere(&mut self, ctx: &mut Ctx) {
        let Phase::Pushed { closing, leaving, .. } = &mut self.phase else { return };
        let was_leaving = std::mem::replace(leaving, true);
        if *closing && !was_leaving {
            self.stop_soon(ctx);
        }
    }

    /// The collecting may be over: then so is this socket.
    pub(super) fn collected(&mut self, ctx: &mut Ctx) {
        let is_over = self.held.as_ref().is_none_or(|held| held.deadline <= self.now());
        if is_over && self.is_closing() {
            // Its login is let go of as it stops.
            ctx.stop();
        }
    }

    /// This instance goes away, and a plain browser cannot go elsewhere: a little later nobody is left
    /// to hear it. Its token is good until the end of the collecting all the same.
    pub(super) fn drain_plain(&mut self, ctx: &mut Ctx) {
        ctx.run_later(DRAIN_WAIT, |waiting, ctx| {
            if let Some(held) = waiting.held.take() {
                waiting.unregister(&held);
                let ended = Ended::of(&held, LoginOutcome::Undelivered, waiting.now());
                waiting.worker.journal.ended(&ended);
            }
            ctx.stop();
        });
    }

    /// Asks whether the client is there; two questions that it has not answered mean that it is not.
    pub(super) fn ping(&mut self, ctx: &mut Ctx) {
        let is_closing = self.is_closing();
        if is_closing && self.protocol == Protocol::Plain {
            // It cannot come back for its token: only its end, or that of the collecting, lets it go.
            return;
        }
        if self.unanswered_pings >= super::MAX_UNANSWERED {
            return ctx.stop();
        }
        self.unanswered_pings += u8::from(self.wire.hears());
        // Our Close is a question too, and nothing may follow it: browsers that find a ping behind it in
        // what has stalled take the connection for broken.
        if !is_closing {
            self.wire.ping();
        }
    }

    /// Our Close was said: its answer is waited for, but not for long.
    pub(super) fn stop_soon(&self, ctx: &mut Ctx) {
        if self.wire.hears() {
            ctx.run_later(CLOSE_WAIT, |_, ctx| ctx.stop());
        } else {
            ctx.stop();
        }
    }
}
