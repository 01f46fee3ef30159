//! The record decides, the actor follows.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, WrapFuture};
use actix_http::ws::Message;

use super::{Ctx, Phase, Pushed, Reading, Waiting};
use crate::{
    clock::Timestamp,
    close::Close,
    config::Deliver,
    keys::Ticket,
    login::{Because, Ending, Login, Protocol, Scan, State},
    metrics::LoginOutcome,
    protocol::ServerMessage,
    registry::Wake,
    tokens,
};

/// The pause before a failed read is tried again, and most of the jitter that is added.
const READ_AGAIN: Duration = Duration::from_millis(500);

impl Waiting {
    /// Reads the record and acts on it; one read at a time.
    pub(super) fn read(&mut self, wake: Wake, ctx: &mut Ctx) {
        let Some(held) = &self.held else {
            if self.phase == Phase::Resuming {
                // The record that is on its way may be the one from before this change.
                self.reading = Reading::Again(wake);
            }
            return;
        };
        if self.reading != Reading::Idle {
            self.reading = Reading::Again(wake);
            return;
        }
        self.reading = Reading::Busy;
        let (store, id) = (self.worker.store.clone(), held.id);
        let is_open = matches!(self.phase, Phase::Waiting | Phase::Scanned(_));
        let was_notified = wake == Wake::Changed;
        let read = async move {
            if is_open && was_notified {
                store.read_changed(id).await
            } else {
                store.read(id).await
            }
        };
        ctx.spawn(read.into_actor(self).map(move |login, waiting, ctx| {
            let again = std::mem::replace(&mut waiting.reading, Reading::Idle);
            match login {
                Ok(Some(login)) => waiting.follow(login, wake, ctx),
                Ok(None) => waiting.reclaim(ctx),
                // Whoever woke us will not do so again.
                Err(_) => return waiting.read_later(wake, ctx),
            }
            if let Reading::Again(wake) = again {
                waiting.read(wake, ctx);
            }
        }));
    }

    /// Reads again after a pause. Each failed read brings one, whatever wakes us meanwhile, so that
    /// a store that is away costs at most one attempt per login and pause.
    fn read_later(&mut self, wake: Wake, ctx: &mut Ctx) {
        self.reading = Reading::Busy;
        // Spread, since a store that comes back is found by all at once.
        let jitter = u32::from(self.worker.entropy.bytes::<1>()[0]);
        ctx.run_later(READ_AGAIN + READ_AGAIN * jitter / 255, move |waiting, ctx| {
            waiting.reading = Reading::Idle;
            waiting.read(wake, ctx);
        });
    }

    /// Acts on the record as it stands.
    pub(super) fn follow(&mut self, login: Login, wake: Wake, ctx: &mut Ctx) {
        let Some(held) = &self.held else { return };
        if login.epoch > held.epoch {
            return self.superseded(ctx);
        }
        let is_open = matches!(login.state, State::Waiting { .. } | State::Scanned { .. });
        if login.epoch < held.epoch && is_open && self.now() < held.deadline {
            // The take-over that brought us here was lost with the store. What is approved needs no
            // new owner: our acknowledgement will raise the epoch, and past the deadline nothing
            // is made again, so a token that waits would be waited for in vain.
            return self.reclaim(ctx);
        }
        let rescued = match login.state {
            State::Waiting { .. } => {
                if matches!(self.phase, Phase::Scanned(_)) {
                    // The claim was lost with the store: show a code again.
                    self.phase = Phase::Waiting;
                    self.show_key();
                }
                false
            }
            State::Scanned { deadline, scan } => {
                // The same claim is the same question, however often its number was missed.
                let known = matches!(&self.phase, Phase::Scanned(known)
                    if known.claim.matches(&scan.claim));
                let open = matches!(self.phase, Phase::Waiting | Phase::Scanned(_));
                if open && !known {
                    if let Some(held) = &mut self.held {
                        held.deadline = deadline;
                    }
                    self.show_scanned(deadline, &scan);
                }
                open && !known
            }
            State::Approved { collect_until, scan, sealed } => {
                let open = matches!(self.phase, Phase::Waiting | Phase::Scanned(_));
                if open {
                    let Scan { user, number, .. } = scan;
                    let (approved, pushed) = (login.changed, self.now());
                    let what = Pushed { user, approved, pushed, facts: login.facts };
                    match self.worker.config.deliver {
                        Deliver::Token => self.push(collect_until, what, number, &sealed, ctx),
                        Deliver::Ticket => self.push_ticket(collect_until, &what, number, &sealed),
                    }
                } else if self.phase == Phase::Ticketed && self.now() >= collect_until {
                    // How it ended is counted by the registry, which asks whether the user's web
                    // login is this one.
                    self.let_go(Because::Lost);
                    self.close(Close::Expired, ctx);
                }
                open
            }
            State::Ended { ending, .. } => {
                let (outcome, close) = match ending {
                    Ending::Denied => (LoginOutcome::Denied, Close::Denied),
                    Ending::Delivered | Ending::Revoked => (LoginOutcome::Delivered, Close::Done),
                    Ending::Undelivered => (LoginOutcome::Undelivered, Close::Expired),
                    Ending::Expired => (LoginOutcome::Expired, Close::Expired),
                    Ending::Cancelled => (LoginOutcome::Cancelled, Close::Expired),
                };
                self.end(outcome, close, ctx);
                true
            }
        };
        if rescued && wake == Wake::Found {
            self.worker.metrics.feed_rescued.inc();
        }
    }

    /// Opens the token and hands it to the browser.
    pub(super) fn push(
        &mut self,
        collect_until: Timestamp,
        what: Pushed,
        number: u32,
        sealed: &[u8],
        ctx: &mut Ctx,
    ) {
        let now = self.now();
        let Some(held) = &mut self.held else { return };
        let claim = held.seed.code(number).claim(held.id, &what.user);
        let Ok(token) = tokens::open(sealed, &claim) else {
            tracing::error!(login = held.id.log_id(), "a sealed token cannot be opened");
            return self.end(LoginOutcome::Failed, Close::Failure, ctx);
        };
        held.deadline = collect_until;
        match self.protocol {
            Protocol::Plain => self.wire.say(Message::Text(token.token.into())),
            Protocol::Json => {
                let token_time = self.worker.store.token_time_as_known();
                let message = ServerMessage::Token {
                    token: &token.token,
                    token_type: "Bearer",
                    expires_in: token.expires_at.saturating_sub(token_time.as_secs()),
                    user: &what.user,
                    collect_ms: now.until(collect_until).as_millis() as u64,
                };
                self.say(&message);
            }
        }
        self.worker.metrics.scan_to_push.observe(now.since(what.approved).as_secs_f64());
        self.pushed(what, ctx);
    }

    /// Hands the browser its ticket: the token stays sealed until that is redeemed, at whichever
    /// instance.
    fn push_ticket(&mut self, collect_until: Timestamp, what: &Pushed, number: u32, sealed: &[u8]) {
        let now = self.now();
        let Some(held) = &mut self.held else { return };
        held.deadline = collect_until;
        // Nothing is sealed any more where the ticket was redeemed a moment ago.
        if !sealed.is_empty() {
            let claim = held.seed.code(number).claim(held.id, &what.user);
            let ticket = Ticket::new(&held.seed, claim).expose();
            let expires_in = now.until(collect_until).as_secs();
            self.say(&ServerMessage::Ticket { ticket: &ticket, expires_in });
            self.worker.metrics.scan_to_push.observe(now.since(what.approved).as_secs_f64());
        }
        self.phase = Phase::Ticketed;
        self.reschedule(collect_until, None);
    }

    /// Redis has no record, or an older epoch: it forgot. Made again, unless the login is over.
    pub(super) fn reclaim(&mut self, ctx: &mut Ctx) {
        let now = self.now();
        let Some(held) = &mut self.held else { return };
        if self.phase == Phase::Ticketed {
            // The token went with the record, and the ticket with it: the browser has to begin anew.
            return self.end(LoginOutcome::Failed, Close::Failure, ctx);
        }
        let open = matches!(self.phase, Phase::Waiting | Phase::Scanned(_));
        if !open || now >= held.deadline {
            return;
        }
        if matches!(self.phase, Phase::Scanned(_)) {
            // Nobody can scan the old windows' codes again: new ones up to the deadline.
            held.first_code = held.windows().last() + 1;
            held.codes_start = now;
        }
        let (store, id, login) = (self.worker.store.clone(), held.id, held.as_waiting(now));
        let reclaim = async move { store.reclaim(id, &login).await };
        ctx.spawn(reclaim.into_actor(self).map(|login, waiting, ctx| match login {
            Ok(login) => waiting.follow(login, Wake::Missing, ctx),
            Err(_) if waiting.reading == Reading::Idle => waiting.read_later(Wake::Missing, ctx),
            // The read that is under way, or due, finds it missing again.
            Err(_) => {}
        }));
    }
}
