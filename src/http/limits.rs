//! How much one address or one user may do: GCRA limiters by `governor`, one per kind of call.

use std::{hash::Hash, net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};

use super::claims::OpenClaims;
use crate::{clock::Timestamp, config::Config};

/// A limit per key; `None`: unlimited.
pub struct Limit<K: Hash + Eq + Clone>(Option<DefaultKeyedRateLimiter<K>>);

impl<K: Hash + Eq + Clone> Limit<K> {
    fn per_minute(most: Option<NonZeroU32>) -> Self {
        Self(most.map(|most| DefaultKeyedRateLimiter::keyed(Quota::per_minute(most))))
    }

    /// Counts a call.
    ///
    /// # Errors
    /// How long to wait.
    pub fn check(&self, key: K) -> Result<(), Duration> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter
            .check_key(&key)
            .map_err(|not_yet| not_yet.wait_time_from(DefaultClock::default().now()))
    }

    fn forget_the_idle(&self) {
        if let Some(limiter) = &self.0 {
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
        }
    }

    /// Frees the memory of keys that are back at their full allowance. To be called now and then.
    pub fn forget_the_idle(&self, now: Timestamp) {
        self.connects.forget_the_idle();
        self.resumes.forget_the_idle();
        self.scans.forget_the_idle();
        self.claims.forget_the_idle(now);
    }
}
