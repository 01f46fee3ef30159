//! Keys in PEM files: which algorithm a key is for follows from the key, never from a token.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, ParsedPublicKey,
};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey,
    jwk::{AlgorithmParameters, Jwk, PublicKeyUse, ThumbprintHash},
};
use pem::{Pem, PemError};

/// Most keys of one file: a rotation needs two, and each is tried where a token names none.
const MAX_KEYS: usize = 16;
/// Shortest RSA modulus that is accepted, in bytes: 2048 bits (RFC 7518, 3.3).
const MIN_RSA: usize = 256;

/// A key that verifies signatures of one algorithm.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    /// RS256, ES256 or EdDSA.
    pub algorithm: Algorithm,
    /// The key.
    pub key: DecodingKey,
    /// What a token's header calls it, if anything does.
    pub id: Option<String>,
}

/// A private key, and the public one as others see it.
#[derive(Clone)]
pub struct SigningKey {
    /// Signs.
    pub key: EncodingKey,
    /// Verifies; its id is the RFC 7638 thumbprint.
    pub public: VerifyingKey,
    /// The same for the key set.
    pub jwk: Jwk,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.id.as_deref().unwrap_or_default())
    }
}

impl VerifyingKey {
    /// The key with its algorithm, if it is one that we accept.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(key: DecodingKey, id: Option<String>) -> Result<Self, &'static str> {
        const OTHER: &str = "is not an RSA, P-256 or Ed25519 key";
        let algorithm = match key.family() {
            AlgorithmFamily::Rsa => Algorithm::RS256,
            AlgorithmFamily::Ec => Algorithm::ES256,
            AlgorithmFamily::Ed => Algorithm::EdDSA,
            AlgorithmFamily::Hmac => return Err("is a secret, not a public key"),
        };
        match Jwk::from_decoding_key(&key, None).map(|jwk| jwk.algorithm) {
            Ok(AlgorithmParameters::RSA(rsa)) if unpadded(&rsa.n) < MIN_RSA => {
                return Err("is an RSA key of less than 2048 bits");
            }
            // The point must be on the curve, not only be as long as one of it.
            Ok(AlgorithmParameters::EllipticCurve(_)) => {
                let point = key.try_get_as_bytes().map_err(|_| OTHER)?;
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .map_err(|_| "is not on the curve P-256")?;
            }
            Ok(_) => {}
            Err(_) => return Err(OTHER),
        }
        Ok(Self { algorithm, key, id })
    }

    /// A key of a key set; `None` if it is not one that signs tokens as we accept them.
    pub fn of_jwk(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        let key = Self::new(key, common.key_id.clone()).ok()?;
        let same = |algorithm| algorithm == jsonwebtoken::jwk::KeyAlgorithm::from(key.algorithm);
        common.key_algorithm.is_none_or(same).then_some(key)
    }
}

/// The length in bytes of a number in base64url without padding.
fn unpadded(base64url: &str) -> usize {
    base64url.len() * 3 / 4
}

/// The public keys of a PEM file, in its order.
///
/// # Errors
/// What is wrong with which of them.
pub fn public_keys(text: &[u8]) -> Result<Vec<VerifyingKey>, String> {
    keys(text, |block| {
        let text = pem::encode(block);
        let key = match block.tag() {
            "RSA PUBLIC KEY" => DecodingKey::from_rsa_pem(text.as_bytes()),
            "PUBLIC KEY" => DecodingKey::from_ec_pem(text.as_bytes())
                .or_else(|_| DecodingKey::from_ed_pem(text.as_bytes()))
                .or_else(|_| DecodingKey::from_rsa_pem(text.as_bytes())),
            "CERTIFICATE" => {
                return Err("is a certificate; openssl x509 -pubkey -noout shows its public key");
            }
            tag if tag.ends_with("PRIVATE KEY") => {
                return Err("is a private key, which does not belong here; \
                            openssl pkey -pubout shows its public key");
            }
            _ => return Err("is not a public key"),
        };
        VerifyingKey::new(key.map_err(|_| "is not an RSA, P-256 or Ed25519 key")?, None)
    })
}

/// The private keys of a PEM file, in its order.
///
/// # Errors
/// What is wrong with which of them.
pub fn private_keys(text: &[u8]) -> Result<Vec<SigningKey>, String> {
    keys(text, |block| match block.tag() {
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => signing_key(block),
        "ENCRYPTED PRIVATE KEY" => Err("is encrypted; openssl pkey decrypts it"),
        _ => Err("is not a private key"),
    })
}

fn signing_key(block: &Pem) -> Result<SigningKey, &'static str> {
    const OTHER: &str = "is not an RSA (2048 bits or more), P-256 or Ed25519 private key";
    let der = block.contents();
    let (key, public) = if let Ok(pair) =
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
    {
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| OTHER)?;
        let key = EncodingKey::from_ec_der(pkcs8.as_ref());
        (key, DecodingKey::from_ec_der(pair.public_key().as_ref()))
    } else if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
        (EncodingKey::from_ed_der(der), DecodingKey::from_ed_der(pair.public_key().as_ref()))
    } else {
        let key = EncodingKey::from_rsa_pem(pem::encode(block).as_bytes()).map_err(|_| OTHER)?;
        let jwk = Jwk::from_encoding_key(&key, Algorithm::RS256).map_err(|_| OTHER)?;
        (key, DecodingKey::from_jwk(&jwk).map_err(|_| OTHER)?)
    };
    let mut public = VerifyingKey::new(public, None)?;
    let mut jwk = Jwk::from_decoding_key(&public.key, Some(public.algorithm)).map_err(|_| OTHER)?;
    let id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| OTHER)?;
    jwk.common.key_id = Some(id.clone());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    public.id = Some(id);
    Ok(SigningKey { key, public, jwk })
}

/// Each block of a PEM file, read by `read`.
fn keys<T>(text: &[u8], read: impl Fn(&Pem) -> Result<T, &'static str>) -> Result<Vec<T>, String> {
    // Some of its errors repeat what they could not read.
    let blocks = pem::parse_many(text).map_err(|error| match error {
        PemError::MismatchedTags(..) => "is not PEM: its BEGIN and END do not fit together".into(),
        PemError::InvalidHeader(_) => "is not PEM: it has a header that cannot be read".into(),
        error => format!("is not PEM: {error}"),
    })?;
    let keys: Vec<T> = blocks
        .iter()
        // What `openssl ecparam -genkey` writes in front of the key.
        .filter(|block| block.tag() != "EC PARAMETERS")
        .enumerate()
        .map(|(index, block)| {
            let name = |what| format!("key {} ({}) {what}", index + 1, block.tag());
            read(block).map_err(name)
        })
        .collect::<Result<_, _>>()?;
    match keys.len() {
        0 => Err("holds no key in PEM form (-----BEGIN ...)".into()),
        1..=MAX_KEYS => Ok(keys),
        count => Err(format!("holds {count} keys; at most {MAX_KEYS} are accepted")),
    }
}
