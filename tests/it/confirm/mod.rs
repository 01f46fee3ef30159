//! The two-step mode: number matching, what is remembered of a user, and how much may be open.

mod claims;
mod guesser;
mod history;
mod lock;
mod matching;
mod refusals;

use serde_json::{Value, json};

use crate::helpers::{Answer, Browser, Phone, Service, Settings};

/// With confirmation, and any client address that a test wants.
fn confirming(settings: Settings) -> Settings {
    settings.with("CONFIRM", "required").with("TRUSTED_PROXIES", "127.0.0.0/8")
}

/// The same, with number matching.
fn matching(when: &'static str) -> impl Fn(Settings) -> Settings {
    move |settings| confirming(settings).with("MATCH", when)
}

/// A browser at this address, and its key.
async fn browser_from(
    service: &Service,
    client: &str,
    protocol: Option<&str>,
) -> (Browser, String) {
    let headers = [("X-Forwarded-For", client)];
    let mut browser = Browser::open(service.address, "", protocol, &headers).await.unwrap();
    let text = browser.text().await;
    let key = match protocol {
        None => text,
        Some(_) => serde_json::from_str::<Value>(&text).unwrap()["key"].as_str().unwrap().into(),
    };
    (browser, key)
}

/// A browser of the JSON protocol that this phone has scanned: it, the phone's answer, and what the
/// browser was told.
async fn scanned(service: &Service, phone: &Phone) -> (Browser, Answer, Value) {
    let (mut browser, key) = Browser::json(service.address).await;
    let scanned = phone.scan(key["key"].as_str().unwrap()).await;
    assert_eq!(scanned.codes(), (200, 101), "{}", scanned.body);
    let told = browser.message_of("scanned").await;
    (browser, scanned, told)
}

/// Confirms with these digits.
async fn confirm(phone: &Phone, claim: &str, digits: &str) -> Answer {
    phone.post("/scan/confirm", &json!({ "claim": claim, "match": digits })).await
}

/// Two digits that are not these.
fn other_than(digits: &str) -> String {
    format!("{:02}", (digits.parse::<u8>().unwrap() + 1) % 100)
}
