//! Who is this phone: verifies the app's own JWT.

use std::collections::HashSet;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header,
};
use serde::{Deserialize, Serialize};

use super::WEB_TOKEN_TYPE;
use crate::{
    clock::Timestamp,
    config::{Config, Secret},
    login::Profile,
};

/// Longest user name, in bytes (spec section 3).
pub const MAX_USER: usize = 255;
/// What clocks of the app's backend and ours may differ, in seconds.
const LEEWAY: u64 = 30;
/// Longest name and picture that are passed on to the browser, in bytes; longer ones are left out.
const MAX_NAME: usize = 128;
const MAX_PICTURE: usize = 1024;
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    // A claim of another type than expected is as good as absent: it is only for show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    picture: Option<serde_json::Value>,
}

struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

/// Verifies app tokens.
pub struct AppAuth {
    verifiers: Vec<Verifier>,
    demo: Option<EncodingKey>,
}

/// A user of the demo.
#[derive(Clone, Copy, Debug, Serialize)]
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

impl AppAuth {
    /// A verifier for the configured secret, and for the demo's if it is on.
    pub fn new(config: &Config) -> Self {
        let verifier = |secret: &Secret, issuer: Option<&str>, audience: Option<&str>| {
            let mut validation = Validation::new(Algorithm::HS256);
            validation.leeway = LEEWAY;
            validation.validate_nbf = true;
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
            Verifier { key: DecodingKey::from_secret(secret.expose()), validation }
        };
        let (issuer, audience) = (config.app_issuer.as_deref(), config.app_audience.as_deref());
        let mut verifiers = vec![verifier(&config.app_secret, issuer, audience)];
        if let Some(secret) = &config.demo {
            verifiers.push(verifier(secret, Some(DEMO_ISSUER), None));
        }
        let demo = config.demo.as_ref().map(|secret| EncodingKey::from_secret(secret.expose()));
        Self { verifiers, demo }
    }

    /// The user of a token; `None` if it is not a valid app token.
    pub fn verify(&self, token: &str) -> Option<AppUser> {
        let header = decode_header(token).ok()?;
        if header.typ.is_some_and(|typ| typ.eq_ignore_ascii_case(WEB_TOKEN_TYPE)) {
            return None;
        }
        let claims = self.verifiers.iter().find_map(|verifier| {
            decode::<AppClaims>(token, &verifier.key, &verifier.validation).ok()
        })?;
        let AppClaims { sub, name, picture, .. } = claims.claims;
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

    /// An app token for a demo user, good for an hour; `None` if there is no such user or no demo.
    pub fn demo_token(&self, user: &str, now: Timestamp) -> Option<String> {
        let user = DemoUser::ALL.iter().find(|demo| demo.id == user)?;
        let claims = AppClaims {
            sub: user.id.into(),
            exp: now.as_secs() + 3600,
            iss: Some(DEMO_ISSUER.into()),
            name: Some(user.name.into()),
            picture: None,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, self.demo.as_ref()?).ok()
    }
}
