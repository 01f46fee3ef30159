//! What the service remembers of a user between logins: from where the user has confirmed before,
//! and how many logins ended by wrong numbers. Keyed hashes only, and each with its end.

use std::{net::IpAddr, time::Duration};

use aws_lc_rs::{hkdf, hmac};

use crate::{clock::Timestamp, keys::Hash, origin::limit_key};

/// How long an address stays known after the user last confirmed a login from it (issue 4).
pub const PLACE_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Most addresses kept of a user: home, work, a phone's network that changes. The one that was not
/// used for the longest time goes.
pub const MAX_PLACES: usize = 16;
/// So many logins ended by wrong numbers lock the user's scans (issue 4).
pub const MAX_STRIKES: u8 = 3;
/// They count together if each comes within this time of the one before: a person who mistypes now
/// and then is not locked out, and a guesser gets nine tries of a hundred a quarter of an hour.
pub const STRIKE_WINDOW: Duration = Duration::from_secs(24 * 3600);
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
    /// Logins ended by wrong numbers, since the last lock.
    pub strikes: u8,
    /// When the last of them was.
    pub struck: Timestamp,
    /// Until when this user's scans are refused.
    pub locked_until: Timestamp,
}

/// What is to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The user confirmed a login from this address.
    Place(Hash),
    /// A login ended by wrong numbers.
    Strike,
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
            Note::Strike => {
                if now.since(self.struck) >= STRIKE_WINDOW {
                    self.strikes = 0;
                }
                (self.strikes, self.struck) = (self.strikes + 1, now);
                if self.strikes >= MAX_STRIKES {
                    (self.strikes, self.locked_until) = (0, now + LOCK);
                }
            }
        }
        self
    }

    /// How long it is kept after a note.
    pub fn life(&self) -> Duration {
        if self.places.is_empty() { STRIKE_WINDOW } else { PLACE_LIFE }
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
    fn three_strikes_lock_and_a_day_apart_they_do_not() {
        let now = Timestamp::default() + PLACE_LIFE;
        let struck = |standing: Standing, at| standing.noted(Note::Strike, at);
        let two = struck(struck(Standing::default(), now), now);
        assert_eq!(two.locked(now), None);
        let three = struck(two.clone(), now);
        assert_eq!(three.locked(now), Some(LOCK));
        assert_eq!(three.locked(now + LOCK), None);
        assert_eq!(struck(three, now).locked(now + LOCK), None, "counted anew");
        let late = now + STRIKE_WINDOW;
        assert_eq!(struck(two, late).locked(late), None);
    }
}
