//! A real HAProxy of the test's own, in front of several instances, without stickiness.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{eventually, free_port};

pub(crate) struct HaProxy {
    pub(crate) address: SocketAddr,
    child: Child,
    _directory: TempDir,
}

impl HaProxy {
    /// Starts one as docs/operations.md has it, but for addresses and the health check's port.
    pub(crate) async fn documented(upstreams: [(SocketAddr, SocketAddr); 2]) -> Self {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
        let page = std::fs::read_to_string(page).expect("a file");
        let (_, text) = page.split_once("**HAProxy**").expect("its section");
        let (text, _) = text.split_once("**AWS ALB**").expect("the next section");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut text = text.replace("bind :8080", &format!("bind {address}"));
        for (name, (public, admin)) in ["10.0.0.11", "10.0.0.12"].iter().zip(upstreams) {
            let documented = format!("{name}:8080 check port 8081");
            assert!(text.contains(&documented), "{documented} is not in docs/operations.md");
            text = text.replace(&documented, &format!("{public} check port {}", admin.port()));
        }
        Self::run(address, &format!("global\n    maxconn 4096\n    nbthread 1\n{text}\n")).await
    }

    /// Starts one with the time-outs of docs/operations.md and these lines of its `listen` section:
    /// what it says about a client is the test's subject.
    pub(crate) async fn start(upstreams: &[SocketAddr], lines: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self::run(address, &config(address, upstreams, lines)).await
    }

    async fn run(address: SocketAddr, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("haproxy.cfg");
        std::fs::write(&path, config).expect("a file");
        // In the foreground and in one process, so that the child is all there is of it.
        let child = Command::new("haproxy")
            .args(["-q", "-db", "-f"])
            .arg(&path)
            .stderr(Stdio::inherit())
            .spawn()
            .expect("haproxy is installed: tests/run does it");
        eventually("haproxy listens", || async { TcpStream::connect(address).await.ok() }).await;
        Self { address, child, _directory: directory }
    }
}

fn config(address: SocketAddr, upstreams: &[SocketAddr], lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    let servers = upstreams.iter().enumerate();
    let servers: String =
        servers.map(|(number, at)| format!("    server s{number} {at}\n")).collect();
    format!(
        "global\n    maxconn 4096\n    nbthread 1\n\
         defaults\n    mode http\n    timeout connect 2s\n    timeout client 30s\n    \
         timeout http-request 5s\n    timeout server 30s\n    timeout tunnel 90s\n    \
         timeout client-fin 5s\n\
         listen public\n    bind {address}\n    balance leastconn\n{lines}{servers}"
    )
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
