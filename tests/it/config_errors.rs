//! A configuration that is wrong stops the start, and says so in its last line.

use std::{net::TcpListener, process::Output, time::Duration};

use jsonwebtoken::Algorithm;
use scanlogin::config::table::SETTINGS;
use tokio::time::timeout;

use crate::helpers::{
    Browser, Phone, Process, RedisServer, Settings, free_port,
    pem::Keys,
    service::{APP_SECRET, TOKEN_SECRET, command},
};

/// Redis is tried for 10 s at the start.
const PATIENCE: Duration = Duration::from_secs(25);

/// Runs the binary to its end.
pub(crate) async fn run(settings: &Settings, arguments: &[&str]) -> Output {
    let mut command = command(settings);
    command.args(arguments);
    let mut command = tokio::process::Command::from(command);
    timeout(PATIENCE, command.kill_on_drop(true).output())
        .await
        .unwrap_or_else(|_| panic!("it runs although it should not: {settings:?} {arguments:?}"))
        .expect("the binary")
}

/// That it does not start, and that the last line has all of these.
pub(crate) async fn assert_refused(settings: &Settings, arguments: &[&str], words: &[&str]) {
    let Output { status, stdout, stderr } = run(settings, arguments).await;
    let text = String::from_utf8(stderr).expect("UTF-8");
    assert_eq!(status.code(), Some(2), "{text}");
    assert!(stdout.is_empty());
    let last = text.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "'{word}' is missing in: {last}");
    }
    for word in ["panicked", "RUST_BACKTRACE", APP_SECRET, TOKEN_SECRET] {
        assert!(!text.contains(word), "{text}");
    }
}

#[tokio::test]
async fn each_wrong_value_names_its_variable_what_was_wrong_and_an_example() {
    for (name, value, what) in [
        ("LISTEN", "8080", "not an IP address and a port"),
        ("LISTEN", "localhost:8080", "not an IP address and a port"),
        ("ADMIN_LISTEN", "127.0.0.1:99999", "not an IP address and a port"),
        ("REDIS_URL", "localhost:6379", "not a URL"),
        ("REDIS_URL", "http://localhost", "not one of redis"),
        ("REDIS_URL", "redis://localhost/x", "not a database number"),
        ("REDIS_PREFIX", "with blanks:", "printable ASCII"),
        ("REDIS_PREFIX", "{slot}:", "braces"),
        ("PUBLIC_URL", "login.example.com", "not a URL"),
        ("PUBLIC_URL", "ftp://login.example.com", "https://"),
        ("PUBLIC_URL", "https://login.example.com/?x", "query"),
        ("PUBLIC_URL", "https://alice:pw@login.example.com", "must not hold a user or a password"),
        ("PUBLIC_URL", "https://:pw@login.example.com", "must not hold a user or a password"),
        ("PUBLIC_URL", "https://bob:123/secret@h", "must not hold a user or a password"),
        ("REDIS_URL", "redis://:hunter/2@h", "write %2F for it"),
        ("REDIS_URL", "redis://user@localhost", "no password before the @"),
        ("REDIS_URL", "redis://:@localhost", "no password before the @"),
        ("APP_NAME", "two\nlines", "one line"),
        (
            "APP_LINKS",
            "http://example.com/app",
            "'http://example.com/app' must begin with https://",
        ),
        ("APP_LINKS", "https://example.com/app,nonsense", "'nonsense' is not a URL"),
        ("APPLE_APP_IDS", "com.example.app", "'com.example.app' does not begin with a team id"),
        ("APPLE_APP_IDS", "ABCDE12345", "not a team id, a dot and a bundle id"),
        ("APPLE_APP_IDS", "ABCDE12345.com..app", "bundle id such as"),
        ("ANDROID_APPS", "com.example.app", "not a package, a colon and a SHA-256 fingerprint"),
        ("ANDROID_APPS", "example:AB", "package such as com.example.app"),
        ("ANDROID_APPS", "com.example.app:AB:XY", "not bytes in hexadecimal"),
        ("ANDROID_APPS", "com.example.app:AB:CD", "fingerprint of 2 bytes; SHA-256 has 32"),
        ("APP_JWT_SECRET", "too-short", "9 bytes"),
        ("ADMIN_TOKEN", "too-short", "9 bytes"),
        (
            "ADMIN_TOKEN",
            "a token with blanks is nothing a header holds",
            "letters, digits and any of",
        ),
        ("ADMIN_TOKEN", "umläute-are-nothing-that-a-header-can-hold", "letters, digits and any of"),
        ("TOKEN_SECRET", "x123456789012345678901234567890", "31 bytes"),
        ("DELIVER", "cookie", "not one of token, ticket"),
        ("DELIVER", "ticket", "SCANLOGIN_ALLOWED_ORIGINS"),
        ("TICKET_BINDING", "yes", "not one of on, off"),
        ("WAIT_SECONDS", "0", "1 to 900"),
        ("WAIT_SECONDS", "901", "1 to 900"),
        ("WAIT_SECONDS", "two minutes", "whole number"),
        ("ROTATE_SECONDS", "4", "from 5 up to"),
        ("ROTATE_SECONDS", "121", "from 5 up to"),
        ("RESUME_SECONDS", "0", "1 to 300"),
        ("RESUME_SECONDS", "301", "1 to 300"),
        ("TOKEN_TTL_SECONDS", "59", "60 to 31536000"),
        ("TOKEN_TTL_SECONDS", "31536001", "60 to 31536000"),
        ("CONFIRM", "yes", "off, required"),
        ("CONFIRM", "Off", "off, required"),
        ("MATCH", "sometimes", "off, risky, always"),
        ("ALLOWED_ORIGINS", "www.example.com", "not an origin"),
        ("ALLOWED_ORIGINS", "https://www.example.com/", "exact origin"),
        ("ALLOWED_ORIGINS", "https://a.example,,", "not an origin"),
        ("ALLOWED_ORIGINS", "https://*.example.com", "there are no patterns"),
        ("ALLOWED_ORIGINS", "https://a.example,chrome-extension://*", "there are no patterns"),
        ("ALLOWED_ORIGINS", "https://a.example:443", "browsers send 'https://a.example'"),
        ("ALLOWED_ORIGINS", "capacitor://localhost/", "such as capacitor://localhost"),
        ("ALLOWED_ORIGINS", "wss://a.example", "begins with https:// or http://"),
        ("ALLOWED_ORIGINS", "file://", "only * admits"),
        ("TRUSTED_PROXIES", "10.0.0.0/33", "CIDR"),
        ("TRUSTED_PROXIES", "my-proxy", "CIDR"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,,2001:db8::/129", "'2001:db8::/129' is not a network"),
        ("TRUSTED_PROXIES", " , ", "names no network"),
        ("PROXY_HEADER", "x-real-ip", "x-forwarded-for, forwarded"),
        ("MAX_WAITING", "0", "1 to"),
        ("CONNECTS_PER_MINUTE", "-1", "whole number"),
        ("SCANS_PER_MINUTE", "many", "whole number"),
        ("BAD_TOKENS_PER_MINUTE", "-1", "whole number"),
        ("CLAIMS_PER_USER", "1001", "0 to 1000"),
        ("DRAIN_SECONDS", "3601", "0 to 3600"),
        ("WORKERS", "0", "1 to"),
        ("LOG", "scanlogin=loud", "scanlogin=loud"),
        ("LOG_FORMAT", "xml", "text, json"),
        ("LOG_LINES_PER_SECOND", "some", "whole number"),
        ("OTLP_ENDPOINT", "collector:4318", "must begin with https:// or http://"),
        ("OTLP_ENDPOINT", "http://user@collector:4318", "must not hold a user or a password"),
        ("OTLP_ONE_IN", "0", "1 to 1000000"),
        ("APP_JWKS_URL", "accounts.example.com", "not a URL"),
        ("APP_JWKS_URL", "http://accounts.example.com/jwks.json", "must begin with https://"),
        ("APP_JWKS_URL", "ftp://127.0.0.1/jwks.json", "must begin with https://"),
        ("APP_JWKS_URL", "http://localhost.evil.example/", "must begin with https://"),
        ("APP_JWKS_URL", "http://localhost:8080evil.example/", "not a URL"),
        ("APP_JWKS_URL", "https://user:word@accounts.example.com/", "must not hold a user"),
        ("APP_JWKS_URL", "https://accounts.example.com/jwks#x", "must not have a fragment"),
        ("APP_JWT_ISSUER", "https://accounts.example.com\n", "ends with a line break"),
        ("TOKEN_AUDIENCE", " https://www.example.com", "begins with a blank"),
        ("DEMO", "yes", "true, false, unsafe"),
        ("DEMO", "true", "beside an app secret"),
    ] {
        let variable = format!("SCANLOGIN_{name}");
        let example = format!("for example {variable}=");
        let mut settings = Settings::embedded().with(name, value);
        if name == "APP_JWKS_URL" {
            settings = settings.without("APP_JWT_SECRET");
        }
        assert_refused(&settings, &[], &[&variable, what, &example]).await;
    }
}

#[tokio::test]
async fn an_empty_value_is_wrong_too() {
    for name in ["LISTEN", "REDIS_URL", "APP_JWT_SECRET", "TOKEN_AUDIENCE", "LOG", "DEMO"] {
        let variable = format!("SCANLOGIN_{name}");
        let settings = Settings::embedded().with(name, "");
        assert_refused(&settings, &[], &[&variable, "is empty", "for example"]).await;
    }
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused() {
    let settings = Settings::embedded().with("WAIT_SECONDS", "900").with("ROTATE_SECONDS", "10");
    let words = ["SCANLOGIN_ROTATE_SECONDS", "more than 32 codes", "for example"];
    assert_refused(&settings, &[], &words).await;
    for matching in ["risky", "always"] {
        for settings in [Settings::embedded(), Settings::embedded().with("CONFIRM", "off")] {
            let words = ["SCANLOGIN_MATCH:", "needs SCANLOGIN_CONFIRM=required", "for example"];
            assert_refused(&settings.with("MATCH", matching), &[], &words).await;
        }
    }
    for (given, missing) in [("APP_JWT_SECRET", "TOKEN_SECRET"), ("TOKEN_SECRET", "APP_JWT_SECRET")]
    {
        let settings = Settings::embedded().without(missing);
        let variable = format!("SCANLOGIN_{missing}");
        assert_refused(&settings, &[], &[&variable, "is missing", "for example"]).await;
        let nowhere = settings.without(given).with("REDIS_URL", "redis://127.0.0.1:1");
        assert_refused(&nowhere, &[], &["SCANLOGIN_APP_JWT_SECRET", "is missing"]).await;
    }
    let tls = Settings::embedded().with("REDIS_URL", "redis://127.0.0.1:1");
    for (name, what) in [
        ("REDIS_CA_FILE", "rediss://"),
        ("REDIS_CERT_FILE", "SCANLOGIN_REDIS_KEY_FILE"),
        ("REDIS_KEY_FILE", "SCANLOGIN_REDIS_CERT_FILE"),
    ] {
        assert_refused(&tls.clone().with(name, "/dev/null"), &[], &[what]).await;
    }
    let no_file =
        tls.with("REDIS_URL", "rediss://127.0.0.1:1").with("REDIS_CA_FILE", "/etc/no-such-file");
    assert_refused(&no_file, &[], &["SCANLOGIN_REDIS_CA_FILE", "/etc/no-such-file"]).await;
}

#[tokio::test]
async fn exactly_one_way_to_verify_and_to_sign_is_wanted() {
    let keys = Keys::new();
    keys.make("key", Algorithm::ES256);
    let (public, private) = (keys.path("key.pub"), keys.path("key.pem"));
    let url = "https://accounts.example.com/jwks.json";
    for (name, value) in [
        ("APP_JWT_PUBLIC_KEY_FILE", &*public),
        ("APP_JWKS_URL", url),
        ("TOKEN_PRIVATE_KEY_FILE", &private),
        ("TOKEN_WEBHOOK_URL", url),
    ] {
        let variable = format!("SCANLOGIN_{name}");
        let beside = if name.starts_with("APP") { "APP_JWT_SECRET" } else { "TOKEN_SECRET" };
        let beside = format!("is set beside SCANLOGIN_{beside}: exactly one of");
        let settings = Settings::embedded().with(name, value);
        assert_refused(&settings, &[], &[&variable, &beside, "for example"]).await;
    }
    let settings = Settings::embedded().without("APP_JWT_SECRET").with("APP_JWKS_URL", url);
    let both = settings.with("APP_JWT_PUBLIC_KEY_FILE", &public);
    let words = ["SCANLOGIN_APP_JWKS_URL", "beside SCANLOGIN_APP_JWT_PUBLIC_KEY_FILE"];
    assert_refused(&both, &[], &words).await;
    let hook = Settings::embedded().without("TOKEN_SECRET").with("TOKEN_WEBHOOK_URL", url);
    let words = ["SCANLOGIN_TOKEN_WEBHOOK_SECRET", "is missing beside SCANLOGIN_TOKEN_WEBHOOK_URL"];
    assert_refused(&hook, &[], &words).await;
    let hook = hook.with("TOKEN_WEBHOOK_SECRET", TOKEN_SECRET);
    let signed = hook.clone().with("TOKEN_SECRET_PREVIOUS", TOKEN_SECRET);
    assert_refused(&signed, &[], &["SCANLOGIN_TOKEN_SECRET_PREVIOUS", "never signed with"]).await;
    let plain = hook.with("TOKEN_WEBHOOK_URL", "http://accounts.example.com/");
    let words = ["SCANLOGIN_TOKEN_WEBHOOK_URL", "must begin with https://", "for example"];
    assert_refused(&plain, &[], &words).await;
    let alone = Settings::embedded().with("TOKEN_WEBHOOK_SECRET", TOKEN_SECRET);
    let words = ["SCANLOGIN_TOKEN_WEBHOOK_URL", "is missing beside"];
    assert_refused(&alone, &[], &words).await;
    for name in ["APP_JWT_SECRET", "TOKEN_SECRET"] {
        let previous = format!("{name}_PREVIOUS");
        let none = Settings::embedded().without("APP_JWT_SECRET").without("TOKEN_SECRET");
        let words = [&*format!("SCANLOGIN_{previous}"), "only accepted, never signed with"];
        assert_refused(&none.with(&previous, APP_SECRET), &[], &words).await;
        let short = Settings::embedded().with(&previous, "short");
        assert_refused(&short, &[], &[&format!("SCANLOGIN_{previous}"), "5 bytes"]).await;
    }
}

#[tokio::test]
async fn a_key_file_that_cannot_be_used_says_what_is_wrong_with_it() {
    let keys = Keys::new();
    keys.make("key", Algorithm::ES256);
    keys.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out p384.pem");
    keys.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out k1.pem");
    keys.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out small.pem");
    for name in ["p384", "k1", "small"] {
        keys.openssl(&format!("pkey -in {name}.pem -pubout -out {name}.pub"));
    }
    keys.openssl("pkey -in key.pem -aes256 -passout pass:word -out encrypted.pem");
    keys.openssl("req -x509 -key key.pem -subj /CN=x -days 2 -out key.crt");
    keys.write("none", "no key at all\n");
    keys.write("second", &(keys.text("key.pub") + &keys.text("p384.pub")));
    let (app, token) = ("APP_JWT_PUBLIC_KEY_FILE", "TOKEN_PRIVATE_KEY_FILE");
    for (name, file, what) in [
        (app, "missing", "cannot be read"),
        (app, "none", "holds no key in PEM form"),
        (app, "key.pem", "is a private key, which does not belong here"),
        (app, "key.crt", "is a certificate"),
        (app, "p384.pub", "not on the curve P-256"),
        (app, "k1.pub", "not on the curve P-256"),
        (app, "small.pub", "less than 2048 bits"),
        (app, "second", "key 2 (PUBLIC KEY) is not on the curve P-256"),
        (token, "missing", "cannot be read"),
        (token, "none", "holds no key in PEM form"),
        (token, "key.pub", "is not a private key"),
        (token, "encrypted.pem", "is encrypted"),
        (token, "p384.pem", "is not an RSA (2048 bits or more), P-256 or Ed25519"),
        (token, "small.pem", "2048 bits"),
    ] {
        let settings = Settings::embedded().without("APP_JWT_SECRET").without("TOKEN_SECRET");
        let (variable, path) = (format!("SCANLOGIN_{name}"), keys.path(file));
        let settings = settings.with(name, &path);
        assert_refused(&settings, &[], &[&variable, &path, what, "for example"]).await;
    }
}

#[tokio::test]
async fn a_setting_that_does_not_exist_is_named_and_a_near_one_suggested() {
    let settings = Settings::embedded().with("WAIT_SECOND", "5");
    let words = ["SCANLOGIN_WAIT_SECOND:", "no such setting", "SCANLOGIN_WAIT_SECONDS?"];
    assert_refused(&settings, &[], &words).await;
    let settings = Settings::embedded().with("XYZ", "5");
    assert_refused(&settings, &[], &["SCANLOGIN_XYZ", "no such setting", "--help"]).await;
    // Not everything may come from a file, and no secret from a flag.
    let settings = Settings::embedded().with("LISTEN_FILE", "/dev/null");
    assert_refused(&settings, &[], &["SCANLOGIN_LISTEN_FILE", "no such setting"]).await;
    for flag in ["--token-secret", "--no-such-flag"] {
        assert_refused(&Settings::embedded(), &[flag, "x"], &["command line", flag, "--help"])
            .await;
    }
}

#[tokio::test]
async fn a_flag_is_checked_like_its_variable_and_wins_over_it() {
    let settings = Settings::embedded().with("WAIT_SECONDS", "60");
    let words = ["SCANLOGIN_WAIT_SECONDS", "'soon'", "for example"];
    assert_refused(&settings, &["--wait-seconds", "soon"], &words).await;
    let wrong = Settings::embedded().with("WORKERS", "none");
    let port_taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port_taken.local_addr().unwrap().to_string();
    // The variable's wrong value does not count: the start fails only at the port.
    let words = ["SCANLOGIN_LISTEN", &address];
    assert_refused(&wrong, &["--workers", "1", "--listen", &address], &words).await;
}

#[tokio::test]
async fn a_secret_may_come_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let path_text = path.to_str().unwrap();
    let settings = Settings::embedded().with("APP_JWT_SECRET_FILE", path_text);
    let both = ["SCANLOGIN_APP_JWT_SECRET", "SCANLOGIN_APP_JWT_SECRET_FILE", "use one of them"];
    assert_refused(&settings, &[], &both).await;
    let settings = settings.without("APP_JWT_SECRET");
    let unreadable = ["SCANLOGIN_APP_JWT_SECRET_FILE", path_text, "cannot be read"];
    assert_refused(&settings, &[], &unreadable).await;
    std::fs::write(&path, "short\n").unwrap();
    assert_refused(&settings, &[], &["SCANLOGIN_APP_JWT_SECRET", "5 bytes"]).await;
    std::fs::write(&path, "\n").unwrap();
    assert_refused(&settings, &[], &["SCANLOGIN_APP_JWT_SECRET", "is empty"]).await;
    std::fs::write(&path, format!("{APP_SECRET}\n")).unwrap();
    let process = Process::start(settings).await;
    // The newline at the end is no part of it.
    let answer = Phone::of(process.address, "alice").scan("x").await;
    assert_eq!(answer.codes(), (404, -1));
}

#[tokio::test]
async fn an_address_in_use_is_named_also_where_another_of_us_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    // Its own threads share its address.
    let other = Process::start(Settings::embedded()).await;
    for (name, address) in [
        ("LISTEN", taken),
        ("ADMIN_LISTEN", taken),
        ("LISTEN", other.address),
        ("ADMIN_LISTEN", other.address),
        ("LISTEN", other.admin_address),
    ] {
        let variable = format!("SCANLOGIN_{name}");
        let settings = Settings::embedded().with(name, &address.to_string());
        let what = format!("{variable}: {address} cannot be listened to: Address already in use");
        let example = format!("for example {variable}=");
        assert_refused(&settings, &[], &[&what, &example]).await;
    }
}

#[tokio::test]
async fn a_redis_that_cannot_be_reached_is_tried_for_a_while_and_then_named() {
    let url = format!("redis://:a-password@127.0.0.1:{}", free_port());
    let settings = Settings::embedded().with("REDIS_URL", &url);
    let output = run(&settings, &[]).await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.contains("SCANLOGIN_REDIS_URL") && last.contains("for example"), "{last}");
    let attempts = text.lines().filter(|line| line.contains("cannot be reached yet")).count();
    assert!(attempts >= 3, "each attempt is logged: {text}");
    assert!(!text.contains("a-password") && !text.contains("panicked"), "{text}");
}

#[tokio::test]
async fn a_redis_that_wants_another_password_is_named() {
    let redis = RedisServer::with(&["--requirepass", "right"]).await;
    let url = format!("redis://:wrong@127.0.0.1:{}", redis.port);
    let settings = Settings::embedded().with("REDIS_URL", &url);
    assert_refused(&settings, &[], &["SCANLOGIN_REDIS_URL"]).await;
    let url = format!("redis://:right@127.0.0.1:{}", redis.port);
    let process = Process::start(settings.with("REDIS_URL", &url)).await;
    let (_browser, key) = Browser::plain(process.address).await;
    assert_eq!(Phone::of(process.address, "alice").scan(&key).await.codes(), (200, 100));
    assert!(!process.log().contains("right@"));
}

#[tokio::test]
async fn what_kubernetes_injects_for_a_service_of_our_name_is_ignored() {
    let settings = Settings::embedded()
        .with("SERVICE_HOST", "10.0.0.1")
        .with("SERVICE_PORT", "80")
        .with("ADMIN_SERVICE_PORT_METRICS", "8081")
        .with("PORT", "tcp://10.0.0.1:80")
        .with("PORT_80_TCP", "tcp://10.0.0.1:80")
        .with("PORT_80_TCP_PROTO", "tcp")
        .with("PORT_80_TCP_PORT", "80")
        .with("PORT_80_TCP_ADDR", "10.0.0.1");
    let process = Process::start(settings).await;
    assert_eq!(Phone::of(process.address, "alice").scan("x").await.codes(), (404, -1));
    let ours = Settings::embedded().with("PORT", "8080");
    assert_refused(&ours, &[], &["SCANLOGIN_PORT", "no such setting"]).await;
}

#[tokio::test]
async fn help_and_version_are_shown_whatever_the_environment() {
    let wrong = Settings::embedded().with("WAIT_SECONDS", "x").with("NOTHING", "x");
    for settings in [Settings::embedded(), wrong] {
        let help = run(&settings, &["--help"]).await;
        assert_eq!(help.status.code(), Some(0));
        let text = String::from_utf8(help.stdout).unwrap();
        for setting in SETTINGS {
            assert!(text.contains(setting.env), "{} is missing", setting.env);
        }
        assert!(!text.contains("--token-secret"), "no secret is a flag");
        let version = run(&settings, &["--version"]).await;
        assert_eq!(version.status.code(), Some(0));
        let text = String::from_utf8(version.stdout).unwrap();
        assert_eq!(text.trim(), format!("scanlogin {}", scanlogin::VERSION));
    }
}

#[tokio::test]
async fn a_process_that_is_asked_to_stop_ends_well() {
    let mut process = Process::start(Settings::embedded()).await;
    let (mut browser, _) = Browser::plain(process.address).await;
    process.terminate();
    assert_eq!(browser.text().await, "again");
    assert_eq!(browser.closed().await, crate::helpers::Closed::Code(1012));
    let status = crate::helpers::eventually("it ends", || {
        let status = process.child.try_wait().expect("a child of ours");
        async move { status }
    })
    .await;
    assert_eq!(status.code(), Some(0), "{}", process.log());
}
