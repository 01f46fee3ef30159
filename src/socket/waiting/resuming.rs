//! A browser that comes back (spec 2.2).

use actix::{ActorFutureExt, AsyncContext, WrapFuture};

use super::{Ctx, Phase, Waiting};
use crate::{
    clock::Timestamp,
    close::Close,
    keys::Resume,
    login::{Because, Held, Login, State},
    metrics::ResumeResult,
    registry::{Register, Wake},
    store::StoreError,
};

/// What was found: what the owner holds now, and the record as it stands since the subscription.
type Resumed = Option<(Box<Held>, Option<Login>)>;

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
            let register = Register { id, conn, epoch, socket: Some(socket), schedule };
            // The registry lives as long as the process.
            let _ = worker.registry.ask(register).await;
            // What changed before the subscription was heard by nobody here.
            let login = worker.store.read(id).await?;
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
                    self.show_key(ctx);
                }
                match login {
                    Some(login) => self.follow(login, Wake::Changed, ctx),
                    None => self.reclaim(ctx),
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
