//! Logins whose browser is away and may come back: how many there may be, and who makes room.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::helpers::{
    Browser, Phone, RedisServer, Service, Settings, both,
    events::{Events, poll},
    eventually,
};

const PLACES: f64 = 20.0;
/// A quarter of them.
const SHARE: f64 = 5.0;
const DETACHED: &str = "scanlogin_detached_logins";
const ENDED: &str = "scanlogin_detached_ended_total";
const CANCELLED: &str = "scanlogin_logins_total{outcome=\"cancelled\"}";

/// Twenty places, confirmation, and any client address that a test wants.
fn crowded(settings: Settings) -> Settings {
    let settings = settings.with("MAX_WAITING", "20").with("CONFIRM", "required");
    settings.with("TRUSTED_PROXIES", "127.0.0.0/8")
}

async fn comes_to(service: &Service, series: &str, value: f64) {
    let what = format!("{series} is {value}");
    eventually(&what, || async { (service.metric(series).await == value).then_some(()) }).await;
}

/// A browser at this address, and its first message.
async fn browser_at(service: &Service, client: &str) -> (Browser, Value) {
    let headers = [("X-Forwarded-For", client)];
    // The place of the one before may not be free yet.
    let open =
        || async { Browser::open(service.address, "", Some("scanlogin.v1"), &headers).await.ok() };
    let mut browser = eventually("a place", open).await;
    let key = browser.message().await;
    (browser, key)
}

/// So many browsers of this address, each of which is cut off at once.
async fn crowd(service: &Service, client: &str, count: usize) -> Vec<Value> {
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push(browser_at(service, client).await.1);
    }
    comes_to(service, "scanlogin_waiting_sockets", 0.0).await;
    keys
}

fn text<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap_or_else(|| panic!("no {field} in {message}"))
}

/// What the browser of this login is told when it comes back.
async fn comes_back(service: &Service, key: &Value) -> String {
    let mut browser = Browser::resume(service.address, text(key, "resume")).await;
    let told = browser.message().await["type"].as_str().unwrap().to_owned();
    browser.leave(1001).await;
    told
}

/// Three logins of one address whose browsers are away: one waits, one is scanned, one approved.
async fn of_a_person(service: &Service, client: &str, user: &str) -> [(Value, &'static str); 3] {
    let phone = Phone::of(service.address, user);
    let [waiting, scanned, approved] = [
        browser_at(service, client).await.1,
        browser_at(service, client).await.1,
        browser_at(service, client).await.1,
    ];
    assert_eq!(phone.scan(text(&scanned, "key")).await.codes(), (200, 101));
    let claimed = phone.scan(text(&approved, "key")).await;
    let claim = json!({ "claim": claimed.text("claim") });
    assert_eq!(phone.post("/scan/confirm", &claim).await.codes(), (200, 100));
    [(waiting, "key"), (scanned, "scanned"), (approved, "token")]
}

/// Records and subscriptions in Redis.
async fn held_by(redis: &RedisServer) -> (usize, usize) {
    let channels: Vec<String> = redis.command(&["PUBSUB", "CHANNELS", "*scanlogin:l:*"]).await;
    let keys = redis.keys().await;
    (keys.iter().filter(|key| key.starts_with("scanlogin:l:")).count(), channels.len())
}

#[tokio::test]
async fn a_crowd_at_its_limit_cannot_end_another_address_s_detached_scanned_or_approved_login() {
    for (service, redis) in both(crowded).await {
        let person = of_a_person(&service, "198.51.100.7", "alice").await;
        comes_to(&service, DETACHED, 3.0).await;
        // One address has its share, however many come.
        let first = crowd(&service, "192.0.2.1", 60).await;
        comes_to(&service, ENDED, 60.0 - SHARE).await;
        comes_to(&service, DETACHED, 3.0 + SHARE).await;
        if let Some(redis) = &redis {
            eventually("nothing is left of the others", || async {
                (held_by(redis).await == (3 + SHARE as usize, 3 + SHARE as usize)).then_some(())
            })
            .await;
        }
        // Its own oldest have ended.
        assert_eq!(comes_back(&service, &first[54]).await, "expired");
        assert_eq!(comes_back(&service, &first[55]).await, "key");
        // Four of them take all places that there are, and go on.
        for client in ["192.0.2.2", "192.0.2.3", "2001:db8::1", "192.0.2.2", "2001:db8::2"] {
            crowd(&service, client, 12).await;
        }
        comes_to(&service, DETACHED, PLACES).await;
        // One of the first has come back from elsewhere; three are the person's.
        comes_to(&service, ENDED, 123.0 - PLACES).await;
        assert_eq!(service.metric(CANCELLED).await, 123.0 - PLACES);
        for (key, wanted) in &person {
            assert_eq!(comes_back(&service, key).await, *wanted);
        }
    }
}

#[tokio::test]
async fn what_is_scanned_never_makes_room_and_counts_all_the_same() {
    for (service, _redis) in both(crowded).await {
        // More than its share, and all of them scanned by somebody.
        let mut scanned = Vec::new();
        for number in 0..8 {
            let (_browser, key) = browser_at(&service, "192.0.2.1").await;
            let phone = Phone::of(service.address, &format!("user-{number}"));
            assert_eq!(phone.scan(text(&key, "key")).await.codes(), (200, 101));
            scanned.push(key);
        }
        comes_to(&service, DETACHED, 8.0).await;
        // One more that merely waits has no place, and nobody else's ends for it.
        let other = crowd(&service, "192.0.2.2", 1).await;
        let last = crowd(&service, "192.0.2.1", 1).await;
        comes_to(&service, ENDED, 1.0).await;
        comes_to(&service, DETACHED, 9.0).await;
        assert_eq!(comes_back(&service, &last[0]).await, "expired");
        assert_eq!(comes_back(&service, &other[0]).await, "key");
        for key in &scanned {
            assert_eq!(comes_back(&service, key).await, "scanned");
        }
    }
}

#[tokio::test]
async fn a_login_that_is_scanned_while_its_browser_is_away_makes_no_room_any_more() {
    for (service, _redis) in both(crowded).await {
        let keys = crowd(&service, "192.0.2.1", 5).await;
        let phone = Phone::of(service.address, "alice");
        assert_eq!(phone.scan(text(&keys[0], "key")).await.codes(), (200, 101));
        crowd(&service, "192.0.2.1", 5).await;
        comes_to(&service, ENDED, 5.0).await;
        assert_eq!(comes_back(&service, &keys[0]).await, "scanned");
        for key in &keys[1..] {
            assert_eq!(comes_back(&service, key).await, "expired");
        }
    }
}

#[tokio::test]
async fn a_login_that_is_resumed_leaves_its_place_at_whichever_instance_it_was() {
    let redis = RedisServer::start().await;
    let a = Service::start(crowded(Settings::redis(&redis))).await;
    let b = Service::start(crowded(Settings::redis(&redis))).await;
    let keys = crowd(&a, "192.0.2.1", 3).await;
    comes_to(&a, DETACHED, 3.0).await;
    let mut back = Vec::new();
    for (service, key) in [(&a, &keys[0]), (&b, &keys[1])] {
        let mut browser = Browser::resume(service.address, text(key, "resume")).await;
        assert_eq!(browser.message().await["key"], key["key"]);
        back.push(browser);
    }
    comes_to(&a, DETACHED, 1.0).await;
    assert_eq!(b.metric(DETACHED).await, 0.0);
    // Cut off again, each has a place where it was last, on the account of where it came from then.
    back.clear();
    comes_to(&a, DETACHED, 2.0).await;
    comes_to(&b, DETACHED, 1.0).await;
    crowd(&a, "127.0.0.1", 5).await;
    comes_to(&a, DETACHED, 1.0 + SHARE).await;
    comes_to(&a, ENDED, 1.0).await;
    // Whoever leaves for good has none.
    let (browser, _) = browser_at(&a, "192.0.2.9").await;
    browser.leave(1000).await;
    let (plain, _) = Browser::plain(a.address).await;
    drop(plain);
    comes_to(&a, CANCELLED, 3.0).await;
    assert_eq!(a.metric(DETACHED).await, 1.0 + SHARE);
    assert_eq!(comes_back(&b, &keys[0]).await, "expired");
    assert_eq!(comes_back(&b, &keys[2]).await, "key", "it never came from there");
    // A drain does not wait for who is away.
    a.drained().await;
}

#[tokio::test]
async fn places_are_free_again_when_their_logins_end_by_themselves() {
    for (service, _redis) in
        both(|settings| crowded(settings).with("WAIT_SECONDS", "2").with("ROTATE_SECONDS", "0"))
            .await
    {
        crowd(&service, "192.0.2.1", 4).await;
        comes_to(&service, "scanlogin_logins_total{outcome=\"expired\"}", 4.0).await;
        comes_to(&service, DETACHED, 0.0).await;
        assert_eq!(service.metric(ENDED).await, 0.0);
    }
}

#[tokio::test]
async fn streams_and_polls_that_end_take_places_as_sockets_do() {
    for (service, redis) in both(crowded).await {
        let at = service.address;
        for _ in 0..10 {
            drop(Events::new(at).await);
            assert_eq!(poll(at, &json!({})).await.status, 200);
        }
        comes_to(&service, DETACHED, SHARE).await;
        comes_to(&service, ENDED, 20.0 - SHARE).await;
        if let Some(redis) = &redis {
            assert_eq!(held_by(redis).await.0, SHARE as usize);
        }
        // Whoever goes on polling is among the last that came, and keeps its login beside a crowd of
        // its own address.
        let first = poll(at, &json!({})).await;
        let key = &first.body["frames"][0];
        for _ in 0..6 {
            for _ in 0..3 {
                poll(at, &json!({})).await;
            }
            let again = poll(at, &json!({ "resume": key["resume"] })).await;
            assert_eq!(again.body["frames"][0]["key"], key["key"]);
        }
        comes_to(&service, DETACHED, SHARE).await;
    }
}

#[tokio::test]
async fn hundreds_that_are_cut_off_in_one_moment_leave_what_has_places() {
    let redis = RedisServer::start().await;
    let settings = crowded(Settings::redis(&redis)).with("MAX_WAITING", "400");
    let service = Service::start(settings).await;
    let mut browsers = Vec::new();
    let mut by_client: HashMap<String, Vec<Value>> = HashMap::new();
    for number in 0..400 {
        // Half of them of one address, the others of an address each.
        let client = match number % 2 {
            0 => "192.0.2.1".to_owned(),
            _ => format!("198.51.{}.{}", number / 200, number % 200 + 1),
        };
        let (browser, key) = browser_at(&service, &client).await;
        browsers.push(browser);
        by_client.entry(client).or_default().push(key);
    }
    drop(browsers);
    comes_to(&service, "scanlogin_waiting_sockets", 0.0).await;
    comes_to(&service, ENDED, 100.0).await;
    comes_to(&service, DETACHED, 300.0).await;
    eventually("Redis holds no more", || async {
        (held_by(&redis).await == (300, 300)).then_some(())
    })
    .await;
    for (client, keys) in by_client.iter().filter(|(client, _)| *client != "192.0.2.1").take(20) {
        assert_eq!(comes_back(&service, &keys[0]).await, "key", "{client}");
    }
}
