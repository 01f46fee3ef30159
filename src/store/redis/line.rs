//! The one connection of a thread that asks and hears.
//!
//! With RESP3 notifications come between the answers, so the feed's connection can carry the commands
//! of its thread too. What is said about one login then goes out in one write and is answered in one
//! read, and Redis takes it in the order in which it was said: a record is made before it is
//! subscribed to, and an acknowledgement comes after nobody listens any more, without waiting for the
//! one before the other. At 1,000 logins a second, when nothing else is under way, each write and
//! each wake-up less is 5 % of a login's cost (docs/capacity.md).

use std::cell::RefCell;

use super::connect::Connection;

/// Where a thread's store finds the feed's connection, while there is one that listens.
#[derive(Default)]
pub struct ThreadLine(RefCell<Option<Connection>>);

impl ThreadLine {
    /// The feed listens on this connection now.
    pub fn put(&self, connection: Connection) {
        *self.0.borrow_mut() = Some(connection);
    }

    /// The feed does not listen.
    pub fn take(&self) {
        *self.0.borrow_mut() = None;
    }

    /// The connection, unless a command has found it broken: the feed may learn of that later.
    pub(super) fn get(&self) -> Option<Connection> {
        self.0.borrow().as_ref().filter(|connection| !connection.is_broken()).cloned()
    }

    /// Whether a command has found it broken, and the feed has not made it anew.
    pub(super) fn is_broken(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(Connection::is_broken)
    }
}
