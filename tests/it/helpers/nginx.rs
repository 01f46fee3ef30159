//! A real nginx of the test's own, in front of several instances, without stickiness.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{eventually, free_port};

pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    child: Child,
    directory: TempDir,
}

impl Nginx {
    /// Starts one that hands each connection to the next of these, and appends to
    /// `X-Forwarded-For`.
    pub(crate) async fn start(upstreams: &[SocketAddr]) -> Self {
        let appends = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;";
        Self::start_with(upstreams, appends).await
    }

    /// The same with these directives of its `location`: what it says about a client is the test's
    /// subject.
    pub(crate) async fn start_with(upstreams: &[SocketAddr], directives: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let path = directory.path().join("nginx.conf");
        std::fs::write(&path, config(address, upstreams, directives)).expect("a file");
        let child = spawn(&directory);
        eventually("nginx listens", || async { TcpStream::connect(address).await.ok() }).await;
        Self { address, child, directory }
    }

    /// Starts one as docs/nginx.conf has it, but for names, ports and folders.
    pub(crate) async fn documented(upstreams: [SocketAddr; 2]) -> Self {
        let text = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/nginx.conf");
        let mut text = std::fs::read_to_string(text).expect("a file");
        let directory = tempfile::tempdir().expect("a directory");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = directory.path().display().to_string();
        for (documented, here) in [
            ("scanlogin-a:8080", upstreams[0].to_string()),
            ("scanlogin-b:8080", upstreams[1].to_string()),
            ("listen 8080", format!("listen {address}")),
            ("/tmp/", format!("{folder}/")),
            ("worker_processes auto;", "daemon off; master_process off;".into()),
            ("worker_rlimit_nofile 200000;", String::new()),
            ("access_log /dev/stdout scanlogin;", "access_log off;".into()),
            ("worker_connections 65536", "worker_connections 4096".into()),
        ] {
            assert!(text.contains(documented), "{documented} is not in docs/nginx.conf");
            text = text.replace(documented, &here);
        }
        std::fs::write(directory.path().join("nginx.conf"), text).expect("a file");
        let child = spawn(&directory);
        eventually("nginx listens", || async { TcpStream::connect(address).await.ok() }).await;
        Self { address, child, directory }
    }

    /// SIGKILL: all its connections end, on both sides.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it has ended");
    }

    /// Starts it again on the same port.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.directory);
    }
}

fn spawn(directory: &TempDir) -> Child {
    Command::new("nginx")
        .arg("-p")
        .arg(directory.path())
        .args(["-e", "stderr", "-c"])
        .arg(directory.path().join("nginx.conf"))
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx is installed: tests/run does it")
}

/// One process and no daemon, so that the child is all there is of it.
fn config(address: SocketAddr, upstreams: &[SocketAddr], directives: &str) -> String {
    let servers: String = upstreams.iter().map(|at| format!("server {at} max_fails=0;")).collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {kind};"))
        .collect();
    format!(
        "daemon off; master_process off; pid nginx.pid;
         events {{ worker_connections 16384; }}
         http {{
             access_log off; {temporary}
             map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
             upstream scanlogin {{ {servers} }}
             server {{
                 listen {address};
                 location / {{
                     proxy_pass http://scanlogin;
                     proxy_http_version 1.1;
                     proxy_set_header Host $http_host;
                     proxy_set_header Upgrade $http_upgrade;
                     proxy_set_header Connection $connection_upgrade;
                     {directives}
                     proxy_read_timeout 120s;
                     proxy_next_upstream error timeout http_503 non_idempotent;
                 }}
             }}
         }}"
    )
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
