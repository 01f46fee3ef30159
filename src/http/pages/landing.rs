//! `GET /s`: what the QR code's address shows on a phone whose system opened no app for it.
//!
//! The key is in the fragment, which no browser sends, and this page has no script that could read
//! it: nothing happens here but reading.

use std::rc::Rc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, AcceptLanguage, Header},
    web,
};
use maud::html;
use url::Url;

use super::{
    Length, page, send,
    texts::{TEXTS, Texts},
};
use crate::{
    config::AppLinks,
    error::ApiError,
    http::{client::Client, demo},
    socket::Worker,
};

/// Asked for again each time: it is seen once, and a change of the app's links is to be seen.
pub(in crate::http) const CACHE: &str = "no-cache";

/// With the demo, the simulator plays the app; else the page above.
pub(in crate::http) async fn landing_page_or_demo(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    Client::of(&request, &worker.config).check_host(&worker.config)?;
    if worker.config.demo.is_some() {
        return Ok(demo::simulator());
    }
    let texts = texts(&request);
    let text = landing(texts, &worker.config.app_links);
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CONTENT_LANGUAGE, texts.language));
    Ok(send(answer, header::ACCEPT_LANGUAGE, CACHE, text))
}

/// The best of our languages for this phone.
fn texts(request: &HttpRequest) -> &'static Texts {
    let wanted = AcceptLanguage::parse(request).map(|header| header.ranked()).unwrap_or_default();
    let find = |language: &str| TEXTS.iter().find(|texts| texts.language == language);
    // zh-Hant-TW is served by zh: whoever reads the one reads the other better than English.
    let found = wanted.iter().filter_map(|preference| preference.item()).find_map(|tag| {
        let tag = tag.as_str();
        find(tag.split('-').next().unwrap_or(tag))
    });
    found.unwrap_or(&TEXTS[0])
}

fn landing(texts: &Texts, app: &AppLinks) -> String {
    let name = app.name.as_deref().unwrap_or(texts.app);
    let fill = |text: &str| text.replace("{app}", name);
    let title = fill(texts.title);
    let what_to_do = if app.stores.is_empty() { texts.ask } else { texts.install };
    let content = html! {
        h1 { (title) }
        p.lead { (fill(texts.happened)) }
        p { (fill(what_to_do)) }
        @if !app.stores.is_empty() {
            ul.buttons {
                @for store in &app.stores {
                    li { a href=(store) rel="noreferrer" { (store_name(store)) } }
                }
            }
        }
        p.notice { (fill(texts.warning)) }
    };
    page(texts.language, &title, Length::Short, &content)
}

/// As the shops call themselves, in every language; else the host.
fn store_name(store: &Url) -> &str {
    match store.host_str().unwrap_or_default() {
        "apps.apple.com" | "itunes.apple.com" => "App Store",
        "play.google.com" => "Google Play",
        "f-droid.org" => "F-Droid",
        host => host,
    }
}
