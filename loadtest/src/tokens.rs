//! App tokens, as the app's backend would mint them.

use std::{io, path::Path};

use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde::Serialize;

/// How long they are good, in seconds: longer than any run.
const GOOD_FOR: u64 = 24 * 3600;

#[derive(Serialize)]
struct Claims {
    sub: String,
    exp: u64,
    name: String,
}

/// One for each of so many users, signed by this secret (HS256).
pub fn mint(secret: &str, users: usize) -> Vec<String> {
    let key = EncodingKey::from_secret(secret.as_bytes());
    let exp = get_current_timestamp() + GOOD_FOR;
    let claims = (0..users).map(|number| Claims {
        sub: format!("loadtest-{number:06}"),
        exp,
        name: format!("Load Test {number}"),
    });
    claims
        .map(|claims| encode(&Header::default(), &claims, &key).expect("an HMAC of plain strings"))
        .collect()
}

/// One a line, as a backend has minted them.
///
/// # Errors
/// Where the file cannot be read, or holds none.
pub fn read(file: &Path) -> io::Result<Vec<String>> {
    let text = std::fs::read_to_string(file)?;
    let tokens = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
    let tokens: Vec<String> = tokens.collect();
    if tokens.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(tokens) }
}
