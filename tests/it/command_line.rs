//! What the program does besides serving: each subcommand, as a person types it.

use std::process::{Command, Output, Stdio};

use jsonwebtoken::Algorithm;
use scanlogin::config::table::{Kind, SETTINGS};

use crate::helpers::{
    Phone, Process, Service, Settings,
    pem::Keys,
    service::{APP_SECRET, TOKEN_SECRET, claims, command},
};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// Runs a subcommand to its end. None of them waits for anything.
pub(crate) fn run(settings: &Settings, arguments: &[&str]) -> Output {
    command(settings).args(arguments).output().expect("the binary")
}

/// Nobody has set anything.
fn none() -> Settings {
    Settings::embedded().only(&[])
}

/// `cargo run`, at free ports.
pub(crate) fn trial() -> Settings {
    Settings::embedded().only(&["LISTEN", "ADMIN_LISTEN", "LOG_FORMAT"])
}

pub(crate) fn stdout(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_eq!(errors, "", "nothing but what was asked for");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// The last line of what was refused.
fn refusal(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(output.stdout.is_empty() && !errors.contains("panicked"), "{errors}");
    errors.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn check_config_shows_every_setting_and_where_it_comes_from() {
    let settings = Settings::embedded().with("WAIT_SECONDS", "60").without("WORKERS");
    // Flags before the word and after it.
    let arguments = ["--rotate-seconds", "20", "check-config", "--confirm", "required"];
    let text = stdout(&run(&settings, &arguments));
    for setting in SETTINGS {
        let line = format!("{}=", setting.env);
        assert_eq!(text.lines().filter(|it| it.starts_with(&line)).count(), 1, "{line}");
    }
    for line in [
        "SCANLOGIN_WAIT_SECONDS=60  (environment)",
        "SCANLOGIN_ROTATE_SECONDS=20  (--rotate-seconds)",
        "SCANLOGIN_CONFIRM=required  (--confirm)",
        "SCANLOGIN_RESUME_SECONDS=60  (default)",
        "SCANLOGIN_DEMO=false  (default)",
        "SCANLOGIN_ALLOWED_ORIGINS=<the host of the public URL, else of the request>  (default)",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is missing in\n{text}");
    }
    let workers = std::thread::available_parallelism().expect("a number").get();
    assert!(text.contains(&format!("SCANLOGIN_WORKERS={workers}  (default)")), "{text}");
}

#[test]
fn check_config_shows_no_secret() {
    let keys = Keys::new();
    let path = keys.write("secret", &format!("{TOKEN_SECRET}\n"));
    let url = "rediss+sentinel://somebody:a-password-of-redis@one:1,[::1]:2/primary/3";
    let settings = Settings::embedded()
        .without("TOKEN_SECRET")
        .with("TOKEN_SECRET_FILE", &path)
        .with("REDIS_URL", url);
    let text = stdout(&run(&settings, &["check-config"]));
    for secret in [APP_SECRET, TOKEN_SECRET, "a-password-of-redis"] {
        assert!(!text.contains(secret), "{text}");
    }
    for line in [
        format!("SCANLOGIN_APP_JWT_SECRET=<{} bytes>  (environment)", APP_SECRET.len()),
        format!("SCANLOGIN_TOKEN_SECRET=<{} bytes>  (file {path})", TOKEN_SECRET.len()),
        "SCANLOGIN_REDIS_URL=rediss+sentinel://somebody:...@one:1,[::1]:2/primary/3  (environment)"
            .into(),
    ] {
        assert!(text.contains(&line), "{line} is missing in\n{text}");
    }
    // In a trial there is nothing to hide, and what stands in is named.
    let text = stdout(&run(&none(), &["check-config"]));
    assert!(text.contains("SCANLOGIN_APP_JWT_SECRET=<random, for this run>  (default)"), "{text}");
}

#[test]
fn check_config_refuses_what_the_start_refuses() {
    let wrong = Settings::embedded().with("WAIT_SECONDS", "soon");
    let last = refusal(&run(&wrong, &["check-config"]));
    assert!(last.starts_with("SCANLOGIN_WAIT_SECONDS: 'soon'"), "{last}");
    let unknown = Settings::embedded().with("WAIT_SECOND", "5");
    let last = refusal(&run(&unknown, &["check-config"]));
    assert!(last.contains("did you mean SCANLOGIN_WAIT_SECONDS?"), "{last}");
}

#[tokio::test]
async fn a_token_made_with_the_services_secret_is_taken_as_the_apps() {
    let settings =
        Settings::embedded().with("APP_JWT_ISSUER", "app").with("APP_JWT_AUDIENCE", "us");
    let service = Service::start(settings.clone()).await;
    let arguments =
        ["token", "--user", "zoë", "--name", "Zoë Example", "--picture", "https://x.example/z.png"];
    let token = stdout(&run(&settings, &[&arguments[..], &["--ttl", "60"]].concat()));
    let (_, claims) = claims(token.trim());
    assert_eq!(claims["sub"], "zoë");
    assert_eq!(claims["name"], "Zoë Example");
    assert_eq!(claims["picture"], "https://x.example/z.png");
    assert_eq!(claims["exp"].as_u64().zip(claims["iat"].as_u64()).map(|(e, i)| e - i), Some(60));
    // -1, not -2: whose key it is was never the question.
    let scan = Phone::with_token(service.address, token.trim()).scan("x").await;
    assert_eq!(scan.codes(), (404, -1));
    // The secret alone, from a file, and the expectations by flag.
    let keys = Keys::new();
    let path = keys.write("secret", &format!("{APP_SECRET}\n"));
    let arguments = ["token", "--user", "zoë", "--secret-file", &path, "--app-jwt-issuer", "app"];
    for (more, codes) in [(&["--app-jwt-audience", "us"][..], (404, -1)), (&[], (401, -2))] {
        let token = stdout(&run(&none(), &[&arguments[..], more].concat()));
        let scan = Phone::with_token(service.address, token.trim()).scan("x").await;
        assert_eq!(scan.codes(), codes);
    }
}

#[tokio::test]
async fn a_token_made_with_a_private_key_is_taken_where_the_public_one_is_known() {
    let keys = Keys::new();
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let name = format!("{algorithm:?}");
        keys.make(&name, algorithm);
        let (private, public) = (format!("{name}.pem"), keys.path(&format!("{name}.pub")));
        let settings =
            Settings::embedded().without("APP_JWT_SECRET").with("APP_JWT_PUBLIC_KEY_FILE", &public);
        let service = Service::start(settings.clone()).await;
        let last = refusal(&run(&settings, &["token", "--user", "alice"]));
        assert!(last.contains("PUBLIC_KEY_FILE") && last.contains("--private-key-file"), "{last}");
        let arguments = ["token", "--user", "alice", "--private-key-file", &keys.path(&private)];
        let token = stdout(&run(&settings, &arguments));
        let scan = Phone::with_token(service.address, token.trim()).scan("x").await;
        assert_eq!(scan.codes(), (404, -1), "{name}");
    }
}

/// What somebody does who has just typed `cargo run` and has set nothing.
#[tokio::test]
async fn a_demo_that_runs_is_asked_for_the_token_of_one_of_its_users() {
    let demo = Process::start(trial()).await;
    let listen = demo.address.to_string();
    let token = stdout(&run(&none(), &["token", "--user", "alice", "--listen", &listen]));
    let scan = Phone::with_token(demo.address, token.trim()).scan("x").await;
    assert_eq!(scan.codes(), (404, -1));
    let asked = |arguments: &[&str]| {
        refusal(&run(&none(), &[&["token", "--listen", &listen], arguments].concat()))
    };
    let last = asked(&["--user", "zoë"]);
    assert!(last.contains("alice, bob, mei") && last.contains("--secret-file"), "{last}");
    let last = asked(&["--user", "alice", "--ttl", "60"]);
    assert!(last.starts_with("--ttl: ") && last.contains("--secret-file"), "{last}");
    // Somebody is there who is no demo, and nobody at all.
    let other = Process::start(Settings::embedded()).await;
    let last = refusal(&run(
        &none(),
        &["token", "--user", "alice", "--listen", &other.address.to_string()],
    ));
    assert!(last.contains("runs no demo") && last.contains("SCANLOGIN_APP_JWT_SECRET"), "{last}");
    let last = refusal(&run(&none(), &["token", "--user", "alice", "--listen", "127.0.0.1:1"]));
    assert!(last.contains("nothing to sign with") && last.contains("127.0.0.1:1"), "{last}");
}

#[test]
fn a_token_that_the_service_would_not_take_is_not_made() {
    let keys = Keys::new();
    let short = keys.write("short", "x\n");
    let two_lines = keys.write("two-lines", &format!("{APP_SECRET}\n\n"));
    let marked = keys.write("marked", &format!("\u{feff}{APP_SECRET}\n"));
    let no_key = keys.write("no-key", "nonsense");
    let long = "x".repeat(256);
    for (arguments, words) in [
        (&["--user", &long][..], &["--user", "256 bytes", "at most 255"][..]),
        (&["--user", "a\u{202e}b"], &["--user", "direction marks", "refuses such a sub"]),
        (&["--user", "a", "--name", &long[..129]], &["--name", "129 bytes", "at most 128"]),
        (&["--user", "a", "--ttl", "0"], &["command line", "'0'", "--ttl"]),
        (&["--user", ""], &["command line", "--user"]),
        (&[], &["command line", "--user", "--help"]),
        (&["--user", "a", "--secret-file", &short], &["--secret-file", &short, "1 bytes"]),
        (
            &["--user", "a", "--secret-file", &two_lines],
            &["--secret-file", "ends with a line break"],
        ),
        (&["--user", "a", "--secret-file", &marked], &["--secret-file", "a byte order mark"]),
        (&["--user", "a", "--secret-file", "/nowhere"], &["--secret-file", "cannot be read"]),
        (&["--user", "a", "--private-key-file", &no_key], &["--private-key-file", &no_key]),
    ] {
        let last = refusal(&run(&Settings::embedded(), &[&["token"], arguments].concat()));
        for word in words {
            assert!(last.contains(word), "{arguments:?}: '{word}' is missing in: {last}");
        }
    }
}

#[test]
fn completions_are_ones_that_the_shell_can_read() {
    // Whatever the environment holds.
    let wrong = Settings::embedded().with("NOTHING", "x");
    for shell in ["bash", "zsh", "fish"] {
        let text = stdout(&run(&wrong, &["completions", shell]));
        for word in ["check-config", "completions", "wait-seconds"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
        assert!(!text.contains("token-secret"), "{shell}: no secret is a flag");
    }
    let script = "source <(\"$1\" completions bash); COMP_WORDS=(scanlogin che); COMP_CWORD=1; \
                  _scanlogin scanlogin che scanlogin; echo \"${COMPREPLY[@]}\"";
    let bash = Command::new("bash")
        .args(["-c", script, "bash", env!("CARGO_BIN_EXE_scanlogin")])
        .output()
        .expect("bash");
    assert_eq!(String::from_utf8_lossy(&bash.stdout).trim(), "check-config");
    let last = refusal(&run(&none(), &["completions", "tcsh"]));
    assert!(last.contains("'tcsh'") && last.contains("bash"), "{last}");
}

#[test]
fn the_manual_has_every_flag_and_a_page_for_each_subcommand() {
    let wrong = Settings::embedded().with("NOTHING", "x");
    let text = stdout(&run(&wrong, &["man"]));
    assert!(text.contains(".TH scanlogin 1"), "{text}");
    for setting in SETTINGS {
        let flag = format!("\\-\\-{}", setting.flag().replace('-', "\\-"));
        match setting.kind {
            Kind::Open => assert!(text.contains(&flag), "{flag}"),
            Kind::Secret => assert!(text.contains(setting.env), "{}", setting.env),
        }
    }
    for page in ["check-config", "token", "completions"] {
        let text = stdout(&run(&wrong, &["man", page]));
        assert!(text.contains(&format!(".TH scanlogin-{page} 1")), "{text}");
    }
}

#[test]
fn help_names_every_subcommand_and_the_readme_has_them_too() {
    let help = stdout(&run(&none(), &["--help"]));
    let (_, commands) = help.split_once("Commands:\n").expect("the subcommands");
    let (commands, _) = commands.split_once("\n\n").expect("their end");
    let names: Vec<_> = commands
        .lines()
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["check-config", "token", "completions", "man"]);
    let readme = std::fs::read_to_string(README).expect("a README");
    for name in names {
        assert!(readme.contains(&format!("scanlogin {name}")), "{name}");
        assert!(stdout(&run(&none(), &[name, "--help"])).contains("Usage: scanlogin"), "{name}");
    }
    for heading in ["Addresses:", "Redis:", "Web tokens:", "Operation:"] {
        assert!(help.contains(heading), "{heading}");
    }
    // The short one fits a person's patience: no list of secrets.
    let short = stdout(&run(&none(), &["-h"]));
    assert!(short.contains("--help names them") && !short.contains("Exit codes"), "{short}");
    assert!(
        help.contains("SCANLOGIN_TOKEN_SECRET_PREVIOUS") && help.contains("Exit codes"),
        "{help}"
    );
}

#[test]
fn a_reader_who_has_had_enough_is_no_failure() {
    let mut child = command(&none())
        .arg("man")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_version_names_the_commit_that_was_built() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let git = Command::new("git").args(["-C", folder, "rev-parse", "HEAD"]).output();
    let head = git.ok().filter(|it| it.status.success()).map(|it| it.stdout).unwrap_or_default();
    let head = String::from_utf8(head).expect("hexadecimal");
    let version = env!("CARGO_PKG_VERSION");
    let expected = match head.trim() {
        // Unpacked from an archive.
        "" => format!("scanlogin {version}"),
        head => format!("scanlogin {version} ({})", &head[..12]),
    };
    assert_eq!(stdout(&run(&none(), &["--version"])).trim(), expected);
    assert_eq!(stdout(&run(&none(), &["-V"])).trim(), format!("scanlogin {version}"));
}

#[tokio::test]
async fn the_first_start_says_what_to_open() {
    let demo = Process::start(trial()).await;
    let (address, admin) = (demo.address, demo.admin_address);
    let told = crate::helpers::eventually("it says so", || async {
        let log = demo.log();
        log.contains("metrics: ").then_some(log)
    })
    .await;
    for url in [
        format!("open http://{address}/ in"),
        format!("http://{address}/docs"),
        format!("http://{admin}/metrics"),
    ] {
        assert!(told.contains(&url), "{url} is missing in {told}");
    }
    for url in [
        format!("http://{address}/"),
        format!("http://{address}/docs"),
        format!("http://{admin}/metrics"),
    ] {
        assert_eq!(reqwest::get(&url).await.expect("an answer").status(), 200, "{url}");
    }
    let log = Process::start(Settings::embedded()).await.log();
    assert!(!log.contains("the demo"), "{log}");
}

/// The build script alone, run where it would have to guess.
#[test]
fn a_version_without_a_repository_names_only_a_commit_that_it_was_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("build");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/build.rs");
    let built = Command::new("rustc")
        .args(["--edition", "2024", "-o", script.to_str().expect("UTF-8"), source])
        .output()
        .expect("rustc");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let commit = "0123456789abcdef0123456789abcdef01234567";
    for (revision, version) in [
        (None, "1.2.3"),
        (Some("unknown"), "1.2.3"),
        (Some(""), "1.2.3"),
        (Some(commit), "1.2.3 (0123456789ab)"),
    ] {
        let mut command = Command::new(&script);
        command.current_dir(folder.path()).env("CARGO_PKG_VERSION", "1.2.3");
        command.env_remove("REVISION").envs(revision.map(|revision| ("REVISION", revision)));
        let output = command.output().expect("the script");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let line = format!("cargo::rustc-env=VERSION_WITH_COMMIT={version}");
        assert!(text.lines().any(|it| it == line), "{revision:?}: {text}");
    }
}
