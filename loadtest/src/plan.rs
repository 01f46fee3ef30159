//! `plan`: what a given load needs, from measured constants, with the formula shown; and a check of
//! the model against measurements here.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use crate::{
    outcome::Servers,
    scenario::{self, Error, Plan, Scenario, Settings},
};

/// What is to be planned for.
#[derive(Clone, Debug, clap::Args)]
pub struct Wanted {
    /// Logins a second at the peak
    #[arg(long, value_name = "N", default_value_t = 10_000.0, help_heading = "Load")]
    logins_per_second: f64,
    /// Seconds that a browser waits, on average, until it is scanned or leaves
    #[arg(long, value_name = "S", default_value_t = 30.0, help_heading = "Load")]
    wait_seconds: f64,
    /// Cores of an instance
    #[arg(long, value_name = "N", default_value_t = 2.0, help_heading = "Machines")]
    cores: f64,
    /// How busy an instance and a Redis may be at the peak, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 60.0, help_heading = "Machines")]
    busy: f64,
    /// Open files of an instance
    #[arg(long, value_name = "N", default_value_t = 200_000.0, help_heading = "Machines")]
    files: f64,
    /// Seconds over which an instance drains (SCANLOGIN_DRAIN_SECONDS)
    #[arg(long, value_name = "S", default_value_t = 20.0, help_heading = "Machines")]
    drain_seconds: f64,
    #[command(flatten)]
    constants: Constants,
    /// Measure three loads here, and compare with what the model says
    #[arg(long, help_heading = "Check")]
    check: bool,
    /// Logins a second of the three loads
    #[arg(long, value_delimiter = ',', default_values_t = [150.0, 300.0, 600.0], help_heading = "Check")]
    check_logins_per_second: Vec<f64>,
    /// Seconds of each
    #[arg(long, default_value_t = 10.0, help_heading = "Check")]
    check_seconds: f64,
    /// Which binary of the service; else the one beside this, built anew
    #[arg(long, value_name = "FILE", help_heading = "Check")]
    service: Option<std::path::PathBuf>,
}

/// What `bench` measures; the defaults are in docs/capacity.md with their date and machine. Measure
/// on machines like those that are planned for, and pass them in.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Constants")]
pub struct Constants {
    /// Bytes of the service per waiting browser
    #[arg(long, default_value_t = 3_500.0)]
    socket_bytes: f64,
    /// Bytes of the kernel per waiting browser
    #[arg(long, default_value_t = 5_000.0)]
    kernel_bytes: f64,
    /// Bytes of Redis per waiting browser, subscriptions included
    #[arg(long, default_value_t = 1_060.0)]
    redis_socket_bytes: f64,
    /// Bytes of Redis per login that ended, receipt and the user's web login
    #[arg(long, default_value_t = 700.0)]
    redis_login_bytes: f64,
    /// Seconds that a receipt stays
    #[arg(long, default_value_t = 330.0)]
    receipt_seconds: f64,
    /// Processor seconds of the service per 1,000 logins at full batches (saturation)
    #[arg(long, default_value_t = 0.31)]
    login_cpu: f64,
    /// The same of a single login, when nothing can be batched
    #[arg(long, default_value_t = 1.1)]
    single_login_cpu: f64,
    /// Logins a second of one instance at which half of that difference is saved
    #[arg(long, default_value_t = 700.0)]
    batching_at: f64,
    /// Processor seconds of Redis per 1,000 logins, at full batches
    #[arg(long, default_value_t = 0.11)]
    redis_login_cpu: f64,
    /// The same of a single login
    #[arg(long, default_value_t = 0.5)]
    redis_single_login_cpu: f64,
    /// Percent of a core of the service per 10,000 idle browsers
    #[arg(long, default_value_t = 1.2)]
    idle_cpu: f64,
    /// Connections a second that one core takes, key received
    #[arg(long, default_value_t = 5_400.0)]
    connects_per_second: f64,
}

/// What a load needs, all instances together.
struct Need {
    waiting: f64,
    service_cores: f64,
    redis_cores: f64,
    service_bytes: f64,
    redis_bytes: f64,
}

impl Constants {
    /// Cost per 1,000 logins at this rate: the fuller the batches, the cheaper.
    fn per_thousand(&self, single: f64, batched: f64, rate: f64) -> f64 {
        batched + (single - batched) / (1.0 + rate / self.batching_at)
    }

    fn need(&self, logins_per_second: f64, wait_seconds: f64, instances: f64) -> Need {
        // Little's law.
        let waiting = logins_per_second * wait_seconds;
        let each = logins_per_second / instances;
        let login = self.per_thousand(self.single_login_cpu, self.login_cpu, each) / 1000.0;
        let redis =
            self.per_thousand(self.redis_single_login_cpu, self.redis_login_cpu, logins_per_second);
        Need {
            waiting,
            service_cores: logins_per_second * login + waiting / 10_000.0 * self.idle_cpu / 100.0,
            redis_cores: logins_per_second * redis / 1000.0,
            service_bytes: waiting * self.socket_bytes,
            redis_bytes: waiting * self.redis_socket_bytes
                + logins_per_second * self.receipt_seconds * self.redis_login_bytes,
        }
    }
}

/// The plan as text; with `--check` also what was measured.
///
/// # Errors
/// Where the check cannot be run.
pub async fn run(wanted: &Wanted, live: fn(&str)) -> Result<String, Error> {
    let mut text = plan(wanted);
    if wanted.check {
        text.push_str(&check(wanted, live).await?);
    }
    Ok(text)
}

fn plan(wanted: &Wanted) -> String {
    let Wanted { constants, cores, busy, files, .. } = wanted;
    let (rate, wait) = (wanted.logins_per_second, wanted.wait_seconds);
    let share = busy / 100.0;
    // More instances batch less, so cost more: until it fits.
    let mut instances: f64 = 1.0;
    let need = loop {
        let need = constants.need(rate, wait, instances);
        let sockets = need.waiting / instances;
        if need.service_cores <= instances * cores * share && sockets <= files - 1_000.0 {
            break need;
        }
        instances += 1.0;
    };
    let with_spare = instances + 1.0;
    let redis_nodes = (need.redis_cores / share).ceil().max(1.0);
    let sockets = need.waiting / with_spare;
    let lost = need.waiting / with_spare;
    let reconnects = lost / wanted.drain_seconds;
    let connect_cores = reconnects / constants.connects_per_second;
    let after_loss = need.service_cores / instances / cores * 100.0;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let per_instance = constants.socket_bytes * need.waiting / instances;
    let mut text = String::new();
    let _ = write!(
        text,
        "{rate:.0} logins/s, {wait:.0} s mean wait, {cores} cores an instance, {busy:.0} % busy at most\n\n\
         waiting browsers   N = rate x wait = {:.0}\n\
         CPU per 1,000      c(r) = batched + (single - batched) / (1 + r / {:.0}), r = rate / instances: {:.2} s\n\
         service            rate x c(r) / 1000 + N / 10,000 x {:.1} % = {:.1} cores\n\
         Redis              rate x c'(rate) / 1000 = {:.1} cores\n\
         service memory     N x {:.0} B = {:.0} MiB, and the kernel N x {:.0} B = {:.0} MiB\n\
         Redis memory       N x {:.0} B + rate x {:.0} s x {:.0} B = {:.0} MiB\n\n\
         instances          {instances:.0} + 1 to lose or restart = {with_spare:.0}\n\
         sockets each       {sockets:.0} (of {:.0} files)\n\
         memory each        {:.0} MiB of the service when one is gone, and {:.0} MiB of the kernel\n\
         Redis primaries    {redis_nodes:.0} of one core each, at {busy:.0} %{}\n",
        need.waiting,
        constants.batching_at,
        constants.per_thousand(constants.single_login_cpu, constants.login_cpu, rate / instances),
        constants.idle_cpu,
        need.service_cores,
        need.redis_cores,
        constants.socket_bytes,
        mib(need.service_bytes),
        constants.kernel_bytes,
        mib(need.waiting * constants.kernel_bytes),
        constants.redis_socket_bytes,
        constants.receipt_seconds,
        constants.redis_login_bytes,
        mib(need.redis_bytes),
        files,
        mib(per_instance),
        mib(constants.kernel_bytes * need.waiting / instances),
        if redis_nodes > 1.0 { " (a Cluster)" } else { "" },
    );
    let _ = write!(
        text,
        "\na rolling restart  one instance's {lost:.0} browsers come back within {:.0} s: {reconnects:.0} \
         connects/s, {connect_cores:.1} cores over all others\n\
         losing one         they come back at once, with the jitter of the page; the others are \
         {after_loss:.0} % busy afterwards\n",
        wanted.drain_seconds,
    );
    text
}

async fn check(wanted: &Wanted, live: fn(&str)) -> Result<String, Error> {
    let mut text = String::from(
        "\nthe model here, predicted / measured\n\
         | logins/s | waiting | service CPU, % of a core | Redis CPU, % | service memory, MiB over an empty one |\n\
         |---|---|---|---|---|\n",
    );
    for &rate in &wanted.check_logins_per_second {
        let think = 2.0;
        let idle = 2_000;
        let settings = Settings {
            logins_per_second: Some(rate),
            waiting: Some(idle),
            seconds: Some(wanted.check_seconds),
            think_seconds: Some(scenario::Spread { from: think, to: think }),
            service: wanted.service.clone(),
            ..Settings::default()
        };
        let target = Arc::new(scenario::target(Scenario::Login, &settings)?);
        let empty = target.usage();
        let plan = Plan::new(Scenario::Login, &settings);
        let outcome = scenario::run(&plan, &settings, target, live).await?;
        let measured = outcome.servers.unwrap_or_default();
        let need = wanted.constants.need(rate, think, 1.0);
        let waiting = need.waiting + idle as f64;
        let idle_share = idle as f64 / 10_000.0 * wanted.constants.idle_cpu;
        let memory = waiting * wanted.constants.socket_bytes;
        let Servers { cpu_percent, redis_cpu_percent, memory_bytes, .. } = measured;
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let _ = writeln!(
            text,
            "| {rate:.0} | {waiting:.0} / {} | {:.0} / {cpu_percent:.0} | {:.0} / {redis_cpu_percent:.0} | {:.1} / {:.1} |",
            outcome.waiting,
            need.service_cores * 100.0 + idle_share,
            need.redis_cores * 100.0,
            mib(memory),
            mib(memory_bytes.saturating_sub(empty.server_pss) as f64),
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(text)
}
