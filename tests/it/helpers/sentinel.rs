//! One primary, two replicas, three Sentinels.

use std::{
    collections::HashMap,
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use super::{RedisServer, eventually, eventually_within, free_port};

pub(crate) struct Sentinels {
    pub(crate) servers: Vec<RedisServer>,
    ports: Vec<u16>,
    children: Vec<Child>,
    directory: TempDir,
}

impl Sentinels {
    /// Starts them, and waits until all Sentinels know each other and both replicas.
    pub(crate) async fn start() -> Self {
        let primary = RedisServer::start().await;
        let replica_of = format!("127.0.0.1 {}", primary.port);
        let options = ["--replicaof", &replica_of, "--repl-diskless-sync-delay", "0"];
        // One word each on a command line: `--replicaof host port`.
        let (host, port) = options[1].split_once(' ').expect("two words");
        let options = [options[0], host, port, options[2], options[3]];
        let mut servers = vec![primary];
        for _ in 0..2 {
            servers.push(RedisServer::with(&options).await);
        }
        let directory = tempfile::tempdir().expect("a directory");
        let (mut ports, mut children) = (Vec::new(), Vec::new());
        for number in 0..3 {
            let (port, child) = spawn(&directory, number, servers[0].port);
            children.push(child);
            ports.push(port);
        }
        let sentinels = Self { servers, ports, children, directory };
        for port in &sentinels.ports {
            eventually("the Sentinels know each other", || async {
                let facts = facts(*port).await?;
                let is = |name: &str, value: &str| facts.get(name).is_some_and(|v| v == value);
                (is("num-slaves", "2") && is("num-other-sentinels", "2")).then_some(())
            })
            .await;
        }
        sentinels
    }

    /// Two that know nothing of each other: the first names a primary that is dead, as one does that
    /// missed a failover or never came to the end of its own.
    pub(crate) async fn at_odds() -> Self {
        let servers = vec![RedisServer::start().await];
        let directory = tempfile::tempdir().expect("a directory");
        let primaries = [free_port(), servers[0].port].into_iter().enumerate();
        let spawned = primaries.map(|(number, primary)| spawn(&directory, number, primary));
        let (ports, children): (Vec<_>, _) = spawned.unzip();
        let sentinels = Self { servers, ports, children, directory };
        for port in &sentinels.ports {
            eventually("the Sentinel answers", || facts(*port)).await;
        }
        sentinels
    }

    pub(crate) fn url(&self) -> String {
        let nodes: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/main", nodes.join(","))
    }

    pub(crate) fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Runs one command on each Sentinel.
    pub(crate) async fn command(&self, words: &[&str]) {
        for port in &self.ports {
            let mut connection = connect(*port).await.expect("a Sentinel");
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]);
            command.query_async::<()>(&mut connection).await.expect("the command works");
        }
    }

    /// The port of the primary, as the first Sentinel knows it.
    pub(crate) async fn primary(&self) -> u16 {
        let mut connection = connect(self.ports[0]).await.expect("a Sentinel");
        let (_, port): (String, u16) = redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg("main")
            .query_async(&mut connection)
            .await
            .expect("it knows");
        port
    }

    /// Asks for a failover, as an operator does before maintenance, and waits until no Sentinel is
    /// busy with it any more: one whose chosen primary dies before it has moved the other replicas never
    /// ends that failover, and names the dead one for ever (Redis 7.0, `sentinelFailoverDetectEnd`).
    /// Asked for again where it was refused (no replica is known as good yet) or given up: Sentinels
    /// try again by themselves only where the primary is dead.
    pub(crate) async fn fail_over(&self) {
        let old = self.primary().await;
        eventually_within(Duration::from_secs(60), "a failover that was asked for", || async {
            if self.primary().await != old {
                return Some(());
            }
            let mut connection = connect(self.ports[0]).await?;
            let mut ask = redis::cmd("SENTINEL");
            let _ = ask.arg("FAILOVER").arg("main").query_async::<()>(&mut connection).await;
            None
        })
        .await;
        let new = self.primary().await.to_string();
        for port in &self.ports {
            eventually_within(Duration::from_secs(60), "the end of that failover", || async {
                let facts = facts(*port).await?;
                (facts["port"] == new && facts["flags"] == "master").then_some(())
            })
            .await;
        }
    }

    /// Waits until the primary is another one than this. Sentinels that found no majority for one
    /// of them wait twice their failover-timeout (8 s) before they vote again, as after a failover.
    pub(crate) async fn moved_from(&self, old: u16) -> u16 {
        let patience = Duration::from_secs(60);
        eventually_within(patience, "another server is the primary", || async {
            let port = self.primary().await;
            (port != old).then_some(port)
        })
        .await
    }
}

/// Starts one that needs another one's word to do anything.
fn spawn(directory: &TempDir, number: usize, primary: u16) -> (u16, Child) {
    let port = free_port();
    let file = directory.path().join(format!("sentinel-{number}.conf"));
    let config = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 4000\n\
         sentinel parallel-syncs main 2\n"
    );
    std::fs::write(&file, config).expect("a file");
    let child = Command::new("redis-server")
        .arg(&file)
        .arg("--sentinel")
        .arg("--logfile")
        .arg(directory.path().join(format!("sentinel-{number}.log")))
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: tests/run does it");
    (port, child)
}

/// What the Sentinel on this port knows of the primary.
async fn facts(port: u16) -> Option<HashMap<String, String>> {
    let mut connection = connect(port).await?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("MASTER").arg("main").query_async(&mut connection).await.ok()
}

async fn connect(port: u16) -> Option<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).expect("a URL");
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_response_timeout(Some(Duration::from_secs(2)));
    client.get_multiplexed_async_connection_with_config(&config).await.ok()
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            // Why they did not move is in their logs, and nowhere else.
            for number in 0..self.ports.len() {
                let log = self.directory.path().join(format!("sentinel-{number}.log"));
                let log = std::fs::read_to_string(log).unwrap_or_default();
                eprintln!("Sentinel {number} on port {}:\n{log}", self.ports[number]);
            }
        }
    }
}
