//! What is remembered of a user, as it stands in Redis: one MessagePack array, written by
//! `note.lua` alone.

use serde::Deserialize;
use serde_bytes::ByteBuf;

use crate::{clock::Timestamp, keys::Hash, login::Standing};

/// The places with their times, failed matches, the time of the first of them, the lock's end: times
/// in microseconds since the Unix epoch.
#[derive(Deserialize)]
struct StandingRecord(Vec<(ByteBuf, u64)>, u8, u64, u64);

/// The numbers of `note.lua` that must be the same here.
pub(super) fn lua_constants() -> String {
    use crate::login::{FAILED_MATCH_WINDOW, LOCK, MAX_FAILED_MATCHES, MAX_PLACES, PLACE_LIFE};
    format!(
        "local MAX_PLACES, MAX_FAILED_MATCHES = {MAX_PLACES}, {MAX_FAILED_MATCHES}\n\
         local PLACE_LIFE, FAILED_MATCH_WINDOW, LOCK = {}, {}, {}\n",
        PLACE_LIFE.as_micros(),
        FAILED_MATCH_WINDOW.as_micros(),
        LOCK.as_micros(),
    )
}

/// Reads what stands under a user's hash; `None` if it cannot be read.
pub(super) fn unpack(bytes: &[u8]) -> Option<Standing> {
    let StandingRecord(places, failed, since, locked) = rmp_serde::from_slice(bytes).ok()?;
    let places = places.into_iter().map(|(hash, seen)| {
        let hash = <[u8; 16]>::try_from(&hash[..]).ok()?;
        Some((Hash::from_bytes(hash), Timestamp::from_micros(seen)))
    });
    Some(Standing {
        places: places.collect::<Option<_>>()?,
        failed_matches: failed,
        failing_since: Timestamp::from_micros(since),
        locked_until: Timestamp::from_micros(locked),
    })
}
