//! Parse, start, wait.

use std::{
    io::{ErrorKind, Write},
    process::ExitCode,
};

use scanlogin::{
    app::{Application, Options},
    cli,
    clock::Clock,
    config::{Config, Parsed, Values},
    keys::Entropy,
    lifecycle::{Signals, Stopper},
    telemetry,
};

// Ten thousand idle sockets are ten thousand small blocks that live for a minute among others that
// live for a millisecond: jemalloc keeps them in size classes, glibc's heap fragments.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Wrong configuration, or an address or Redis that cannot be used at the start.
const CANNOT_START: u8 = 2;

#[actix_web::main]
async fn main() -> ExitCode {
    let values = match Values::read(std::env::args_os(), std::env::vars_os()) {
        Ok(Parsed::Run(values)) => values,
        Ok(Parsed::Show(text)) => return show(&text),
        Ok(Parsed::Check(values)) => return check(&values),
        Ok(Parsed::Token(order, values)) => {
            return match cli::token(&order, &values, Clock::system().wall()).await {
                Ok(token) => show(format!("{token}\n").as_bytes()),
                Err(error) => complain(&error),
            };
        }
        Err(error) => return complain(&error),
    };
    let config = match Config::from_values(&values, Entropy::Os) {
        Ok(config) => config,
        Err(error) => return complain(&error),
    };
    serve(config).await
}

/// Without starting anything.
fn check(values: &Values) -> ExitCode {
    let config = Config::from_values(values, Entropy::Os);
    match config.and_then(|config| cli::report(values, &config)) {
        Ok(text) => show(text.as_bytes()),
        Err(error) => complain(&error),
    }
}

async fn serve(config: Config) -> ExitCode {
    let log = telemetry::start(&config);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let store = if config.redis.is_none() { "embedded" } else { "redis" };
    let (stopper, stops) = Stopper::new();
    match Signals::new() {
        Ok(signals) => drop(actix_rt::spawn(stopper.follow(signals))),
        Err(error) => return complain_after(log, &error),
    }
    let told = config.clone();
    let options = Options { log_lines_dropped: Some(log.dropped.clone()), ..Options::default() };
    let application = match Application::build(config, options).await {
        Ok(application) => application,
        Err(error) => return complain_after(log, &error),
    };
    let address = application.address();
    let admin_address = application.admin_address();
    tracing::info!(%address, %admin_address, store, version = scanlogin::VERSION, "listening");
    for line in cli::what_to_open(&told, address, admin_address) {
        tracing::info!("{line}");
    }
    match application.run(stops).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "stopped by itself");
            ExitCode::FAILURE
        }
    }
}

/// The log's lines first.
fn complain_after(log: telemetry::Log, error: &dyn std::error::Error) -> ExitCode {
    drop(log);
    complain(error)
}

/// To stdout. Whoever reads it may have had enough (`| head`).
fn show(text: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

/// The last line names the variable, what was wrong, and an example.
#[expect(clippy::print_stderr, reason = "the log may not have started")]
fn complain(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(CANNOT_START)
}
