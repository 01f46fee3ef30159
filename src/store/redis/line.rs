//! The one connection of a thread that asks and hears.
//!
//! With RESP3 notifications come between the answers, so the feed's connection can carry the commands
//! of its thread too. What is said about one login then goes out in one write and is answered in one
//! read, and Redis takes it in the order in which it was said: a record is made before it is
//! subscribed to, and an acknowledgement comes after nobody listens any more, without waiting for the
//! one before the other. At 1,000 logins a second, when nothing else is under way, each write and
//! each wake-up less is 5 % of a login's cost (docs/capacity.md).

use std::cell::RefCell;

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::connection::Connection;

/// Where a thread's store finds the feed's connection, while there is one that listens.
#[derive(Default)]
pub struct ThreadLine {
    connection: RefCell<Option<Connection>>,
    left: Notify,
}

impl ThreadLine {
    /// The feed listens on this connection now.
    pub fn put(&self, connection: Connection) {
        *self.connection.borrow_mut() = Some(connection);
        // What was said of the one before.
        let _ = self.left.notified().now_or_never();
    }

    /// The feed does not listen.
    pub fn take(&self) {
        *self.connection.borrow_mut() = None;
    }

    /// Waits until the store has left the connection because a command found it broken. The line may
    /// carry notifications all the same, so nobody else would tell the feed to make it anew.
    pub async fn left(&self) {
        self.left.notified().await;
    }

    /// The connection, unless a command has found it broken.
    pub(super) fn get(&self) -> Option<Connection> {
        self.connection.borrow().as_ref().filter(|connection| !connection.is_broken()).cloned()
    }

    /// Leaves the connection if a command has found it broken, and tells the feed.
    pub(super) fn leave_broken(&self) -> bool {
        let mut connection = self.connection.borrow_mut();
        let left = connection.take_if(|connection| connection.is_broken()).is_some();
        if left {
            self.left.notify_one();
        }
        left
    }
}
