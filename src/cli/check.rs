//! `scanlogin check-config`: what the service would start with.

use std::fmt::Write;

use crate::config::{
    Config, ConfigError, Source, Values,
    table::{Kind, Setting, sections},
    text,
};

/// Each setting with its value and where it comes from, secrets left out, and what the start would
/// warn about.
///
/// # Errors
/// A value that was there a moment ago cannot be read any more.
pub fn report(values: &Values, config: &Config) -> Result<String, ConfigError> {
    let mut text = String::new();
    for (heading, settings) in sections() {
        let _ = writeln!(text, "# {heading}");
        for setting in settings {
            let _ = writeln!(text, "{}", line(values, config, setting)?);
        }
        text.push('\n');
    }
    for warning in &config.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    let found = match config.warnings.len() {
        0 => "nothing to warn about".into(),
        1 => "1 warning".into(),
        count => format!("{count} warnings"),
    };
    let _ = writeln!(text, "The configuration is good: {found}");
    Ok(text)
}

fn line(values: &Values, config: &Config, setting: &Setting) -> Result<String, ConfigError> {
    let name = setting.env;
    let value = values.get(name)?;
    let value = match (setting.kind, value) {
        // It may not have been read, and then nobody knows whether it is one.
        (Kind::Open, Some(path)) if name.ends_with("_FILE") => {
            text::shown_path(&path).map_or("<a path>".into(), |_| path)
        }
        (Kind::Open, Some(value)) => value,
        (Kind::Open, None) => by_itself(config, setting),
        (Kind::Secret, Some(value)) => secret(config, name, &value),
        (Kind::Secret, None) => made_up(config, name).unwrap_or("none").into(),
    };
    let source = match values.source(name) {
        None => "default".into(),
        Some(Source::Flag) => format!("--{}", setting.flag()),
        Some(Source::Environment) => "environment".into(),
        Some(Source::File(path)) => format!("file {path}"),
    };
    Ok(format!("{name}={value}  ({source})"))
}

/// What a setting is that nobody gives, where that depends on something.
fn by_itself(config: &Config, setting: &Setting) -> String {
    match setting.env {
        "SCANLOGIN_WORKERS" => config.workers.to_string(),
        "SCANLOGIN_DEMO" => config.demo.is_some().to_string(),
        "SCANLOGIN_ROTATE_SECONDS" => config.rotate.map_or(0, |time| time.as_secs()).to_string(),
        // A sentence is not a value.
        _ if setting.default.contains(' ') => format!("<{}>", setting.default),
        _ => setting.default.into(),
    }
}

/// Never the secret: how long it is, or where the Redis is that its URL names.
fn secret(config: &Config, name: &str, value: &str) -> String {
    match (&config.redis, name) {
        (Some(redis), "SCANLOGIN_REDIS_URL") => redis.url.to_string(),
        _ => format!("<{} bytes>", value.len()),
    }
}

/// What stands in for a secret in a trial.
fn made_up(config: &Config, name: &str) -> Option<&'static str> {
    const RANDOM: &str = "<random, for this run>";
    match name {
        "SCANLOGIN_APP_JWT_SECRET" | "SCANLOGIN_TOKEN_SECRET" if config.secrets_made_up => {
            Some(RANDOM)
        }
        _ => None,
    }
}
