//! The public port: routes, and what all of them have in common.

mod answers;
mod app_links;
mod approval;
pub mod body;
mod claims;
pub mod client;
pub(crate) mod cookie;
mod demo;
mod endpoints;
mod held;
mod limits;
mod openapi;
mod pages;
mod redeem;
mod risk;
mod scan;
mod script;
mod stream;
mod verify;
mod weblogin;

use std::{
    rc::Rc,
    sync::{Arc, LazyLock},
    time::Duration,
};

use actix_cors::Cors;
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};

use self::client::Client;
use self::endpoints::{Offered, Pages};
pub use self::{
    claims::OpenClaims,
    held::{MOST_HELD, SharedLooks},
    limits::{Limit, Limits},
    scan::CLAIM_HEADER,
};
use crate::{
    clock::Clock,
    config::{Config, Deliver},
    connection::{Connection, MAX_HEAD},
    error::ApiError,
    metrics::{Label, Metrics, Route, Status},
    origin::HostPort,
    socket::{self, Worker},
    trace,
};

/// How long a call was held open because the phone asked for it: not the time that it took.
#[derive(Clone, Copy)]
struct Held(Duration);

/// All routes of the public port.
pub fn routes(worker: &Rc<Worker>) -> impl FnOnce(&mut web::ServiceConfig) + use<> {
    let worker = worker.clone();
    move |config: &mut web::ServiceConfig| {
        let settings = worker.config.clone();
        config.app_data(web::Data::new(worker.clone()));
        let ticket = settings.deliver == Deliver::Ticket;
        let offered = Offered {
            demo: settings.demo.is_some(),
            apple: !settings.app_links.apple.is_empty(),
            android: !settings.app_links.android.is_empty(),
            key_set: worker.issuer.key_set().is_some(),
            ticket,
            // The webhook's tokens are known to nobody here.
            own_tokens: worker.webhook.is_none(),
        };
        for endpoint in endpoints::all(offered) {
            let resource = web::resource(endpoint.path);
            let methods: Vec<String> =
                endpoint.calls.iter().map(|call| call.method.to_string()).collect();
            let mut methods = methods.join(", ");
            let resource =
                endpoint.calls.into_iter().fold(resource, |all, call| all.route(call.route));
            if endpoint.head {
                methods.push_str(", HEAD");
            }
            // RFC 9110, 15.5.6: a 405 must say which methods there are.
            let resource = resource
                .default_service(web::to(move || std::future::ready(no_such_method(&methods))));
            match endpoint.cors {
                Pages::None => config.service(resource),
                Pages::Listed => config.service(resource.wrap(cors(settings.clone(), false))),
                // Only these look at cookies.
                Pages::MayHaveCookie => config.service(resource.wrap(cors(settings.clone(), true))),
                Pages::WithCookie => config.service(resource.wrap(cors(settings.clone(), ticket))),
            };
        }
        config.default_service(web::to(async || Err::<&str, _>(ApiError::NoSuchPath)));
    }
}

/// A 405 that names the methods that there are.
pub fn no_such_method(methods: &str) -> HttpResponse {
    let mut response = ApiError::NoSuchMethod.response();
    let allow = HeaderValue::from_str(methods).expect("names of methods");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// The public port as OpenAPI 3.1.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| endpoints::document().to_string());
    &DOCUMENT
}

async fn serve_document(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    Client::of(&request, &worker.config).check_host(&worker.config)?;
    Ok(HttpResponse::Ok()
        .insert_header(header::ContentType::json())
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(document()))
}

async fn open(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    socket::open(request, worker.get_ref().clone()).await
}

/// The same rule as for sockets, as browsers ask for it (spec 3.5). `credentials`: a page may send
/// the cookie along, which the configuration allows for listed origins only.
fn cors(config: Arc<Config>, credentials: bool) -> Cors {
    let cors = Cors::default()
        .allowed_origin_fn(move |origin, head| {
            let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
            let origin = origin.to_str().unwrap_or("null");
            config.origins.allow(Some(origin), host, config.public_url.as_ref())
        })
        .allowed_methods(["GET", "HEAD", "POST", "DELETE"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .allowed_header(CLAIM_HEADER)
        // What tracing and libraries add to a page's calls by themselves: without these, a page that
        // traces could call nothing.
        .allowed_headers(["traceparent", "tracestate", "baggage", "sentry-trace"])
        .allowed_header("x-requested-with")
        .expose_headers([header::RETRY_AFTER])
        .max_age(600);
    if credentials { cors.supports_credentials() } else { cors }
}

/// Longest `Host`, in bytes: the longest name of DNS has 253.
const MAX_HOST: usize = 255;

/// A `Host` that another server on the path could read differently, or that would be kept with a
/// waiting socket though no name is that long.
pub const BAD_HOST: ApiError = ApiError::Malformed(
    "Host must be one name or address, with a port or without, of at most 255 bytes",
);

/// Refuses heads that are too large, and what RFC 9112 (3.2) calls no `Host`. HTTP/1.1 without one
/// never comes here; HTTP/1.0 may do without, as load balancers' checks do.
///
/// # Errors
/// [`ApiError::HeadTooLarge`], [`BAD_HOST`].
pub fn check_head(request: &ServiceRequest) -> Result<(), ApiError> {
    if head_size(request) > MAX_HEAD {
        return Err(ApiError::HeadTooLarge);
    }
    let Some(host) = request.headers().get(header::HOST) else { return Ok(()) };
    let text = host.to_str().ok().filter(|text| text.len() <= MAX_HOST);
    if text.and_then(HostPort::parse).is_some() {
        return Ok(());
    }
    // Nothing behind it is a request to us.
    if let Some(connection) = Connection::current() {
        connection.close_after_answer();
    }
    Err(BAD_HOST)
}

fn head_size(request: &ServiceRequest) -> usize {
    // ": " and the end of each line.
    const AROUND: usize = 4;
    let line = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let headers = request.headers().iter();
    let sizes = headers.map(|(name, value)| name.as_str().len() + value.len() + AROUND);
    line + sizes.sum::<usize>()
}

/// Around every request: measured, counted, and marked with the headers that every answer has.
pub async fn around(
    metrics: Arc<Metrics>,
    clock: Clock,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let start = clock.now();
    let mut response = match check_head(&request) {
        Ok(()) => next.call(request).await?.map_into_left_body(),
        Err(error) => request.into_response(error.response()).map_into_right_body(),
    };
    if let Some(page) = refusal_as_page(&response) {
        response = response.into_response(page.map_into_right_body());
    }
    let route = route(response.request().match_pattern().as_deref());
    let held = response.request().extensions().get::<Held>().map_or(Duration::ZERO, |held| held.0);
    let end = clock.now();
    metrics.http_request_seconds.observe(route, end.since(start).saturating_sub(held));
    trace::finish(response.request(), route, response.status().as_u16(), start, end);
    metrics.http_requests.inc(route, Status::of(response.status().as_u16()));
    // There is nothing in it that a page could use.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        harden(response.headers_mut());
    }
    Ok(response)
}

/// The page that a person is to see instead of a refusal's JSON.
fn refusal_as_page<B>(response: &ServiceResponse<B>) -> Option<HttpResponse> {
    let error = response.response().extensions().get::<ApiError>().cloned()?;
    let request = response.request();
    if !pages::asks_for_page(request) {
        return None;
    }
    let worker = request.app_data::<web::Data<Rc<Worker>>>()?;
    Some(pages::refusal(&error, request, response.headers(), &worker.config))
}

/// What every answer has, unless its handler knew better: nothing of it is guessed at, framed, or
/// loaded into a page of another origin (a page that may call reads it by CORS).
fn harden(headers: &mut header::HeaderMap) {
    const FIXED: [(HeaderName, &str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ];
    for (name, value) in FIXED {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

fn route(pattern: Option<&str>) -> Route {
    let Some(pattern) = pattern else { return Route::Other };
    let known = Route::ALL.iter().copied().find(|route| route.text() == pattern);
    known.unwrap_or(match pattern {
        script if script::SERVED.iter().any(|served| served.path == script) => Route::Script,
        "/" | "/phone" | "/favicon.svg" => Route::Demo,
        demo if demo.starts_with("/demo/") => Route::Demo,
        _ => Route::Other,
    })
}
