//! The app's key set: followed through rotations and outages.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode, jwk::Jwk};
use scanlogin::app::Options;
use serde_json::{Value, json};

use super::{ACCEPTED, REFUSED, claims, no_app_key, scan_with};
use crate::helpers::{
    Phone, Process, Service, Settings, eventually, eventually_within, free_port,
    pem::{Keys, SigningKey},
    phone::{app_token, now},
    service::{APP_SECRET, command},
    tls::Certificates,
    upstream::{Reply, Upstream},
};

const PATH: &str = "/.well-known/jwks.json";
pub(crate) const AWAY: (u16, i64) = (503, -6);

/// A private key with this id, and the public one as a key set has it.
pub(crate) fn make(keys: &Keys, id: &str, algorithm: Algorithm) -> (SigningKey, Value) {
    let key = SigningKey { id: Some(id.into()), ..keys.make(id, algorithm) };
    let text = keys.text(&format!("{id}.pub"));
    let public = match algorithm {
        Algorithm::RS256 => DecodingKey::from_rsa_pem(text.as_bytes()),
        Algorithm::ES256 => DecodingKey::from_ec_pem(text.as_bytes()),
        _ => DecodingKey::from_ed_pem(text.as_bytes()),
    };
    let mut jwk = Jwk::from_decoding_key(&public.unwrap(), None).unwrap();
    jwk.common.key_id = Some(id.into());
    (key, serde_json::to_value(jwk).unwrap())
}

fn set(keys: &[&Value]) -> Reply {
    Reply::Json(json!({ "keys": keys }))
}

fn following(upstream: &Upstream) -> Settings {
    no_app_key().with("APP_JWKS_URL", &upstream.url(PATH))
}

async fn scan(service: &Service, key: &SigningKey) -> (u16, i64) {
    scan_with(service.address, &key.sign(&claims("alice"))).await
}

#[tokio::test]
async fn each_kind_of_key_in_the_set_verifies_and_no_other() {
    let keys = Keys::new();
    let made = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]
        .map(|algorithm| make(&keys, &format!("{algorithm:?}"), algorithm));
    let jwks: Vec<Value> = made.iter().map(|(_, jwk)| jwk.clone()).collect();
    let (encrypting, mut encrypting_jwk) = make(&keys, "encrypting", Algorithm::RS256);
    encrypting_jwk["use"] = "enc".into();
    let (other_alg, mut other_jwk) = make(&keys, "other", Algorithm::RS256);
    other_jwk["alg"] = "PS256".into();
    // Whatever else a set may hold, it does no harm.
    let strange = json!({ "kty": "AKP", "kid": "strange", "alg": "ML-DSA-44", "pub": "AA" });
    let symmetric = json!({ "kty": "oct", "kid": "symmetric", "k": "c2VjcmV0" });
    let all = [jwks, vec![encrypting_jwk, other_jwk, strange, symmetric, json!(7)]].concat();
    let upstream = Upstream::start(move |_| Reply::Json(json!({ "keys": all }))).await;
    let service = Service::start(following(&upstream)).await;
    for (key, _) in &made {
        assert_eq!(scan(&service, key).await, ACCEPTED, "{:?}", key.algorithm);
        let nameless = SigningKey { id: None, ..key.clone() };
        assert_eq!(scan(&service, &nameless).await, ACCEPTED, "{:?}", key.algorithm);
        let misnamed = SigningKey { id: Some("symmetric".into()), ..key.clone() };
        assert_eq!(scan(&service, &misnamed).await, REFUSED, "{:?}", key.algorithm);
    }
    for key in [&encrypting, &other_alg] {
        assert_eq!(scan(&service, key).await, REFUSED);
    }
    // A symmetric key in a public set is no secret.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("symmetric".into());
    let secret = EncodingKey::from_secret(b"secret");
    let token = encode(&header, &claims("alice"), &secret).unwrap();
    assert_eq!(scan_with(service.address, &token).await, REFUSED);
    let with_a_secret = app_token(&claims("alice"), APP_SECRET);
    assert_eq!(scan_with(service.address, &with_a_secret).await, REFUSED);
}

#[tokio::test]
async fn a_new_key_is_known_at_once_and_a_withdrawn_one_no_more() {
    let keys = Keys::new();
    let (old, old_jwk) = make(&keys, "old", Algorithm::ES256);
    let (new, new_jwk) = make(&keys, "new", Algorithm::ES256);
    let upstream = Upstream::start({
        let old = old_jwk.clone();
        move |_| set(&[&old])
    })
    .await;
    let service = Service::start(following(&upstream)).await;
    assert_eq!(scan(&service, &old).await, ACCEPTED);
    assert_eq!(upstream.heard().len(), 1, "once for all that it knows");
    upstream.answer(move |_| set(&[&new_jwk]));
    assert_eq!(scan(&service, &old).await, ACCEPTED, "known until the set is fetched again");
    assert_eq!(scan(&service, &new).await, ACCEPTED);
    assert_eq!(scan(&service, &old).await, REFUSED);
    let ok = "scanlogin_jwks_refreshes_total{result=\"ok\"}";
    assert!(service.metric(ok).await >= 2.0);
    assert!(service.metric("scanlogin_jwks_refreshed_timestamp_seconds").await > 1e9);
}

#[tokio::test]
async fn the_set_is_fetched_again_now_and_then() {
    let keys = Keys::new();
    let (old, old_jwk) = make(&keys, "old", Algorithm::EdDSA);
    let (_, new_jwk) = make(&keys, "new", Algorithm::EdDSA);
    let upstream = Upstream::start(move |_| set(&[&old_jwk])).await;
    let options = Options { key_set_refresh: Duration::from_millis(50), ..Options::default() };
    let service = Service::with_options(following(&upstream), options).await;
    assert_eq!(scan(&service, &old).await, ACCEPTED);
    upstream.answer(move |_| set(&[&new_jwk]));
    eventually("the old key is forgotten", || async {
        // A token that names its key would ask for the set by itself.
        let nameless = SigningKey { id: None, ..old.clone() };
        (scan(&service, &nameless).await == REFUSED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn unknown_keys_cause_few_fetches() {
    let keys = Keys::new();
    let (_, jwk) = make(&keys, "known", Algorithm::EdDSA);
    let (stranger, _) = make(&keys, "stranger", Algorithm::EdDSA);
    let upstream = Upstream::start(move |_| set(&[&jwk])).await;
    let service = Service::start(following(&upstream)).await;
    for number in 0..30 {
        let stranger = SigningKey { id: Some(format!("k{number}")), ..stranger.clone() };
        assert_eq!(scan(&service, &stranger).await, REFUSED);
    }
    let fetches = upstream.heard().len();
    assert!((2..=10).contains(&fetches), "{fetches} fetches for 30 unknown keys");
}

#[tokio::test]
async fn a_new_key_without_an_id_or_under_an_old_one_is_known_at_once() {
    let keys = Keys::new();
    for (old_id, new_id) in [(None, None), (Some("one"), Some("one")), (Some("one"), None)] {
        for algorithm in [Algorithm::ES256, Algorithm::RS256] {
            let (old, mut old_jwk) = make(&keys, "old", Algorithm::ES256);
            let (new, mut new_jwk) = make(&keys, "new", algorithm);
            let renamed = |key: SigningKey, jwk: &mut Value, id: Option<&str>| {
                jwk.as_object_mut().expect("an object").remove("kid");
                if let Some(id) = id {
                    jwk["kid"] = id.into();
                }
                SigningKey { id: id.map(str::to_owned), ..key }
            };
            let old = renamed(old, &mut old_jwk, old_id);
            let new = renamed(new, &mut new_jwk, new_id);
            let upstream = Upstream::start(move |_| set(&[&old_jwk])).await;
            let service = Service::start(following(&upstream)).await;
            assert_eq!(scan(&service, &old).await, ACCEPTED);
            upstream.answer(move |_| set(&[&new_jwk]));
            assert_eq!(scan(&service, &new).await, ACCEPTED, "{new_id:?} {algorithm:?}");
            assert_eq!(upstream.heard().len(), 2, "one fetch for it");
            assert_eq!(scan(&service, &new).await, ACCEPTED);
            assert_eq!(upstream.heard().len(), 2, "and no more");
        }
    }
}

#[tokio::test]
async fn what_could_not_be_good_under_any_key_causes_no_fetch() {
    let keys = Keys::new();
    let (_, jwk) = make(&keys, "known", Algorithm::EdDSA);
    let (stranger, _) = make(&keys, "stranger", Algorithm::EdDSA);
    let upstream = Upstream::start(move |_| set(&[&jwk])).await;
    let service = Service::start(following(&upstream)).await;
    for claims in [
        json!({ "sub": "alice", "exp": now() - 60 }),
        json!({ "sub": "alice", "exp": now() + 600, "nbf": now() + 60 }),
        json!({ "sub": "alice" }),
        json!({ "sub": "a\nb", "exp": now() + 600 }),
        json!({ "exp": now() + 600 }),
        json!(["alice", now() + 600]),
    ] {
        let refused = scan_with(service.address, &stranger.sign(&claims)).await;
        assert_eq!(refused, REFUSED, "{claims}");
    }
    let secret = app_token(&claims("alice"), APP_SECRET);
    assert_eq!(scan_with(service.address, &secret).await, REFUSED);
    assert_eq!(scan_with(service.address, "x.y.z").await, REFUSED);
    assert_eq!(upstream.heard().len(), 1, "the one at the start");
}

/// What the service may fetch in a minute because of tokens, and how long it may be until the next
/// (docs/security.md).
const FETCHES_A_MINUTE: usize = 6;
const PAUSE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn made_up_keys_do_not_keep_a_new_one_out_for_longer_than_the_pause_between_two_fetches() {
    let keys = Keys::new();
    let (old, old_jwk) = make(&keys, "old", Algorithm::EdDSA);
    let (new, new_jwk) = make(&keys, "new", Algorithm::EdDSA);
    let (stranger, _) = make(&keys, "stranger", Algorithm::EdDSA);
    let upstream = Upstream::start(move |_| set(&[&old_jwk])).await;
    let service = Service::start(following(&upstream)).await;
    let (address, over) = (service.address, Arc::new(AtomicBool::new(false)));
    let claims = || json!({ "sub": "alice", "iat": now(), "exp": now() + 600 });
    // At full rate, each with an id that nobody has seen before, until it is over.
    let attackers: Vec<_> = (0..4)
        .map(|attacker| {
            let (stranger, over) = (stranger.clone(), over.clone());
            tokio::spawn(async move {
                let mut said = 0;
                while !over.load(Ordering::Relaxed) {
                    let id = format!("made-up-{attacker}-{said}");
                    let token = SigningKey { id: Some(id), ..stranger.clone() }.sign(&claims());
                    let answer = Phone::with_token(address, &token).scan("x").await;
                    assert!([401, 429].contains(&answer.status), "{answer:?}");
                    said += 1;
                }
                said
            })
        })
        .collect();
    // They have used up what may be fetched at once.
    eventually("no more fetches for now", || async {
        (upstream.heard().len() > FETCHES_A_MINUTE).then_some(())
    })
    .await;
    assert_eq!(scan(&service, &old).await, ACCEPTED, "nobody else is held up");
    upstream.answer(move |_| set(&[&new_jwk]));
    let (before, rotated) = (upstream.heard().len(), Instant::now());
    // A phone whose app has the new key, as docs/phone.md has it: what is "not now" is tried again, a 401 is not.
    let token = new.sign(&claims());
    let waited = eventually_within(PAUSE * 3, "the new key is known", || async {
        let answer = Phone::with_token(address, &token).scan("x").await;
        match answer.status {
            404 => Some(rotated.elapsed()),
            429 => {
                assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
                None
            }
            _ => panic!("an app would send its user to log in: {answer:?}"),
        }
    })
    .await;
    over.store(true, Ordering::Relaxed);
    let mut said = 0;
    for attacker in attackers {
        said += attacker.await.expect("an attacker");
    }
    let fetched = upstream.heard().len() - before;
    // One may have been under way. The attackers' own fetch brings the key.
    assert!(fetched <= 2, "{fetched} fetches, {waited:?}");
    let allowed = 1 + FETCHES_A_MINUTE + fetched;
    assert!(upstream.heard().len() <= allowed + 1, "{said} tokens: {}", upstream.heard().len());
    eprintln!(
        "after {waited:?}, {fetched} fetches and {said} made-up tokens; at most {PAUSE:?} and a fetch"
    );
}

#[tokio::test]
async fn while_the_endpoint_fails_the_old_keys_stay() {
    let keys = Keys::new();
    let (old, old_jwk) = make(&keys, "old", Algorithm::ES256);
    let (new, new_jwk) = make(&keys, "new", Algorithm::ES256);
    let mut upstream = Upstream::start(move |_| set(&[&old_jwk])).await;
    let service = Service::start(following(&upstream)).await;
    let elsewhere = upstream.url("/elsewhere");
    let failures = [
        ("status", Reply::Status(500)),
        ("status", Reply::Redirect(elsewhere)),
        ("invalid", Reply::Text("not JSON".into())),
        // A list of what stands in a set.
        ("invalid", Reply::Json(json!([[new_jwk.clone()]]))),
        ("invalid", Reply::Text(format!("{{\"keys\":[]}}{}", " ".repeat(300_000)))),
        ("unreachable", Reply::Never),
    ];
    for (number, (result, reply)) in failures.into_iter().enumerate() {
        let series = format!("scanlogin_jwks_refreshes_total{{result=\"{result}\"}}");
        let before = service.metric(&series).await;
        upstream.answer(move |_| reply.clone());
        // Whether a token is good that names an unknown key cannot be told.
        let unknown = SigningKey { id: Some(format!("k{number}")), ..new.clone() };
        assert_eq!(scan(&service, &unknown).await, AWAY, "{result}");
        assert!(service.metric(&series).await > before, "{result}");
        assert_eq!(scan(&service, &old).await, ACCEPTED, "{result}");
    }
    assert!(upstream.heard().iter().all(|heard| heard.path == PATH), "a redirect was followed");
    upstream.down().await;
    assert_eq!(scan(&service, &new).await, AWAY);
    assert_eq!(scan(&service, &old).await, ACCEPTED);
    assert_eq!(service.metric("scanlogin_scans_total{result=\"upstream\"}").await, 7.0);
    upstream.answer(move |_| set(&[&new_jwk]));
    upstream.up().await;
    // By its own next attempt, or as soon as an unknown key may ask again.
    eventually("the set is fetched again", || async {
        (scan(&service, &new).await == ACCEPTED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_set_that_cannot_be_had_at_the_start_is_tried_for_a_while_and_then_named() {
    let refused = format!("http://127.0.0.1:{}/jwks.json", free_port());
    let secret = Upstream::start(|_| {
        Reply::Json(json!({ "keys": [{ "kty": "oct", "kid": "a", "k": "c2VjcmV0" }] }))
    })
    .await;
    let run = async |url: &str, what: &str| {
        let settings = no_app_key().with("APP_JWKS_URL", url);
        let mut command = tokio::process::Command::from(command(&settings));
        let output = command.kill_on_drop(true).output().await.expect("the binary");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        let last = text.lines().last().unwrap();
        for word in ["SCANLOGIN_APP_JWKS_URL", what, "for example"] {
            assert!(last.contains(word), "'{word}' is missing in: {last}");
        }
        let attempts = text.lines().filter(|line| line.contains("cannot be reached yet")).count();
        assert!(attempts >= 3, "each attempt is logged: {text}");
    };
    let secret_url = secret.url("/");
    tokio::join!(
        run(&refused, "refused"),
        run(&secret_url, "has 1 keys, none of which is a public"),
    );
}

#[tokio::test]
async fn the_endpoint_must_show_a_certificate_that_is_trusted() {
    let (keys, certificates) = (Keys::new(), Certificates::make());
    let (key, jwk) = make(&keys, "key", Algorithm::RS256);
    let (_server, settings) = with_certificate(&keys, &jwk, &certificates);
    let trusting = settings.clone().with_variable("SSL_CERT_FILE", &certificates.path("ca.crt"));
    let process = Process::start(trusting).await;
    assert_eq!(scan_with(process.address, &key.sign(&claims("alice"))).await, ACCEPTED);
    let mut command = tokio::process::Command::from(command(&settings));
    let output = command.kill_on_drop(true).output().await.expect("the binary");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.lines().last().unwrap().contains("certificate"), "{text}");
}

/// A set of one key on an https server of openssl's, and the settings that name it.
pub(crate) fn with_certificate(
    keys: &Keys,
    jwk: &Value,
    certificates: &Certificates,
) -> (Ended, Settings) {
    let port = free_port();
    keys.write("jwks.json", &json!({ "keys": [jwk] }).to_string());
    let directory = PathBuf::from(keys.path("jwks.json")).parent().unwrap().to_owned();
    let server = std::process::Command::new("openssl")
        .args(["s_server", "-WWW", "-quiet", "-accept", &format!("127.0.0.1:{port}")])
        .args(["-cert", &certificates.path("server.crt")])
        .args(["-key", &certificates.path("server.key")])
        // A session that is resumed shows no certificate.
        .args(["-no_ticket", "-num_tickets", "0", "-no_cache"])
        .current_dir(directory)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl is installed: tests/run does it");
    let url = format!("https://localhost:{port}/jwks.json");
    (Ended(server), no_app_key().with("APP_JWKS_URL", &url))
}

/// A process that ends with the test.
pub(crate) struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
