//! How a JWT is read, whoever made it: the same rules for the app's tokens and for ours.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation, decode, errors::ErrorKind};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    config::pem::VerifyingKey,
    json::{self, Object},
    metrics::TokenRefusal,
};

/// The latest date that a claim may name: the end of the year 9999. Later is a mistake, such as
/// milliseconds, by which a token would be good for ever.
const LATEST: f64 = 253_402_300_799.0;

/// What a token's header says. Nothing of it is to be believed; it can only lead to a refusal.
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kind: Option<String>,
    pub(super) key: Option<String>,
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    alg: std::borrow::Cow<'a, str>,
    typ: Option<String>,
    kid: Option<String>,
    #[serde(default, deserialize_with = "json::is_there")]
    crit: bool,
}

impl Header {
    /// Reads the header.
    ///
    /// # Errors
    /// Where it is none, or demands what we do not understand: `crit` names extensions that must be (RFC 7515,
    /// 4.1.11), and we know none.
    pub(super) fn of(token: &str) -> Result<Self, TokenRefusal> {
        let (header, _) = token.split_once('.').ok_or(TokenRefusal::Malformed)?;
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenRefusal::Malformed)?;
        let Read { alg, typ, kid, crit } =
            json::object(&header).map_err(|_| TokenRefusal::Malformed)?;
        if crit {
            return Err(TokenRefusal::Critical);
        }
        let algorithm = alg.parse().map_err(|_| TokenRefusal::Algorithm)?;
        Ok(Self { algorithm, kind: typ, key: kid })
    }
}

/// The claims, if one of the keys has signed them; their dates are not looked at. `named` says whether a key
/// may be the one that the header names.
///
/// # Errors
/// Why not: [`is_of_keys`], or something that another key would not change.
pub(super) fn check<'k, C: DeserializeOwned>(
    token: &str,
    algorithm: Algorithm,
    keys: impl Iterator<Item = (&'k VerifyingKey, &'k Validation)>,
    named: impl Fn(&VerifyingKey) -> bool,
) -> Result<C, TokenRefusal> {
    let mut why = TokenRefusal::Algorithm;
    for (key, rules) in keys.filter(|(key, _)| key.algorithm == algorithm) {
        if !named(key) {
            why = closer(why, TokenRefusal::Key);
            continue;
        }
        match decode::<Object<C>>(token, &key.key, rules) {
            Ok(data) => return Ok(data.claims.0),
            Err(error) => match refusal(error.kind()) {
                TokenRefusal::Signature => why = TokenRefusal::Signature,
                decided => return Err(decided),
            },
        }
    }
    Err(why)
}

fn refusal(kind: &ErrorKind) -> TokenRefusal {
    match kind {
        ErrorKind::InvalidIssuer => TokenRefusal::Issuer,
        ErrorKind::InvalidAudience => TokenRefusal::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenRefusal::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenRefusal::Audience,
        ErrorKind::InvalidSignature
        | ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidKeyFormat
        | ErrorKind::Provider(_) => TokenRefusal::Signature,
        _ => TokenRefusal::Malformed,
    }
}

/// Another key might verify such a token.
pub(super) fn is_of_keys(why: TokenRefusal) -> bool {
    matches!(why, TokenRefusal::Algorithm | TokenRefusal::Key | TokenRefusal::Signature)
}

/// Of two reasons that are the keys', the one that came closer to a key that fits.
pub(super) fn closer(one: TokenRefusal, other: TokenRefusal) -> TokenRefusal {
    use TokenRefusal::{Algorithm, Key, Signature};
    [Signature, Key].into_iter().find(|why| [one, other].contains(why)).unwrap_or(Algorithm)
}

/// A date as a JWT has it: seconds since the Unix epoch, perhaps with a fraction (RFC 7519, 2). A JSON number from
/// 0 to the end of the year 9999, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "u64")]
pub(super) struct NumericDate(f64);

impl NumericDate {
    /// From whole seconds.
    pub(super) fn from_secs(seconds: u64) -> Self {
        Self(seconds as f64)
    }

    /// What a claim holds, if it is a date.
    pub(super) fn of(claim: &Value) -> Option<Self> {
        claim.as_f64().filter(|seconds| (0.0..=LATEST).contains(seconds)).map(Self)
    }

    /// Seconds since the Unix epoch.
    pub(super) fn as_secs(self) -> f64 {
        self.0
    }
}

impl TryFrom<Value> for NumericDate {
    type Error = &'static str;
    fn try_from(claim: Value) -> Result<Self, Self::Error> {
        Self::of(&claim).ok_or("a date must be a number of seconds, from 1970 to 9999")
    }
}

impl From<NumericDate> for u64 {
    /// Whole seconds: the fraction goes, so that nothing is good for longer.
    fn from(date: NumericDate) -> Self {
        date.0 as Self
    }
}
