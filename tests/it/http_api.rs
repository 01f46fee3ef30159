//! The HTTP side: every answer of the contract's table, and who may ask.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::helpers::{
    Browser, Phone, Service, Settings,
    phone::{Answer, answer, app_token, now, verify},
    raw::Raw,
    service::{APP_SECRET, TOKEN_SECRET},
};

const PHONE_CALLS: [(&str, &str); 4] = [
    ("POST", "/scan"),
    ("POST", "/scan/confirm"),
    ("POST", "/scan/deny"),
    ("GET", "/scan/outcome"),
];

/// A request with these headers and no more.
async fn call(service: &Service, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let url = format!("http://{}{path}", service.address);
    let mut request = Client::new().request(method.parse().unwrap(), url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request).await
}

async fn refused(
    service: &Service,
    protocol: Option<&str>,
    headers: &[(&str, &str)],
) -> (u16, i64) {
    match Browser::open(service.address, "", protocol, headers).await {
        Ok(_) => (101, 0),
        Err(refused) => (refused.status, refused.body["code"].as_i64().unwrap_or_default()),
    }
}

#[tokio::test]
async fn one_step_answers_a_json_or_a_form_the_same() {
    let service = Service::start(Settings::embedded()).await;
    let phone = Phone::of(service.address, "alice");
    for form in [false, true] {
        let (_browser, key) = Browser::json(service.address).await;
        // The key, or the whole URL that the QR code held.
        let text = key[if form { "key" } else { "url" }].as_str().unwrap();
        let scanned = match form {
            true => phone.post_form("/scan", "key", text).await,
            false => phone.post("/scan", &json!({ "key": text, "later": "ignored" })).await,
        };
        assert_eq!(scanned.codes(), (200, 100));
        assert_eq!(scanned.text("msg"), "Sao successfully");
        let fields: Vec<_> = scanned.body.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["claim", "code", "msg"]);
        assert_eq!(phone.scan(text).await.body, scanned.body, "repeated");
        assert_eq!(phone.lent_to("bob").scan(text).await.codes(), (409, -3));
    }
}

#[tokio::test]
async fn two_steps_show_the_facts_and_then_take_the_decision() {
    let settings = Settings::embedded().with("CONFIRM", "required");
    let service = Service::start(settings).await;
    let agent = "Mozilla/5.0 (Windows NT 10.0; rv:127.0) Gecko/20100101 Firefox/127.0";
    let origin = format!("http://{}", service.address);
    let open = async || {
        let headers = [("User-Agent", agent), ("Origin", &origin[..])];
        let protocol = Some("scanlogin.v1");
        let mut browser = Browser::open(service.address, "", protocol, &headers).await.unwrap();
        let key = browser.message().await["key"].as_str().unwrap().to_owned();
        (browser, key)
    };
    let (mut browser, key) = open().await;
    let alice = Phone::of(service.address, "alice");
    let bob = alice.lent_to("bob");
    let scanned = alice.scan(&key).await;
    assert_eq!(scanned.codes(), (200, 101));
    assert_eq!(scanned.text("msg"), "Confirmation needed");
    let facts = &scanned.body["browser"];
    assert_eq!((&facts["ip"], &facts["user_agent"]), (&json!("127.0.0.1"), &json!(agent)));
    assert_eq!(facts["browser_name"], "Firefox on Windows");
    assert_eq!(facts["origin"], json!(origin));
    assert!(facts["age_ms"].as_u64().unwrap() < 60_000);
    assert_eq!(scanned.body["flags"], json!([]));
    let told = browser.message().await;
    assert_eq!((&told["type"], &told["name"]), (&json!("scanned"), &json!("alice Example")));
    assert!(told["lifetime_ms"].as_u64().unwrap() <= 90_000);

    let claim = scanned.text("claim");
    let body = json!({ "claim": claim });
    assert_eq!(bob.post("/scan/confirm", &body).await.codes(), (403, -7));
    assert_eq!(bob.post("/scan/deny", &body).await.codes(), (403, -7));
    assert_eq!(bob.outcome(claim, 0).await.codes(), (403, -7));
    assert_eq!(alice.outcome(claim, 0).await.text("state"), "scanned");
    let confirmed = alice.post_form("/scan/confirm", "claim", claim).await;
    assert_eq!((confirmed.codes(), confirmed.text("msg")), ((200, 100), "Confirmed"));
    assert_eq!(alice.post("/scan/confirm", &body).await.codes(), (200, 100), "repeated");
    assert_eq!(alice.post("/scan/deny", &body).await.codes(), (409, -3), "too late");
    let again = alice.scan(&key).await;
    assert_eq!((again.codes(), again.body.get("browser")), ((200, 101), None));
    assert_eq!(browser.message().await["type"], "token");

    let (mut browser, key) = open().await;
    let scanned = alice.scan(&key).await;
    let body = json!({ "claim": scanned.text("claim") });
    assert_eq!(browser.message().await["type"], "scanned");
    let denied = alice.post("/scan/deny", &body).await;
    assert_eq!((denied.codes(), denied.text("msg")), ((200, 100), "Denied"));
    assert_eq!(browser.message().await, json!({ "type": "denied" }));
    assert_eq!(browser.closed().await, crate::helpers::Closed::Code(4001));
    assert_eq!(alice.post("/scan/deny", &body).await.codes(), (200, 100), "repeated");
    assert_eq!(alice.post("/scan/confirm", &body).await.codes(), (404, -1));
    assert_eq!(alice.outcome(scanned.text("claim"), 0).await.text("state"), "denied");
}

#[tokio::test]
async fn a_call_may_be_held_open_for_the_outcome() {
    let service = Service::start(Settings::embedded()).await;
    let phone = Phone::of(service.address, "alice");
    let (mut browser, key) = Browser::plain(service.address).await;
    let body = json!({ "key": key });
    let (scanned, ()) = tokio::join!(phone.post("/scan?wait=60", &body), async {
        browser.text().await;
        browser.closed().await;
    });
    assert_eq!((scanned.codes(), scanned.text("state")), ((200, 100), "delivered"));
    assert_eq!(phone.outcome(scanned.text("claim"), 60).await.text("state"), "delivered");
    for wait in ["", "x", "-1", "1.5"] {
        assert_eq!(phone.post(&format!("/scan?wait={wait}"), &body).await.codes(), (400, -5));
    }
    let huge = format!("/scan?wait={}", "9".repeat(40));
    assert_eq!(phone.post(&huge, &body).await.text("state"), "delivered", "clamped like any other");
    let missing = answer(phone.request(Method::GET, "/scan/outcome")).await;
    assert_eq!(missing.codes(), (400, -5));
    for claim in ["x", &"A".repeat(64), scanned.text("claim").get(1..).unwrap()] {
        assert_eq!(phone.outcome(claim, 10).await.codes(), (404, -1), "{claim}");
    }
}

#[tokio::test]
async fn malformed_bodies_are_refused() {
    let service = Service::start(Settings::embedded()).await;
    let phone = Phone::of(service.address, "alice");
    for path in ["/scan", "/scan/confirm", "/scan/deny"] {
        for body in [json!({}), json!([]), json!({ "key": 7, "claim": null }), json!("key")] {
            assert_eq!(phone.post(path, &body).await.codes(), (400, -5), "{path} {body}");
        }
        let broken = phone.request(Method::POST, path).header("Content-Type", "application/json");
        assert_eq!(answer(broken.body("{")).await.codes(), (400, -5), "{path}");
        assert_eq!(phone.post_form(path, "other", "x").await.codes(), (400, -5), "{path}");
    }
}

#[tokio::test]
async fn a_phone_must_be_who_it_says() {
    // Equal secrets: only the type keeps the two kinds of token apart.
    let service = Service::start(Settings::embedded().with("TOKEN_SECRET", APP_SECRET)).await;
    let good = json!({ "sub": "alice", "exp": now() + 60 });
    let with = |changes: Value| {
        let mut claims = good.clone();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        app_token(&claims, APP_SECRET)
    };
    let right = with(json!({}));
    let (head, rest) = right.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let other_algorithm = {
        let key = EncodingKey::from_secret(APP_SECRET.as_bytes());
        encode(&Header::new(Algorithm::HS512), &good, &key).unwrap()
    };
    let (mut browser, key) = Browser::plain(service.address).await;
    Phone::with_token(service.address, &right).scan(&key).await;
    let web_token = browser.text().await;
    for (what, token) in [
        ("wrong signature", app_token(&good, TOKEN_SECRET)),
        ("altered", format!("{head}.{claims}x.{signature}")),
        ("no signature", format!("{head}.{claims}.")),
        ("alg none", format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")),
        ("another algorithm", other_algorithm),
        ("expired", with(json!({ "exp": now() - 120 }))),
        ("not yet", with(json!({ "nbf": now() + 600 }))),
        ("no exp", with(json!({ "exp": null }))),
        ("no sub", with(json!({ "sub": null }))),
        ("empty sub", with(json!({ "sub": "" }))),
        ("long sub", with(json!({ "sub": "x".repeat(256) }))),
        ("sub of another type", with(json!({ "sub": 7 }))),
        ("a web token of ours", web_token),
        ("not a JWT", "x".into()),
    ] {
        let phone = Phone::with_token(service.address, &token);
        for (method, path) in PHONE_CALLS {
            let request = phone.request(method.parse().unwrap(), path);
            let answer = answer(request).await;
            assert_eq!(answer.codes(), (401, -2), "{what}: {path}");
            let challenge = answer.header("www-authenticate");
            assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{what}: {path}");
        }
    }
    for header in ["", "Bearer", "Bearer ", "Basic eDp4", &right] {
        for (method, path) in PHONE_CALLS {
            let headers = [("Authorization", header), ("Content-Type", "application/json")];
            let answer = call(&service, method, path, &headers).await;
            assert_eq!(answer.codes(), (401, -2), "{header:?}: {path}");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{header:?}: {path}");
        }
    }
    // What is right works in any spelling of the scheme; a long name is left out, not refused.
    let long_name = with(json!({ "sub": "x".repeat(255), "name": "y".repeat(2000) }));
    for header in [format!("bearer {right}"), format!("BEARER {long_name}")] {
        let headers = [("Authorization", &header[..]), ("Content-Type", "application/json")];
        assert_eq!(call(&service, "POST", "/scan", &headers).await.codes(), (400, -5));
    }
}

#[tokio::test]
async fn an_issuer_and_an_audience_are_demanded_where_they_are_configured() {
    let settings = Settings::embedded().with("APP_JWT_ISSUER", "the-app");
    let service = Service::start(settings.with("APP_JWT_AUDIENCE", "scanlogin")).await;
    for (issuer, audience, wanted) in [
        (json!("the-app"), json!("scanlogin"), 404),
        (json!("the-app"), json!(["other", "scanlogin"]), 404),
        (json!("another"), json!("scanlogin"), 401),
        (json!("the-app"), json!("other"), 401),
        (Value::Null, json!("scanlogin"), 401),
        (json!("the-app"), Value::Null, 401),
    ] {
        let mut claims = json!({ "sub": "alice", "exp": now() + 60 });
        for (name, value) in [("iss", &issuer), ("aud", &audience)] {
            if !value.is_null() {
                claims[name] = value.clone();
            }
        }
        let token = app_token(&claims, APP_SECRET);
        let answer = Phone::with_token(service.address, &token).scan("x").await;
        assert_eq!(answer.status, wanted, "{issuer} {audience}");
    }
}

#[tokio::test]
async fn a_web_token_is_good_only_as_it_was_made() {
    let service = Service::start(Settings::embedded()).await;
    let (mut browser, key) = Browser::plain(service.address).await;
    let phone = Phone::of(service.address, "alice");
    phone.scan(&key).await;
    let token = browser.text().await;
    let good = verify(service.address, &token).await;
    assert_eq!(good.codes(), (200, 100));
    let (_, claims) = crate::helpers::service::claims(&token);
    // The same claims without the type, and with another secret.
    let untyped = app_token(&claims, TOKEN_SECRET);
    let foreign = app_token(&claims, APP_SECRET);
    for (what, token) in [
        ("an app token", phone.token.clone()),
        ("untyped", untyped),
        ("another secret", foreign),
        ("altered", format!("{}A{}", &token[..60], &token[61..])),
    ] {
        let answer = verify(service.address, &token).await;
        assert_eq!(answer.codes(), (401, -2), "{what}");
        assert!(answer.header("www-authenticate").starts_with("Bearer error="), "{what}");
    }
    assert_eq!(call(&service, "GET", "/verify", &[]).await.codes(), (401, -2));
    assert_eq!(call(&service, "POST", "/logout", &[]).await.codes(), (401, -2));
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_everywhere() {
    let service = Service::start(Settings::embedded()).await;
    let own = format!("http://{}", service.address);
    let phone = Phone::of(service.address, "alice");
    let bearer = format!("Bearer {}", phone.token);
    for (origin, allowed) in [
        (&own[..], true),
        ("http://127.0.0.1:1", false),
        ("https://evil.example", false),
        ("null", false),
        ("", false),
    ] {
        let socket = refused(&service, None, &[("Origin", origin)]).await;
        assert_eq!(socket, if allowed { (101, 0) } else { (403, -7) }, "{origin}");
        for (method, path) in
            PHONE_CALLS.into_iter().chain([("GET", "/verify"), ("POST", "/logout")])
        {
            let headers = [("Origin", origin), ("Authorization", &bearer[..])];
            let answer = call(&service, method, path, &headers).await;
            assert_eq!(answer.status == 403, !allowed, "{origin} {path}: {answer:?}");
            let cors = answer.header("access-control-allow-origin");
            assert_eq!(cors, if allowed { origin } else { "" }, "{origin} {path}");
        }
    }
    assert!(service.metric("scanlogin_sockets_refused_total{reason=\"origin\"}").await >= 4.0);
    assert_eq!(service.metric("scanlogin_store_seconds_count{operation=\"create\"}").await, 1.0);

    let listed = "https://www.example.com,https://shop.example.com:8443";
    let service = Service::start(Settings::embedded().with("ALLOWED_ORIGINS", listed)).await;
    for (origin, wanted) in [
        ("https://www.example.com", 101),
        ("https://shop.example.com:8443", 101),
        ("https://shop.example.com", 403),
        ("http://www.example.com", 403),
        ("null", 403),
    ] {
        let headers = [("Origin", origin), ("Host", "login.example.com")];
        assert_eq!(refused(&service, None, &headers).await.0, wanted, "{origin}");
    }
    let service = Service::start(Settings::embedded().with("ALLOWED_ORIGINS", "*")).await;
    assert_eq!(refused(&service, None, &[("Origin", "null")]).await.0, 101);
}

#[tokio::test]
async fn a_loopback_listener_serves_only_its_own_names() {
    let public = Settings::embedded().with("PUBLIC_URL", "https://login.example.com/base");
    for (settings, public) in [(Settings::embedded(), false), (public, true)] {
        let service = Service::start(settings).await;
        for (host, allowed) in [
            ("localhost", true),
            ("127.0.0.1:9", true),
            ("[::1]:80", true),
            ("login.example.com", public),
            ("rebound.example", false),
        ] {
            let answer = call(&service, "POST", "/scan", &[("Host", host)]).await;
            assert_eq!(answer.codes(), if allowed { (401, -2) } else { (403, -7) }, "{host}");
            let socket = call(&service, "GET", "/ws", &[("Host", host)]).await;
            assert_eq!(socket.codes(), if allowed { (426, -5) } else { (403, -7) }, "{host}");
        }
        let (_browser, key) = Browser::json(service.address).await;
        let url = key["url"].as_str().unwrap();
        let base = format!("http://{}", service.address);
        let base = if public { "https://login.example.com/base" } else { &base };
        assert_eq!(url, format!("{base}/s#{}", key["key"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn a_preflight_names_what_a_page_may_send() {
    let service = Service::start(Settings::embedded()).await;
    let own = format!("http://{}", service.address);
    for (method, path) in PHONE_CALLS.into_iter().chain([("GET", "/verify"), ("POST", "/logout")]) {
        let ask = |origin: &str| {
            let url = format!("http://{}{path}", service.address);
            Client::new()
                .request(Method::OPTIONS, url)
                .header("Origin", origin)
                .header("Access-Control-Request-Method", method)
                .header(
                    "Access-Control-Request-Headers",
                    "authorization,content-type,scanlogin-claim",
                )
        };
        let answer = ask(&own).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
        let header = |name| answer.headers()[name].to_str().unwrap().to_lowercase();
        assert_eq!(header("access-control-allow-origin"), own);
        assert!(header("access-control-allow-methods").contains(&method.to_lowercase()));
        for name in ["authorization", "content-type", "scanlogin-claim"] {
            assert!(header("access-control-allow-headers").contains(name), "{name}");
        }
        let refused = ask("https://evil.example").send().await.unwrap();
        assert!(!refused.headers().contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test]
async fn what_is_no_socket_and_what_does_not_exist_is_said_in_json() {
    let service = Service::start(Settings::embedded()).await;
    let upgrade = call(&service, "GET", "/ws", &[]).await;
    assert_eq!((upgrade.codes(), upgrade.header("upgrade")), ((426, -5), "websocket"));
    for protocol in ["chat", "scanlogin.v2", "scanlogin.v1x"] {
        assert_eq!(refused(&service, Some(protocol), &[]).await, (400, -5), "{protocol}");
    }
    Raw::upgraded(service.address, Some("chat, scanlogin.v1")).await;
    Raw::upgraded(service.address, Some("\u{e4}, scanlogin.v1")).await;
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    let with = |more| [&upgrade[..], more].concat();
    let key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (method, headers, wanted) in [
        ("GET", with(&[key]), (400, -5)),
        ("GET", with(&[key, ("Sec-WebSocket-Version", "12")]), (400, -5)),
        ("GET", with(&[("Sec-WebSocket-Version", "13")]), (400, -5)),
        (
            "GET",
            with(&[key, ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Protocol", "\u{e4}")]),
            (400, -5),
        ),
        ("POST", with(&[key, ("Sec-WebSocket-Version", "13")]), (405, -5)),
    ] {
        let answer = call(&service, method, "/ws", &headers).await;
        assert_eq!(answer.codes(), wanted, "{method} {headers:?}");
    }
    for path in ["/", "/nothing", "/scan/", "/ws/x", "/metrics", "/livez", "/readyz"] {
        assert_eq!(call(&service, "GET", path, &[]).await.codes(), (404, -5), "{path}");
    }
    for (method, path) in
        [("GET", "/scan"), ("PUT", "/scan/confirm"), ("DELETE", "/logout"), ("POST", "/verify")]
    {
        assert_eq!(call(&service, method, path, &[]).await.codes(), (405, -5), "{path}");
    }
}

#[tokio::test]
async fn the_package_is_served_to_any_page_and_asked_for_again_with_its_tag() {
    let service = Service::start(Settings::embedded()).await;
    let get = async |path: &str, headers: &[(&str, &str)]| {
        let url = format!("http://{}{path}", service.address);
        let request = headers.iter().fold(Client::new().get(url), |r, (k, v)| r.header(*k, *v));
        request.send().await.unwrap()
    };
    for (path, content_type, cache_control) in [
        ("/scanlogin.js", "text/javascript; charset=utf-8", "no-cache"),
        (
            "/v1/scanlogin.js",
            "text/javascript; charset=utf-8",
            "public, max-age=3600, stale-while-revalidate=3600",
        ),
        ("/scanlogin.js.map", "application/json", "no-cache"),
        (
            "/v1/scanlogin.js.map",
            "application/json",
            "public, max-age=3600, stale-while-revalidate=3600",
        ),
    ] {
        // From a page that could not log in here: the script is not the login.
        let first = get(path, &[("Origin", "https://elsewhere.example")]).await;
        assert_eq!(first.status(), 200, "{path}");
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        for (name, value) in [
            ("content-type", content_type),
            ("cache-control", cache_control),
            ("access-control-allow-origin", "*"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(first.headers()[name], value, "{path}: {name}");
        }
        let text = first.text().await.unwrap();
        assert!(text.contains("scan-login"), "{path}");
        let weak = format!("\"other\", W/{tag}");
        for known in [&tag, &weak, "*"] {
            let again = get(path, &[("If-None-Match", known)]).await;
            assert_eq!(again.status(), 304, "{path} {known}");
            assert_eq!(again.headers()["etag"], tag.as_str());
            assert_eq!(again.headers()["cache-control"], cache_control);
        }
        assert_eq!(get(path, &[("If-None-Match", "\"other\"")]).await.status(), 200);
    }
    let url = format!("http://{}/v1/scanlogin.js", service.address);
    assert_eq!(Client::new().head(url).send().await.unwrap().status(), 200);
    assert_eq!(call(&service, "POST", "/scanlogin.js", &[]).await.codes(), (405, -5));
    let rebound = call(&service, "GET", "/scanlogin.js", &[("Host", "evil.example")]).await;
    assert_eq!(rebound.codes(), (403, -7));
    let counted = |status: &str| {
        format!("scanlogin_http_requests_total{{route=\"/scanlogin.js\",status=\"{status}\"}}")
    };
    assert_eq!(service.metric(&counted("304")).await, 12.0);
    assert_eq!(service.metric(&counted("403")).await, 1.0);
}
