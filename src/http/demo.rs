//! The demo: a page, a phone simulator, and users with a key of their own.

use std::rc::Rc;

use actix_web::{HttpRequest, HttpResponse, Route, http::header, web};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{body, client::Client};
use crate::{
    error::{ApiError, answer},
    socket::Worker,
    tokens::DemoUser,
};

/// One embedded file.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($file:literal, $content_type:literal, $path:literal) => {
        Asset {
            path: $path,
            content_type: $content_type,
            text: include_str!(concat!("../web/demo/", $file)),
        }
    };
}

const SIMULATOR: Asset = asset!("phone.html", "text/html; charset=utf-8", "/phone");

static ASSETS: &[Asset] = &[
    asset!("index.html", "text/html; charset=utf-8", "/"),
    SIMULATOR,
    asset!("index.js", "text/javascript; charset=utf-8", "/demo/index.js"),
    asset!("session.js", "text/javascript; charset=utf-8", "/demo/session.js"),
    asset!("phone.js", "text/javascript; charset=utf-8", "/demo/phone.js"),
    asset!("style.css", "text/css; charset=utf-8", "/demo/style.css"),
    asset!("favicon.svg", "image/svg+xml", "/favicon.svg"),
];

/// Nothing from elsewhere, no inline script, no frame around us.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

impl Asset {
    fn answer(&self) -> HttpResponse {
        HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, self.content_type))
            .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(self.text)
    }
}

/// The demo's files: path, content type, route.
pub(super) fn pages() -> impl Iterator<Item = (&'static str, &'static str, Route)> {
    ASSETS.iter().map(|asset| {
        let serve = move |request: HttpRequest, worker: web::Data<Rc<Worker>>| async move {
            Client::of(&request, &worker.config).check_host(&worker.config)?;
            Ok::<_, ApiError>(asset.answer())
        };
        (asset.path, asset.content_type, web::route().to(serve))
    })
}

/// The simulator, as the QR code's own address shows it.
pub(super) fn simulator() -> HttpResponse {
    SIMULATOR.answer()
}

/// `GET /demo/users`
pub(super) async fn users(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    Client::of(&request, &worker.config).check_host(&worker.config)?;
    Ok(answer(HttpResponse::Ok(), &DemoUser::ALL))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct UserBody {
    user: String,
}

/// `POST /demo/app-token`: what a real app's backend would do after its user logged in to the app.
pub(super) async fn app_token(
    request: HttpRequest,
    payload: web::Payload,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let client = Client::of(&request, &worker.config);
    client.check_host(&worker.config)?;
    client.check_origin(&worker.config)?;
    let UserBody { user } =
        body::read(&request, payload, "The body must have a text field 'user'").await?;
    let token = worker.app_auth.demo_token(&user);
    let token = token.ok_or(ApiError::Malformed("There is no such demo user"))?;
    Ok(answer(HttpResponse::Ok(), &json!({ "code": 100, "msg": "OK", "token": token })))
}
