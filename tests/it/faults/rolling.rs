//! Two instances behind nginx are replaced one after the other under load.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::helpers::{
    Browser, Closed, Phone, Process, RedisServer, Settings, eventually, free_port, nginx::Nginx,
    service::metric,
};

const LOAD: Duration = Duration::from_secs(30);
const LOGINS_PER_SECOND: u64 = 100;
/// Browsers come from so many addresses, each of which stays within the default limits.
const ADDRESSES: u64 = 20;

/// One login through nginx: whether its phone was told 100, after which nothing may be lost.
async fn login(number: u64, at: SocketAddr, http: reqwest::Client) -> bool {
    let protocol = Some("scanlogin.v1");
    let from = format!("192.0.2.{}", number % ADDRESSES);
    let headers = [("X-Forwarded-For", from.as_str())];
    let mut browser =
        eventually("a socket", || async { Browser::open(at, "", protocol, &headers).await.ok() })
            .await;
    let Ok(first) = browser.next().await else { return false };
    let first: Value = serde_json::from_str(&first).expect("JSON");
    let key = first["key"].as_str().expect("a key").to_owned();
    let resume = first["resume"].as_str().expect("a secret").to_owned();
    let phone = Phone::of(at, &format!("user-{number}"));
    let scan = async {
        sleep(Duration::from_millis(number * 37 % 2000)).await;
        eventually("the phone is told 100", || async {
            let request = http.request(Method::POST, format!("http://{at}/scan"));
            let request = request.bearer_auth(&phone.token).json(&json!({ "key": key }));
            let answer = request.send().await.ok()?.json::<Value>().await.ok()?;
            (answer["code"] == 100).then(|| answer["claim"].as_str().expect("a claim").to_owned())
        })
        .await
    };
    let page = async {
        loop {
            match browser.next().await {
                Ok(text) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    assert_ne!(message["type"], "expired", "login {number}");
                    if message["type"] == "token" {
                        let said = browser.try_say(&json!({ "type": "received" })).await;
                        if said.is_ok() && browser.next().await == Err(Closed::Code(1000)) {
                            return;
                        }
                        // Nobody has confirmed it: it is asked for again.
                    } else {
                        continue;
                    }
                }
                Err(Closed::Code(1001 | 1011 | 1012) | Closed::Lost) => {}
                Err(other) => panic!("login {number}: {other:?}"),
            }
            sleep(Duration::from_millis(50 + number * 13 % 200)).await;
            browser = eventually("a socket again", || async {
                let mut browser = Browser::open(at, "?resume=1", protocol, &headers).await.ok()?;
                let words = json!({ "type": "resume", "resume": resume });
                browser.try_say(&words).await.ok()?;
                Some(browser)
            })
            .await;
        }
    };
    let (claim, ()) = tokio::join!(scan, page);
    eventually("it is delivered", || async {
        let request = http.request(Method::GET, format!("http://{at}/scan/outcome?wait=1"));
        let request = request.bearer_auth(&phone.token).header("Scanlogin-Claim", &claim);
        let answer = request.send().await.ok()?.json::<Value>().await.ok()?;
        (answer["state"] == "delivered").then_some(())
    })
    .await;
    true
}

#[tokio::test]
async fn a_rolling_restart_behind_nginx_under_load_loses_no_login() {
    let redis = RedisServer::start().await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let settings = Settings::redis(&redis)
            .with("LISTEN", &address.to_string())
            .with("TRUSTED_PROXIES", "127.0.0.1/32")
            .with("DRAIN_SECONDS", "2")
            .without("CONNECTS_PER_MINUTE")
            .without("SCANS_PER_MINUTE");
        nodes.push((Process::start(settings.clone()).await, settings));
    }
    let addresses: Vec<_> = nodes.iter().map(|(process, _)| process.address).collect();
    let nginx = Nginx::start(&addresses).await;
    let (start, at, http) = (Instant::now(), nginx.address, reqwest::Client::new());
    let count = LOAD.as_secs() * LOGINS_PER_SECOND;
    let logins = (0..count).map(|number| {
        let http = http.clone();
        async move {
            tokio::time::sleep_until(
                start + Duration::from_millis(number * 1000 / LOGINS_PER_SECOND),
            )
            .await;
            login(number, at, http).await
        }
    });
    let restarts = async {
        let mut number = 0;
        while start.elapsed() < LOAD {
            sleep(Duration::from_millis(700)).await;
            let (mut process, settings) = nodes.remove(0);
            let limited = "scanlogin_sockets_refused_total{reason=\"limited\"}";
            assert_eq!(metric(process.admin_address, limited).await, 0.0);
            process.terminate();
            let exit = tokio::task::spawn_blocking(move || process.child.wait()).await.unwrap();
            assert_eq!(exit.unwrap().code(), Some(0));
            nodes.push((Process::start(settings.clone()).await, settings));
            number += 1;
        }
        number
    };
    let (logins, restarts) = tokio::join!(join_all(logins), restarts);
    assert!(restarts >= 4, "{restarts} restarts");
    let told = logins.into_iter().filter(|told| *told).count() as u64;
    assert!(told > count * 9 / 10, "{told} of {count}");
}
