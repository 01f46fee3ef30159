//! The log: to stderr, for people or for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Starts logging for the whole process.
pub fn start(config: &Config) {
    // The framework announces each of its threads; who wants that says `actix_server=info`.
    let filter = EnvFilter::builder().parse_lossy(format!("actix_server=warn,{}", config.log));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Fails only where a subscriber is set already; then that one is wanted.
    let _ = match config.log_format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
}
