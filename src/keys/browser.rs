//! What a browser is known by, where its logins belong to it.

use super::{Entropy, Hash, Malformed, decode, hash};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// The value of a browser's cookie, the same for all its logins.
///
/// No script can read it and nothing leads to it, so it is what a thief of a ticket lacks, by whatever
/// page or log the ticket got out. The record keeps its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct BrowserSecret([u8; 32]);

impl BrowserSecret {
    /// A new one.
    pub fn random(entropy: Entropy) -> Self {
        Self(entropy.bytes())
    }

    /// Reads a cookie's value.
    ///
    /// # Errors
    /// [`Malformed`] if it is none of ours, or was cut.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        decode(text).map(Self)
    }

    /// The text for the cookie.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the record keeps of it.
    pub fn hash(&self) -> Hash {
        hash(b"browser", &[&self.0])
    }
}
