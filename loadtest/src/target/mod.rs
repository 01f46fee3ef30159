//! What is tested: servers of the run's own, or what is there already.

pub mod child;
pub mod nginx;
pub mod peer;
pub mod redis;
pub mod service;

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use self::{nginx::OwnNginx, redis::OwnRedis, service::OwnService};
use crate::{dialect::Endpoint, proc};

/// The secret of the app tokens of services that are started here.
const APP_SECRET: &str = "app-tokens-of-a-load-test-are-signed-with-this";
/// Users: enough that no two logins under way are the same user's.
pub const USERS: usize = 20_000;

/// Why there is nothing to test.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system's.
    #[error("cannot start a server: {0}")]
    Io(io::Error),
    /// The service's last line.
    #[error("the service did not start: {0}")]
    Service(String),
    /// What nginx logged.
    #[error("nginx did not start: {0}")]
    Nginx(String),
    /// Not installed.
    #[error("{0} is not installed: {1}")]
    NotInstalled(&'static str, &'static str),
    /// Not built.
    #[error("no binary `scanlogin` beside this one: run `cargo build --release` first")]
    NoBinary,
    /// A wrong `--host`.
    #[error("--host {0}: {1}; for example --host http://127.0.0.1:8080")]
    Host(String, String),
    /// A `--host` that may hold a password, which is not repeated.
    #[error("--host must not hold a user or a password (what stands before an @)")]
    HostWithUser,
    /// A secret that the service would refuse.
    #[error(
        "{0} begins or ends with a blank or a line break: the service refuses such a secret (of a \
         file, one line break at the end is left out)"
    )]
    Secret(&'static str),
    /// Nothing to sign app tokens with.
    #[error(
        "--host needs app tokens: give the service's SCANLOGIN_APP_JWT_SECRET in the environment or \
         by --app-secret-file, or ready-made tokens, one a line, by --app-tokens"
    )]
    NoTokens,
    /// A file that cannot be read.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What the service keeps its logins in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    /// In the process.
    Embedded,
    /// In a redis-server of the run's own.
    Redis,
    /// In a Redis Cluster of the run's own: three primaries.
    Cluster,
}

/// How long a connection to one address of a name may take.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Primaries of a Cluster.
const PRIMARIES: u16 = 3;
/// From where an nginx of the run's own comes.
const PROXIES: &str = "127.0.0.0/8";

/// How services are started.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The binary.
    pub binary: PathBuf,
    /// Its store.
    pub store: Store,
    /// How many, all on the same store; the embedded one allows one.
    pub instances: usize,
    /// Whether a scan must be confirmed.
    pub confirm: bool,
    /// Worker processes of an nginx in front of them, if there is to be one.
    pub proxy_workers: Option<usize>,
    /// `SCANLOGIN_WAIT_SECONDS`, if it is not to be the default.
    pub wait: Option<Duration>,
    /// More settings, as `NAME` and value.
    pub more: Vec<(String, String)>,
}

/// Servers under test.
#[derive(Debug, Default)]
pub struct Target {
    /// Where they are.
    pub endpoints: Vec<Endpoint>,
    /// App tokens that they accept.
    pub tokens: Vec<String>,
    /// What is tested, in words.
    pub description: String,
    // Dropped in this order: what uses Redis goes before it.
    proxy: Option<OwnNginx>,
    services: Vec<OwnService>,
    peer: Option<OwnNginx>,
    /// The store's servers, if they are the run's own.
    pub redis: Vec<OwnRedis>,
}

impl Target {
    /// Starts services.
    ///
    /// # Errors
    /// [`Error`].
    pub fn start(wanted: &Wanted) -> Result<Self, Error> {
        let mut settings = service::Settings::new(APP_SECRET)
            .with("CONFIRM", if wanted.confirm { "required" } else { "off" });
        if let Some(wait) = wanted.wait {
            settings = settings.with("WAIT_SECONDS", &wait.as_secs().to_string());
        }
        if wanted.proxy_workers.is_some() {
            settings = settings.with("TRUSTED_PROXIES", PROXIES);
        }
        for (name, value) in &wanted.more {
            settings = settings.with(name, value);
        }
        if wanted.store != Store::Embedded && !redis::is_installed() {
            return Err(Error::NotInstalled("redis-server", "install it, or --store embedded"));
        }
        let redis = match wanted.store {
            Store::Embedded => Vec::new(),
            Store::Redis => vec![OwnRedis::start()?],
            Store::Cluster => OwnRedis::start_cluster(PRIMARIES)?,
        };
        let nodes: Vec<String> = redis.iter().map(OwnRedis::address).collect();
        let url = match wanted.store {
            Store::Embedded => None,
            Store::Redis => Some(format!("redis://{}", nodes.join(","))),
            Store::Cluster => Some(format!("redis+cluster://{}", nodes.join(","))),
        };
        if let Some(url) = &url {
            settings = settings.with("REDIS_URL", url);
        }
        let instances = if redis.is_empty() { 1 } else { wanted.instances.max(1) };
        let mut services = Vec::new();
        for _ in 0..instances {
            services.push(OwnService::start(&wanted.binary, &settings)?);
        }
        let addresses: Vec<SocketAddr> = services.iter().map(|service| service.address).collect();
        let proxy = match wanted.proxy_workers {
            None => None,
            Some(_) if !nginx::is_installed() => {
                return Err(Error::NotInstalled("nginx", "install it, or leave out --nginx"));
            }
            Some(workers) => Some(OwnNginx::in_front_of(&addresses, workers)?),
        };
        let open = proxy.as_ref().map_or(addresses, |proxy| vec![proxy.address]);
        let endpoint = |address: SocketAddr| Endpoint { address, host: address.to_string() };
        let description = describe(instances, wanted.store, proxy.is_some());
        Ok(Self {
            endpoints: open.into_iter().map(endpoint).collect(),
            tokens: crate::tokens::mint(APP_SECRET, USERS),
            description,
            proxy,
            services,
            peer: None,
            redis,
        })
    }

    /// Starts nginx with nchan and a Redis.
    ///
    /// # Errors
    /// [`Error`].
    pub fn start_peer(workers: usize) -> Result<Self, Error> {
        let redis = OwnRedis::start()?;
        let peer = peer::start(&format!("redis://{}", redis.address()), workers)?;
        Ok(Self {
            endpoints: vec![Endpoint { address: peer.address, host: peer.address.to_string() }],
            tokens: vec![String::new()],
            description: "nginx with nchan on a Redis of its own".into(),
            proxy: None,
            services: Vec::new(),
            peer: Some(peer),
            redis: vec![redis],
        })
    }

    /// What is there already.
    ///
    /// # Errors
    /// [`Error`].
    pub fn there(host: &str, tokens: Vec<String>) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Host(host.to_owned(), why.to_owned());
        let Some(authority) = host.strip_prefix("http://").or_else(|| host.strip_prefix("ws://"))
        else {
            return Err(wrong("only http:// is spoken: aim behind what terminates TLS"));
        };
        let authority = authority.trim_end_matches('/');
        if authority.contains('@') {
            return Err(Error::HostWithUser);
        }
        if authority.contains('/') {
            return Err(wrong("without a path"));
        }
        let has_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { authority.into() } else { format!("{authority}:80") };
        let addresses = with_port.to_socket_addrs().map_err(|error| wrong(&error.to_string()))?;
        let address = one_that_answers(addresses).ok_or_else(|| wrong("no address"))?;
        Ok(Self {
            endpoints: vec![Endpoint { address, host: authority.to_owned() }],
            tokens,
            description: host.to_owned(),
            ..Self::default()
        })
    }

    /// How many instances of the service there are, if they are the run's own.
    pub fn instances(&self) -> usize {
        self.services.len()
    }

    /// The servers' processes without Redis, and without what is in front of them.
    pub fn pids(&self) -> BTreeSet<u32> {
        let services = self.services.iter().map(OwnService::pid);
        let all = services.chain(self.peer.iter().map(OwnNginx::pid));
        all.flat_map(proc::family).collect()
    }

    /// The sum of a family of metrics over all instances.
    pub fn metric(&self, family: &str) -> f64 {
        self.services.iter().map(|service| service.metric(family)).sum()
    }

    /// Looks at them from elsewhere.
    pub fn watcher(&self) -> Watcher {
        let redis = self.redis.iter().map(|redis| (redis.pid(), redis.questions()));
        let proxy = self.proxy.iter().map(OwnNginx::pid).flat_map(proc::family);
        Watcher { pids: self.pids(), proxy: proxy.collect(), redis: redis.collect() }
    }

    /// Processor time and memory as of now.
    pub fn usage(&self) -> Usage {
        self.watcher().usage()
    }
}

/// Of the addresses of a name, the first to which a connection can be made; else the first.
fn one_that_answers(addresses: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    let addresses: Vec<SocketAddr> = addresses.collect();
    let answers = |it: &&SocketAddr| TcpStream::connect_timeout(it, CONNECT_TIME).is_ok();
    // Alone, it is found out soon enough.
    let found = (addresses.len() > 1).then(|| addresses.iter().find(answers)).flatten();
    found.or(addresses.first()).copied()
}

fn describe(instances: usize, store: Store, behind_nginx: bool) -> String {
    let plural = if instances == 1 { "" } else { "s" };
    let store = match store {
        Store::Embedded => "the embedded store".to_owned(),
        Store::Redis => "a Redis of its own".to_owned(),
        Store::Cluster => format!("a Redis Cluster of its own ({PRIMARIES} primaries)"),
    };
    let nginx = if behind_nginx { " behind nginx" } else { "" };
    format!("{instances} instance{plural} of the service on {store}{nginx}")
}

/// Looks at servers that another thread may own.
#[derive(Clone, Debug)]
pub struct Watcher {
    pids: BTreeSet<u32>,
    proxy: BTreeSet<u32>,
    redis: Vec<(u32, redis::Questions)>,
}

impl Watcher {
    /// Processor time and memory as of now.
    pub fn usage(&self) -> Usage {
        let cpu = |pids: &BTreeSet<u32>| pids.iter().filter_map(|pid| proc::cpu(*pid)).sum();
        let memory = self.redis.iter().filter_map(|(_, redis)| redis.number("used_memory"));
        Usage {
            server_cpu: cpu(&self.pids),
            server_pss: self.pids.iter().filter_map(|pid| proc::pss(*pid)).sum(),
            redis_cpu: self.redis.iter().filter_map(|(pid, _)| proc::cpu(*pid)).sum(),
            redis_memory: memory.sum(),
            proxy_cpu: cpu(&self.proxy),
        }
    }
}

/// What the servers have used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Of the servers, without Redis.
    pub server_cpu: Duration,
    /// In bytes, without Redis.
    pub server_pss: u64,
    /// Of Redis, all nodes together.
    pub redis_cpu: Duration,
    /// Redis's `used_memory` in bytes.
    pub redis_memory: u64,
    /// Of nginx in front of them.
    pub proxy_cpu: Duration,
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn of_several_addresses_one_that_answers_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let good = listener.local_addr().expect("an address");
        let refusing = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(one_that_answers([refusing, good].into_iter()), Some(good));
        assert_eq!(one_that_answers([refusing].into_iter()), Some(refusing));
        assert_eq!(one_that_answers(std::iter::empty()), None);
    }

    #[test]
    fn a_password_in_the_host_is_not_repeated() {
        for host in ["http://user:hunter2@h:1", "http://hunter2@h", "ws://:hunter/2@h"] {
            let error = Target::there(host, Vec::new()).expect_err(host).to_string();
            assert!(!error.contains("hunter") && error.contains("password"), "{error}");
        }
    }
}
