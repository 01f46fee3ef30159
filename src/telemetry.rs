//! The log: to stderr, for people or for machines.
//!
//! Lines go through a bounded queue to a thread that writes them in batches. Two lines a login,
//! each written by itself, were 6 % of the service's processor time at saturation; and a reader of
//! the log that stalls (a full pipe) must not stall logins. What does not fit is counted
//! (`scanlogin_log_lines_dropped_total`) and left out.

use std::{
    io::{self, BufWriter, IsTerminal, Stderr, Write},
    time::Duration,
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Lines that may wait to be written: some seconds of a service at its limit.
const WAITING_LINES: usize = 32 * 1024;
/// How long lines are gathered before the next write: nobody reads a log faster.
const GATHER: Duration = Duration::from_millis(10);
/// Bytes of one write.
const BATCH: usize = 64 * 1024;

/// A log that was started. What waits is written when it is dropped.
pub struct Log {
    /// How many lines were left out.
    pub dropped: ErrorCounter,
    _guard: WorkerGuard,
}

/// The thread's end: it flushes when nothing waits any more, and then lets lines gather.
struct Gathering(BufWriter<Stderr>);

impl Write for Gathering {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        std::thread::sleep(GATHER);
        flushed
    }
}

/// Starts logging for the whole process.
pub fn start(config: &Config) -> Log {
    let stderr = Gathering(BufWriter::with_capacity(BATCH, io::stderr()));
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(stderr);
    let dropped = writer.error_counter();
    // The framework announces each of its threads; who wants that says `actix_server=info`.
    let filter = EnvFilter::builder().parse_lossy(format!("actix_server=warn,{}", config.log));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(writer);
    // Fails only where a subscriber is set already; then that one is wanted.
    let _ = match config.log_format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
    Log { dropped, _guard: guard }
}
