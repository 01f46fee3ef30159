//! Whatever is wrong with a configuration: nothing that is said about it holds a piece of a secret.

use std::{ffi::OsString, path::Path};

use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};
use scanlogin::{
    cli,
    clock::Clock,
    config::{
        Config, ConfigError, Parsed, Values,
        table::{Kind, SETTINGS, Setting},
    },
    keys::Entropy,
};
use serde_json::json;
use tempfile::TempDir;

use crate::helpers::{
    Browser, Phone, Process, RedisServer, Settings, eventually, free_port,
    phone::{app_token, now},
    service::{APP_SECRET, TOKEN_SECRET, command},
};

/// Letters of which no message has six in a row, in capitals or not.
const LETTERS: &str = "[QZXJVWKY]{8,12}";
/// So many of a secret's characters give it away.
const RUN: usize = 6;
/// What cuts a value into pieces for those who read it.
const CUTS: &[&str] = &[
    "/", "?", "#", "@", ":", "%", "[", "]", "\\", " ", "\n", "\t", "'", "\"", ",", "=", "&", "+",
    "//", "://", "%2", "\u{feff}", ";", "|", "-----", "--",
];

/// Identifiers and filters, in which an `@` can stand for itself: they are shown, and no place for a
/// secret, unless they are addresses.
const WITH_AT: [&str; 7] = [
    "SCANLOGIN_APP_JWT_AUDIENCE",
    "SCANLOGIN_APP_JWT_ISSUER",
    "SCANLOGIN_APP_NAME",
    "SCANLOGIN_LOG",
    "SCANLOGIN_REDIS_PREFIX",
    "SCANLOGIN_TOKEN_AUDIENCE",
    "SCANLOGIN_TOKEN_ISSUER",
];

/// A secret in pieces, each long enough to be told.
fn secrets() -> impl Strategy<Value = String> {
    let piece = (LETTERS, select(CUTS)).prop_map(|(letters, cut)| letters + cut);
    (vec(piece, 0..4), LETTERS).prop_map(|(pieces, last)| pieces.concat() + &last)
}

/// The first run of a secret's letters in a text.
fn given_away(text: &str) -> Option<&str> {
    let is_letter = |b: u8| b"QZXJVWKYqzxjvwky".contains(&b);
    let bytes = text.as_bytes();
    let at = bytes.windows(RUN).position(|run| run.iter().all(|byte| is_letter(*byte)))?;
    let from = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let to = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |end| at + end);
    std::str::from_utf8(&bytes[from..to]).ok().or(Some("(cut within a character)"))
}

/// The forms in which this setting may be given a secret, rightly or wrongly.
fn forms(setting: &Setting, secret: &str) -> Vec<String> {
    // Behind the last @ is the host, which is none.
    let no_at = secret.replace('@', ".");
    let mut forms = vec![
        format!("https://{secret}@h.example/"),
        format!("https://user:{secret}@h.example:1/x"),
        format!("http://user:{secret}@127.0.0.1:1"),
    ];
    if setting.kind == Kind::Secret {
        for scheme in ["redis", "rediss", "redis+sentinel", "redis+cluster", "nonsense", &no_at] {
            // In front of a colon stands a user, who may be named.
            let alone = secret.replace(':', ".");
            for login in [alone, format!(":{secret}"), format!("user:{secret}")] {
                forms.push(format!("{scheme}://{login}@h:1,i/0"));
                forms.push(format!("{scheme}://{login}@h"));
            }
            forms.push(format!("{scheme}://h:{no_at}"));
        }
        forms.push(format!("redis://h/{no_at}"));
        forms.push(format!("redis://h?{no_at}"));
        for end in ["", "\n", "\n\n", "\r\n", " ", "\t", "\u{a0}", "\u{200b}"] {
            forms.push(format!("{secret}{end}"));
            forms.push(format!("\u{feff}{secret}{end}"));
            forms.push(format!("{end}{secret}{secret}{secret}{secret}"));
        }
    } else if setting.env.ends_with("_FILE") {
        forms.push(secret.to_owned());
        forms.push(format!("/{no_at}"));
        forms.push(pem(secret));
    } else if !WITH_AT.contains(&setting.env) {
        forms.push(format!("{secret}@h.example"));
        forms.push(format!("user:{secret}@h.example:1"));
        forms.push(format!("https:user:{secret}@h.example"));
        forms.push(format!("https:\\\\user:{secret}@h.example"));
        forms.push(format!("https://ok.example,https://user:{secret}@h.example"));
        forms.push(format!("https://user:1/{secret}@h.example"));
        forms.push(pem(secret));
    }
    forms
}

fn pem(secret: &str) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n")
}

/// Around the setting that is tried: nothing, what most have, and a Redis.
fn surroundings() -> [Vec<(String, String)>; 3] {
    let pair = |name: &str, value: &str| (format!("SCANLOGIN_{name}"), value.to_owned());
    let secrets = || vec![pair("APP_JWT_SECRET", APP_SECRET), pair("TOKEN_SECRET", TOKEN_SECRET)];
    let redis = pair("REDIS_URL", "rediss://h");
    [vec![], secrets(), [secrets(), vec![redis]].concat()]
}

/// All that is said about a configuration, by the start and by `check-config`.
fn said(arguments: Vec<OsString>, environment: Vec<(String, String)>) -> String {
    let wrong = |error: ConfigError| format!("{error}\n{error:?}\n");
    let values = match Values::read(arguments, environment) {
        Ok(Parsed::Run(values) | Parsed::Check(values) | Parsed::Token(_, values)) => values,
        Ok(Parsed::Show(text)) => return String::from_utf8_lossy(&text).into_owned(),
        Err(error) => return wrong(error),
    };
    let config = match Config::from_values(&values, Entropy::Os) {
        Ok(config) => config,
        Err(error) => return wrong(error),
    };
    let report = cli::report(&values, &config).unwrap_or_else(wrong);
    let greeting = cli::what_to_open(&config, config.listen, config.admin_listen).join("\n");
    format!("{report}\n{greeting}\n{:?}\n{config:?}", config.warnings)
}

fn arguments(words: &[&str]) -> Vec<OsString> {
    ["scanlogin"].iter().chain(words).map(OsString::from).collect()
}

/// What is said of a setting that is given this value, in one of the ways in which it can be given.
fn said_of(setting: &Setting, value: &str, folder: &Path, turn: usize) -> (&'static str, String) {
    let name = setting.env;
    let [alone, usual, redis] = surroundings();
    let around = [usual, alone, redis].into_iter().cycle().nth(turn).expect("an endless row");
    let others = || around.iter().filter(|(other, _)| other != name).cloned();
    let with = |name: &str| others().chain([(name.to_owned(), value.to_owned())]).collect();
    let (flag, file_name) = (format!("--{}", setting.flag()), format!("{name}_FILE"));
    let joined = format!("{flag}={value}");
    let as_file = |name: &str| {
        let file = folder.join("file");
        std::fs::write(&file, value).expect("a file");
        let file = file.to_str().expect("a path in UTF-8").to_owned();
        others().chain([(name.to_owned(), file)]).collect::<Vec<_>>()
    };
    let is_secret = setting.kind == Kind::Secret;
    match turn / 3 % 8 {
        0 | 1 if is_secret => ("file", said(arguments(&[]), as_file(&file_name))),
        2 if is_secret => ("in place of a path", said(arguments(&[]), with(&file_name))),
        3 if is_secret => {
            let both = as_file(&file_name).into_iter().chain(with(name)).collect();
            ("both", said(arguments(&[]), both))
        }
        0 | 1 if name.ends_with("_FILE") => ("content", said(arguments(&[]), as_file(name))),
        4 => ("flag", said(arguments(&[&flag, value]), others().collect())),
        5 => ("flag=", said(arguments(&["check-config", &joined]), others().collect())),
        6 => ("flag of token", said(arguments(&["token", &joined]), others().collect())),
        _ => ("variable", said(arguments(&[]), with(name))),
    }
}

/// A folder whose name is none of a secret's letters.
fn folder() -> TempDir {
    let prefix = format!("unsaid-{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).rand_bytes(2).tempdir().expect("a directory")
}

/// Over the whole table: a setting that is added to it is tried like all others.
#[test]
fn no_piece_of_a_secret_is_in_what_is_said_of_any_setting() {
    let folder = folder();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let all = runner.run(&(secrets(), 0..24_usize), |(secret, first)| {
        for setting in SETTINGS {
            for (turn, value) in forms(setting, &secret).into_iter().enumerate() {
                let (way, text) = said_of(setting, &value, folder.path(), first + turn);
                let line = given_away(&text);
                prop_assert!(line.is_none(), "{}, {way}: {value:?}: {line:?}", setting.env);
            }
        }
        Ok(())
    });
    all.unwrap_or_else(|error| panic!("{error}"));
}

/// The binary says what the library says, and clap's own words.
#[test]
fn no_piece_of_a_secret_is_in_what_the_program_prints() {
    const SECRET: &str = "QZXJVWKYQZ/XJVWKYQZXJ@VWKYQZXJVW:KYQZXJVWKY";
    for setting in SETTINGS {
        let (flag, name) = (format!("--{}", setting.flag()), &setting.env["SCANLOGIN_".len()..]);
        let values = forms(setting, SECRET);
        let value = values.last().expect("a form");
        let none = Settings::embedded().without(name);
        let given = none.clone().with(name, value);
        let joined = format!("{flag}={value}");
        for (settings, arguments) in [
            (&given, &["check-config"][..]),
            (&given, &["--help"]),
            (&given, &["token", "--user", "alice", "--ttl", "never"]),
            (&none, &["check-config", &flag, value]),
            (&none, &["check-config", &joined]),
            (&none, &[&joined, "man"]),
            (&none, &["completions", &flag, value]),
            (&none, &["token", &joined]),
            (&none, &[value]),
            (&none, &[SECRET]),
            (&none, &["check-config", SECRET]),
            (&none, &["token", "--user", "alice", "--ttl", SECRET]),
            (&none, &["man", SECRET]),
            (&none, &["completions", SECRET]),
        ] {
            let output = command(settings).args(arguments).output().expect("the binary");
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            let line = given_away(&text);
            assert_eq!(line, None, "{} {arguments:?}", setting.env);
            assert!(!text.contains("panicked"), "{} {arguments:?}: {text}", setting.env);
        }
    }
}

#[tokio::test]
async fn no_piece_of_a_secret_is_in_an_error_of_the_token_that_is_made() {
    const SECRET: &str = "QZXJVWKYQZXJVWKYQZXJ";
    let folder = folder();
    let path = folder.path().join("secret");
    for content in [SECRET.into(), format!("{SECRET}{SECRET}\n\n"), pem(SECRET)] {
        std::fs::write(&path, &content).expect("a file");
        for file in [path.to_str().expect("UTF-8"), &content] {
            for option in ["--secret-file", "--private-key-file"] {
                let option = format!("{option}={file}");
                let arguments = arguments(&["token", "--user", "alice", &option]);
                let parsed = Values::read(arguments, Vec::<(String, String)>::new());
                let Ok(Parsed::Token(order, values)) = parsed else { panic!("{option}") };
                let made = cli::token(&order, &values, Clock::system().wall()).await;
                let Err(error) = made else { continue };
                let text = format!("{error}\n{error:?}");
                assert_eq!(given_away(&text), None, "{option:?}");
            }
        }
    }
}

/// Whether any six characters of a secret that stand together are in a text.
fn piece_in(secret: &str, text: &str) -> Option<String> {
    let pieces = secret.as_bytes().windows(RUN).map(|piece| String::from_utf8_lossy(piece));
    pieces.map(|piece| piece.into_owned()).find(|piece| text.contains(piece.as_str()))
}

/// With everything logged that any part of it can say, through a start, a login, an outage and a stop.
#[tokio::test]
async fn no_piece_of_a_secret_is_in_the_log_of_a_run_or_of_a_start_that_fails() {
    let secrets: Vec<String> = std::iter::repeat_with(random).take(6).collect();
    let [app, app_before, token, token_before, password, proxy] = &secrets[..] else { panic!() };
    let mut redis = RedisServer::with(&["--requirepass", password]).await;
    let port = redis.port;
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{port}");
    let proxy = format!("http://user:{proxy}@127.0.0.1:{}", free_port());
    let settings = Settings::embedded()
        .with("LOG", "trace")
        .with("REDIS_URL", &url(password))
        .with("APP_JWT_SECRET", app)
        .with("APP_JWT_SECRET_PREVIOUS", app_before)
        .with("TOKEN_SECRET", token)
        .with("TOKEN_SECRET_PREVIOUS", token_before)
        .with("OTLP_ENDPOINT", "http://collector.invalid:4318")
        .with_variable("HTTP_PROXY", &proxy)
        .with_variable("http_proxy", &proxy)
        .with_variable("HTTPS_PROXY", &proxy)
        .with_variable("OTEL_EXPORTER_OTLP_HEADERS", &format!("x-api-key={}", &secrets[5]));
    let mut process = Process::start(settings.clone()).await;
    let (_browser, key) = Browser::plain(process.address).await;
    let claims = json!({ "sub": "alice", "exp": now() + 600 });
    let phone = Phone::with_token(process.address, &app_token(&claims, app));
    assert_eq!(phone.scan(&key).await.codes(), (200, 100));
    redis.kill();
    eventually("the outage is logged", || async {
        (!process.logged("feed lost").is_empty()).then_some(())
    })
    .await;
    process.terminate();
    eventually("it ends", || {
        let status = process.child.try_wait().expect("a child of ours");
        async move { status }
    })
    .await;
    let mut texts = vec![("a run", process.log())];

    redis.start_again().await;
    let wrong = random();
    let refused = settings.clone().with("REDIS_URL", &url(&wrong));
    let jwks =
        settings.without("APP_JWT_SECRET").with("APP_JWKS_URL", "https://keys.invalid/jwks.json");
    for (what, settings) in [("a wrong password", refused), ("a proxy that is away", jwks)] {
        let mut command = command(&settings);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.expect("a thread").expect("the binary");
        assert_eq!(output.status.code(), Some(2), "{what}");
        texts.push((what, String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    for (what, text) in texts {
        assert!(text.len() > 1000, "{what}: everything is logged");
        for secret in secrets.iter().chain([&wrong]) {
            assert_eq!(piece_in(secret, &text), None, "{what}");
        }
    }
}

/// A secret of which no text has a piece by chance.
fn random() -> String {
    let letter = |byte: &u8| char::from(b'A' + byte % 26);
    Entropy::Os.bytes::<40>().iter().map(letter).collect()
}
