//! The two servers: browsers and phones, and the admin port.

use std::{
    fmt::Debug,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_http::{HttpServiceBuilder, KeepAlive, Request, Response, body::BoxBody};
use actix_service::{Service, ServiceFactory, map_config};
use actix_web::{App, dev::AppConfig, middleware};
use socket2::{Domain, Socket, Type};

use super::{
    StartError,
    acceptors::{Accepted, Acceptors, Stopping},
    threads::Shared,
};
use crate::{
    admin::{self, Readiness, Sessions},
    clock::Clock,
    config::{Secret, is_loopback_address},
    connection::{Bounded, GuardedStream, OpenConnections},
    crash::{Crash, Part},
    http,
    metrics::{Metrics, Port},
    socket::upgrade::UpgradeFactory,
    store::StoreFactory,
};

/// How long a client may take to close after actix-http's last answer.
const DISCONNECT_TIME: Duration = Duration::from_secs(1);
/// Connections of the admin port: Prometheus, probes, and people who look.
const ADMIN_CONNECTIONS: usize = 128;
/// Connections that may wait to be accepted: a reconnect storm comes within a second.
const BACKLOG: i32 = 4096;

/// Serves browsers and phones, on a thread for each listener.
pub(super) fn serve(listeners: Vec<TcpListener>, shared: Shared) -> io::Result<Acceptors> {
    let (connections, crash) = (shared.connections.clone(), shared.crash.clone());
    let part = (Part::Server, &crash);
    Acceptors::start(listeners, &connections, part, move |stopping| service(&shared, stopping))
}

/// What serves the connections of the calling thread.
fn service(
    shared: &Shared,
    stopping: Stopping,
) -> impl ServiceFactory<Accepted, Config = (), InitError = (), Service: 'static> + use<> {
    let worker = shared.start_thread();
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
    bounded(stopping)
        .upgrade(UpgradeFactory::new(Bounded::upgrade(app())))
        .finish(Bounded::ordinary(app()))
}

/// actix-http, which bounds nothing by itself: `connection` does.
fn bounded<S>(stopping: Stopping) -> HttpServiceBuilder<GuardedStream, S>
where
    S: ServiceFactory<Request, Config = (), InitError: Debug>,
    S::Error: Into<Response<BoxBody>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
{
    HttpServiceBuilder::default()
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        // Whoever closes has gone: an answer that is held open for it ends at once.
        .h1_allow_half_closed(false)
        .client_disconnect_timeout(DISCONNECT_TIME)
        // Lets idle keep-alive connections end at once when the server stops, as `HttpServer` does.
        .graceful_shutdown_signal(move || stopping.clone().asked())
}

/// What the admin port shows and does.
#[derive(Clone)]
pub(super) struct AdminParts {
    pub metrics: Arc<Metrics>,
    pub readiness: Arc<Readiness>,
    pub factory: StoreFactory,
    pub clock: Clock,
    /// Whether a webhook made the tokens that are revoked.
    pub tell_webhook: bool,
    /// What `/revoke` demands.
    pub token: Option<Secret>,
}

/// Serves the admin port on a thread of its own: what browsers do to theirs does not hold up a probe.
pub(super) fn serve_admin(
    listener: TcpListener,
    parts: AdminParts,
    crash: &Crash,
) -> io::Result<Acceptors> {
    let most = ADMIN_CONNECTIONS;
    let connections = Arc::new(OpenConnections::new(Port::Admin, most, parts.metrics.clone()));
    let is_loopback = is_loopback_address(listener.local_addr()?);
    Acceptors::start(vec![listener], &connections, (Part::Admin, crash), move |stopping| {
        let AdminParts { metrics, readiness, factory, clock, tell_webhook, token } = parts;
        let store = factory.make(&metrics, &clock);
        let app = move || {
            let (metrics, readiness) = (metrics.clone(), readiness.clone());
            let (store, token) = (store.clone(), token.clone());
            let sessions = Sessions { store, tell_webhook, token };
            App::new()
                .wrap(middleware::from_fn(move |request, next| {
                    admin::guard(is_loopback, request, next)
                }))
                .configure(admin::routes(metrics, readiness, sessions, clock.clone()))
        };
        bounded(stopping).finish(Bounded::ordinary(map_config(app(), |()| AppConfig::default())))
    })
}

/// The one listener of an address.
pub(super) fn bind(
    variable: &'static str,
    address: SocketAddr,
    example: &'static str,
) -> Result<TcpListener, StartError> {
    let listen = || {
        let socket = bound(address, false)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    listen().map_err(|error| StartError::Bind { variable, address, error, example })
}

/// As many listeners of an address, among which the kernel spreads connections.
pub(super) fn bind_each(
    variable: &'static str,
    address: SocketAddr,
    example: &'static str,
    count: usize,
) -> Result<Vec<TcpListener>, StartError> {
    let listen = || {
        // Sockets that share an address would share it with another instance of the same user too.
        // This one shares with nobody who listens. (Two that start within the same few microseconds
        // may both find that nobody does.) Held to the end, since port 0 chose its port for it.
        let probe = TcpListener::from(bound(address, false)?);
        let address = probe.local_addr()?;
        let sockets = (0..count).map(|_| bound(address, true)).collect::<io::Result<Vec<_>>>()?;
        sockets.iter().try_for_each(|socket| socket.listen(BACKLOG))?;
        Ok(sockets.into_iter().map(TcpListener::from).collect())
    };
    listen().map_err(|error| StartError::Bind { variable, address, error, example })
}

fn bound(address: SocketAddr, together: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(together)?;
    // Linux hands it down to each connection that is accepted.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Ends both, side by side.
pub(super) async fn stop(server: Acceptors, admin: Acceptors, gracefully: bool) {
    tokio::join!(server.stop(gracefully), admin.stop(gracefully));
}

#[cfg(test)]
mod tests {
    use actix_web::{HttpResponse, web};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    /// An application in which every path answers 101, served on both paths.
    async fn served() -> (Acceptors, SocketAddr, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        let connections = Arc::new(OpenConnections::new(Port::Public, 100, metrics.clone()));
        let listeners = bind_each("LISTEN", "127.0.0.1:0".parse().unwrap(), "", 1).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let part = (Part::Server, &Crash::default());
        let server = Acceptors::start(listeners, &connections, part, |stopping| {
            let app = || {
                let app = App::new().default_service(web::to(async || {
                    HttpResponse::SwitchingProtocols().upgrade("websocket").finish()
                }));
                map_config(app, |()| AppConfig::default())
            };
            bounded(stopping)
                .upgrade(UpgradeFactory::new(Bounded::upgrade(app())))
                .finish(Bounded::ordinary(app()))
        });
        (server.unwrap(), address, metrics)
    }

    #[actix_rt::test]
    async fn a_handler_that_answers_101_without_a_socket_is_a_400_that_closes() {
        let (_server, address, metrics) = served().await;
        for upgrade in ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n");
            stream.write_all(head.repeat(2).as_bytes()).await.unwrap();
            let mut heard = String::new();
            stream.read_to_string(&mut heard).await.unwrap();
            assert!(heard.starts_with("HTTP/1.1 400 "), "{heard}");
            assert_eq!(heard.matches("HTTP/1.1 4").count(), 1, "{heard}");
            assert!(heard.contains("connection: close"), "{heard}");
        }
        let text = metrics.render();
        assert!(text.contains("scanlogin_sockets_refused_total{reason=\"handshake\"} 1"), "{text}");
    }
}
