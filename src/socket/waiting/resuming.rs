//! A browser that comes back (spec 2.2).

use std::rc::Rc;

use actix::{ActorFutureExt, AsyncContext, WrapFuture};

use super::{Ctx, Phase, Reading, Waiting, Worker};
use crate::{
    clock::Timestamp,
    close::Close,
    keys::Resume,
    login::{Because, Held, Login, State},
    metrics::ResumeResult,
    registry::{ConnId, Detach, Register, Wake},
    store::StoreError,
};

/// What was found: what the owner holds now, and the record as it stands since the subscription.
type Resumed = Option<(Box<Held>, Option<Login>)>;

/// A login that was taken over for a socket. If the socket goes before it holds the login, or the
/// store does, the login stays registered without an actor: it can be resumed again, and its end
/// is counted.
struct Taken {
    worker: Rc<Worker>,
    conn: ConnId,
    held: Option<Box<Held>>,
}

impl Taken {
    fn into_held(mut self) -> Box<Held> {
        self.held.take().expect("taken once, by value")
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.worker.registry.tell(Detach { conn: self.conn, held });
        }
    }
}

impl Waiting {
    pub(super) fn resume(&mut self, secret: &str, ctx: &mut Ctx) {
        self.phase = Phase::Resuming;
        let results = &self.worker.metrics.resumes;
        let Ok(secret) = Resume::parse(secret) else {
            results.inc(ResumeResult::Refused);
            return self.close(Close::Expired, ctx);
        };
        let (worker, conn, socket) = (self.worker.clone(), self.conn, ctx.address().downgrade());
        let attempt = async move {
            let Resume { id, seed } = secret;
            let Some(login) = worker.store.resume(id, &seed.proof()).await? else {
                return Ok(None);
            };
            let held = Box::new(Held::of(id, seed, &login));
            let mut schedule = Self::schedule(&held, worker.store.now());
            if !matches!(login.state, State::Waiting { .. }) {
                schedule.rotate = Timestamp::NEVER;
            }
            let epoch = held.epoch;
            let taken = Taken { worker: worker.clone(), conn, held: Some(held) };
            let register = Register { id, conn, epoch, socket: Some(socket), schedule };
            // The registry lives as long as the process.
            let _ = worker.registry.ask(register).await;
            // What changed before the subscription was heard by nobody here.
            let login = worker.store.read(id).await?;
            Ok::<_, StoreError>(Some((taken.into_held(), login)))
        };
        ctx.spawn(attempt.into_actor(self).map(|resumed, waiting, ctx| {
            waiting.resumed(resumed, ctx);
        }));
    }

    fn resumed(&mut self, resumed: Result<Resumed, StoreError>, ctx: &mut Ctx) {
        let results = &self.worker.metrics.resumes;
        match resumed {
            Ok(Some((held, login))) => {
                let is_waiting =
                    matches!(&login, None | Some(Login { state: State::Waiting { .. }, .. }));
                let is_approved =
                    matches!(&login, Some(Login { state: State::Approved { .. }, .. }));
                results.inc(if is_approved {
                    ResumeResult::Delivered
                } else {
                    ResumeResult::Resumed
                });
                self.held = Some(held);
                if self.phase != Phase::Resuming {
                    // The socket began to close meanwhile.
                    return self.let_go(Because::Lost);
                }
                self.phase = Phase::Waiting;
                if is_waiting {
                    self.show_key();
                }
                match login {
                    Some(login) => self.follow(login, Wake::Changed, ctx),
                    None => self.reclaim(ctx),
                }
                if let Reading::Again(wake) = self.reading {
                    self.reading = Reading::Idle;
                    self.read(wake, ctx);
                }
            }
            Ok(None) => {
                results.inc(ResumeResult::Refused);
                self.close(Close::Expired, ctx);
            }
            Err(_) => {
                results.inc(ResumeResult::Store);
                self.close(Close::Failure, ctx);
            }
        }
    }
}
