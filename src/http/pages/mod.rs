//! Pages that the service itself writes for people: `/s`, `/docs`, and refusals that a browser shows.
//!
//! Not one script, and everything in the one answer: on the origin where people log in, nothing else
//! is to run. maud escapes whatever is filled in.

mod docs;
mod landing;
mod refusal;
mod texts;

use std::sync::LazyLock;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header::{self, HeaderName},
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

pub(super) use self::{
    docs::{CACHE as DOCS_CACHE, docs},
    landing::{CACHE as LANDING_CACHE, landing_page_or_demo},
    refusal::{asks_for_page, refusal},
};

const STYLE: &str = include_str!("../../web/pages/style.css");
const ICON: &str = include_str!("../../web/demo/favicon.svg");

/// This style and this icon, and nothing else at all.
static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
});

static ICON_URL: LazyLock<String> =
    LazyLock::new(|| format!("data:image/svg+xml,{}", utf8_percent_encode(ICON, NON_ALPHANUMERIC)));

/// How much a page holds.
#[derive(Clone, Copy)]
enum Length {
    Short,
    Long,
}

impl Length {
    const fn class(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Long => "long",
        }
    }
}

fn page(language: &str, title: &str, length: Length, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang=(language) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) }
                link rel="icon" type="image/svg+xml" href=(*ICON_URL);
                style { (PreEscaped(STYLE)) }
            }
            body { main class=(length.class()) { (content) } }
        }
    };
    page.into_string()
}

/// Sends a page. `vary` names the header of the request that it was chosen by.
fn send(
    mut builder: HttpResponseBuilder,
    vary: HeaderName,
    cache: &'static str,
    page: String,
) -> HttpResponse {
    builder
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY.as_str()))
        .insert_header((header::CACHE_CONTROL, cache))
        .insert_header((header::VARY, vary.as_str()))
        .body(page)
}
