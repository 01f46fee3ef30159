//! Values that are not what they look like: what cannot be seen at their ends, and files without what they
//! are for.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use jsonwebtoken::Algorithm;
use scanlogin::config::table::{Kind, SETTINGS};

use crate::{
    config_errors::{assert_refused, run},
    helpers::{
        Phone, Process, Settings,
        pem::Keys,
        service::{APP_SECRET, command},
        tls::Certificates,
    },
};

/// Every setting that is a secret: one that is added to the table is tried like all others.
#[tokio::test]
async fn a_secret_that_is_not_what_it_looks_like_is_refused_and_never_differs_in_silence() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let secrets = SETTINGS.iter().filter(|setting| setting.kind == Kind::Secret);
    for setting in secrets {
        let name = setting.env.trim_start_matches("SCANLOGIN_");
        let good = setting.example;
        let file = format!("{name}_FILE");
        let none = Settings::embedded().without(name);
        let from_file = none.clone().with(&file, path.to_str().unwrap());
        for (value, what, also_of_a_file) in [
            (format!("{good}\n"), "ends with a line break", false),
            (format!("{good}\r\n"), "ends with a line break", false),
            (format!("{good}\n\n"), "ends with a line break", true),
            (format!("{good}\r\n\n"), "ends with a line break", true),
            (format!("\n{good}"), "begins with a line break", true),
            (format!("\u{feff}{good}"), "begins with a byte order mark", true),
            (format!("\u{feff}{good}\n"), "begins with a byte order mark", true),
            (format!(" {good}"), "begins with a blank", true),
            (format!("{good} \n"), "ends with a", true),
            (format!("{good}\t"), "ends with a blank", true),
            (format!("{good}\u{a0}"), "ends with a blank", true),
            (format!("{good}\u{200b}"), "cannot be seen (U+200B)", true),
        ] {
            let words = [&*format!("{}: ", setting.env), what, "for example"];
            // Asked in both ways, since neither may be the one that is forgotten.
            for arguments in [&[][..], &["check-config"]] {
                assert_refused(&none.clone().with(name, &value), arguments, &words).await;
                std::fs::write(&path, &value).unwrap();
                if also_of_a_file {
                    assert_refused(&from_file, arguments, &words).await;
                }
            }
        }
        // Not UTF-8: as Windows writes files, or as random bytes.
        for bytes in [&b"\xff\xfes\0e\0"[..], &[0x80; 40]] {
            std::fs::write(&path, bytes).unwrap();
            let words = [&*format!("{}_FILE: ", setting.env), "cannot be read", "UTF-8"];
            assert_refused(&from_file, &[], &words).await;
            let mut command = command(&none);
            command.env(setting.env, OsStr::from_bytes(&[0x80; 40]));
            let output = command.output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{text}");
            assert!(text.starts_with(&format!("{}: is not text in UTF-8", setting.env)), "{text}");
        }
    }
}

#[tokio::test]
async fn of_a_secrets_file_one_line_break_at_the_end_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let settings = Settings::embedded().without("APP_JWT_SECRET");
    let settings = settings.with("APP_JWT_SECRET_FILE", path.to_str().unwrap());
    for end in ["", "\n", "\r\n"] {
        std::fs::write(&path, format!("{APP_SECRET}{end}")).unwrap();
        let process = Process::start(settings.clone()).await;
        let answer = Phone::of(process.address, "alice").scan("x").await;
        assert_eq!(answer.codes(), (404, -1), "{end:?}");
    }
}

/// In PEM what stands around a key is no part of it.
#[tokio::test]
async fn what_stands_around_a_key_in_pem_changes_nothing() {
    let keys = Keys::new();
    keys.make("key", Algorithm::ES256);
    let (public, private) = (keys.text("key.pub"), keys.text("key.pem"));
    for around in ["\n\n", " \r\n", "\u{feff}", "a comment\n"] {
        let wrap = |text: &str| format!("{around}{text}\n{around}");
        let settings = Settings::embedded()
            .without("APP_JWT_SECRET")
            .without("TOKEN_SECRET")
            .with("APP_JWT_PUBLIC_KEY_FILE", &keys.write("public", &wrap(&public)))
            .with("TOKEN_PRIVATE_KEY_FILE", &keys.write("private", &wrap(&private)));
        let output = run(&settings, &["check-config"]).await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &*text), (Some(0), ""), "{around:?}");
    }
}

#[tokio::test]
async fn a_file_for_redis_without_what_it_is_for_is_refused() {
    let certificates = Certificates::make();
    let keys = Keys::new();
    let none = keys.write("none", "no certificate at all\n");
    let (cert, key) = (certificates.path("client.crt"), certificates.path("client.key"));
    let settings = Settings::embedded().with("REDIS_URL", "rediss://127.0.0.1:1");
    for (files, blamed, what) in [
        (&[("CA", &none)][..], "CA", "holds no certificate in PEM form"),
        (&[("CA", &key)], "CA", "holds no certificate in PEM form"),
        (&[("CERT", &none), ("KEY", &key)], "CERT", "holds no certificate in PEM form"),
        (&[("CERT", &cert), ("KEY", &cert)], "KEY", "holds no private key in PEM form"),
        (&[("CERT", &cert)], "KEY", "is missing beside SCANLOGIN_REDIS_CERT_FILE"),
        (&[("KEY", &key)], "CERT", "is missing beside SCANLOGIN_REDIS_KEY_FILE"),
    ] {
        let with = |settings: Settings, (name, path): &(&str, &String)| {
            settings.with(&format!("REDIS_{name}_FILE"), path)
        };
        let settings = files.iter().fold(settings.clone(), with);
        let variable = format!("SCANLOGIN_REDIS_{blamed}_FILE: ");
        assert_refused(&settings, &[], &[&variable, what, "for example"]).await;
        if what.contains("missing") {
            continue;
        }
        let plain = settings.with("REDIS_URL", "redis://127.0.0.1:1");
        assert_refused(&plain, &[], &["_FILE: needs a rediss:// URL"]).await;
    }
}
