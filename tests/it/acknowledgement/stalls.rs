//! A line that stalls just when the token is pushed: it is late, and as good as any other.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::{RECEIVED, counted, scanned, state, text};
use crate::helpers::{
    Browser, Closed, Phone, RedisServer, Service, Settings, phone::verify, proxy::Proxy,
};

const STALLS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(3),
    Duration::from_secs(6),
    Duration::from_secs(20),
];

/// A browser whose line carries nothing for so long, from before its phone scans. Logs in.
async fn logs_in(service: &Service, json: bool, stall: Duration, user: String) {
    let line = Proxy::to(service.address);
    let phone = Phone::of(service.address, &user);
    let (mut browser, key) = if json {
        Browser::json(line.address).await
    } else {
        let (browser, key) = Browser::plain(line.address).await;
        (browser, serde_json::json!({ "key": key }))
    };
    line.hold();
    let claim = scanned(&phone, &key).await;
    sleep(stall).await;
    assert_eq!(state(&phone, &claim, 0).await, "approved", "{json} {stall:?}");
    line.restore();
    let token = if json {
        let message = browser.message_of("token").await;
        browser.say_text(RECEIVED).await;
        text(&message, "token").to_owned()
    } else {
        browser.text().await
    };
    assert_eq!(verify(service.address, &token).await.status, 200, "{json} {stall:?}");
    let closed = browser.closed().await;
    if json && stall > Duration::from_secs(2) {
        assert_eq!(closed, Closed::Code(1012), "{stall:?}: said before the token arrived");
        let mut again = Browser::resume(line.address, text(&key, "resume")).await;
        assert_eq!(again.closed().await, Closed::Code(1000), "{stall:?}: heard all the same");
    } else {
        assert_eq!(closed, Closed::Code(1000), "{json} {stall:?}");
    }
    assert_eq!(state(&phone, &claim, 10).await, "delivered", "{json} {stall:?}");
    assert_eq!(verify(service.address, &token).await.status, 200, "{json} {stall:?}");
}

#[tokio::test]
async fn a_line_that_stalls_at_the_push_delivers_a_good_token_all_the_same() {
    let redis = RedisServer::start().await;
    let shared = Service::start(Settings::redis(&redis)).await;
    let alone = Service::start(Settings::embedded()).await;
    let mut logins = Vec::new();
    for service in [&shared, &alone] {
        for json in [false, true] {
            for stall in STALLS {
                let user = format!("{json}-{}", stall.as_millis());
                logins.push(logs_in(service, json, stall, user));
            }
        }
    }
    join_all(logins).await;
    for service in [&shared, &alone] {
        counted(&[service], "delivered", 10.0).await;
        counted(&[service], "undelivered", 0.0).await;
    }
}
