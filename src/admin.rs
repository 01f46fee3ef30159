//! The admin port: metrics, health, and ending a user's web login; never beside the public routes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use actix_web::{HttpRequest, HttpResponse, http::header, middleware, web};
use serde::Deserialize;
use serde_json::json;

use crate::{
    clock::Clock,
    error::{ApiError, answer},
    http::{self, body},
    metrics::Metrics,
    store::Store,
    tokens::MAX_USER,
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

/// The admin port's routes.
pub fn routes(
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    store: Store,
    clock: Clock,
    tell_webhook: bool,
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
            .app_data(web::Data::new(Sessions { store, tell_webhook }))
            .route(web::post().to(revoke))
            .default_service(web::to(async || Err::<&str, _>(ApiError::NoSuchMethod)));
        config
            .service(revoke)
            .app_data(web::Data::from(metrics))
            .app_data(web::Data::from(readiness))
            .route("/metrics", web::get().to(text))
            .route("/readyz", web::get().to(ready))
            .route("/livez", web::get().to(async || "alive\n"));
    }
}

/// What `/revoke` ends.
struct Sessions {
    store: Store,
    /// Whether a webhook made their tokens.
    tell_webhook: bool,
}

#[derive(Deserialize)]
struct UserBody {
    user: String,
}

/// `POST /revoke`: ends a user's web login, whoever asks: who reaches this port is the operator.
async fn revoke(
    request: HttpRequest,
    payload: web::Payload,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    // A page in the operator's browser is not the operator, under whatever name it reaches us.
    if request.headers().contains_key(header::ORIGIN) {
        return Err(ApiError::Origin);
    }
    let expected = "The body must have a text field 'user' of 1 to 255 bytes";
    let UserBody { user } = body::read_json(&request, payload, expected).await?;
    if user.is_empty() || user.len() > MAX_USER {
        return Err(ApiError::Malformed(expected));
    }
    let Sessions { store, tell_webhook } = sessions.get_ref();
    let ended = match tell_webhook {
        true => store.end_session_and_tell(&user).await,
        false => store.end_session(&user).await,
    };
    let ended = ended.map_err(|_| ApiError::StoreAway)?;
    tracing::info!(login = ended.map(|id| id.log_id()), "ended by the operator");
    let body = json!({ "code": 100, "msg": "OK", "ended": u8::from(ended.is_some()) });
    Ok(answer(HttpResponse::Ok(), &body))
}
