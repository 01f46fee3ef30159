//! Processes that belong to a run: ended with it, by their own handle.

use std::{
    io,
    net::{Ipv4Addr, TcpStream},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// How long a process may take to end after it was asked.
const END_TIME: Duration = Duration::from_secs(3);

/// A process that is killed when dropped.
#[derive(Debug)]
pub struct Own(Child);

impl Own {
    /// Starts it, without input.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).spawn()?))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Its standard error, if it was piped, once.
    pub fn stderr(&mut self) -> Option<process::ChildStderr> {
        self.0.stderr.take()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    /// Asks it to end, so that it can end its own children.
    fn terminate(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        if self.has_ended() {
            return;
        }
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + END_TIME;
        while Instant::now() < deadline && !self.has_ended() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.terminate();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago, for servers that cannot bind port 0 and tell.
///
/// It lies below those that the system gives to outgoing connections, so none of the run's own clients takes
/// it. The look connects and does not bind: a program that is started at that moment would inherit what is
/// bound, and the server could not bind. Two runs side by side begin at different ports.
///
/// # Errors
/// Where none is.
pub fn free_port() -> io::Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 10_000;
    let first = process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let next = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = (FIRST + next % COUNT) as u16;
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrNotAvailable.into())
}
