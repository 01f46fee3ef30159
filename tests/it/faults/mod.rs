//! No login lost: whatever dies meanwhile, a browser that waits gets its token or a clear word.
//!
//! Each file is about one thing that dies; `history` mixes them at random and checks the rules.

mod access;
mod addresses;
mod browsers_line;
mod cluster;
mod crash;
mod deadline;
mod drain;
mod forgotten;
mod history;
mod instance;
mod late_resume;
mod mechanisms;
mod redis_dies;
mod rolling;
mod script;
mod sentinel;
mod store_away;
mod storm;

use std::net::SocketAddr;

use scanlogin::app::Options;
use serde_json::{Value, json};

use crate::helpers::{
    Answer, Browser, Closed, Phone, RedisServer, Service, Settings, eventually, proxy::Proxy,
};

/// A browser that waits for the user of its number.
struct Waiter {
    browser: Browser,
    json: bool,
    key: String,
    resume: String,
    user: String,
}

impl Waiter {
    async fn open(address: SocketAddr, json: bool, user: &str) -> Self {
        let user = user.to_owned();
        if json {
            let (browser, message) = Browser::json(address).await;
            let text = |name: &str| message[name].as_str().expect("a text").to_owned();
            Self { browser, json, key: text("key"), resume: text("resume"), user }
        } else {
            let (browser, key) = Browser::plain(address).await;
            Self { browser, json, key, resume: String::new(), user }
        }
    }

    /// So many, of both protocols in turn.
    async fn some(address: SocketAddr, count: usize) -> Vec<Self> {
        let mut waiters = Vec::new();
        for number in 0..count {
            waiters.push(Self::open(address, number % 2 == 0, &format!("user-{number}")).await);
        }
        waiters
    }

    /// Its phone scans at `address`, and asks again while it is told to come back; then 100.
    async fn is_scanned(&self, address: SocketAddr) -> Answer {
        scanned(&Phone::of(address, &self.user), &self.key).await
    }

    /// The token comes next, is acknowledged, and the socket ends well.
    async fn gets_its_token(&mut self) -> String {
        let token = if self.json {
            let token = self.browser.message_of("token").await;
            assert_eq!(token["user"], self.user);
            self.browser.say(&json!({ "type": "received" })).await;
            token["token"].as_str().expect("a text").to_owned()
        } else {
            self.browser.text().await
        };
        assert_eq!(self.browser.closed().await, Closed::Code(1000));
        assert_eq!(subject(&token), self.user);
        token
    }
}

/// Whom a token is for.
fn subject(token: &str) -> String {
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(token).expect("a JWT").claims;
    claims["sub"].as_str().expect("a subject").to_owned()
}

/// Scans as an app does: what says "come back" (-6) or is not known yet (-1, while records are made
/// again) is asked again.
async fn scanned(phone: &Phone, key: &str) -> Answer {
    eventually("the phone is told 100", || async {
        let answer = phone.scan(key).await;
        match answer.codes() {
            (200, 100) => Some(answer),
            (503, -6) | (404, -1) => None,
            other => panic!("{other:?}: {}", answer.body),
        }
    })
    .await
}

/// All are scanned at `phones`, and all get their tokens.
async fn all_are_logged_in(waiters: Vec<Waiter>, phones: SocketAddr) {
    let logins = waiters.into_iter().map(|mut waiter| async move {
        waiter.is_scanned(phones).await;
        waiter.gets_its_token().await;
    });
    futures_util::future::join_all(logins).await;
}

/// Two instances on one Redis: one goes through a proxy, the other does not.
struct Pair {
    through: Service,
    direct: Service,
    proxy: Proxy,
    redis: RedisServer,
}

impl Pair {
    async fn start(options: Options) -> Self {
        let redis = RedisServer::start().await;
        let proxy = Proxy::to_port(redis.port);
        let settings = Settings::redis(&redis);
        let direct = Service::with_options(settings.clone(), options.clone()).await;
        let settings = settings.with("REDIS_URL", &proxy.redis_url());
        let through = Service::with_options(settings, options).await;
        Self { through, direct, proxy, redis }
    }

    /// How many nodes the instance behind the proxy listens to.
    async fn connected(&self) -> f64 {
        feed_connected(&self.through, self.proxy.address.port()).await
    }
}

async fn feed_connected(service: &Service, port: u16) -> f64 {
    service.metric(&format!("scanlogin_feed_connected{{node=\"127.0.0.1:{port}\"}}")).await
}
