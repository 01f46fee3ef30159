//! Attackers, one a file. What the service does against each, and where it does nothing.
//!
//! Others stand where their subject is: the algorithm switcher in `tokens::app_keys` and
//! `tokens::web_keys`, the page of another origin in `http_api` and, in a real browser, in
//! `tests/browser/cross-site.test.js`, the flood in `limits`, the race between two decisions in `race`.

mod forger;
mod guesser;
mod photographer;
mod racer;
mod relay;
mod replayer;
mod robber;
mod smuggler;
mod strangers;
