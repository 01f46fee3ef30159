//! What the webhook must still be told: that a login for which it made a token was never delivered, or
//! that it was ended by others than the browser.
//!
//! An entry is put in before the webhook is asked for a token, and taken out when the browser has
//! acknowledged it. So whatever dies in between, an instance that looks at the entry when it is due
//! finds the login undelivered and says so: at least once, by whichever instance comes first.

use std::time::Duration;

use super::{Entry, Session, Store, StoreError};
use crate::{
    keys::LoginId,
    login::{LEASE, RECEIPT},
};

/// Most entries: a hundred logins a second whose tokens nobody collects, for a quarter of an hour.
/// Past it no token is asked for, since its end could not be told.
pub const MOST: usize = 100_000;
/// How long an entry that is being worked on is left to nobody else.
pub const WORK: Duration = Duration::from_secs(30);
/// How often the webhook is told the same: with the pauses of [`Revocation::pause`], about a day.
pub const MAX_ATTEMPTS: u8 = 150;
/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(600);
/// How long the queue outlives its last change: longer than any pause, and than the longest login.
pub(super) const LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long after the end of the collecting a login is looked at: clocks differ a little.
pub const MARGIN: Duration = Duration::from_secs(2);

/// When the entry of a login is due that is about to be approved.
pub fn due_after(collect: Duration) -> Duration {
    LEASE + collect + MARGIN
}

/// Why a login may have to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Its browser may never get the token.
    Undelivered,
    /// Its user, or the operator, ends it.
    Ended,
}

/// A login that may have to be revoked. Neither of its parts is a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revocation {
    /// The login.
    pub id: LoginId,
    /// Whose token the webhook was asked for.
    pub user: String,
    /// Why it may have to be.
    pub cause: Cause,
    /// How often the webhook was told in vain.
    pub attempts: u8,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is in.
    New,
    /// It was in already, and is due at the new time.
    Known,
    /// There are [`MOST`] others.
    Full,
}

/// What is due, and how much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// To be worked on within [`WORK`].
    pub due: Vec<Revocation>,
    /// The length of the queue.
    pub length: u64,
}

impl Revocation {
    /// One that nobody has been told of.
    pub fn new(id: LoginId, user: &str, cause: Cause) -> Self {
        Self { id, user: user.into(), cause, attempts: 0 }
    }

    /// The same after one more attempt.
    #[must_use]
    pub fn after_attempt(&self) -> Self {
        Self { attempts: self.attempts.saturating_add(1), ..self.clone() }
    }

    /// The pause before the next attempt.
    pub fn pause(&self) -> Duration {
        let doubled = 1 << u32::from(self.attempts).min(10);
        (Duration::from_secs(1) * doubled).min(MAX_PAUSE)
    }

    pub(super) fn pack(&self) -> Vec<u8> {
        let cause = match self.cause {
            Cause::Undelivered => 0,
            Cause::Ended => 1,
        };
        [&[self.attempts, cause], &self.id.as_bytes()[..], self.user.as_bytes()].concat()
    }

    pub(super) fn unpack(bytes: &[u8]) -> Option<Self> {
        let ([attempts, cause], rest) = bytes.split_first_chunk()?;
        let (id, user) = rest.split_at_checked(16)?;
        Some(Self {
            id: LoginId::from_bytes(id.try_into().ok()?),
            user: String::from_utf8(user.to_vec()).ok()?,
            cause: match cause {
                0 => Cause::Undelivered,
                1 => Cause::Ended,
                _ => return None,
            },
            attempts: *attempts,
        })
    }
}

impl Store {
    /// Ends the user's web login, of which the webhook that made its token is to hear; which one.
    ///
    /// # Errors
    /// [`StoreError`]: ended or not, a repetition finishes it, and what was ended is told.
    pub async fn end_session_and_tell(&self, user: &str) -> Result<Option<LoginId>, StoreError> {
        // Before it ends, so that no outage in between hides it: an entry whose login is still the
        // user's by the time it is due is dropped.
        if let Entry::Session(Session { id, .. }) = self.entry(user).await? {
            self.outbox_put(&Revocation::new(id, user, Cause::Ended), WORK).await?;
        }
        let ended = self.end_session(user).await?;
        if let Some(id) = ended {
            self.outbox_put(&Revocation::new(id, user, Cause::Ended), Duration::ZERO).await?;
        }
        Ok(ended)
    }
}

// A login whose record is gone can still be judged by its user's entry; but while the record is
// there it says more, so the first look must come before the receipt ends.
const _: () = assert!(LEASE.as_secs() + MARGIN.as_secs() < RECEIPT.as_secs());
