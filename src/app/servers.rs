//! The two servers: browsers and phones, and the admin port.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_http::HttpService;
use actix_server::{Server, ServerHandle};
use actix_service::map_config;
use actix_web::{App, HttpServer, dev::AppConfig, middleware};
use socket2::{Domain, Socket, Type};

use super::{FINISH_TIME, StartError, threads::Shared};
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

pub(super) fn serve(listener: TcpListener, shared: Shared) -> std::io::Result<Server> {
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

pub(super) fn serve_admin(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    factory: StoreFactory,
    clock: Clock,
    tell_webhook: bool,
) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        let store = factory.make(&metrics, &clock);
        let (metrics, readiness) = (metrics.clone(), readiness.clone());
        let routes = admin::routes(metrics, readiness, store, clock.clone(), tell_webhook);
        App::new().configure(routes)
    });
    Ok(server.workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run())
}

pub(super) fn bind(
    variable: &'static str,
    address: SocketAddr,
    example: &'static str,
) -> Result<TcpListener, StartError> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        // Linux hands it down to each connection that is accepted.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    };
    listen().map_err(|error| StartError::Bind { variable, address, error, example })
}

pub(super) async fn stop(
    server_handle: &ServerHandle,
    admin_handle: &ServerHandle,
    graceful: bool,
    server: Server,
    admin: Server,
) {
    let stops = async { tokio::join!(server_handle.stop(graceful), admin_handle.stop(graceful)) };
    let _ = tokio::join!(stops, server, admin);
}
