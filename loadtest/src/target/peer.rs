//! What it is compared with: nginx with nchan and Redis, from Debian's packages.

use std::{path::Path, time::Duration};

use super::{
    Error,
    nginx::{self, Configuration, OwnNginx},
};

/// Where Debian puts the module.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
/// Its connections to Redis come up by themselves; publishing before that is refused.
const CONNECT_TIME: Duration = Duration::from_millis(1500);

/// Whether both packages are installed.
pub fn is_installed() -> bool {
    Path::new(MODULE).exists() && nginx::is_installed()
}

/// Starts one on a free port, with a worker per core, as the service has.
///
/// # Errors
/// Where it does not answer.
pub fn start(redis_url: &str, workers: usize) -> Result<OwnNginx, Error> {
    let peer = OwnNginx::start(&configuration(redis_url, workers))?;
    std::thread::sleep(CONNECT_TIME);
    Ok(peer)
}

/// As lean as its documentation allows: one message a channel, no log, no group accounting; the same
/// ping interval as ours.
fn configuration(redis_url: &str, workers: usize) -> Configuration {
    Configuration {
        first: format!("load_module {MODULE};"),
        workers,
        http: format!(
            "nchan_shared_memory_size 256M;
  upstream store {{ nchan_redis_server {redis_url}; }}"
        ),
        listen: "",
        server: "location ~ ^/ws/(\\w+)$ {
      nchan_subscriber websocket;
      nchan_channel_id $1;
      nchan_redis_pass store;
      nchan_message_buffer_length 1;
      nchan_message_timeout 120s;
      nchan_websocket_ping_interval 25s;
    }
    location ~ ^/pub/(\\w+)$ {
      nchan_publisher;
      nchan_channel_id $1;
      nchan_redis_pass store;
      nchan_message_buffer_length 1;
      nchan_message_timeout 120s;
    }"
        .into(),
    }
}
