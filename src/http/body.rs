//! Request bodies: JSON or form, at most 8 KiB.

use std::time::Duration;

use actix_web::{HttpMessage, HttpRequest, web::Payload};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::{connection::Connection, error::ApiError, json};

/// Largest body, in bytes (spec section 3).
const MAX_BODY: usize = 8 * 1024;
/// How long a body may take: 8 KiB arrive at once, or somebody dribbles.
const BODY_TIME: Duration = Duration::from_secs(10);

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Reads a body as JSON or as a form, as its `Content-Type` says.
///
/// # Errors
/// [`ApiError::UnsupportedType`], [`ApiError::TooLarge`], or [`ApiError::Malformed`] with `expected`.
pub(super) async fn read<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    expected: &'static str,
) -> Result<T, ApiError> {
    let malformed = ApiError::Malformed(expected);
    let bytes = bytes(payload, &malformed).await?;
    parse(&request.content_type().to_ascii_lowercase(), &bytes, expected)
}

/// The same, where all bytes are there.
///
/// # Errors
/// [`ApiError::UnsupportedType`], or [`ApiError::Malformed`] with `expected`.
pub fn parse<T: DeserializeOwned>(
    content_type: &str,
    bytes: &[u8],
    expected: &'static str,
) -> Result<T, ApiError> {
    match content_type {
        JSON => json::object(bytes).ok(),
        FORM => serde_urlencoded::from_bytes(bytes).ok(),
        _ => return Err(ApiError::UnsupportedType),
    }
    .ok_or(ApiError::Malformed(expected))
}

/// Reads a body that must be JSON: no page elsewhere can send that type without asking first
/// (CORS), as it could a form.
///
/// # Errors
/// [`ApiError::NotJson`], [`ApiError::TooLarge`], or [`ApiError::Malformed`] with `expected`.
pub(crate) async fn read_json<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    expected: &'static str,
) -> Result<T, ApiError> {
    if !request.content_type().eq_ignore_ascii_case(JSON) {
        return Err(ApiError::NotJson);
    }
    let malformed = ApiError::Malformed(expected);
    let bytes = bytes(payload, &malformed).await?;
    json::object(&bytes).map_err(|_| malformed)
}

async fn bytes(payload: Payload, malformed: &ApiError) -> Result<Bytes, ApiError> {
    let bytes = tokio::time::timeout(BODY_TIME, payload.to_bytes_limited(MAX_BODY))
        .await
        .map_err(|_| malformed.clone())?
        .map_err(|_| ApiError::TooLarge)?
        .map_err(|_| malformed.clone())?;
    if let Some(connection) = Connection::current() {
        connection.body_was_read();
    }
    Ok(bytes)
}
