//! What the README says is what the code has: its tables are made from the code.
//! `UPDATE_README=1 cargo test --test it readme` writes them anew.

use std::collections::{BTreeMap, BTreeSet};

use scanlogin::{
    close::{Close, Retry},
    config::table::{Kind, SETTINGS},
    metrics::Metrics,
};

use crate::helpers::acl;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const OPERATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
pub(crate) const METRICS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

fn settings() -> String {
    let rows = SETTINGS.iter().map(|setting| {
        let flag = match setting.kind {
            Kind::Open => format!("`--{}`", setting.flag()),
            Kind::Secret => "never; or `_FILE`".into(),
        };
        let help = setting.help.replace('|', "\\|");
        format!("| `{}` | {flag} | {} | {help} |\n", setting.env, setting.default)
    });
    let head = "| variable | flag | default | |\n|---|---|---|---|\n";
    head.to_owned() + &rows.collect::<String>()
}

fn close_codes() -> String {
    let rows = Close::ALL.iter().map(|close| {
        let retry = match close.retry() {
            Retry::No => "no",
            Retry::BackOff => "yes, with back-off",
            Retry::Resume => {
                "yes, at once plus jitter, with `resume`; after 5 resumes of an approved login every 10 s"
            }
            Retry::OnClick => "a new login, on a click",
        };
        let (json, plain) = (close.code(), close.plain_code());
        let again = if close.plain_again() { "`again`, then " } else { "" };
        format!("| {json} | {again}{plain} | {} | {retry} |\n", close.meaning())
    });
    let head = "| JSON | plain | meaning | retry? |\n|---|---|---|---|\n";
    head.to_owned() + &rows.collect::<String>()
}

/// All metrics as they are exposed.
fn exposition() -> String {
    let metrics = Metrics::new();
    // Appears with its first node: the one open label set.
    metrics.feed_connected.up("redis:6379", 0);
    // Appear with the threads.
    metrics.threads.expect(1);
    metrics.render()
}

/// Every metric with its type, its labels and their values.
fn all_about_metrics() -> String {
    let text = exposition();
    let mut rows = String::from("| metric | type | labels | |\n|---|---|---|---|\n");
    for (name, about) in exposed(&text) {
        let Exposed { kind, help, labels, buckets } = about;
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, values)| {
                let open = match label.as_str() {
                    "node" => Some("host:port of Redis"),
                    "thread" => Some("number of the worker thread, from 0"),
                    "version" => Some("of the service"),
                    _ => None,
                };
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                let separator = if open.is_some() { "=" } else { ":" };
                format!("`{label}`{separator} {}", open.map_or(values.join(", "), str::to_owned))
            })
            .collect();
        let range = match (buckets.first(), buckets.last()) {
            (Some(first), Some(last)) => format!(", buckets from {first} to {last}"),
            _ => String::new(),
        };
        rows += &format!("| `{name}` | {kind}{range} | {} | {help} |\n", labels.join("; "));
    }
    rows
}

/// What an exposition says of a metric.
#[derive(Default)]
pub(crate) struct Exposed {
    pub(crate) kind: String,
    help: String,
    pub(crate) labels: BTreeMap<String, BTreeSet<String>>,
    buckets: Vec<String>,
}

/// The metrics of an exposition.
pub(crate) fn exposed(text: &str) -> BTreeMap<String, Exposed> {
    let mut found: BTreeMap<String, Exposed> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            found.entry(name.into()).or_default().help = help.into();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            found.entry(name.into()).or_default().kind = kind.into();
            current = name.into();
        } else if let Some((_, rest)) = line.split_once('{') {
            let about = found.get_mut(&current).expect("its type comes first");
            let (labels, _) = rest.rsplit_once('}').expect("the labels' end");
            for pair in labels.split("\",").filter(|pair| !pair.is_empty()) {
                let (label, value) = pair.split_once("=\"").expect("a label");
                let value = value.trim_end_matches('"').to_owned();
                if label != "le" {
                    about.labels.entry(label.into()).or_default().insert(value);
                } else if value != "+Inf" && !about.buckets.contains(&value) {
                    about.buckets.push(value);
                }
            }
        }
    }
    found
}

fn check(path: &str, name: &str, table: &str) {
    let readme = std::fs::read_to_string(path).expect("a page");
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let from = readme.find(&begin).expect("the table's beginning") + begin.len();
    let to = readme.find(&end).expect("the table's end");
    if readme[from..to] == *table {
        return;
    }
    #[expect(clippy::disallowed_methods, reason = "not a setting of the service")]
    let update = std::env::var("UPDATE_README").is_ok();
    assert!(update, "{path}'s table '{name}' is not what the code has:\n{table}");
    let updated = [&readme[..from], table, &readme[to..]].concat();
    std::fs::write(path, updated).expect("a writable page");
}

/// Every `name` in the last column of "What happens when" is a test's.
#[test]
fn what_it_says_of_faults_is_tested() {
    let readme = std::fs::read_to_string(README).expect("a README");
    let (_, section) = readme.split_once("## What happens when").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let tests: String =
        sources(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it")));
    let rows = section.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    let mut seen = 0;
    for row in rows {
        let name = row.trim_end_matches("` |").rsplit('`').next().expect("a name");
        // Some tests are a macro's: the store they run on is the end of their name.
        let stem = name.trim_end_matches("_with_redis").trim_end_matches("_in_memory");
        assert!(tests.contains(&format!("fn {stem}")), "no test {name}");
        seen += 1;
    }
    assert!(seen > 10, "the table's form has changed: {seen}");
}

pub(crate) fn sources(folder: &std::path::Path) -> String {
    let entries =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("one").path());
    entries
        .map(|path| {
            if path.is_dir() {
                return sources(&path);
            }
            // This file quotes the README; it proves nothing.
            if path.ends_with("readme.rs") {
                return String::new();
            }
            std::fs::read_to_string(path).unwrap_or_default()
        })
        .collect()
}

#[test]
fn its_tables_are_those_of_the_code() {
    check(README, "settings", &settings());
    check(README, "close codes", &close_codes());
    check(METRICS, "metrics", &all_about_metrics());
    // Word for word the same, and what tests give to their users (tests/it/faults/access.rs).
    for page in [README, OPERATIONS] {
        check(page, "redis user", &acl::section());
    }
}

/// Whoever copies an older line would give the server away.
#[test]
fn no_page_has_another_line_for_the_redis_user() {
    for page in [README, OPERATIONS] {
        let text = std::fs::read_to_string(page).expect("a page");
        let lines = text.lines().filter(|line| {
            line.contains("scanlogin on >")
                || line.contains("+config|")
                || line.contains("+evalsha")
        });
        let lines: Vec<&str> = lines.filter(|line| !acl::section().contains(line)).collect();
        assert!(lines.is_empty(), "{page}: {lines:?}");
    }
}
