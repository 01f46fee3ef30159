//! `scaling`: what a login costs with one instance and with more, behind nginx, on one Redis and on a
//! Cluster. What grows with the number of instances would make a large site pay more for each login.
//!
//! The load grows with the instances, as it does where they are needed: the same load over more of them
//! would be batched less, and that is another question.

use std::{fmt, path::PathBuf, sync::Arc};

use serde::Serialize;

use crate::{
    crew::Crew,
    dialect::Dialect,
    economy,
    outcome::Outcome,
    recorder::Recorder,
    scenario::{self, Error, Plan, Scenario, Settings, number},
    target::{Store, Target},
};

/// What to compare.
#[derive(Clone, Debug, clap::Args)]
pub struct Wanted {
    /// Instances, one number after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 2, 4], help_heading = "Target")]
    instances: Vec<usize>,
    /// Stores, one after the other
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Store::Redis, Store::Cluster], help_heading = "Target")]
    store: Vec<Store>,
    /// Which binary of the service; else the one beside this, built anew
    #[arg(long, value_name = "FILE", help_heading = "Target")]
    service: Option<PathBuf>,
    /// A setting of services of the run's own, such as WORKERS=1; can be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Target")]
    set: Vec<String>,
    /// Browsers that arrive a second, independently of each other, for each instance
    #[arg(long, value_name = "N", default_value_t = 200.0, value_parser = number, help_heading = "Load")]
    logins_per_second: f64,
    /// Browsers that wait all the time, beside those that log in, for each instance
    #[arg(long, value_name = "N", default_value_t = 500, help_heading = "Load")]
    waiting: u64,
    /// Seconds that are measured, after the warm-up
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = number, help_heading = "Load")]
    seconds: f64,
    /// The browsers' protocol
    #[arg(long, value_enum, default_value_t = Dialect::Json, help_heading = "Load")]
    protocol: Dialect,
    /// Phones confirm after the scan
    #[arg(long, help_heading = "Load")]
    confirm: bool,
    /// Write the result here, for machines
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub json: Option<PathBuf>,
}

/// One number of instances on one store.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was tested.
    pub target: String,
    /// The store.
    pub store: String,
    /// How many instances.
    pub instances: usize,
    /// Processor milliseconds of all instances per login.
    pub service_cpu_ms: f64,
    /// The same of all Redis servers.
    pub redis_cpu_ms: f64,
    /// The same of nginx.
    pub nginx_cpu_ms: f64,
    /// Commands that the service sent per login.
    pub commands: f64,
    /// Notifications that all instances heard per login.
    pub notifications: f64,
    /// The whole result.
    pub outcome: Outcome,
}

/// The comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Scaling(Vec<Row>);

/// Measures each; `say` gets what is tested, `live` what happens.
///
/// # Errors
/// [`Error`].
pub async fn run(wanted: &Wanted, say: fn(&str), live: fn(&str)) -> Result<Scaling, Error> {
    let mut rows = Vec::new();
    for &store in &wanted.store {
        for &instances in &wanted.instances {
            let settings = Settings {
                store: Some(store),
                instances: Some(instances),
                nginx: true,
                service: wanted.service.clone(),
                set: wanted.set.clone(),
                logins_per_second: Some(wanted.logins_per_second * instances as f64),
                waiting: Some(wanted.waiting * instances as u64),
                seconds: Some(wanted.seconds),
                protocol: wanted.protocol,
                confirm: wanted.confirm,
                ..Settings::default()
            };
            let plan = Plan::new(Scenario::Login, &settings);
            let target = Arc::new(scenario::target(&plan, &settings)?);
            say(&target.description);
            let outcome = scenario::run(&plan, &settings, target.clone(), live).await?;
            let store = format!("{store:?}").to_lowercase();
            let row = row(store, &settings, &target, outcome).await?;
            // At once: what comes later may fail.
            say(&row.to_string());
            rows.push(row);
        }
    }
    Ok(Scaling(rows))
}

async fn row(
    store: String,
    settings: &Settings,
    target: &Target,
    outcome: Outcome,
) -> Result<Row, Error> {
    let Settings { protocol, confirm, .. } = settings;
    let tokens = target.tokens.clone();
    let crew = Crew::new(&target.endpoints, *protocol, *confirm, tokens, Recorder::new())?;
    let counted = economy::count(&crew, target).await?.unwrap_or_default();
    let servers = outcome.servers.unwrap_or_default();
    // Percent of a core is hundredths of a second a second.
    let each = |percent: f64| 10.0 * percent / outcome.logins_per_second.max(f64::EPSILON);
    Ok(Row {
        target: target.description.clone(),
        store,
        instances: target.instances(),
        service_cpu_ms: each(servers.cpu_percent),
        redis_cpu_ms: each(servers.redis_cpu_percent),
        nginx_cpu_ms: each(servers.proxy_cpu_percent),
        commands: counted.sent_each(),
        notifications: counted.notifications,
        outcome,
    })
}

impl Row {
    /// What must not grow with the number of instances.
    fn costs(&self) -> [f64; 5] {
        [
            self.service_cpu_ms,
            self.redis_cpu_ms,
            self.nginx_cpu_ms,
            self.commands,
            self.notifications,
        ]
    }
}

/// A line of the table.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, instances, outcome, .. } = self;
        let [service, redis, nginx, commands, notifications] = self.costs();
        let late = if outcome.client_limited { "≤ " } else { "" };
        write!(
            f,
            "| {store} | {instances} | {:.0} | {late}{:.2} | {late}{:.1} | {} | {service:.2} | {redis:.2} | {nginx:.2} \
             | {commands:.2} | {notifications:.2} |",
            outcome.logins_per_second,
            outcome.scan_to_token_ms.p50,
            outcome.scan_to_token_ms.p99,
            outcome.failures,
        )
    }
}

impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| store | instances | logins/s | p50 ms | p99 ms | failures | service CPU ms per login | Redis CPU ms \
             | nginx CPU ms | commands per login | notifications per login |\n\
             |---|---|---|---|---|---|---|---|---|---|---|"
        )?;
        self.0.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        for rows in self.0.chunk_by(|a, b| a.store == b.store) {
            if let [first, .., last] = rows {
                write!(
                    f,
                    "\n{}: {} instances to {}: ",
                    first.store, last.instances, first.instances
                )?;
                let names = ["service CPU", "Redis CPU", "nginx CPU", "commands", "notifications"];
                for (name, (one, more)) in
                    names.iter().zip(first.costs().into_iter().zip(last.costs()))
                {
                    write!(f, "{name} x {:.2}  ", more / one.max(f64::EPSILON))?;
                }
            }
        }
        writeln!(f)
    }
}
