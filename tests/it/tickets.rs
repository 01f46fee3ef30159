//! Delivery by ticket: the browser redeems it for a cookie that no script can read. Here tickets are bound
//! to no browser; `binding.rs` has those that are.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::helpers::{
    Browser, Closed, Phone, RedisServer, Service, Settings, both,
    phone::{Answer, answer, verify},
};

/// Where the pages of these tests come from.
const PAGE: &str = "https://www.example.com";

fn by_ticket(settings: Settings) -> Settings {
    settings.with("DELIVER", "ticket").with("TICKET_BINDING", "off").with("ALLOWED_ORIGINS", PAGE)
}

async fn post(service: &Service, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let url = format!("http://{}{path}", service.address);
    let mut request = Client::new().request(Method::POST, url).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request).await
}

async fn redeem(service: &Service, ticket: &str) -> Answer {
    let headers = [("Origin", PAGE), ("Content-Type", "application/json")];
    post(service, "/redeem", &headers, &json!({ "ticket": ticket }).to_string()).await
}

/// A call with the cookie, from this origin.
async fn with_cookie(
    service: &Service,
    method: Method,
    path: &str,
    token: &str,
    origin: Option<&str>,
) -> Answer {
    let url = format!("http://{}{path}", service.address);
    let cookie = format!("theme=dark; __Host-scanlogin={token}");
    let mut request = Client::new().request(method, url).header("Cookie", cookie);
    if let Some(origin) = origin {
        request = request.header("Origin", origin);
    }
    answer(request).await
}

fn text<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap_or_else(|| panic!("no {field} in {message}"))
}

/// The token of a `Set-Cookie`, and its attributes.
fn cookie(answer: &Answer) -> (String, Vec<String>) {
    let set = answer.header("set-cookie");
    let mut parts = set.split("; ").map(str::to_owned);
    let first = parts.next().expect("a cookie");
    let token = first.strip_prefix("__Host-scanlogin=").expect("our cookie").to_owned();
    (token, parts.collect())
}

/// A browser that is scanned by this user: it, its `key`, the phone's claim, its `ticket`.
async fn ticketed(browser_at: &Service, phone_at: &Service) -> (Browser, Value, String, Value) {
    let (mut browser, key) = Browser::json(browser_at.address).await;
    let phone = Phone::of(phone_at.address, "alice");
    let scanned = phone.scan(text(&key, "key")).await;
    assert_eq!(scanned.codes(), (200, 100));
    let ticket = browser.message().await;
    assert_eq!(ticket["type"], "ticket");
    (browser, key, scanned.text("claim").to_owned(), ticket)
}

#[tokio::test]
async fn a_ticket_becomes_a_cookie_at_any_instance_once_and_is_the_acknowledgement() {
    let redis = RedisServer::start().await;
    let a = Service::start(by_ticket(Settings::redis(&redis))).await;
    let b = Service::start(by_ticket(Settings::redis(&redis))).await;
    let alone = Service::start(by_ticket(Settings::embedded())).await;
    for (browser_at, redeem_at) in [(&a, &b), (&b, &a), (&a, &a), (&alone, &alone)] {
        let (mut browser, _, claim, message) = ticketed(browser_at, redeem_at).await;
        let fields: Vec<_> = message.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["expires_in", "ticket", "type"], "neither token nor user");
        assert!((1..=60).contains(&message["expires_in"].as_u64().unwrap()));
        let phone = Phone::of(browser_at.address, "alice");
        assert_eq!(phone.outcome(&claim, 0).await.text("state"), "approved", "not delivered yet");
        let redeemed = redeem(redeem_at, text(&message, "ticket")).await;
        assert_eq!((redeemed.codes(), redeemed.text("user")), ((200, 100), "alice"));
        let (token, attributes) = cookie(&redeemed);
        for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
            assert!(attributes.iter().any(|one| one == attribute), "{attribute}: {attributes:?}");
        }
        let age = attributes.iter().find_map(|one| one.strip_prefix("Max-Age=")).unwrap();
        assert!(age.parse::<u64>().unwrap().abs_diff(2_592_000) < 60, "as long as the token");
        assert!(!attributes.iter().any(|one| one.starts_with("Domain")));
        assert!(!redeemed.body.to_string().contains(&token), "only the cookie has it");
        // The socket, at whichever instance, hears of it.
        assert_eq!(browser.closed().await, Closed::Code(1000));
        assert_eq!(phone.outcome(&claim, 10).await.text("state"), "delivered");
        for ticket in [text(&message, "ticket"), "x", &"A".repeat(107)] {
            let again = redeem(browser_at, ticket).await;
            assert_eq!((again.codes(), again.header("set-cookie")), ((404, -1), ""), "{ticket}");
        }
        // The cookie is what the token is elsewhere.
        let verified = with_cookie(browser_at, Method::GET, "/verify", &token, None).await;
        assert_eq!((verified.codes(), verified.text("user")), ((200, 100), "alice"));
        assert_eq!(verify(redeem_at.address, &token).await.codes(), (200, 100), "a Bearer too");
        for origin in [None, Some("https://evil.example"), Some("null")] {
            let out = with_cookie(redeem_at, Method::POST, "/logout", &token, origin).await;
            assert_eq!(out.codes(), (403, -7), "{origin:?}");
        }
        assert_eq!(verify(redeem_at.address, &token).await.status, 200, "nothing happened");
        let out = with_cookie(redeem_at, Method::POST, "/logout", &token, Some(PAGE)).await;
        assert_eq!((out.codes(), cookie(&out).0), ((200, 100), String::new()), "and forgotten");
        let verified = with_cookie(browser_at, Method::GET, "/verify", &token, None).await;
        assert_eq!(verified.codes(), (401, -2));
        // One that is good for nothing is forgotten all the same.
        let out = with_cookie(redeem_at, Method::POST, "/logout", "x.y.z", Some(PAGE)).await;
        assert_eq!((out.codes(), cookie(&out).0), ((401, -2), String::new()));
    }
    let delivered = "scanlogin_logins_total{outcome=\"delivered\"}";
    crate::helpers::eventually("each is counted once, by whom its browser waited at", || async {
        let counts = (a.metric(delivered).await, b.metric(delivered).await);
        (counts == (2.0, 1.0) && alone.metric(delivered).await == 1.0).then_some(())
    })
    .await;
    let series = "scanlogin_http_requests_total{route=\"/redeem\",status=\"404\"}";
    assert_eq!(alone.metric(series).await, 3.0);
}

#[tokio::test]
async fn only_a_page_of_a_listed_origin_can_redeem_and_only_with_json() {
    for (service, _redis) in both(by_ticket).await {
        let (mut browser, _, _, message) = ticketed(&service, &service).await;
        let ticket = text(&message, "ticket");
        let json = json!({ "ticket": ticket }).to_string();
        let form = format!("ticket={ticket}");
        let own = format!("http://{}", service.address);
        let (as_json, as_form) = ("application/json", "application/x-www-form-urlencoded");
        for (origin, content_type, body, wanted) in [
            (None, as_json, &json, (403, -7)),
            (Some("https://evil.example"), as_json, &json, (403, -7)),
            (Some("null"), as_json, &json, (403, -7)),
            // The service's own host is no exception: it is not listed.
            (Some(&own[..]), as_json, &json, (403, -7)),
            (Some(PAGE), as_form, &form, (415, -5)),
            (Some(PAGE), "text/plain", &json, (415, -5)),
            (Some(PAGE), as_json, &form, (400, -5)),
            (Some(PAGE), as_json, &"{}".to_owned(), (400, -5)),
        ] {
            let mut headers = vec![("Content-Type", content_type)];
            headers.extend(origin.map(|origin| ("Origin", origin)));
            let refused = post(&service, "/redeem", &headers, body).await;
            assert_eq!(refused.codes(), wanted, "{origin:?} {content_type}");
            assert_eq!(refused.header("set-cookie"), "");
        }
        // What a browser asks before it sends JSON from another origin.
        for (origin, allowed) in [(PAGE, PAGE), ("https://evil.example", "")] {
            for path in ["/redeem", "/verify", "/logout"] {
                let url = format!("http://{}{path}", service.address);
                let method = if path == "/verify" { "GET" } else { "POST" };
                let asked = Client::new()
                    .request(Method::OPTIONS, url)
                    .header("Origin", origin)
                    .header("Access-Control-Request-Method", method)
                    .header("Access-Control-Request-Headers", "content-type")
                    .send()
                    .await
                    .unwrap();
                let header =
                    |name| asked.headers().get(name).map_or("", |value| value.to_str().unwrap());
                assert_eq!(header("access-control-allow-origin"), allowed, "{path}");
                if !allowed.is_empty() {
                    assert_eq!(header("access-control-allow-credentials"), "true", "{path}");
                }
            }
        }
        let redeemed = redeem(&service, ticket).await;
        assert_eq!(redeemed.codes(), (200, 100), "nothing of this used it up");
        assert_eq!(redeemed.header("access-control-allow-origin"), PAGE);
        assert_eq!(redeemed.header("access-control-allow-credentials"), "true");
        assert_eq!(browser.closed().await, Closed::Code(1000));
        // Credentials are for what looks at the cookie, and for nothing else.
        let headers = [("Origin", PAGE), ("Content-Type", "application/json")];
        let scan = post(&service, "/scan", &headers, "{}").await;
        assert_eq!(scan.header("access-control-allow-credentials"), "");
    }
}

#[tokio::test]
async fn a_browser_that_comes_back_is_owed_its_ticket_until_it_is_redeemed() {
    let redis = RedisServer::start().await;
    let a = Service::start(by_ticket(Settings::redis(&redis))).await;
    let b = Service::start(by_ticket(Settings::redis(&redis))).await;
    let (mut first, key, claim, message) = ticketed(&a, &b).await;
    // What a token would be acknowledged by is none for a ticket.
    first.say(&json!({ "type": "received" })).await;
    let mut second = Browser::resume(b.address, text(&key, "resume")).await;
    assert_eq!(second.message().await["ticket"], message["ticket"], "the same, elsewhere");
    assert_eq!(first.closed().await, Closed::Code(4002));
    drop(second);
    // Scanned while its line was down, and redeemed without any socket.
    let redeemed = redeem(&a, text(&message, "ticket")).await;
    assert_eq!(redeemed.codes(), (200, 100));
    let phone = Phone::of(a.address, "alice");
    assert_eq!(phone.outcome(&claim, 10).await.text("state"), "delivered");
    let mut late = Browser::resume(a.address, text(&key, "resume")).await;
    assert_eq!(late.closed().await, Closed::Code(1000), "redeeming it has acknowledged it");
    let delivered = "scanlogin_logins_total{outcome=\"delivered\"}";
    crate::helpers::eventually("counted by who held the socket last", || async {
        (b.metric(delivered).await == 1.0).then_some(())
    })
    .await;
    assert_eq!(a.metric(delivered).await, 0.0);
}

#[tokio::test]
async fn a_ticket_that_nobody_redeems_ends_with_the_collecting() {
    for (service, _redis) in both(|settings| by_ticket(settings).with("RESUME_SECONDS", "1")).await
    {
        let (mut browser, _, claim, message) = ticketed(&service, &service).await;
        assert_eq!(browser.message().await["type"], "expired");
        assert_eq!(browser.closed().await, Closed::Code(4000));
        assert_eq!(redeem(&service, text(&message, "ticket")).await.codes(), (404, -1));
        let phone = Phone::of(service.address, "alice");
        assert_eq!(phone.outcome(&claim, 10).await.text("state"), "undelivered");
        crate::helpers::eventually("counted", || async {
            let series = "scanlogin_logins_total{outcome=\"undelivered\"}";
            (service.metric(series).await == 1.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_drain_sends_a_browser_with_its_ticket_elsewhere() {
    let redis = RedisServer::start().await;
    let a = Service::start(by_ticket(Settings::redis(&redis))).await;
    let b = Service::start(by_ticket(Settings::redis(&redis))).await;
    let (mut browser, key, _, message) = ticketed(&a, &a).await;
    let drained = tokio::spawn(a.drained());
    assert_eq!(browser.message().await["type"], "drain");
    assert_eq!(browser.closed().await, Closed::Code(1012));
    let mut again = Browser::resume(b.address, text(&key, "resume")).await;
    assert_eq!(again.message().await["ticket"], message["ticket"]);
    assert_eq!(redeem(&b, text(&message, "ticket")).await.codes(), (200, 100));
    assert_eq!(again.closed().await, Closed::Code(1000));
    drained.await.unwrap();
}

#[tokio::test]
async fn plain_sockets_are_refused_where_tickets_are_delivered_and_tickets_where_they_are_not() {
    let service = Service::start(by_ticket(Settings::embedded())).await;
    let Err(refused) = Browser::open(service.address, "", None, &[]).await else { panic!() };
    assert_eq!((refused.status, &refused.body["code"]), (400, &json!(-5)));
    let series = "scanlogin_sockets_refused_total{reason=\"protocol\"}";
    assert_eq!(service.metric(series).await, 1.0);
    assert_eq!(service.metric("scanlogin_store_seconds_count{operation=\"create\"}").await, 0.0);

    let service = Service::start(Settings::embedded().with("ALLOWED_ORIGINS", PAGE)).await;
    assert_eq!(redeem(&service, "x").await.codes(), (404, -5));
    let (mut browser, key) = Browser::json(service.address).await;
    Phone::of(service.address, "alice").scan(text(&key, "key")).await;
    let message = browser.message_of("token").await;
    // A cookie means nothing here.
    let token = text(&message, "token");
    assert_eq!(verify(service.address, token).await.status, 200);
    let verified = with_cookie(&service, Method::GET, "/verify", token, None).await;
    assert_eq!(verified.codes(), (401, -2));
    let out = with_cookie(&service, Method::POST, "/logout", token, Some(PAGE)).await;
    assert_eq!((out.codes(), out.header("access-control-allow-credentials")), ((401, -2), ""));
}
