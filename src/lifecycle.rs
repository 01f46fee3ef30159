//! Signals, and how a process ends: the first asks to drain, the second ends it at once.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// Each SIGTERM or SIGINT of this process, as it comes.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Asks an application to stop: once to drain, twice to stop at once.
#[derive(Clone)]
pub struct Stopper(mpsc::Sender<()>);

/// The application's end of a [`Stopper`].
pub struct Stops(mpsc::Receiver<()>);

impl Stopper {
    /// A pair.
    pub fn new() -> (Self, Stops) {
        let (sender, receiver) = mpsc::channel(2);
        (Self(sender), Stops(receiver))
    }

    /// Asks once more.
    pub fn stop(&self) {
        // Full means that it was asked twice already.
        let _ = self.0.try_send(());
    }

    /// Asks each time that a signal comes.
    pub async fn follow(self, mut signals: Signals) {
        loop {
            signals.next().await;
            self.stop();
        }
    }
}

impl Stops {
    /// The next request to stop; never, if nobody can ask any more.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
