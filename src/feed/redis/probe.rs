//! Writes a canary and waits for its notification, again and again.

use std::time::Duration;

use tokio::time::Instant;

/// How often the canary is written. A subscription that went deaf is found within this time and
/// [`PROBE_TIMEOUT`]; a half-open connection too.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How long its notification may take.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits for the next canary, or for the notification of the last. No I/O of its own.
pub(super) struct Probe {
    next: Instant,
    sent: Option<Instant>,
}

impl Probe {
    /// The first canary is due at once.
    pub(super) fn new() -> Self {
        Self { next: Instant::now(), sent: None }
    }

    /// When something is to be done: the next canary, or giving up on the last.
    pub(super) fn due(&self) -> Instant {
        self.sent.map_or(self.next, |sent| sent + PROBE_TIMEOUT)
    }

    /// Whether a canary is out.
    pub(super) fn is_out(&self) -> bool {
        self.sent.is_some()
    }

    /// A canary goes out now.
    pub(super) fn send(&mut self) {
        self.sent = Some(Instant::now());
    }

    /// The canary was heard: how long it took, if one was out.
    pub(super) fn heard(&mut self) -> Option<Duration> {
        self.next = Instant::now() + PROBE_EVERY;
        self.sent.take().map(|sent| sent.elapsed())
    }

    /// The canary was not heard; another one later.
    pub(super) fn give_up(&mut self) {
        self.sent = None;
        self.next = Instant::now() + PROBE_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_canary_is_waited_for_and_then_comes_again() {
        let mut probe = Probe::new();
        assert_eq!(probe.due(), Instant::now());
        assert_eq!(probe.heard(), None, "another instance's noise");
        probe.give_up();
        assert_eq!(probe.due(), Instant::now() + PROBE_EVERY);
        probe.send();
        assert_eq!(probe.due(), Instant::now() + PROBE_TIMEOUT);
        tokio::time::advance(Duration::from_millis(3)).await;
        assert_eq!(probe.heard(), Some(Duration::from_millis(3)));
        assert!(!probe.is_out());
    }
}
