//! What the program does besides serving: checks its configuration, makes tokens for trying things,
//! and says at the start what to open.

mod check;
mod greeting;
mod token;

pub use self::{
    check::report,
    greeting::what_to_open,
    token::{TokenError, token},
};
