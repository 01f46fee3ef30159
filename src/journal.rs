//! One line for each thing that happens to a login, and one for its end.
//!
//! Each line carries a hash of the login's id, the same at the browser's instance and at the
//! phone's, so that one login can be followed wherever it went. Under a flood only a share of the
//! logins is written, and all instances choose the same ones: the choice is made by the login's id,
//! and a smaller share is part of every larger one. What is left out is counted.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing::Level;

use crate::{
    clock::{Clock, Timestamp},
    keys::LoginId,
    login::{Answer, Held, Protocol},
    metrics::{Label, LoginOutcome, Metrics, ProtocolLabel},
    trace::{TraceContext, Tracer},
};

/// Writes about logins.
pub struct Journal {
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Lines a second; `None`: all.
    limit: Option<NonZeroU32>,
    second: Mutex<Second>,
    /// Exports traces, where that is wanted.
    pub tracer: Option<Arc<Tracer>>,
}

/// How a login went.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which.
    pub id: LoginId,
    /// How it ended.
    pub outcome: LoginOutcome,
    /// The browser's protocol.
    pub protocol: ProtocolLabel,
    /// How often its browser came back.
    pub resumes: u32,
    /// When it began, as all of these on the store's clock.
    pub created: Timestamp,
    /// When the phone's yes was stored, where its token was pushed.
    pub approved: Option<Timestamp>,
    /// When the token was handed to the socket.
    pub pushed: Option<Timestamp>,
    /// When it ended.
    pub at: Timestamp,
}

impl Ended {
    /// The end of a login that has been held so far.
    pub fn of(held: &Held, outcome: LoginOutcome, at: Timestamp) -> Self {
        let protocol = match held.protocol {
            Protocol::Plain => ProtocolLabel::Plain,
            Protocol::Json => ProtocolLabel::Json,
        };
        let (approved, pushed) = (None, None);
        let (id, resumes, created) = (held.id, held.epoch.saturating_sub(1), held.created);
        Self { id, outcome, protocol, resumes, created, approved, pushed, at }
    }
}

impl Journal {
    /// An empty one.
    pub fn new(
        metrics: Arc<Metrics>,
        clock: Clock,
        limit: Option<NonZeroU32>,
        tracer: Option<Arc<Tracer>>,
    ) -> Self {
        Self { metrics, clock, limit, second: Mutex::default(), tracer }
    }

    /// A phone has scanned it.
    pub fn scanned(&self, id: LoginId, answer: Answer, repeated: bool, at: Option<TraceContext>) {
        if self.keeps(id) {
            tracing::info!(login = id.log_id(), ?answer, repeated, trace = trace(at), "scanned");
        }
    }

    /// Its user has confirmed it.
    pub fn confirmed(&self, id: LoginId, repeated: bool, at: Option<TraceContext>) {
        if self.keeps(id) {
            tracing::info!(login = id.log_id(), repeated, trace = trace(at), "confirmed");
        }
    }

    /// Its user has typed a number that is not the browser's.
    pub fn missed(&self, id: LoginId, tries_left: u8, at: Option<TraceContext>) {
        if self.keeps(id) {
            tracing::info!(login = id.log_id(), tries_left, trace = trace(at), "wrong number");
        }
    }

    /// Its user has said no.
    pub fn denied(&self, id: LoginId, repeated: bool, at: Option<TraceContext>) {
        if self.keeps(id) {
            tracing::info!(login = id.log_id(), repeated, trace = trace(at), "denied");
        }
    }

    /// Its ticket has become a cookie.
    pub fn redeemed(&self, id: LoginId, at: Option<TraceContext>) {
        if self.keeps(id) {
            tracing::info!(login = id.log_id(), trace = trace(at), "redeemed");
        }
    }

    /// It is over: counted and written once for each, by whoever held it last.
    pub fn ended(&self, ended: &Ended) {
        let Ended { id, outcome, protocol, resumes, created, approved, pushed, at } = ended.clone();
        let waited = at.since(created);
        self.metrics.logins.inc(outcome);
        self.metrics.wait.observe(waited.as_secs_f64());
        if let Some(tracer) = &self.tracer {
            tracer.login(ended);
        }
        if self.keeps(id) {
            let push = pushed.zip(approved).map(|(pushed, approved)| pushed.since(approved));
            let millis = |time: Duration| time.as_secs_f64() * 1000.0;
            tracing::info!(
                login = id.log_id(),
                outcome = outcome.text(),
                protocol = protocol.text(),
                waited_ms = waited.as_millis() as u64,
                push_ms = push.map(millis),
                acknowledge_ms = pushed.map(|pushed| millis(at.since(pushed))),
                resumes,
                "login ended"
            );
        }
    }

    fn keeps(&self, id: LoginId) -> bool {
        let Some(limit) = self.limit else { return true };
        if !tracing::enabled!(Level::INFO) {
            return false;
        }
        let now = self.clock.now().as_secs();
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = second.keeps(now, limit, id.lot());
        drop(second);
        if !kept {
            self.metrics.log_lines_sampled_out.inc();
        }
        kept
    }
}

fn trace(at: Option<TraceContext>) -> Option<String> {
    at.map(TraceContext::trace)
}

/// What was written in the current second.
#[derive(Debug, Default)]
struct Second {
    number: u64,
    /// Lines that were to be written.
    wanted: u32,
    kept: u32,
    /// Of 2 to the power of this many logins, one is written.
    share: u32,
}

impl Second {
    /// Whether a line about a login of this lot is written.
    fn keeps(&mut self, now: u64, limit: NonZeroU32, lot: u32) -> bool {
        if now != self.number {
            // What would have been right for the last second is tried in this one.
            let share = (0..32).find(|share| self.wanted >> share <= limit.get());
            let share = if now == self.number + 1 { share.unwrap_or(31) } else { 0 };
            *self = Self { number: now, share, ..Self::default() };
        }
        self.wanted = self.wanted.saturating_add(1);
        // And halved with each further `limit` of this second: a flood that begins is bounded too.
        let share = (self.share + self.kept / limit).min(31);
        let keeps = lot.trailing_zeros() >= share;
        self.kept += u32::from(keeps);
        keeps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: NonZeroU32 = NonZeroU32::new(100).unwrap();

    /// The lots that were kept of a second with so many lines.
    fn kept(second: &mut Second, now: u64, lines: u32) -> Vec<u32> {
        // Lots as ids have them: evenly spread.
        let lots = (0..lines).map(|line| line.wrapping_mul(2_654_435_761));
        lots.filter(|lot| second.keeps(now, LIMIT, *lot)).collect()
    }

    #[test]
    fn up_to_the_limit_everything_is_written() {
        let mut second = Second::default();
        for now in 1..10 {
            assert_eq!(kept(&mut second, now, 100).len(), 100);
        }
    }

    #[test]
    fn a_flood_is_bounded_from_its_first_second_and_a_share_of_it_is_written() {
        let mut second = Second::default();
        let first = kept(&mut second, 1, 100_000).len();
        assert!((100..=1200).contains(&first), "{first}");
        for now in 2..10 {
            let lines = kept(&mut second, now, 100_000).len();
            assert!((50..=200).contains(&lines), "{lines}");
        }
        // And after it everything again.
        kept(&mut second, 10, 50);
        assert_eq!(kept(&mut second, 11, 50).len(), 50);
        kept(&mut second, 12, 100_000);
        assert_eq!(kept(&mut second, 20, 50).len(), 50);
    }

    #[test]
    fn two_instances_write_about_the_same_logins() {
        let (mut busy, mut quiet) = (Second::default(), Second::default());
        kept(&mut busy, 1, 100_000);
        kept(&mut quiet, 1, 1000);
        let (few, many) = (kept(&mut busy, 2, 100_000), kept(&mut quiet, 2, 1000));
        let also = few.iter().filter(|lot| {
            // The quiet one's own rule about a login of the busy one.
            lot.trailing_zeros() >= quiet.share
        });
        assert_eq!(also.count(), few.len(), "the smaller share is part of the larger");
        assert!(many.len() > 50);
    }
}
