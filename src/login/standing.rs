//! What the service remembers of a user between logins: from where the user has confirmed before,
//! and how many numbers were wrong. Keyed hashes only, and each with its end.

use std::{net::IpAddr, time::Duration};

use aws_lc_rs::{hkdf, hmac};

use crate::{clock::Timestamp, keys::Hash, origin::limit_key};

/// How long an address stays known after the user last confirmed a login from it (issue 4).
pub const PLACE_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Most addresses kept of a user: home, work, a phone's network that changes. The one that was not
/// used for the longest time goes.
pub const MAX_PLACES: usize = 16;
/// So many wrong numbers lock the user's scans, in however many logins: three logins with three
/// tries each, and no more for a guesser who leaves each login after two.
pub const MAX_FAILED_MATCHES: u8 = 9;
/// Wrong numbers count together for this time after the first of them. A person who mistypes once a
/// day is never locked out.
pub const FAILED_MATCH_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// How long the lock lasts (issue 4).
pub const LOCK: Duration = Duration::from_secs(15 * 60);

/// The key of the hashes. All instances derive the same one.
#[derive(Clone)]
pub struct HistoryKey(hmac::Key);

impl HistoryKey {
    /// Derived from a secret that all instances share. Another secret forgets everybody's history,
    /// which makes addresses unknown and ends locks, nothing worse.
    ///
    /// # Panics
    /// Never: the length is HMAC's own.
    pub fn derive(secret: &[u8]) -> Self {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"scanlogin").extract(secret);
        let okm = prk.expand(&[b"history"], hmac::HMAC_SHA256);
        Self(hmac::Key::from(okm.expect("HMAC's key length is within HKDF's limit")))
    }

    fn hash(&self, label: &[u8], address: &[u8], user: &str) -> Hash {
        let mut context = hmac::Context::with_key(&self.0);
        // Labels and addresses have fixed lengths, so no two inputs look the same.
        for part in [label, address, user.as_bytes()] {
            context.update(part);
        }
        let mut out = [0; 16];
        out.copy_from_slice(&context.sign().as_ref()[..16]);
        Hash::from_bytes(out)
    }

    /// The name of a user's standing.
    pub fn user(&self, user: &str) -> Hash {
        self.hash(b"user ", &[], user)
    }

    /// A browser's address (IPv6: its /64), as this user's history names it.
    pub fn place(&self, user: &str, address: IpAddr) -> Hash {
        let bytes = match limit_key(address) {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        self.hash(b"place", &bytes, user)
    }
}

impl std::fmt::Debug for HistoryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HistoryKey(redacted)")
    }
}

/// What is remembered of one user. `note.lua` is its twin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Known addresses and when each was last confirmed, newest first.
    pub places: Vec<(Hash, Timestamp)>,
    /// Wrong numbers that count together, since the last lock. A former version counted logins that
    /// ended by three of them here, and reads this as such: it locks sooner while both run.
    pub failed_matches: u8,
    /// When the first of them was.
    pub failing_since: Timestamp,
    /// Until when this user's scans are refused.
    pub locked_until: Timestamp,
}

/// What is to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The user confirmed a login from this address.
    Place(Hash),
    /// The number was wrong.
    FailedMatch,
}

impl Standing {
    /// Whether the user has confirmed a login from there lately.
    pub fn knows(&self, place: &Hash, now: Timestamp) -> bool {
        let fresh = |seen: &Timestamp| now.since(*seen) < PLACE_LIFE;
        self.places.iter().any(|(known, seen)| known.matches(place) && fresh(seen))
    }

    /// How long this user's scans are refused; `None`: they are not.
    pub fn locked(&self, now: Timestamp) -> Option<Duration> {
        (now < self.locked_until).then(|| now.until(self.locked_until))
    }

    /// With something more to remember.
    pub fn noted(mut self, note: Note, now: Timestamp) -> Self {
        match note {
            Note::Place(place) => {
                self.places
                    .retain(|(known, seen)| *known != place && now.since(*seen) < PLACE_LIFE);
                self.places.insert(0, (place, now));
                self.places.truncate(MAX_PLACES);
            }
            Note::FailedMatch => {
                let is_over = now.since(self.failing_since) >= FAILED_MATCH_WINDOW;
                if self.failed_matches == 0 || is_over {
                    (self.failed_matches, self.failing_since) = (0, now);
                }
                self.failed_matches += 1;
                if self.failed_matches >= MAX_FAILED_MATCHES {
                    (self.failed_matches, self.locked_until) = (0, now + LOCK);
                }
            }
        }
        self
    }

    /// How long it is kept after a note.
    pub fn life(&self) -> Duration {
        if self.places.is_empty() { FAILED_MATCH_WINDOW } else { PLACE_LIFE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> HistoryKey {
        HistoryKey::derive(b"a secret that all instances share")
    }

    fn place(number: u8) -> Hash {
        key().place("alice", IpAddr::from([192, 0, 2, number]))
    }

    #[test]
    fn hashes_differ_by_secret_user_address_and_purpose_and_not_within_a_network() {
        let of = |user, address: &str| key().place(user, address.parse().unwrap());
        assert_eq!(of("alice", "2001:db8::1"), of("alice", "2001:db8::ffff"));
        assert_ne!(of("alice", "2001:db8::1"), of("alice", "2001:db8:0:1::1"));
        assert_ne!(of("alice", "192.0.2.1"), of("alice", "192.0.2.2"));
        assert_ne!(of("alice", "192.0.2.1"), of("bob", "192.0.2.1"));
        assert_ne!(key().user("alice"), key().user("bob"));
        let other = HistoryKey::derive(b"another secret, as after a rotation");
        assert_ne!(key().user("alice"), other.user("alice"));
    }

    #[test]
    fn an_address_is_known_for_its_time_and_the_oldest_of_many_goes() {
        let now = Timestamp::default() + PLACE_LIFE * 2;
        let second = Duration::from_secs(1);
        let mut standing = Standing::default();
        for number in 0..20 {
            let noted = now + second * u32::from(number);
            standing = standing.noted(Note::Place(place(number)), noted);
            assert!(standing.knows(&place(number), noted));
        }
        assert_eq!(standing.places.len(), MAX_PLACES);
        let later = now + second * 20;
        assert!(!standing.knows(&place(3), later));
        assert!(standing.knows(&place(4), later));
        assert!(!standing.knows(&place(4), now + second * 4 + PLACE_LIFE));
        // Used again, it is the newest.
        standing =
            standing.noted(Note::Place(place(4)), later).noted(Note::Place(place(20)), later);
        assert!(standing.knows(&place(4), later) && !standing.knows(&place(5), later));
    }

    #[test]
    fn nine_wrong_numbers_of_one_day_lock_and_one_a_day_never_does() {
        let now = Timestamp::default() + PLACE_LIFE;
        let missed = |standing: Standing, at| standing.noted(Note::FailedMatch, at);
        let eight = (0..8).fold(Standing::default(), |standing, _| missed(standing, now));
        assert_eq!(eight.locked(now), None);
        let soon = now + FAILED_MATCH_WINDOW - Duration::from_secs(1);
        let nine = missed(eight.clone(), soon);
        assert_eq!(nine.locked(soon), Some(LOCK));
        assert_eq!(nine.locked(soon + LOCK), None);
        assert_eq!(missed(nine, soon).locked(soon + LOCK), None, "counted anew");
        let late = now + FAILED_MATCH_WINDOW;
        assert_eq!(missed(eight, late).failed_matches, 1);
        let daily = |standing: Standing, day: u32| {
            let at = now + Duration::from_secs(23 * 3600) * day;
            let standing = missed(standing, at);
            assert_eq!(standing.locked(at), None, "day {day}");
            standing
        };
        (0..60).fold(Standing::default(), daily);
    }
}
