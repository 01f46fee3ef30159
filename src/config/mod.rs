//! The configuration: read once, checked whole before anything is tried (spec section 6).

mod app_links;
mod choices;
mod command;
mod credentials;
mod otlp;
pub mod pem;
mod proxies;
mod redis;
mod redis_url;
mod source;
pub mod table;
pub(crate) mod text;
mod warnings;

use std::{fmt, net::SocketAddr, num::NonZeroU32, time::Duration};

use ipnet::IpNet;
use url::Url;

pub use self::{
    app_links::{AndroidApp, AppLinks},
    choices::{Confirm, Deliver, LogFormat, MatchWhen, ProxyHeader},
    command::TokenOrder,
    credentials::{AppKey, AppKeys, TokenKey, TokenKeys, WebhookSettings},
    otlp::Otlp,
    redis::Redis,
    redis_url::{Node, RedisNodes, RedisUrl},
    source::{ConfigError, Parsed, Source, Values},
};
use self::{credentials::Credentials, text::quoted};
use crate::{
    keys::Entropy,
    login::{HistoryKey, MAX_CODES},
    origin::{HostPort, Origins, is_loopback},
};

/// Bytes that must not be seen.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps them.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for whoever signs or verifies with them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Shortest secret that is accepted: HS256 wants a key as long as its hash (RFC 7518, 3.2).
pub const MIN_SECRET: usize = 32;

/// The whole configuration. Every field is checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Browsers and phones.
    pub listen: SocketAddr,
    /// Metrics and health.
    pub admin_listen: SocketAddr,
    /// What `/revoke` demands; `None`: nothing.
    pub admin_token: Option<Secret>,
    /// `None`: the embedded store.
    pub redis: Option<Redis>,
    /// Without a slash at its end.
    pub public_url: Option<Url>,
    /// What phones may be told of the app.
    pub app_links: AppLinks,
    /// Verifies the app's JWT.
    pub app_keys: AppKeys,
    /// The `iss` it must have.
    pub app_issuer: Option<String>,
    /// The `aud` it must have.
    pub app_audience: Option<String>,
    /// Signs web tokens.
    pub token_keys: TokenKeys,
    /// Their `iss`.
    pub token_issuer: String,
    /// Their `aud`.
    pub token_audience: Option<String>,
    /// Lifetime of a waiting login.
    pub wait: Duration,
    /// Time between two codes; `None`: one code.
    pub rotate: Option<Duration>,
    /// How long an approved login can be collected.
    pub collect: Duration,
    /// Lifetime of a web login.
    pub token_ttl: Duration,
    /// One step or two.
    pub confirm: Confirm,
    /// The token itself, or a ticket.
    pub deliver: Deliver,
    /// Whether a ticket is good in the browser alone that asked for the login.
    pub ticket_binding: bool,
    /// Number matching.
    pub match_when: MatchWhen,
    /// The key of what is remembered of users.
    pub history_key: HistoryKey,
    /// Whose pages may log in here.
    pub origins: Origins,
    /// Our own proxies.
    pub trusted_proxies: Vec<IpNet>,
    /// What they tell the address in.
    pub proxy_header: ProxyHeader,
    /// Most waiting sockets.
    pub max_waiting: usize,
    /// Most connections of one client address; 0: any number.
    pub connections_per_address: usize,
    /// New logins per client address; `None`: unlimited.
    pub connects_per_minute: Option<NonZeroU32>,
    /// Scans per user; `None`: unlimited.
    pub scans_per_minute: Option<NonZeroU32>,
    /// Forged tokens per client address; `None`: unlimited.
    pub bad_tokens_per_minute: Option<NonZeroU32>,
    /// Logins of one user that may wait for a confirmation at once; `None`: unlimited.
    pub claims_per_user: Option<NonZeroU32>,
    /// The time over which waiting browsers are sent elsewhere.
    pub drain: Duration,
    /// Socket threads.
    pub workers: usize,
    /// Filter of the log.
    pub log: String,
    /// Its looks.
    pub log_format: LogFormat,
    /// Lines about single logins; `None`: all.
    pub log_lines_per_second: Option<NonZeroU32>,
    /// Where traces go; `None`: nowhere.
    pub otlp: Option<Otlp>,
    /// Demo page and users; the key with which demo users' app tokens are signed.
    pub demo: Option<Secret>,
    /// No secret is given: random ones were made, for this run.
    pub secrets_made_up: bool,
    /// What is legal and yet wants to be said.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// [`ConfigError`] with the variable, what was wrong, and an example.
    pub fn from_values(values: &Values, entropy: Entropy) -> Result<Self, ConfigError> {
        let listen: SocketAddr = values.address("SCANLOGIN_LISTEN", "127.0.0.1:8080")?;
        let redis = redis::read(values)?;
        let credentials = credentials::read(values, redis.is_none(), entropy)?;
        let wait = values.number("SCANLOGIN_WAIT_SECONDS", 120, 1..=900)?;
        let rotate = values.number("SCANLOGIN_ROTATE_SECONDS", 30.min(wait), 0..=900)?;
        check_rotation(wait, rotate)?;
        let origins = match values.get("SCANLOGIN_ALLOWED_ORIGINS")? {
            None => Origins::SameHost,
            Some(text) => Origins::parse(&text)
                .map_err(|what| ConfigError::new("SCANLOGIN_ALLOWED_ORIGINS", what))?,
        };
        let deliver = values.choice(
            "SCANLOGIN_DELIVER",
            &[("token", Deliver::Token), ("ticket", Deliver::Ticket)],
        )?;
        if deliver == Deliver::Ticket && !matches!(origins, Origins::Listed(_)) {
            let what = "ticket needs SCANLOGIN_ALLOWED_ORIGINS to list the pages' exact origins \
                        (it is unset, or *): only they may set the cookie";
            return Err(ConfigError::new("SCANLOGIN_DELIVER", what));
        }
        let public_url = match values.get("SCANLOGIN_PUBLIC_URL")? {
            None => None,
            Some(text) => Some(base_url("SCANLOGIN_PUBLIC_URL", &text)?),
        };
        let demo = demo(values, redis.is_some(), &credentials, listen)?;
        let app_issuer = values.get("SCANLOGIN_APP_JWT_ISSUER")?;
        let app_audience = values.get("SCANLOGIN_APP_JWT_AUDIENCE")?;
        let admin_listen = values.address("SCANLOGIN_ADMIN_LISTEN", "127.0.0.1:8081")?;
        let admin_token = credentials::admin_token(values)?;
        let app_links = app_links::read(values)?;
        // All instances that share a token secret accept each other's demo users.
        let demo = demo.then(|| crate::tokens::demo_secret(credentials.token.root()));
        let (confirm, match_when) = confirmation(values)?;
        let history_key = HistoryKey::derive(credentials.token.root());
        let mut config = Self {
            listen,
            admin_listen,
            admin_token,
            redis,
            public_url,
            app_links,
            app_keys: credentials.app,
            app_issuer,
            app_audience,
            token_keys: credentials.token,
            token_issuer: values
                .get("SCANLOGIN_TOKEN_ISSUER")?
                .unwrap_or_else(|| "scanlogin".into()),
            token_audience: values.get("SCANLOGIN_TOKEN_AUDIENCE")?,
            wait: Duration::from_secs(wait),
            rotate: (rotate > 0).then(|| Duration::from_secs(rotate)),
            collect: Duration::from_secs(values.number("SCANLOGIN_RESUME_SECONDS", 60, 1..=300)?),
            token_ttl: Duration::from_secs(values.number(
                "SCANLOGIN_TOKEN_TTL_SECONDS",
                2_592_000,
                60..=31_536_000,
            )?),
            confirm,
            match_when,
            history_key,
            deliver,
            ticket_binding: values
                .choice("SCANLOGIN_TICKET_BINDING", &[("on", true), ("off", false)])?,
            origins,
            trusted_proxies: proxies::trusted(values)?,
            proxy_header: values.choice(
                "SCANLOGIN_PROXY_HEADER",
                &[
                    ("x-forwarded-for", ProxyHeader::XForwardedFor),
                    ("forwarded", ProxyHeader::Forwarded),
                ],
            )?,
            max_waiting: values.number("SCANLOGIN_MAX_WAITING", 200_000, 1..=10_000_000)? as usize,
            connections_per_address: values.number(
                "SCANLOGIN_CONNECTIONS_PER_ADDRESS",
                0,
                0..=10_000_000,
            )? as usize,
            connects_per_minute: NonZeroU32::new(values.number(
                "SCANLOGIN_CONNECTS_PER_MINUTE",
                600,
                0..=100_000_000,
            )? as u32),
            scans_per_minute: NonZeroU32::new(values.number(
                "SCANLOGIN_SCANS_PER_MINUTE",
                30,
                0..=100_000_000,
            )? as u32),
            bad_tokens_per_minute: NonZeroU32::new(values.number(
                "SCANLOGIN_BAD_TOKENS_PER_MINUTE",
                600,
                0..=100_000_000,
            )? as u32),
            claims_per_user: NonZeroU32::new(values.number(
                "SCANLOGIN_CLAIMS_PER_USER",
                5,
                0..=1000,
            )? as u32),
            drain: Duration::from_secs(values.number("SCANLOGIN_DRAIN_SECONDS", 20, 0..=3600)?),
            workers: values.number("SCANLOGIN_WORKERS", cores(), 1..=1024)? as usize,
            log: log_filter(values)?,
            log_format: values.choice(
                "SCANLOGIN_LOG_FORMAT",
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            )?,
            log_lines_per_second: NonZeroU32::new(values.number(
                "SCANLOGIN_LOG_LINES_PER_SECOND",
                500,
                0..=1_000_000,
            )? as u32),
            otlp: otlp::read(values)?,
            demo,
            secrets_made_up: !credentials.any_given,
            warnings: Vec::new(),
        };
        config.warnings = warnings::of(&config, credentials.app_given);
        Ok(config)
    }

    /// Whether logins belong to the browser that asked, and browsers have a cookie to be known by.
    pub fn binds_browsers(&self) -> bool {
        self.deliver == Deliver::Ticket && self.ticket_binding
    }

    /// Whether the public listener can be reached from this machine only.
    pub fn listens_on_loopback(&self) -> bool {
        is_loopback_address(self.listen)
    }
}

/// Whether a listener there can be reached from this machine only.
pub fn is_loopback_address(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

/// Whether the person confirms, and with a number or not: a number needs a confirmation to bring it.
fn confirmation(values: &Values) -> Result<(Confirm, MatchWhen), ConfigError> {
    let confirm = values
        .choice("SCANLOGIN_CONFIRM", &[("off", Confirm::Off), ("required", Confirm::Required)])?;
    let matching =
        [("off", MatchWhen::Off), ("risky", MatchWhen::Risky), ("always", MatchWhen::Always)];
    let match_when = values.choice("SCANLOGIN_MATCH", &matching)?;
    if match_when != MatchWhen::Off && confirm == Confirm::Off {
        return Err(ConfigError::new(
            "SCANLOGIN_MATCH",
            "needs SCANLOGIN_CONFIRM=required: the number is typed at the confirmation",
        ));
    }
    Ok((confirm, match_when))
}

fn check_rotation(wait: u64, rotate: u64) -> Result<(), ConfigError> {
    let what = if rotate == 0 {
        return Ok(());
    } else if rotate > wait || (rotate < 5 && rotate != wait) {
        format!("must be 0, or from 5 up to SCANLOGIN_WAIT_SECONDS ({wait}), not {rotate}")
    } else if wait.div_ceil(rotate) > u64::from(MAX_CODES) {
        format!("{rotate} would make more than {MAX_CODES} codes in {wait} seconds")
    } else {
        return Ok(());
    };
    Err(ConfigError::new("SCANLOGIN_ROTATE_SECONDS", what))
}

/// An address below which others begin.
fn base_url(name: &'static str, text: &str) -> Result<Url, ConfigError> {
    let bad = |what: &str| ConfigError::new(name, format!("{} {what}", quoted(text)));
    let url = Url::parse(text.trim_end_matches('/'))
        .map_err(|error| bad(&format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("must begin with https:// or http:// and name a host"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("must not have a query or a fragment"));
    }
    Ok(url)
}

fn log_filter(values: &Values) -> Result<String, ConfigError> {
    let text = values.get("SCANLOGIN_LOG")?.unwrap_or_else(|| "info".into());
    tracing_subscriber::EnvFilter::builder().parse(&text).map_err(|error| {
        ConfigError::new("SCANLOGIN_LOG", format!("{}: {error}", quoted(&text)))
    })?;
    Ok(text)
}

/// Whether the demo is on.
fn demo(
    values: &Values,
    redis: bool,
    credentials: &Credentials,
    listen: SocketAddr,
) -> Result<bool, ConfigError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Demo {
        ByItself,
        True,
        False,
        Unsafe,
    }
    let demo = if values.is_set("SCANLOGIN_DEMO") {
        values.choice(
            "SCANLOGIN_DEMO",
            &[("true", Demo::True), ("false", Demo::False), ("unsafe", Demo::Unsafe)],
        )?
    } else {
        Demo::ByItself
    };
    match demo {
        Demo::ByItself => Ok(!redis && !credentials.any_given && is_loopback_address(listen)),
        Demo::False => Ok(false),
        Demo::Unsafe => Ok(true),
        Demo::True if credentials.app_given || redis => Err(ConfigError::new(
            "SCANLOGIN_DEMO",
            "true beside an app secret or key, or Redis, would let anybody log in as a demo user; \
             'unsafe' does it all the same",
        )),
        Demo::True => Ok(true),
    }
}

/// Whether a `Host` may be served by a loopback listener: a page elsewhere whose name is made to
/// resolve to this machine (DNS rebinding) must not be. Who sends none is no browser.
pub fn host_is_served(config: &Config, host: Option<&str>) -> bool {
    let Some(host) = host else { return true };
    if !config.listens_on_loopback() || config.origins != Origins::SameHost {
        return true;
    }
    let Some(host) = HostPort::parse(host).and_then(|host| host.host()) else { return false };
    let public = config.public_url.as_ref().and_then(Url::host);
    is_loopback(&host) || public.is_some_and(|public| public == host)
}
