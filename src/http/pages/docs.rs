//! `GET /docs`: `/openapi.json` for people, with a curl line for each call.
//!
//! Written by us, from the document itself, and without a script. Of the libraries that do this,
//! redoc, RapiDoc and scalar (0.9 to 3.6 MB) want a policy that allows inline styles; Swagger UI
//! (1.9 MB) runs under ours. But whatever runs on this origin can use the cookie and the token that
//! log people in, and none of them is worth that: this page is 50 KB, prints, and can be read aloud.

use std::{fmt::Write, rc::Rc, sync::LazyLock};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::{Length, page, send};
use crate::{
    error::ApiError,
    http::{client::Client, endpoints, openapi::example},
    socket::Worker,
};

/// It changes with the service.
pub(in crate::http) const CACHE: &str = "no-cache";

/// Stands in the page for the service's own address until somebody asks. Escaping leaves it alone.
const BASE: &str = "%BASE%";

static PAGE: LazyLock<String> =
    LazyLock::new(|| whole(&endpoints::document(), &endpoints::paths()));

/// The same for everybody but for the address.
pub(in crate::http) async fn docs(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let client = Client::of(&request, &worker.config);
    client.check_host(&worker.config)?;
    // Where it is not configured, it is what the reader's browser calls us.
    let base = html! { (client.public_base(&worker.config)) }.into_string();
    Ok(send(HttpResponse::Ok(), header::HOST, CACHE, PAGE.replace(BASE, &base)))
}

/// One method of one path.
struct Call<'a> {
    method: String,
    path: &'a str,
    operation: &'a Value,
}

impl Call<'_> {
    fn tag(&self) -> &str {
        self.operation["tags"][0].as_str().unwrap_or_default()
    }

    fn anchor(&self) -> &str {
        self.operation["operationId"].as_str().unwrap_or_default()
    }
}

/// `order`: of the paths, as their table has them; the document sorts them by their letters.
fn whole(document: &Value, order: &[&str]) -> String {
    let empty = Map::new();
    let paths = document["paths"].as_object().unwrap_or(&empty);
    let mut calls: Vec<Call<'_>> =
        paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().into_iter().flatten();
                // Said once, at the top.
                methods.filter(|(method, _)| *method != "head").map(move |(method, operation)| {
                    Call { method: method.to_uppercase(), path, operation }
                })
            })
            .collect();
    calls.sort_by_key(|call| order.iter().position(|path| *path == call.path));
    let tags = document["tags"].as_array().cloned().unwrap_or_default();
    let of = |tag: &Value| -> Vec<&Call<'_>> {
        calls.iter().filter(|call| Some(call.tag()) == tag["name"].as_str()).collect()
    };
    let content = html! {
        h1 { "scanlogin: the HTTP API" }
        p.lead {
            "Version " (text(&document["info"]["version"])) " at " code { (BASE) } ". The same for programs: "
            a href="openapi.json" { "openapi.json" } " (OpenAPI 3.1)."
        }
        @for paragraph in text(&document["info"]["description"]).split("\n\n") {
            p { (marked(paragraph)) }
        }
        nav aria-label="Calls" {
            @for tag in &tags {
                p { strong { (text(&tag["name"])) } }
                ul {
                    @for call in of(tag) {
                        li { a href={ "#" (call.anchor()) } { code { (call.method) " " (call.path) } } }
                    }
                }
            }
        }
        @for tag in &tags {
            h2 { (text(&tag["name"])) }
            p { (marked(text(&tag["description"]))) }
            @for call in of(tag) { (operation(document, call)) }
        }
    };
    page("en", "The HTTP API of scanlogin", Length::Long, &content)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What stands between backticks is code.
fn marked(paragraph: &str) -> Markup {
    html! {
        @for (index, part) in paragraph.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn operation(document: &Value, call: &Call<'_>) -> Markup {
    let operation = call.operation;
    let empty = Vec::new();
    let parameters = operation["parameters"].as_array().unwrap_or(&empty);
    let body = &operation["requestBody"]["content"];
    let schema = &body["application/json"]["schema"];
    let takes_form = !body["application/x-www-form-urlencoded"].is_null();
    html! {
        section id=(call.anchor()) {
            h3 { span.method { (call.method) } " " code { (call.path) } }
            p { (marked(text(&operation["summary"]))) ". " (marked(text(&operation["description"]))) }
            @if let Some(scheme) = scheme(operation) {
                p { "Needs " code { "Authorization: Bearer …" } ": "
                    (text(&document["components"]["securitySchemes"][scheme]["description"])) "." }
            }
            @if !parameters.is_empty() {
                div.scroll tabindex="0" role="group" aria-label="Parameters" { table {
                    caption { "Parameters" }
                    @for parameter in parameters {
                        tr {
                            td { code { (text(&parameter["name"])) } }
                            td { (text(&parameter["in"])) @if parameter["required"] == true { ", required" } }
                            td { (marked(text(&parameter["description"]))) }
                        }
                    }
                } }
            }
            @if !schema.is_null() { (fields(document, schema, takes_form)) }
            pre tabindex="0" role="group" aria-label={ "Example of " (call.method) " " (call.path) } { (curl(document, call)) }
            (answers(document, operation))
        }
    }
}

fn scheme(operation: &Value) -> Option<&str> {
    operation["security"][0].as_object()?.keys().next().map(String::as_str)
}

fn fields(document: &Value, schema: &Value, takes_form: bool) -> Markup {
    let schema = example::resolved(document, schema);
    html! {
        div.scroll tabindex="0" role="group" aria-label="Body" { table {
            caption { "Body: JSON" @if takes_form { ", or a form" } }
            @for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                tr {
                    td { code { (name) } }
                    td { @if example::requires(schema, name) { "required" } @else { "optional" } }
                    td { (marked(text(&field["description"]))) }
                }
            }
        } }
    }
}

/// A line for a shell; a socket cannot be had with curl.
fn curl(document: &Value, call: &Call<'_>) -> String {
    if call.path == "/ws" {
        return format!("new WebSocket('{BASE}/ws', 'scanlogin.v1')");
    }
    let mut line = format!("curl -s '{BASE}{}'", call.path);
    match call.method.as_str() {
        "GET" => {}
        "POST" if !call.operation["requestBody"].is_null() => {}
        method => {
            let _ = write!(line, " -X {method}");
        }
    }
    match scheme(call.operation) {
        Some("appToken") => line.push_str(" -H \"Authorization: Bearer $APP_JWT\""),
        Some(_) => line.push_str(" -H \"Authorization: Bearer $TOKEN\""),
        None => {}
    }
    for parameter in call.operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "header" && parameter["required"] == true {
            let _ = write!(line, " -H \"{}: $CLAIM\"", text(&parameter["name"]));
        }
    }
    let schema = &call.operation["requestBody"]["content"]["application/json"]["schema"];
    if !schema.is_null() {
        let body = example::request(document, schema);
        let _ = write!(line, " \\\n     -H 'Content-Type: application/json' -d '{body}'");
    }
    line
}

fn answers(document: &Value, operation: &Value) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label="Answers" { table {
            caption { "Answers" }
            @for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
                tr {
                    td { code { (status) } }
                    td {
                        (marked(text(&answer["description"])))
                        @for (kind, media) in answer["content"].as_object().into_iter().flatten() {
                            @if status.starts_with('2') && !media["schema"].is_null() {
                                @for example in example::answers(document, &media["schema"]) {
                                    pre { (format!("{example:#}")) }
                                }
                            } @else if kind != "application/json" {
                                " (" code { (kind) } ")"
                            } @else {
                                @for code in codes(media) { " " code { "code " (code) } }
                            }
                        }
                    }
                }
            }
        } }
    }
}

/// The codes that a refusal's body may have.
fn codes(media: &Value) -> Vec<Value> {
    media["schema"]["properties"]["code"]["enum"].as_array().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_described_is_escaped() {
        let document = json!({
            "tags": [{ "name": "T" }],
            "paths": { "/<x>": { "get": { "tags": ["T"], "operationId": "x", "summary": "`<y>` & z" } } },
        });
        let page = whole(&document, &[]);
        assert!(page.contains("<code>&lt;y&gt;</code> &amp; z"), "{page}");
        assert!(!page.contains("<x>") && !page.contains("<y>"), "{page}");
    }
}
