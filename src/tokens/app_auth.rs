//! Who is this phone: verifies the app's own JWT.

use std::collections::HashSet;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    WEB_TOKEN_TYPE,
    key_set::{Found, KeySet},
};
use crate::{
    clock::{Clock, Timestamp},
    config::{AppKey, Config, Secret, pem::VerifyingKey},
    login::Profile,
};

/// Longest user name, in bytes (spec section 3).
pub const MAX_USER: usize = 255;
/// How far the wall clocks of the app's backend and of this machine may be apart, in seconds.
const LEEWAY: u64 = 30;
/// Longest name that is passed on to the browser, in bytes; a longer one is left out.
pub const MAX_NAME: usize = 128;
/// The same of a picture's address.
pub const MAX_PICTURE: usize = 1024;
/// The `iss` of demo users' app tokens.
const DEMO_ISSUER: &str = "scanlogin-demo";

/// A phone's user, as the app's backend vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppUser {
    /// The `sub`.
    pub user: String,
    /// What the browser may show.
    pub profile: Profile,
}

#[derive(Serialize, Deserialize)]
struct AppClaims {
    sub: String,
    exp: u64,
    // May have a fraction (RFC 7519, 2, NumericDate). A token without it is good from the beginning of time.
    #[serde(default, skip_serializing)]
    nbf: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    // A claim of another type than expected is as good as absent: it is only for show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    picture: Option<serde_json::Value>,
}

/// Why a token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// It is no valid app token.
    #[error("not a valid app token")]
    Invalid,
    /// It was one: it has expired, or its time has not come.
    #[error("an app token that is not good at this time")]
    NotNow,
    /// It names a key that we do not have, and the key set cannot be fetched: nobody knows.
    #[error("the app's key set cannot be fetched")]
    KeysAway,
}

/// What is demanded of a token of each algorithm: the key decides which that is, so a token cannot
/// have a public key taken for a secret, or choose `none`.
struct Rules(Vec<(Algorithm, Validation)>);

/// Verifies app tokens.
pub struct AppAuth {
    rules: Rules,
    keys: Vec<VerifyingKey>,
    key_set: Option<KeySet>,
    demo: Option<Demo>,
    clock: Clock,
}

struct Demo {
    rules: Rules,
    verifying: VerifyingKey,
    signing: EncodingKey,
}

/// A user of the demo.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct DemoUser {
    /// The `sub`.
    pub id: &'static str,
    /// The `name`.
    pub name: &'static str,
}

impl DemoUser {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self { id: "alice", name: "Alice Example" },
        Self { id: "bob", name: "Bob Example" },
        Self { id: "mei", name: "Mei Example" },
    ];
}

fn secret_key(secret: &Secret) -> VerifyingKey {
    let key = DecodingKey::from_secret(secret.expose());
    VerifyingKey { algorithm: Algorithm::HS256, key, id: None }
}

impl Rules {
    fn new(issuer: Option<&str>, audience: Option<&str>) -> Self {
        use Algorithm::{ES256, EdDSA, HS256, RS256};
        let rules = [HS256, RS256, ES256, EdDSA].map(|algorithm| {
            let mut validation = Validation::new(algorithm);
            // By our clock, not by the operating system's, which this crate would ask: `AppClaims::are_good`.
            validation.validate_exp = false;
            let mut required = HashSet::from(["exp".to_owned(), "sub".to_owned()]);
            if let Some(issuer) = issuer {
                validation.set_issuer(&[issuer]);
                required.insert("iss".into());
            }
            match audience {
                Some(audience) => {
                    validation.set_audience(&[audience]);
                    required.insert("aud".into());
                }
                // Without an expectation, a token that names an audience is not refused for it.
                None => validation.validate_aud = false,
            }
            validation.required_spec_claims = required;
            (algorithm, validation)
        });
        Self(rules.into())
    }

    /// The claims, if one of the keys has signed them; their time is not looked at.
    fn check(&self, token: &str, header: &Header, keys: &[VerifyingKey]) -> Option<AppClaims> {
        let (_, validation) = self.0.iter().find(|(algorithm, _)| *algorithm == header.alg)?;
        let named = |key: &&VerifyingKey| {
            key.algorithm == header.alg
                && (key.id.is_none() || header.kid.is_none() || key.id == header.kid)
        };
        keys.iter().filter(named).find_map(|key| {
            decode::<AppClaims>(token, &key.key, validation).ok().map(|data| data.claims)
        })
    }
}

impl AppAuth {
    /// A verifier for what is configured, and for the demo's users if it is on. `key_set` is there
    /// where the configuration names one. Tokens are good by the wall clock.
    pub fn new(config: &Config, key_set: Option<KeySet>, clock: Clock) -> Self {
        let rules = Rules::new(config.app_issuer.as_deref(), config.app_audience.as_deref());
        let mut keys = match &config.app_keys.current {
            AppKey::Secret(secret) => vec![secret_key(secret)],
            AppKey::Public(keys) => keys.clone(),
            AppKey::Jwks(_) => Vec::new(),
        };
        keys.extend(config.app_keys.previous.as_ref().map(secret_key));
        let demo = config.demo.as_ref().map(|secret| Demo {
            rules: Rules::new(Some(DEMO_ISSUER), None),
            verifying: secret_key(secret),
            signing: EncodingKey::from_secret(secret.expose()),
        });
        Self { rules, keys, key_set, demo, clock }
    }

    /// The user of a token.
    ///
    /// # Errors
    /// [`NotVerified`].
    pub async fn verify(&self, token: &str) -> Result<AppUser, NotVerified> {
        let header = decode_header(token).map_err(|_| NotVerified::Invalid)?;
        if header.typ.as_deref().is_some_and(|typ| typ.eq_ignore_ascii_case(WEB_TOKEN_TYPE)) {
            return Err(NotVerified::Invalid);
        }
        let mut claims = self.rules.check(token, &header, &self.keys);
        if let (None, Some(demo)) = (&claims, &self.demo) {
            claims = demo.rules.check(token, &header, std::slice::from_ref(&demo.verifying));
        }
        if let (None, Some(key_set)) = (&claims, &self.key_set)
            && header.alg != Algorithm::HS256
        {
            claims = match key_set.find(header.kid.as_deref()).await {
                Found::Keys(keys) => self.rules.check(token, &header, &keys),
                Found::Away => return Err(NotVerified::KeysAway),
            };
        }
        let claims = claims.ok_or(NotVerified::Invalid)?;
        if !claims.are_good(self.clock.wall()) {
            return Err(NotVerified::NotNow);
        }
        user(claims).ok_or(NotVerified::Invalid)
    }

    /// An app token for a demo user, good for an hour; `None` if there is no such user or no demo.
    pub fn demo_token(&self, user: &str) -> Option<String> {
        let user = DemoUser::ALL.iter().find(|demo| demo.id == user)?;
        let claims = AppClaims {
            sub: user.id.into(),
            exp: self.clock.wall().as_secs() + 3600,
            nbf: 0.0,
            iss: Some(DEMO_ISSUER.into()),
            name: Some(user.name.into()),
            picture: None,
        };
        let key = &self.demo.as_ref()?.signing;
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, key).ok()
    }
}

impl AppClaims {
    /// The token is good at this time.
    fn are_good(&self, now: Timestamp) -> bool {
        let now = now.as_secs();
        now <= self.exp.saturating_add(LEEWAY) && self.nbf <= (now + LEEWAY) as f64
    }
}

/// The user of claims that are verified.
fn user(claims: AppClaims) -> Option<AppUser> {
    let AppClaims { sub, name, picture, .. } = claims;
    if sub.is_empty() || sub.len() > MAX_USER {
        return None;
    }
    let text = |value: Option<serde_json::Value>, max| match value {
        Some(serde_json::Value::String(text)) if text.len() <= max => Some(text),
        _ => None,
    };
    let profile = Profile { name: text(name, MAX_NAME), picture: text(picture, MAX_PICTURE) };
    Some(AppUser { user: sub, profile })
}
