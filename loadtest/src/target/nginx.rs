//! An nginx of the run's own, and one in front of the service.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    Error,
    child::{Own, free_port},
};
use crate::proc;

/// How long it may take to start.
const START_TIME: Duration = Duration::from_secs(5);

/// A running nginx.
#[derive(Debug)]
pub struct OwnNginx {
    process: Own,
    _directory: TempDir,
    /// Browsers and phones.
    pub address: SocketAddr,
}

/// What differs from one nginx to the next.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Before everything else: modules.
    pub first: String,
    /// Worker processes.
    pub workers: usize,
    /// In `http`, outside `server`.
    pub http: String,
    /// After `listen 127.0.0.1:port`.
    pub listen: &'static str,
    /// In `server`.
    pub server: String,
}

/// Whether it is installed.
pub fn is_installed() -> bool {
    Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok()
}

impl OwnNginx {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// Where it does not answer: with what it logged.
    pub fn start(configuration: &Configuration) -> Result<Self, Error> {
        let (port, directory) = (free_port()?, tempfile::tempdir()?);
        let path = directory.path();
        let log = path.join("error.log");
        fs::write(path.join("nginx.conf"), text(configuration, path, port))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(path).arg("-c").arg(path.join("nginx.conf"));
        command.arg("-e").arg(&log).stderr(Stdio::null());
        let mut process = Own::start(&mut command)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = Instant::now() + START_TIME;
        while TcpStream::connect(address).is_err() {
            if process.has_ended() || Instant::now() > deadline {
                return Err(Error::Nginx(fs::read_to_string(&log).unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { process, _directory: directory, address })
    }

    /// One in front of these instances: each connection goes to the next of them, as a load balancer
    /// without stickiness does. Browsers and their phones mostly meet different ones.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn in_front_of(instances: &[SocketAddr], workers: usize) -> Result<Self, Error> {
        let servers: String =
            instances.iter().map(|at| format!("server {at} max_fails=0; ")).collect();
        Self::start(&Configuration {
            first: String::new(),
            workers,
            // From several addresses, since each has 28,000 ports towards an instance.
            http: format!(
                "map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  split_clients $connection $source {{
    25% 127.0.2.1; 25% 127.0.2.2; 25% 127.0.2.3; * 127.0.2.4;
  }}
  upstream scanlogin {{ {servers} keepalive 64; keepalive_requests 100000000; }}"
            ),
            // Each worker its own queue, or the first to wake takes nearly all.
            listen: "reuseport",
            server: "location / {
      proxy_pass http://scanlogin;
      proxy_bind $source;
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_read_timeout 120s;
    }"
            .into(),
        })
    }

    /// Its master process; the workers are its children.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn text(configuration: &Configuration, directory: &Path, port: u16) -> String {
    let Configuration { first, workers, http, listen, server } = configuration;
    let files = proc::hard_limit_of_files().min(1_000_000);
    // The rest of them: logs, pipes, listening sockets.
    let connections = files.saturating_sub(1_000).max(64);
    let at = directory.display();
    format!(
        "{first}
daemon off;
user root;
pid {at}/nginx.pid;
worker_processes {workers};
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  client_body_temp_path {at}/body;
  proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  keepalive_requests 100000000;
  keepalive_timeout 75s;
  {http}
  server {{
    listen 127.0.0.1:{port} backlog=4096 {listen};
    {server}
  }}
}}
"
    )
}
