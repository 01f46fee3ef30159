//! The app's key set (JWKS): fetched in the background, kept while its endpoint is away.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};
use jsonwebtoken::jwk::Jwk;
use reqwest::Client;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use url::Url;

use super::outgoing::{self, CALL_TIME, CallError};
use crate::{
    clock::{Clock, Timestamp},
    config::pem::VerifyingKey,
    json::{self, Object},
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
/// Fetches that tokens may cause in a minute which no key fits: so many at once, then one every 10 s. Whoever makes such
/// tokens up costs the endpoint this much and no more. Each fetch is everybody's: while somebody uses up all of them, a new key
/// is known 10 s and a fetch after it is published.
const ASKED_PER_MINUTE: u32 = 6;

/// What is known of the set.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) keys: Arc<Vec<VerifyingKey>>,
    /// When they were fetched, by the wall clock.
    pub(super) fetched: Timestamp,
    /// Whether the last fetch failed.
    failing: bool,
    /// The number of the last fetch that is over.
    fetch: u64,
}

/// Fetches that were begun and asked for.
#[derive(Default)]
struct Fetches {
    /// The number of the last one that was begun.
    begun: u64,
    /// Whether another one is wanted as soon as that is over.
    wanted: bool,
}

#[derive(Default)]
struct Requests {
    fetches: Mutex<Fetches>,
    wake: Notify,
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Fetches> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a fetch that begins from now on, if there is none to share and `may` lets it; its number.
    fn ask<E>(&self, may: impl FnOnce() -> Result<(), E>) -> Result<u64, E> {
        let mut fetches = self.lock();
        if !fetches.wanted {
            may()?;
            fetches.wanted = true;
            self.wake.notify_one();
        }
        Ok(fetches.begun + 1)
    }

    fn begin(&self) -> u64 {
        let mut fetches = self.lock();
        fetches.wanted = false;
        fetches.begun += 1;
        fetches.begun
    }
}

/// The keys as those who verify see them.
pub struct KeySet {
    known: watch::Receiver<Known>,
    requests: Arc<Requests>,
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
    requests: Arc<Requests>,
    refresh: Duration,
}

/// What came of asking for a newer set.
pub(super) enum Newer {
    /// Its keys.
    Keys(Arc<Vec<VerifyingKey>>),
    /// The set cannot be fetched.
    Away,
    /// It was asked for too often; it may be again after this long.
    TooOften(Duration),
}

impl KeySet {
    /// The set; fetched anew where it is too old to be believed.
    pub(super) async fn current(&self) -> Known {
        let known = self.known.borrow().clone();
        // The fetcher waits by a clock that stands still while the machine is suspended; a key that was
        // withdrawn meanwhile is good no longer for that.
        let is_old = !known.failing && self.clock.wall().since(known.fetched) > self.old;
        if !is_old {
            return known;
        }
        let Ok(fetch) = self.requests.ask(|| Ok::<_, std::convert::Infallible>(()));
        self.after(fetch).await.unwrap_or(known)
    }

    /// The set as it is published now, for a token that no key of the current one fits: its `kid` may be new, or
    /// its signature by a new key without an id, or under an old one's.
    pub(super) async fn newer(&self) -> Newer {
        let asked = self.requests.ask(|| {
            let refused = self.asked.check().err();
            refused.map_or(Ok(()), |until| Err(until.wait_time_from(DefaultClock::default().now())))
        });
        match asked {
            Err(_) if self.known.borrow().failing => Newer::Away,
            Err(wait) => Newer::TooOften(wait),
            Ok(fetch) => match self.after(fetch).await {
                Some(Known { keys, failing: false, .. }) => Newer::Keys(keys),
                _ => Newer::Away,
            },
        }
    }

    /// What is known after this fetch; `None` where it is not over in time.
    async fn after(&self, fetch: u64) -> Option<Known> {
        let mut receiver = self.known.clone();
        // Each fetch, good or not, is announced; one that hangs ends by itself, and one may be under way before it.
        let over = receiver.wait_for(|known| known.fetch >= fetch);
        let known = tokio::time::timeout(CALL_TIME * 2, over).await.ok()?.ok()?;
        Some(known.clone())
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
        let (known, requests) = (watch::Sender::default(), Arc::default());
        Ok(Self { url, client, metrics, clock, known, requests, refresh })
    }

    /// The set as it is and will be.
    pub fn key_set(&self) -> KeySet {
        let per_minute = std::num::NonZeroU32::new(ASKED_PER_MINUTE).expect("not 0");
        KeySet {
            known: self.known.subscribe(),
            requests: self.requests.clone(),
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
        let fetch = self.requests.begin();
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
                let keys = Arc::new(keys);
                self.known.send_replace(Known { keys, fetched, failing: false, fetch });
                Ok(())
            }
            Err(error) => {
                self.known.send_modify(|known| (known.failing, known.fetch) = (true, fetch));
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
                () = self.requests.wake.notified() => true,
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
    let set: Set =
        json::object(body).map_err(|_| CallError::Invalid("is not a JSON Web Key Set".into()))?;
    let count = set.keys.len();
    let keys: Vec<_> = set
        .keys
        .into_iter()
        .filter_map(|key| VerifyingKey::of_jwk(&serde_json::from_value::<Object<Jwk>>(key).ok()?.0))
        .take(MAX_KEYS)
        .collect();
    if keys.is_empty() {
        return Err(CallError::Invalid(format!(
            "has {count} keys, none of which is a public RSA, P-256 or Ed25519 key for signatures"
        )));
    }
    Ok(keys)
}
