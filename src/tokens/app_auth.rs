//! Who is this phone: verifies the app's own JWT.

use std::{collections::HashSet, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Validation, dangerous::insecure_decode_claims,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    WEB_TOKEN_TYPE,
    jwt::{self, Header, NumericDate},
    key_set::{KeySet, Newer},
};
use crate::{
    clock::{Clock, Timestamp},
    config::{AppKey, Config, Secret, pem::VerifyingKey},
    json::{self, Object},
    login::Profile,
    metrics::TokenRefusal,
    text,
};

/// Longest user name, in bytes (spec section 3).
pub const MAX_USER: usize = 255;
/// How far the wall clocks of the app's backend and of this machine may be apart, in seconds.
const LEEWAY: u64 = 30;
/// A token that was made so long before the key set was fetched, in seconds, had its key in the set, or never has: clocks
/// differ, and a set is published through caches.
const PUBLISHED: f64 = 60.0;
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

/// What we look at. `iss` and `aud` are compared where they are decoded. Claims that have a rule of their own are
/// read as they are, so that a refusal can say which it was.
#[derive(Deserialize)]
struct AppClaims {
    #[serde(default, deserialize_with = "json::any")]
    sub: Option<Value>,
    #[serde(default, deserialize_with = "json::any")]
    exp: Option<Value>,
    // A token without it is good from the beginning of time.
    #[serde(default, deserialize_with = "json::any")]
    nbf: Option<Value>,
    #[serde(default, deserialize_with = "json::any")]
    iat: Option<Value>,
    // Never a list, which the decoder would take.
    #[serde(default, rename = "iss")]
    _iss: Option<String>,
    // A claim of another type than expected is as good as absent: it is only for show.
    name: Option<Value>,
    picture: Option<Value>,
}

/// What a demo user's token says.
#[derive(Serialize)]
struct DemoClaims<'a> {
    sub: &'a str,
    exp: u64,
    iss: &'a str,
    name: &'a str,
}

/// Why a token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// It is no valid app token.
    #[error("not a valid app token: {}", .0.description())]
    Refused(TokenRefusal),
    /// No key that we have fits it, and the key set cannot be fetched: nobody knows.
    #[error("the app's key set cannot be fetched")]
    KeysAway,
    /// No key that we have fits it, it is newer than they are, and the set may not be fetched again for so long.
    #[error("the app's key set was fetched too often: try again after {0:?}")]
    TooManyFetches(Duration),
}

impl From<TokenRefusal> for NotVerified {
    fn from(why: TokenRefusal) -> Self {
        Self::Refused(why)
    }
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
            let mut required = HashSet::new();
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

    /// The claims, if one of the keys has signed them; neither their dates nor the user are looked at.
    fn check(
        &self,
        token: &str,
        header: &Header,
        keys: &[VerifyingKey],
    ) -> Result<AppClaims, TokenRefusal> {
        let rules = self.0.iter().find(|(algorithm, _)| *algorithm == header.algorithm);
        let (_, rules) = rules.ok_or(TokenRefusal::Algorithm)?;
        let named =
            |key: &VerifyingKey| key.id.is_none() || header.key.is_none() || key.id == header.key;
        jwt::check(token, header.algorithm, keys.iter().map(|key| (key, rules)), named)
    }
}

impl Rules {
    /// Whether tokens of this algorithm can be good at all.
    fn has(&self, algorithm: Algorithm) -> bool {
        self.0.iter().any(|(known, _)| *known == algorithm)
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
        let header = Header::of(token)?;
        if header.kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case(WEB_TOKEN_TYPE)) {
            return Err(TokenRefusal::Type.into());
        }
        let mut checked = self.rules.check(token, &header, &self.keys);
        if let (Err(why), Some(demo)) = (&checked, &self.demo)
            && jwt::is_of_keys(*why)
        {
            let keys = std::slice::from_ref(&demo.verifying);
            checked = or_closer(*why, demo.rules.check(token, &header, keys));
        }
        if let (Err(why), Some(key_set)) = (&checked, &self.key_set)
            && jwt::is_of_keys(*why)
            && header.algorithm != Algorithm::HS256
        {
            checked = or_closer(*why, self.by_key_set(token, &header, key_set).await?);
        }
        Ok(checked?.user(self.clock.wall())?)
    }

    /// By the keys of the set; fetched anew where none of them fits.
    async fn by_key_set(
        &self,
        token: &str,
        header: &Header,
        key_set: &KeySet,
    ) -> Result<Result<AppClaims, TokenRefusal>, NotVerified> {
        let known = key_set.current().await;
        let why = match self.rules.check(token, header, &known.keys) {
            Err(why) if jwt::is_of_keys(why) => why,
            decided => return Ok(decided),
        };
        // Anybody can make up a token. Only one that is good but for its key is worth a fetch.
        let claims = insecure_decode_claims::<Object<AppClaims>>(token);
        let Ok(Object(claims)) = claims else { return Ok(Err(why)) };
        let made = claims.iat.as_ref().and_then(NumericDate::of);
        if !self.rules.has(header.algorithm) || claims.user(self.clock.wall()).is_err() {
            return Ok(Err(why));
        }
        match key_set.newer().await {
            Newer::Keys(keys) => Ok(self.rules.check(token, header, &keys)),
            Newer::Away => Err(NotVerified::KeysAway),
            // Else an app would send its user to log in for a key that is known in some seconds.
            Newer::TooOften(wait)
                if made.is_some_and(|made| {
                    made.as_secs() + PUBLISHED >= known.fetched.as_secs() as f64
                }) =>
            {
                Err(NotVerified::TooManyFetches(wait))
            }
            Newer::TooOften(_) => Ok(Err(why)),
        }
    }

    /// An app token for a demo user, good for an hour; `None` if there is no such user or no demo.
    pub fn demo_token(&self, user: &str) -> Option<String> {
        let user = DemoUser::ALL.iter().find(|demo| demo.id == user)?;
        let exp = self.clock.wall().as_secs() + 3600;
        let claims = DemoClaims { sub: user.id, exp, iss: DEMO_ISSUER, name: user.name };
        let key = &self.demo.as_ref()?.signing;
        jsonwebtoken::encode(&jsonwebtoken::Header::new(Algorithm::HS256), &claims, key).ok()
    }
}

/// What was found, or, where both reasons are the keys', the one that came closer.
fn or_closer(
    why: TokenRefusal,
    found: Result<AppClaims, TokenRefusal>,
) -> Result<AppClaims, TokenRefusal> {
    found.map_err(|other| if jwt::is_of_keys(other) { jwt::closer(why, other) } else { other })
}

impl AppClaims {
    /// The user, if the token is good at this time.
    fn user(self, now: Timestamp) -> Result<AppUser, TokenRefusal> {
        let Self { sub, exp, nbf, iat, name, picture, _iss } = self;
        let date = |claim: Option<Value>| match claim {
            None => Ok(None),
            Some(claim) => NumericDate::of(&claim).ok_or(TokenRefusal::Dates).map(Some),
        };
        let (exp, nbf, _) = (date(exp)?.ok_or(TokenRefusal::Dates)?, date(nbf)?, date(iat)?);
        let (now, leeway) = (now.as_secs() as f64, LEEWAY as f64);
        if now > exp.as_secs() + leeway {
            return Err(TokenRefusal::Expired);
        }
        if nbf.is_some_and(|nbf| nbf.as_secs() > now + leeway) {
            return Err(TokenRefusal::NotYet);
        }
        let user = match sub {
            Some(Value::String(user)) if is_user(&user) => user,
            _ => return Err(TokenRefusal::Subject),
        };
        let string = |claim| match claim {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let name = string(name).and_then(text::in_one_line).filter(|name| name.len() <= MAX_NAME);
        // An address has none of these; what is left without them would be another address.
        let picture = string(picture)
            .filter(|picture| picture.len() <= MAX_PICTURE && !picture.contains(text::is_control));
        Ok(AppUser { user, profile: Profile { name, picture } })
    }
}

/// Whether a `sub` can be a user: 1 to 255 bytes, and nothing in them that would make a line of a log, a header or a
/// list of users say something else than it holds.
pub fn is_user(sub: &str) -> bool {
    (1..=MAX_USER).contains(&sub.len()) && !sub.contains(text::is_control)
}
