//! The only place that wires the parts together: build, then run.

use std::{
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_http::HttpService;
use actix_server::{Server, ServerHandle};
use actix_service::map_config;
use actix_web::{App, HttpServer, dev::AppConfig, middleware};
use socket2::{Domain, Socket, Type};
use tokio::sync::{Notify, mpsc};

use crate::{
    admin::{self, Readiness},
    clock::Clock,
    config::Config,
    feed::{self, Feed, Mechanisms},
    http::{self, Limits},
    keys::Entropy,
    lifecycle::Stops,
    metrics::Metrics,
    registry::{Drain, Registry, RegistryAddr},
    socket::{Admission, Background, Waiting, Worker, upgrade::UpgradeFactory},
    store::{EmbeddedStore, Store, StoreFactory, redis::Connector},
    tokens::{AppAuth, Issuer},
};

/// A request head must be complete within this time (spec 2.3).
const HEAD_TIME: Duration = Duration::from_secs(5);
/// A silent connection ends within this time (spec 2.3).
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Connections that may wait to be accepted: a reconnect storm comes within a second.
const BACKLOG: i32 = 4096;
/// Changes that may wait for the registry with the embedded store.
const CHANGES: usize = 1024;
/// Files that are not sockets of browsers: listeners, Redis, logs, connections of phones.
const OTHER_FILES: u64 = 1000;
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
    /// Something that the operating system did not give.
    #[error("start failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Why a running application ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A part that everything depends on is gone.
    #[error("{0} died")]
    Died(&'static str),
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
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Clock::system(), entropy: Entropy::Os, mechanisms: Mechanisms::default() }
    }
}

/// A service that has its addresses and is about to run.
pub struct Application {
    config: Arc<Config>,
    address: SocketAddr,
    admin_address: SocketAddr,
    listener: TcpListener,
    admin_listener: TcpListener,
    metrics: Arc<Metrics>,
    options: Options,
    backend: BackendParts,
}

enum BackendParts {
    Embedded(EmbeddedStore, mpsc::Receiver<crate::keys::LoginId>),
    Redis(Arc<Connector>),
}

impl Application {
    /// Binds the addresses and reaches the store; serves nobody yet.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn build(config: Config, options: Options) -> Result<Self, StartError> {
        let listener = bind("SCANLOGIN_LISTEN", config.listen, "127.0.0.1:8090")?;
        let admin_listener = bind("SCANLOGIN_ADMIN_LISTEN", config.admin_listen, "127.0.0.1:8091")?;
        let backend = match &config.redis {
            None => {
                let (sender, receiver) = mpsc::channel(CHANGES);
                let store = EmbeddedStore::new(options.clock.clone(), sender);
                BackendParts::Embedded(store, receiver)
            }
            Some(redis) => {
                let connector = Arc::new(Connector::new(redis.clone())?);
                reach(&connector).await?;
                BackendParts::Redis(connector)
            }
        };
        Ok(Self {
            address: listener.local_addr()?,
            admin_address: admin_listener.local_addr()?,
            config: Arc::new(config),
            listener,
            admin_listener,
            metrics: Arc::new(Metrics::new()),
            options,
            backend,
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
        let Self { config, metrics, options, backend, .. } = self;
        let clock = options.clock.clone();
        let readiness = Arc::new(Readiness::default());
        let ready = Rc::new(Notify::new());
        let (factory, feed) = match &backend {
            BackendParts::Embedded(store, _) => {
                (StoreFactory::Embedded(store.clone()), Feed::Embedded)
            }
            BackendParts::Redis(connector) => {
                let handle = feed::RedisHandle::new(connector.names().clone());
                (StoreFactory::Redis(connector.clone()), Feed::Redis(handle))
            }
        };
        let registry: RegistryAddr<Waiting> = Registry::start(
            feed.clone(),
            factory.make(&metrics, &clock),
            clock.clone(),
            metrics.clone(),
        );
        let feed_task = match (backend, feed) {
            (BackendParts::Embedded(_, changes), _) => {
                ready.notify_one();
                actix_rt::spawn(feed::run_embedded(changes, registry.clone()))
            }
            (BackendParts::Redis(connector), Feed::Redis(handle)) => {
                let instance = feed::Instance {
                    registry: registry.clone(),
                    connector,
                    metrics: metrics.clone(),
                    clock: clock.clone(),
                    mechanisms: options.mechanisms,
                    ready: ready.clone(),
                };
                actix_rt::spawn(feed::run_redis(instance, handle))
            }
            (BackendParts::Redis(_), Feed::Embedded) => return Err(RunError::Died("the feed")),
        };

        let admission = Arc::new(Admission::new(most_sockets(&config), metrics.clone()));
        let background = Arc::new(Background::default());
        let shared = Shared {
            limits: Arc::new(Limits::new(&config)),
            app_auth: Arc::new(AppAuth::new(&config)),
            issuer: Arc::new(Issuer::new(&config)),
            config: config.clone(),
            factory,
            registry: registry.clone(),
            metrics: metrics.clone(),
            clock,
            entropy: options.entropy,
            admission: admission.clone(),
            background: background.clone(),
        };
        let limits = shared.limits.clone();
        let mut server = serve(self.listener, shared)?;
        let mut admin = serve_admin(self.admin_listener, metrics, readiness.clone())?;
        let (server_handle, admin_handle) = (server.handle(), admin.handle());
        let mut feed_task = feed_task;
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        let mut watch = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = stops.next() => break,
                () = ready.notified() => readiness.set_started(),
                _ = housekeeping.tick() => limits.forget_the_idle(),
                _ = watch.tick() => if !registry.is_alive() {
                    return Err(RunError::Died("the registry"));
                },
                _ = &mut feed_task => return Err(RunError::Died("the feed")),
                result = &mut server => {
                    result?;
                    return Err(RunError::Died("the server"));
                }
                result = &mut admin => {
                    result?;
                    return Err(RunError::Died("the admin server"));
                }
            }
        }

        tracing::info!(seconds = config.drain.as_secs(), "draining");
        readiness.set_draining();
        admission.close();
        let drained = async {
            let _ = registry.ask(Drain(config.drain)).await;
            // Registered or not: a socket that has not said yet what it resumes is to have its
            // last word too, and the last words are to be on the wire.
            let _ = tokio::time::timeout(FINISH_TIME, admission.emptied()).await;
            let _ = tokio::time::timeout(FINISH_TIME, background.finished()).await;
        };
        tokio::select! {
            () = drained => {}
            // Both go on answering: phones until the end, probes too.
            _ = &mut server => {}
            _ = &mut admin => {}
            () = stops.next() => {
                tracing::warn!("asked twice: stopping at once");
                stop(&server_handle, &admin_handle, false, server, admin).await;
                return Ok(());
            }
        }
        stop(&server_handle, &admin_handle, true, server, admin).await;
        tracing::info!("stopped");
        Ok(())
    }
}

async fn stop(
    server_handle: &ServerHandle,
    admin_handle: &ServerHandle,
    graceful: bool,
    server: Server,
    admin: Server,
) {
    let stops = async { tokio::join!(server_handle.stop(graceful), admin_handle.stop(graceful)) };
    let _ = tokio::join!(stops, server, admin);
}

/// What every worker thread gets.
#[derive(Clone)]
struct Shared {
    config: Arc<Config>,
    factory: StoreFactory,
    registry: RegistryAddr<Waiting>,
    metrics: Arc<Metrics>,
    clock: Clock,
    entropy: Entropy,
    admission: Arc<Admission>,
    background: Arc<Background>,
    limits: Arc<Limits>,
    app_auth: Arc<AppAuth>,
    issuer: Arc<Issuer>,
}

impl Shared {
    fn worker(&self) -> Rc<Worker> {
        let store: Store = self.factory.make(&self.metrics, &self.clock);
        Rc::new(Worker {
            config: self.config.clone(),
            store,
            registry: self.registry.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy,
            admission: self.admission.clone(),
            bases: Default::default(),
            background: self.background.clone(),
            limits: self.limits.clone(),
            app_auth: self.app_auth.clone(),
            issuer: self.issuer.clone(),
        })
    }
}

fn serve(listener: TcpListener, shared: Shared) -> std::io::Result<Server> {
    let workers = shared.config.workers;
    let builder = Server::build();
    // Lets idle keep-alive connections end at once when the server stops, as `HttpServer` does.
    let stopping = builder.graceful_shutdown_signal();
    let server = builder
        .workers(workers)
        .backlog(BACKLOG as u32)
        .disable_signals()
        .shutdown_timeout(FINISH_TIME.as_secs())
        .listen("scanlogin", listener, move || {
            let worker = shared.worker();
            let (metrics, clock) = (shared.metrics.clone(), shared.clock.clone());
            // Twice: once for requests, once for those that want to become sockets (see `upgrade`).
            let app = || {
                let (metrics, clock) = (metrics.clone(), clock.clone());
                let app = App::new()
                    .wrap(middleware::from_fn(move |request, next| {
                        http::around(metrics.clone(), clock.clone(), request, next)
                    }))
                    .configure(http::routes(&worker));
                map_config(app, |()| AppConfig::default())
            };
            HttpService::build()
                .keep_alive(KEEP_ALIVE)
                // Whoever closes has gone: an answer that is held open for it ends at once.
                .h1_allow_half_closed(false)
                .client_request_timeout(HEAD_TIME)
                .client_disconnect_timeout(Duration::from_secs(1))
                .tcp_nodelay(true)
                .graceful_shutdown_signal({
                    let stopping = stopping.clone();
                    move || {
                        let stopping = stopping.clone();
                        async move { stopping.notified().await }
                    }
                })
                .upgrade(UpgradeFactory::new(app()))
                .finish(app())
                .tcp()
        })?;
    Ok(server.run())
}

fn serve_admin(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new().configure(admin::routes(metrics.clone(), readiness.clone()))
    });
    Ok(server.workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run())
}

fn bind(
    variable: &'static str,
    address: SocketAddr,
    example: &'static str,
) -> Result<TcpListener, StartError> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    };
    listen().map_err(|error| StartError::Bind { variable, address, error, example })
}

/// Raises the open-file limit; the sockets that fit.
fn most_sockets(config: &Config) -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let room = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    let most = config.max_waiting.min(room);
    tracing::info!(most, open_files = files, configured = config.max_waiting, "waiting sockets");
    most
}

/// Tries to reach Redis for a while: it may be starting too.
async fn reach(connector: &Connector) -> Result<(), StartError> {
    let deadline = tokio::time::Instant::now() + START_TIME;
    let mut pause = Duration::from_millis(250);
    loop {
        let error = match connector.check().await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        tracing::warn!(%error, "Redis cannot be reached yet");
        if tokio::time::Instant::now() + pause > deadline {
            return Err(StartError::Redis(error.to_string()));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}
