//! The command line, made from the table of settings.

use std::{collections::BTreeMap, ffi::OsString};

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    builder::NonEmptyStringValueParser,
    error::{ContextKind, ContextValue},
    value_parser,
};
use clap_complete::Shell;

use super::{
    source::ConfigError,
    table::{Kind, SETTINGS, Setting, sections},
};

const SECRETS: &str = "Secrets are never flags: they come from the environment, or from a file \
                       named by <NAME>_FILE:";
const EXIT_CODES: &str = "Exit codes: 0 stopped as asked, 1 a part of the service died, 2 wrong \
                          configuration, or an address or Redis that cannot be used at the start";

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    Run,
    CheckConfig,
    Token(TokenOrder),
    /// Shows this, and nothing else.
    Show(Vec<u8>),
}

/// What `scanlogin token` is to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOrder {
    /// The `sub`.
    pub user: String,
    /// The `name` that the browser shows.
    pub name: Option<String>,
    /// The `picture` that the browser shows.
    pub picture: Option<String>,
    /// Seconds that it is good for; `None`: an hour.
    pub ttl: Option<u64>,
    /// A file with the secret, instead of the configured one.
    pub secret_file: Option<String>,
    /// A file with the private key (PEM), for a service that knows the public one.
    pub private_key_file: Option<String>,
}

/// Reads the command line: the order, and the settings that are flags.
pub(super) fn parse(
    args: impl IntoIterator<Item = OsString>,
) -> Result<(Order, BTreeMap<&'static str, String>), ConfigError> {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        // --help and --version
        Err(error) if !error.use_stderr() => {
            return Ok((Order::Show(error.to_string().into_bytes()), BTreeMap::new()));
        }
        Err(error) => {
            let text = without_values(&error);
            // What is missing stands in lines of its own; usage and tips follow a blank one.
            let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
            let what = lines.collect::<Vec<_>>().join(" ");
            let what = what.trim_start_matches("error: ");
            return Err(ConfigError::new("command line", format!("{what}; see --help")));
        }
    };
    let mut flags = settings_of(&matches);
    let order = match matches.subcommand() {
        None => Order::Run,
        Some(("check-config", given)) => {
            // Before or after the word: whoever checks a command line puts the word where it fits.
            flags.extend(settings_of(given));
            Order::CheckConfig
        }
        Some(("token", given)) => {
            flags.extend(settings_of(given));
            Order::Token(token_order(given))
        }
        Some(("completions", given)) => {
            Order::Show(completions_for(*given.get_one("shell").expect("a required argument")))
        }
        Some((_, given)) => {
            let page = given.get_one::<String>("command");
            Order::Show(manual_of(page.map(String::as_str)).expect("memory can be written to"))
        }
    };
    Ok((order, flags))
}

/// An error's text without what was typed, which may be a secret: only words such as flags have are
/// repeated.
fn without_values(error: &clap::Error) -> String {
    let is_word = |text: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        text.len() <= if text.starts_with("--") { 40 } else { 16 } && text.bytes().all(plain)
    };
    let typed = error.context().filter_map(|(kind, value)| match (kind, value) {
        (
            ContextKind::InvalidArg | ContextKind::InvalidSubcommand | ContextKind::InvalidValue,
            ContextValue::String(typed),
        ) => Some(typed),
        _ => None,
    });
    // `--wait-seconds <VALUE>` is ours.
    let foreign = typed.filter(|typed| {
        !typed.is_empty() && !is_word(typed.split_once(" <").map_or(typed, |(flag, _)| flag))
    });
    foreign.fold(error.to_string(), |text, typed| text.replace(typed, "..."))
}

fn settings_of(matches: &ArgMatches) -> BTreeMap<&'static str, String> {
    let value = |setting: &Setting| {
        let value = matches.try_get_one::<String>(setting.env).ok().flatten()?;
        Some((setting.env, value.clone()))
    };
    SETTINGS.iter().filter_map(value).collect()
}

fn token_order(given: &ArgMatches) -> TokenOrder {
    let text = |name| given.get_one::<String>(name).cloned();
    TokenOrder {
        user: text("user").expect("a required argument"),
        name: text("name"),
        picture: text("picture"),
        ttl: given.get_one("ttl").copied(),
        secret_file: text("secret-file"),
        private_key_file: text("private-key-file"),
    }
}

/// The flags of these settings, under their headings.
fn flags(wanted: impl Fn(&Setting) -> bool) -> Vec<Arg> {
    let sections = sections()
        .flat_map(|(heading, settings)| settings.iter().map(move |setting| (heading, setting)));
    sections
        .filter(|(_, setting)| setting.kind == Kind::Open && wanted(setting))
        .map(|(heading, setting)| {
            Arg::new(setting.env)
                .long(setting.flag())
                .value_name("VALUE")
                .action(ArgAction::Set)
                .help_heading(heading)
                .help(format!("{} [{}] [default: {}]", setting.help, setting.env, setting.default))
        })
        .collect()
}

/// The whole command line.
fn command() -> Command {
    let secrets = SETTINGS
        .iter()
        .filter(|setting| setting.kind == Kind::Secret)
        .map(|setting| format!("  {}\n          {}\n", setting.env, setting.help))
        .collect::<String>();
    Command::new("scanlogin")
        .version(clap::crate_version!())
        .long_version(crate::VERSION)
        .about(clap::crate_description!())
        .long_about(format!(
            "{}.\n\nWithout any setting: an embedded store and the demo, on http://127.0.0.1:8080/. \
             Each flag has an environment variable of the same name; the flag wins.",
            clap::crate_description!()
        ))
        .args(flags(|_| true))
        .subcommand_value_name("COMMAND")
        .subcommand(check_config())
        .subcommand(token())
        .subcommand(completions())
        .subcommand(manual())
        // Its own page says no more than --help does.
        .disable_help_subcommand(true)
        .after_help("Secrets are never flags; --help names them")
        .after_long_help(format!("{SECRETS}\n{secrets}\n{EXIT_CODES}"))
}

fn check_config() -> Command {
    Command::new("check-config")
        .about("Check the whole configuration, show it without its secrets, and start nothing")
        .long_about(
            "Checks the whole configuration, shows each setting with its value and where it comes \
             from, secrets left out, and says what the start would warn about. Starts nothing, and \
             asks nobody: whether Redis answers and the addresses are free is not checked. Takes \
             the same flags and variables as the start. Exit codes: 0 good, 2 wrong",
        )
        .args(flags(|_| true))
}

fn token() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name(value)
            .value_parser(NonEmptyStringValueParser::new())
            .help(help)
    };
    Command::new("token")
        .about("Make an app token, as the app's backend would: for trying things")
        .long_about(
            "Makes an app token, as the app's backend would, for trying things, and prints it. It \
             is signed with SCANLOGIN_APP_JWT_SECRET (or --secret-file), or with the private key \
             whose public one the service knows (--private-key-file). Where neither is given, a \
             demo that runs at SCANLOGIN_LISTEN is asked for the token of one of its users",
        )
        .arg(text("user", "USER", "The user: the token's `sub`").required(true))
        .arg(text("name", "NAME", "The name that the browser shows"))
        .arg(text("picture", "URL", "The picture that the browser shows"))
        .arg(
            Arg::new("ttl")
                .long("ttl")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64).range(1..=31_536_000))
                .help("How long it is good for [default: 3600]"),
        )
        .arg(
            text("secret-file", "FILE", "The file with the secret (HS256)")
                .conflicts_with("private-key-file"),
        )
        .arg(text(
            "private-key-file",
            "FILE",
            "The file with the private key (PEM; RSA: RS256, P-256: ES256, Ed25519: EdDSA)",
        ))
        .args(flags(|setting| {
            ["SCANLOGIN_APP_JWT_ISSUER", "SCANLOGIN_APP_JWT_AUDIENCE", "SCANLOGIN_LISTEN"]
                .contains(&setting.env)
        }))
}

fn completions() -> Command {
    Command::new("completions")
        .about("Print a shell's completions, such as for ~/.bash_completion")
        .arg(
            Arg::new("shell")
                .required(true)
                .value_name("SHELL")
                .value_parser(value_parser!(Shell))
                .help("The shell"),
        )
}

fn manual() -> Command {
    Command::new("man").about("Print the manual (roff): scanlogin man | man -l -").arg(
        Arg::new("command")
            .value_name("COMMAND")
            .value_parser(["check-config", "token", "completions"])
            .help("The manual of this subcommand"),
    )
}

/// The completions for a shell.
fn completions_for(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "scanlogin", &mut text);
    text
}

/// The manual as roff.
fn manual_of(name: Option<&str>) -> std::io::Result<Vec<u8>> {
    let mut command = command();
    command.build();
    let wanted = match name {
        None => command,
        Some(name) => {
            let found = command.find_subcommand(name).expect("one of the allowed values").clone();
            let full = format!("scanlogin-{name}");
            found.name(full)
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(wanted).render(&mut text)?;
    Ok(text)
}
