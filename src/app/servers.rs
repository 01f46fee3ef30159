//! The two servers: browsers and phones, and the admin port.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_http::HttpService;
use actix_server::{Server, ServerHandle};
use actix_service::{ServiceFactory, map_config};
use actix_web::{App, HttpServer, dev::AppConfig, middleware};
use socket2::{Domain, Socket, Type};

use super::{
    StartError,
    acceptors::{Accepted, Acceptors, Stopping},
    threads::Shared,
};
use crate::{
    admin::{self, Readiness},
    clock::Clock,
    http,
    metrics::Metrics,
    socket::upgrade::UpgradeFactory,
    store::StoreFactory,
};

/// A request head must be complete within this time (spec 2.3).
const HEAD_TIME: Duration = Duration::from_secs(5);
/// A silent connection ends within this time (spec 2.3).
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Connections that may wait to be accepted: a reconnect storm comes within a second.
const BACKLOG: i32 = 4096;

/// Serves browsers and phones, on a thread for each listener.
pub(super) fn serve(listeners: Vec<TcpListener>, shared: Shared) -> io::Result<Acceptors> {
    let crash = shared.crash.clone();
    Acceptors::start(listeners, &crash, move |stopping| service(&shared, stopping))
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
    HttpService::build()
        .keep_alive(KEEP_ALIVE)
        // Whoever closes has gone: an answer that is held open for it ends at once.
        .h1_allow_half_closed(false)
        .client_request_timeout(HEAD_TIME)
        .client_disconnect_timeout(Duration::from_secs(1))
        // Lets idle keep-alive connections end at once when the server stops, as `HttpServer` does.
        .graceful_shutdown_signal(move || stopping.clone().asked())
        .upgrade(UpgradeFactory::new(app()))
        .finish(app())
}

pub(super) fn serve_admin(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    factory: StoreFactory,
    clock: Clock,
    tell_webhook: bool,
) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        let store = factory.make(&metrics, &clock);
        let (metrics, readiness) = (metrics.clone(), readiness.clone());
        let routes = admin::routes(metrics, readiness, store, clock.clone(), tell_webhook);
        App::new().configure(routes)
    });
    Ok(server.workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run())
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

pub(super) async fn stop(
    server: Acceptors,
    admin_handle: &ServerHandle,
    admin: Server,
    gracefully: bool,
) {
    let _ = tokio::join!(server.stop(gracefully), admin_handle.stop(gracefully), admin);
}
