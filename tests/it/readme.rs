//! What the README says is what the code has: its tables are made from the code.
//! `UPDATE_README=1 cargo test --test it readme` writes them anew.

use scanlogin::{
    close::{Close, Retry},
    config::table::{Kind, SETTINGS},
    metrics::Metrics,
};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

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
            Retry::Resume => "yes, at once plus jitter, with `resume`",
            Retry::OnClick => "a new login, on a click",
        };
        let (json, plain) = (close.code(), close.plain_code());
        let again = if close.plain_again() { "`again`, then " } else { "" };
        format!("| {json} | {again}{plain} | {} | {retry} |\n", close.meaning())
    });
    let head = "| JSON | plain | meaning | retry? |\n|---|---|---|---|\n";
    head.to_owned() + &rows.collect::<String>()
}

fn metrics() -> String {
    let metrics = Metrics::new();
    // Appears with its first node: the one open label set.
    metrics.feed_connected.up("redis:6379", 0);
    let text = metrics.render();
    let help = text.lines().filter_map(|line| line.strip_prefix("# HELP scanlogin_"));
    let mut rows: Vec<String> = help
        .map(|line| {
            let (name, help) = line.split_once(' ').unwrap_or((line, ""));
            format!("| `scanlogin_{name}` | {help} |\n")
        })
        .collect();
    rows.sort();
    "| metric | |\n|---|---|\n".to_owned() + &rows.concat()
}

fn check(name: &str, table: &str) {
    let readme = std::fs::read_to_string(README).expect("a README");
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let from = readme.find(&begin).expect("the table's beginning") + begin.len();
    let to = readme.find(&end).expect("the table's end");
    if readme[from..to] == *table {
        return;
    }
    #[expect(clippy::disallowed_methods, reason = "not a setting of the service")]
    let update = std::env::var("UPDATE_README").is_ok();
    assert!(update, "the README's table '{name}' is not what the code has:\n{table}");
    let updated = [&readme[..from], table, &readme[to..]].concat();
    std::fs::write(README, updated).expect("a writable README");
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
fn its_acl_is_the_one_that_is_tested() {
    let readme = std::fs::read_to_string(README).expect("a README");
    let line =
        format!("ACL SETUSER scanlogin on >password {}\n", crate::faults::access::MINIMAL_ACL);
    assert!(readme.contains(&line), "{line}");
}

#[test]
fn its_tables_are_those_of_the_code() {
    check("settings", &settings());
    check("close codes", &close_codes());
    check("metrics", &metrics());
}
