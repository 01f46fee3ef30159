//! The browser's package, for any page to load: `<script type="module" src=".../v1/scanlogin.js">`.
//!
//! The build is committed beside its sources (`src/web/scan-login/`), so that building the service
//! needs nothing but Rust. `/v1/` promises that the element's attributes, events and parts keep
//! their meaning; `/scanlogin.js` is whatever is newest. Both change with the service, so neither
//! may be kept for long, and an integrity hash fits only a copy that somebody hosts themselves.

use std::rc::Rc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, CROSS_ORIGIN_RESOURCE_POLICY, ETag, EntityTag, Header, IfNoneMatch},
    web,
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::client::Client;
use crate::{error::ApiError, socket::Worker};

const SCRIPT: &str = include_str!("../web/scan-login/dist/scanlogin.js");
const MAP: &str = include_str!("../web/scan-login/dist/scanlogin.js.map");

/// Asked for again each time, which costs a 304.
const MOVING: &str = "no-cache";
/// An hour: long enough that a page's second visit asks nobody, short enough for a correction to
/// arrive the same day.
const WITHIN_A_MAJOR: &str = "public, max-age=3600, stale-while-revalidate=3600";

/// One path under which something is served.
pub(super) struct Served {
    pub(super) path: &'static str,
    text: &'static str,
    pub(super) content_type: &'static str,
    pub(super) cache_control: &'static str,
}

const fn script(path: &'static str, cache_control: &'static str) -> Served {
    Served { path, text: SCRIPT, content_type: "text/javascript; charset=utf-8", cache_control }
}

const fn map(path: &'static str, cache_control: &'static str) -> Served {
    Served { path, text: MAP, content_type: "application/json", cache_control }
}

/// Everything that is served.
pub(super) static SERVED: [Served; 4] = [
    script("/scanlogin.js", MOVING),
    script("/v1/scanlogin.js", WITHIN_A_MAJOR),
    map("/scanlogin.js.map", MOVING),
    map("/v1/scanlogin.js.map", WITHIN_A_MAJOR),
];

/// A route that serves it.
pub(super) fn route(served: &'static Served) -> actix_web::Route {
    let tag = tag(served.text);
    web::route().to(move |request: HttpRequest, worker: web::Data<Rc<Worker>>| {
        let tag = tag.clone();
        async move {
            Client::of(&request, &worker.config).check_host(&worker.config)?;
            Ok::<_, ApiError>(answer(&request, served, tag))
        }
    })
}

/// The same on every instance that serves the same text.
fn tag(text: &str) -> EntityTag {
    let hash = digest(&SHA256, text.as_bytes());
    EntityTag::new_strong(URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]))
}

fn answer(request: &HttpRequest, served: &'static Served, tag: EntityTag) -> HttpResponse {
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header(ETag(tag))
        .insert_header((header::CACHE_CONTROL, served.cache_control))
        // Whoever's page this is: it is public, and knows nothing about anybody.
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"));
    if known {
        return answer.finish();
    }
    answer.insert_header((header::CONTENT_TYPE, served.content_type)).body(served.text)
}
