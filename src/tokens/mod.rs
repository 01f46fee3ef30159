//! Tokens: who is this phone, what the browser gets, and how it is kept in between.

mod app_auth;
mod facts;
mod issuer;
pub mod key_set;
pub mod outgoing;
mod sealed;

use aws_lc_rs::hmac;

pub use self::{
    app_auth::{AppAuth, AppUser, DemoUser, MAX_USER, NotVerified},
    facts::FactsKey,
    issuer::{Issuer, WebLogin, WebToken},
    sealed::{SealBroken, open, seal},
};
use crate::config::Secret;

/// The `typ` of our web tokens: what app authentication refuses and `/verify` demands, so that
/// neither is ever taken for the other, not even where both secrets are the same.
pub const WEB_TOKEN_TYPE: &str = "scanlogin+jwt";

/// The key with which the app tokens of demo users are signed, derived from the one that signs web
/// tokens.
pub fn demo_secret(root: &[u8]) -> Secret {
    let key = hmac::Key::new(hmac::HMAC_SHA256, root);
    Secret::new(hmac::sign(&key, b"scanlogin demo users").as_ref())
}

/// The token of an `Authorization: Bearer` header.
pub fn bearer(header: Option<&str>) -> Option<&str> {
    let (scheme, token) = header?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.trim())
}
