//! What the scripts answer.

use super::record;
use crate::{
    login::{Answer, Login, PhoneRefusal},
    metrics::StoreErrorKind,
    store::StoreError,
};

// The answers of the scripts, as prelude.lua numbers them.
pub(super) const OK: u8 = 0;
pub(super) const REPEATED: u8 = 1;
pub(super) const UNKNOWN: u8 = 2;
pub(super) const CONFLICT: u8 = 3;
pub(super) const NOT_YOURS: u8 = 4;
pub(super) const GONE: u8 = 5;
pub(super) const SUPERSEDED: u8 = 6;
pub(super) const IS_APPROVED: u8 = 7;
pub(super) const EARLY: u8 = 8;
pub(super) const OVER: u8 = 9;
pub(super) const ENDED_UNDELIVERED: u8 = 10;
pub(super) const WRONG_NUMBER: u8 = 11;
pub(super) const CANNOT_MATCH: u8 = 12;

/// An answer that makes no sense.
pub(super) fn nonsense(what: impl std::fmt::Display) -> StoreError {
    StoreError { kind: StoreErrorKind::Other, detail: what.to_string() }
}

/// A record as a login.
pub(super) fn unpack(bytes: &[u8]) -> Result<Login, StoreError> {
    record::unpack(bytes).map_err(nonsense)
}

/// Why a phone was refused.
pub(super) fn phone_refusal(tag: u8) -> Result<PhoneRefusal, StoreError> {
    match tag {
        UNKNOWN => Ok(PhoneRefusal::Unknown),
        CONFLICT => Ok(PhoneRefusal::Conflict),
        NOT_YOURS => Ok(PhoneRefusal::NotYours),
        CANNOT_MATCH => Ok(PhoneRefusal::CannotMatch),
        other => Err(nonsense(format_args!("a script answered {other}"))),
    }
}

/// What a phone was told.
pub(super) fn told(answer: u8) -> Answer {
    if answer == 1 { Answer::Claimed } else { Answer::Approved }
}

/// Whether a decision had been made before.
pub(super) fn decided(tag: u8) -> Result<Result<bool, PhoneRefusal>, StoreError> {
    match tag {
        OK => Ok(Ok(false)),
        REPEATED => Ok(Ok(true)),
        other => phone_refusal(other).map(Err),
    }
}
