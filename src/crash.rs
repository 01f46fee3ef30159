//! Parts that must not die alone.

use std::{fmt, sync::Arc};

use futures_util::FutureExt;
use tokio::sync::Notify;

/// What every browser of an instance depends on: where one of these dies, the process ends, since
/// an instance that is deaf and looks alive is worse than none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It hears of changes.
    Feed,
    /// It knows who waits.
    Registry,
    /// It keeps the app's key set up to date.
    KeySet,
    /// It serves browsers and phones.
    Server,
    /// It serves metrics and health.
    Admin,
    /// It tells the webhook what must be revoked.
    Revoker,
    /// One browser's socket: the exception. It may die alone, if it leaves nothing behind.
    Socket,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Feed => "the feed",
            Self::Registry => "the registry",
            Self::KeySet => "the key set's task",
            Self::Server => "the server",
            Self::Admin => "the admin server",
            Self::Revoker => "the webhook's task",
            Self::Socket => "a socket",
        })
    }
}

/// Makes a part die, in a test that shows what comes of it. By default none ever does.
#[derive(Clone, Debug, Default)]
pub struct Crash(Option<(Part, Arc<Notify>)>);

impl Crash {
    /// This part dies when the other half is notified.
    pub fn of(part: Part) -> (Self, Arc<Notify>) {
        let now = Arc::new(Notify::new());
        (Self(Some((part, now.clone()))), now)
    }

    /// Resolves when `part` is to die.
    pub async fn comes(&self, part: Part) {
        match &self.0 {
            Some((doomed, now)) if *doomed == part => now.notified().await,
            _ => std::future::pending().await,
        }
    }

    /// Whether `part` is to die now; once.
    pub fn has_come(&self, part: Part) -> bool {
        self.comes(part).now_or_never().is_some()
    }
}
