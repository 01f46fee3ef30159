//! What is tested: servers of the run's own, or what is there already.

pub mod child;
pub mod peer;
pub mod redis;
pub mod service;

use std::{collections::BTreeSet, net::ToSocketAddrs, path::PathBuf, time::Duration};

use self::{peer::OwnNchan, redis::OwnRedis, service::OwnService};
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
    Io(std::io::Error),
    /// The service's last line.
    #[error("the service did not start: {0}")]
    Service(String),
    /// What the peer logged.
    #[error("nginx did not start: {0}")]
    Peer(String),
    /// Not built.
    #[error("no binary `scanlogin` beside this one: run `cargo build --release` first")]
    NoBinary,
    /// A wrong `--host`.
    #[error("--host {0}: {1}; for example --host http://127.0.0.1:8080")]
    Host(String, String),
    /// Nothing to sign app tokens with.
    #[error(
        "--host needs app tokens: give the service's SCANLOGIN_APP_JWT_SECRET in the environment or \
         by --app-secret-file, or ready-made tokens, one a line, by --app-tokens"
    )]
    NoTokens,
    /// A file that cannot be read.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
}

/// What the service keeps its logins in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    /// In the process.
    Embedded,
    /// In a redis-server of the run's own.
    Redis,
}

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
    services: Vec<OwnService>,
    peer: Option<OwnNchan>,
    /// The store, if it is the run's own.
    pub redis: Option<OwnRedis>,
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
        for (name, value) in &wanted.more {
            settings = settings.with(name, value);
        }
        let redis = match wanted.store {
            Store::Embedded => None,
            Store::Redis => Some(OwnRedis::start()?),
        };
        if let Some(redis) = &redis {
            // Without it the service warns, and takes the address of each request.
            settings = settings.with("REDIS_URL", &redis.url());
        }
        let instances = if redis.is_some() { wanted.instances.max(1) } else { 1 };
        let mut services = Vec::new();
        for _ in 0..instances {
            services.push(OwnService::start(&wanted.binary, &settings)?);
        }
        let endpoints = services.iter().map(|service| Endpoint {
            address: service.address,
            host: service.address.to_string(),
        });
        let store = if redis.is_some() { "a Redis of its own" } else { "the embedded store" };
        Ok(Self {
            endpoints: endpoints.collect(),
            tokens: crate::tokens::mint(APP_SECRET, USERS),
            description: format!(
                "{instances} instance{} of the service on {store}",
                if instances == 1 { "" } else { "s" },
            ),
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
        let peer = OwnNchan::start(&redis.url(), workers)?;
        Ok(Self {
            endpoints: vec![Endpoint { address: peer.address, host: peer.address.to_string() }],
            tokens: vec![String::new()],
            description: "nginx with nchan on a Redis of its own".into(),
            services: Vec::new(),
            peer: Some(peer),
            redis: Some(redis),
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
        if authority.contains('/') {
            return Err(wrong("without a path"));
        }
        let has_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { authority.into() } else { format!("{authority}:80") };
        let mut addresses =
            with_port.to_socket_addrs().map_err(|error| wrong(&error.to_string()))?;
        let address = addresses.next().ok_or_else(|| wrong("no address"))?;
        Ok(Self {
            endpoints: vec![Endpoint { address, host: authority.to_owned() }],
            tokens,
            description: host.to_owned(),
            ..Self::default()
        })
    }

    /// The servers' processes without Redis.
    pub fn pids(&self) -> BTreeSet<u32> {
        let services = self.services.iter().map(OwnService::pid);
        let all = services.chain(self.peer.iter().map(OwnNchan::pid));
        all.flat_map(proc::family).collect()
    }

    /// The sum of a family of metrics over all instances.
    pub fn metric(&self, family: &str) -> f64 {
        self.services.iter().map(|service| service.metric(family)).sum()
    }

    /// Looks at them from elsewhere.
    pub fn watcher(&self) -> Watcher {
        let redis = self.redis.as_ref();
        Watcher { pids: self.pids(), redis: redis.map(|redis| (redis.pid(), redis.questions())) }
    }

    /// Processor time and memory as of now.
    pub fn usage(&self) -> Usage {
        self.watcher().usage()
    }
}

/// Looks at servers that another thread may own.
#[derive(Clone, Debug)]
pub struct Watcher {
    pids: BTreeSet<u32>,
    redis: Option<(u32, redis::Questions)>,
}

impl Watcher {
    /// Processor time and memory as of now.
    pub fn usage(&self) -> Usage {
        let (pids, redis) = (&self.pids, self.redis.as_ref());
        let memory = redis.and_then(|(_, redis)| redis.number("used_memory"));
        Usage {
            server_cpu: pids.iter().filter_map(|pid| proc::cpu(*pid)).sum(),
            server_pss: pids.iter().filter_map(|pid| proc::pss(*pid)).sum(),
            redis_cpu: redis.and_then(|(pid, _)| proc::cpu(*pid)).unwrap_or_default(),
            redis_memory: memory.unwrap_or_default(),
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
    /// Of Redis.
    pub redis_cpu: Duration,
    /// Redis's `used_memory` in bytes.
    pub redis_memory: u64,
}
