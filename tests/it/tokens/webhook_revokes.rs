//! What the webhook is told of tokens that nobody got.

use reqwest::Method;
use serde_json::json;

use super::webhook::{called, hooked, maker, token_for};
use crate::helpers::{
    Browser, Closed, Phone, Process, RedisServer, Service, Settings, both, eventually,
    phone::answer,
    upstream::{Gate, Heard, Reply, Upstream},
};

fn events(heard: &[Heard], event: &str) -> Vec<Heard> {
    heard.iter().filter(|one| one.json()["event"] == event).cloned().collect()
}

async fn revoked(upstream: &Upstream, times: usize) -> Vec<Heard> {
    eventually("the webhook is told", || async {
        Some(events(&upstream.heard(), "revoked")).filter(|events| events.len() >= times)
    })
    .await
}

/// A JSON browser to which this user's token was pushed.
async fn pushed(address: std::net::SocketAddr, user: &str) -> Browser {
    let (mut browser, key) = Browser::json(address).await;
    let scanned = Phone::of(address, user).scan(key["key"].as_str().unwrap()).await;
    assert_eq!(scanned.codes(), (200, 100));
    browser.message_of("token").await;
    browser
}

#[tokio::test]
async fn a_token_that_nobody_collects_is_revoked_and_one_that_is_delivered_is_not() {
    let change = |s: Settings, upstream: &Upstream| hooked(s, upstream).with("RESUME_SECONDS", "1");
    let redis = RedisServer::start().await;
    let run = async |settings: Settings| {
        let upstream = maker().await;
        // The first attempt to tell fails.
        upstream.answer(|heard| match &heard.json()["event"] {
            event if event == "revoked" => Reply::Status(500),
            _ => Reply::Json(json!({ "token": token_for(heard) })),
        });
        let service = Service::start(change(settings, &upstream)).await;
        let mut delivered = pushed(service.address, "alice").await;
        delivered.say(&json!({ "type": "received" })).await;
        assert_eq!(delivered.closed().await, Closed::Code(1000));
        drop(pushed(service.address, "bob").await);
        let failed = revoked(&upstream, 1).await;
        upstream.answer(|_| Reply::Status(204));
        let told = revoked(&upstream, 2).await;
        let ok = "scanlogin_webhook_requests_total{event=\"revoked\",result=\"ok\"}";
        eventually("it is counted", || async { (service.metric(ok).await == 1.0).then_some(()) })
            .await;
        eventually("the queue is empty", || async {
            (service.metric("scanlogin_webhook_queue").await == 0.0).then_some(())
        })
        .await;
        let logins = events(&upstream.heard(), "login");
        for one in told.iter().chain(&failed) {
            assert_eq!(
                (&one.json()["user"], &one.json()["id"]),
                (&json!("bob"), &logins[1].json()["id"])
            );
            let key = logins[1].header("Idempotency-Key");
            assert_eq!(one.header("Idempotency-Key"), format!("{key}.revoked"));
        }
        assert_eq!(events(&upstream.heard(), "revoked").len(), 2, "told once, after one failure");
    };
    tokio::join!(run(Settings::embedded()), run(Settings::redis(&redis)));
}

#[tokio::test]
async fn a_login_that_ends_while_its_token_is_made_is_revoked_at_once() {
    let upstream = maker().await;
    for confirm in ["off", "required"] {
        let change = |settings| hooked(settings, &upstream).with("CONFIRM", confirm);
        for (service, _redis) in both(change).await {
            let (before, told) = (upstream.heard().len(), revoked(&upstream, 0).await.len());
            let gate = Gate::closed();
            upstream.answer({
                let gate = gate.clone();
                move |heard| match &heard.json()["event"] {
                    event if event == "login" => {
                        let made = Reply::Json(json!({ "token": token_for(heard) }));
                        Reply::Held(gate.clone(), Box::new(made))
                    }
                    _ => Reply::Status(200),
                }
            });
            let (mut browser, key) = Browser::json(service.address).await;
            let phone = Phone::of(service.address, "alice");
            let key = key["key"].as_str().unwrap().to_owned();
            let call = tokio::spawn(async move { super::webhook::approve(&phone, &key).await });
            called(&upstream, before + 1).await;
            browser.say(&json!({ "type": "cancel" })).await;
            loop {
                if let Err(closed) = browser.next().await {
                    assert_eq!(closed, Closed::Code(1000));
                    break;
                }
            }
            let cancelled = "scanlogin_logins_total{outcome=\"cancelled\"}";
            eventually("the login is over", || async {
                (service.metric(cancelled).await == 1.0).then_some(())
            })
            .await;
            gate.open();
            assert_eq!(call.await.unwrap().codes(), (404, -1));
            // Long before the time in which it could have been collected is over.
            let events = revoked(&upstream, told + 1).await;
            let login = &upstream.heard()[before];
            assert_eq!(events[told].json()["id"], login.json()["id"]);
        }
    }
}

#[tokio::test]
async fn what_an_instance_that_dies_leaves_is_told_by_another() {
    let redis = RedisServer::start().await;
    let upstream = maker().await;
    let settings = hooked(Settings::redis(&redis), &upstream).with("RESUME_SECONDS", "1");
    let gate = Gate::closed();
    upstream.answer({
        let gate = gate.clone();
        move |heard| match &heard.json()["event"] {
            event if event == "login" => {
                let made = Reply::Json(json!({ "token": token_for(heard) }));
                let wait = heard.json()["user"] == "bob";
                if wait { Reply::Held(gate.clone(), Box::new(made)) } else { made }
            }
            _ => Reply::Status(200),
        }
    });
    let mut first =
        Process::start(settings.clone().with("WAIT_SECONDS", "8").with("ROTATE_SECONDS", "0"))
            .await;
    // One whose token was pushed, and one whose token is being made.
    let pushed = pushed(first.address, "alice").await;
    let (_waiting, key) = Browser::plain(first.address).await;
    let address = first.address;
    let call = tokio::spawn(async move {
        let request = Phone::of(address, "bob").request(Method::POST, "/scan");
        let _ = request.json(&json!({ "key": key })).send().await;
    });
    called(&upstream, 2).await;
    first.kill();
    gate.open();
    call.await.unwrap();
    drop(pushed);
    let _second = Service::start(settings).await;
    let told = revoked(&upstream, 2).await;
    let mut users: Vec<_> = told.iter().map(|one| one.json()["user"].to_string()).collect();
    users.sort();
    assert_eq!(users, ["\"alice\"", "\"bob\""]);
}

#[tokio::test]
async fn a_session_that_the_user_or_the_operator_ends_is_revoked() {
    for (settings, _redis) in [(Settings::embedded(), None), {
        let redis = RedisServer::start().await;
        (Settings::redis(&redis), Some(redis))
    }] {
        let upstream = maker().await;
        let service = Service::start(hooked(settings, &upstream)).await;
        upstream.answer(|heard| match &heard.json()["event"] {
            event if event == "revoked" => Reply::Status(204),
            _ => Reply::Json(json!({ "token": token_for(heard) })),
        });
        let alice = Phone::of(service.address, "alice");
        for (times, by_operator) in [(1, false), (2, true)] {
            let mut browser = pushed(service.address, "alice").await;
            browser.say(&json!({ "type": "received" })).await;
            assert_eq!(browser.closed().await, Closed::Code(1000));
            eventually("it is written down", || async {
                let seen = answer(alice.request(Method::GET, "/weblogin")).await;
                (seen.status == 200).then_some(())
            })
            .await;
            if by_operator {
                let url = format!("http://{}/revoke", service.admin_address);
                let request = reqwest::Client::new().post(url).json(&json!({ "user": "alice" }));
                assert_eq!(request.send().await.expect("an answer").status(), 200);
            } else {
                let ended = answer(alice.request(Method::DELETE, "/weblogin")).await;
                assert_eq!(ended.codes(), (200, 100));
            }
            let told = revoked(&upstream, times).await;
            let login = &events(&upstream.heard(), "login")[times - 1];
            assert_eq!(told[times - 1].json()["id"], login.json()["id"]);
            assert_eq!(told[times - 1].json()["user"], "alice");
        }
    }
}
