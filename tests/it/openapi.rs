//! `/openapi.json`: what it says, and that nothing else is answered.
//!
//! That answers are as described is checked in `helpers::phone::answer` and `Browser::open`: every
//! answer of every test. `tests/openapi/run` sends what nobody thought of.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::helpers::{
    Phone, Service, Settings,
    contract::{document, violations},
    phone::{answer, verify},
};

/// What the document describes, as (path, methods).
fn described() -> Vec<(&'static String, Vec<String>)> {
    let paths = document()["paths"].as_object().expect("paths").iter();
    paths
        .map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            let mut methods: Vec<_> = methods.map(|method| method.to_uppercase()).collect();
            methods.sort_unstable();
            (path, methods)
        })
        .collect()
}

#[tokio::test]
async fn it_is_served_and_is_openapi_3_1() {
    let service = Service::start(Settings::embedded()).await;
    let url = format!("http://{}/openapi.json", service.address);
    let served = reqwest::get(&url).await.expect("an answer");
    assert_eq!(served.status(), 200);
    assert_eq!(served.headers()["content-type"], "application/json");
    let served: Value = served.json().await.expect("JSON");
    assert_eq!(&served, document());
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served["info"]["version"], env!("CARGO_PKG_VERSION"));
    let operations = || {
        let paths = served["paths"].as_object().expect("paths").values();
        paths.flat_map(|methods| methods.as_object().expect("methods").values())
    };
    for operation in operations() {
        assert!(operation.get("parameters").is_none_or(Value::is_array), "{operation}");
    }
    let mut ids: Vec<_> =
        operations().map(|operation| operation["operationId"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "each once: {ids:?}");
}

#[tokio::test]
async fn every_path_and_method_of_it_exists_and_no_other_method_does() {
    let settings = Settings::embedded().with("DEMO", "unsafe").with("DELIVER", "ticket");
    let settings = settings.with("ALLOWED_ORIGINS", "https://www.example.com");
    let settings = crate::app_links::with_apps(settings);
    let service = Service::start(settings).await;
    for (path, methods) in described() {
        // Only where tokens are signed with a key pair; `tokens::web_keys` has it.
        if path == "/.well-known/jwks.json" {
            continue;
        }
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
            let url = format!("http://{}{path}", service.address);
            let request = Client::new().request(method.parse::<Method>().unwrap(), url);
            let answer = request.send().await.expect("an answer");
            let exists = methods.iter().any(|one| one == method);
            assert_eq!(answer.status() != 405, exists, "{method} {path}: {}", answer.status());
            assert_ne!(answer.status(), 404, "{method} {path}");
            if !exists {
                let allow = answer.headers()["allow"].to_str().unwrap();
                let mut allow: Vec<_> = allow.split(", ").collect();
                allow.sort_unstable();
                assert_eq!(allow, methods, "{method} {path}");
            }
        }
    }
}

/// Routes are made in one place, from the table that the document is made from.
#[test]
fn no_route_of_the_public_port_is_made_outside_its_table() {
    fn visit(folder: &std::path::Path, made: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                visit(&path, made);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a text");
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let makes = ["web::resource(", "web::scope(", ".route(\"", "#[get(", "#[post("];
                if makes.iter().any(|way| line.contains(way)) {
                    made.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    let mut made = Vec::new();
    visit(concat!(env!("CARGO_MANIFEST_DIR"), "/src").as_ref(), &mut made);
    // The admin port is not public.
    made.retain(|line| !line.contains("src/admin.rs"));
    assert_eq!(made.len(), 1, "{made:#?}");
    assert!(made[0].ends_with("web::resource(endpoint.path);"), "{made:#?}");
}

#[test]
fn every_path_of_it_has_a_metric_of_its_own() {
    use scanlogin::metrics::{Label, Route};
    for (path, _) in described() {
        let is_demo =
            ["/", "/phone", "/favicon.svg"].contains(&&path[..]) || path.starts_with("/demo/");
        // One label for all names of the package.
        let is_script = path.contains("scanlogin.js");
        let labelled = Route::ALL.iter().any(|route| route.text() == path);
        assert!(labelled || is_demo || is_script, "{path} would be counted as 'other'");
    }
    // The admin port is not public.
    let is_public = |text: &str| text.starts_with('/') && text != "/revoke";
    for route in Route::ALL.iter().filter(|route| is_public(route.text())) {
        let known = described().iter().any(|(path, _)| *path == route.text());
        assert!(known, "{} is not described", route.text());
    }
}

#[tokio::test]
async fn an_answer_that_it_does_not_describe_is_found() {
    let service = Service::start(Settings::embedded()).await;
    let good = verify(service.address, "x").await;
    let header = |name: &str| Some(good.header(name).to_owned()).filter(|text| !text.is_empty());
    let wrong = |status, body: &Value| violations("GET", "/verify", status, header, body).len();
    assert_eq!(wrong(401, &good.body), 0);
    assert_eq!(wrong(500, &good.body), 1, "another status");
    assert_eq!(wrong(401, &json!({ "code": -3, "msg": good.body["msg"] })), 1, "another code");
    assert_eq!(wrong(401, &json!({ "code": -2 })), 1, "a field less");
    let mut more = good.body.clone();
    more["detail"] = "x".into();
    assert_eq!(wrong(401, &more), 1, "a field more");
    let none = |_: &str| None;
    assert!(!violations("GET", "/verify", 401, none, &good.body).is_empty(), "a header less");
}

#[tokio::test]
async fn every_answer_forbids_guessing_framing_and_loading_elsewhere() {
    let service = Service::start(Settings::embedded().with("DEMO", "unsafe")).await;
    let paths = described().into_iter().map(|(path, _)| path.as_str());
    for path in paths.chain(["/nothing", "/scan/"]) {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let url = format!("http://{}{path}", service.address);
            let answer =
                Client::new().request(method.clone(), url).send().await.expect("an answer");
            let header = |name: &str| {
                answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
            };
            assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
            // Pages of other origins embed the package and nothing else.
            let embedded = path.ends_with("scanlogin.js") || path.ends_with("scanlogin.js.map");
            let loads =
                if embedded && method != Method::POST { "cross-origin" } else { "same-origin" };
            assert!(
                [loads, "same-origin"].contains(&&header("cross-origin-resource-policy")[..]),
                "{path}"
            );
            let policy = header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            let public = path.starts_with("/.well-known/") || path == "/openapi.json" || embedded;
            if header("content-type").starts_with("application/json") && !public {
                assert_eq!(header("cache-control"), "no-store", "{path}");
            }
        }
    }
    // Preflights are answered by the CORS middleware.
    let preflight = Client::new()
        .request(Method::OPTIONS, format!("http://{}/scan", service.address))
        .header("Origin", "https://evil.example")
        .header("Access-Control-Request-Method", "POST");
    let refused = preflight.send().await.expect("an answer");
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.headers()["x-content-type-options"], "nosniff");
}

/// A value for a schema: enough to be read where it stands in an object.
fn value_for(schema: &Value) -> Value {
    let pointer = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#'));
    let found = pointer.and_then(|pointer| document().pointer(pointer));
    let schema = found.unwrap_or(schema);
    match (&schema["properties"], &schema["enum"], &schema["anyOf"], &schema["oneOf"]) {
        (Value::Object(properties), ..) => properties
            .iter()
            .map(|(name, schema)| (name.clone(), value_for(schema)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        (_, Value::Array(words), ..) => words[0].clone(),
        (.., Value::Array(forms), _) | (.., Value::Array(forms)) => {
            let constant = forms[0].get("const").cloned();
            constant.unwrap_or_else(|| value_for(&forms[0]))
        }
        _ => json!("x"),
    }
}

/// The object with one of its fields turned into the list of what stands in it, or itself so.
fn with_lists(body: &Value) -> Vec<Value> {
    let list = |fields: &Value| -> Value {
        fields.as_object().expect("an object").values().cloned().collect::<Vec<_>>().into()
    };
    let fields = body.as_object().expect("an object");
    let mut all = vec![json!([]), list(body), json!([body])];
    // In whatever order the service has the fields.
    all.extend(fields.values().map(|value| json!([value])));
    let mut reversed = list(body);
    reversed.as_array_mut().expect("a list").reverse();
    all.push(reversed);
    for (name, value) in fields.iter().filter(|(_, value)| value.is_object()) {
        let mut changed = body.clone();
        changed[name] = list(value);
        all.push(changed);
    }
    // A word, as an object with its name. (`match` may be of any type, and is looked at only behind a good claim.)
    for (name, value) in fields.iter().filter(|(name, _)| *name != "match") {
        if let Some(word) = value.as_str() {
            let mut changed = body.clone();
            changed[name] = json!({ word: null });
            all.push(changed);
        }
    }
    all
}

#[tokio::test]
async fn no_list_is_taken_for_an_object_in_any_body() {
    let settings = Settings::embedded().with("DEMO", "unsafe").with("DELIVER", "ticket");
    let settings = settings.with("ALLOWED_ORIGINS", "https://www.example.com");
    let service = Service::start(settings).await;
    let phone = Phone::of(service.address, "alice");
    let mut tried = 0;
    for (path, methods) in described() {
        for method in methods {
            let operation = &document()["paths"][path][method.to_lowercase()];
            let media = &operation["requestBody"]["content"]["application/json"];
            if media.is_null() {
                continue;
            }
            tried += 1;
            let body = value_for(&media["schema"]);
            for wrong in with_lists(&body) {
                let request = phone.request(method.parse().expect("a method"), path).json(&wrong);
                let request = request.header("Origin", "https://www.example.com");
                assert_eq!(answer(request).await.codes(), (400, -5), "{method} {path} {wrong}");
            }
        }
    }
    assert!(tried >= 8, "{tried} bodies");
    // The admin port's one call.
    let url = format!("http://{}/revoke", service.admin_address);
    for body in [json!(["alice"]), json!([]), json!([{ "user": "alice" }])] {
        let answer = Client::new().post(&url).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{body}");
    }
}

/// `json::object` is the one way in: what is derived would take a list for a struct.
#[test]
fn json_from_others_is_read_in_one_place() {
    fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }
    let mut direct = Vec::new();
    let sources = files(concat!(env!("CARGO_MANIFEST_DIR"), "/src").as_ref());
    for file in sources.into_iter().filter(|file| file.extension().is_some_and(|e| e == "rs")) {
        let text = std::fs::read_to_string(&file).expect("a text");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| line.contains("serde_json::from_")) {
            // Any JSON at all, looked at afterwards.
            if !line.contains("Value") && !line.contains("Object<") {
                direct.push(format!("{}: {}", file.display(), line.trim()));
            }
        }
    }
    direct.retain(|line| !line.contains("src/json.rs"));
    assert_eq!(direct, [""; 0]);
}
