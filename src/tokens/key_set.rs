//! The app's key set (JWKS): fetched in the background, kept while its endpoint is away.

use std::{sync::Arc, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota};
use jsonwebtoken::jwk::Jwk;
use reqwest::Client;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use url::Url;

use super::outgoing::{self, CALL_TIME, CallError};
use crate::{
    clock::{Clock, Timestamp},
    config::pem::VerifyingKey,
    metrics::{KeySetResult, Metrics},
};

/// How often the set is fetched: what a key that was withdrawn stays good for, at most.
pub const REFRESH: Duration = Duration::from_secs(300);
/// The first pause after a fetch that failed; doubled up to the usual one.
const RETRY: Duration = Duration::from_secs(5);
/// Largest set, in bytes: a hundred keys have a tenth of it.
const MAX_BODY: usize = 256 * 1024;
/// Most keys that are kept of a set.
const MAX_KEYS: usize = 100;
/// Fetches that tokens with unknown keys may cause in a minute. Whoever invents key ids costs the
/// endpoint this much and no more; a real rotation needs one.
const ASKED_PER_MINUTE: u32 = 6;

/// What is known of the set.
#[derive(Clone, Debug, Default)]
struct Known {
    keys: Arc<Vec<VerifyingKey>>,
    /// When they were fetched, by the wall clock.
    fetched: Timestamp,
    /// Whether the last fetch failed.
    failing: bool,
}

/// The keys as those who verify see them.
pub struct KeySet {
    known: watch::Receiver<Known>,
    wanted: Arc<Notify>,
    asked: DefaultDirectRateLimiter,
    clock: Clock,
    /// From so old on a set should have been fetched again.
    old: Duration,
}

/// Fetches the keys: one for each process.
pub struct Fetcher {
    url: Url,
    client: Client,
    metrics: Arc<Metrics>,
    clock: Clock,
    known: watch::Sender<Known>,
    wanted: Arc<Notify>,
    refresh: Duration,
}

/// What was found for a token's key id.
pub(super) enum Found {
    /// The keys that may have signed it; perhaps none.
    Keys(Arc<Vec<VerifyingKey>>),
    /// It names a key that we do not have, and the set cannot be fetched.
    Away,
}

impl KeySet {
    /// The keys; fetched anew, within limits, where `id` is none of theirs.
    pub(super) async fn find(&self, id: Option<&str>) -> Found {
        let has = |known: &Known| match id {
            None => true,
            Some(_) => known.keys.iter().any(|key| key.id.is_none() || key.id.as_deref() == id),
        };
        let mut receiver = self.known.clone();
        let known = receiver.borrow_and_update().clone();
        // The fetcher waits by a clock that stands still while the machine is suspended; a key that was
        // withdrawn meanwhile is good no longer for that.
        let is_old = !known.failing && self.clock.wall().since(known.fetched) > self.old;
        if has(&known) && !is_old {
            return Found::Keys(known.keys);
        }
        if is_old || self.asked.check().is_ok() {
            self.wanted.notify_one();
            // Each fetch, good or not, is announced; one that hangs ends by itself.
            let _ = tokio::time::timeout(CALL_TIME * 2, receiver.changed()).await;
        }
        let known = receiver.borrow().clone();
        if !has(&known) && known.failing { Found::Away } else { Found::Keys(known.keys) }
    }
}

impl Fetcher {
    /// A fetcher that has fetched nothing yet.
    ///
    /// # Errors
    /// Where no client can be made.
    pub fn new(
        url: Url,
        refresh: Duration,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, CallError> {
        let client = outgoing::client(&url).map_err(|e| CallError::Unreachable(e.to_string()))?;
        let (known, wanted) = (watch::Sender::default(), Arc::default());
        Ok(Self { url, client, metrics, clock, known, wanted, refresh })
    }

    /// The set as it is and will be.
    pub fn key_set(&self) -> KeySet {
        let per_minute = std::num::NonZeroU32::new(ASKED_PER_MINUTE).expect("not 0");
        KeySet {
            known: self.known.subscribe(),
            wanted: self.wanted.clone(),
            asked: DefaultDirectRateLimiter::direct(Quota::per_minute(per_minute)),
            clock: self.clock.clone(),
            // With the time that a fetch may take.
            old: self.refresh + CALL_TIME * 2,
        }
    }

    /// Fetches the set once.
    ///
    /// # Errors
    /// Why it could not be; the keys stay as they were.
    pub async fn fetch(&self) -> Result<(), CallError> {
        let sent = self.client.get(self.url.clone()).send().await;
        let fetched = outgoing::body(sent, MAX_BODY).await.and_then(|body| parse(&body));
        self.metrics.key_set_refreshes.inc(match &fetched {
            Ok(_) => KeySetResult::Ok,
            Err(CallError::Unreachable(_) | CallError::NoAnswer(_)) => KeySetResult::Unreachable,
            Err(CallError::Status(_)) => KeySetResult::Status,
            Err(CallError::Invalid(_)) => KeySetResult::Invalid,
        });
        match fetched {
            Ok(keys) => {
                let fetched = self.clock.wall();
                self.metrics.key_set_refreshed.set(fetched.as_secs() as i64);
                self.known.send_replace(Known { keys: Arc::new(keys), fetched, failing: false });
                Ok(())
            }
            Err(error) => {
                self.known.send_modify(|known| known.failing = true);
                Err(error)
            }
        }
    }

    /// Keeps the set fresh, for ever.
    pub async fn run(self) {
        let mut pause = self.refresh;
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(pause) => false,
                () = self.wanted.notified() => true,
            };
            pause = match self.fetch().await {
                Ok(()) => self.refresh,
                Err(error) => {
                    tracing::warn!(%error, "the app's key set cannot be fetched: the old keys stay");
                    match pause {
                        pause if pause == self.refresh => RETRY.min(self.refresh),
                        // Strangers' tokens must not put off our own next attempt.
                        pause if asked => pause,
                        pause => (pause * 2).min(self.refresh),
                    }
                }
            };
        }
    }
}

/// The keys of a set that can verify tokens; others are passed over (RFC 7517, 5).
fn parse(body: &[u8]) -> Result<Vec<VerifyingKey>, CallError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(body)
        .map_err(|_| CallError::Invalid("is not a JSON Web Key Set".into()))?;
    let count = set.keys.len();
    let keys: Vec<_> = set
        .keys
        .into_iter()
        .filter_map(|key| VerifyingKey::of_jwk(&serde_json::from_value::<Jwk>(key).ok()?))
        .take(MAX_KEYS)
        .collect();
    if keys.is_empty() {
        return Err(CallError::Invalid(format!(
            "has {count} keys, none of which is a public RSA, P-256 or Ed25519 key for signatures"
        )));
    }
    Ok(keys)
}
