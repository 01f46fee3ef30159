//! The only place that wires the parts together: build, then run.

mod acceptors;
mod clock_watch;
mod servers;
mod threads;
mod upstream;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tracing_appender::non_blocking::ErrorCounter;

use self::{
    clock_watch::ClockWatch,
    servers::{AdminParts, bind, bind_each, serve, serve_admin, stop},
    threads::{EVENTS, Shared, Shelf, ThreadEvent},
    upstream::Upstream,
};
use crate::{
    admin::Readiness,
    clock::Clock,
    config::Config,
    connection::OpenConnections,
    crash::{Crash, Part},
    feed::Mechanisms,
    http::Limits,
    journal::Journal,
    keys::Entropy,
    lifecycle::Stops,
    metrics::{Metrics, Port},
    registry::{DetachedPool, Drain},
    socket::{Admission, Background},
    store::{EmbeddedStore, redis::Connector},
    tokens::{AppAuth, CallError, FactsKey, Issuer, key_set},
    trace::{self, Exporter, Tracer},
};

/// Files that are not sockets of browsers: listeners, Redis, logs, connections of phones.
const OTHER_FILES: usize = 1000;
/// Of these, files that no connection of the public port takes.
const KEPT_FILES: usize = 500;
/// How long a Redis that cannot be reached at the start is tried (spec section 6).
const START_TIME: Duration = Duration::from_secs(10);
/// How long the last writes may take after the drain.
const FINISH_TIME: Duration = Duration::from_secs(5);
/// How often limits forget who has been quiet.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// Why an application could not be built: one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened to.
    #[error(
        "{variable}: {address} cannot be listened to: {error}; for example {variable}={example}"
    )]
    Bind {
        /// The variable to blame.
        variable: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        error: std::io::Error,
        /// One that is likely free.
        example: &'static str,
    },
    /// Redis cannot be reached.
    #[error(
        "SCANLOGIN_REDIS_URL: Redis cannot be used: {0}; \
         for example SCANLOGIN_REDIS_URL=redis://127.0.0.1:6379/0"
    )]
    Redis(String),
    /// The app's key set cannot be had.
    #[error(
        "SCANLOGIN_APP_JWKS_URL: the key set cannot be used: {0}; for example \
         SCANLOGIN_APP_JWKS_URL=https://accounts.example.com/.well-known/jwks.json"
    )]
    KeySet(CallError),
    /// The webhook cannot be called at all.
    #[error("SCANLOGIN_TOKEN_WEBHOOK_URL: {0}")]
    Webhook(CallError),
    /// Traces cannot be exported at all.
    #[error(
        "SCANLOGIN_OTLP_ENDPOINT: {0}; for example SCANLOGIN_OTLP_ENDPOINT=http://collector:4318"
    )]
    Otlp(String),
    /// Something that the operating system did not give.
    #[error("start failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Why a running application ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A part that everything depends on is gone.
    #[error("{0} died")]
    Died(Part),
    /// The server's own.
    #[error("server: {0}")]
    Io(#[from] std::io::Error),
}

/// What a test may replace.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time.
    pub clock: Clock,
    /// The randomness.
    pub entropy: Entropy,
    /// Parts of the feed that can be turned off.
    pub mechanisms: Mechanisms,
    /// A part that dies when it is told to.
    pub crash: Crash,
    /// How often the app's key set is fetched.
    pub key_set_refresh: Duration,
    /// Counts what the log left out.
    pub log_lines_dropped: Option<ErrorCounter>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            entropy: Entropy::Os,
            mechanisms: Mechanisms::default(),
            crash: Crash::default(),
            key_set_refresh: key_set::REFRESH,
            log_lines_dropped: None,
        }
    }
}

/// A service that has its addresses and is about to run.
pub struct Application {
    config: Arc<Config>,
    address: SocketAddr,
    admin_address: SocketAddr,
    listeners: Vec<TcpListener>,
    admin_listener: TcpListener,
    metrics: Arc<Metrics>,
    options: Options,
    shelf: Shelf,
    upstream: Upstream,
    tracer: Option<(Arc<Tracer>, Exporter)>,
}

impl Application {
    /// Binds the addresses and reaches the store; serves nobody yet.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn build(config: Config, options: Options) -> Result<Self, StartError> {
        let listeners =
            bind_each("SCANLOGIN_LISTEN", config.listen, "127.0.0.1:8090", config.workers)?;
        let admin_listener = bind("SCANLOGIN_ADMIN_LISTEN", config.admin_listen, "127.0.0.1:8091")?;
        let shelf = match &config.redis {
            None => Shelf::Embedded(EmbeddedStore::new(options.clock.clone())),
            Some(redis) => {
                let connector = Arc::new(Connector::new(redis.clone(), options.mechanisms.doubt)?);
                let reached = persist("Redis", || connector.check()).await;
                reached.map_err(|error| StartError::Redis(error.to_string()))?;
                Shelf::Redis(connector)
            }
        };
        let metrics = Arc::new(Metrics::new());
        let tracer = config
            .otlp
            .as_ref()
            .map(|otlp| trace::start(otlp, &metrics, &options.clock))
            .transpose();
        let tracer = tracer.map_err(|error| StartError::Otlp(error.to_string()))?;
        let traces = tracer.as_ref().map(|(tracer, _)| tracer.clone());
        let upstream = Upstream::reach(&config, &options, &metrics, traces).await?;
        Ok(Self {
            address: listeners[0].local_addr()?,
            admin_address: admin_listener.local_addr()?,
            config: Arc::new(config),
            listeners,
            admin_listener,
            metrics,
            options,
            shelf,
            upstream,
            tracer,
        })
    }

    /// Where browsers and phones connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics and health are.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The counters.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Serves until it is asked to stop, drains, and returns; or until a part dies.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn run(self, mut stops: Stops) -> Result<(), RunError> {
        let Self { config, metrics, options, shelf, upstream, tracer, .. } = self;
        let readiness = Arc::new(Readiness::new(config.workers));
        metrics.feed_connected.expect_lines(config.workers);
        metrics.threads.expect(config.workers);
        let files = open_files();
        let admission = Arc::new(Admission::new(most_sockets(&config, files), metrics.clone()));
        let connections =
            OpenConnections::new(Port::Public, most_connections(files), metrics.clone())
                .per_address(config.connections_per_address, &config.trusted_proxies);
        let background = Arc::new(Background::default());
        let limits = Arc::new(Limits::new(&config));
        let (events, mut thread_events) = mpsc::channel(EVENTS * config.workers);
        let store = shelf.factory().make(&metrics, &options.clock);
        let (tracer, exporter) = tracer.unzip();
        let exporting = exporter.map(|exporter| actix_rt::spawn(exporter.run()));
        let journal = Journal::new(
            metrics.clone(),
            options.clock.clone(),
            config.log_lines_per_second,
            tracer.clone(),
        );
        let shared = Shared {
            journal: Arc::new(journal),
            config: config.clone(),
            shelf: shelf.clone(),
            metrics: metrics.clone(),
            clock: options.clock.clone(),
            entropy: options.entropy,
            mechanisms: options.mechanisms,
            crash: options.crash.clone(),
            admission: admission.clone(),
            detached: Arc::new(DetachedPool::new(config.max_waiting, metrics.clone())),
            connections: Arc::new(connections),
            background: background.clone(),
            limits: limits.clone(),
            app_auth: Arc::new(AppAuth::new(&config, upstream.key_set(), options.clock.clone())),
            issuer: Arc::new(Issuer::new(&config)),
            webhook: upstream.webhook.clone(),
            facts: Arc::new(FactsKey::new(&config)),
            warned: Arc::default(),
            events,
            threads: Arc::default(),
        };
        let mut tasks = upstream.start(store, metrics.clone(), &options.crash);
        let tell_webhook = shared.webhook.is_some();
        let mut server = serve(self.listeners, shared)?;
        let parts = AdminParts {
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            factory: shelf.factory(),
            clock: options.clock.clone(),
            tell_webhook,
            token: config.admin_token.clone(),
        };
        let mut admin = serve_admin(self.admin_listener, parts, &options.crash)?;
        let mut registries = Vec::new();
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        let mut watch = tokio::time::interval(Duration::from_secs(1));
        let mut clock_watch = ClockWatch::default();
        loop {
            tokio::select! {
                () = stops.next() => break,
                Some(event) = thread_events.recv() => match event {
                    ThreadEvent::Started(registry) => registries.push(registry),
                    ThreadEvent::Listening => readiness.one_more_listens(),
                    ThreadEvent::FeedDied => return Err(RunError::Died(Part::Feed)),
                },
                _ = housekeeping.tick() => limits.forget_the_idle(options.clock.now()),
                _ = watch.tick() => {
                    if let Some(offset) = shelf.clock_offset() {
                        clock_watch.look(offset, &metrics);
                    }
                    if let Some(dropped) = &options.log_lines_dropped {
                        let new = dropped.dropped_lines() as u64 - metrics.log_lines_dropped.get();
                        metrics.log_lines_dropped.inc_by(new);
                    }
                    if !registries.iter().all(|registry| registry.is_alive()) {
                        return Err(RunError::Died(Part::Registry));
                    }
                }
                part = tasks.died() => return Err(RunError::Died(part)),
                () = server.died() => return Err(RunError::Died(Part::Server)),
                () = admin.died() => return Err(RunError::Died(Part::Admin)),
            }
        }

        tracing::info!(seconds = config.drain.as_secs(), "draining");
        readiness.set_draining();
        admission.close();
        let drained = async {
            join_all(registries.iter().map(|registry| registry.ask(Drain(config.drain)))).await;
            // Answered also when a registry dies on the way.
            if !registries.iter().all(|registry| registry.is_alive()) {
                return Err(RunError::Died(Part::Registry));
            }
            // Registered or not: a socket that has not said yet what it resumes is to have its
            // last word too, and the last words are to be on the wire.
            let _ = tokio::time::timeout(FINISH_TIME, admission.emptied()).await;
            let _ = tokio::time::timeout(FINISH_TIME, background.finished()).await;
            Ok(())
        };
        tokio::select! {
            // Whoever died is looked at first: without its sockets the drain looks finished.
            biased;
            // Who waits until its turn comes is to hear of its token meanwhile.
            () = feed_died(&mut thread_events) => return Err(RunError::Died(Part::Feed)),
            // Both go on answering: phones until the end, probes too.
            () = server.died() => return Err(RunError::Died(Part::Server)),
            () = admin.died() => return Err(RunError::Died(Part::Admin)),
            () = stops.next() => {
                tracing::warn!("asked twice: stopping at once");
                stop(server, admin, false).await;
                return Ok(());
            }
            done = drained => done?,
        }
        stop(server, admin, true).await;
        if let (Some(tracer), Some(exporting)) = (tracer, exporting) {
            tracer.close();
            let _ = tokio::time::timeout(FINISH_TIME, exporting).await;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Resolves when a thread says that its feed has ended.
async fn feed_died(events: &mut mpsc::Receiver<ThreadEvent>) {
    loop {
        match events.recv().await {
            Some(ThreadEvent::FeedDied) => return,
            Some(ThreadEvent::Started(_) | ThreadEvent::Listening) => {}
            None => std::future::pending().await,
        }
    }
}

/// Raises the open-file limit, and gives it.
fn open_files() -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    usize::try_from(files).unwrap_or(usize::MAX)
}

/// The sockets that fit.
fn most_sockets(config: &Config, open_files: usize) -> usize {
    let most = config.max_waiting.min(open_files.saturating_sub(OTHER_FILES));
    tracing::info!(most, open_files, configured = config.max_waiting, "waiting sockets");
    most
}

/// The connections that leave files for Redis, the admin port and the log, sockets included.
fn most_connections(open_files: usize) -> usize {
    open_files - KEPT_FILES.min(open_files / 4)
}

/// Tries for a while: what we depend on may be starting too.
async fn persist<E: std::fmt::Display>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<(), E>,
) -> Result<(), E> {
    let deadline = tokio::time::Instant::now() + START_TIME;
    let mut pause = Duration::from_millis(250);
    loop {
        let error = match attempt().await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        tracing::warn!(%error, "{what} cannot be reached yet");
        if tokio::time::Instant::now() + pause > deadline {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}
