//! The token while it waits in the store: AES-256-GCM, random nonce, the login's id as associated
//! data (spec section 5). The key is derived from the claim and stored nowhere.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::WebToken;
use crate::keys::{Claim, Entropy, LoginId, SealKey};

/// The sealed token was not made for this claim, or was altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed token cannot be opened")]
pub struct SealBroken;

fn cipher(key: &SealKey) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key.0).expect("a key of 32 bytes"))
}

fn aad(id: &LoginId) -> Aad<&[u8; 16]> {
    Aad::from(id.as_bytes())
}

/// Seals a token for whoever can derive the claim: nonce, ciphertext, tag.
pub fn seal(token: &WebToken, claim: &Claim, entropy: Entropy) -> Vec<u8> {
    let nonce: [u8; NONCE_LEN] = entropy.bytes();
    let mut text = token.expires_at.to_be_bytes().to_vec();
    text.extend_from_slice(token.token.as_bytes());
    cipher(&claim.seal_key())
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(&claim.id), &mut text)
        .expect("a token is far below AES-GCM's limit");
    [nonce.as_slice(), &text].concat()
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`SealBroken`].
pub fn open(sealed: &[u8], claim: &Claim) -> Result<WebToken, SealBroken> {
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(SealBroken)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealBroken)?;
    let mut text = text.to_vec();
    let plain = cipher(&claim.seal_key())
        .open_in_place(nonce, aad(&claim.id), &mut text)
        .map_err(|_| SealBroken)?;
    let (expires_at, token) = plain.split_at_checked(8).ok_or(SealBroken)?;
    Ok(WebToken {
        expires_at: u64::from_be_bytes(expires_at.try_into().map_err(|_| SealBroken)?),
        token: String::from_utf8(token.to_vec()).map_err(|_| SealBroken)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Seed;

    #[test]
    fn a_sealed_token_opens_only_with_the_same_claim_of_the_same_login() {
        let (id, seed) = (LoginId::random(Entropy::Os), Seed::random(Entropy::Os));
        let claim = seed.code(1).claim(id, "alice");
        let token = WebToken { token: "header.claims.signature".into(), expires_at: 42 };
        let sealed = seal(&token, &claim, Entropy::Os);
        let opened = open(&sealed, &claim).unwrap();
        assert_eq!((opened.token, opened.expires_at), (token.token.clone(), 42));
        assert_ne!(sealed, seal(&token, &claim, Entropy::Os), "the nonce must be random");
        for other in [
            seed.code(1).claim(id, "bob"),
            seed.code(2).claim(id, "alice"),
            seed.code(1).claim(LoginId::random(Entropy::Os), "alice"),
        ] {
            assert!(open(&sealed, &other).is_err());
        }
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert!(open(&altered, &claim).is_err(), "byte {index}");
        }
        assert!(open(&[], &claim).is_err());
    }
}
