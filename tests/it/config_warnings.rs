//! What is legal and gives something away.

use crate::{
    command_line::{run, stdout, trial},
    helpers::{Process, Settings},
};

/// The warnings that `check-config` shows, which also counts them.
fn warnings(settings: &Settings) -> Vec<String> {
    let text = stdout(&run(settings, &["check-config"]));
    let warnings = text.lines().filter_map(|line| line.strip_prefix("warning: "));
    let warnings: Vec<String> = warnings.map(str::to_owned).collect();
    let count = match warnings.len() {
        0 => "nothing to warn about".into(),
        1 => "1 warning".into(),
        count => format!("{count} warnings"),
    };
    assert!(text.ends_with(&format!("The configuration is good: {count}\n")), "{text}");
    warnings
}

/// Good in all respects, and served to others. Nobody is at these addresses: none is asked or taken.
fn in_production() -> Settings {
    Settings::embedded()
        .with("LISTEN", "192.0.2.1:80")
        .with("REDIS_URL", "redis://127.0.0.1:1")
        .with("PUBLIC_URL", "https://login.example.com")
        .with("TRUSTED_PROXIES", "10.0.0.0/8")
        .with("CONFIRM", "required")
        .with("APP_JWT_ISSUER", "https://accounts.example.com")
        .with("ALLOWED_ORIGINS", "https://www.example.com")
}

#[test]
fn what_is_dangerous_is_warned_of_in_one_line_each_and_what_is_not_is_not() {
    let good = in_production;
    let here = || good().with("LISTEN", "127.0.0.1:80");
    let ticket = || good().with("DELIVER", "ticket");
    let apps = || good().with("APPLE_APP_IDS", "ABCDE12345.com.example.app");
    for (settings, expected) in [
        (good(), &[][..]),
        (good().without("APP_JWT_ISSUER"), &["SCANLOGIN_APP_JWT_ISSUER"]),
        (good().with("TRUSTED_PROXIES", "0.0.0.0/0"), &["TRUSTED_PROXIES covers every address"]),
        (
            good().with("TRUSTED_PROXIES", "10.0.0.1,::/0"),
            &["TRUSTED_PROXIES covers every address"],
        ),
        (good().with("TRUSTED_PROXIES", "128.0.0.0/1,0.0.0.0/1"), &["covers every address"]),
        (good().with("TRUSTED_PROXIES", "::ffff:0:0/96"), &["covers every address"]),
        (good().with("TRUSTED_PROXIES", "0.0.0.0/1"), &[]),
        (good().without("TRUSTED_PROXIES"), &["TRUSTED_PROXIES is not set beside Redis"]),
        (good().without("TRUSTED_PROXIES").without("REDIS_URL"), &[]),
        (good().with("ALLOWED_ORIGINS", "*"), &["SCANLOGIN_ALLOWED_ORIGINS=* on a listener"]),
        (here().with("ALLOWED_ORIGINS", "*"), &[]),
        (good().with("CONFIRM", "off"), &["SCANLOGIN_CONFIRM=off on a listener"]),
        (good().without("CONFIRM"), &["SCANLOGIN_CONFIRM=off on a listener"]),
        (here().with("CONFIRM", "off"), &[]),
        (here().with("LISTEN", "[::1]:80").with("CONFIRM", "off"), &[]),
        (here().with("LISTEN", "[::ffff:127.0.0.1]:80").with("CONFIRM", "off"), &[]),
        (good().with("LISTEN", "0.0.0.0:80").with("CONFIRM", "off"), &["CONFIRM=off"]),
        (ticket(), &[]),
        (
            ticket().with("ALLOWED_ORIGINS", "https://a.example,http://b.example,http://c.example"),
            &["lists http://b.example, http://c.example beside SCANLOGIN_DELIVER=ticket"],
        ),
        (ticket().with("ALLOWED_ORIGINS", "http://localhost:3000,http://127.0.0.1"), &[]),
        (good().with("ALLOWED_ORIGINS", "http://b.example"), &[]),
        (
            good().with("PUBLIC_URL", "http://login.example.com"),
            &["PUBLIC_URL begins with http://"],
        ),
        (good().with("PUBLIC_URL", "http://localhost:8080"), &[]),
        (good().without("PUBLIC_URL"), &["SCANLOGIN_PUBLIC_URL is not set"]),
        (good().without("PUBLIC_URL").without("REDIS_URL"), &["SCANLOGIN_PUBLIC_URL is not set"]),
        (here().without("PUBLIC_URL"), &["SCANLOGIN_PUBLIC_URL is not set"]),
        (here().without("PUBLIC_URL").without("REDIS_URL"), &[]),
        (apps(), &[]),
        (apps().with("PUBLIC_URL", "http://x.example"), &["begins with http", "APPLE_APP_IDS"]),
        (good().with("DEMO", "unsafe"), &["SCANLOGIN_DEMO=unsafe"]),
        (good().without("REDIS_URL").with("DEMO", "unsafe"), &["SCANLOGIN_DEMO=unsafe"]),
        (trial(), &[]),
    ] {
        let warnings = warnings(&settings);
        assert_eq!(warnings.len(), expected.len(), "{settings:?}: {warnings:?}");
        for (warning, words) in warnings.iter().zip(expected) {
            assert!(warning.contains(words), "{settings:?}: '{words}' is missing in: {warning}");
        }
    }
}

#[tokio::test]
async fn the_start_warns_of_what_check_config_lists() {
    let settings = in_production()
        .with("LISTEN", "0.0.0.0:0")
        .without("REDIS_URL")
        .with("TRUSTED_PROXIES", "0.0.0.0/0")
        .with("ALLOWED_ORIGINS", "*")
        .with("CONFIRM", "off")
        .with("PUBLIC_URL", "http://login.example.com");
    let listed = warnings(&settings);
    assert_eq!(listed.len(), 4, "{listed:?}");
    let process = Process::start(settings).await;
    for warning in listed {
        let lines = process.logged(&warning);
        assert_eq!(lines.len(), 1, "{warning}: {}", process.log());
        assert_eq!(lines[0]["level"], "WARN");
    }
}
