//! How the app's tokens are verified, and how ours are made: exactly one way of each.

use std::path::Path;

use url::Url;

use super::{
    ConfigError, Secret, Values,
    pem::{self, SigningKey, VerifyingKey},
    text::{self, quoted},
};
use crate::{keys::Entropy, origin::is_loopback};

const APP_SECRET: &str = "SCANLOGIN_APP_JWT_SECRET";
const APP_PREVIOUS: &str = "SCANLOGIN_APP_JWT_SECRET_PREVIOUS";
const APP_PUBLIC: &str = "SCANLOGIN_APP_JWT_PUBLIC_KEY_FILE";
const APP_JWKS: &str = "SCANLOGIN_APP_JWKS_URL";
const TOKEN_SECRET: &str = "SCANLOGIN_TOKEN_SECRET";
const TOKEN_PREVIOUS: &str = "SCANLOGIN_TOKEN_SECRET_PREVIOUS";
const TOKEN_PRIVATE: &str = "SCANLOGIN_TOKEN_PRIVATE_KEY_FILE";
const HOOK_URL: &str = "SCANLOGIN_TOKEN_WEBHOOK_URL";
const HOOK_SECRET: &str = "SCANLOGIN_TOKEN_WEBHOOK_SECRET";
const ADMIN_TOKEN: &str = "SCANLOGIN_ADMIN_TOKEN";

/// How the app's own JWT is verified.
#[derive(Clone, Debug)]
pub struct AppKeys {
    /// What the app signs with now.
    pub current: AppKey,
    /// A secret with which it signed before, or will soon (HS256).
    pub previous: Option<Secret>,
}

/// What the app signs with.
#[derive(Clone, Debug)]
pub enum AppKey {
    /// HS256.
    Secret(Secret),
    /// RS256, ES256 or EdDSA, each as its key says.
    Public(Vec<VerifyingKey>),
    /// The same, from a key set that is fetched.
    Jwks(Url),
}

/// How web tokens are made.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    /// What we sign with now.
    pub current: TokenKey,
    /// A secret with which we signed before, or will soon (HS256): only verifies.
    pub previous: Option<Secret>,
}

/// What we sign with.
#[derive(Clone, Debug)]
pub enum TokenKey {
    /// HS256.
    Secret(Secret),
    /// RS256, ES256 or EdDSA: the first signs, all verify. There is at least one.
    Private(Vec<SigningKey>),
    /// Nothing: the webhook makes the tokens.
    Webhook(WebhookSettings),
}

/// Who makes the tokens in our place.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Where it is.
    pub url: Url,
    /// What our calls are signed with.
    pub secret: Secret,
}

impl TokenKeys {
    /// What the demo's own secret is derived from: the same on all instances that sign alike.
    pub fn root(&self) -> &[u8] {
        match &self.current {
            TokenKey::Webhook(hook) => hook.secret.expose(),
            TokenKey::Secret(secret) => secret.expose(),
            TokenKey::Private(keys) => keys.first().map_or(&[], |key| key.key.as_bytes()),
        }
    }
}

impl TokenKeys {
    /// What all instances that verify alike share, [`Self::root`] first.
    pub fn roots(&self) -> Vec<Secret> {
        let mut roots = match &self.current {
            TokenKey::Secret(secret) => vec![secret.clone()],
            TokenKey::Webhook(hook) => vec![hook.secret.clone()],
            TokenKey::Private(keys) => {
                keys.iter().map(|key| Secret::new(key.key.as_bytes())).collect()
            }
        };
        roots.extend(self.previous.clone());
        roots
    }
}

/// Both, as configured.
pub(super) struct Credentials {
    pub app: AppKeys,
    pub token: TokenKeys,
    /// Whether the app's is configured, and not made up for this run.
    pub app_given: bool,
    /// Whether anything is.
    pub any_given: bool,
}

/// Reads both. Where neither is given and `may_make_up`, random secrets are made for this run.
pub(super) fn read(
    values: &Values,
    may_make_up: bool,
    entropy: Entropy,
) -> Result<Credentials, ConfigError> {
    let app = app(values)?;
    let token = token(values)?;
    let app_previous = previous(values, APP_PREVIOUS, app.is_some(), APP_SECRET)?;
    let signs = matches!(token, Some(TokenKey::Secret(_) | TokenKey::Private(_)));
    let token_previous = previous(values, TOKEN_PREVIOUS, signs, TOKEN_SECRET)?;
    let (app_given, any_given) = (app.is_some(), app.is_some() || token.is_some());
    // Random secrets would not survive a restart or be shared: only for trying things.
    let made_up = (may_make_up && !any_given).then(|| Secret::new(entropy.bytes::<32>()));
    let app = app.or_else(|| made_up.clone().map(AppKey::Secret)).ok_or_else(|| {
        let what = format!("is missing, and so are {APP_PUBLIC} and {APP_JWKS}");
        ConfigError::new(APP_SECRET, what)
    })?;
    let made_up = made_up.map(|_| Secret::new(entropy.bytes::<32>()));
    let token = token.or_else(|| made_up.map(TokenKey::Secret)).ok_or_else(|| {
        let what = format!("is missing, and so are {TOKEN_PRIVATE} and {HOOK_URL}");
        ConfigError::new(TOKEN_SECRET, what)
    })?;
    Ok(Credentials {
        app: AppKeys { current: app, previous: app_previous },
        token: TokenKeys { current: token, previous: token_previous },
        app_given,
        any_given,
    })
}

fn app(values: &Values) -> Result<Option<AppKey>, ConfigError> {
    only_one(values, &[APP_SECRET, APP_PUBLIC, APP_JWKS])?;
    if let Some(secret) = values.secret_bytes(APP_SECRET)? {
        return Ok(Some(AppKey::Secret(secret)));
    }
    if let Some(path) = values.get(APP_PUBLIC)? {
        return Ok(Some(AppKey::Public(from_file(APP_PUBLIC, &path, pem::public_keys)?)));
    }
    Ok(match values.get(APP_JWKS)? {
        Some(url) => Some(AppKey::Jwks(outgoing_url(APP_JWKS, &url)?)),
        None => None,
    })
}

fn token(values: &Values) -> Result<Option<TokenKey>, ConfigError> {
    only_one(values, &[TOKEN_SECRET, TOKEN_PRIVATE, HOOK_URL])?;
    let hook_secret = values.secret_bytes(HOOK_SECRET)?;
    if let Some(url) = values.get(HOOK_URL)? {
        let url = outgoing_url(HOOK_URL, &url)?;
        let missing = || ConfigError::new(HOOK_SECRET, format!("is missing beside {HOOK_URL}"));
        let secret = hook_secret.ok_or_else(missing)?;
        return Ok(Some(TokenKey::Webhook(WebhookSettings { url, secret })));
    }
    if hook_secret.is_some() {
        return Err(ConfigError::new(HOOK_URL, format!("is missing beside {HOOK_SECRET}")));
    }
    if let Some(secret) = values.secret_bytes(TOKEN_SECRET)? {
        return Ok(Some(TokenKey::Secret(secret)));
    }
    Ok(match values.get(TOKEN_PRIVATE)? {
        Some(path) => Some(TokenKey::Private(from_file(TOKEN_PRIVATE, &path, pem::private_keys)?)),
        None => None,
    })
}

/// What `/revoke` demands.
pub(super) fn admin_token(values: &Values) -> Result<Option<Secret>, ConfigError> {
    let token = values.secret_bytes(ADMIN_TOKEN)?;
    // RFC 6750, 2.1: what is anything else could not be sent.
    let can_be_sent = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if token.as_ref().is_some_and(|token| !token.expose().iter().all(can_be_sent)) {
        let what = "must be letters, digits and any of -._~+/= only: it is sent in a header";
        return Err(ConfigError::new(ADMIN_TOKEN, what));
    }
    Ok(token)
}

/// A secret that only verifies: beside whatever is in use now, so that one can also leave secrets
/// for keys without logging anybody out.
fn previous(
    values: &Values,
    name: &'static str,
    has_current: bool,
    current: &str,
) -> Result<Option<Secret>, ConfigError> {
    let previous = values.secret_bytes(name)?;
    if previous.is_some() && !has_current {
        let what = format!("is only accepted, never signed with: {current} is missing beside it");
        return Err(ConfigError::new(name, what));
    }
    Ok(previous)
}

/// That at most one of these is given.
fn only_one(values: &Values, names: &[&'static str]) -> Result<(), ConfigError> {
    let mut given = names.iter().filter(|name| values.is_given(name));
    match (given.next(), given.next()) {
        (Some(first), Some(second)) => {
            let what = format!("is set beside {first}: exactly one of {}", names.join(", "));
            Err(ConfigError::new(second, what))
        }
        _ => Ok(()),
    }
}

fn from_file<T>(
    name: &'static str,
    path: &str,
    parse: impl Fn(&[u8]) -> Result<Vec<T>, String>,
) -> Result<Vec<T>, ConfigError> {
    let text = std::fs::read(Path::new(path))
        .map_err(|error| ConfigError::new(name, text::unreadable(path, &error)))?;
    parse(&text).map_err(|what| ConfigError::new(name, format!("'{path}': {what}")))
}

/// An address that we call ourselves: what goes there is worth protecting on its way.
fn outgoing_url(name: &'static str, text: &str) -> Result<Url, ConfigError> {
    let bad = |what: &str| ConfigError::new(name, format!("{} {what}", quoted(text)));
    let url = Url::parse(text).map_err(|error| bad(&format!("is not a URL: {error}")))?;
    if url.fragment().is_some() {
        return Err(bad("must not have a fragment"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if url.host().is_some_and(|host| is_loopback(&host)) => Ok(url),
        "http" => Err(bad("must begin with https:// (http:// only for a loopback host)")),
        _ => Err(bad("must begin with https://")),
    }
}
