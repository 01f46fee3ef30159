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
    let text = Metrics::new().render();
    let help = text.lines().filter_map(|line| line.strip_prefix("# HELP scanlogin_"));
    let mut rows: Vec<String> = help
        .map(|line| {
            let (name, help) = line.split_once(' ').unwrap_or((line, ""));
            format!("| `scanlogin_{name}` | {help} |\n")
        })
        .collect();
    // Appears with its first node: the one open label set.
    let node = "1 while notifications of this Redis node are subscribed to";
    rows.push(format!("| `scanlogin_feed_connected` | {node} |\n"));
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

#[test]
fn its_tables_are_those_of_the_code() {
    check("settings", &settings());
    check("close codes", &close_codes());
    check("metrics", &metrics());
}
