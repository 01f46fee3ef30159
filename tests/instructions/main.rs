//! What a login costs in instructions, counted by callgrind: the same on a slow machine, a fast one and
//! a busy one. Of the service alone, since people and Redis are other processes.
//!
//! The bound is what was measured (2026-11-26, debug build: 1,170,000; see `docs/capacity.md`) and a tenth: threads meet
//! a little differently each time, and another compiler makes other code. Who makes it leaner lowers it;
//! who needs more says in the commit what for.

#[path = "../it/helpers/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the other tests' helpers: only some are used here")]
mod helpers;
#[path = "../heap/people.rs"]
#[expect(dead_code, reason = "the heap's test counts those who only wait, too")]
mod people;

use std::{
    env, fs,
    process::{Command, Stdio},
};

use helpers::{Process, RedisServer, Settings, service::command};
use people::{Phones, log_in};

/// Logins of the shorter run: what a process does once is in both, and falls out.
const FEW: usize = 20;
/// Logins that are counted.
const COUNTED: usize = 200;
/// Most instructions for each login (1,241,000 measured on 2026-12-01; 1,194,000 before connections had
/// bounds of our own, and 1,223,000 before heads and tokens were read strictly).
const MOST: u64 = 1_290_000;

/// The instructions of a service's whole life, with so many logins in it.
async fn instructions(logins: usize) -> u64 {
    let redis = RedisServer::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("callgrind.out");
    let settings = Settings::redis(&redis).with("WORKERS", "1").with("DRAIN_SECONDS", "0");
    let plain = command(&settings);
    let mut under = Command::new("valgrind");
    under
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", out.display()));
    under.arg(plain.get_program()).stdin(Stdio::null()).env_clear();
    under.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    under.env("PATH", env::var_os("PATH").unwrap_or_default());
    let mut service = Process::of(under).await;
    let address = service.address;
    let people = tokio::task::spawn_blocking(move || {
        let mut phones = Phones::new(address, logins);
        for user in 0..logins {
            log_in(address, &mut phones, user);
        }
    });
    people.await.expect("everybody is logged in");
    service.terminate();
    assert!(service.child.wait().expect("it ends").success());
    let text = fs::read_to_string(out).expect("callgrind wrote it");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("the sum");
    total.trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_needs_no_more_instructions_than_it_did() {
    let (few, many) = (instructions(FEW).await, instructions(FEW + COUNTED).await);
    let each = (many - few) / COUNTED as u64;
    eprintln!("{each} instructions a login; {few} of a process with {FEW} logins");
    assert!(each <= MOST, "{each} instructions for each login");
}
