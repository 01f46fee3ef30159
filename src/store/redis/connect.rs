//! Connections to Redis: who is the primary, with which credentials, over which TLS.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bb8_redis::bb8;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, RedisFuture, RedisResult, ServerErrorKind, TlsCertificates, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    io::{AsyncDNSResolver, tcp::TcpSettings},
};

use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_rustls::TlsConnector;

use super::{
    approvals::Approvals,
    connection::{Connection, Link},
    multiplexer::{FULL, Heard, Multiplexer},
    names::Names,
    offset::Offset,
    stream,
};
use crate::{
    clock::{Clock, Moment, Timestamp},
    config::{Node, Redis, RedisNodes},
    metrics::StoreErrorKind,
    store::{KnownTime, StoreError},
};

/// How long one command may take: longer than any pause of a healthy Redis, shorter than a phone's
/// patience.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after a connection was made anew Redis counts as one that may have forgotten: other
/// instances need this long to notice (the probe's 5 s and its 2 s, or 5 s between two attempts to
/// connect), and then to read all their records again.
pub const DOUBT: Duration = Duration::from_secs(8);

/// Knows how to reach Redis.
pub struct Connector {
    config: Redis,
    certificates: Option<TlsCertificates>,
    tls: Option<TlsConnector>,
    names: Names,
    clock_offset: Offset,
    kept: Mutex<HashMap<Node, MultiplexedConnection>>,
    /// What was approved here a moment ago.
    approvals: Arc<Approvals>,
    doubts: bool,
    /// When a connection was last lost, or made in the place of one that was.
    disturbed: Mutex<Option<Instant>>,
}

impl Connector {
    /// Reads the certificate files. Connects to nothing yet. Without `doubts`, Redis is believed to
    /// remember everything.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn new(config: Redis, doubts: bool) -> std::io::Result<Self> {
        let read = |path: &std::path::PathBuf| std::fs::read(path);
        let root_cert = config.ca_file.as_ref().map(read).transpose()?;
        let client_tls = config
            .client_identity
            .as_ref()
            .map(|(cert, key)| {
                Ok::<_, std::io::Error>(redis::ClientTlsConfig {
                    client_cert: read(cert)?,
                    client_key: read(key)?,
                })
            })
            .transpose()?;
        let certificates = config.url.tls.then_some(TlsCertificates { client_tls, root_cert });
        let tls = config.url.tls.then(|| stream::tls(&config)).transpose()?;
        let names = Names::new(&config.prefix, config.url.db);
        Ok(Self {
            config,
            certificates,
            tls,
            names,
            clock_offset: Offset::default(),
            kept: Mutex::default(),
            approvals: Arc::default(),
            doubts,
            disturbed: Mutex::default(),
        })
    }

    /// The names of keys and channels.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Notes what Redis's clock showed (its `TIME`: seconds, microseconds) in an answer that was asked for
    /// then and has just come.
    pub fn compare_clocks(
        &self,
        (seconds, micros): (u64, u64),
        sent: Moment,
        clock: &Clock,
    ) -> Timestamp {
        let theirs = Timestamp::from_micros(seconds * 1_000_000 + micros);
        self.clock_offset.compare(theirs, sent, clock.moment());
        theirs
    }

    /// How well Redis's time is known.
    pub fn known_time(&self, clock: &Clock) -> KnownTime {
        self.clock_offset.how_well(clock.moment())
    }

    /// Redis's clock minus our wall clock when they were last compared, in microseconds; `None` before that.
    pub fn offset_from_wall(&self) -> Option<i64> {
        self.clock_offset.ahead_of_wall()
    }

    /// Whether Redis may have forgotten lately. Whatever makes it forget (a restart without
    /// persistence, a failover that lost writes) breaks its connections too: what it knows no more
    /// is found missing over one that was made after that.
    pub fn may_have_forgotten(&self) -> bool {
        self.was_disturbed_within(DOUBT)
    }

    /// Whether an instance that has not noticed yet what Redis forgot may still make a record again,
    /// where no login lives longer than `life`.
    pub fn may_be_reminded(&self, life: Duration) -> bool {
        self.was_disturbed_within(DOUBT + life)
    }

    fn was_disturbed_within(&self, time: Duration) -> bool {
        self.doubts && self.disturbed().is_some_and(|at| at.elapsed() < time)
    }

    /// A connection was lost, or made in the place of one that was; or what was written a moment ago is
    /// gone.
    pub fn note_disturbance(&self) {
        self.approvals.forget_all();
        *self.disturbed() = Some(Instant::now());
    }

    fn disturbed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.disturbed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Redis's clock minus our steady one, in microseconds, as last noted.
    pub fn clock_offset(&self) -> i64 {
        self.clock_offset.get()
    }

    /// What was approved by this process.
    pub(super) fn approvals(&self) -> &Arc<Approvals> {
        &self.approvals
    }

    /// The servers that the configuration names.
    pub fn nodes(&self) -> &RedisNodes {
        &self.config.url.nodes
    }

    fn info(&self, node: &Node, settings: RedisConnectionInfo) -> RedisResult<ConnectionInfo> {
        let (host, port) = (node.host.clone(), node.port);
        let addr = if self.config.url.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        // Without nodelay a pipelined command waits for the previous answer's acknowledgement.
        let tcp = TcpSettings::default().set_nodelay(true);
        Ok(addr.into_connection_info()?.set_redis_settings(settings).set_tcp_settings(tcp))
    }

    fn settings(&self) -> RedisConnectionInfo {
        let url = &self.config.url;
        let mut settings = RedisConnectionInfo::default().set_db(i64::from(url.db));
        if let Some(user) = &url.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &url.password {
            settings = settings.set_password(String::from_utf8_lossy(password.expose()));
        }
        settings
    }

    fn client(&self, node: &Node, settings: RedisConnectionInfo) -> RedisResult<Client> {
        let info = self.info(node, settings)?;
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    /// A pipelining connection to one server.
    ///
    /// # Errors
    /// Whatever keeps it from being made within [`CONNECT_TIMEOUT`].
    pub async fn connect_to(&self, node: &Node) -> RedisResult<MultiplexedConnection> {
        self.connect_as(node, self.settings()).await
    }

    async fn connect_as(
        &self,
        node: &Node,
        settings: RedisConnectionInfo,
    ) -> RedisResult<MultiplexedConnection> {
        let client = &self.client(node, settings)?;
        // The crate's own waits for the first address that accepts, whether it then answers or not.
        let attempt = async |address| {
            let config = redis::AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(Some(RESPONSE_TIMEOUT))
                .set_dns_resolver(Resolved(address));
            client.get_multiplexed_async_connection_with_config(&config).await
        };
        stream::first_of(node, attempt).await
    }

    /// The same, for one that hears as well: `heard` gets what channels say between the answers.
    /// Its driver runs on the calling thread.
    ///
    /// # Errors
    /// As [`Self::connect_to`].
    pub async fn listen_to(
        &self,
        node: &Node,
        heard: mpsc::UnboundedSender<Heard>,
    ) -> RedisResult<Multiplexer> {
        let url = &self.config.url;
        let attempt = async |address| {
            let stream = stream::open(node, address, self.tls.as_ref()).await?;
            let (mut line, driver) = Multiplexer::new(stream, i64::from(url.db), heard.clone());
            actix_rt::spawn(driver);
            let mut hello = redis::cmd("HELLO");
            hello.arg(3);
            if let Some(password) = &url.password {
                // Redis before it had users calls the only one so.
                let user = url.user.as_deref().unwrap_or("default");
                hello.arg("AUTH").arg(user).arg(password.expose());
            }
            hello.query_async::<Value>(&mut line).await?;
            if url.db != 0 {
                redis::cmd("SELECT").arg(url.db).query_async::<()>(&mut line).await?;
            }
            Ok(line)
        };
        stream::first_of(node, attempt).await
    }

    /// The same, kept for the next call: for what asks the same node again and again.
    ///
    /// # Errors
    /// As [`Self::connect_to`].
    pub async fn kept_connection(&self, node: &Node) -> RedisResult<MultiplexedConnection> {
        let kept = self.kept().get(node).cloned();
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let connection = self.connect_to(node).await?;
        self.kept().insert(node.clone(), connection.clone());
        Ok(connection)
    }

    /// Drops what [`Self::kept_connection`] keeps, after an error.
    pub fn forget_connection(&self, node: &Node) {
        self.kept().remove(node);
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Node, MultiplexedConnection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server that takes the writes now; `None` in a Cluster, where each slot has its own.
    ///
    /// # Errors
    /// No Sentinel that answers, or none that knows the primary.
    pub async fn primary(&self) -> RedisResult<Option<Node>> {
        match self.nodes() {
            RedisNodes::Single(node) => Ok(Some(node.clone())),
            RedisNodes::Cluster(_) => Ok(None),
            RedisNodes::Sentinel { nodes, master } => {
                let mut last = None;
                for sentinel in nodes {
                    match self.ask_sentinel(sentinel, master).await {
                        Ok(node) => return Ok(Some(node)),
                        Err(error) => last = Some(error),
                    }
                }
                Err(last.unwrap_or_else(|| (ErrorKind::InvalidClientConfig, "no Sentinel").into()))
            }
        }
    }

    /// Asks one Sentinel, then the server that it names, whether it is the primary: a Sentinel
    /// that missed a failover still names the old one.
    async fn ask_sentinel(&self, sentinel: &Node, master: &str) -> RedisResult<Node> {
        let settings = self.settings().set_db(0);
        let mut connection = self.connect_as(sentinel, settings).await?;
        let address: Option<(String, u16)> = redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(master)
            .query_async(&mut connection)
            .await?;
        let Some((host, port)) = address else {
            let what = "the Sentinel does not know this primary";
            return Err((ErrorKind::InvalidClientConfig, what, master.to_owned()).into());
        };
        let node = Node { host, port };
        let mut connection = self.connect_to(&node).await?;
        let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
        match role.first() {
            Some(Value::BulkString(role)) if role == b"master" => Ok(node),
            _ => Err((ErrorKind::Io, "the Sentinel names a server that is not the primary").into()),
        }
    }

    /// Whether commands are answered.
    ///
    /// # Errors
    /// Whatever keeps them from it.
    pub async fn check(&self) -> RedisResult<()> {
        let link = self.connect_any().await?;
        let mut connection = Connection::from(link);
        redis::cmd("PING").query_async(&mut connection).await
    }

    async fn connect_any(&self) -> RedisResult<Link> {
        match self.nodes() {
            RedisNodes::Cluster(nodes) => {
                let infos = nodes
                    .iter()
                    .map(|node| self.info(node, self.settings()))
                    .collect::<RedisResult<Vec<_>>>()?;
                let mut builder = ClusterClient::builder(infos)
                    .connection_timeout(CONNECT_TIMEOUT)
                    .response_timeout(RESPONSE_TIMEOUT)
                    .retries(4)
                    .tcp_settings(TcpSettings::default().set_nodelay(true));
                if let Some(certificates) = &self.certificates {
                    builder = builder.certs(certificates.clone());
                }
                Ok(Link::Cluster(builder.build()?.get_async_connection().await?))
            }
            _ => {
                let node = self.primary().await?.ok_or((ErrorKind::Io, "no primary"))?;
                Ok(Link::Single(self.connect_to(&node).await?))
            }
        }
    }
}

/// A name that was resolved already.
struct Resolved(SocketAddr);

impl AsyncDNSResolver for Resolved {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _: &'b str,
        _: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        let one: Box<dyn Iterator<Item = SocketAddr> + Send> = Box::new(std::iter::once(self.0));
        Box::pin(std::future::ready(Ok(one)))
    }
}

/// What bb8 calls to make connections and to look after them.
pub(super) struct Manager {
    connector: Arc<Connector>,
    /// Whether it has made one before.
    again: AtomicBool,
}

impl Manager {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        Self { connector, again: AtomicBool::new(false) }
    }
}

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = RedisError;

    async fn connect(&self) -> Result<Connection, RedisError> {
        let link = self.connector.connect_any().await?;
        if self.again.swap(true, Ordering::Relaxed) {
            self.connector.note_disturbance();
        }
        Ok(link.into())
    }

    /// No PING: that would be one more round trip for each command. A connection that has failed
    /// knows it, and a silent one is found by the feed's heartbeat or the next command's timeout.
    async fn is_valid(&self, _: &mut Connection) -> Result<(), RedisError> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_broken()
    }
}

/// Hears from bb8 that a connection could not be made, and tells everybody who waits for one.
#[derive(Clone, Debug, Default)]
pub(super) struct NotMade {
    pub(super) happened: Arc<Notify>,
    why: Arc<Mutex<Option<StoreError>>>,
}

impl NotMade {
    /// Why the last one could not be made.
    pub(super) fn error(&self) -> StoreError {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let unknown = || StoreError { kind: StoreErrorKind::Io, detail: "no connection".into() };
        why.unwrap_or_else(unknown)
    }
}

impl bb8::ErrorSink<RedisError> for NotMade {
    fn sink(&self, error: RedisError) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(store_error(&error));
        self.happened.notify_waiters();
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<RedisError>> {
        Box::new(self.clone())
    }
}

/// An error of Redis as the store's.
pub(super) fn store_error(error: &RedisError) -> StoreError {
    let kind = if error.is_timeout() {
        StoreErrorKind::Timeout
    } else if error.is_io_error()
        || error.is_connection_dropped()
        || error.is_connection_refusal()
        || error.is_unrecoverable_error()
    {
        StoreErrorKind::Io
    } else {
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOPERM" | "NOAUTH" | "WRONGPASS")) => {
                StoreErrorKind::Auth
            }
            (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => StoreErrorKind::ReadOnly,
            (_, Some("OOM")) => StoreErrorKind::OutOfMemory,
            (kind, _) if kind == FULL.0 => StoreErrorKind::Full,
            _ => StoreErrorKind::Other,
        }
    };
    StoreError { kind, detail: error.to_string() }
}
