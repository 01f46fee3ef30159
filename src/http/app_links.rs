//! The files by which the systems of phones learn which apps open what the QR code holds: Apple's
//! `apple-app-site-association` and Android's `assetlinks.json`. Made from the configuration.

use std::rc::Rc;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde_json::{Value, json};

use super::client::Client;
use crate::{
    config::{AppLinks, Config},
    error::ApiError,
    socket::Worker,
};

/// Apple's servers ask once a day or so, phones at an install: an hour is soon enough for a change.
pub(super) const CACHE: &str = "public, max-age=3600";

/// `GET /.well-known/apple-app-site-association`
pub(super) async fn apple(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    serve(&request, &worker.config, &association(&worker.config))
}

/// `GET /.well-known/assetlinks.json`
pub(super) async fn android(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    serve(&request, &worker.config, &statements(&worker.config.app_links))
}

fn serve(request: &HttpRequest, config: &Config, file: &Value) -> Result<HttpResponse, ApiError> {
    Client::of(request, config).check_host(config)?;
    Ok(HttpResponse::Ok()
        // Apple demands it of a file whose name has no extension.
        .insert_header(header::ContentType::json())
        .insert_header((header::CACHE_CONTROL, CACHE))
        .body(file.to_string()))
}

/// Only what the QR code holds: whatever else is at this host is for browsers.
fn association(config: &Config) -> Value {
    // The public URL may have a path of its own, in front of ours.
    let base = config.public_url.as_ref().map_or("", |url| url.path().trim_end_matches('/'));
    json!({
        "applinks": {
            "details": [{
                "appIDs": config.app_links.apple,
                "components": [{ "/": format!("{base}/s"), "comment": "a code to log in with" }],
            }],
        },
    })
}

/// Android has the path from the app's own manifest.
fn statements(app: &AppLinks) -> Value {
    let statement = |app: &crate::config::AndroidApp| {
        json!({
            "relation": ["delegate_permission/common.handle_all_urls"],
            "target": {
                "namespace": "android_app",
                "package_name": app.package,
                "sha256_cert_fingerprints": app.fingerprints,
            },
        })
    };
    app.android.iter().map(statement).collect()
}
