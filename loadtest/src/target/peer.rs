//! What it is compared with: nginx with nchan and Redis, from Debian's packages.

use std::{
    fs, io,
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

/// How long it may take to start.
const START_TIME: Duration = Duration::from_secs(5);
/// Where Debian puts the module.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// nginx with nchan.
#[derive(Debug)]
pub struct OwnNchan {
    process: Own,
    _directory: TempDir,
    /// Browsers and phones.
    pub address: SocketAddr,
}

/// Whether both packages are installed.
pub fn is_installed() -> bool {
    Path::new(MODULE).exists()
        && Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok()
}

impl OwnNchan {
    /// Starts one on a free port, with a worker per core, as the service has.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn start(redis_url: &str, workers: usize) -> Result<Self, Error> {
        let (port, directory) = (free_port()?, tempfile::tempdir()?);
        let path = directory.path();
        let log = path.join("error.log");
        fs::write(path.join("nginx.conf"), config(path, port, redis_url, workers))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(path).arg("-c").arg(path.join("nginx.conf"));
        command.arg("-e").arg(&log).stderr(Stdio::null());
        let mut process = Own::start(&mut command)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = Instant::now() + START_TIME;
        while TcpStream::connect(address).is_err() {
            if process.has_ended() || Instant::now() > deadline {
                return Err(Error::Peer(fs::read_to_string(&log).unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Its connections to Redis come up by themselves; publishing before that is refused.
        std::thread::sleep(Duration::from_millis(1500));
        Ok(Self { process, _directory: directory, address })
    }

    /// Its master process; the workers are its children.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn config(directory: &Path, port: u16, redis_url: &str, workers: usize) -> String {
    let at = directory.display();
    // As lean as its documentation allows: one message a channel, no log, no group accounting; the
    // same ping interval as ours.
    format!(
        "load_module {MODULE};
daemon off;
user root;
pid {at}/nginx.pid;
worker_processes {workers};
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
  access_log off;
  client_body_temp_path {at}/body;
  proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  keepalive_requests 100000000;
  keepalive_timeout 75s;
  nchan_shared_memory_size 256M;
  upstream store {{ nchan_redis_server {redis_url}; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/ws/(\\w+)$ {{
      nchan_subscriber websocket;
      nchan_channel_id $1;
      nchan_redis_pass store;
      nchan_message_buffer_length 1;
      nchan_message_timeout 120s;
      nchan_websocket_ping_interval 25s;
    }}
    location ~ ^/pub/(\\w+)$ {{
      nchan_publisher;
      nchan_channel_id $1;
      nchan_redis_pass store;
      nchan_message_buffer_length 1;
      nchan_message_timeout 120s;
    }}
  }}
}}
"
    )
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
