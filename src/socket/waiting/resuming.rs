//! A browser that comes back (spec 2.2).

use std::{rc::Rc, time::Duration};

use actix::{ActorFutureExt, AsyncContext, WrapFuture};

use super::{Ctx, Phase, Reading, Waiting, Worker};
use crate::{
    clock::Timestamp,
    close::Close,
    keys::{Hash, LoginId, Resume},
    login::{Because, CONFIRM, Held, Login, State},
    metrics::{ResumeResult, StoreErrorKind},
    registry::{ConnId, Detach, Register, Wake},
    store::{ResumeDone, StoreError, redis::DOUBT},
};

/// Pause before an unknown login is asked for again, and most of the jitter that is added.
const ASK_AGAIN: Duration = Duration::from_millis(500);

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

/// Takes the login over; `None`: it is over, and stays so.
///
/// A login that is not found may be one that Redis forgot a moment ago, and that the instance
/// which held it last is about to make again: while that is possible, it is asked for again, and
/// where there is no end of it, that is the store's failure. Who is told that it is over at last may
/// rely on that, whenever that other instance finds Redis again: no phone will be told 100 about it.
async fn take(worker: &Worker, id: LoginId, proof: &Hash) -> Result<Option<Login>, StoreError> {
    let asked = worker.clock.now();
    loop {
        match worker.store.resume(id, proof).await? {
            ResumeDone::Resumed(login) => return Ok(Some(*login)),
            ResumeDone::Refused => return Ok(None),
            ResumeDone::Unknown if worker.store.may_have_forgotten() => {
                if worker.clock.now().since(asked) > DOUBT {
                    let detail = "it may have forgotten this login".into();
                    return Err(StoreError { kind: StoreErrorKind::Other, detail });
                }
                let jitter = u32::from(worker.entropy.bytes::<1>()[0]);
                tokio::time::sleep(ASK_AGAIN + ASK_AGAIN * jitter / 255).await;
            }
            ResumeDone::Unknown => {
                // Longer than any login that was open until now may wait and be confirmed.
                let longest = worker.config.wait + CONFIRM;
                if worker.store.bury(id, proof, longest).await? {
                    return Ok(None);
                }
            }
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
            let Some(login) = take(&worker, id, &seed.proof()).await? else { return Ok(None) };
            let held = Box::new(Held::of(id, seed, &login));
            let mut schedule = Self::schedule(&held, worker.store.now());
            if !matches!(login.state, State::Waiting { .. }) {
                schedule.rotate = Timestamp::NEVER;
            }
            let was_approved = matches!(login.state, State::Approved { .. });
            let epoch = held.epoch;
            let taken = Taken { worker: worker.clone(), conn, held: Some(held) };
            let register = Register { id, conn, epoch, socket: Some(socket), schedule };
            // The registry lives as long as the process.
            let _ = worker.registry.ask(register).await;
            // What changed before the subscription was heard by nobody here.
            let login = worker.store.read(id).await?;
            let mut held = taken.into_held();
            if was_approved && login.is_none() {
                // Redis forgot the approval in between: it waits again, and for no longer than it
                // would have without one.
                held.deadline = held.deadline.min(held.created + worker.config.wait);
            }
            Ok::<_, StoreError>(Some((held, login)))
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
                    None => {
                        if let Some(held) = &self.held {
                            let rotate = held.windows().next_after(self.code);
                            self.reschedule(held.deadline, rotate);
                        }
                        self.reclaim(ctx);
                    }
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
