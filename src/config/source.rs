//! Flag over environment over default; files for secrets; and the errors that name what was wrong.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

use super::{
    MIN_SECRET, Secret,
    command::{self, Order, TokenOrder},
    table::{Kind, SETTINGS, setting},
    text::{self, quoted},
};

/// Something in the configuration is wrong: which variable, what, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    variable: String,
    what: String,
    example: Option<&'static str>,
}

impl ConfigError {
    /// An error with the example of the table.
    pub fn new(variable: &str, what: impl Into<String>) -> Self {
        let example =
            SETTINGS.iter().find(|setting| setting.env == variable).map(|setting| setting.example);
        Self { variable: variable.into(), what: what.into(), example }
    }

    /// The same, where the table's example would not help.
    pub fn without_example(variable: &str, what: impl Into<String>) -> Self {
        Self { variable: variable.into(), what: what.into(), example: None }
    }

    /// The variable that is to blame.
    pub fn variable(&self) -> &str {
        &self.variable
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.what)?;
        match self.example {
            Some(example) => write!(f, "; for example {}={example}", self.variable),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// What the command line asked for.
pub enum Parsed {
    /// To run with these values.
    Run(Values),
    /// To check these values.
    Check(Values),
    /// To make an app token.
    Token(TokenOrder, Values),
    /// To show this text and exit with 0.
    Show(Vec<u8>),
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// The variable.
    Environment,
    /// The file that `<NAME>_FILE` names.
    File(String),
}

/// The raw values: flags and environment, not checked yet.
#[derive(Default)]
pub struct Values {
    flags: BTreeMap<&'static str, String>,
    env: BTreeMap<String, String>,
}

impl Values {
    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// A flag or a `SCANLOGIN_` variable that does not exist, or is not UTF-8.
    pub fn read<N: Into<OsString>, V: Into<OsString>>(
        args: impl IntoIterator<Item = OsString>,
        env: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Parsed, ConfigError> {
        let (order, flags) = match command::parse(args)? {
            // Whatever the environment holds.
            (Order::Show(text), _) => return Ok(Parsed::Show(text)),
            parsed => parsed,
        };
        let values = Self { flags, env: ours(env)? };
        Ok(match order {
            Order::CheckConfig => Parsed::Check(values),
            Order::Token(order) => Parsed::Token(order, values),
            _ => Parsed::Run(values),
        })
    }

    /// Whether the setting is given at all.
    pub fn is_set(&self, name: &str) -> bool {
        self.flags.contains_key(name) || self.env.contains_key(name)
    }

    /// Where the setting comes from; `None` where it is not given.
    pub fn source(&self, name: &str) -> Option<Source> {
        if self.flags.contains_key(name) {
            return Some(Source::Flag);
        }
        if self.env.contains_key(name) {
            return Some(Source::Environment);
        }
        self.env.get(&format!("{name}_FILE")).map(|path| Source::File(path.clone()))
    }

    /// The same, or the file that holds it.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.is_set(name) || self.env.contains_key(&format!("{name}_FILE"))
    }

    /// The value of a setting, or of the file that `<NAME>_FILE` names.
    ///
    /// # Errors
    /// Both are given, the file cannot be read, it is empty, or it is not what it looks like: a
    /// secret with a line break at its end, an address with a password.
    pub fn get(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let value = self.flags.get(name).or_else(|| self.env.get(name));
        let file_variable = format!("{name}_FILE");
        let file = match setting(name).kind {
            Kind::Secret => self.env.get(&file_variable),
            Kind::Open => None,
        };
        let value = match (value, file) {
            (Some(_), Some(_)) => {
                let what = format!("is set, and {file_variable} too: use one of them");
                return Err(ConfigError::new(name, what));
            }
            (None, Some(path)) => {
                let text = text::secret_of_file(path);
                Some(text.map_err(|what| ConfigError::without_example(&file_variable, what))?)
            }
            (value, None) => value.cloned(),
        };
        let Some(value) = value else { return Ok(None) };
        let fault = match setting(name).kind {
            _ if value.is_empty() => Some("is empty: give it a value, or leave it out".into()),
            Kind::Secret => text::stray(&value),
            Kind::Open => text::fault_of_open(name, &value),
        };
        fault.map_or(Ok(Some(value)), |what| Err(ConfigError::new(name, what)))
    }

    /// The same, if it is long enough for a secret.
    ///
    /// # Errors
    /// As of [`Self::get`], or it is too short.
    pub fn secret_bytes(&self, name: &'static str) -> Result<Option<Secret>, ConfigError> {
        match self.get(name)? {
            Some(text) if text.len() < MIN_SECRET => Err(ConfigError::new(
                name,
                format!("has {} bytes; a secret needs at least {MIN_SECRET}", text.len()),
            )),
            text => Ok(text.map(Secret::new)),
        }
    }

    /// An IP address and a port.
    ///
    /// # Errors
    /// It is none.
    pub fn address(&self, name: &'static str, default: &str) -> Result<SocketAddr, ConfigError> {
        let text = self.get(name)?.unwrap_or_else(|| default.into());
        text.parse().map_err(|_| {
            ConfigError::new(name, format!("{} is not an IP address and a port", quoted(&text)))
        })
    }

    pub(super) fn number(
        &self,
        name: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let Some(text) = self.get(name)? else { return Ok(default) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let (from, to) = range.into_inner();
            let text = quoted(&text);
            ConfigError::new(name, format!("{text} is not a whole number from {from} to {to}"))
        })
    }

    /// One of several words; the first is the default.
    pub(super) fn choice<T: Copy>(
        &self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let Some(text) = self.get(name)? else { return Ok(choices[0].1) };
        choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            ConfigError::new(name, format!("{} is not one of {}", quoted(&text), words.join(", ")))
        })
    }
}

/// The variables of an environment that are the service's.
fn ours<N: Into<OsString>, V: Into<OsString>>(
    env: impl IntoIterator<Item = (N, V)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut ours = BTreeMap::new();
    for (name, value) in env {
        let (name, value) = (name.into(), value.into());
        if !name.as_encoded_bytes().starts_with(b"SCANLOGIN_") {
            continue;
        }
        let name = name.into_string().map_err(|name| unknown(&name.to_string_lossy()))?;
        // Left out, a secret would be replaced by a random one, and nobody would know why.
        let value = value
            .into_string()
            .map_err(|_| ConfigError::new(&name, "is not text in UTF-8: give it as such"))?;
        let known = SETTINGS.iter().any(|setting| {
            setting.env == name
                || (setting.kind == Kind::Secret
                    && name.strip_suffix("_FILE").is_some_and(|name| name == setting.env))
        });
        if !known && !is_kubernetes_service_variable(&name, &value) {
            return Err(unknown(&name));
        }
        ours.insert(name, value);
    }
    Ok(ours)
}

/// The variable that was probably meant: the one with the longest common beginning.
fn unknown(name: &str) -> ConfigError {
    let common = |a: &str| a.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    let near = SETTINGS.iter().map(|setting| setting.env).max_by_key(|env| common(env));
    let near = near.filter(|env| common(env) > "SCANLOGIN_".len() + 2);
    let hint = near.map(|env| format!(" (did you mean {env}?)")).unwrap_or_default();
    ConfigError::new(name, format!("there is no such setting{hint}; --help lists all"))
}

/// Kubernetes describes every Service of a namespace in the environment of its pods; a Service
/// that is named `scanlogin` or `scanlogin-...` gives variables that look like ours.
fn is_kubernetes_service_variable(name: &str, value: &str) -> bool {
    const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];
    let is_address = |value: &str| {
        PROTOCOLS.iter().any(|p| {
            value
                .strip_prefix(p)
                .and_then(|rest| rest.strip_prefix("://"))
                .is_some_and(|rest| rest.parse::<SocketAddr>().is_ok() || rest.contains(':'))
        })
    };
    if name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
    {
        return true;
    }
    if name.ends_with("_PORT") && is_address(value) {
        return true;
    }
    // ..._PORT_80_TCP, and the same followed by _PROTO, _PORT or _ADDR.
    let Some((_, rest)) = name.split_once("_PORT_") else { return false };
    let parts: Vec<_> = rest.split('_').collect();
    let port_and_protocol = parts.len() >= 2
        && parts[0].parse::<u16>().is_ok()
        && PROTOCOLS.contains(&parts[1].to_lowercase().as_str());
    port_and_protocol
        && match parts.get(2..).unwrap_or_default() {
            [] => is_address(value),
            ["PROTO"] => PROTOCOLS.contains(&value),
            ["PORT"] => value.parse::<u16>().is_ok(),
            ["ADDR"] => value.parse::<IpAddr>().is_ok(),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_kubernetes_injects_are_ignored_and_no_others() {
        for (name, value) in [
            ("SCANLOGIN_SERVICE_HOST", "10.0.0.1"),
            ("SCANLOGIN_SERVICE_PORT", "80"),
            ("SCANLOGIN_ADMIN_SERVICE_PORT_METRICS", "8081"),
            ("SCANLOGIN_PORT", "tcp://10.0.0.1:80"),
            ("SCANLOGIN_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("SCANLOGIN_PORT_80_TCP_PROTO", "tcp"),
            ("SCANLOGIN_PORT_80_TCP_PORT", "80"),
            ("SCANLOGIN_PORT_80_TCP_ADDR", "10.0.0.1"),
        ] {
            assert!(is_kubernetes_service_variable(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("SCANLOGIN_PORT", "8080"),
            ("SCANLOGIN_PORT_80_TCP", "80"),
            ("SCANLOGIN_PORT_80_TCP_ADDR", "x"),
            ("SCANLOGIN_LISTENN", "tcp://10.0.0.1:80"),
        ] {
            assert!(!is_kubernetes_service_variable(name, value), "{name}={value}");
        }
    }
}
