//! The public port: routes, and what all of them have in common.

mod body;
pub mod client;
mod demo;
mod limits;
mod scan;
mod script;
mod stream;
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
            .service(api("/stream", web::post().to(stream::stream)))
            .service(api("/stream/poll", web::post().to(stream::poll)))
            .service(api("/stream/message", web::post().to(stream::message)))
            .service(api("/scan", web::post().to(scan::scan)))
            .service(api("/scan/confirm", web::post().to(scan::confirm)))
            .service(api("/scan/deny", web::post().to(scan::deny)))
            .service(api("/scan/outcome", web::get().to(scan::outcome)))
            .service(api("/verify", web::get().to(verify::verify)))
            .service(api("/logout", web::post().to(verify::logout)));
        config.configure(script::routes);
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

/// Around every request: measured, counted, and marked with the headers that every answer has.
pub async fn around(
    metrics: Arc<Metrics>,
    clock: Clock,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let start = clock.now();
    let mut response = next.call(request).await?;
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
        script if script::SERVED.iter().any(|served| served.path == script) => Route::Script,
        "/" | "/s" | "/phone" | "/favicon.svg" => Route::Demo,
        demo if demo.starts_with("/demo/") => Route::Demo,
        _ => Route::Other,
    })
}
