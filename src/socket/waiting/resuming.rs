//! A browser that comes back (spec 2.2).

use std::{rc::Rc, time::Duration};

use actix::{ActorFutureExt, AsyncContext, WeakAddr, WrapFuture};

use super::{Ctx, Newcomer, Phase, Reading, Waiting};
use crate::{
    clock::Timestamp,
    close::Close,
    keys::{Hash, LoginId, Resume},
    login::{Because, Ending, Held, Login, State},
    metrics::{ResumeResult, StoreErrorKind},
    origin::ClientNetwork,
    registry::{ConnId, Detach, Register, Wake},
    socket::Worker,
    store::{ResumeDone, StoreError, redis::DOUBT},
};

/// Pause before an unknown login is asked for again, and most of the jitter that is added.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// For how long after its resume a socket doubts that whoever took its login from it is there: longer
/// than a resume that was sent before may be under way, on a slow line of its browser or to Redis.
const CONTEST: Duration = Duration::from_secs(10);

/// What was found: the login, and its record as it stands since the subscription; or how it is closed
/// where it is over.
type Resumed = Result<(Taken, Option<Login>), Close>;

/// A login that was taken over for a socket. If the socket goes before it holds the login, or the
/// store does, the login stays registered without an actor: it can be resumed again, and its end
/// is counted.
pub(super) struct Taken {
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

/// Takes the login over; else how to close: it is over, and stays so, or the socket has gone meanwhile.
///
/// A login that is not found may be one that Redis forgot a moment ago, and that the instance
/// which held it last is about to make again: while that is possible, it is asked for again, and
/// where there is no end of it, that is the store's failure. Who is told that it is over at last may
/// rely on that, whenever that other instance finds Redis again: no phone will be told 100 about it.
/// So that is written down, and costs the address as much as a new login; but only while some instance
/// may not have noticed yet what Redis forgot, since any stranger can name a login that never was.
async fn take(
    worker: &Worker,
    socket: &WeakAddr<Waiting>,
    id: LoginId,
    proof: &Hash,
    from: ClientNetwork,
) -> Result<Result<Login, Close>, StoreError> {
    let asked = worker.clock.now();
    while socket.upgrade().is_some() {
        match worker.store.resume(id, proof).await? {
            ResumeDone::Resumed(login) => return Ok(Ok(*login)),
            ResumeDone::Over(login) => {
                let close = match login.state {
                    State::Ended { ending: Ending::Delivered, .. } => Close::Done,
                    // Said on a socket that was taken over in that moment: only the user's entry tells.
                    State::Approved { scan, .. }
                        if worker.store.current(&scan.user).await? == Some(id) =>
                    {
                        Close::Done
                    }
                    _ => Close::Expired,
                };
                return Ok(Err(close));
            }
            ResumeDone::Refused => return Ok(Err(Close::Expired)),
            ResumeDone::Unknown if worker.store.may_have_forgotten() => {
                if worker.clock.now().since(asked) > DOUBT {
                    let detail = "it may have forgotten this login".into();
                    return Err(StoreError { kind: StoreErrorKind::Other, detail });
                }
                let jitter = u32::from(worker.entropy.bytes::<1>()[0]);
                tokio::time::sleep(ASK_AGAIN + ASK_AGAIN * jitter / 255).await;
            }
            // Nobody is told, so nothing is to be made true.
            ResumeDone::Unknown if socket.upgrade().is_none() => break,
            ResumeDone::Unknown if !worker.store.may_be_reminded(worker.longest()) => break,
            ResumeDone::Unknown => {
                if worker.limits.connects.check(from.limit_key()).is_err() {
                    let detail = "as many are forgotten as one address may write down".into();
                    return Err(StoreError { kind: StoreErrorKind::Other, detail });
                }
                if worker.store.bury(id, proof, worker.longest()).await? {
                    return Ok(Err(Close::Expired));
                }
            }
        }
    }
    Ok(Err(Close::Expired))
}

/// The login belongs to a browser that has another cookie by now ([`Login::rebind`]).
async fn bind(
    worker: &Worker,
    id: LoginId,
    login: &mut Login,
    browser: Hash,
) -> Result<(), StoreError> {
    let is_waiting = matches!(login.state, State::Waiting { .. });
    if is_waiting && login.codes.browser().is_some_and(|own| own != browser) {
        worker.store.rebind(id, &login.proof, &browser).await?;
        login.codes.bind(browser);
    }
    Ok(())
}

/// Takes the login over and registers it for the socket. `before`: what it held until now.
async fn attempt(
    worker: Rc<Worker>,
    conn: ConnId,
    socket: WeakAddr<Waiting>,
    secret: Resume,
    newcomer: Newcomer,
    before: Option<Box<Held>>,
) -> Result<Resumed, StoreError> {
    let (Resume { id, seed }, Newcomer { from, browser }) = (secret, newcomer);
    let mut taken = Taken { worker: worker.clone(), conn, held: before };
    let mut login = match take(&worker, &socket, id, &seed.proof(), from).await? {
        Ok(login) => login,
        Err(close) => return Ok(Err(close)),
    };
    if let Some(browser) = browser {
        bind(&worker, id, &mut login, *browser).await?;
    }
    let held = Held::of(id, seed, &login).connected_from(from);
    let mut schedule = Waiting::schedule(&held, worker.store.now());
    if !matches!(login.state, State::Waiting { .. }) {
        schedule.rotate = Timestamp::NEVER;
    }
    let was_approved = matches!(login.state, State::Approved { .. });
    let epoch = held.epoch;
    let held = taken.held.insert(Box::new(held));
    let (created, deadline) = (held.created, held.deadline);
    let register = Register { id, conn, epoch, socket: Some(socket), schedule };
    // The registry lives as long as the process.
    let _ = worker.registry.ask(register).await;
    // What changed before the subscription was heard by nobody here.
    let login = worker.store.read(id).await?;
    if was_approved && login.is_none() {
        // Redis forgot the approval in between: it waits again, and for no longer than it
        // would have without one.
        held.deadline = deadline.min(created + worker.config.wait);
    }
    Ok(Ok((taken, login)))
}

impl Waiting {
    /// The newcomer brings its secret.
    pub(super) fn introduce(&mut self, secret: &str, ctx: &mut Ctx) {
        let Phase::Introducing(newcomer) = std::mem::replace(&mut self.phase, Phase::Resuming)
        else {
            return;
        };
        match Resume::parse(secret) {
            Ok(secret) => self.take_over(secret, *newcomer, None, ctx),
            Err(_) => {
                self.worker.metrics.resumes.inc(ResumeResult::Refused);
                self.close(Close::Expired, ctx);
            }
        }
    }

    /// The record has a newer epoch: another socket has resumed this login.
    ///
    /// It need not be there any more. A browser whose line breaks comes back at once, and its older
    /// resume may still be on its way, through a slow line or to a slow Redis; the newer socket then
    /// seems to be the one that was left, and is the only one that is alive. So a socket that has just
    /// resumed does so once more before it gives up, and whoever is there answers in the same way. Two
    /// that are alive do that once each, and the later one stays.
    pub(super) fn superseded(&mut self, ctx: &mut Ctx) {
        match self.phase {
            // The token is out: what its browser says to that counts, whoever owns the login.
            Phase::Pushed { .. } => self.pushed_elsewhere(ctx),
            // The record is read again as soon as the login is here, and tells.
            Phase::Resuming => self.reading = Reading::Again(Wake::Changed),
            Phase::Waiting | Phase::Scanned(_) | Phase::Ticketed if self.may_contest => {
                self.may_contest = false;
                let Some(held) = self.held.take() else { return };
                let secret = Resume { id: held.id, seed: held.seed.clone() };
                let shown = std::mem::replace(&mut self.phase, Phase::Resuming);
                let newcomer = Newcomer { from: held.from, browser: None };
                self.take_over(secret, newcomer, Some((shown, held)), ctx);
            }
            _ => self.taken_over(ctx),
        }
    }

    /// `before`: what the browser was shown, and what was held, if this is no new socket.
    fn take_over(
        &mut self,
        secret: Resume,
        newcomer: Newcomer,
        before: Option<(Phase, Box<Held>)>,
        ctx: &mut Ctx,
    ) {
        self.phase = Phase::Resuming;
        let (shown, held) = before.unzip();
        let (worker, conn, socket) = (self.worker.clone(), self.conn, ctx.address().downgrade());
        // In a task of its own: what is under way to the store takes effect even where the socket
        // is lost meanwhile, and the login must not be without anybody who looks after it.
        let attempt = actix_rt::spawn(attempt(worker, conn, socket, secret, newcomer, held));
        ctx.spawn(attempt.into_actor(self).map(|attempt, waiting, ctx| {
            let broken = |error: actix_rt::task::JoinError| {
                Err(StoreError { kind: StoreErrorKind::Other, detail: error.to_string() })
            };
            waiting.resumed(attempt.unwrap_or_else(broken), shown, ctx);
        }));
    }

    fn resumed(
        &mut self,
        resumed: Result<Resumed, StoreError>,
        shown: Option<Phase>,
        ctx: &mut Ctx,
    ) {
        let results = &self.worker.metrics.resumes;
        match resumed {
            Ok(Ok((taken, login))) => {
                let is_waiting =
                    matches!(&login, None | Some(Login { state: State::Waiting { .. }, .. }));
                let is_approved =
                    matches!(&login, Some(Login { state: State::Approved { .. }, .. }));
                if shown.is_none() {
                    results.inc(if is_approved {
                        ResumeResult::Delivered
                    } else {
                        ResumeResult::Resumed
                    });
                }
                let held = self.held.insert(taken.into_held());
                let code = held.windows().shown_at(self.worker.store.now());
                if self.phase != Phase::Resuming {
                    // The socket began to close meanwhile.
                    return self.let_go(Because::Lost);
                }
                let is_new = shown.is_none();
                self.phase = shown.unwrap_or(Phase::Waiting);
                if is_new {
                    self.may_contest = true;
                    ctx.run_later(CONTEST, |waiting, _| waiting.may_contest = false);
                }
                if is_waiting && self.phase == Phase::Waiting && (is_new || code != self.code) {
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
            // Whoever has it now, or had.
            Ok(Err(_)) if shown.is_some() => self.close(Close::TakenOver, ctx),
            Ok(Err(close)) => {
                results.inc(if close == Close::Done {
                    ResumeResult::Delivered
                } else {
                    ResumeResult::Refused
                });
                self.close(close, ctx);
            }
            Err(_) => {
                if shown.is_none() {
                    results.inc(ResumeResult::Store);
                }
                self.close(Close::Failure, ctx);
            }
        }
    }
}
