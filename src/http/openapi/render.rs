//! From the table to the document.

use std::collections::BTreeMap;

use actix_web::{body::MessageBody, http::header};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::operation::{Auth, Operation, Place, Success, Tag};
use crate::{error::ApiError, http::endpoints::Endpoint};

const DESCRIPTION: &str = "A browser opens `/ws` and shows the key that it gets as a QR code; a \
     phone app that is logged in POSTs the key to `/scan`; the browser gets its token over the same \
     socket. The messages on the socket are described in the README.\n\n\
     Every JSON answer has `code` and `msg`. Every answer has `X-Content-Type-Options`, \
     `Referrer-Policy`, `Content-Security-Policy` and `Cross-Origin-Resource-Policy`. A path that \
     does not exist is answered 404 with code -5, a method that a path does not take 405 with code \
     -5 and `Allow`, a CORS preflight 200, or 400 where the origin is not listed. HEAD is answered as \
     GET, without a body, wherever GET only reads. What is not HTTP, or is HTTP/1.1 without exactly \
     one `Host` of at most 255 bytes, is answered 400 with code -5, a request's line and headers 408 \
     that are not complete within 5 s, and 431 that are over 16 KiB; the connection ends then. A GET \
     whose `Accept` prefers `text/html` to `application/json` gets a refusal as a page.";

/// The document for these endpoints.
pub(in crate::http) fn document(endpoints: &[Endpoint]) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .into_generator();
    let mut paths = Map::new();
    for endpoint in endpoints {
        let operations = endpoint.calls.iter().map(|call| {
            let operation = operation(&(call.operation)(), &mut generator);
            (call.method.as_str().to_ascii_lowercase(), operation)
        });
        let mut operations: Map<String, Value> = operations.collect();
        if endpoint.head
            && let Some(get) = operations.get("get")
        {
            operations.insert("head".into(), head(get));
        }
        paths.insert(endpoint.path.into(), Value::Object(operations));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "scanlogin",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": Tag::ALL.map(|tag| json!({ "name": tag.name(), "description": tag.description() })),
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "appToken": bearer("The phone app's own JWT: who scans"),
                "webToken": bearer("A web token that this service made: who is logged in"),
            },
        },
    })
}

/// The same without bodies (RFC 9110, 9.3.2).
fn head(get: &Value) -> Value {
    let mut head = get.clone();
    let id = get["operationId"].as_str().unwrap_or_default();
    head["operationId"] = format!("{id} (head)").into();
    // It never waits: nobody is told what it waited for.
    if let Some(parameters) = head.get_mut("parameters").and_then(Value::as_array_mut) {
        parameters.retain(|parameter| parameter["name"] != "wait");
    }
    for answer in head["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        answer.as_object_mut().map(|answer| answer.remove("content"));
    }
    head
}

fn bearer(description: &str) -> Value {
    json!({ "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": description })
}

fn operation(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut out = json!({
        "operationId": operation.id,
        "tags": [operation.tag.name()],
        "summary": operation.summary,
        "responses": responses(operation, generator),
    });
    if let Some(text) = operation.description {
        out["description"] = text.into();
    }
    if let Some(auth) = operation.auth {
        let scheme = match auth {
            Auth::AppToken => "appToken",
            Auth::WebToken => "webToken",
        };
        out["security"] = json!([{ scheme: [] }]);
    }
    let parameters: Vec<Value> = operation
        .parameters
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name,
                "in": match parameter.place { Place::Query => "query", Place::Header => "header" },
                "required": parameter.required,
                "description": parameter.description,
                "schema": (parameter.schema)(generator),
            })
        })
        .collect();
    if !parameters.is_empty() {
        out["parameters"] = parameters.into();
    }
    if let Some(body) = &operation.body {
        let media = json!({ "schema": (body.schema)(generator) });
        let mut content = json!({ "application/json": media });
        if body.form {
            content["application/x-www-form-urlencoded"] = media;
        }
        out["requestBody"] = json!({ "required": true, "content": content });
    }
    out
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut responses: BTreeMap<u16, Value> = BTreeMap::new();
    for success in &operation.successes {
        responses.insert(success.status, answer(success, generator));
    }
    let mut refusals: BTreeMap<u16, Vec<&ApiError>> = BTreeMap::new();
    for refusal in &operation.refusals {
        refusals.entry(refusal.wire().status.as_u16()).or_default().push(refusal);
    }
    for (status, group) in refusals {
        let twice = responses.insert(status, refused(&group));
        debug_assert!(twice.is_none(), "{}: {status} is success and refusal", operation.id);
    }
    responses.into_iter().map(|(status, answer)| (status.to_string(), answer)).collect()
}

fn answer(success: &Success, generator: &mut SchemaGenerator) -> Value {
    if success.content_type.is_empty() {
        return json!({ "description": success.description });
    }
    let media = match success.schema {
        Some(schema) => json!({ "schema": schema(generator) }),
        None => json!({}),
    };
    json!({
        "description": success.description,
        "headers": { "Cache-Control": constant(success.cache) },
        "content": { success.content_type: media },
    })
}

fn constant(text: &str) -> Value {
    json!({ "required": true, "schema": { "type": "string", "const": text } })
}

/// All refusals of one status, as one answer. Read off the answers themselves.
fn refused(group: &[&ApiError]) -> Value {
    let (mut codes, mut texts, mut more) = (Vec::new(), Vec::new(), Map::new());
    let mut headers: Map<String, Value> = Map::new();
    for refusal in group {
        let response = refusal.response();
        for (name, value) in response.headers() {
            if name == header::CONTENT_TYPE || name == header::CONTENT_LENGTH {
                continue;
            }
            let text = value.to_str().unwrap_or_default();
            let value = if name == header::RETRY_AFTER {
                let schema = json!({ "type": "string", "pattern": "^[1-9][0-9]*$" });
                json!({ "required": true, "description": "Seconds", "schema": schema })
            } else if name == header::WWW_AUTHENTICATE {
                let schema = json!({ "type": "string", "pattern": "^Bearer" });
                let description = "RFC 6750; `error_description` says what is wrong with the token";
                json!({ "required": true, "description": description, "schema": schema })
            } else {
                constant(text)
            };
            headers.insert(name.to_string(), value);
        }
        let body = response.into_body().try_into_bytes().unwrap_or_default();
        let body: Map<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
        for (name, value) in body {
            match name.as_str() {
                "code" if codes.contains(&value) => {}
                "code" => codes.push(value),
                "msg" => texts.push((value, matches!(refusal, ApiError::Malformed(_)))),
                _ => {
                    let schema = match value {
                        Value::Number(_) => json!({ "type": "integer" }),
                        Value::Bool(_) => json!({ "const": value }),
                        _ => json!({ "type": "string" }),
                    };
                    more.insert(name, schema);
                }
            }
        }
    }
    let description =
        texts.iter().map(|(text, _)| text.as_str().unwrap_or_default()).collect::<Vec<_>>();
    // What is wrong with a request is said in many ways.
    let msg = if texts.iter().any(|(_, varies)| *varies) {
        json!({ "type": "string" })
    } else {
        json!({ "enum": texts.iter().map(|(text, _)| text).collect::<Vec<_>>() })
    };
    let mut properties = json!({ "code": { "enum": codes }, "msg": msg });
    for (name, schema) in more {
        properties[name] = schema;
    }
    let schema = json!({
        "type": "object",
        "required": ["code", "msg"],
        "properties": properties,
        "additionalProperties": false,
    });
    json!({
        "description": description.join(" / "),
        "headers": headers,
        "content": { "application/json": { "schema": schema } },
    })
}
