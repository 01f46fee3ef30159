//! The constants, measured here; and the model against measurements that it was not made from.

use std::{fs, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    Wanted,
    model::{Constants, Curve},
};
use crate::{
    crew::Crew,
    fleet::Fleet,
    outcome::Outcome,
    recorder::Recorder,
    scenario::{self, Error, Plan, Scenario, Settings, Spread},
    target::{Store, Target, Usage, redis::Questions},
};

/// Browsers that are weighed.
const FLEET: u64 = 4_000;
/// Until the allocators have given back what they will.
const SETTLE: Duration = Duration::from_secs(4);
/// Holds most of a rotation and of a ping of each.
const IDLE: Duration = Duration::from_secs(20);
/// All connections are cut, and come back within this time.
const RETURN: Duration = Duration::from_secs(4);
/// Logins a second from which the curve is made. `--check` has others.
const RATES: [f64; 3] = [100.0, 400.0, 1_600.0];
/// Keys that are weighed.
const KEYS: usize = 400;
/// A key that lives longer than this is a user's web login; others are logins and their receipts.
const A_DAY: i64 = 24 * 3600;

/// Measures all constants on services of its own.
///
/// # Errors
/// [`Error`].
pub(super) async fn constants(
    wanted: &Wanted,
    say: fn(&str),
    live: fn(&str),
) -> Result<Constants, Error> {
    let mut constants = wanted.constants;
    say(&format!("measuring {FLEET} browsers that wait"));
    waiting(wanted, &mut constants).await?;
    let (mut service, mut redis) = (Vec::new(), Vec::new());
    for rate in RATES {
        say(&format!("measuring {rate:.0} logins/s"));
        let (outcome, target, _) = logins(wanted, rate, 0, live).await?;
        let servers = outcome.servers.unwrap_or_default();
        // Percent of a core is hundredths of a second a second.
        let each = |percent: f64| 10.0 * percent / outcome.logins_per_second.max(f64::EPSILON);
        service.push((rate, each(servers.cpu_percent)));
        redis.push((rate, each(servers.redis_cpu_percent)));
        if let Some(first) = target.redis.first() {
            weigh_keys(first.questions(), &mut constants);
        }
    }
    say(&format!("service: {service:.3?}; Redis: {redis:.3?}"));
    let (service, redis) = (Curve::through(&service), Curve::through(&redis));
    constants.single_login_cpu = service.single;
    constants.batched_login_cpu = service.batched;
    constants.batching_at = service.half;
    constants.redis_single_login_cpu = redis.single;
    constants.redis_batched_login_cpu = redis.batched;
    constants.redis_batching_at = redis.half;
    Ok(constants)
}

fn settings(wanted: &Wanted) -> Settings {
    Settings { service: wanted.service.clone(), store: Some(Store::Redis), ..Settings::default() }
}

async fn waiting(wanted: &Wanted, constants: &mut Constants) -> Result<(), Error> {
    let settings = Settings { waiting: Some(FLEET), ..settings(wanted) };
    let target = scenario::target(&Plan::new(Scenario::Wait, &settings), &settings)?;
    let tokens = target.tokens.clone();
    let crew = Crew::new(&target.endpoints, settings.protocol, false, tokens, Recorder::new())?;
    let (empty, kernel) = (target.usage(), slab());
    let mut fleet = Fleet::assemble(&crew, FLEET).await;
    tokio::time::sleep(SETTLE).await;
    let (full, full_kernel) = (target.usage(), slab());
    let n = fleet.waiting() as f64;
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / n;
    constants.instance_bytes = empty.server_pss as f64;
    constants.socket_bytes = each(empty.server_pss, full.server_pss);
    constants.redis_socket_bytes = each(empty.redis_memory, full.redis_memory);
    // The other half is the client's end.
    constants.kernel_bytes = each(kernel, full_kernel) / 2.0;
    tokio::time::sleep(IDLE).await;
    let idled = target.usage();
    let share = cpu(full, idled).as_secs_f64() / IDLE.as_secs_f64();
    constants.idle_cpu = 100.0 * share * 10_000.0 / n;
    fleet.cut(RETURN).await;
    let back = target.usage();
    constants.resume_cpu = 1000.0 * cpu(idled, back).as_secs_f64() / n;
    let redis = back.redis_cpu.saturating_sub(idled.redis_cpu);
    constants.redis_resume_cpu = 1000.0 * redis.as_secs_f64() / n;
    Ok(())
}

fn cpu(from: Usage, to: Usage) -> Duration {
    to.server_cpu.saturating_sub(from.server_cpu)
}

/// Bytes that the kernel keeps in its own structures, sockets among them.
fn slab() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:")).unwrap_or_default();
    let kib = line.trim().strip_suffix("kB").and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

async fn logins(
    wanted: &Wanted,
    rate: f64,
    waiting: u64,
    live: fn(&str),
) -> Result<(Outcome, Arc<Target>, Usage), Error> {
    let think = wanted.check_think_seconds;
    let settings = Settings {
        logins_per_second: Some(rate),
        waiting: Some(waiting),
        seconds: Some(wanted.check_seconds),
        think_seconds: Some(Spread { from: think, to: think }),
        ..settings(wanted)
    };
    let plan = Plan::new(Scenario::Login, &settings);
    let target = Arc::new(scenario::target(&plan, &settings)?);
    let empty = target.usage();
    let outcome = scenario::run(&plan, &settings, target.clone(), live).await?;
    Ok((outcome, target, empty))
}

/// What a receipt weighs, and what a user's web login: of keys by chance.
fn weigh_keys(redis: Questions, constants: &mut Constants) {
    let number = |command: String| {
        redis.ask(&command).ok()?.strip_prefix(':')?.parse::<i64>().ok().filter(|n| *n > 0)
    };
    let (mut receipts, mut users) = (Vec::new(), Vec::new());
    for _ in 0..KEYS {
        let Ok(key) = redis.ask("RANDOMKEY") else { return };
        let seconds = number(format!("TTL {key}"));
        let bytes = number(format!("MEMORY USAGE {key}"));
        if let (Some(seconds), Some(bytes)) = (seconds, bytes) {
            let kind = if seconds > A_DAY { &mut users } else { &mut receipts };
            kind.push(bytes as f64);
        }
    }
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
    if !receipts.is_empty() && !users.is_empty() {
        constants.redis_receipt_bytes = mean(&receipts);
        constants.redis_user_bytes = mean(&users);
    }
}

/// Predicted and measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pair {
    /// By the model.
    pub predicted: f64,
    /// Here.
    pub measured: f64,
}

/// One load of the check.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Logins a second.
    pub logins_per_second: f64,
    /// Browsers that wait.
    pub waiting: Pair,
    /// Percent of a core.
    pub service_cpu: Pair,
    /// Percent of a core.
    pub redis_cpu: Pair,
    /// Bytes of the service.
    pub service_bytes: Pair,
    /// Bytes of Redis over an empty one.
    pub redis_bytes: Pair,
}

/// Three loads that the constants were not made from.
///
/// # Errors
/// [`Error`].
pub(super) async fn check(
    wanted: &Wanted,
    constants: &Constants,
    say: fn(&str),
    live: fn(&str),
) -> Result<Vec<Checked>, Error> {
    let mut rows = Vec::new();
    for &rate in &wanted.check_logins_per_second {
        say(&format!("checking {rate:.0} logins/s"));
        let idle = wanted.check_waiting;
        let (outcome, _target, empty) = logins(wanted, rate, idle, live).await?;
        let servers = outcome.servers.unwrap_or_default();
        let think = wanted.check_think_seconds;
        let waiting = rate * think + idle as f64;
        // No receipt has gone yet: all logins since the start are there, each of another user.
        let logins = rate * (wanted.check_seconds + 0.5);
        let mut model = constants.need(rate, waiting, logins, 1.0);
        model.redis_bytes +=
            (logins - rate * constants.receipt_seconds) * constants.redis_receipt_bytes;
        rows.push(Checked {
            logins_per_second: rate,
            waiting: Pair { predicted: waiting, measured: outcome.waiting as f64 },
            service_cpu: Pair {
                predicted: 100.0 * model.service_cores,
                measured: servers.cpu_percent,
            },
            redis_cpu: Pair {
                predicted: 100.0 * model.redis_cores,
                measured: servers.redis_cpu_percent,
            },
            service_bytes: Pair {
                predicted: model.service_bytes,
                measured: servers.memory_bytes as f64,
            },
            redis_bytes: Pair {
                predicted: model.redis_bytes,
                measured: servers.redis_memory_bytes.saturating_sub(empty.redis_memory) as f64,
            },
        });
    }
    Ok(rows)
}
