//! Pages that the service writes for people: `/s`, `/docs`, and refusals that a browser shows.

use reqwest::{Client, Method, Response};

use crate::helpers::{Service, Settings, contract::document};

/// What Chromium sends when somebody types an address.
const BROWSER: &str =
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

async fn get(service: &Service, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Client::new().get(format!("http://{}{path}", service.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

/// One answer, nothing loaded, no script, no form.
async fn text_of_a_page(answer: Response) -> String {
    let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    for never in ["script-src", "connect-src", "unsafe", "http"] {
        assert!(!policy.contains(never), "{policy}");
    }
    assert_eq!(header("referrer-policy"), "no-referrer");
    let text = answer.text().await.expect("a text");
    assert!(text.starts_with("<!DOCTYPE html>"), "{text}");
    for never in ["<script", "<form", "<iframe", "<img", "src=", "onclick", "style="] {
        assert!(!text.contains(never), "{never} in {text}");
    }
    text
}

fn with_app(settings: Settings) -> Settings {
    settings.with("APP_NAME", "Ex<b>ample").with(
        "APP_LINKS",
        "https://apps.apple.com/app/id1, https://play.google.com/store/apps/details?id=a&b, https://x.example/get",
    )
}

#[tokio::test]
async fn a_phone_without_the_app_is_told_what_happened_and_where_the_app_is() {
    let service = Service::start(with_app(Settings::embedded())).await;
    let text = text_of_a_page(get(&service, "/s", &[]).await).await;
    assert!(text.contains("Nobody has been logged in"), "{text}");
    assert!(text.contains("Install Ex&lt;b&gt;ample, log in to it"), "{text}");
    for link in [
        r#"href="https://apps.apple.com/app/id1" rel="noreferrer">App Store<"#,
        r#"href="https://play.google.com/store/apps/details?id=a&amp;b" rel="noreferrer">Google Play<"#,
        r#"href="https://x.example/get" rel="noreferrer">x.example<"#,
    ] {
        assert!(text.contains(link), "{link} is missing in {text}");
    }
}

#[tokio::test]
async fn without_a_word_about_the_app_the_page_says_whom_to_ask() {
    let service = Service::start(Settings::embedded()).await;
    let text = text_of_a_page(get(&service, "/s", &[]).await).await;
    assert!(text.contains("the page that shows the code says where to get it"), "{text}");
    assert!(!text.contains("<a "), "{text}");
}

#[tokio::test]
async fn it_speaks_the_phones_language() {
    let service = Service::start(with_app(Settings::embedded())).await;
    for (wanted, language, word) in [
        ("de-CH, en;q=0.5", "de", "Niemand wurde angemeldet"),
        ("fr, es-MX;q=0.9, en;q=0.8", "es", "Nadie ha iniciado"),
        ("zh-Hant-TW", "zh", "没有任何人"),
        ("ja", "ja", "まだ誰も"),
        ("en;q=0.4, ja;q=0.6", "ja", "まだ誰も"),
        ("fr", "en", "Nobody"),
        ("*", "en", "Nobody"),
        (";;nonsense", "en", "Nobody"),
    ] {
        let answer = get(&service, "/s", &[("Accept-Language", wanted)]).await;
        assert_eq!(answer.headers()["content-language"], language, "{wanted}");
        assert_eq!(answer.headers()["vary"], "accept-language", "{wanted}");
        let text = text_of_a_page(answer).await;
        assert!(text.contains(&format!("<html lang=\"{language}\">")), "{wanted}");
        assert!(text.contains(word), "{wanted}: {text}");
        assert!(!text.contains('{') || !text.contains("{app}"), "{wanted}");
    }
}

#[tokio::test]
async fn with_the_demo_the_simulator_plays_the_app() {
    let service = Service::start(with_app(Settings::embedded().with("DEMO", "unsafe"))).await;
    let text = get(&service, "/s", &[]).await.text().await.expect("a text");
    assert!(text.contains("Phone simulator"), "{text}");
}

#[tokio::test]
async fn what_a_person_cannot_open_is_said_to_a_browser_as_a_page() {
    let service = Service::start(Settings::embedded()).await;
    for (path, status, word) in [
        ("/nothing/<b>", 404, "There is nothing here"),
        ("/scan", 405, "this address takes <code>POST</code>"),
        ("/weblogin", 401, "Authorization: Bearer"),
        ("/verify", 401, "Authorization: Bearer"),
        ("/ws", 426, "new WebSocket"),
    ] {
        let plain = get(&service, path, &[]).await;
        let page = get(&service, path, &[("Accept", BROWSER)]).await;
        assert_eq!(page.status(), status, "{path}");
        assert_eq!(plain.status(), status, "{path}");
        for name in ["allow", "www-authenticate", "upgrade", "cache-control"] {
            assert_eq!(page.headers().get(name), plain.headers().get(name), "{path}: {name}");
        }
        let text = text_of_a_page(page).await;
        assert!(text.contains(word), "{path}: {text}");
        assert!(text.contains("href=\"/docs\""), "{path}: {text}");
        assert!(!text.contains("<b>"), "{path}: {text}");
    }
}

#[tokio::test]
async fn whoever_calls_the_api_gets_json_whatever_else_it_would_take() {
    let service = Service::start(Settings::embedded()).await;
    for accept in ["*/*", "application/json", "application/json, text/html;q=0.9", "image/png"] {
        for path in ["/nothing", "/scan", "/verify"] {
            let answer = get(&service, path, &[("Accept", accept)]).await;
            assert_eq!(answer.headers()["content-type"], "application/json", "{accept} {path}");
        }
    }
    // A form of the original's, which a browser sends as it opens pages.
    let url = format!("http://{}/scan", service.address);
    let posted = Client::new().post(url).header("Accept", BROWSER).body("key=x");
    let posted = posted.send().await.expect("an answer");
    assert_eq!(posted.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn a_name_that_is_not_served_is_explained() {
    let service = Service::start(Settings::embedded()).await;
    for path in ["/s", "/docs"] {
        let answer = get(&service, path, &[("Host", "evil.example"), ("Accept", BROWSER)]).await;
        assert_eq!(answer.status(), 403, "{path}");
        let text = text_of_a_page(answer).await;
        assert!(text.contains("SCANLOGIN_PUBLIC_URL"), "{text}");
    }
}

#[tokio::test]
async fn the_docs_describe_every_call_with_its_parameters_and_answers() {
    let settings = Settings::embedded().with("PUBLIC_URL", "https://login.example.com/<i>");
    let service = Service::start(settings).await;
    let text = text_of_a_page(get(&service, "/docs", &[]).await).await;
    assert!(!text.contains("<i>") && !text.contains("%BASE%"), "{text}");
    assert!(text.contains("HEAD is answered as GET") && !text.contains("(head)"), "{text}");
    let paths = document()["paths"].as_object().expect("paths");
    for (path, methods) in paths {
        // HEAD is said once, for all.
        let methods = methods.as_object().expect("methods").iter();
        for (method, operation) in methods.filter(|(method, _)| *method != "head") {
            let method = method.to_uppercase();
            let id = operation["operationId"].as_str().expect("an id").replace('&', "&amp;");
            let (_, section) = text
                .split_once(&format!("<section id=\"{id}\">"))
                .unwrap_or_else(|| panic!("{id} is missing"));
            let (section, _) = section.split_once("</section>").expect("its end");
            assert!(section.contains(&format!("{method}</span> <code>{path}</code>")), "{id}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().expect("a name");
                assert!(section.contains(&format!("<code>{name}</code>")), "{id}: {name}");
            }
            for status in operation["responses"].as_object().expect("answers").keys() {
                assert!(section.contains(&format!("<code>{status}</code>")), "{id}: {status}");
            }
            assert!(section.contains("https://login.example.com/"), "{id}: an example");
            assert!(text.contains(&format!("href=\"#{id}\"")), "{id} is not in the list");
        }
    }
}

/// Each is what the service understands: right method, type and fields.
#[tokio::test]
async fn the_curl_lines_of_the_docs_work() {
    let settings = Settings::embedded().with("DEMO", "unsafe");
    let service = Service::start(crate::app_links::with_apps(settings)).await;
    let text = text_of_a_page(get(&service, "/docs", &[]).await).await;
    let lines: Vec<String> = text
        .split("<pre tabindex")
        .skip(1)
        .filter_map(|part| part.split_once('>')?.1.split_once("</pre>"))
        .map(|(line, _)| line.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">"))
        .map(|line| line.replace("&amp;", "&"))
        .collect();
    assert!(lines.len() > 20, "{lines:?}");
    let demo = Client::new().post(format!("http://{}/demo/app-token", service.address));
    let demo: serde_json::Value = demo
        .json(&serde_json::json!({ "user": "alice" }))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let token = demo["token"].as_str().expect("a token");
    for line in lines.iter().filter(|line| line.starts_with("curl ")) {
        let output = tokio::process::Command::new("bash")
            .args(["-c", &format!("{line} -m 2 -o /dev/null -w '%{{http_code}}'")])
            .env("APP_JWT", token)
            .env("CLAIM", "x")
            .output()
            .await
            .expect("bash");
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        // 404: no such key, and what is not turned on here. A stream stays open.
        assert!(["200", "404", "401"].contains(&&status[..]), "{status}: {line}");
        assert!(status != "401" || line.contains("$TOKEN"), "{status}: {line}");
    }
    let sockets = lines.iter().filter(|line| line.starts_with("new WebSocket("));
    assert_eq!(sockets.count(), 1);
}

#[tokio::test]
async fn no_other_method_opens_a_page() {
    let service = Service::start(Settings::embedded()).await;
    for path in ["/s", "/docs"] {
        let url = format!("http://{}{path}", service.address);
        let answer = Client::new().request(Method::POST, url).send().await.expect("an answer");
        assert_eq!(answer.status(), 405, "{path}");
    }
}
