//! `plan`: what a given load needs, from measured constants, with the formula shown; and a check of
//! the model against measurements here.

mod measure;
mod model;

use std::{
    fmt::{self, Write as _},
    path::PathBuf,
};

use serde::Serialize;

pub use self::{
    measure::{Checked, Pair},
    model::{Bounds, Constants, Curve, Fleet, Need},
};
use crate::scenario::{Error, number};

/// Files of an instance that are not browsers.
const OTHER_FILES: f64 = 1_000.0;

/// What is to be planned for.
#[derive(Clone, Debug, clap::Args)]
pub struct Wanted {
    /// Logins a second at the peak
    #[arg(long, value_name = "N", default_value_t = 10_000.0, value_parser = number, help_heading = "Load")]
    logins_per_second: f64,
    /// Seconds that a browser waits, on average, until it is scanned or leaves
    #[arg(long, value_name = "S", default_value_t = 30.0, value_parser = number, help_heading = "Load")]
    wait_seconds: f64,
    /// Users who log in within the 30 days that a web login is good for
    #[arg(long, value_name = "N", default_value_t = 5_000_000.0, value_parser = number, help_heading = "Load")]
    users: f64,
    /// Cores of an instance
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = number, help_heading = "Machines")]
    cores: f64,
    /// How busy an instance (while another is gone) and a Redis may be at the peak, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 60.0, value_parser = number, help_heading = "Machines")]
    busy: f64,
    /// The same while the browsers of one that restarts come back
    #[arg(long, value_name = "PERCENT", default_value_t = 85.0, value_parser = number, help_heading = "Machines")]
    busy_in_restart: f64,
    /// Open files of an instance
    #[arg(long, value_name = "N", default_value_t = 200_000.0, value_parser = number, help_heading = "Machines")]
    files: f64,
    /// Seconds over which an instance drains (SCANLOGIN_DRAIN_SECONDS)
    #[arg(long, value_name = "S", default_value_t = 20.0, value_parser = number, help_heading = "Machines")]
    drain_seconds: f64,
    #[command(flatten)]
    constants: Constants,
    /// Measure the constants here first, and plan with these
    #[arg(long, help_heading = "Check")]
    measure: bool,
    /// Measure three loads here, and compare with what the model says
    #[arg(long, help_heading = "Check")]
    check: bool,
    /// Logins a second of these loads
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [200.0, 500.0, 1_000.0], value_parser = number, help_heading = "Check")]
    check_logins_per_second: Vec<f64>,
    /// Browsers that wait beside them
    #[arg(long, value_name = "N", default_value_t = 2_000, help_heading = "Check")]
    check_waiting: u64,
    /// Seconds from a browser's arrival to its scan
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = number, help_heading = "Check")]
    check_think_seconds: f64,
    /// Seconds of each measurement
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = number, help_heading = "Check")]
    check_seconds: f64,
    /// Which binary of the service; else the one beside this, built anew
    #[arg(long, value_name = "FILE", help_heading = "Check")]
    service: Option<PathBuf>,
    /// Write the result here, for machines
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub json: Option<PathBuf>,
}

/// The plan.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    logins_per_second: f64,
    wait_seconds: f64,
    users: f64,
    cores: f64,
    busy_percent: f64,
    busy_in_restart_percent: f64,
    files: f64,
    drain_seconds: f64,
    measured_here: bool,
    constants: Constants,
    fleet: Fleet,
    check: Vec<Checked>,
}

/// Plans; measures what is asked for.
///
/// # Errors
/// Where nothing can be measured, or nothing fits.
pub async fn run(wanted: &Wanted, say: fn(&str), live: fn(&str)) -> Result<Planned, Error> {
    let constants = match wanted.measure {
        true => measure::constants(wanted, say, live).await?,
        false => wanted.constants,
    };
    let check = match wanted.check {
        true => measure::check(wanted, &constants, say, live).await?,
        false => Vec::new(),
    };
    let bounds = Bounds {
        cores: wanted.cores,
        share: wanted.busy / 100.0,
        share_in_restart: wanted.busy_in_restart / 100.0,
        sockets: wanted.files - OTHER_FILES,
        drain: wanted.drain_seconds,
    };
    let possible = bounds.cores * bounds.share > 0.0
        && bounds.share_in_restart >= bounds.share
        && bounds.sockets >= 1.0;
    if !possible {
        return Err(Error::Refused(
            "--cores and --busy must be more than 0, --busy-in-restart at least --busy, and --files \
             more than 1000"
                .into(),
        ));
    }
    let (rate, waiting) =
        (wanted.logins_per_second, wanted.logins_per_second * wanted.wait_seconds);
    Ok(Planned {
        logins_per_second: rate,
        wait_seconds: wanted.wait_seconds,
        users: wanted.users,
        cores: wanted.cores,
        busy_percent: wanted.busy,
        busy_in_restart_percent: wanted.busy_in_restart,
        files: wanted.files,
        drain_seconds: wanted.drain_seconds,
        measured_here: wanted.measure,
        constants,
        fleet: Fleet::smallest(&constants, &bounds, rate, waiting, wanted.users),
        check,
    })
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { logins_per_second: rate, wait_seconds: wait, constants: c, fleet, .. } = self;
        let need = fleet.need;
        writeln!(
            f,
            "\n{rate:.0} logins/s, {wait:.0} s mean wait, {:.0} users, {} cores an instance, {:.0} % busy at \
             most while one is gone\n",
            self.users, self.cores, self.busy_percent
        )?;
        writeln!(
            f,
            "waiting browsers   N = rate x wait = {:.0}\n\
             CPU per 1,000      c(r) = {:.3} + ({:.3} - {:.3}) / (1 + r / {:.0}); r = rate / {:.0} = {:.0}: {:.3} s\n\
             service            rate x c(r) / 1000 + N / 10,000 x {:.2} % = {:.2} cores\n\
             Redis              c'(r) = {:.3} + ({:.3} - {:.3}) / (1 + r / {:.0}); rate x c'(rate) / 1000 = {:.2} cores\n\
             service memory     instances x {:.0} MiB + N x {:.0} B = {:.0} MiB; kernel N x {:.0} B = {:.0} MiB\n\
             Redis memory       N x {:.0} B + rate x {:.0} s x {:.0} B + users x {:.0} B = {:.0} MiB\n",
            need.waiting,
            c.batched_login_cpu,
            c.single_login_cpu,
            c.batched_login_cpu,
            c.batching_at,
            fleet.needed,
            rate / fleet.needed,
            c.service().at(rate / fleet.needed),
            c.idle_cpu,
            need.service_cores,
            c.redis_batched_login_cpu,
            c.redis_single_login_cpu,
            c.redis_batched_login_cpu,
            c.redis_batching_at,
            need.redis_cores,
            mib(c.instance_bytes),
            c.socket_bytes,
            mib(need.service_bytes),
            c.kernel_bytes,
            mib(need.kernel_bytes),
            c.redis_socket_bytes,
            c.receipt_seconds,
            c.redis_receipt_bytes,
            c.redis_user_bytes,
            mib(need.redis_bytes),
        )?;
        let each = |bytes: f64| mib(bytes / fleet.needed);
        writeln!(
            f,
            "instances          {:.0} + 1 that may be gone = {:.0}, of {} cores\n\
             sockets each       {:.0}, and {:.0} while one is gone (of {:.0} files)\n\
             memory each        {:.0} MiB and {:.0} MiB of the kernel, while one is gone\n\
             Redis primaries    {:.0} of a core each{}, {:.0} MiB each",
            fleet.needed,
            fleet.instances,
            self.cores,
            fleet.of_one,
            need.waiting / fleet.needed,
            self.files,
            each(need.service_bytes),
            each(need.kernel_bytes),
            fleet.redis_primaries,
            if fleet.redis_primaries > 1.0 { " (a Cluster)" } else { "" },
            mib(need.redis_bytes / fleet.redis_primaries),
        )?;
        writeln!(
            f,
            "\nrolling restart    {:.0} browsers of one instance come back within {:.0} s: {:.0} a second x \
             {:.3} s per 1,000; the others are {:.0} % busy (at most {:.0} %)\n\
             loss of one        the others are {:.0} % busy; with all that is left they have its {:.0} \
             browsers back in {:.1} s, which the pages' jitter must not undercut",
            fleet.of_one,
            self.drain_seconds,
            fleet.back_per_second,
            c.resume_cpu,
            100.0 * fleet.busy_in_restart,
            self.busy_in_restart_percent,
            100.0 * fleet.busy,
            fleet.of_one,
            fleet.back_after_loss,
        )?;
        if self.measured_here {
            writeln!(f, "\nconstants measured here, to plan with them again:\n{}", flags(c))?;
        }
        if !self.check.is_empty() {
            write!(f, "{}", Checks(&self.check))?;
        }
        Ok(())
    }
}

/// As they would be given on the command line.
fn flags(constants: &Constants) -> String {
    let value = serde_json::to_value(constants).unwrap_or_default();
    let mut text = String::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        let value = value.as_f64().unwrap_or_default();
        let digits = if value >= 100.0 { 0 } else { 3 };
        let _ = write!(text, "--{} {value:.digits$} ", name.replace('_', "-"));
    }
    text
}

struct Checks<'a>(&'a [Checked]);

impl fmt::Display for Checks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nthe model against measurements here, predicted / measured\n\n\
             | logins/s | waiting | service CPU, % of a core | Redis CPU, % | service MiB | Redis MiB over an empty one |\n\
             |---|---|---|---|---|---|"
        )?;
        let pair = |Pair { predicted, measured }: Pair, digits: usize| {
            let off = 100.0 * (predicted - measured) / measured.max(f64::EPSILON);
            format!("{predicted:.digits$} / {measured:.digits$} ({off:+.0} %)")
        };
        let in_mib = |Pair { predicted, measured }: Pair| Pair {
            predicted: mib(predicted),
            measured: mib(measured),
        };
        for row in self.0 {
            writeln!(
                f,
                "| {:.0} | {} | {} | {} | {} | {} |",
                row.logins_per_second,
                pair(row.waiting, 0),
                pair(row.service_cpu, 1),
                pair(row.redis_cpu, 1),
                pair(in_mib(row.service_bytes), 1),
                pair(in_mib(row.redis_bytes), 1),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_those_of_the_report() {
        let report = include_str!("../../../docs/capacity-report.md");
        assert!(
            report.contains(flags(&Constants::default()).trim()),
            "{}",
            flags(&Constants::default())
        );
    }
}
