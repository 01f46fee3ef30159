//! The files that let a phone's system open the app for what the QR code holds.

use serde_json::{Value, json};

use crate::helpers::{Browser, Service, Settings};

const APPLE: &str = "/.well-known/apple-app-site-association";
const ANDROID: &str = "/.well-known/assetlinks.json";
const FINGERPRINT: &str = "14:6D:E9:83:C5:73:06:50:D8:EE:B9:95:2F:34:FC:64:16:A0:83:42:E6:1D:BE:A8:8A:04:96:B2:3F:CF:44:E5";

/// With an app of each system.
pub(crate) fn with_apps(settings: Settings) -> Settings {
    settings
        .with("APPLE_APP_IDS", "ABCDE12345.com.example.app, ABCDE12345.com.example.beta")
        .with("ANDROID_APPS", &format!("com.example.app:{}", FINGERPRINT.to_lowercase()))
}

async fn file(service: &Service, path: &str) -> Value {
    let answer = reqwest::get(format!("http://{}{path}", service.address)).await.expect("one");
    assert_eq!(answer.status(), 200, "{path}");
    assert_eq!(answer.headers()["content-type"], "application/json", "{path}");
    answer.json().await.expect("JSON")
}

#[tokio::test]
async fn they_are_made_from_the_configuration() {
    let service = Service::start(with_apps(Settings::embedded())).await;
    let details = &file(&service, APPLE).await["applinks"]["details"];
    let ids = json!(["ABCDE12345.com.example.app", "ABCDE12345.com.example.beta"]);
    assert_eq!(details[0]["appIDs"], ids);
    let statements = file(&service, ANDROID).await;
    let target = json!({
        "namespace": "android_app",
        "package_name": "com.example.app",
        "sha256_cert_fingerprints": [FINGERPRINT],
    });
    assert_eq!(statements[0]["target"], target);
    assert_eq!(statements[0]["relation"], json!(["delegate_permission/common.handle_all_urls"]));
}

/// Whatever else is at the host stays with the browser, and the code's address goes to the app.
#[tokio::test]
async fn the_path_that_they_name_is_the_qr_codes() {
    for (public, path) in
        [("https://login.example.com", "/s"), ("https://example.com/login/", "/login/s")]
    {
        let settings = with_apps(Settings::embedded()).with("PUBLIC_URL", public);
        let service = Service::start(settings).await;
        let components = &file(&service, APPLE).await["applinks"]["details"][0]["components"];
        assert_eq!(components.as_array().map(Vec::len), Some(1));
        assert_eq!(components[0]["/"], path);
        let (_browser, key) = Browser::json(service.address).await;
        let url = reqwest::Url::parse(key["url"].as_str().expect("a URL")).expect("a URL");
        assert_eq!(url.path(), path);
    }
}

#[tokio::test]
async fn an_android_app_with_two_certificates_is_one_app() {
    let other = FINGERPRINT.replace("14:6D", "15:6D");
    let apps = format!("com.example.app:{FINGERPRINT},com.example.app:{other}");
    let service = Service::start(Settings::embedded().with("ANDROID_APPS", &apps)).await;
    let statements = file(&service, ANDROID).await;
    assert_eq!(statements.as_array().map(Vec::len), Some(1));
    let prints = &statements[0]["target"]["sha256_cert_fingerprints"];
    assert_eq!(*prints, json!([FINGERPRINT, other]));
}

#[tokio::test]
async fn a_file_that_nothing_is_configured_for_does_not_exist() {
    let service = Service::start(Settings::embedded()).await;
    for path in [APPLE, ANDROID] {
        let answer = reqwest::get(format!("http://{}{path}", service.address)).await.expect("one");
        assert_eq!(answer.status(), 404, "{path}");
    }
}

/// Those of docs/phone.md, as printed.
#[tokio::test]
async fn the_settings_that_the_page_on_phones_prints_make_both_files() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/phone.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let printed = page.lines().filter_map(|line| line.strip_prefix("export SCANLOGIN_"));
    let settings = printed.fold(Settings::embedded(), |settings, line| {
        let (name, value) = line.split_once('=').expect("a setting");
        settings.with(name, value)
    });
    let service = Service::start(settings).await;
    file(&service, APPLE).await;
    file(&service, ANDROID).await;
}
