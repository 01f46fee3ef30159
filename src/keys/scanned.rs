//! Finds a key in a text that has been through other programs than a camera.
//!
//! Links are handed on with `%23` for `#`, with parameters of whoever handed them on (`&fbclid=...`, `?utm_source=...`), inside
//! another link, between quotes, before a full stop, or with marks in them that nobody sees.

use percent_encoding::percent_decode_str;

use super::{LoginId, Malformed, decode_pair};
use crate::text;

/// A key's characters: 32 bytes in base64url.
const LENGTH: usize = 43;
/// How often a link may stand inside a link.
const NESTED: usize = 2;

/// The two halves of the last key in the text.
///
/// # Errors
/// [`Malformed`] if there is none.
pub(super) fn find(text: &str) -> Result<(LoginId, [u8; 16]), Malformed> {
    let mut text = seen(text);
    for _ in 0..NESTED {
        if let Some(pair) = last(&text) {
            return Ok(pair);
        }
        if !text.contains('%') {
            return Err(Malformed);
        }
        text = seen(&percent_decode_str(&text).decode_utf8_lossy());
    }
    last(&text).ok_or(Malformed)
}

/// The text without the marks that nobody sees.
fn seen(text: &str) -> String {
    text.chars().filter(|c| !text::is_invisible(*c)).collect()
}

fn last(text: &str) -> Option<(LoginId, [u8; 16])> {
    text.rsplit('#').find_map(|part| decode_pair::<16, 32>(leading(part)?).ok())
}

/// The key that the text begins with, behind blanks, quotes and brackets.
fn leading(text: &str) -> Option<&str> {
    let text = text.trim_start_matches(|c: char| !c.is_alphanumeric() && !is_of_key(c));
    let end = text.find(|c| !is_of_key(c)).unwrap_or(text.len());
    // What other kinds of base64 go on with: then it is a text of another kind, and longer.
    let goes_on = text[end..].starts_with(['=', '+', '/']);
    (end == LENGTH && !goes_on).then_some(&text[..end])
}

fn is_of_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}
