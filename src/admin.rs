//! The admin port: metrics, health, and ending a user's web login; never beside the public routes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use actix_web::{
    HttpRequest, HttpResponse, Resource, Route,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    guard,
    http::header::{self, HeaderValue},
    middleware::{self, Next},
    web,
};
use aws_lc_rs::constant_time;
use serde::Deserialize;
use serde_json::json;

use crate::{
    clock::Clock,
    config::Secret,
    error::{ApiError, answer},
    http::{self, body},
    metrics::{Metrics, TokenRefusal},
    origin::names_loopback,
    store::Store,
    tokens::{MAX_USER, bearer},
};

/// Whether a load balancer should send new browsers here.
///
/// Ready is who has been subscribed, or polling, once since the start, and is not draining. A Redis
/// outage is not in it: taking every instance away would make it worse (spec section 6).
pub struct Readiness {
    /// Threads whose feed has not worked yet.
    deaf: AtomicUsize,
    draining: AtomicBool,
}

impl Readiness {
    /// Not ready before the feeds of so many threads have worked once.
    pub fn new(threads: usize) -> Self {
        Self { deaf: AtomicUsize::new(threads), draining: AtomicBool::new(false) }
    }

    /// The feed of one more thread has worked once.
    pub fn one_more_listens(&self) {
        self.deaf.fetch_sub(1, Ordering::SeqCst);
    }

    /// No more new browsers.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// What `/readyz` says, and why.
    pub fn state(&self) -> Result<(), &'static str> {
        if self.draining.load(Ordering::SeqCst) {
            Err("draining")
        } else if self.deaf.load(Ordering::SeqCst) > 0 {
            Err("not subscribed yet")
        } else {
            Ok(())
        }
    }
}

/// Before every path: the same heads as on the public port, and on a loopback listener only names of
/// this machine. A page elsewhere whose name is made to resolve to it (DNS rebinding) reads nothing
/// here and ends nothing; who sends no name, which HTTP/1.0 may, is no browser.
///
/// # Errors
/// Those of the application; refusals are answers.
pub async fn guard(
    is_loopback: bool,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let host = request.headers().get(header::HOST);
    let is_ours = |host: &HeaderValue| host.to_str().is_ok_and(names_loopback);
    let is_foreign = is_loopback && !host.is_none_or(is_ours);
    let checked = http::check_head(&request);
    let checked = checked.and(if is_foreign { Err(ApiError::Host) } else { Ok(()) });
    Ok(match checked {
        Ok(()) => next.call(request).await?.map_into_left_body(),
        Err(error) => request.into_response(error.response()).map_into_right_body(),
    })
}

/// The admin port's routes.
pub fn routes(
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    sessions: Sessions,
    clock: Clock,
) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config: &mut web::ServiceConfig| {
        let text = async |metrics: web::Data<Metrics>| {
            HttpResponse::Ok()
                .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
                .body(metrics.render())
        };
        let ready = async |readiness: web::Data<Readiness>| match readiness.state() {
            Ok(()) => HttpResponse::Ok().body("ready\n"),
            Err(why) => HttpResponse::ServiceUnavailable().body(format!("{why}\n")),
        };
        let around = {
            let metrics = metrics.clone();
            middleware::from_fn(move |request, next| {
                http::around(metrics.clone(), clock.clone(), request, next)
            })
        };
        let revoke = web::resource("/revoke")
            .wrap(around)
            .app_data(web::Data::new(sessions))
            .route(web::post().to(revoke))
            .default_service(web::to(async || http::no_such_method("POST")));
        config
            .service(revoke)
            .app_data(web::Data::from(metrics))
            .app_data(web::Data::from(readiness))
            .service(readable("/metrics", web::route().to(text)))
            .service(readable("/readyz", web::route().to(ready)))
            .service(readable("/livez", web::route().to(async || "alive\n")))
            .default_service(web::to(async || Err::<&str, _>(ApiError::NoSuchPath)));
    }
}

/// What GET reads, and HEAD.
fn readable(path: &str, route: Route) -> Resource {
    web::resource(path)
        .route(route.guard(guard::Any(guard::Get()).or(guard::Head())))
        .default_service(web::to(async || http::no_such_method("GET, HEAD")))
}

/// What `/revoke` ends, and who may.
pub struct Sessions {
    /// Where they are.
    pub store: Store,
    /// Whether a webhook made their tokens.
    pub tell_webhook: bool,
    /// What is demanded; `None`: nothing, and who reaches the port is the operator.
    pub token: Option<Secret>,
}

impl Sessions {
    /// Whether this request may end them.
    fn may_be_ended_by(&self, request: &HttpRequest) -> bool {
        let Some(token) = &self.token else { return true };
        let given = request.headers().get(header::AUTHORIZATION);
        let given = bearer(given.and_then(|value| value.to_str().ok())).unwrap_or_default();
        // In constant time, but for the length, which is no secret.
        constant_time::verify_slices_are_equal(token.expose(), given.as_bytes()).is_ok()
    }
}

#[derive(Deserialize)]
struct UserBody {
    user: String,
}

/// `POST /revoke`: ends a user's web login.
async fn revoke(
    request: HttpRequest,
    payload: web::Payload,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    // A page in the operator's browser is not the operator, under whatever name it reaches us.
    if request.headers().contains_key(header::ORIGIN) {
        return Err(ApiError::Origin);
    }
    if !sessions.may_be_ended_by(&request) {
        return Err(ApiError::Unauthenticated(TokenRefusal::Missing));
    }
    let expected = "The body must have a text field 'user' of 1 to 255 bytes";
    let UserBody { user } = body::read_json(&request, payload, expected).await?;
    if user.is_empty() || user.len() > MAX_USER {
        return Err(ApiError::Malformed(expected));
    }
    let Sessions { store, tell_webhook, .. } = sessions.get_ref();
    let ended = match tell_webhook {
        true => store.end_session_and_tell(&user).await,
        false => store.end_session(&user).await,
    };
    let ended = ended.map_err(|_| ApiError::StoreAway)?;
    tracing::info!(login = ended.map(|id| id.log_id()), "ended by the operator");
    let body = json!({ "code": 100, "msg": "OK", "ended": u8::from(ended.is_some()) });
    Ok(answer(HttpResponse::Ok(), &body))
}
