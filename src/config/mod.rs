//! The configuration: read once, checked whole before anything is tried (spec section 6).

mod app_links;
mod choices;
mod command;
mod credentials;
mod otlp;
pub mod pem;
mod proxies;
mod redis_url;
mod source;
pub mod table;

use std::{fmt, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use ipnet::IpNet;
use url::Url;

use self::credentials::Credentials;
pub use self::{
    app_links::{AndroidApp, AppLinks},
    choices::{Confirm, Deliver, LogFormat, MatchWhen, ProxyHeader},
    command::TokenOrder,
    credentials::{AppKey, AppKeys, TokenKey, TokenKeys, WebhookSettings},
    otlp::Otlp,
    redis_url::{Node, RedisNodes, RedisUrl},
    source::{ConfigError, Parsed, Source, Values},
};
use crate::{
    keys::Entropy,
    login::{HistoryKey, MAX_CODES},
    origin::{Origins, is_loopback_host},
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

/// The Redis that instances share.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Where it is.
    pub url: RedisUrl,
    /// The beginning of every key.
    pub prefix: String,
    /// Who signed its certificate.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate and its key.
    pub client_identity: Option<(PathBuf, PathBuf)>,
}

/// The whole configuration. Every field is checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Browsers and phones.
    pub listen: SocketAddr,
    /// Metrics and health.
    pub admin_listen: SocketAddr,
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
        let redis = redis(values)?;
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
        let mut warnings = Vec::new();
        let app_issuer = values.get("SCANLOGIN_APP_JWT_ISSUER")?;
        let app_audience = values.get("SCANLOGIN_APP_JWT_AUDIENCE")?;
        if credentials.any_given && app_issuer.is_none() && app_audience.is_none() {
            warnings.push(
                "neither SCANLOGIN_APP_JWT_ISSUER nor SCANLOGIN_APP_JWT_AUDIENCE is set: every \
                 JWT signed by the app is accepted, whatever it was made for"
                    .into(),
            );
        }
        if redis.is_some() && public_url.is_none() {
            warnings.push(
                "SCANLOGIN_PUBLIC_URL is not set: the QR code's address is taken from each \
                 request's Host header"
                    .into(),
            );
        }
        let app_links = app_links::read(values)?;
        let is_https = public_url.as_ref().is_some_and(|url| url.scheme() == "https");
        let opens_apps = !app_links.apple.is_empty() || !app_links.android.is_empty();
        if opens_apps && !is_https {
            warnings.push(
                "SCANLOGIN_APPLE_APP_IDS and SCANLOGIN_ANDROID_APPS need SCANLOGIN_PUBLIC_URL to \
                 begin with https://: phones open apps for no other address"
                    .into(),
            );
        }
        // All instances that share a token secret accept each other's demo users.
        let demo = demo.then(|| crate::tokens::demo_secret(credentials.token.root()));
        let (confirm, match_when) = confirmation(values)?;
        let history_key = HistoryKey::derive(credentials.token.root());
        Ok(Self {
            listen,
            admin_listen: values.address("SCANLOGIN_ADMIN_LISTEN", "127.0.0.1:8081")?,
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
            warnings,
        })
    }

    /// Whether logins belong to the browser that asked, and browsers have a cookie to be known by.
    pub fn binds_browsers(&self) -> bool {
        self.deliver == Deliver::Ticket && self.ticket_binding
    }

    /// Whether the public listener can be reached from this machine only.
    pub fn listens_on_loopback(&self) -> bool {
        self.listen.ip().is_loopback()
    }
}

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

fn redis(values: &Values) -> Result<Option<Redis>, ConfigError> {
    let url = values.get("SCANLOGIN_REDIS_URL")?;
    let path =
        |name| -> Result<Option<PathBuf>, ConfigError> { Ok(values.get(name)?.map(PathBuf::from)) };
    let ca_file = path("SCANLOGIN_REDIS_CA_FILE")?;
    let cert = path("SCANLOGIN_REDIS_CERT_FILE")?;
    let key = path("SCANLOGIN_REDIS_KEY_FILE")?;
    let prefix = values.get("SCANLOGIN_REDIS_PREFIX")?.unwrap_or_else(|| "scanlogin:".into());
    if prefix.len() > 64 || !prefix.bytes().all(|b| b.is_ascii_graphic() && b != b'{' && b != b'}')
    {
        return Err(ConfigError::new(
            "SCANLOGIN_REDIS_PREFIX",
            "must be at most 64 printable ASCII characters without blanks and braces",
        ));
    }
    let Some(url) = url else { return Ok(None) };
    let url =
        RedisUrl::parse(&url).map_err(|what| ConfigError::new("SCANLOGIN_REDIS_URL", what))?;
    let client_identity = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(ConfigError::new(
                "SCANLOGIN_REDIS_KEY_FILE",
                "is missing beside SCANLOGIN_REDIS_CERT_FILE",
            ));
        }
        (None, Some(_)) => {
            return Err(ConfigError::new(
                "SCANLOGIN_REDIS_CERT_FILE",
                "is missing beside SCANLOGIN_REDIS_KEY_FILE",
            ));
        }
    };
    for (name, file) in [
        ("SCANLOGIN_REDIS_CA_FILE", ca_file.as_ref()),
        ("SCANLOGIN_REDIS_CERT_FILE", client_identity.as_ref().map(|(cert, _)| cert)),
        ("SCANLOGIN_REDIS_KEY_FILE", client_identity.as_ref().map(|(_, key)| key)),
    ] {
        if let Some(file) = file {
            if !url.tls {
                return Err(ConfigError::new(name, "needs a rediss:// URL"));
            }
            std::fs::read(file).map_err(|error| {
                ConfigError::new(name, format!("{} cannot be read: {error}", file.display()))
            })?;
        }
    }
    Ok(Some(Redis { url, prefix, ca_file, client_identity }))
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
    let bad = |what: String| ConfigError::new(name, what);
    let url = Url::parse(text.trim_end_matches('/'))
        .map_err(|error| bad(format!("'{text}' is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad(format!("'{text}' must begin with https:// or http:// and name a host")));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(bad(format!("'{text}' must not have a query, a fragment or a user")));
    }
    Ok(url)
}

fn log_filter(values: &Values) -> Result<String, ConfigError> {
    let text = values.get("SCANLOGIN_LOG")?.unwrap_or_else(|| "info".into());
    tracing_subscriber::EnvFilter::builder()
        .parse(&text)
        .map_err(|error| ConfigError::new("SCANLOGIN_LOG", format!("'{text}': {error}")))?;
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
        Demo::ByItself => Ok(!redis && !credentials.any_given && listen.ip().is_loopback()),
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
/// resolve to this machine (DNS rebinding) must not be.
pub fn host_is_served(config: &Config, host: &str) -> bool {
    if !config.listens_on_loopback() || config.origins != Origins::SameHost {
        return true;
    }
    let name = crate::origin::host_name(host);
    is_loopback_host(name)
        || config
            .public_url
            .as_ref()
            .and_then(Url::host_str)
            .is_some_and(|public| public.eq_ignore_ascii_case(name))
}
