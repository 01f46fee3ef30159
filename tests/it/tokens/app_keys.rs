//! App tokens that are signed with a private key of the app's.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::{ACCEPTED, REFUSED, claims, no_app_key, scan_with};
use crate::helpers::{
    Service,
    pem::{Keys, SigningKey},
    phone::{app_token, now},
};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

#[tokio::test]
async fn an_app_token_is_verified_by_the_key_and_no_other() {
    let keys = Keys::new();
    for algorithm in ALGORITHMS {
        let name = format!("{algorithm:?}");
        let (ours, other) = (keys.make(&name, algorithm), keys.make("other", algorithm));
        let path = keys.path(&format!("{name}.pub"));
        let service = Service::start(no_app_key().with("APP_JWT_PUBLIC_KEY_FILE", &path)).await;
        let scan = |token: String| async move { scan_with(service.address, &token).await };
        assert_eq!(scan(ours.sign(&claims("alice"))).await, ACCEPTED, "{name}");
        // A key id names nothing in a file.
        let named = SigningKey { id: Some("a".into()), ..ours.clone() };
        assert_eq!(scan(named.sign(&claims("alice"))).await, ACCEPTED, "{name}");
        assert_eq!(scan(other.sign(&claims("alice"))).await, REFUSED, "{name}");
        let expired = json!({ "sub": "alice", "exp": now() - 31 });
        assert_eq!(scan(ours.sign(&expired)).await, REFUSED, "{name}");
        let early = json!({ "sub": "alice", "exp": now() + 600, "nbf": now() + 60 });
        assert_eq!(scan(ours.sign(&early)).await, REFUSED, "{name}");
    }
}

#[tokio::test]
async fn a_token_cannot_choose_its_algorithm() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let keys = Keys::new();
    for algorithm in ALGORITHMS {
        let ours = keys.make("ours", algorithm);
        let path = keys.path("ours.pub");
        let service = Service::start(no_app_key().with("APP_JWT_PUBLIC_KEY_FILE", &path)).await;
        let refused = |token: String| async move {
            assert_eq!(scan_with(service.address, &token).await, REFUSED, "{token}");
        };
        // The public key taken for a secret: as text, without its last newline, and as bytes.
        let text = keys.text("ours.pub");
        let der = pem::parse(&text).unwrap().into_contents();
        for secret in [text.as_bytes(), text.trim_end().as_bytes(), &der] {
            for confused in [Algorithm::HS256, Algorithm::HS512] {
                let header = Header::new(confused);
                let secret = EncodingKey::from_secret(secret);
                refused(encode(&header, &claims("alice"), &secret).unwrap()).await;
            }
        }
        let good = ours.sign(&claims("alice"));
        let (_, body) = good.split_once('.').unwrap();
        let (payload, signature) = body.split_once('.').unwrap();
        for alg in ["none", "None", "NONE", "HS256", "RS256", "ES256", "EdDSA", "PS256", "RS512"] {
            let header = URL_SAFE_NO_PAD.encode(json!({ "typ": "JWT", "alg": alg }).to_string());
            refused(format!("{header}.{payload}.")).await;
            // Signed over another header: the signature is worth nothing.
            if header != good.split_once('.').unwrap().0 {
                refused(format!("{header}.{payload}.{signature}")).await;
            }
        }
        // A larger hash of the same family is another algorithm.
        if algorithm == Algorithm::RS256 {
            for family in [Algorithm::RS512, Algorithm::PS256] {
                refused(encode(&Header::new(family), &claims("alice"), &ours.key).unwrap()).await;
            }
        }
    }
}

#[tokio::test]
async fn a_web_token_of_ours_is_no_app_token_even_if_both_keys_are_the_same() {
    let keys = Keys::new();
    keys.make("both", Algorithm::ES256);
    let settings = no_app_key()
        .without("TOKEN_SECRET")
        .with("APP_JWT_PUBLIC_KEY_FILE", &keys.path("both.pub"))
        .with("TOKEN_PRIVATE_KEY_FILE", &keys.path("both.pem"));
    let service = Service::start(settings).await;
    let (mut browser, key) = crate::helpers::Browser::plain(service.address).await;
    let app = EncodingKey::from_ec_pem(keys.text("both.pem").as_bytes()).unwrap();
    let app = encode(&Header::new(Algorithm::ES256), &claims("alice"), &app).unwrap();
    let phone = crate::helpers::Phone::with_token(service.address, &app);
    assert_eq!(phone.scan(&key).await.codes(), ACCEPTED);
    let web = browser.text().await;
    assert_eq!(scan_with(service.address, &web).await, REFUSED);
    let verified = crate::helpers::phone::verify(service.address, &app).await;
    assert_eq!(verified.codes(), REFUSED);
}

#[tokio::test]
async fn issuer_and_audience_are_demanded_whatever_the_algorithm() {
    let keys = Keys::new();
    let ours = keys.make("ours", Algorithm::EdDSA);
    let settings = no_app_key()
        .with("APP_JWT_PUBLIC_KEY_FILE", &keys.path("ours.pub"))
        .with("APP_JWT_ISSUER", "https://app.example.com")
        .with("APP_JWT_AUDIENCE", "scanlogin");
    let service = Service::start(settings).await;
    for (issuer, audience, result) in [
        (json!("https://app.example.com"), json!("scanlogin"), ACCEPTED),
        (json!("https://app.example.com"), json!(["x", "scanlogin"]), ACCEPTED),
        (json!("https://app.example.com/"), json!("scanlogin"), REFUSED),
        (json!("https://app.example.com"), json!("other"), REFUSED),
        (json!(null), json!("scanlogin"), REFUSED),
        (json!("https://app.example.com"), json!(null), REFUSED),
    ] {
        let mut claims = claims("alice");
        claims["iss"] = issuer.clone();
        claims["aud"] = audience.clone();
        let token = ours.sign(&claims);
        assert_eq!(scan_with(service.address, &token).await, result, "{issuer} {audience}");
    }
}

#[tokio::test]
async fn several_public_keys_in_one_file_are_all_accepted() {
    let keys = Keys::new();
    let made = ALGORITHMS.map(|algorithm| keys.make(&format!("{algorithm:?}"), algorithm));
    let texts = ALGORITHMS.map(|algorithm| keys.text(&format!("{algorithm:?}.pub")));
    let path = keys.write("all.pub", &format!("# the keys of 2026\n{}", texts.concat()));
    let service = Service::start(no_app_key().with("APP_JWT_PUBLIC_KEY_FILE", &path)).await;
    for key in made {
        assert_eq!(scan_with(service.address, &key.sign(&claims("alice"))).await, ACCEPTED);
    }
    let secret = app_token(&claims("alice"), crate::helpers::service::APP_SECRET);
    assert_eq!(scan_with(service.address, &secret).await, REFUSED);
}
