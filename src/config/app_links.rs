//! The phone app as the systems of phones know it: which apps open what the QR code holds, and where
//! a phone that has none of them gets one.

use url::Url;

use super::{
    source::{ConfigError, Values},
    text::quoted,
};

const NAME: &str = "SCANLOGIN_APP_NAME";
const LINKS: &str = "SCANLOGIN_APP_LINKS";
const APPLE: &str = "SCANLOGIN_APPLE_APP_IDS";
const ANDROID: &str = "SCANLOGIN_ANDROID_APPS";

/// Longest name, in characters: what a phone shows in one line.
const MAX_NAME: usize = 64;
/// Most links: a page of buttons beyond that helps nobody.
const MAX_LINKS: usize = 8;
/// Most apps of one system.
const MAX_APPS: usize = 32;
/// Characters of Apple's team id (or of the older app id prefix).
const TEAM: usize = 10;
/// Bytes of a SHA-256.
const FINGERPRINT: usize = 32;

/// What phones may be told of the app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppLinks {
    /// As people know it.
    pub name: Option<String>,
    /// Where it is to be had; https.
    pub stores: Vec<Url>,
    /// Team id and bundle id, joined by a dot.
    pub apple: Vec<String>,
    /// With all the certificates by which each is known.
    pub android: Vec<AndroidApp>,
}

/// An Android app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AndroidApp {
    /// Its package.
    pub package: String,
    /// SHA-256 of its certificates, in capital hexadecimal with colons.
    pub fingerprints: Vec<String>,
}

/// Reads all four.
pub(super) fn read(values: &Values) -> Result<AppLinks, ConfigError> {
    let name = values.get(NAME)?;
    if let Some(name) = &name
        && (name.chars().count() > MAX_NAME || name.chars().any(char::is_control))
    {
        let what = format!("must be at most {MAX_NAME} characters in one line");
        return Err(ConfigError::new(NAME, what));
    }
    Ok(AppLinks {
        name,
        stores: list(values, LINKS, MAX_LINKS, store)?,
        apple: list(values, APPLE, MAX_APPS, apple)?,
        android: android_apps(list(values, ANDROID, MAX_APPS, android)?),
    })
}

/// A comma-separated list, each part of which `parse` reads or says what is wrong with.
fn list<T>(
    values: &Values,
    name: &'static str,
    most: usize,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ConfigError> {
    let Some(text) = values.get(name)? else { return Ok(Vec::new()) };
    let parts: Vec<T> = text
        .split(',')
        .map(str::trim)
        .map(|part| parse(part).map_err(|what| format!("{} {what}", quoted(part))))
        .collect::<Result<_, _>>()
        .map_err(|what| ConfigError::new(name, what))?;
    if parts.len() > most {
        return Err(ConfigError::new(name, format!("has {} parts; at most {most}", parts.len())));
    }
    Ok(parts)
}

fn store(part: &str) -> Result<Url, String> {
    let url = Url::parse(part).map_err(|error| format!("is not a URL: {error}"))?;
    if url.scheme() != "https" {
        return Err("must begin with https://".into());
    }
    Ok(url)
}

/// `ABCDE12345.com.example.app`
fn apple(part: &str) -> Result<String, String> {
    let (team, bundle) = part.split_once('.').ok_or("is not a team id, a dot and a bundle id")?;
    let is_team = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    if team.len() != TEAM || !team.bytes().all(is_team) {
        return Err(format!("does not begin with a team id: {TEAM} capital letters and digits"));
    }
    let is_bundle = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    if bundle.split('.').any(str::is_empty) || !bundle.bytes().all(is_bundle) {
        return Err("does not end with a bundle id such as com.example.app".into());
    }
    Ok(part.into())
}

/// `com.example.app:14:6D:...`
fn android(part: &str) -> Result<(String, String), String> {
    let (package, fingerprint) =
        part.split_once(':').ok_or("is not a package, a colon and a SHA-256 fingerprint")?;
    let is_segment = |segment: &str| {
        segment.starts_with(|c: char| c.is_ascii_alphabetic())
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if !package.contains('.') || !package.split('.').all(is_segment) {
        return Err("does not begin with a package such as com.example.app".into());
    }
    let bytes: Vec<&str> = fingerprint.split(':').collect();
    let is_byte = |byte: &&str| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit());
    if !bytes.iter().all(is_byte) {
        return Err("has a fingerprint that is not bytes in hexadecimal, joined by colons".into());
    }
    if bytes.len() != FINGERPRINT {
        let count = bytes.len();
        return Err(format!("has a fingerprint of {count} bytes; SHA-256 has {FINGERPRINT}"));
    }
    Ok((package.into(), fingerprint.to_ascii_uppercase()))
}

/// One app a package: it may be signed with several certificates (uploaded and re-signed).
fn android_apps(parts: Vec<(String, String)>) -> Vec<AndroidApp> {
    let mut apps: Vec<AndroidApp> = Vec::new();
    for (package, fingerprint) in parts {
        match apps.iter_mut().find(|app| app.package == package) {
            Some(app) => app.fingerprints.push(fingerprint),
            None => apps.push(AndroidApp { package, fingerprints: vec![fingerprint] }),
        }
    }
    apps
}
