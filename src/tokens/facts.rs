//! What is known of a browser while it stands in its user's entry, for as long as the web login
//! lasts: AES-256-GCM under a key that only the instances have.
//!
//! The key is derived from the secret (or key) that makes tokens, which all instances share, and from the
//! login's id, so that no key ever seals two texts. A secret that is rotated out as the tokens' own
//! is opens what it sealed for as long as it is configured; after that the facts are lost, and
//! nothing else.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf,
};

use crate::{
    config::{Config, Secret},
    keys::{Entropy, LoginId},
    login::Facts,
};

/// Seals facts and opens them again.
pub struct FactsKey {
    /// The first seals, all open. There is at least one.
    secrets: Vec<Secret>,
}

impl FactsKey {
    /// The key of the instances with this configuration.
    pub fn new(config: &Config) -> Self {
        Self { secrets: config.token_keys.roots() }
    }

    fn cipher(secret: &Secret, id: LoginId) -> LessSafeKey {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, id.as_bytes());
        let prk = salt.extract(secret.expose());
        let okm = prk
            .expand(&[b"scanlogin facts of a browser"], &AES_256_GCM)
            .expect("32 bytes are within HKDF's limit of 255 hashes");
        LessSafeKey::new(UnboundKey::from(okm))
    }

    /// Nonce, ciphertext, tag: at most 30 bytes more than [`crate::login::MAX_FACTS`].
    pub fn seal(&self, facts: &Facts, id: LoginId, entropy: Entropy) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = entropy.bytes();
        let Facts { ip, user_agent, origin } = facts;
        let mut text = [ip.as_str(), user_agent, origin].join("\n").into_bytes();
        Self::cipher(&self.secrets[0], id)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(&id), &mut text)
            .expect("facts are far below AES-GCM's limit");
        [nonce.as_slice(), &text].concat()
    }

    /// Opens what [`Self::seal`] made; `None`: with another secret, or it was altered.
    pub fn open(&self, sealed: &[u8], id: LoginId) -> Option<Facts> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        self.secrets.iter().find_map(|secret| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut text = text.to_vec();
            let plain = Self::cipher(secret, id).open_in_place(nonce, aad(&id), &mut text).ok()?;
            // No header's value has a line break.
            let mut parts = std::str::from_utf8(plain).ok()?.splitn(3, '\n').map(str::to_owned);
            Some(Facts { ip: parts.next()?, user_agent: parts.next()?, origin: parts.next()? })
        })
    }
}

fn aad(id: &LoginId) -> Aad<&[u8; 16]> {
    Aad::from(id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::MAX_FACTS;

    #[test]
    fn facts_open_only_with_the_same_secret_and_in_the_same_login() {
        let old = Secret::new(*b"the secret that all instances share");
        let new = Secret::new(*b"the secret of some other instances ");
        let key = FactsKey { secrets: vec![old.clone()] };
        let id = LoginId::random(Entropy::Os);
        let facts = Facts::new("2001:db8::1".into(), "https://x.example", &"Firefox ".repeat(99));
        let sealed = key.seal(&facts, id, Entropy::Os);
        assert!(sealed.len() <= MAX_FACTS + 2 + 28, "{}", sealed.len());
        assert_eq!(key.open(&sealed, id), Some(facts.clone()));
        assert_eq!(key.open(&sealed, LoginId::random(Entropy::Os)), None);
        assert_eq!(FactsKey { secrets: vec![new.clone()] }.open(&sealed, id), None);
        let rotated = FactsKey { secrets: vec![new, old] };
        assert_eq!(rotated.open(&sealed, id), Some(facts.clone()));
        assert_eq!(key.open(&rotated.seal(&facts, id, Entropy::Os), id), None, "the first seals");
        assert_ne!(sealed, key.seal(&facts, id, Entropy::Os), "the nonce must be random");
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert_eq!(key.open(&altered, id), None, "byte {index}");
        }
        for length in [0, 5, NONCE_LEN, sealed.len() - 1] {
            assert_eq!(key.open(&sealed[..length], id), None);
        }
        let nothing = Facts::default();
        assert_eq!(key.open(&key.seal(&nothing, id, Entropy::Os), id), Some(nothing));
    }
}
