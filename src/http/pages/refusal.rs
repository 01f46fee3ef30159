//! A refusal as a person's browser shows it. Whoever calls the API gets JSON.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, Accept, Header, HeaderMap},
    },
};
use maud::{Markup, html};

use super::{Length, page, send};
use crate::{config::Config, error::ApiError};

/// Whether a browser shows the answer to a person: it went there itself, and says that it would
/// rather have a page. A script's `fetch`, curl and every HTTP library would take anything.
pub(in crate::http) fn asks_for_page(request: &HttpRequest) -> bool {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return false;
    }
    let wanted = Accept::parse(request).map(|header| header.ranked()).unwrap_or_default();
    let first = wanted.iter().find(|range| matches!(range.essence_str(), HTML | JSON));
    first.is_some_and(|range| range.essence_str() == HTML)
}

const HTML: &str = "text/html";
const JSON: &str = "application/json";

/// The same refusal, its status and headers, as a page.
pub(in crate::http) fn refusal(
    error: &ApiError,
    request: &HttpRequest,
    headers: &HeaderMap,
    config: &Config,
) -> HttpResponse {
    let wire = error.wire();
    let status = wire.status;
    let title = match status {
        StatusCode::NOT_FOUND => "There is nothing here",
        StatusCode::METHOD_NOT_ALLOWED => "This address is for programs",
        StatusCode::UPGRADE_REQUIRED => "This address is for WebSockets",
        StatusCode::UNAUTHORIZED => "This address needs a token",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests",
        StatusCode::SERVICE_UNAVAILABLE => "Not at the moment",
        StatusCode::FORBIDDEN => "Not allowed",
        _ => "That did not work",
    };
    // In front of our paths, where a proxy has put something there.
    let base = config.public_url.as_ref().map_or("", |url| url.path().trim_end_matches('/'));
    // A page that nobody sees is as long as the one that GET shows.
    let method = if *request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let allow = headers.get(header::ALLOW).and_then(|value| value.to_str().ok());
    let content = html! {
        h1 { (title) }
        p.lead { code { (method) " " (request.path()) } ": " (wire.msg) "." }
        (help(error, allow))
        p {
            @if config.demo.is_some() { a href={ (base) "/" } { "The demo" } " · " }
            a href={ (base) "/docs" } { "What there is, and how it is called" }
        }
        p.small { "HTTP " (status.as_u16()) ", code " (wire.code) }
    };
    let mut answer = HttpResponse::build(status);
    for (name, value) in headers {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name) {
            answer.append_header((name, value));
        }
    }
    send(answer, header::ACCEPT, "no-store", page("en", title, Length::Short, &content))
}

/// What somebody who came here by hand probably wanted.
fn help(error: &ApiError, allow: Option<&str>) -> Markup {
    match error {
        ApiError::NoSuchMethod => html! {
            p { "A browser's address bar sends GET; this address takes " code { (allow.unwrap_or("another method")) } "." }
        },
        ApiError::UpgradeRequired => html! {
            p { "A page opens it with " code { "new WebSocket(…)" } ", or lets " code { "<scan-login>" } " do so." }
        },
        ApiError::Unauthenticated(_) => html! {
            p { "It is called with " code { "Authorization: Bearer …" } ", which an address bar cannot send." }
        },
        ApiError::Host => html! {
            p {
                "The service listens on this machine alone, and answers under no other name, so that no page elsewhere can \
                 pretend to be here. Name the host in " code { "SCANLOGIN_PUBLIC_URL" } ", or the pages in "
                code { "SCANLOGIN_ALLOWED_ORIGINS" } "."
            }
        },
        ApiError::NoSuchPath => html! {
            p { "The address may be mistyped, or belong to a part that is not turned on here." }
        },
        _ => html! {},
    }
}
