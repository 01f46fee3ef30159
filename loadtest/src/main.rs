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
    bench,
    outcome::Outcome,
    proc,
    scenario::{self, Plan, Scenario, Settings},
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
        Command::Login(settings) => (Scenario::Login, settings),
        Command::Wait(settings) => (Scenario::Wait, settings),
        Command::Abandon(settings) => (Scenario::Abandon, settings),
        Command::Storm(settings) => (Scenario::Storm, settings),
        Command::Race(settings) => (Scenario::Race, settings),
        Command::Abuse(settings) => (Scenario::Abuse, settings),
        Command::Mixed(settings) => (Scenario::Mixed, settings),
    };
    let plan = Plan::new(scenario, &settings);
    let target = Arc::new(scenario::target(scenario, &settings)?);
    say(&format!("{} against {}", scenario.name(), target.description));
    let outcome = scenario::run(&plan, &settings, target, progress).await?;
    report(&outcome, &settings)
}

fn report(
    outcome: &Outcome,
    settings: &Settings,
) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    say(&outcome.to_string());
    if let Some(file) = &settings.baseline {
        say(&outcome.against(&serde_json::from_slice(&std::fs::read(file)?)?));
    }
    write_json(settings.json.as_deref(), &serde_json::to_value(outcome)?)?;
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

fn write_json(
    file: Option<&Path>,
    value: &serde_json::Value,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    if let Some(file) = file {
        std::fs::write(file, serde_json::to_string_pretty(value)? + "\n")?;
    }
    Ok(())
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
