//! Forges `X-Forwarded-For` and `Forwarded`.

use std::net::SocketAddr;

use crate::helpers::{
    Browser, PATIENCE, Phone, Service, Settings, haproxy::HaProxy, nginx::Nginx, raw::Raw,
};

async fn opened(service: &Service, headers: &[(&str, &str)]) -> Result<Browser, u16> {
    let opened = Browser::open(service.address, "", Some("scanlogin.v1"), headers).await;
    opened.map_err(|refused| refused.status)
}

/// What the phone is told about where the browser is.
async fn told(service: &Service, headers: &[(&str, &str)]) -> String {
    let browser = opened(service, headers).await.expect("a socket");
    told_of(browser, service, "alice").await
}

async fn told_of(mut browser: Browser, service: &Service, user: &str) -> String {
    let key = browser.message().await;
    let scanned = Phone::of(service.address, user).scan(key["key"].as_str().unwrap()).await;
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

/// Where our proxies call from; browsers are at 127.0.0.1.
const PROXY: &str = "127.0.0.9";
const BROWSER: &str = "127.0.0.1";

/// A service that believes [`PROXY`] alone.
async fn behind_a_proxy(header: &str) -> Service {
    let settings = Settings::embedded().with("CONFIRM", "required").with("PROXY_HEADER", header);
    let settings = settings.with("ALLOWED_ORIGINS", "https://www.example.com");
    Service::start(settings.with("TRUSTED_PROXIES", &format!("::ffff:{PROXY},"))).await
}

/// Whatever stands in the header when it comes to the proxy, the phone is told what the proxy has
/// appended to it.
async fn only_what_was_appended_counts(
    service: &Service,
    proxies: &[SocketAddr],
    header: &str,
    claims: &[&[u8]],
) {
    for (number, claim) in claims.iter().enumerate() {
        for proxy in proxies {
            let line = [header.as_bytes(), b": ", claim, b"\r\n"].concat();
            for lines in [line.clone(), [&line[..], &line].concat()] {
                let lines = [&b"Host: localhost\r\n"[..], &lines].concat();
                let browser = Browser::open_raw(*proxy, &lines).await;
                let told = told_of(browser, service, &format!("user-{number}")).await;
                assert_eq!(told, BROWSER, "{proxy}: {}", lines.escape_ascii());
            }
        }
    }
}

#[tokio::test]
async fn a_proxys_x_forwarded_for_is_neither_replaced_nor_hidden_by_the_clients() {
    let service = behind_a_proxy("x-forwarded-for").await;
    let appends =
        format!("proxy_bind {PROXY}; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;");
    let nginx = Nginx::start_with(&[service.address], &appends).await;
    let source = format!("source {PROXY}");
    let haproxy = HaProxy::start(&[service.address], &["option forwardfor", &source]).await;
    let claims: [&[u8]; 10] = [
        b"198.51.100.66",
        b"198.51.100.66, 127.0.0.9",
        b"\xff",
        b"198.51.100.66\xe4",
        b"198.51.100.66, \x80",
        b"\xc3\xa4, 198.51.100.66",
        b"198.51.100.66,",
        b",",
        b"\"198.51.100.66",
        b"[::1",
    ];
    let proxies = [nginx.address, haproxy.address];
    only_what_was_appended_counts(&service, &proxies, "X-Forwarded-For", &claims).await;
}

#[tokio::test]
async fn a_proxys_forwarded_is_neither_replaced_nor_hidden_by_the_clients() {
    let service = behind_a_proxy("forwarded").await;
    let upstream = [service.address];
    let source = format!("source {PROXY}");
    let appends = format!(
        "proxy_bind {PROXY}; proxy_set_header Forwarded \"$http_forwarded, for=$remote_addr\";"
    );
    let nginx = Nginx::start_with(&upstream, &appends).await;
    // `option forwarded` came with 2.8; it adds a line of its own.
    let appends = [
        ".if version_atleast(2.8)",
        "option forwarded",
        ".else",
        "http-request add-header Forwarded for=%[src]",
        ".endif",
    ];
    let haproxy = HaProxy::start(&upstream, &[&appends[..], &[source.as_str()]].concat()).await;
    let claims: [&[u8]; 14] = [
        b"for=198.51.100.66",
        b"for=198.51.100.66, for=127.0.0.9",
        b"for=\"198.51.100.66",
        b"for=198.51.100.66;host=\"",
        b"for=198.51.100.66;host=\"a\";by=\"",
        b"for=198.51.100.66;host=\"\\",
        b"for=198.51.100.66;host=\"\\\\",
        b"\"",
        b"\\",
        b"for=198.51.100.66;",
        b"for=198.51.100.66,",
        b"for=",
        b"\xff",
        b"for=\"\xc3\xa4",
    ];
    let proxies = [nginx.address, haproxy.address];
    only_what_was_appended_counts(&service, &proxies, "Forwarded", &claims).await;
}

/// Behind proxies that replace the header, and quote in it what the client says besides. (Of `Host`,
/// which they quote for more, nothing of this passes: it is no host.)
#[tokio::test]
async fn what_a_proxy_quotes_of_a_client_is_nobodys_address() {
    let service = behind_a_proxy("forwarded").await;
    let upstream = [service.address];
    let replaces = format!(
        "proxy_bind {PROXY}; proxy_set_header Forwarded 'for=$remote_addr;host=\"$http_x_said\"';"
    );
    let nginx = Nginx::start_with(&upstream, &replaces).await;
    let source = format!("source {PROXY}");
    let replaces =
        r#"http-request set-header Forwarded "for=%[src];host=\"%[req.fhdr(x-said)]\"""#.to_owned();
    let haproxy = HaProxy::start(&upstream, &[&replaces, &source]).await;
    for said in ["a,for=203.0.113.5", "for=203.0.113.5,a", ";for=203.0.113.5"] {
        for proxy in [nginx.address, haproxy.address] {
            let lines = format!("Host: a.example\r\nX-Said: {said}\r\n");
            let browser = Browser::open_raw(proxy, lines.as_bytes()).await;
            assert_eq!(told_of(browser, &service, said).await, BROWSER, "{proxy}: {said}");
            let mut raw = Raw::connect(proxy).await;
            let head = format!("GET /verify HTTP/1.1\r\nHost: {said}\r\nConnection: close\r\n\r\n");
            raw.send(head.as_bytes()).await.expect("it reads");
            let heard = raw.rest(PATIENCE).await.expect("an end");
            assert!(heard.starts_with(b"HTTP/1.1 400"), "{}", heard.escape_ascii());
        }
    }
}
