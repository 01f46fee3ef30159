//! What is a WebSocket handshake, and nothing else.

use actix_http::ws::HandshakeError;
use actix_web::{
    HttpRequest, HttpResponseBuilder,
    http::{
        Version,
        header::{self, HeaderValue},
    },
};

use crate::{connection::Connection, error::ApiError};

/// The 101 to a handshake.
///
/// # Errors
/// [`ApiError::UpgradeRequired`], [`ApiError::NotUpgraded`], or what RFC 6455 demands and is missing.
pub(super) fn answer(request: &HttpRequest) -> Result<HttpResponseBuilder, ApiError> {
    check(request)?;
    actix_web_actors::ws::handshake(request).map_err(|error| handshake_error(&error))
}

/// Refuses what is no WebSocket handshake to everybody: to us, to actix-http and to proxies.
///
/// actix-http lets go of the connection for one `Upgrade: websocket` on its own and goes on with
/// HTTP behind anything else; nginx takes any 101 for the end of HTTP. What the two read differently
/// would let a client speak past the proxy.
fn check(request: &HttpRequest) -> Result<(), ApiError> {
    let headers = request.headers();
    let mut upgrades = headers.get_all(header::UPGRADE);
    let is_websocket = |value: &HeaderValue| {
        value.to_str().is_ok_and(|value| value.trim().eq_ignore_ascii_case("websocket"))
    };
    match (upgrades.next(), upgrades.next()) {
        (None, _) => return Err(ApiError::UpgradeRequired),
        (Some(upgrade), None) if is_websocket(upgrade) => {}
        _ => return Err(ApiError::NotUpgraded),
    }
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let is_upgrading = Connection::current().is_some_and(|connection| connection.is_upgrading());
    if has_body || request.version() != Version::HTTP_11 || !is_upgrading {
        return Err(ApiError::NotUpgraded);
    }
    Ok(())
}

fn handshake_error(error: &HandshakeError) -> ApiError {
    match error {
        HandshakeError::NoWebsocketUpgrade | HandshakeError::NoConnectionUpgrade => {
            ApiError::UpgradeRequired
        }
        HandshakeError::GetMethodRequired => ApiError::NoSuchMethod,
        HandshakeError::NoVersionHeader | HandshakeError::UnsupportedVersion => {
            ApiError::Malformed("Sec-WebSocket-Version must be 13")
        }
        HandshakeError::BadWebsocketKey => ApiError::Malformed("Sec-WebSocket-Key is missing"),
    }
}
