//! What is attacked: one Redis, two instances as processes, a proxy on every line; and the attacks.

use std::{net::SocketAddr, sync::Mutex, time::Duration};

use tokio::time::{Instant, sleep};

use super::dice::Dice;
use crate::helpers::{Process, RedisServer, Settings, free_port, proxy::Proxy};

/// How long a login waits, and how long it can be collected.
pub(super) const WAIT: Duration = Duration::from_secs(8);
pub(super) const COLLECT: Duration = Duration::from_secs(15);

/// An instance, its line to Redis, its line to browsers.
pub(super) struct Node {
    settings: Settings,
    pub(super) process: Option<Process>,
    pub(super) address: SocketAddr,
    to_redis: Proxy,
    pub(super) from_browsers: Proxy,
}

impl Node {
    async fn start(redis: &RedisServer) -> Self {
        let to_redis = Proxy::to_port(redis.port);
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let settings = Settings::redis(redis)
            .with("REDIS_URL", &to_redis.redis_url())
            .with("LISTEN", &address.to_string())
            .with("WAIT_SECONDS", &WAIT.as_secs().to_string())
            .with("RESUME_SECONDS", &COLLECT.as_secs().to_string())
            .with("ROTATE_SECONDS", "5")
            .with("DRAIN_SECONDS", "1")
            .with("LOG", "info");
        let process = Process::start(settings.clone()).await;
        let from_browsers = Proxy::to(address);
        Self { settings, process: Some(process), address, to_redis, from_browsers }
    }
}

/// One thing that was done, and from when to when.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) from: Duration,
    pub(super) to: Duration,
    /// Redis came back empty: writes that it had acknowledged are lost.
    pub(super) store_lost: bool,
    /// An instance ended.
    pub(super) instance_lost: bool,
    /// Lines between browsers and an instance were cut, or carried nothing for a while: what a
    /// browser said then may not have arrived.
    pub(super) browsers_lost: bool,
}

/// How often this process sees whether it is still running.
const PULSE: Duration = Duration::from_millis(50);

/// Notes when this process, or the machine, stood still for longer than this: it may explain a delay.
pub(super) const STARVED: Duration = Duration::from_millis(800);

/// From when to when that was. Runs for ever.
pub(super) async fn feel_the_pulse(start: Instant, starved: &Mutex<Vec<(Duration, Duration)>>) {
    loop {
        let before = start.elapsed();
        sleep(PULSE).await;
        let now = start.elapsed();
        if now - before > STARVED {
            starved.lock().expect("never poisoned").push((before, now));
        }
    }
}

pub(super) struct World {
    pub(super) redis: RedisServer,
    pub(super) nodes: Vec<Node>,
    start: Instant,
}

impl World {
    pub(super) async fn start() -> Self {
        let redis = RedisServer::start().await;
        let mut nodes = Vec::new();
        for _ in 0..2 {
            nodes.push(Node::start(&redis).await);
        }
        Self { redis, nodes, start: Instant::now() }
    }

    pub(super) fn started(&self) -> Instant {
        self.start
    }

    /// Does harm at random until `end`, then heals everything.
    pub(super) async fn suffer(&mut self, dice: &mut Dice, end: Duration) -> Vec<Fault> {
        let mut faults = Vec::new();
        while self.start.elapsed() < end {
            sleep(dice.millis(50, 900)).await;
            faults.push(self.one(dice).await);
        }
        for node in &self.nodes {
            node.to_redis.restore();
            node.from_browsers.restore();
        }
        faults
    }

    async fn one(&mut self, dice: &mut Dice) -> Fault {
        let from = self.start.elapsed();
        let (which, kind) = (dice.below(2) as usize, dice.below(13));
        let node = &mut self.nodes[which];
        let (mut store_lost, mut instance_lost) = (false, false);
        let what = match kind {
            0 => {
                node.from_browsers.cut();
                "browsers cut off"
            }
            1 => {
                node.from_browsers.refuse();
                sleep(dice.millis(100, 1500)).await;
                node.from_browsers.restore();
                "browsers refused"
            }
            2 => {
                node.to_redis.cut();
                "Redis connections cut"
            }
            3 => {
                node.to_redis.hold_present();
                "Redis connections half-open for ever"
            }
            4 => {
                node.to_redis.hold();
                sleep(dice.millis(100, 3000)).await;
                node.to_redis.restore();
                "Redis connections held for a while"
            }
            5 => {
                node.to_redis.delay(dice.millis(20, 900));
                sleep(dice.millis(300, 2000)).await;
                node.to_redis.restore();
                "Redis slow"
            }
            6 => {
                self.kill_clients("pubsub").await;
                "subscriptions killed"
            }
            7 => {
                self.kill_clients("normal").await;
                "commands killed"
            }
            8 => {
                store_lost = true;
                let away = dice.millis(50, 1500);
                self.redis.restart_empty(away).await;
                "Redis restarted empty"
            }
            9 => {
                instance_lost = true;
                drop(node.process.take());
                sleep(dice.millis(50, 800)).await;
                node.process = Some(Process::start(node.settings.clone()).await);
                "instance killed and started again"
            }
            10 => {
                node.from_browsers.hold();
                // Longer, often, than `received` is waited for.
                sleep(dice.millis(100, 4000)).await;
                node.from_browsers.restore();
                "browsers held for a while"
            }
            11 => {
                node.from_browsers.delay(dice.millis(20, 300));
                sleep(dice.millis(300, 2000)).await;
                node.from_browsers.restore();
                "browsers slow"
            }
            _ => {
                instance_lost = true;
                let mut process = node.process.take().expect("it runs");
                process.terminate();
                let gone = tokio::task::spawn_blocking(move || process.child.wait()).await;
                assert!(gone.expect("a thread").expect("it ends").success(), "a drain fails");
                node.process = Some(Process::start(node.settings.clone()).await);
                "instance drained and started again"
            }
        };
        let what = format!("{what} (instance {which})");
        let browsers_lost = matches!(kind, 0 | 1 | 10 | 11);
        Fault { what, from, to: self.start.elapsed(), store_lost, instance_lost, browsers_lost }
    }

    async fn kill_clients(&self, kind: &str) {
        let mut connection = self.redis.connection().await;
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg(kind).arg("SKIPME").arg("yes");
        let _: i64 = kill.query_async(&mut connection).await.expect("it kills");
    }
}
