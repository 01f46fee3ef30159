//! Web tokens that are signed with a private key, and the key set by which others verify them.

use std::net::SocketAddr;

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{JwkSet, ThumbprintHash},
};
use serde_json::{Value, json};

use crate::helpers::{
    Browser, Closed, Phone, Service, Settings, both,
    pem::Keys,
    phone::{answer, logout, verify},
    service::claims,
};

/// A log-in; its token.
pub(super) async fn token(address: SocketAddr, user: &str) -> String {
    let (mut browser, key) = Browser::plain(address).await;
    assert_eq!(Phone::of(address, user).scan(&key).await.codes(), (200, 100));
    let token = browser.text().await;
    assert_eq!(browser.closed().await, Closed::Code(1000));
    token
}

fn signing_with(path: &str) -> Settings {
    Settings::embedded().without("TOKEN_SECRET").with("TOKEN_PRIVATE_KEY_FILE", path)
}

pub(super) async fn key_set(address: SocketAddr) -> (reqwest::Response, SocketAddr) {
    let url = format!("http://{address}/.well-known/jwks.json");
    (reqwest::get(url).await.expect("an answer"), address)
}

#[tokio::test]
async fn each_kind_of_key_signs_and_the_key_set_verifies() {
    let keys = Keys::new();
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        keys.make("ours", algorithm);
        let path = keys.path("ours.pem");
        let change = |settings: Settings| {
            settings.without("TOKEN_SECRET").with("TOKEN_PRIVATE_KEY_FILE", &path)
        };
        for (service, _redis) in both(change).await {
            let token = token(service.address, "alice").await;
            let header = decode_header(&token).unwrap();
            assert_eq!((header.alg, header.typ.as_deref()), (algorithm, Some("scanlogin+jwt")));
            let (answer, _) = key_set(service.address).await;
            assert_eq!(answer.status(), 200);
            let cache = answer.headers()["cache-control"].to_str().unwrap();
            assert_eq!(cache, "public, max-age=300, must-revalidate");
            let set: Value = answer.json().await.unwrap();
            for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert_eq!(set["keys"][0].get(private), None, "{set}");
            }
            assert_eq!(set["keys"][0]["use"], "sig");
            let set: JwkSet = serde_json::from_value(set).unwrap();
            let jwk = set.find(header.kid.as_deref().unwrap()).expect("the key that signed");
            assert_eq!(jwk.thumbprint(ThumbprintHash::SHA256).ok(), header.kid);
            let mut rules = Validation::new(algorithm);
            rules.set_issuer(&["scanlogin"]);
            let key = DecodingKey::from_jwk(jwk).unwrap();
            let read = decode::<Value>(&token, &key, &rules).expect("a signature by that key");
            assert_eq!(read.claims["sub"], "alice");
            assert_eq!(verify(service.address, &token).await.body["user"], "alice");
            assert_eq!(logout(service.address, &token).await.status, 200);
            assert_eq!(verify(service.address, &token).await.status, 401);
        }
    }
}

#[tokio::test]
async fn a_forged_web_token_is_refused_whatever_its_header_says() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let keys = Keys::new();
    keys.make("ours", Algorithm::ES256);
    let service = Service::start(signing_with(&keys.path("ours.pem"))).await;
    let token = token(service.address, "alice").await;
    let (header, body) = claims(&token);
    let refused = |token: String| async move {
        assert_eq!(verify(service.address, &token).await.codes(), (401, -2), "{token}");
    };
    let mut other = keys.make("other", Algorithm::ES256);
    // Another's key, under our key's name and type.
    let mut forged = jsonwebtoken::Header::new(Algorithm::ES256);
    forged.typ = Some("scanlogin+jwt".into());
    forged.kid = header["kid"].as_str().map(Into::into);
    refused(jsonwebtoken::encode(&forged, &body, &other.key).unwrap()).await;
    // The public key taken for a secret.
    for secret in [keys.text("ours.pub"), keys.text("ours.pub").trim_end().into()] {
        let mut confused = forged.clone();
        confused.alg = Algorithm::HS256;
        let secret = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        refused(jsonwebtoken::encode(&confused, &body, &secret).unwrap()).await;
    }
    let (_, rest) = token.split_once('.').unwrap();
    let (payload, _) = rest.split_once('.').unwrap();
    let none = json!({ "typ": "scanlogin+jwt", "alg": "none", "kid": header["kid"] });
    let none = URL_SAFE_NO_PAD.encode(none.to_string());
    refused(format!("{none}.{payload}.")).await;
    // Ours, with a name that is not listed.
    other.key = jsonwebtoken::EncodingKey::from_ec_pem(keys.text("ours.pem").as_bytes()).unwrap();
    forged.kid = Some("unknown".into());
    refused(jsonwebtoken::encode(&forged, &body, &other.key).unwrap()).await;
}

#[tokio::test]
async fn where_a_secret_signs_there_is_no_key_set() {
    let service = Service::start(Settings::embedded()).await;
    let url = format!("http://{}/.well-known/jwks.json", service.address);
    let answer = answer(reqwest::Client::new().get(url)).await;
    assert_eq!(answer.codes(), (404, -5));
}

#[tokio::test]
async fn every_form_in_which_openssl_writes_a_private_key_is_read() {
    let keys = Keys::new();
    keys.make("rsa", Algorithm::RS256);
    keys.make("ec", Algorithm::ES256);
    keys.openssl("rsa -in rsa.pem -traditional -out pkcs1.pem");
    keys.openssl("ec -in ec.pem -out sec1.pem");
    keys.openssl("ecparam -name prime256v1 -genkey -out parameters.pem");
    for (name, begin) in [
        ("pkcs1.pem", "-----BEGIN RSA PRIVATE KEY-----"),
        ("sec1.pem", "-----BEGIN EC PRIVATE KEY-----"),
        ("parameters.pem", "-----BEGIN EC PARAMETERS-----"),
    ] {
        assert!(keys.text(name).starts_with(begin), "openssl writes it differently now");
        let service = Service::start(signing_with(&keys.path(name))).await;
        let token = token(service.address, "alice").await;
        assert_eq!(verify(service.address, &token).await.status, 200, "{name}");
    }
}
