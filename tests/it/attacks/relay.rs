//! Shows the victim a QR code that comes, this very second, from a browser of the attacker's own.
//! This is not prevented, and the README says so: what the service does is to show it.

use serde_json::json;

use crate::helpers::{Browser, Phone, Service, Settings, phone::verify};

const ATTACKERS_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36";

#[tokio::test]
async fn the_relay_is_shown_to_the_person_who_must_confirm_and_is_not_prevented() {
    let settings = Settings::embedded().with("CONFIRM", "required");
    let service = Service::start(settings.with("TRUSTED_PROXIES", "127.0.0.0/8")).await;
    let headers = [("X-Forwarded-For", "203.0.113.9"), ("User-Agent", ATTACKERS_AGENT)];
    let opened = Browser::open(service.address, "", Some("scanlogin.v1"), &headers).await;
    let mut browser = opened.expect("a socket");
    let key = browser.message().await;
    let victim = Phone::of(service.address, "alice");
    let scan = victim.request(reqwest::Method::POST, "/scan");
    let scan = scan.header("X-Forwarded-For", "198.51.100.7").json(&json!({ "key": key["key"] }));
    let scanned = crate::helpers::phone::answer(scan).await;
    assert_eq!(scanned.codes(), (200, 101));
    assert_eq!(scanned.body["browser"]["ip"], "203.0.113.9");
    assert_eq!(scanned.body["browser"]["browser_name"], "Chrome on Linux");
    let flags = scanned.body["flags"].as_array().expect("flags");
    assert!(flags.contains(&json!("address_differs")), "{flags:?}");
    // Who confirms all the same has logged the attacker in.
    let body = json!({ "claim": scanned.text("claim") });
    assert_eq!(victim.post("/scan/confirm", &body).await.codes(), (200, 100));
    let token = browser.message_of("token").await;
    assert_eq!(token["user"], "alice");
    // What is left is to end it.
    let token = token["token"].as_str().expect("a token");
    assert_eq!(verify(service.address, token).await.status, 200);
}

/// What is evidence on the confirm screen, and what only the asker says of itself (docs/phone.md).
#[tokio::test]
async fn a_program_can_send_the_origin_of_any_page_and_no_address_but_its_own() {
    let page = "https://www.example.com";
    let settings = Settings::embedded().with("CONFIRM", "required").with("ALLOWED_ORIGINS", page);
    let service = Service::start(settings).await;
    let victim = Phone::of(service.address, "alice");
    // Not a browser, on any line.
    let lies =
        [("Origin", page), ("User-Agent", ATTACKERS_AGENT), ("X-Forwarded-For", "203.0.113.9")];
    for (origin, headers) in [(page, &lies[..]), ("", &lies[1..])] {
        let opened = Browser::open(service.address, "", Some("scanlogin.v1"), headers).await;
        let mut socket = opened.expect("a socket");
        let key = socket.message().await;
        let poll = reqwest::Client::new().post(format!("http://{}/stream/poll", service.address));
        let poll = headers.iter().fold(poll, |poll, (name, value)| poll.header(*name, *value));
        let polled = crate::helpers::phone::answer(poll.json(&json!({}))).await;
        for key in [&key["key"], &polled.body["frames"][0]["key"]] {
            let scanned = victim.scan(key.as_str().expect("a key")).await;
            assert_eq!(scanned.codes(), (200, 101));
            let shown = &scanned.body["browser"];
            assert_eq!((&shown["origin"], &shown["ip"]), (&json!(origin), &json!("127.0.0.1")));
            assert_eq!(shown["browser_name"], "Chrome on Linux");
        }
        socket.message_of("scanned").await;
    }
}
