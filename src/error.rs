//! What goes wrong at each boundary, and the one place where it becomes an answer.
//!
//! [`ApiError`] is the HTTP boundary: every refusal of section 3 of the contract is a variant, and
//! [`ApiError::wire`] is the one exhaustive match to status, code and text. Causes are logged where
//! they happen; a client never sees them.

use std::time::Duration;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use serde::Serialize;

use crate::metrics::TokenRefusal;

/// A refusal of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// The user has no web login, or the ticket is good for nothing (any more).
    NoLogin,
    /// The key or claim never existed, expired or ended: one answer for all.
    UnknownKey,
    /// What was scanned holds nothing that could be a key.
    NoKey,
    /// Missing, malformed, wrongly signed or expired token.
    Unauthenticated(TokenRefusal),
    /// Another user was first, or the login has gone past what is asked.
    Conflict,
    /// Over a limit; try again after this long.
    Limited(Duration),
    /// Too many logins of this user ended by wrong numbers; try again after this long.
    Locked(Duration),
    /// Too many logins wait for this user's confirmation; try again after this long.
    TooManyClaims(Duration),
    /// This user's phones hold as many calls open as they may.
    TooManyHeld,
    /// The request is malformed: what is wrong with it.
    Malformed(&'static str),
    /// The body is over 8 KiB.
    TooLarge,
    /// The request's head is over 16 KiB.
    HeadTooLarge,
    /// The request's head was not complete within 5 s.
    SlowHead,
    /// A WebSocket handshake that HTTP does not let through as one.
    NotUpgraded,
    /// As many connections of this client address as it may have.
    Crowded,
    /// The body is neither JSON nor a form.
    UnsupportedType,
    /// The body is not JSON, where only that is taken.
    NotJson,
    /// A WebSocket endpoint was called without an upgrade.
    UpgradeRequired,
    /// No such path.
    NoSuchPath,
    /// The path exists, but not for this method.
    NoSuchMethod,
    /// The store is away.
    StoreAway,
    /// The token that was made is nothing that a cookie can hold.
    TokenIsNoCookie,
    /// The app's key set, without which this token cannot be judged, cannot be fetched.
    KeysAway,
    /// The webhook made no token.
    WebhookAway,
    /// This instance is full.
    Full,
    /// This instance is about to stop.
    Draining,
    /// The claim belongs to another user.
    NotYours,
    /// The ticket belongs to another browser.
    OtherBrowser,
    /// Not the number that the browser shows.
    WrongNumber {
        /// How often the person may still try.
        tries_left: u8,
    },
    /// A number is needed, and the browser's protocol cannot show one.
    CannotMatch,
    /// The page's origin is not listed.
    Origin,
    /// The `Host` is not one of this listener's names.
    Host,
}

/// An answer's fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// HTTP status.
    pub status: StatusCode,
    /// `code` of the body.
    pub code: i32,
    /// `msg` of the body.
    pub msg: &'static str,
}

impl ApiError {
    /// What goes over the wire.
    pub fn wire(&self) -> Wire {
        let (status, code, msg) = match self {
            Self::UnknownKey | Self::NoKey => (StatusCode::NOT_FOUND, -1, "Key does not exist"),
            Self::NoLogin => (StatusCode::NOT_FOUND, -1, "There is no such login"),
            Self::Unauthenticated(_) => (
                StatusCode::UNAUTHORIZED,
                -2,
                "Not authenticated: a valid token is needed in the Authorization header",
            ),
            Self::Conflict => {
                (StatusCode::CONFLICT, -3, "Another user was first, or it is too late for this")
            }
            Self::Limited(_) => (StatusCode::TOO_MANY_REQUESTS, -4, "Too many requests"),
            Self::Locked(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                -4,
                "Too many wrong numbers: this user's scans are refused for a while",
            ),
            Self::TooManyClaims(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                -4,
                "Too many logins of this user wait for a confirmation",
            ),
            Self::TooManyHeld => (
                StatusCode::TOO_MANY_REQUESTS,
                -4,
                "Too many calls of this user are held open: let one end, or ask without 'wait'",
            ),
            Self::Malformed(what) => (StatusCode::BAD_REQUEST, -5, *what),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, -5, "The body is over 8 KiB"),
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                -5,
                "The request's line and headers are over 16 KiB",
            ),
            Self::SlowHead => (
                StatusCode::REQUEST_TIMEOUT,
                -5,
                "The request's line and headers took longer than 5 s",
            ),
            Self::NotUpgraded => (
                StatusCode::BAD_REQUEST,
                -5,
                "A WebSocket handshake needs HTTP/1.1, 'Upgrade: websocket' and nothing else in that \
                 header, and no body",
            ),
            Self::Crowded => (
                StatusCode::TOO_MANY_REQUESTS,
                -4,
                "This address has as many connections as it may: close one, or try again",
            ),
            Self::UnsupportedType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                -5,
                "Content-Type must be application/json or application/x-www-form-urlencoded",
            ),
            Self::NotJson => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, -5, "Content-Type must be application/json")
            }
            Self::UpgradeRequired => {
                (StatusCode::UPGRADE_REQUIRED, -5, "This is a WebSocket endpoint")
            }
            Self::NoSuchPath => (StatusCode::NOT_FOUND, -5, "No such path"),
            Self::NoSuchMethod => {
                (StatusCode::METHOD_NOT_ALLOWED, -5, "This path does not take this method")
            }
            Self::StoreAway => {
                (StatusCode::SERVICE_UNAVAILABLE, -6, "The store is away: try again")
            }
            Self::TokenIsNoCookie => {
                (StatusCode::INTERNAL_SERVER_ERROR, -6, "The token cannot be put into a cookie")
            }
            Self::KeysAway => {
                (StatusCode::SERVICE_UNAVAILABLE, -6, "The app's keys cannot be fetched: try again")
            }
            Self::WebhookAway => (
                StatusCode::SERVICE_UNAVAILABLE,
                -6,
                "No token can be made at the moment: try again",
            ),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, -6, "This instance is full: try again"),
            Self::Draining => {
                (StatusCode::SERVICE_UNAVAILABLE, -6, "This instance is about to stop: try again")
            }
            Self::NotYours => (StatusCode::FORBIDDEN, -7, "The claim belongs to another user"),
            Self::OtherBrowser => (
                StatusCode::FORBIDDEN,
                -7,
                "The ticket is for the browser that asked for the login: redeem it there, with its \
                 cookies",
            ),
            Self::WrongNumber { .. } => {
                (StatusCode::FORBIDDEN, -7, "Not the number that the browser shows")
            }
            Self::CannotMatch => (
                StatusCode::FORBIDDEN,
                -7,
                "This login needs a number, and its browser cannot show one: it was denied",
            ),
            Self::Origin => (StatusCode::FORBIDDEN, -7, "This origin is not allowed"),
            Self::Host => (StatusCode::FORBIDDEN, -7, "This host name is not served here"),
        };
        Wire { status, code, msg }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Limited(wait) | Self::Locked(wait) | Self::TooManyClaims(wait) => {
                Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
            }
            // Long enough for a restarted Redis, short enough for a person who waits.
            Self::StoreAway
            | Self::KeysAway
            | Self::WebhookAway
            | Self::Full
            | Self::Crowded
            | Self::TooManyHeld => Some(2),
            // Another instance is there at once.
            Self::Draining => Some(1),
            _ => None,
        }
    }

    /// The whole answer.
    pub fn response(&self) -> HttpResponse {
        let Wire { status, code, msg } = self.wire();
        let mut builder = HttpResponse::build(status);
        if let Some(seconds) = self.retry_after() {
            builder.insert_header((header::RETRY_AFTER, seconds.max(1)));
        }
        let mut error_description = None;
        if let Self::Unauthenticated(why) = self {
            builder.insert_header((header::WWW_AUTHENTICATE, challenge(*why)));
            error_description = (*why != TokenRefusal::Missing).then(|| why.description());
        }
        if *self == Self::UpgradeRequired {
            builder.insert_header((header::UPGRADE, "websocket"));
        }
        let tries_left = match self {
            Self::WrongNumber { tries_left } => Some(*tries_left),
            _ => None,
        };
        let is_key = (*self == Self::NoKey).then_some(false);
        let body = Body { code, msg, error_description, is_key, tries_left };
        let mut response = answer(builder, &body);
        // For whoever shows it to a person (`http::around`).
        response.extensions_mut().insert(self.clone());
        response
    }
}

#[derive(Serialize)]
struct Body {
    code: i32,
    msg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_key: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tries_left: Option<u8>,
}

/// What `WWW-Authenticate` says (RFC 6750, 3); of a request without a token nothing but the scheme.
fn challenge(why: TokenRefusal) -> String {
    match why {
        TokenRefusal::Missing => "Bearer".into(),
        why => {
            format!("Bearer error=\"invalid_token\", error_description=\"{}\"", why.description())
        }
    }
}

/// An answer of the API: JSON that no cache may keep.
pub fn answer(mut builder: HttpResponseBuilder, body: &impl Serialize) -> HttpResponse {
    builder.insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store"))).json(body)
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.wire().msg)
    }
}

impl std::error::Error for ApiError {}

impl actix_web::ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.wire().status
    }
    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}
