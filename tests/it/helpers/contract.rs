//! `/openapi.json` as a promise: every answer that a test gets is compared with it.

use std::{collections::HashMap, sync::LazyLock};

use jsonschema::Validator;
use serde_json::{Value, json};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(scanlogin::http::document()).expect("JSON"));

/// One validator for each described answer: method, path, status.
static BODIES: LazyLock<HashMap<(String, String, u16), Validator>> = LazyLock::new(|| {
    let mut all = HashMap::new();
    for (path, methods) in DOCUMENT["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            for (status, answer) in operation["responses"].as_object().expect("responses") {
                let content = &answer["content"]["application/json"]["schema"];
                let mut schema = json!({ "components": DOCUMENT["components"] });
                if let Some(content) = content.as_object() {
                    schema.as_object_mut().expect("an object").extend(content.clone());
                }
                let validator = jsonschema::validator_for(&schema).expect("a good schema");
                let status = status.parse().expect("a status");
                all.insert((method.to_uppercase(), path.clone(), status), validator);
            }
        }
    }
    all
});

/// The document.
pub(crate) fn document() -> &'static Value {
    &DOCUMENT
}

/// What is wrong with an answer, by the document.
pub(crate) fn violations(
    method: &str,
    path: &str,
    status: u16,
    header: impl Fn(&str) -> Option<String>,
    body: &Value,
) -> Vec<String> {
    let operations = &DOCUMENT["paths"][path];
    let operation = &operations[method.to_lowercase()];
    if operation.is_null() {
        // No such path, or no such method: described once for all, in the introduction.
        let wanted = match operations.as_object() {
            None => (404, None),
            Some(methods) => {
                let allow: Vec<_> = methods.keys().map(|method| method.to_uppercase()).collect();
                (405, Some(allow.join(", ")))
            }
        };
        let found = (status, header("allow"));
        // The loopback's own names are looked at first.
        let is_fine = found == wanted && body["code"] == -5 || status == 403;
        return if is_fine { vec![] } else { vec![format!("{found:?}, not {wanted:?}")] };
    }
    let key = (method.to_owned(), path.to_owned(), status);
    let Some(body_validator) = BODIES.get(&key) else {
        return vec![format!("the status {status} is not described")];
    };
    let errors = body_validator.iter_errors(body);
    let mut wrong: Vec<String> =
        errors.map(|error| format!("{error} at {}", error.instance_path())).collect();
    let headers = &operation["responses"][status.to_string()]["headers"];
    for (name, described) in headers.as_object().into_iter().flatten() {
        match (header(name), described["schema"]["const"].as_str()) {
            (None, _) => wrong.push(format!("the header {name} is missing")),
            (Some(value), Some(wanted)) if value != wanted => {
                wrong.push(format!("the header {name} is {value}, not {wanted}"));
            }
            _ => {}
        }
    }
    for name in ["retry-after", "www-authenticate"] {
        let described = headers.as_object().is_some_and(|headers| headers.contains_key(name));
        if header(name).is_some() != described {
            wrong.push(format!("the header {name} is described: {described}"));
        }
    }
    wrong
}

/// Panics if an answer is not what the document says.
pub(crate) fn check(
    method: &str,
    path: &str,
    status: u16,
    header: impl Fn(&str) -> Option<String>,
    body: &Value,
) {
    let wrong = violations(method, path, status, header, body);
    assert!(wrong.is_empty(), "not as /openapi.json says: {method} {path}: {wrong:?}: {body}");
}
