//! JWTs: whatever a stranger brings, and whatever claims a right signature may stand under.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::FutureExt;
use scanlogin::{
    clock::Clock,
    config::{Config, Parsed, Values},
    keys::Entropy,
    tokens::{AppAuth, AppUser, Issuer, bearer, is_user},
};

const SECRET: &str = "one-secret-for-both-is-the-worst-case";

static BOTH: LazyLock<(AppAuth, Issuer)> = LazyLock::new(|| {
    let settings = [("SCANLOGIN_APP_JWT_SECRET", SECRET), ("SCANLOGIN_TOKEN_SECRET", SECRET)];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let Ok(Parsed::Run(values)) = Values::read(["scanlogin".into()], settings) else {
        panic!("a good configuration")
    };
    let config = Config::from_values(&values, Entropy::Fixed(1)).expect("a good configuration");
    (AppAuth::new(&config, None, Clock::system()), Issuer::new(&config))
});

/// Who the app's token says, if it is good: with a secret nothing has to be waited for.
fn phone(app: &AppAuth, token: &str) -> Option<AppUser> {
    app.verify(token).now_or_never().expect("no key set to fetch").ok()
}

/// First the bytes as a header's value; then as header and claims, two lines, under a right MAC.
pub(crate) fn tokens(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (app, issuer) = &*BOTH;
    let token = bearer(Some(text)).unwrap_or(text);
    assert!(phone(app, token).is_none() && issuer.verify(token).is_err(), "forged: {token}");

    let (header, claims) = text.split_once('\n').unwrap_or((r#"{"alg":"HS256"}"#, text));
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(header), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    let token = format!("{signed}.{mac}");
    let (phone, web) = (phone(app, &token), issuer.verify(&token).ok());
    assert!(phone.is_none() || web.is_none(), "taken for both: {header} {claims}");
    if let Some(phone) = phone {
        assert!(is_user(&phone.user), "{phone:?}");
        let header: serde_json::Value = serde_json::from_str(header).expect("JSON");
        assert_eq!(header["alg"], "HS256", "another algorithm");
        assert!(header.get("crit").is_none(), "an extension that nobody here knows");
        let claims: serde_json::Value = serde_json::from_str(claims).expect("JSON");
        assert!(claims["exp"].is_number() && claims["sub"].is_string(), "no object of claims");
    }
}
