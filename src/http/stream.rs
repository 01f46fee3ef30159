//! Where WebSockets are blocked: the same login over an event stream, or over long polling.

use std::{rc::Rc, time::Duration};

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::header::{self, HeaderName},
    web,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Held, body, client::Client};
use crate::{
    error::{ApiError, answer},
    json::{self, Object},
    metrics::{ProtocolLabel, RefusedReason},
    socket::{
        Worker,
        answer::{self as line, Asked, Seen},
        message::{self, Said},
        wants_qr,
    },
};

/// How long a poll is held open: half of what proxies commonly wait for an answer.
const HOLD: Duration = Duration::from_secs(25);
/// nginx's word for "hand it on as it comes".
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A proxy that compresses would wait for more to compress.
pub(super) const UNCACHED: &str = "no-store, no-transform";

const BODY: &str = "The body must be an object: empty, or with a text field 'resume'";

#[derive(Deserialize, JsonSchema)]
pub(super) struct OpenBody {
    resume: Option<String>,
    seen: Option<Object<Seen>>,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct MessageBody {
    resume: String,
    #[serde(rename = "type", deserialize_with = "json::word")]
    said: Said,
}

/// Who asks, if it may.
fn checked(request: &HttpRequest, worker: &Worker) -> Result<Client, ApiError> {
    let client = Client::of(request, &worker.config);
    client.check_host(&worker.config).map_err(|e| worker.refuse(RefusedReason::Host, e))?;
    client.check_origin(&worker.config).map_err(|e| worker.refuse(RefusedReason::Origin, e))?;
    Ok(client)
}

async fn asked(
    request: &HttpRequest,
    payload: web::Payload,
    worker: &Worker,
) -> Result<(Asked, Option<Seen>), ApiError> {
    let OpenBody { resume, seen } = body::read_json(request, payload, BODY)
        .await
        .map_err(|e| worker.refuse(RefusedReason::Handshake, e))?;
    let seen = seen.map(|Object(seen)| seen);
    Ok((Asked { resume, qr_svg: wants_qr(request) }, seen))
}

/// `POST /stream`
pub(super) async fn stream(
    request: HttpRequest,
    payload: web::Payload,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let client = checked(&request, &worker)?;
    let (asked, _) = asked(&request, payload, &worker).await?;
    let worker = worker.get_ref().clone();
    let mut said = line::open(worker, &client, asked, ProtocolLabel::Stream).await?;
    let mut response = HttpResponse::Ok();
    if let Some(cookie) = said.set_cookie.take() {
        response.insert_header((header::SET_COOKIE, cookie));
    }
    Ok(response
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, UNCACHED))
        .insert_header((X_ACCEL_BUFFERING, "no"))
        .streaming(said.into_events()))
}

/// `POST /stream/poll`
pub(super) async fn poll(
    request: HttpRequest,
    payload: web::Payload,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let client = checked(&request, &worker)?;
    let (asked, seen) = asked(&request, payload, &worker).await?;
    let start = worker.clock.now();
    let shared = worker.get_ref().clone();
    let mut said = line::open(shared, &client, asked, ProtocolLabel::Poll).await?;
    let mut response = HttpResponse::Ok();
    if let Some(cookie) = said.set_cookie.take() {
        response.insert_header((header::SET_COOKIE, cookie));
    }
    let news = said.first_news(seen, HOLD).await;
    request.extensions_mut().insert(Held(worker.clock.now().since(start)));
    Ok(answer(response, &news.to_json()))
}

/// `POST /stream/message`
pub(super) async fn message(
    request: HttpRequest,
    payload: web::Payload,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let client = Client::of(&request, &worker.config);
    client.check_host(&worker.config)?;
    client.check_origin(&worker.config)?;
    worker.limits.resumes.check(client.limit_key()).map_err(ApiError::Limited)?;
    let expected = "The body must have text fields 'resume' and 'type': received or cancel";
    let MessageBody { resume, said } = body::read_json(&request, payload, expected).await?;
    message::hear(worker.get_ref(), &resume, said, client.network()).await?;
    Ok(answer(HttpResponse::Ok(), &json!({ "code": 100, "msg": "OK" })))
}
