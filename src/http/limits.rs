//! How much one address or one user may do: GCRA limiters by `governor`, one per kind of call.

use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};

use super::{claims::OpenClaims, client::Client, held::HeldCalls};
use crate::{clock::Timestamp, config::Config, error::ApiError, metrics::TokenRefusal};

/// Keys that are back at their full allowance are forgotten after so many calls, too: whoever calls
/// from ever new addresses makes this many entries and no more.
const FORGET_AFTER: u32 = 65_536;

/// A limit per key.
pub struct Limit<K: Hash + Eq + Clone> {
    /// `None`: unlimited.
    limiter: Option<DefaultKeyedRateLimiter<K>>,
    calls: AtomicU32,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn per_minute(most: Option<NonZeroU32>) -> Self {
        let limiter = most.map(|most| DefaultKeyedRateLimiter::keyed(Quota::per_minute(most)));
        Self { limiter, calls: AtomicU32::default() }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// How long to wait.
    pub fn check(&self, key: K) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        if self.calls.fetch_add(1, Ordering::Relaxed) % FORGET_AFTER == FORGET_AFTER - 1 {
            limiter.retain_recent();
        }
        limiter
            .check_key(&key)
            .map_err(|not_yet| not_yet.wait_time_from(DefaultClock::default().now()))
    }

    fn forget_the_idle(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
        }
    }
}

/// All limits of the instance.
pub struct Limits {
    /// New logins per client address.
    pub connects: Limit<IpAddr>,
    /// Resumes per client address: ten times as many, since a deploy brings all back at once.
    pub resumes: Limit<IpAddr>,
    /// Scans, confirmations and denials per user.
    pub scans: Limit<String>,
    /// Logins of one user that wait for a confirmation.
    pub claims: OpenClaims,
    /// Calls that a user's phones hold open.
    pub held: HeldCalls,
    /// Forged tokens per client address.
    bad_tokens: Limit<IpAddr>,
}

impl Limits {
    /// As configured.
    pub fn new(config: &Config) -> Self {
        let resumes = config
            .connects_per_minute
            .map(|connects| connects.saturating_mul(NonZeroU32::new(10).unwrap_or(connects)));
        Self {
            connects: Limit::per_minute(config.connects_per_minute),
            resumes: Limit::per_minute(resumes),
            scans: Limit::per_minute(config.scans_per_minute),
            claims: OpenClaims::new(config.claims_per_user),
            held: HeldCalls::default(),
            bad_tokens: Limit::per_minute(config.bad_tokens_per_minute),
        }
    }

    /// What a call is told whose token is refused: 401, or 429 where its address has brought too many
    /// that nobody has signed who may.
    ///
    /// Only these count. A token that is good never does, so that a backend which asks for all its
    /// users, or a network behind one address, is not held back for a forger beside it. Nor does one
    /// that was good and is over: a backend passes on what its users' browsers kept, and has to hear
    /// 401 about each. Nor does a call without a token, which costs nothing to refuse.
    pub fn refuse_token(&self, client: &Client, why: TokenRefusal) -> ApiError {
        use TokenRefusal::{Expired, Missing, NotYet, Revoked};
        if matches!(why, Missing | Expired | NotYet | Revoked) {
            return ApiError::Unauthenticated(why);
        }
        match self.bad_tokens.check(client.limit_key()) {
            Ok(()) => ApiError::Unauthenticated(why),
            Err(wait) => ApiError::Limited(wait),
        }
    }

    /// The same of a token that no key fits which is known, where nobody may ask for newer ones for so
    /// long.
    pub fn count_forged(&self, client: &Client, keys_in: Duration) -> ApiError {
        let address = self.bad_tokens.check(client.limit_key()).err().unwrap_or_default();
        ApiError::Limited(keys_in.max(address))
    }

    /// Frees the memory of keys that are back at their full allowance. To be called now and then.
    pub fn forget_the_idle(&self, now: Timestamp) {
        self.connects.forget_the_idle();
        self.resumes.forget_the_idle();
        self.scans.forget_the_idle();
        self.bad_tokens.forget_the_idle();
        self.claims.forget_the_idle(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_number_leave_a_bounded_memory() {
        let limit = Limit::per_minute(NonZeroU32::new(60_000));
        for n in 0..10 * u128::from(FORGET_AFTER) {
            let address = IpAddr::V6((n << 64).into());
            assert_eq!(limit.check(address), Ok(()));
        }
        let kept = limit.limiter.as_ref().map(|limiter| limiter.len());
        assert!(kept.is_some_and(|kept| kept <= 2 * FORGET_AFTER as usize), "{kept:?}");
    }
}
