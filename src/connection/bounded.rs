//! Where a request begins and ends, seen by its connection; and the one place that decides about a
//! 101.

use std::{
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_http::{
    ConnectionType, Request, RequestHead, Response, StatusCode,
    body::{BodySize, BoxBody, EitherBody, MessageBody},
    header,
};
use actix_service::{Service, ServiceFactory};
use actix_web::dev::ServiceResponse;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{Connection, progress::Body};
use crate::{error::ApiError, metrics::RefusedReason};

/// On which path a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// HTTP goes on after its answer.
    Ordinary,
    /// actix-http has let go of the connection: a 101 makes a socket of it.
    Upgrade,
}

/// An application, bounded.
pub struct Bounded<F> {
    inner: F,
    path: Path,
}

impl<F> Bounded<F> {
    /// The application for requests after which HTTP goes on.
    pub fn ordinary(inner: F) -> Self {
        Self { inner, path: Path::Ordinary }
    }

    /// The application for requests that want to become sockets.
    pub fn upgrade(inner: F) -> Self {
        Self { inner, path: Path::Upgrade }
    }
}

type Answered<B> = Watched<EitherBody<B>>;

impl<F, B> ServiceFactory<Request> for Bounded<F>
where
    F: ServiceFactory<Request, Config = (), Response = ServiceResponse<B>> + 'static,
    F::Service: 'static,
    B: MessageBody + 'static,
{
    type Response = Response<Answered<B>>;
    type Error = F::Error;
    type Config = ();
    type Service = Bounded<F::Service>;
    type InitError = F::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, Self::InitError>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let (inner, path) = (self.inner.new_service(()), self.path);
        Box::pin(async move { Ok(Bounded { inner: inner.await?, path }) })
    }
}

impl<S, B> Service<Request> for Bounded<S>
where
    S: Service<Request, Response = ServiceResponse<B>>,
    B: MessageBody + 'static,
{
    type Response = Response<Answered<B>>;
    type Error = S::Error;
    type Future = Answering<S::Future, B>;

    actix_service::forward_ready!(inner);

    fn call(&self, request: Request) -> Self::Future {
        let connection = Connection::current();
        let mut is_served = true;
        if let Some(connection) = &connection {
            let body = body_of(request.head());
            is_served = connection.change(|progress| progress.request(body));
            connection.is_upgrading.set(self.path == Path::Upgrade);
            // A handshake that this path cannot answer: whatever its sender takes for the answer,
            // no byte behind it is a request.
            if self.path == Path::Ordinary && asks_for_websocket(request.head()) {
                connection.close_after_answer();
            }
        }
        let inner = is_served.then(|| self.inner.call(request));
        Answering { inner, connection, path: self.path, body: PhantomData }
    }
}

fn body_of(head: &RequestHead) -> Body {
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        return Body::Chunked;
    }
    // actix-http has refused what is no number.
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.and_then(|length| length.trim().parse().ok()) {
        None | Some(0) => Body::None,
        Some(length) => Body::Length(length),
    }
}

fn asks_for_websocket(head: &RequestHead) -> bool {
    let names_it = |value: &header::HeaderValue| {
        value.as_bytes().to_ascii_lowercase().windows(9).any(|part| part == b"websocket")
    };
    head.headers.get_all(header::UPGRADE).any(names_it)
}

pin_project! {
    /// The answer, on its way; never ready where the connection answers nothing any more.
    pub struct Answering<F, B> {
        #[pin]
        inner: Option<F>,
        connection: Option<Rc<Connection>>,
        path: Path,
        body: PhantomData<B>,
    }
}

impl<F, E, B> Future for Answering<F, B>
where
    F: Future<Output = Result<ServiceResponse<B>, E>>,
    B: MessageBody + 'static,
{
    type Output = Result<Response<Answered<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Pending };
        let answer = ready!(inner.poll(cx));
        let connection = this.connection.take();
        Poll::Ready(match answer {
            Ok(response) => Ok(answered(response.into(), connection, *this.path)),
            Err(error) => {
                if let Some(connection) = connection {
                    connection.close_after_answer();
                    connection.change(|progress| progress.answered(false, Instant::now()));
                }
                Err(error)
            }
        })
    }
}

/// What every answer goes through.
fn answered<B: MessageBody + 'static>(
    response: Response<B>,
    connection: Option<Rc<Connection>>,
    path: Path,
) -> Response<Answered<B>> {
    let mut response = response.map_body(|_, body| EitherBody::left(body));
    if path == Path::Ordinary && response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // HTTP goes on here: what the client sends next would be taken for a request, and by a
        // proxy in between for bytes of a socket.
        tracing::error!("an answer switched protocols on a connection that goes on with HTTP");
        response = refusal().map_body(|_, body| EitherBody::right(body));
        if let Some(connection) = &connection {
            connection.close_after_answer();
            connection.shared.metrics().sockets_refused.inc(RefusedReason::Handshake);
        }
    }
    let is_stream = response.body().size() == BodySize::Stream;
    let closes = connection.as_ref().is_some_and(|connection| {
        connection.change(|progress| progress.answered(is_stream, Instant::now()))
    });
    let becomes_socket = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if (closes || path == Path::Upgrade) && !becomes_socket {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    let connection = connection.filter(|_| is_stream);
    response.map_body(|_, body| Watched { body, _end: End(connection) })
}

fn refusal() -> Response<BoxBody> {
    ApiError::NotUpgraded.response().into()
}

pin_project! {
    /// An answer's body, whose end its connection hears of where it is a stream.
    pub struct Watched<B> {
        #[pin]
        body: B,
        _end: End,
    }
}

struct End(Option<Rc<Connection>>);

impl Drop for End {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.change(|progress| progress.stream_ended(Instant::now()));
        }
    }
}

impl<B: MessageBody> MessageBody for Watched<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.project().body.poll_next(cx)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, _end } = self;
        body.try_into_bytes().map_err(|body| Self { body, _end })
    }
}
