//! Who may speak, and how tokens are made.

mod app_keys;
pub(crate) mod key_set;
mod refused;
mod rotation;
mod web_keys;
pub(crate) mod webhook;
mod webhook_fails;
mod webhook_revokes;

use serde_json::{Value, json};

use crate::helpers::{Browser, Phone, Settings, phone::now};

/// The claims of an app token that is good for ten minutes.
pub(crate) fn claims(user: &str) -> Value {
    json!({ "sub": user, "exp": now() + 600 })
}

/// The settings without any way to verify the app's tokens.
pub(crate) fn no_app_key() -> Settings {
    Settings::embedded().without("APP_JWT_SECRET")
}

/// What a scan by a phone with this token is answered.
pub(crate) async fn scan_with(address: std::net::SocketAddr, token: &str) -> (u16, i64) {
    let (_browser, key) = Browser::plain(address).await;
    Phone::with_token(address, token).scan(&key).await.codes()
}

const ACCEPTED: (u16, i64) = (200, 100);
pub(crate) const REFUSED: (u16, i64) = (401, -2);
