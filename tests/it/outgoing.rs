//! What the service calls itself: directly on this machine, through the environment's proxy elsewhere.

use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::{
    helpers::{
        Browser, Phone, Process, Settings, eventually,
        pem::Keys,
        service::command,
        upstream::{Reply, Upstream},
    },
    tokens::{claims, key_set, no_app_key, webhook},
    traces::{collector, spans},
};

/// The settings with this proxy for everything, in each way of saying so.
fn behind(settings: Settings, proxy: &Upstream) -> Settings {
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    names.iter().fold(settings, |settings, name| {
        let url = proxy.url("");
        settings.with_variable(name, &url).with_variable(&name.to_lowercase(), &url)
    })
}

/// A proxy that passes nothing on.
async fn proxy() -> Upstream {
    Upstream::start(|_| Reply::Status(502)).await
}

#[tokio::test]
async fn calls_to_this_machine_go_through_no_proxy_and_ask_no_dns() {
    for name in ["127.0.0.1", "localhost", "scanlogin.localhost", "a.b.localhost."] {
        let (proxy, collector) = (proxy().await, collector().await);
        let keys = Keys::new();
        let (key, jwk) = key_set::make(&keys, "one", Algorithm::EdDSA);
        // One server for key set and webhook: which is which stands in the path.
        let app = Upstream::start(move |heard| match &heard.path[..] {
            webhook::PATH => Reply::Json(json!({ "token": "made", "expires_in": 60 })),
            _ => Reply::Json(json!({ "keys": [jwk.clone()] })),
        })
        .await;
        let at = |upstream: &Upstream, path: &str| {
            format!("http://{name}:{}{path}", upstream.address.port())
        };
        let settings = webhook::hooked(no_app_key(), &app)
            .with("APP_JWKS_URL", &at(&app, "/keys"))
            .with("TOKEN_WEBHOOK_URL", &at(&app, webhook::PATH))
            .with("OTLP_ENDPOINT", &at(&collector, ""));
        let process = Process::start(behind(settings, &proxy)).await;
        let (mut browser, shown) = Browser::plain(process.address).await;
        let phone = Phone::with_token(process.address, &key.sign(&claims("alice")));
        assert_eq!(phone.scan(&shown).await.codes(), (200, 100), "{name}: {}", process.log());
        assert_eq!(browser.text().await, "made", "{name}");
        browser.closed().await;
        eventually("the collector has heard of it", || async {
            spans(&collector).iter().any(|span| span.name == "login").then_some(())
        })
        .await;
        assert_eq!(proxy.heard().len(), 0, "{name}: {:?}", proxy.heard());
    }
}

#[tokio::test]
async fn the_demos_token_is_asked_for_on_this_machine_and_not_of_a_proxy() {
    let proxy = proxy().await;
    let settings = Settings::embedded().only(&["ADMIN_LISTEN", "LOG_FORMAT"]);
    for listen in ["127.0.0.1", "0.0.0.0"] {
        let demo = settings.clone().with("LISTEN", &format!("{listen}:0")).with("DEMO", "true");
        let process = Process::start(demo).await;
        let address = format!("{listen}:{}", process.address.port());
        let asking = behind(settings.clone().without("ADMIN_LISTEN"), &proxy);
        let asking = asking.without("LOG_FORMAT").with("LISTEN", &address);
        let output = command(&asking).args(["token", "--user", "alice"]).output().expect("it runs");
        let token = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(token.matches('.').count(), 2, "{}", String::from_utf8_lossy(&output.stderr));
        let (mut browser, key) = Browser::plain(process.address).await;
        let phone = Phone::with_token(process.address, token.trim());
        assert_eq!(phone.scan(&key).await.codes(), (200, 100));
        browser.text().await;
    }
    assert_eq!(proxy.heard().len(), 0);
}

#[tokio::test]
async fn calls_to_elsewhere_go_through_the_proxy_of_the_environment() {
    let proxy = proxy().await;
    // No names of this machine, however they look.
    for host in ["collector.example", "localhost.example", "127.0.0.1.example"] {
        let before = proxy.heard().len();
        let settings = Settings::embedded().with("OTLP_ENDPOINT", &format!("http://{host}:4318"));
        let process = Process::start(behind(settings, &proxy)).await;
        let (_browser, key) = Browser::plain(process.address).await;
        Phone::of(process.address, "alice").scan(&key).await;
        let asked = eventually("the proxy is asked", || async {
            proxy.heard().get(before).map(|heard| heard.header("host").to_owned())
        })
        .await;
        assert_eq!(asked, format!("{host}:4318"));
    }
}
