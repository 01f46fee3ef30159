//! The admin port: metrics and health, never beside the public routes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use actix_web::{HttpResponse, http::header, web};

use crate::metrics::Metrics;

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
        config
            .app_data(web::Data::from(metrics))
            .app_data(web::Data::from(readiness))
            .route("/metrics", web::get().to(text))
            .route("/readyz", web::get().to(ready))
            .route("/livez", web::get().to(async || "alive\n"));
    }
}
