//! Two instances behind nginx are replaced one after the other under load.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::helpers::{
    Browser, Closed, Phone, Process, RedisServer, Settings, eventually, free_port,
};

const LOAD: Duration = Duration::from_secs(15);
const LOGINS_PER_SECOND: u64 = 50;

/// A real nginx without stickiness, as in the README.
struct Nginx {
    address: SocketAddr,
    child: Child,
    _directory: TempDir,
}

impl Nginx {
    async fn before(upstreams: &[SocketAddr]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let here = directory.path().display().to_string();
        let servers: String =
            upstreams.iter().map(|at| format!("server {at} max_fails=0;\n")).collect();
        let config = format!(
            "daemon off; worker_processes 1; pid {here}/pid; error_log {here}/error.log;\n\
             events {{ worker_connections 8192; }}\n\
             http {{ access_log off;\n\
             client_body_temp_path {here}/1; proxy_temp_path {here}/2; fastcgi_temp_path {here}/3;\n\
             uwsgi_temp_path {here}/4; scgi_temp_path {here}/5;\n\
             map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n\
             upstream scanlogin {{ {servers} }}\n\
             server {{ listen {address};\n\
             location / {{ proxy_pass http://scanlogin; proxy_http_version 1.1;\n\
             proxy_set_header Host $http_host; proxy_read_timeout 120s;\n\
             proxy_set_header Upgrade $http_upgrade;\n\
             proxy_set_header Connection $connection_upgrade;\n\
             proxy_next_upstream error timeout http_503 non_idempotent; }} }} }}\n"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, config).expect("a file");
        let child = Command::new("nginx")
            .args(["-e", &format!("{here}/error.log"), "-p", &here, "-c"])
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()
            .expect("nginx is installed: tests/run does it");
        let nginx = Self { address, child, _directory: directory };
        eventually("nginx listens", || async {
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers go with their master only where it is asked, not killed.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// One login through nginx: whether its phone was told 100, after which nothing may be lost.
async fn login(number: u64, at: SocketAddr, http: reqwest::Client) -> bool {
    let protocol = Some("scanlogin.v1");
    let mut browser =
        eventually("a socket", || async { Browser::open(at, "", protocol, &[]).await.ok() }).await;
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
                let mut browser = Browser::open(at, "?resume=1", protocol, &[]).await.ok()?;
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
            .with("DRAIN_SECONDS", "2");
        nodes.push((Process::start(settings.clone()).await, settings));
    }
    let addresses: Vec<_> = nodes.iter().map(|(process, _)| process.address).collect();
    let nginx = Nginx::before(&addresses).await;
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
