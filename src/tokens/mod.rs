//! Tokens: who is this phone, what the browser gets, and how it is kept in between.

mod app_auth;
mod facts;
mod issuer;
mod jwt;
pub mod key_set;
pub mod outgoing;
mod sealed;
mod webhook;

use aws_lc_rs::hmac;

pub use self::{
    app_auth::{AppAuth, AppUser, DemoUser, MAX_NAME, MAX_PICTURE, MAX_USER, NotVerified, is_user},
    facts::FactsKey,
    issuer::{Issuer, Signed, WebLogin, WebToken},
    outgoing::CallError,
    sealed::{SealBroken, open, seal},
    webhook::Webhook,
};
use crate::config::Secret;

/// The `typ` of our web tokens: what app authentication refuses and `/verify` demands, so that
/// neither is ever taken for the other, not even where both secrets are the same.
pub const WEB_TOKEN_TYPE: &str = "scanlogin+jwt";

/// The only platform so far: the original recorded one login per user and platform.
const PLATFORM: &str = "web";

/// The key with which the app tokens of demo users are signed, derived from the one that signs web
/// tokens.
pub fn demo_secret(root: &[u8]) -> Secret {
    derived(root, b"scanlogin demo users")
}

/// A secret for one purpose.
fn derived(root: &[u8], purpose: &[u8]) -> Secret {
    Secret::new(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, root), purpose).as_ref())
}

/// The token of an `Authorization: Bearer` header.
pub fn bearer(header: Option<&str>) -> Option<&str> {
    let (scheme, token) = header?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.trim())
}
