//! Examples that fit a schema, for people to read.

use serde_json::{Map, Value, json};

/// The schema itself, where this is a reference to it.
pub(in crate::http) fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#'));
    reference.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema)
}

/// The least that may be sent.
pub(in crate::http) fn request(document: &Value, schema: &Value) -> Value {
    Examples { document, required_only: true }.of(schema, "")
}

/// One of each form that an answer may have, with all of its fields.
pub(in crate::http) fn answers(document: &Value, schema: &Value) -> Vec<Value> {
    let examples = Examples { document, required_only: false };
    match forms(resolved(document, schema)) {
        Some(forms) => forms.iter().map(|form| examples.of(form, "")).collect(),
        None => vec![examples.of(schema, "")],
    }
}

fn forms(schema: &Value) -> Option<&Vec<Value>> {
    schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array())
}

struct Examples<'a> {
    document: &'a Value,
    required_only: bool,
}

impl Examples<'_> {
    fn of(&self, schema: &Value, name: &str) -> Value {
        let schema = resolved(self.document, schema);
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(value) = known(name) {
            return value;
        }
        if let Some(first) = schema["enum"].get(0) {
            return first.clone();
        }
        if let Some(form) = forms(schema).and_then(|forms| forms.first()) {
            return self.of(form, name);
        }
        match kind(schema) {
            "object" => {
                let fields = schema["properties"].as_object().into_iter().flatten();
                let wanted =
                    fields.filter(|(name, _)| !self.required_only || requires(schema, name));
                let fields = wanted.map(|(name, field)| (name.clone(), self.of(field, name)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
            "array" => json!([self.of(&schema["items"], name)]),
            "integer" | "number" => json!(1),
            "boolean" => json!(true),
            _ => json!("..."),
        }
    }
}

/// Whether a field must be there.
pub(in crate::http) fn requires(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name))
}

/// The type, of several the first: the others are `null`.
fn kind(schema: &Value) -> &str {
    let kind = &schema["type"];
    kind.as_str().or_else(|| kind[0].as_str()).unwrap_or_default()
}

/// What a reader takes for real. The rest is made from the schema alone.
fn known(name: &str) -> Option<Value> {
    Some(match name {
        "key" => json!("<what the QR code held>"),
        "claim" => json!("<claim>"),
        "ticket" => json!("<ticket>"),
        "resume" => json!("<resume>"),
        "token" => json!("<token>"),
        "user" | "id" => json!("alice"),
        "name" => json!("Alice Example"),
        "ip" => json!("192.0.2.7"),
        "user_agent" => json!("Mozilla/5.0 ..."),
        "browser_name" => json!("Firefox on Windows"),
        "origin" => json!("https://www.example.com"),
        "age_ms" => json!(4200),
        "since" => json!(1_795_422_935),
        "expires_at" => json!(1_798_014_935),
        "state" => json!("delivered"),
        _ => return None,
    })
}
