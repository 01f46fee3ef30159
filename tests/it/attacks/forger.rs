//! Forges `X-Forwarded-For`.

use crate::helpers::{Browser, Phone, Service, Settings};

async fn opened(service: &Service, headers: &[(&str, &str)]) -> Result<Browser, u16> {
    let opened = Browser::open(service.address, "", Some("scanlogin.v1"), headers).await;
    opened.map_err(|refused| refused.status)
}

/// What the phone is told about where the browser is.
async fn told(service: &Service, headers: &[(&str, &str)]) -> String {
    let mut browser = opened(service, headers).await.expect("a socket");
    let key = browser.message().await;
    let scanned = Phone::of(service.address, "alice").scan(key["key"].as_str().unwrap()).await;
    assert_eq!(scanned.codes(), (200, 101));
    scanned.body["browser"]["ip"].as_str().expect("an address").to_owned()
}

#[tokio::test]
async fn a_stranger_who_forges_a_proxys_header_changes_neither_limits_nor_facts() {
    let settings = Settings::embedded().with("CONFIRM", "required");
    let service = Service::start(settings.clone().with("CONNECTS_PER_MINUTE", "3")).await;
    let mut kept = Vec::new();
    for (number, wanted) in [(1, None), (2, None), (3, None), (4, Some(429)), (5, Some(429))] {
        let forged = format!("198.51.100.{number}");
        for name in ["X-Forwarded-For", "Forwarded"] {
            let value = if name == "Forwarded" { format!("for={forged}") } else { forged.clone() };
            if name == "Forwarded" && wanted.is_none() {
                continue;
            }
            let opened = opened(&service, &[(name, &value)]).await;
            assert_eq!(opened.as_ref().err(), wanted.as_ref(), "{name} {number}");
            kept.extend(opened);
        }
    }
    let service = Service::start(settings.clone()).await;
    assert_eq!(told(&service, &[("X-Forwarded-For", "198.51.100.1")]).await, "127.0.0.1");

    // Behind a proxy of ours that appends: only what the proxy itself has seen counts.
    let service = Service::start(settings.with("TRUSTED_PROXIES", "127.0.0.0/8")).await;
    for (value, wanted) in [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 127.0.0.9", "203.0.113.9"),
        ("198.51.100.1, nonsense", "127.0.0.1"),
        ("127.0.0.1, 127.0.0.2", "127.0.0.1"),
    ] {
        assert_eq!(told(&service, &[("X-Forwarded-For", value)]).await, wanted, "{value}");
        // The other header is nobody's, unless it is chosen.
        let both = [("X-Forwarded-For", value), ("Forwarded", "for=198.51.100.77")];
        assert_eq!(told(&service, &both).await, wanted, "{value}");
    }
}
