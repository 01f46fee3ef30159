//! What the owner of a login knows besides the record.

use std::time::Duration;

use super::{Codes, Login, Protocol, State, Windows};
use crate::{
    clock::Timestamp,
    keys::{Hash, LoginId, Seed},
    origin::ClientNetwork,
};

/// What the browser's instance knows of a login besides its record: enough to make the record
/// again when Redis forgot it, and to open the token.
#[derive(Clone, Debug)]
pub struct Held {
    /// The login.
    pub id: LoginId,
    /// From where its browser was last connected.
    pub from: ClientNetwork,
    /// Its root secret.
    pub seed: Seed,
    /// The epoch under which this instance owns it.
    pub epoch: u32,
    /// The browser's protocol.
    pub protocol: Protocol,
    /// When it began, on the store's clock.
    pub created: Timestamp,
    /// The end of the waiting or, once approved, of the collecting, on the store's clock.
    pub deadline: Timestamp,
    /// When the first code was shown.
    pub codes_start: Timestamp,
    /// How long each code is shown, in milliseconds; 0: there is one code. Every waiting browser has
    /// this, and an `Option<Duration>` takes 12 bytes more.
    pub rotate_ms: u32,
    /// The number of the first code.
    pub first_code: u32,
    /// The hash of the cookie of the browser that it belongs to, where it does to one.
    pub browser: Option<Box<Hash>>,
}

impl Held {
    /// When which code is shown.
    pub fn windows(&self) -> Windows {
        let life = self.codes_start.until(self.deadline);
        Windows::lay_out(self.first_code, self.codes_start, life, self.rotate())
    }

    fn rotate(&self) -> Option<Duration> {
        (self.rotate_ms > 0).then(|| Duration::from_millis(self.rotate_ms.into()))
    }

    /// [`Self::rotate_ms`] of this time.
    pub fn in_ms(rotate: Option<Duration>) -> u32 {
        rotate.map_or(0, |rotate| u32::try_from(rotate.as_millis()).unwrap_or(u32::MAX).max(1))
    }

    /// The record as it was when the waiting began.
    pub fn as_waiting(&self, now: Timestamp) -> Login {
        let (proof, mut codes) = (self.seed.proof(), Codes::of(&self.seed, self.windows()));
        if let Some(browser) = &self.browser {
            codes.bind(**browser);
        }
        let mut login =
            Login::new(self.epoch, self.protocol, proof, codes, self.deadline, self.created);
        login.changed = now;
        login
    }

    /// The same with its browser there.
    #[must_use]
    pub fn connected_from(self, from: ClientNetwork) -> Self {
        Self { from, ..self }
    }

    /// What a browser that comes back to `login` holds.
    pub fn of(id: LoginId, seed: Seed, login: &Login) -> Self {
        let deadline = match &login.state {
            State::Waiting { deadline: end }
            | State::Scanned { deadline: end, .. }
            | State::Approved { collect_until: end, .. }
            | State::Ended { until: end, .. } => *end,
        };
        Self {
            id,
            from: ClientNetwork::default(),
            seed,
            epoch: login.epoch,
            protocol: login.protocol,
            created: login.created,
            deadline,
            codes_start: login.codes.start,
            rotate_ms: Self::in_ms(login.codes.rotate),
            first_code: login.codes.first,
            browser: login.codes.browser().map(Box::new),
        }
    }
}
