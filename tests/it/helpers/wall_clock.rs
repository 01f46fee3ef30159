//! A wall clock of the test's own, for other processes: libfaketime, which reads it from a file.

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

use super::phone::now;

/// The wall clock of the processes that are started [`within`](Self::within) it. Their monotonic clock is the
/// system's.
pub(crate) struct WallClock(TempDir);

impl WallClock {
    /// One that is right.
    pub(crate) fn new() -> Self {
        let clock = Self(tempfile::tempdir().expect("a directory"));
        clock.set(0);
        clock
    }

    /// Sets it to so many seconds after the true time; before it, if negative.
    pub(crate) fn set(&self, seconds: i64) {
        let (new, file) = (self.0.path().join("new"), self.file());
        // In one step: it is read with each reading of the clock.
        std::fs::write(&new, format!("{seconds:+}\n")).expect("a file");
        std::fs::rename(new, file).expect("the same directory");
    }

    /// The time that it shows: seconds since the Unix epoch.
    pub(crate) fn now(&self) -> u64 {
        let text = std::fs::read_to_string(self.file()).expect("the file");
        now().checked_add_signed(text.trim().parse().expect("a number")).expect("after 1970")
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("time")
    }

    /// The environment of a process that has this clock.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.preloaded(&library())
    }

    /// The same for Debian's redis-server. It is linked with a jemalloc that asks for the time before libfaketime
    /// can tell it, and neither starts; so it gets libc's allocator.
    pub(crate) fn environment_of_redis(&self) -> Vec<(String, String)> {
        self.preloaded(&format!("{} libc.so.6", library()))
    }

    fn preloaded(&self, libraries: &str) -> Vec<(String, String)> {
        let file = self.file();
        [
            ("LD_PRELOAD", libraries),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("a path in UTF-8")),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// This command, with this clock.
    pub(crate) fn within(&self, mut command: Command) -> Command {
        command.envs(self.environment());
        command
    }
}

/// The path of Debian's libfaketime.
fn library() -> String {
    let path = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    assert!(std::fs::exists(&path).unwrap_or_default(), "no {path}: tests/run installs it");
    path
}
