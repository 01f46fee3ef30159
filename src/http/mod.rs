//! The public port: routes, and what all of them have in common.

mod body;
mod claims;
pub mod client;
mod demo;
mod limits;
mod risk;
mod scan;
mod verify;

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_cors::Cors;
use actix_web::{
    HttpMessage, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web,
};

pub use self::{
    claims::OpenClaims,
    limits::{Limit, Limits},
    scan::CLAIM_HEADER,
};
use crate::{
    clock::Clock,
    config::Config,
    error::ApiError,
    metrics::{Label, Metrics, Route, Status},
    socket::{self, Worker},
};

/// How long a call was held open because the phone asked for it: not the time that it took.
#[derive(Clone, Copy)]
struct Held(Duration);

/// All routes of the public port.
pub fn routes(worker: &Rc<Worker>) -> impl FnOnce(&mut web::ServiceConfig) + use<> {
    let worker = worker.clone();
    move |config: &mut web::ServiceConfig| {
        let settings = worker.config.clone();
        let api = |path: &str, route: actix_web::Route| {
            web::resource(path)
                .wrap(cors(settings.clone()))
                .route(route)
                .default_service(web::to(async || Err::<&str, _>(ApiError::NoSuchMethod)))
        };
        config
            .app_data(web::Data::new(worker.clone()))
            .service(web::resource("/ws").route(web::route().to(open)))
            .service(api("/scan", web::post().to(scan::scan)))
            .service(api("/scan/confirm", web::post().to(scan::confirm)))
            .service(api("/scan/deny", web::post().to(scan::deny)))
            .service(api("/scan/outcome", web::get().to(scan::outcome)))
            .service(api("/verify", web::get().to(verify::verify)))
            .service(api("/logout", web::post().to(verify::logout)));
        if settings.demo.is_some() {
            config.configure(demo::routes);
        }
        config.default_service(web::to(async || Err::<&str, _>(ApiError::NoSuchPath)));
    }
}

async fn open(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<actix_web::HttpResponse, ApiError> {
    socket::open(request, worker.get_ref().clone()).await
}

/// The same rule as for sockets, as browsers ask for it (spec 3.5).
fn cors(config: Arc<Config>) -> Cors {
    Cors::default()
        .allowed_origin_fn(move |origin, head| {
            let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
            let origin = origin.to_str().unwrap_or("null");
            config.origins.allow(Some(origin), host, config.public_url.as_ref())
        })
        .allowed_methods(["GET", "POST"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .allowed_header(CLAIM_HEADER)
        .expose_headers([header::RETRY_AFTER])
        .max_age(600)
}

/// The longest request head, in bytes: an app's JWT and a browser's cookies fit in. The HTTP layer
/// would take 128 KiB, and cuts longer ones off by itself.
const MAX_HEAD: usize = 16 * 1024;

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
    let mut response = if head_size(&request) > MAX_HEAD {
        request.into_response(ApiError::HeadTooLarge.response()).map_into_right_body()
    } else {
        next.call(request).await?.map_into_left_body()
    };
    let route = route(response.request().match_pattern().as_deref());
    let held = response.request().extensions().get::<Held>().map_or(Duration::ZERO, |held| held.0);
    let took = clock.now().since(start).saturating_sub(held);
    metrics.http_request_seconds.observe(route, took);
    metrics.http_requests.inc(route, Status::of(response.status().as_u16()));
    let headers = response.headers_mut();
    let fixed = header::HeaderValue::from_static;
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(header::REFERRER_POLICY, fixed("no-referrer"));
    Ok(response)
}

fn route(pattern: Option<&str>) -> Route {
    let Some(pattern) = pattern else { return Route::Other };
    let known = Route::ALL.iter().copied().find(|route| route.text() == pattern);
    known.unwrap_or(match pattern {
        "/" | "/s" | "/phone" | "/favicon.svg" => Route::Demo,
        demo if demo.starts_with("/demo/") => Route::Demo,
        _ => Route::Other,
    })
}
