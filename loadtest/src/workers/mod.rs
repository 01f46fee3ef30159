//! More browsers than one process may have files open: several processes of this program play the
//! same, each its share, and the one that started them adds up what they measured.

pub mod child;
pub mod wire;

use std::{
    io,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc::UnboundedSender, watch},
};

use self::wire::{Assignment, Said, sample};
use crate::{
    cues::Observer,
    live::Watched,
    recorder::{Interval, Sample},
    scenario::Played,
};

/// The command line of a worker: not for people.
pub const COMMAND: &str = "worker";

/// A worker process, until dropped.
pub struct Worker {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    number: usize,
    pid: u32,
}

/// Why a worker came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It ended, or what it said cannot be read.
    #[error("a worker process failed: {0}")]
    Failed(String),
    /// It could not be started, or its line broke.
    #[error("a worker process: {0}")]
    Io(#[from] io::Error),
}

/// What all workers of a run share: how far they are, and what happened since it was last asked.
pub struct Board {
    waiting: Vec<AtomicU64>,
    interval: Mutex<Interval>,
    meeting: Mutex<Meeting>,
    met: watch::Sender<u64>,
}

struct Meeting {
    alive: usize,
    here: usize,
}

impl Board {
    /// For so many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            waiting: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            interval: Mutex::new(Interval::new()),
            meeting: Mutex::new(Meeting { alive: workers, here: 0 }),
            met: watch::Sender::new(0),
        })
    }

    fn lock_interval(&self) -> MutexGuard<'_, Interval> {
        self.interval.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// One more has come to the point, or will never: the last one lets all go on.
    fn change(&self, change: impl FnOnce(&mut Meeting)) {
        let mut meeting = self.meeting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        change(&mut meeting);
        if meeting.here >= meeting.alive {
            meeting.here = 0;
            self.met.send_modify(|times| *times += 1);
        }
    }
}

impl Watched for Board {
    fn waiting(&self) -> u64 {
        self.waiting.iter().map(|waiting| waiting.load(Ordering::Relaxed)).sum()
    }

    fn take_interval(&self) -> Interval {
        std::mem::take(&mut *self.lock_interval())
    }
}

impl Worker {
    /// Starts one with its share.
    ///
    /// # Errors
    /// Where this program cannot be started once more.
    pub async fn start(number: usize, assignment: &Assignment) -> Result<Self, Error> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let mut stdin = child.stdin.take().ok_or_else(gone)?;
        let stdout = child.stdout.take().ok_or_else(gone)?;
        let pid = child.id().ok_or_else(gone)?;
        let mut line = serde_json::to_vec(assignment).map_err(io::Error::from)?;
        line.push(b'\n');
        stdin.write_all(&line).await?;
        Ok(Self { child, stdin, lines: BufReader::new(stdout).lines(), number, pid })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Listens to it until it is done.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn play(
        mut self,
        board: &Board,
        observer: &Arc<Observer>,
        samples: UnboundedSender<Sample>,
    ) -> Result<Played, Error> {
        let played = self.listen(board, observer, samples).await;
        board.waiting[self.number].store(0, Ordering::Relaxed);
        board.change(|meeting| meeting.alive -= 1);
        let _ = self.child.wait().await;
        played
    }

    async fn listen(
        &mut self,
        board: &Board,
        observer: &Arc<Observer>,
        samples: UnboundedSender<Sample>,
    ) -> Result<Played, Error> {
        let mut met = board.met.subscribe();
        loop {
            let said = tokio::select! {
                line = self.lines.next_line() => line?,
                // Only seen by those who have said that they are here: see `Here`.
                changed = met.changed() => {
                    if changed.is_ok() {
                        self.stdin.write_all(b"go\n").await?;
                    }
                    continue;
                }
            };
            let unreadable = |error: &dyn std::fmt::Display| Error::Failed(error.to_string());
            let Some(line) = said else {
                let status = self.child.wait().await?;
                return Err(Error::Failed(format!("it ended too early ({status})")));
            };
            match serde_json::from_str(&line).map_err(|error| unreadable(&error))? {
                Said::Here => board.change(|meeting| meeting.here += 1),
                Said::Counting => observer.counting(),
                Said::Counted => observer.counted(),
                Said::Interval { waiting, logins, failures, token } => {
                    board.waiting[self.number].store(waiting, Ordering::Relaxed);
                    let token = token.read().map_err(|error| unreadable(&error))?;
                    board.lock_interval().add(&Interval { token, logins, failures });
                }
                Said::Samples(all) => {
                    for one in all {
                        // Closed only when the run is over.
                        let _ = samples.send(sample(one));
                    }
                }
                Said::Done(done) => return done.try_into().map_err(|error| unreadable(&error)),
                Said::Failed(why) => return Err(Error::Failed(why)),
            }
        }
    }
}

/// Shares of a whole, as even as whole numbers can be.
pub fn share(whole: u64, among: usize, number: usize) -> u64 {
    let (among, number) = (among as u64, number as u64);
    whole / among + u64::from(number < whole % among)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::micros;

    #[test]
    fn shares_add_up_to_the_whole() {
        for whole in [0, 1, 2, 100, 25_001] {
            for among in 1..=4 {
                let shares = (0..among).map(|number| share(whole, among, number));
                assert_eq!(shares.sum::<u64>(), whole, "{whole} among {among}");
            }
        }
    }

    #[test]
    fn nobody_goes_on_before_the_last_is_here_or_gone() {
        let board = Board::new(3);
        let times = || *board.met.borrow();
        board.change(|meeting| meeting.here += 1);
        board.change(|meeting| meeting.here += 1);
        assert_eq!(times(), 0);
        board.change(|meeting| meeting.alive -= 1);
        assert_eq!(times(), 1);
        board.change(|meeting| meeting.here += 1);
        assert_eq!(times(), 1);
        board.change(|meeting| meeting.here += 1);
        assert_eq!(times(), 2);
    }

    #[test]
    fn what_happened_is_told_once() {
        let board = Board::new(2);
        let mut token = micros();
        token.saturating_record(7);
        board.lock_interval().add(&Interval { token, logins: 1, failures: 2 });
        let told = board.take_interval();
        assert_eq!((told.token.len(), told.logins, told.failures), (1, 1, 2));
        assert_eq!(board.take_interval().logins, 0);
    }
}
