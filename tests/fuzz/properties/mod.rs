//! What must hold for any bytes that a stranger sends. cargo-fuzz looks for bytes for which it does
//! not (`tests/fuzz/run`), and `cargo test` tries those that were kept, and random ones.

#![allow(dead_code, reason = "each fuzz target uses one of them")]

mod forwarded;
mod frames;
mod settings;
mod tokens;

use scanlogin::{
    http::body,
    keys::{Claim, Key, LoginId, MAX_TEXT, Resume},
    origin::{HostPort, Origins, names_loopback},
    protocol::ClientMessage,
    text::is_invisible,
};

pub(crate) use self::{forwarded::forwarded, frames::frames, settings::settings, tokens::tokens};

/// Text frames of `scanlogin.v1`.
pub(crate) fn messages(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(ClientMessage::Resume { resume }) = ClientMessage::parse(text) {
        let _ = Resume::parse(&resume);
    }
}

#[derive(serde::Deserialize)]
struct KeyBody {
    key: String,
}

/// Bodies of `/scan` and its like.
pub(crate) fn bodies(data: &[u8]) {
    for content_type in ["application/json", "application/x-www-form-urlencoded"] {
        if let Ok(KeyBody { key }) = body::parse(content_type, data, "x") {
            keys(key.as_bytes());
        }
    }
    assert!(body::parse::<KeyBody>("text/plain", data, "x").is_err());
}

/// Keys, claims and resume secrets: what is read is written the same, and nothing long is read.
pub(crate) fn keys(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(key) = Key::parse(text) {
        // A key may come in the whole URL that the QR code held, and with what was added on the way.
        let plain: String = text.chars().filter(|c| !is_invisible(*c)).collect();
        assert!(plain.contains(&key.expose()) || text.contains('%'));
        assert!(Key::parse(&key.expose()) == Ok(key.clone()));
        assert!(Claim::parse(&key.expose()).is_err() && Resume::parse(&key.expose()).is_err());
    }
    if let Ok(claim) = Claim::parse(text) {
        assert_eq!(claim.expose(), text);
        assert!(Key::parse(text).is_err());
    }
    if let Ok(resume) = Resume::parse(text) {
        assert_eq!(resume.expose(), text);
    }
    if text.len() > MAX_TEXT {
        assert!(Claim::parse(text).is_err() && Resume::parse(text).is_err());
    }
    if let Some(id) = LoginId::parse(text) {
        assert_eq!(LoginId::parse(&id.to_string()), Some(id));
    }
}

/// `Origin`, `Host`: two lines.
pub(crate) fn headers(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (origin, host) = (next(), next());
    let public = "https://login.example.com".parse().expect("a URL");
    let own = ["https://login.example.com", "https://login.example.com:443"];
    if Origins::SameHost.allow(Some(origin), Some(host), Some(&public)) {
        let as_url = |text: &str| text.parse::<url::Url>().map(|url| url.origin());
        // Whatever the scheme: it is the host and the port that must be ours.
        let found = as_url(origin).expect("an origin that was let in is a URL");
        let is_own = own.iter().any(|own| as_url(own).is_ok_and(|own| own == found));
        assert!(is_own || !origin.starts_with("https:"), "{origin}");
    }
    let listed = Origins::parse("https://a.example").expect("a list");
    assert_eq!(listed.allow(Some(origin), Some(host), None), origin == "https://a.example");
    let _ = Origins::parse(origin);
    // A `Host` is all of its bytes: behind a scheme it makes a URL of that host and port alone.
    if let Some(read) = HostPort::parse(host) {
        if let (Some(name), Ok(url)) = (read.host(), format!("http://{host}/").parse::<url::Url>())
        {
            assert_eq!(
                (url.host().map(|host| host.to_owned()), url.path()),
                (Some(name), "/"),
                "{host}"
            );
            assert_eq!(url.port_or_known_default(), read.port_of("http"), "{host}");
        }
    } else {
        assert!(!names_loopback(host), "{host}");
    }
}
