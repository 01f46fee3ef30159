//! The settings of every scenario, in the same words everywhere.

use std::{path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{dialect::Dialect, target::Store};

/// What all scenarios understand. Where nothing is said, each scenario has a default of its own.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Settings {
    /// Test what is there, such as http://127.0.0.1:8080, instead of services of the run's own
    #[arg(long, value_name = "URL", help_heading = "Target")]
    pub host: Option<String>,
    /// The secret that signs app tokens (HS256), where --host is given
    #[arg(
        long = "app-secret",
        env = "SCANLOGIN_APP_JWT_SECRET",
        hide_env_values = true,
        hide = true,
        value_name = "SECRET"
    )]
    pub app_secret: Option<String>,
    /// The same from a file; or by SCANLOGIN_APP_JWT_SECRET in the environment
    #[arg(long, value_name = "FILE", help_heading = "Target")]
    pub app_secret_file: Option<PathBuf>,
    /// Ready-made app tokens, one a line, each another user's
    #[arg(long, value_name = "FILE", help_heading = "Target")]
    pub app_tokens: Option<PathBuf>,
    /// Store of services of the run's own; a Redis of its own, if redis-server is installed
    #[arg(long, value_enum, help_heading = "Target")]
    pub store: Option<Store>,
    /// Services of the run's own, all on one store; else as many as open files demand
    #[arg(long, value_name = "N", help_heading = "Target")]
    pub instances: Option<usize>,
    /// An nginx of the run's own in front of these services
    #[arg(long, help_heading = "Target")]
    pub nginx: bool,
    /// Which binary of the service; else the one beside this, built anew
    #[arg(long, value_name = "FILE", help_heading = "Target")]
    pub service: Option<PathBuf>,
    /// A setting of services of the run's own, such as WORKERS=1; can be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Target")]
    pub set: Vec<String>,

    /// Browsers that arrive a second, independently of each other
    #[arg(long, value_name = "N", value_parser = number, help_heading = "Load")]
    pub logins_per_second: Option<f64>,
    /// Browsers that wait all the time, beside those that log in
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub waiting: Option<u64>,
    /// Seconds that are measured, after the warm-up
    #[arg(long, value_name = "S", value_parser = number, help_heading = "Load")]
    pub seconds: Option<f64>,
    /// Seconds from a browser's arrival to what it comes for: one number, or the bounds of an even
    /// spread, such as 5-25
    #[arg(long, value_name = "S[-S]", help_heading = "Load")]
    pub think_seconds: Option<Spread>,
    /// The browsers' protocol
    #[arg(long, value_enum, default_value_t = Dialect::Json, help_heading = "Load")]
    pub protocol: Dialect,
    /// Phones confirm after the scan
    #[arg(long, help_heading = "Load")]
    pub confirm: bool,
    /// Processes of this client, each with its share; else as many as open files demand
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub processes: Option<usize>,
    /// Phones on one key, in `race`
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub phones: Option<u64>,

    /// Fail if more than this percentage of all visits fails
    #[arg(long, value_name = "PERCENT", default_value_t = 0.01, help_heading = "Thresholds")]
    pub max_failures: f64,
    /// Fail if the 99th percentile from scan to token is longer
    #[arg(long, value_name = "MS", default_value_t = 100.0, help_heading = "Thresholds")]
    pub max_p99: f64,

    /// Write the result here, for machines
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub json: Option<PathBuf>,
    /// Write goose's report here
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub html: Option<PathBuf>,
    /// Write a picture here: latency and waiting browsers over time, percentiles
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub svg: Option<PathBuf>,
    /// Compare with this result of an earlier --json
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub baseline: Option<PathBuf>,
}

/// A number of things or seconds: not negative, not infinite.
///
/// # Errors
/// What it should have been.
pub fn number(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("wants a number from 0 on, such as 100 or 0.5"),
    }
}

/// Seconds, evenly spread between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The shortest.
    pub from: f64,
    /// The longest.
    pub to: f64,
}

impl Spread {
    /// The time at this share of the spread, 0 to 1.
    pub fn at(&self, share: f64) -> Duration {
        Duration::from_secs_f64(self.from + (self.to - self.from) * share)
    }
}

/// Not a number of seconds, or two of them.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("seconds, or two of them, the shorter first, such as 5-25")]
pub struct NotASpread;

impl FromStr for Spread {
    type Err = NotASpread;

    fn from_str(text: &str) -> Result<Self, NotASpread> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let spread = Self {
            from: from.parse().map_err(|_| NotASpread)?,
            to: to.parse().map_err(|_| NotASpread)?,
        };
        let good = spread.from >= 0.0 && spread.to >= spread.from && spread.to <= 900.0;
        good.then_some(spread).ok_or(NotASpread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_one_number_or_two() {
        assert_eq!("5-25".parse::<Spread>().ok(), Some(Spread { from: 5.0, to: 25.0 }));
        assert_eq!("0.5".parse::<Spread>().ok(), Some(Spread { from: 0.5, to: 0.5 }));
        for wrong in ["", "x", "5-", "25-5", "-1", "0-1e9", "NaN"] {
            assert!(wrong.parse::<Spread>().is_err(), "{wrong}");
        }
    }
}
