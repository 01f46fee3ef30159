//! See `--help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use loadtest::{bench, proc};

/// Load tests for scanlogin.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure what a waiting browser and a login cost, beside nginx with nchan if it is installed
    Bench(bench::Settings),
}

/// Something could not be started or reached.
const CANNOT_START: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    proc::most_browsers();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::from(CANNOT_START) };
    match runtime.block_on(run(arguments.command)) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("{error}"));
            ExitCode::from(CANNOT_START)
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, Box<dyn std::error::Error + Send + Sync>> {
    match command {
        Command::Bench(settings) => {
            let json = settings.json.clone();
            let table = bench::run(&settings, say).await?;
            say(&table.to_string());
            if let Some(file) = json {
                std::fs::write(file, serde_json::to_string_pretty(&table.json())?)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "a report is what this program is for")]
fn say(line: &str) {
    println!("{line}");
}
