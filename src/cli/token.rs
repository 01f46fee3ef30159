//! `scanlogin token`: an app token, as the app's backend would make it.

use std::net::SocketAddr;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use url::Url;

use crate::{
    clock::Timestamp,
    config::{ConfigError, MIN_SECRET, Secret, TokenOrder, Values, pem, text},
    tokens::{CallError, DemoUser, MAX_NAME, MAX_PICTURE, MAX_USER, is_user, outgoing},
};

/// Seconds that a token is good for where nobody says otherwise.
const TTL: u64 = 3600;
/// Longest answer of a demo, in bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A setting is wrong, or missing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An argument is.
    #[error("--{0}: {1}")]
    Argument(&'static str, String),
    /// Nothing to sign with, and no demo to ask.
    #[error(
        "nothing to sign with: set SCANLOGIN_APP_JWT_SECRET as the service has it, or give \
         --secret-file or --private-key-file; a demo that could be asked for a token of its users \
         does not answer at http://{0}/ ({1}); for example \
         SCANLOGIN_APP_JWT_SECRET_FILE=/run/secrets/app scanlogin token --user alice"
    )]
    NoKey(SocketAddr, CallError),
    /// The service there is no demo.
    #[error(
        "the service at http://{0}/ runs no demo, so only what it is configured with signs app \
         tokens: set SCANLOGIN_APP_JWT_SECRET as it has it, or give --secret-file or \
         --private-key-file"
    )]
    NoDemo(SocketAddr),
    /// The key signs nothing.
    #[error("the key cannot sign: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// Makes the token; `now` is when it begins to be good.
///
/// # Errors
/// [`TokenError`].
pub async fn token(
    order: &TokenOrder,
    values: &Values,
    now: Timestamp,
) -> Result<String, TokenError> {
    let within = |name, text: &str, most: usize| {
        let what = format!("has {} bytes; the service takes at most {most}", text.len());
        if text.len() > most { Err(TokenError::Argument(name, what)) } else { Ok(()) }
    };
    within("user", &order.user, MAX_USER)?;
    if !is_user(&order.user) {
        let what = "must have no control characters, line separators or \
                    direction marks: the service refuses such a sub";
        return Err(TokenError::Argument("user", what.into()));
    }
    // The service would leave them out, and nobody would know why.
    within("name", order.name.as_deref().unwrap_or_default(), MAX_NAME)?;
    within("picture", order.picture.as_deref().unwrap_or_default(), MAX_PICTURE)?;
    let Some((algorithm, key)) = key(order, values)? else {
        return of_demo(order, values).await;
    };
    let now = now.as_secs();
    let mut claims = json!({
        "sub": order.user,
        "iat": now,
        "exp": now + order.ttl.unwrap_or(TTL),
    });
    let more = [
        ("name", order.name.clone()),
        ("picture", order.picture.clone()),
        ("iss", values.get("SCANLOGIN_APP_JWT_ISSUER")?),
        ("aud", values.get("SCANLOGIN_APP_JWT_AUDIENCE")?),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            claims[name] = value.into();
        }
    }
    Ok(jsonwebtoken::encode(&Header::new(algorithm), &claims, &key)?)
}

/// What signs; `None` where nothing is given.
fn key(
    order: &TokenOrder,
    values: &Values,
) -> Result<Option<(Algorithm, EncodingKey)>, TokenError> {
    if let Some(path) = &order.private_key_file {
        let name = "private-key-file";
        let wrong = |what| TokenError::Argument(name, what);
        let file = std::fs::read(path).map_err(|error| wrong(text::unreadable(path, &error)))?;
        let keys = pem::private_keys(&file).map_err(|what| wrong(format!("'{path}': {what}")))?;
        return Ok(keys.into_iter().next().map(|key| (key.public.algorithm, key.key)));
    }
    let secret = match &order.secret_file {
        None => values.secret_bytes("SCANLOGIN_APP_JWT_SECRET")?,
        Some(path) => {
            let wrong = |what| TokenError::Argument("secret-file", what);
            let secret = text::secret_of_file(path).map_err(wrong)?;
            if let Some(what) = text::stray(&secret) {
                return Err(wrong(format!("'{path}' {what}")));
            }
            if secret.len() < MIN_SECRET {
                let bytes = secret.len();
                let what = format!("has {bytes} bytes; a secret needs at least {MIN_SECRET}");
                return Err(wrong(format!("'{path}' {what}")));
            }
            Some(Secret::new(secret))
        }
    };
    if let Some(secret) = secret {
        return Ok(Some((Algorithm::HS256, EncodingKey::from_secret(secret.expose()))));
    }
    for name in ["SCANLOGIN_APP_JWT_PUBLIC_KEY_FILE", "SCANLOGIN_APP_JWKS_URL"] {
        if values.is_set(name) {
            let what = "only verifies: give the private key with --private-key-file";
            return Err(ConfigError::without_example(name, what).into());
        }
    }
    Ok(None)
}

/// Asks a demo on this machine, whose key nobody else has.
async fn of_demo(order: &TokenOrder, values: &Values) -> Result<String, TokenError> {
    let address = values.address("SCANLOGIN_LISTEN", "127.0.0.1:8080")?;
    let users = DemoUser::ALL.map(|user| user.id).join(", ");
    if !DemoUser::ALL.iter().any(|user| user.id == order.user) {
        let what = format!(
            "'{}' is no user of the demo ({users}); for any other, set SCANLOGIN_APP_JWT_SECRET as \
             the service has it, or give --secret-file or --private-key-file",
            order.user
        );
        return Err(TokenError::Argument("user", what));
    }
    for (name, given) in [
        ("name", order.name.is_some()),
        ("picture", order.picture.is_some()),
        ("ttl", order.ttl.is_some()),
    ] {
        if given {
            let what = "the demo's tokens are as they are: this needs SCANLOGIN_APP_JWT_SECRET, \
                        --secret-file or --private-key-file";
            return Err(TokenError::Argument(name, what.into()));
        }
    }
    let away = |error: CallError| TokenError::NoKey(address, error);
    let invalid = |what: String| away(CallError::Invalid(what));
    let url = Url::parse(&format!("http://{address}/demo/app-token"));
    let url = url.map_err(|error| invalid(error.to_string()))?;
    let client = outgoing::client(&url).map_err(|error| invalid(error.to_string()))?;
    let call = client.post(url);
    let sent = call.json(&json!({ "user": order.user })).send().await;
    let body = match outgoing::body(sent, MAX_ANSWER).await {
        Ok(body) => body,
        Err(CallError::Status(_)) => return Err(TokenError::NoDemo(address)),
        Err(error) => return Err(away(error)),
    };
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    let token = answer["token"].as_str().map(str::to_owned);
    token.ok_or(TokenError::NoDemo(address))
}
