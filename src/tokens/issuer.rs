//! Makes web tokens and reads them back (spec section 4).

use std::{collections::HashSet, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, encode, jwk::JwkSet};
use serde::{Deserialize, Serialize};

use super::{
    PLATFORM, WEB_TOKEN_TYPE,
    jwt::{self, NumericDate},
};
use crate::{
    clock::Timestamp,
    config::{Config, Secret, TokenKey, pem::VerifyingKey},
    keys::LoginId,
    metrics::TokenRefusal,
};

#[derive(Serialize, Deserialize)]
struct WebClaims {
    sub: String,
    platform: String,
    jti: String,
    iss: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    iat: NumericDate,
    exp: NumericDate,
    amr: Vec<String>,
}

/// A minted token.
#[derive(Serialize, Deserialize)]
pub struct WebToken {
    /// The JWT.
    pub token: String,
    /// When it expires: seconds since the Unix epoch.
    pub expires_at: u64,
}

/// A web token that we have signed. Its login is told only for a time at which it is good.
#[derive(Debug)]
pub struct Signed(WebLogin);

impl Signed {
    /// Its login, if it has not expired by then (RFC 7519, 4.1.4). We minted it by the same clock, so there is
    /// nothing to be lenient about.
    pub fn at(self, now: Timestamp) -> Option<WebLogin> {
        (now.as_secs() < self.0.expires_at).then_some(self.0)
    }
}

/// What a valid web token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebLogin {
    /// Who.
    pub user: String,
    /// Which login made it: its `jti`.
    pub id: LoginId,
    /// When it expires: seconds since the Unix epoch.
    pub expires_at: u64,
}

/// Signs with the first key, accepts what any of the keys has signed.
pub struct Issuer {
    signing: EncodingKey,
    verifying: Vec<(VerifyingKey, Validation)>,
    header: Header,
    key_set: Option<JwkSet>,
    issuer: String,
    audience: Option<String>,
    ttl: Duration,
}

impl Issuer {
    /// An issuer with the configured keys.
    pub fn new(config: &Config) -> Self {
        let secret = |secret: &Secret| VerifyingKey {
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(secret.expose()),
            id: None,
        };
        let (signing, mut verifying, key_set) = match &config.token_keys.current {
            TokenKey::Secret(current) => {
                (EncodingKey::from_secret(current.expose()), vec![secret(current)], None)
            }
            // Signs nothing that anybody accepts: what is needed to build one, and no more.
            TokenKey::Webhook(hook) => {
                let none = super::derived(hook.secret.expose(), b"scanlogin no tokens");
                (EncodingKey::from_secret(none.expose()), vec![secret(&none)], None)
            }
            TokenKey::Private(keys) => {
                let set = JwkSet { keys: keys.iter().map(|key| key.jwk.clone()).collect() };
                let public = keys.iter().map(|key| key.public.clone()).collect();
                (keys[0].key.clone(), public, Some(set))
            }
        };
        let mut header = Header::new(verifying[0].algorithm);
        header.typ = Some(WEB_TOKEN_TYPE.into());
        header.kid = verifying[0].id.clone();
        verifying.extend(config.token_keys.previous.as_ref().map(secret));
        let rules = |key: VerifyingKey| {
            let validation = validation(key.algorithm, config);
            (key, validation)
        };
        Self {
            signing,
            verifying: verifying.into_iter().map(rules).collect(),
            header,
            key_set,
            issuer: config.token_issuer.clone(),
            audience: config.token_audience.clone(),
            ttl: config.token_ttl,
        }
    }

    /// The public keys; `None` where web tokens are signed with a secret.
    pub fn key_set(&self) -> Option<&JwkSet> {
        self.key_set.as_ref()
    }

    /// A token for `user` whose `jti` is the login's id.
    pub fn mint(&self, user: &str, id: LoginId, now: Timestamp) -> WebToken {
        let (iat, expires_at) = (now.as_secs(), (now + self.ttl).as_secs());
        let claims = WebClaims {
            sub: user.into(),
            platform: PLATFORM.into(),
            jti: id.to_string(),
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            iat: NumericDate::from_secs(iat),
            exp: NumericDate::from_secs(expires_at),
            amr: vec!["qr".into()],
        };
        let token = encode(&self.header, &claims, &self.signing)
            .expect("a key that was read at the start signs");
        WebToken { token, expires_at }
    }

    /// A token that is ours; whether it was revoked, the store knows.
    ///
    /// # Errors
    /// Why it is none.
    pub fn verify(&self, token: &str) -> Result<Signed, TokenRefusal> {
        let header = jwt::Header::of(token)?;
        if header.kind.as_deref() != Some(WEB_TOKEN_TYPE) {
            return Err(TokenRefusal::Type);
        }
        let keys = self.verifying.iter().map(|(key, rules)| (key, rules));
        let named = |key: &VerifyingKey| key.id == header.key;
        let claims: WebClaims = jwt::check(token, header.algorithm, keys, named)?;
        let id = LoginId::parse(&claims.jti).filter(|_| claims.platform == PLATFORM);
        let id = id.ok_or(TokenRefusal::Malformed)?;
        Ok(Signed(WebLogin { user: claims.sub, id, expires_at: claims.exp.into() }))
    }
}

/// What is demanded of a web token that is signed with this algorithm.
fn validation(algorithm: Algorithm, config: &Config) -> Validation {
    let mut validation = Validation::new(algorithm);
    // By the clock that minted it: see `Signed`. This crate would ask the operating system's.
    validation.validate_exp = false;
    validation.required_spec_claims =
        ["iss"].map(str::to_owned).into_iter().collect::<HashSet<_>>();
    validation.set_issuer(&[&config.token_issuer]);
    match &config.token_audience {
        Some(audience) => validation.set_audience(&[audience]),
        None => validation.validate_aud = false,
    }
    validation
}
