//! From a request with `Upgrade: websocket` to a bare socket.
//!
//! Such a request leaves the HTTP/1 dispatcher and reaches [`UpgradeService`]. It calls a second
//! instance of the same application, so that routes, extractors and middleware all apply, and looks
//! whether the response carries an [`UpgradeHook`]. If so, the dispatcher's two buffers of 8 KiB are
//! dropped, and the hook gets the socket and the 101 to write; else the response is written and the
//! connection closed. The stock way would keep both buffers for as long as the socket lives.

use std::{cell::RefCell, fmt::Display, marker::PhantomData, rc::Rc};

use actix_codec::{Encoder, Framed};
use actix_http::{
    ConnectionType, Method, Request, Response, StatusCode,
    body::{BodySize, BoxBody, MessageBody},
    h1,
};
use actix_service::{Service, ServiceFactory};
use bytes::{Bytes, BytesMut};
use futures_util::future::LocalBoxFuture;
use tokio::net::TcpStream;

use super::transport::write_and_close;
use crate::{
    connection::{Connection, GuardedStream, SocketPlace},
    error::ApiError,
};

/// What a handler leaves in its response's extensions: called when the request has become a socket.
pub struct UpgradeHook(RefCell<Option<HookFn>>);

type HookFn = Box<dyn FnOnce(NewSocket)>;

/// A request that has become a socket.
pub struct NewSocket {
    /// The connection.
    pub io: TcpStream,
    /// What the client sent behind its handshake.
    pub early: Bytes,
    /// The head of the 101, to be written together with what is said first.
    pub head: BytesMut,
    /// Its place among the open connections.
    pub place: Option<SocketPlace>,
}

impl UpgradeHook {
    /// A hook.
    pub fn new(hook: impl FnOnce(NewSocket) + 'static) -> Self {
        Self(RefCell::new(Some(Box::new(hook))))
    }
}

/// Room for the head of a 101 and a first frame, in bytes.
const HEAD: usize = 1024;

/// Makes an [`UpgradeService`] for each worker.
pub struct UpgradeFactory<F, B>(F, PhantomData<B>);

impl<F, B> UpgradeFactory<F, B> {
    /// Serves upgrades with this application.
    pub fn new(application: F) -> Self {
        Self(application, PhantomData)
    }
}

/// See the module's text.
pub struct UpgradeService<S, B>(Rc<S>, PhantomData<B>);

type Upgraded = (Request, Framed<GuardedStream, h1::Codec>);

impl<F, B> ServiceFactory<Upgraded> for UpgradeFactory<F, B>
where
    F: ServiceFactory<Request, Config = ()> + 'static,
    F::Response: Into<Response<B>>,
    F::Error: Into<Response<BoxBody>>,
    F::Service: 'static,
    F::InitError: std::fmt::Debug + 'static,
    F::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = Refused;
    type Config = ();
    type Service = UpgradeService<F::Service, B>;
    type InitError = F::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, Self::InitError>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let service = self.0.new_service(());
        Box::pin(async move { Ok(UpgradeService(Rc::new(service.await?), PhantomData)) })
    }
}

/// Never made: the service answers by itself. The dispatcher wants a type that can be an answer.
#[derive(Debug)]
pub struct Refused;

impl Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl From<Refused> for Response<BoxBody> {
    fn from(_: Refused) -> Self {
        Self::internal_server_error()
    }
}

impl<S, B> Service<Upgraded> for UpgradeService<S, B>
where
    S: Service<Request> + 'static,
    S::Response: Into<Response<B>>,
    S::Error: Into<Response<BoxBody>>,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = Refused;
    type Future = LocalBoxFuture<'static, Result<(), Refused>>;

    actix_service::always_ready!();

    fn call(&self, (request, framed): Upgraded) -> Self::Future {
        if Connection::current().is_some_and(|connection| connection.closes()) {
            // It stands behind a request after which nothing is answered: only that one's answer,
            // which actix-http has not written yet, is still to go out.
            return Box::pin(async move {
                let parts = framed.into_parts();
                let (io, _place) = parts.io.into_parts();
                write_and_close(&io, &parts.write_buf).await;
                Ok(())
            });
        }
        let is_head = *request.method() == Method::HEAD;
        let answer = self.0.call(request);
        Box::pin(async move {
            let response = match answer.await {
                Ok(response) => response.into().map_into_boxed_body(),
                Err(error) => error.into(),
            };
            serve(response, is_head, framed).await;
            Ok(())
        })
    }
}

async fn serve(
    mut response: Response<BoxBody>,
    is_head: bool,
    framed: Framed<GuardedStream, h1::Codec>,
) {
    let hook =
        response.extensions().get::<UpgradeHook>().and_then(|hook| hook.0.borrow_mut().take());
    let parts = framed.into_parts();
    let ((io, place), mut codec) = (parts.io.into_parts(), parts.codec);
    let early = parts.read_buf.freeze();
    // What the dispatcher had not written yet of an earlier answer on this connection.
    let mut out = parts.write_buf;
    if hook.is_none() && response.status() == StatusCode::SWITCHING_PROTOCOLS {
        tracing::error!("an answer switched protocols without a socket");
        response = ApiError::NotUpgraded.response().into();
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    let mut body = None;
    let response = response.map_body(|_, taken| body = Some(taken));
    let Some(hook) = hook else {
        let body = match body {
            Some(body) => actix_http::body::to_bytes(body).await.unwrap_or_default(),
            None => Bytes::new(),
        };
        let head = (response, BodySize::Sized(body.len() as u64));
        if codec.encode(h1::Message::Item(head), &mut out).is_ok() {
            // Of HEAD the answer has the length of a body, and none (RFC 9110, 9.3.2).
            if !is_head {
                out.extend_from_slice(&body);
            }
            write_and_close(&io, &out).await;
        }
        return;
    };
    // A block of its own size: the dispatcher's is 8 KiB.
    let mut head = BytesMut::with_capacity(out.len() + HEAD);
    head.extend_from_slice(&out);
    if codec.encode(h1::Message::Item((response, BodySize::None)), &mut head).is_ok() {
        // A copy of the few bytes that may have come early, or nothing: not the buffer.
        let early = Bytes::copy_from_slice(&early);
        hook(NewSocket { io, early, head, place });
    }
}
