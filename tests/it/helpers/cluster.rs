//! A Redis Cluster: three primaries, a replica each.

use std::process::{Command, Stdio};

use super::{RedisServer, eventually, free_port};

pub(crate) struct Cluster {
    pub(crate) servers: Vec<RedisServer>,
}

/// A node as `CLUSTER NODES` tells of it.
#[derive(Clone, Debug)]
pub(crate) struct ClusterNode {
    pub(crate) id: String,
    pub(crate) port: u16,
    pub(crate) is_primary: bool,
    pub(crate) is_failed: bool,
    pub(crate) slots: Vec<(u16, u16)>,
}

impl ClusterNode {
    pub(crate) fn serves(&self, slot: u16) -> bool {
        self.slots.iter().any(|(from, to)| (*from..=*to).contains(&slot))
    }
}

impl Cluster {
    /// Starts six nodes and joins them.
    pub(crate) async fn start() -> Self {
        let mut servers = Vec::new();
        for _ in 0..6 {
            // The bus has a port of its own: the default, 10,000 above, may not exist.
            let bus = free_port().to_string();
            let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"];
            let options =
                [&options[..], &["--cluster-port", &bus, "--repl-diskless-sync-delay", "0"]]
                    .concat();
            servers.push(RedisServer::with(&options).await);
        }
        let nodes = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(nodes);
        create.args(["--cluster-replicas", "1", "--cluster-yes"]);
        create.stdout(Stdio::null()).stdin(Stdio::null());
        let status = tokio::task::spawn_blocking(move || create.status()).await;
        assert!(status.expect("a thread").expect("redis-cli is installed").success());
        let cluster = Self { servers };
        for server in &cluster.servers {
            eventually("all nodes agree", || async {
                let info: String = server.command(&["CLUSTER", "INFO"]).await;
                let nodes = cluster.nodes_of(server).await;
                let replicas = nodes.iter().filter(|node| !node.is_primary).count();
                (info.contains("cluster_state:ok") && replicas == 3).then_some(())
            })
            .await;
        }
        for node in cluster.nodes_of(&cluster.servers[0]).await {
            if !node.is_primary {
                eventually("the replica is in sync", || async {
                    let info: String =
                        cluster.server(node.port).command(&["INFO", "replication"]).await;
                    info.contains("master_link_status:up").then_some(())
                })
                .await;
            }
        }
        cluster
    }

    pub(crate) fn url(&self) -> String {
        let nodes = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        format!("redis+cluster://{}", nodes.collect::<Vec<_>>().join(","))
    }

    pub(crate) fn server(&self, port: u16) -> &RedisServer {
        self.servers.iter().find(|server| server.port == port).expect("one of ours")
    }

    pub(crate) fn server_mut(&mut self, port: u16) -> &mut RedisServer {
        self.servers.iter_mut().find(|server| server.port == port).expect("one of ours")
    }

    /// The map as this server knows it.
    pub(crate) async fn nodes_of(&self, server: &RedisServer) -> Vec<ClusterNode> {
        let text: String = server.command(&["CLUSTER", "NODES"]).await;
        text.lines().filter_map(parse).collect()
    }

    /// The primary of this slot, as this server knows it.
    pub(crate) async fn primary_of(&self, slot: u16, seen_by: &RedisServer) -> ClusterNode {
        let nodes = self.nodes_of(seen_by).await;
        let serves = |node: &ClusterNode| node.is_primary && !node.is_failed && node.serves(slot);
        nodes.into_iter().find(serves).expect("somebody serves it")
    }
}

fn parse(line: &str) -> Option<ClusterNode> {
    let words: Vec<&str> = line.split(' ').collect();
    let port = words.get(1)?.split('@').next()?.rsplit_once(':')?.1.parse().ok()?;
    let slots = words.get(8..).unwrap_or_default().iter().filter_map(|word| {
        let (from, to) = word.split_once('-').unwrap_or((word, word));
        Some((from.parse().ok()?, to.parse().ok()?))
    });
    Some(ClusterNode {
        id: words[0].into(),
        port,
        is_primary: words[2].contains("master"),
        is_failed: words[2].contains("fail"),
        slots: slots.collect(),
    })
}
