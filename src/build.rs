//! The version that `--version` and `scanlogin_build_info` tell: the package's, and the commit.
//!
//! The commit comes from `REVISION` (an image is built without a repository), else from git; where
//! neither knows it, none is named. Whether files are modified is not asked: that could only be
//! right if every build asked again, and the same commit would give different binaries.

#![expect(clippy::disallowed_methods, reason = "how cargo talks to a build script")]

use std::{env, path::Path, process::Command};

/// Digits of the commit that are shown: as git's own short form, with room to spare.
const SHOWN: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-env-changed=REVISION");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let given = env::var("REVISION").ok();
    let revision = given.as_deref().and_then(commit).or_else(from_git);
    let version = match revision {
        Some(revision) => format!("{version} ({revision})"),
        None => version,
    };
    // Not SCANLOGIN_...: `cargo run` hands it to the service, which would take it for a setting.
    println!("cargo::rustc-env=VERSION_WITH_COMMIT={version}");
}

/// What is shown of a commit's name; `None` for what is not one, such as an image's `unknown`.
fn commit(text: &str) -> Option<String> {
    let text = text.trim();
    let is_one = text.len() >= 7 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_one.then(|| text.chars().take(SHOWN).collect())
}

/// The commit that is checked out, and what to watch to notice the next one.
fn from_git() -> Option<String> {
    // Sources that were unpacked inside another repository are not of its commit.
    if !Path::new(".git").exists() {
        return None;
    }
    // HEAD names a branch, and that file does not change with a commit; its log does.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        // A file that is missing would make cargo run this each time.
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    commit(&git(&["rev-parse", "HEAD"])?)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
