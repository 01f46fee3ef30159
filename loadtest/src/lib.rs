//! Load tests for scanlogin: how many waiting browsers, how many logins a second, at which latency,
//! and what breaks first.
//!
//! goose drives a run and reports its steps; browsers and phones are this crate's own, since a goose
//! user per socket would weigh more than what it measures.
//!
//! ```text
//! main -> { bench, capacity, plan, scaling } -> scenario -> { goose_run, workers, cues, live } -> { engine, fleet, visit } -> crew
//! crew -> { browser, phone, pacer, recorder };   target (servers of the run's own), proc (what they use), limits
//! ```

pub mod attack;
pub mod bench;
pub mod browser;
pub mod capacity;
pub mod crew;
pub mod cues;
pub mod dialect;
pub mod economy;
pub mod engine;
pub mod fleet;
pub mod goose_run;
pub mod limits;
pub mod live;
pub mod outcome;
pub mod pacer;
pub mod phone;
pub mod plan;
pub mod proc;
pub mod recorder;
pub mod scaling;
pub mod scenario;
pub mod svg;
pub mod target;
pub mod tokens;
pub mod visit;
pub mod workers;
