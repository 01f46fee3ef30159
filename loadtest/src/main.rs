//! See `--help`.

use std::{
    error::Error,
    io::{IsTerminal, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
use loadtest::{
    bench, capacity,
    outcome::Outcome,
    plan, proc, scaling,
    scenario::{self, Plan, Scenario, Settings},
    svg, workers,
};

/// Load tests for scanlogin. Without a command: `mixed` for a minute.
///
/// Exit code 0: within the thresholds; 1: beyond them; 2: cannot start; 3: the client was the
/// bottleneck, so nothing was learned about the service.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Browsers arrive (100/s), are scanned a second later, and are logged in
    Login(Settings),
    /// Browsers wait (10,000); with --logins-per-second others log in beside them
    Wait(Settings),
    /// Browsers arrive (100/s) and leave, half without a word, half with `cancel`
    Abandon(Settings),
    /// All browsers (5,000) lose their connection at once and resume, again and again
    Storm(Settings),
    /// Ten phones of different users scan each key (10/s) at the same instant: one wins
    Race(Settings),
    /// Unknown keys, bad tokens, floods, half heads: limits answer, others do not suffer
    Abuse(Settings),
    /// A morning (100/s): most wait 5 to 25 s and log in, some leave, some let it expire
    Mixed(Settings),
    /// What a waiting browser and a login cost, beside nginx with nchan if it is installed
    Bench(bench::Settings),
    /// Most logins a second and most waiting browsers until an objective breaks, and what is full
    Capacity(capacity::Search),
    /// What a login costs with 1, 2 and 4 instances behind nginx, on one Redis and on a Cluster
    Scaling(scaling::Wanted),
    /// Instances, cores, memory and Redis nodes for a given load, from measured constants
    Plan(plan::Wanted),
    /// One of several processes of a run
    #[command(name = workers::COMMAND, hide = true)]
    Worker,
}

const BEYOND_THRESHOLDS: u8 = 1;
const CANNOT_START: u8 = 2;
const CLIENT_LIMITED: u8 = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    proc::most_browsers();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::from(CANNOT_START) };
    let command = arguments.command.unwrap_or_else(mixed);
    match runtime.block_on(run(command)) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("{error}"));
            ExitCode::from(CANNOT_START)
        }
    }
}

/// What `mixed` without any settings is, environment included.
fn mixed() -> Command {
    match Arguments::parse_from(["loadtest", "mixed"]).command {
        Some(command) => command,
        None => unreachable!("a command was given"),
    }
}

async fn run(command: Command) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let (scenario, settings) = match command {
        Command::Bench(settings) => {
            // On a worker, like everything that it measures.
            let table = tokio::spawn(async move {
                let table = bench::run(&settings, say).await;
                table.map(|table| (table, settings.json))
            });
            let (table, json) = table.await??;
            say(&table.to_string());
            return write_json(json.as_deref(), &table.json()).map(|()| ExitCode::SUCCESS);
        }
        Command::Capacity(search) => {
            let json = search.json().map(Path::to_owned);
            let capacity = capacity::search(&search, say, progress).await?;
            say(&capacity.to_string());
            let value = serde_json::to_value(&capacity)?;
            return write_json(json.as_deref(), &value).map(|()| ExitCode::SUCCESS);
        }
        Command::Scaling(wanted) => {
            let scaling = scaling::run(&wanted, say, progress).await?;
            say(&scaling.to_string());
            let value = serde_json::to_value(&scaling)?;
            return write_json(wanted.json.as_deref(), &value).map(|()| ExitCode::SUCCESS);
        }
        Command::Worker => {
            workers::child::run().await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Plan(wanted) => {
            let planned = plan::run(&wanted, say, progress).await?;
            say(&planned.to_string());
            let value = serde_json::to_value(&planned)?;
            return write_json(wanted.json.as_deref(), &value).map(|()| ExitCode::SUCCESS);
        }
        Command::Login(settings) => (Scenario::Login, settings),
        Command::Wait(settings) => (Scenario::Wait, settings),
        Command::Abandon(settings) => (Scenario::Abandon, settings),
        Command::Storm(settings) => (Scenario::Storm, settings),
        Command::Race(settings) => (Scenario::Race, settings),
        Command::Abuse(settings) => (Scenario::Abuse, settings),
        Command::Mixed(settings) => (Scenario::Mixed, settings),
    };
    let baseline = settings.baseline.as_deref().map(read_json).transpose()?;
    let plan = Plan::new(scenario, &settings);
    let target = Arc::new(scenario::target(&plan, &settings)?);
    say(&format!("{} against {}", scenario.name(), target.description));
    let outcome = scenario::run(&plan, &settings, target, progress).await?;
    report(&outcome, &settings, baseline.as_ref())
}

fn report(
    outcome: &Outcome,
    settings: &Settings,
    baseline: Option<&serde_json::Value>,
) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    say(&outcome.to_string());
    if let Some(baseline) = baseline.filter(|_| !outcome.client_limited) {
        say(&outcome.against(baseline));
    }
    write_json(settings.json.as_deref(), &serde_json::to_value(outcome)?)?;
    if let Some(file) = &settings.svg {
        write(file, &svg::draw(outcome, settings.max_p99))?;
    }
    for hint in outcome.hints() {
        say(&format!("hint: {hint}"));
    }
    if outcome.client_limited {
        return Ok(ExitCode::from(CLIENT_LIMITED));
    }
    let broken = outcome.broken(settings.max_failures, settings.max_p99);
    for line in &broken {
        complain(line);
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(BEYOND_THRESHOLDS) })
}

/// Before anything starts: a wrong name should not cost a run.
fn read_json(file: &Path) -> Result<serde_json::Value, Box<dyn Error + Send + Sync>> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read(file).map_err(|error| wrong(&error))?;
    Ok(serde_json::from_slice(&text).map_err(|error| wrong(&error))?)
}

fn write_json(
    file: Option<&Path>,
    value: &serde_json::Value,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    if let Some(file) = file {
        write(file, &(serde_json::to_string_pretty(value)? + "\n"))?;
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    Ok(std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?)
}

#[expect(clippy::print_stdout, reason = "a report is what this program is for")]
fn say(line: &str) {
    println!("{line}");
}

/// A line that the next one overwrites, on a terminal; else one after the other.
#[expect(clippy::print_stderr, reason = "progress is for whoever watches, not for pipelines")]
fn progress(line: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        eprint!("\r\x1b[K{line}");
        let _ = stderr.flush();
    } else {
        eprintln!("{line}");
    }
}

#[expect(clippy::print_stderr, reason = "the last line of a failure belongs there")]
fn complain(line: &str) {
    eprintln!("{line}");
}
