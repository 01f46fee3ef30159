//! Makes web tokens and reads them back (spec section 4).

use std::{collections::HashSet, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use serde::{Deserialize, Serialize};

use super::WEB_TOKEN_TYPE;
use crate::{clock::Timestamp, config::Config, keys::LoginId};

#[derive(Serialize, Deserialize)]
struct WebClaims {
    sub: String,
    platform: String,
    jti: String,
    iss: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    iat: u64,
    exp: u64,
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

/// Signs with HS256.
pub struct Issuer {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    header: Header,
    issuer: String,
    audience: Option<String>,
    ttl: Duration,
}

/// The only platform so far: the original recorded one login per user and platform.
const PLATFORM: &str = "web";

impl Issuer {
    /// An issuer with the configured secret.
    pub fn new(config: &Config) -> Self {
        let secret = config.token_secret.expose();
        let mut validation = Validation::new(Algorithm::HS256);
        // These are our own clocks' times: nothing to be lenient about.
        validation.leeway = 0;
        validation.required_spec_claims =
            ["exp", "sub", "iss"].map(str::to_owned).into_iter().collect::<HashSet<_>>();
        validation.set_issuer(&[&config.token_issuer]);
        match &config.token_audience {
            Some(audience) => validation.set_audience(&[audience]),
            None => validation.validate_aud = false,
        }
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(WEB_TOKEN_TYPE.into());
        Self {
            signing: EncodingKey::from_secret(secret),
            verifying: DecodingKey::from_secret(secret),
            validation,
            header,
            issuer: config.token_issuer.clone(),
            audience: config.token_audience.clone(),
            ttl: config.token_ttl,
        }
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
            iat,
            exp: expires_at,
            amr: vec!["qr".into()],
        };
        let token = encode(&self.header, &claims, &self.signing)
            .expect("an HMAC over strings and numbers cannot fail");
        WebToken { token, expires_at }
    }

    /// What a token says, if it is ours and still good; whether it was revoked, the store knows.
    pub fn verify(&self, token: &str) -> Option<WebLogin> {
        if decode_header(token).ok()?.typ.as_deref() != Some(WEB_TOKEN_TYPE) {
            return None;
        }
        let claims = decode::<WebClaims>(token, &self.verifying, &self.validation).ok()?.claims;
        let id = LoginId::parse(&claims.jti)?;
        (claims.platform == PLATFORM).then_some(WebLogin {
            user: claims.sub,
            id,
            expires_at: claims.exp,
        })
    }
}
