//! What speaks for or against a login that is to be confirmed: the flags that the phone is told, and
//! whether the person must bring the number that the browser shows.

use std::net::IpAddr;

use super::claims::Place;
use crate::{
    config::MatchWhen,
    error::ApiError,
    keys::{Code, LoginId},
    login::Login,
    origin::limit_key,
    socket::Worker,
};

/// The browser is on another network than the phone (IPv4: another address, IPv6: another /64).
const ADDRESS_DIFFERS: &str = "address_differs";
/// This user has confirmed a login of a browser with that address in the last 90 days.
const ADDRESS_KNOWN: &str = "address_known_to_user";

/// What was found before a scan.
pub(super) struct Asked {
    /// What the phone is told.
    pub(super) flags: Vec<&'static str>,
    /// Whether the confirmation must bring the number.
    pub(super) needs_number: bool,
    /// Counts as one of the user's open claims until it is dropped.
    pub(super) place: Option<Place>,
}

/// Looks at the login and at its user before it is claimed.
///
/// # Errors
/// [`ApiError::StoreAway`]; [`ApiError::Locked`] and [`ApiError::TooManyClaims`] for a scan that
/// does not merely repeat one.
pub(super) async fn ask(
    worker: &Worker,
    id: LoginId,
    code: &Code,
    user: &str,
    phone: IpAddr,
) -> Result<Asked, ApiError> {
    let history = &worker.config.history_key;
    let looked = worker.store.look(id, &history.user(user)).await;
    let (login, standing) = looked.map_err(|_| ApiError::StoreAway)?;
    let now = worker.store.now();
    let scan = login.as_ref().and_then(Login::scan).filter(|scan| scan.user == user);
    // A phone on a bad network is told the same again, whatever has happened to its user since.
    let repeated = scan.is_some_and(|scan| scan.code.matches(&code.hash()));
    let place = if repeated {
        None
    } else {
        if let Some(wait) = standing.locked(now) {
            return Err(ApiError::Locked(wait));
        }
        enter(worker, id, user).await?
    };
    let browser = login.as_ref().and_then(|login| login.facts.as_ref()?.ip.parse().ok());
    let differs = browser.is_none_or(|browser| limit_key(browser) != limit_key(phone));
    let known = browser.is_some_and(|ip| standing.knows(&history.place(user, ip), now));
    let mut flags = Vec::new();
    if differs {
        flags.push(ADDRESS_DIFFERS);
    }
    if known {
        flags.push(ADDRESS_KNOWN);
    }
    let needs_number = match worker.config.match_when {
        MatchWhen::Off => false,
        // Whoever moves the phone to another network and scans again is not let off.
        MatchWhen::Risky => differs && !known || scan.is_some_and(|scan| scan.matching.is_some()),
        MatchWhen::Always => true,
    };
    Ok(Asked { flags, needs_number, place })
}

/// Takes one of the user's places for open claims.
async fn enter(worker: &Worker, id: LoginId, user: &str) -> Result<Option<Place>, ApiError> {
    let claims = &worker.limits.claims;
    let now = worker.clock.now();
    let crowded = match claims.enter(user, id, now) {
        Ok(place) => return Ok(place),
        Err(crowded) => crowded,
    };
    if !crowded.ids.is_empty() {
        let records = worker.store.read_many(&crowded.ids).await;
        let records = records.map_err(|_| ApiError::StoreAway)?;
        claims.check(user, &crowded.ids, &records, worker.store.now());
    }
    claims.enter(user, id, now).map_err(|crowded| ApiError::TooManyClaims(crowded.wait))
}
