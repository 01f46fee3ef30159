//! Scan to log in: a browser opens a WebSocket and gets a key, shows it as a QR code; a phone that
//! is logged in scans it and POSTs the key; the browser gets its token over the same socket.
//!
//! # The life of one login
//!
//! 1. `GET /ws` is checked while it is still a request ([`socket::open`]); refusing costs nothing.
//! 2. A record is created in the [`store`], with its TTL, in one atomic step.
//! 3. The [`registry`] takes it in, and the [`feed`] subscribes to the record's exact channel.
//! 4. The request becomes a socket, an actor waits ([`socket::Waiting`]), the browser gets its key.
//! 5. A phone scans ([`http`]): the token, sealed for this browser, is written into the record.
//! 6. Redis announces the change; the feed tells the registry, the registry wakes the actor.
//! 7. The actor reads the record, opens the token, pushes it.
//! 8. The browser acknowledges: the login becomes the user's web login, the record a receipt.
//!
//! The record is the truth; notifications only wake. Whatever a notification can lose, a re-read
//! finds. Each worker thread has a registry and a feed of its own (`app::threads`), and knows of the
//! other threads what instances know of each other: what stands in the store.
//!
//! # The house
//!
//! Arrows point down only. Leaves know neither actix nor Redis nor I/O.
//!
//! ```text
//! main -> { cli, app } -> { http, socket, admin, feed, revoker, lifecycle }
//!      -> { connection, registry, journal, trace, store, tokens } -> leaves
//! leaves = { login, protocol, close, keys, clock, origin, config, crash, error, metrics, json, text }
//! ```

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod close;
pub mod config;
pub mod connection;
pub mod crash;
pub mod error;
pub mod feed;
pub mod http;
pub mod journal;
pub mod json;
pub mod keys;
pub mod lifecycle;
pub mod login;
pub mod metrics;
pub mod origin;
pub mod protocol;
pub mod pulse;
pub mod registry;
pub mod revoker;
pub mod socket;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod tokens;
pub mod trace;

/// The package's version, and the commit where it is known: `0.1.0 (09050bf3c1d2)`.
pub const VERSION: &str = env!("VERSION_WITH_COMMIT");
