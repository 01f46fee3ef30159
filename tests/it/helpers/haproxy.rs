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
    /// Starts one with the time-outs of docs/operations.md and these lines of its `listen` section:
    /// what it says about a client is the test's subject.
    pub(crate) async fn start(upstreams: &[SocketAddr], lines: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let path = directory.path().join("haproxy.cfg");
        std::fs::write(&path, config(address, upstreams, lines)).expect("a file");
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
