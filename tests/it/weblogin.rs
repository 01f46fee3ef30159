//! A user's web login, seen and ended by the user's app and by the operator.

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::helpers::{
    Browser, Closed, Phone, RedisServer, Service, Settings, both,
    phone::{Answer, answer, now, verify},
};

const AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; rv:127.0) Gecko/20100101 Firefox/127.0";

/// A browser of alice's that has its token and has not acknowledged it.
async fn pushed(service: &Service) -> (Browser, String) {
    let origin = format!("http://{}", service.address);
    let headers = [("User-Agent", AGENT), ("Origin", &origin[..])];
    let opened = Browser::open(service.address, "", Some("scanlogin.v1"), &headers).await;
    let mut browser = opened.unwrap();
    let key = browser.message().await["key"].as_str().unwrap().to_owned();
    let phone = Phone::of(service.address, "alice");
    let scanned = phone.scan(&key).await;
    if scanned.codes() == (200, 101) {
        let claim = scanned.body["claim"].as_str().unwrap();
        assert_eq!(
            phone.post("/scan/confirm", &json!({ "claim": claim })).await.codes(),
            (200, 100)
        );
    } else {
        assert_eq!(scanned.codes(), (200, 100));
    }
    let token = browser.message_of("token").await["token"].as_str().unwrap().to_owned();
    (browser, token)
}

async fn received(mut browser: Browser) {
    browser.say(&json!({ "type": "received" })).await;
    assert_eq!(browser.closed().await, Closed::Code(1000));
}

/// One that has acknowledged it, and that is written down.
async fn logged_in(service: &Service) -> String {
    let (browser, token) = pushed(service).await;
    received(browser).await;
    let phone = Phone::of(service.address, "alice");
    crate::helpers::eventually("it is written down", || async {
        (weblogin(&phone, Method::GET).await.status == 200).then_some(())
    })
    .await;
    token
}

async fn weblogin(phone: &Phone, method: Method) -> Answer {
    answer(phone.request(method, "/weblogin")).await
}

async fn revoke(service: &Service, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let url = format!("http://{}/revoke", service.admin_address);
    let mut request = Client::new().post(url).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    on_admin_port(request).await
}

/// The admin port is no part of `/openapi.json`.
async fn on_admin_port(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    assert_eq!(headers["cache-control"], "no-store");
    Answer { status, headers, body: answer.json().await.unwrap() }
}

#[tokio::test]
async fn the_app_sees_since_when_which_browser_and_from_where_and_ends_it() {
    // In one step nothing is kept of the browser (spec section 5), and so nothing can be told.
    for (service, redis) in both(|settings| settings.with("CONFIRM", "required")).await {
        let alice = Phone::of(service.address, "alice");
        let bob = alice.lent_to("bob");
        assert_eq!(weblogin(&alice, Method::GET).await.codes(), (404, -1));
        assert_eq!(weblogin(&alice, Method::DELETE).await.codes(), (404, -1));
        let token = logged_in(&service).await;
        let seen = weblogin(&alice, Method::GET).await;
        assert_eq!(seen.codes(), (200, 100));
        assert!(seen.body["since"].as_u64().unwrap().abs_diff(now()) < 30);
        let origin = format!("http://{}", service.address);
        let browser = json!({
            "ip": "127.0.0.1", "user_agent": AGENT, "origin": origin,
            "browser_name": "Firefox on Windows",
        });
        assert_eq!(seen.body["browser"], browser);
        if let Some(redis) = &redis {
            // It stands there for a month: nobody reads it without the instances' secret.
            for key in redis.keys().await {
                let raw: Vec<u8> = redis.command(&["GET", &key]).await;
                let raw = String::from_utf8_lossy(&raw).into_owned();
                assert!(!raw.contains("Firefox") && !raw.contains("127.0.0.1"), "{key}: {raw}");
            }
        }
        assert_eq!(weblogin(&bob, Method::GET).await.codes(), (404, -1), "not hers");
        assert_eq!(weblogin(&bob, Method::DELETE).await.codes(), (404, -1));
        assert_eq!(verify(service.address, &token).await.status, 200);
        assert_eq!(weblogin(&alice, Method::DELETE).await.codes(), (200, 100));
        assert_eq!(verify(service.address, &token).await.codes(), (401, -2));
        assert_eq!(weblogin(&alice, Method::GET).await.codes(), (404, -1));
        assert_eq!(weblogin(&alice, Method::DELETE).await.codes(), (404, -1), "once");
        let again = logged_in(&service).await;
        assert_eq!(verify(service.address, &again).await.status, 200, "approved after it");
    }
}

#[tokio::test]
async fn a_login_that_was_approved_before_and_not_acknowledged_ends_too() {
    for (service, _redis) in both(|settings| settings).await {
        let (browser, token) = pushed(&service).await;
        assert_eq!(verify(service.address, &token).await.status, 200, "pending");
        let alice = Phone::of(service.address, "alice");
        assert_eq!(weblogin(&alice, Method::DELETE).await.codes(), (404, -1), "none is current");
        assert_eq!(verify(service.address, &token).await.codes(), (401, -2), "at once");
        received(browser).await;
        let series = "scanlogin_logins_total{outcome=\"delivered\"}";
        crate::helpers::eventually("its acknowledgement was dealt with", || async {
            (service.metric(series).await == 1.0).then_some(())
        })
        .await;
        assert_eq!(verify(service.address, &token).await.codes(), (401, -2), "and for good");
        assert_eq!(weblogin(&alice, Method::GET).await.codes(), (404, -1));
    }
}

#[tokio::test]
async fn the_operator_ends_a_users_web_login_on_the_admin_port_only() {
    let redis = RedisServer::start().await;
    let a = Service::start(Settings::redis(&redis)).await;
    let b = Service::start(Settings::redis(&redis)).await;
    let token = logged_in(&a).await;
    let alice = json!({ "user": "alice" });
    let ended = |answer: &Answer| answer.body["ended"].clone();
    for (body, headers, wanted) in [
        (json!({}), vec![], (400, -5)),
        (json!({ "user": "" }), vec![], (400, -5)),
        (json!({ "user": "x".repeat(256) }), vec![], (400, -5)),
        // A page in the operator's browser.
        (alice.clone(), vec![("Origin", "http://127.0.0.1:8081")], (403, -7)),
    ] {
        assert_eq!(revoke(&b, &body, &headers).await.codes(), wanted, "{body}");
    }
    let form = Client::new()
        .post(format!("http://{}/revoke", b.admin_address))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("user=alice");
    assert_eq!(on_admin_port(form).await.codes(), (415, -5));
    let get = Client::new().get(format!("http://{}/revoke", b.admin_address));
    assert_eq!(on_admin_port(get).await.codes(), (405, -5));
    let public = Client::new().post(format!("http://{}/revoke", b.address)).json(&alice);
    assert_eq!(answer(public).await.codes(), (404, -5), "never on the public port");
    assert_eq!(verify(a.address, &token).await.status, 200, "nothing of this did anything");

    let bob = revoke(&b, &json!({ "user": "bob" }), &[]).await;
    assert_eq!((bob.codes(), ended(&bob)), ((200, 100), json!(0)));
    let done = revoke(&b, &alice, &[]).await;
    assert_eq!((done.codes(), ended(&done)), ((200, 100), json!(1)));
    assert_eq!(ended(&revoke(&a, &alice, &[]).await), json!(0));
    assert_eq!(verify(a.address, &token).await.codes(), (401, -2));
    let series = "scanlogin_http_requests_total{route=\"/revoke\",status=\"200\"}";
    assert_eq!(b.metric(series).await, 2.0);
}

#[tokio::test]
async fn its_calls_count_as_the_phones_do() {
    let service = Service::start(Settings::embedded().with("SCANS_PER_MINUTE", "2")).await;
    let alice = Phone::of(service.address, "alice");
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(weblogin(&alice, method).await.codes(), (404, -1));
    }
    let limited = weblogin(&alice, Method::GET).await;
    assert_eq!(limited.codes(), (429, -4));
    assert!(limited.header("retry-after").parse::<u32>().unwrap() >= 1);
    let nobody = Phone::with_token(service.address, "x");
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(weblogin(&nobody, method).await.codes(), (401, -2));
    }
    assert_eq!(weblogin(&alice.lent_to("bob"), Method::GET).await.codes(), (404, -1));
}
