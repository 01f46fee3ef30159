//! The admin port: what it asks of who ends a web login, and under which names it answers.

use reqwest::{Client, Method};
use serde_json::json;

use crate::helpers::{
    Browser, PATIENCE, Phone, Process, Service, Settings, both, eventually, phone::verify,
    raw::Raw, service::command,
};

const TOKEN: &str = "an-admin.token~of+these/tests_is-long-enough==";
/// Every path, and none.
const PATHS: [&str; 5] = ["/metrics", "/livez", "/readyz", "/revoke", "/nothing"];

/// A token of alice's that is good.
async fn logged_in(service: &Service) -> String {
    let (mut browser, key) = Browser::plain(service.address).await;
    Phone::of(service.address, "alice").scan(&key).await;
    let token = browser.text().await;
    browser.closed().await;
    let good = async || (verify(service.address, &token).await.status == 200).then_some(());
    eventually("it is written down", good).await;
    token
}

#[tokio::test]
async fn the_admin_token_is_demanded_of_who_ends_a_web_login() {
    for (service, _redis) in both(|settings| settings.with("ADMIN_TOKEN", TOKEN)).await {
        let token = logged_in(&service).await;
        let url = format!("http://{}/revoke", service.admin_address);
        let revoke = |authorization: Option<String>, origin: Option<&str>| {
            let mut request = Client::new().post(&url).json(&json!({ "user": "alice" }));
            if let Some(value) = authorization {
                request = request.header("Authorization", value);
            }
            if let Some(origin) = origin {
                request = request.header("Origin", origin);
            }
            async { request.send().await.expect("an answer") }
        };
        let (first, last) = TOKEN.split_at(TOKEN.len() - 1);
        for wrong in [
            None,
            Some(String::new()),
            Some("Bearer".into()),
            Some("Bearer ".into()),
            Some(TOKEN.into()),
            Some(format!("Basic {TOKEN}")),
            Some(format!("Bearer {first}")),
            Some(format!("Bearer {first}x")),
            Some(format!("Bearer {TOKEN}{last}")),
            Some(format!("Bearer {}", TOKEN.to_uppercase())),
            // Who may log in may not do this.
            Some(format!("Bearer {token}")),
            Some(format!("Bearer {}", Phone::of(service.address, "alice").token)),
        ] {
            let answer = revoke(wrong.clone(), None).await;
            assert_eq!(answer.status(), 401, "{wrong:?}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            assert_eq!(answer.headers()["cache-control"], "no-store");
            let body: serde_json::Value = answer.json().await.expect("JSON");
            assert_eq!(body["code"], -2, "{wrong:?}");
        }
        let page = revoke(Some(format!("Bearer {TOKEN}")), Some("http://127.0.0.1:8081")).await;
        assert_eq!(page.status(), 403, "a page has no business here, whatever it knows");
        assert_eq!(
            verify(service.address, &token).await.status,
            200,
            "nothing of this did anything"
        );
        let done = revoke(Some(format!("bearer {TOKEN}")), None).await;
        assert_eq!(done.status(), 200);
        assert_eq!(verify(service.address, &token).await.status, 401);
        // Who only looks needs none: Prometheus and the kubelet have none.
        for path in ["/metrics", "/livez", "/readyz"] {
            let answer = reqwest::get(format!("http://{}{path}", service.admin_address)).await;
            assert_eq!(answer.expect("an answer").status(), 200, "{path}");
        }
    }
}

#[tokio::test]
async fn an_admin_port_beyond_loopback_warns_once_that_it_asks_for_no_token() {
    let warned = |process: &Process| process.log().matches("SCANLOGIN_ADMIN_TOKEN").count();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{TOKEN}\n")).expect("it is written");
    let path = file.path().to_str().expect("a text");
    let open = Settings::embedded().with("ADMIN_LISTEN", "0.0.0.0:0");
    for (settings, wanted) in [
        (Settings::embedded(), 0),
        (open.clone(), 1),
        (open.clone().with("ADMIN_TOKEN", TOKEN), 0),
        (open.clone().with("ADMIN_TOKEN_FILE", path), 0),
    ] {
        let checked = command(&settings).arg("check-config").output().expect("it runs");
        let text = String::from_utf8(checked.stdout).expect("UTF-8");
        assert_eq!(checked.status.code(), Some(0), "{text}");
        let warnings = text.lines().filter(|line| line.starts_with("warning: "));
        let warnings = warnings.filter(|line| line.contains("SCANLOGIN_ADMIN_TOKEN")).count();
        assert_eq!(warnings, wanted, "{text}");
        assert!(!text.contains(TOKEN), "{text}");
        let process = Process::start(settings).await;
        let revoke = Client::new()
            .post(format!("http://127.0.0.1:{}/revoke", process.admin_address.port()))
            .json(&json!({ "user": "alice" }));
        let status = revoke.send().await.expect("an answer").status();
        assert_eq!(status, if text.contains("_TOKEN=none") { 200 } else { 401 }, "{text}");
        assert_eq!(warned(&process), wanted, "{}", process.log());
    }
}

#[tokio::test]
async fn a_loopback_admin_port_answers_under_loopback_names_only_on_every_path() {
    let public = "https://login.example.com";
    let settings = Settings::embedded().with("PUBLIC_URL", public).with("ALLOWED_ORIGINS", "*");
    let service = Service::start(settings.with("ADMIN_TOKEN", TOKEN)).await;
    for path in PATHS {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS, Method::DELETE] {
            let url = format!("http://{}{path}", service.admin_address);
            let ask = |host: &str| {
                let request = Client::new().request(method.clone(), &url).bearer_auth(TOKEN);
                request.header("Host", host).json(&json!({ "user": "alice" })).send()
            };
            for foreign in [
                "rebound.example",
                "rebound.example:8081",
                // What the public port serves is no reason here.
                "login.example.com",
                "localhost:8081evil.example",
                "localhost.evil.example",
                "192.0.2.1:8081",
            ] {
                let answer = ask(foreign).await.expect("an answer");
                let malformed = foreign.contains("8081evil");
                let wanted = if malformed { 400 } else { 403 };
                assert_eq!(answer.status(), wanted, "{method} {path}: {foreign}");
                let body = answer.text().await.expect("a text");
                assert_eq!(body.contains("\"code\":-"), method != Method::HEAD, "{body}");
                assert!(!body.contains("scanlogin_"), "{body}");
            }
            for own in ["localhost", "127.0.0.1:9", "[::1]:8081", "scanlogin.localhost:80"] {
                let answer = ask(own).await.expect("an answer");
                assert!(![400, 403].contains(&answer.status().as_u16()), "{method} {path}: {own}");
            }
        }
    }
    // As HAProxy's checks do by default (docs/operations.md); no browser does.
    let mut raw = Raw::connect(service.admin_address).await;
    raw.send(b"GET /readyz HTTP/1.0\r\n\r\n").await.expect("it reads");
    let heard = raw.rest(PATIENCE).await.expect("the end");
    assert!(heard.starts_with(b"HTTP/1.0 200"), "{}", heard.escape_ascii());
}

#[tokio::test]
async fn beyond_loopback_the_admin_port_answers_under_any_name() {
    let service = Service::start(Settings::embedded().with("ADMIN_LISTEN", "0.0.0.0:0")).await;
    for host in ["scanlogin-a:8081", "10.1.2.3:8081", "scanlogin-admin.login.svc"] {
        let url = format!("http://127.0.0.1:{}/readyz", service.admin_address.port());
        let answer = Client::new().get(url).header("Host", host).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{host}");
    }
}

#[tokio::test]
async fn what_the_admin_port_does_not_have_is_said_as_on_the_public_one() {
    let service = Service::start(Settings::embedded()).await;
    for (method, path, status, allow) in [
        (Method::GET, "/revoke", 405, "POST"),
        (Method::HEAD, "/revoke", 405, "POST"),
        (Method::POST, "/metrics", 405, "GET, HEAD"),
        (Method::DELETE, "/livez", 405, "GET, HEAD"),
        (Method::PUT, "/readyz", 405, "GET, HEAD"),
        (Method::GET, "/nothing", 404, ""),
        (Method::GET, "/", 404, ""),
    ] {
        let url = format!("http://{}{path}", service.admin_address);
        let answer = Client::new().request(method.clone(), url).send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{method} {path}");
        let said = answer.headers().get("allow").map_or("", |allow| allow.to_str().unwrap());
        assert_eq!(said, allow, "{method} {path}");
        let body = answer.text().await.expect("a text");
        assert_eq!(body.contains("\"code\":-5"), method != Method::HEAD, "{method} {path}: {body}");
    }
}
