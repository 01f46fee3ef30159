//! A part of a round of one side, on servers of its own: with browsers that wait, or at saturation.

use std::{sync::Mutex, time::Duration};

use super::{Figures, Part, Row, SETTLE, Settings, crew};
use crate::{
    dialect::Dialect,
    engine::{Load, Span, closed_loop, open_loop},
    fleet::Fleet,
    proc,
    recorder::{Percentiles, Step},
    target::{Error, Target, Usage},
    visit::Visit,
};

/// From a browser's arrival to its scan, in an open loop.
const THINK: Duration = Duration::from_secs(1);
/// Logins before anything is measured.
const FIRST_LOGINS: Duration = Duration::from_secs(1);
/// What is not counted at the start of a load.
pub(super) const WARM_UP: Duration = Duration::from_secs(3);

pub(super) async fn measure(
    settings: &Settings,
    part: Part,
    dialect: Dialect,
    target: &Target,
    figures: &mut Figures,
    progress: &impl Fn(&str),
) -> Result<(), Error> {
    match part {
        Part::Saturation => saturation(settings, dialect, target, figures, progress).await,
        _ => waiting(settings, dialect, target, figures, progress).await,
    }
}

async fn waiting(
    settings: &Settings,
    dialect: Dialect,
    target: &Target,
    figures: &mut Figures,
    progress: &impl Fn(&str),
) -> Result<(), Error> {
    let crew = crew(target, dialect)?;
    let ours = proc::pss(std::process::id()).unwrap_or_default();
    // What a process needs once, whoever waits: code that is read in, pools, histograms.
    closed_loop(&crew, settings.at_a_time, Duration::ZERO, FIRST_LOGINS, || ()).await;
    tokio::time::sleep(SETTLE).await;
    crew.recorder.reset();
    let (before, kernel) = (target.usage(), proc::kernel_memory());
    let mut fleet = Fleet::assemble(&crew, settings.waiting).await;
    let n = fleet.waiting() as f64;
    figures.set(Row::ConnectsPerSecond, n / fleet.assembled_in.as_secs_f64());
    tokio::time::sleep(SETTLE).await;
    let full = target.usage();
    let bytes = |before: u64, after: u64| after.saturating_sub(before) as f64 / n;
    figures.set(Row::BytesPerSocket, bytes(before.server_pss, full.server_pss));
    figures.set(Row::RedisBytesPerSocket, bytes(before.redis_memory, full.redis_memory));
    let all = |usage: &Usage| usage.server_pss + usage.redis_memory;
    figures.set(Row::AllBytesPerSocket, bytes(all(&before), all(&full)));
    figures.set(Row::KernelBytesPerSocket, bytes(kernel, proc::kernel_memory()));
    let ours_now = proc::pss(std::process::id()).unwrap_or_default();
    // Later rounds use the memory of earlier ones again: only the first tells.
    if bytes(ours, ours_now) > 100.0 {
        figures.set(Row::ClientBytesPerSocket, bytes(ours, ours_now));
    }
    progress(&format!("{n} waiting, {:.0} bytes each", bytes(before.server_pss, full.server_pss)));

    let idle = Duration::from_secs(settings.idle_seconds);
    tokio::time::sleep(idle).await;
    let idled = target.usage();
    let share = |cpu: Duration| 100.0 * cpu.as_secs_f64() / idle.as_secs_f64();
    figures.set(Row::IdleCpu, share(idled.server_cpu - full.server_cpu));
    figures.set(Row::IdleRedisCpu, share(idled.redis_cpu - full.redis_cpu));

    for rate in &settings.logins_per_second {
        let time = Duration::from_secs(settings.seconds);
        let begun = Mutex::new(Usage::default());
        let begin = || *begun.lock().unwrap_or_else(|p| p.into_inner()) = target.usage();
        let log_in = |arrival| Visit::LogIn(Some(arrival + THINK));
        let span = Span::of(WARM_UP, time);
        let load = open_loop(&crew, f64::from(*rate), span, log_in, begin).await;
        let begun = begun.into_inner().unwrap_or_else(|p| p.into_inner());
        latencies(*rate, &load, figures);
        let rows = [Row::CpuAt(*rate), Row::RedisCpuAt(*rate), Row::AllCpuAt(*rate)];
        costs(&load, begun, target.usage(), figures, rows);
        progress(&said(&format!("{rate} logins/s"), &load));
    }
    figures.set(Row::LostWhileWaiting, n - fleet.waiting() as f64);
    Ok(())
}

fn latencies(rate: u32, load: &Load, figures: &mut Figures) {
    let token = Percentiles::of(&load.measured.step(Step::Token));
    figures.set(Row::P50At(rate), token.p50);
    figures.set(Row::P90At(rate), token.p90);
    figures.set(Row::P99At(rate), token.p99);
    let late = Percentiles::of(&load.measured.late);
    figures.set(Row::LateP50At(rate), late.p50);
    figures.set(Row::LateP99At(rate), late.p99);
    figures.set(Row::FailuresAt(rate), load.measured.failed() as f64);
}

fn costs(load: &Load, from: Usage, to: Usage, figures: &mut Figures, rows: [Row; 3]) {
    // In seconds per 1,000 logins, which is milliseconds per login.
    let each = |from: Duration, to: Duration| {
        1000.0 * to.saturating_sub(from).as_secs_f64() / load.measured.logins.max(1) as f64
    };
    let server = each(from.server_cpu, to.server_cpu);
    let redis = each(from.redis_cpu, to.redis_cpu);
    for (row, value) in rows.into_iter().zip([server, redis, server + redis]) {
        figures.set(row, value);
    }
}

fn said(what: &str, load: &Load) -> String {
    let token = Percentiles::of(&load.measured.step(Step::Token));
    let failures: Vec<String> =
        load.measured.failures.iter().map(|(why, n)| format!("; {n} x {why}")).collect();
    format!(
        "{what}: {:.0}/s, scan to token p50 {:.2} p99 {:.2} ms{}",
        load.per_second(),
        token.p50,
        token.p99,
        failures.concat()
    )
}

async fn saturation(
    settings: &Settings,
    dialect: Dialect,
    target: &Target,
    figures: &mut Figures,
    progress: &impl Fn(&str),
) -> Result<(), Error> {
    let crew = crew(target, dialect)?;
    let time = Duration::from_secs(settings.seconds);
    let begun = Mutex::new(Usage::default());
    let begin = || *begun.lock().unwrap_or_else(|p| p.into_inner()) = target.usage();
    let client = proc::cpu(std::process::id()).unwrap_or_default();
    let load = closed_loop(&crew, settings.at_a_time, WARM_UP, time, begin).await;
    let begun = begun.into_inner().unwrap_or_else(|p| p.into_inner());
    let rows = [Row::CpuAtMost, Row::RedisCpuAtMost, Row::AllCpuAtMost];
    costs(&load, begun, target.usage(), figures, rows);
    let client = proc::cpu(std::process::id()).unwrap_or_default() - client;
    let share = 100.0 * client.as_secs_f64() / (time + WARM_UP).as_secs_f64();
    figures.set(Row::ClientCpuAtMost, share);
    figures.set(Row::LoginsPerSecond, load.per_second());
    figures.set(Row::FailuresAtMost, load.measured.failed() as f64);
    progress(&said("saturation", &load));
    Ok(())
}
