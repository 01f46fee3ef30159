//! Every setting, once: the parser, `--help` and the README's table are made from this list.

/// How a setting may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A flag and its environment twin.
    Open,
    /// Never a flag (a process list would show it): environment, or a file named by `<NAME>_FILE`.
    Secret,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable.
    pub env: &'static str,
    /// The default, as people read it.
    pub default: &'static str,
    /// A value that works.
    pub example: &'static str,
    /// What it does.
    pub help: &'static str,
    /// How it may be given.
    pub kind: Kind,
}

impl Setting {
    /// The flag's name without the dashes in front: `SCANLOGIN_WAIT_SECONDS` -> `wait-seconds`.
    pub fn flag(&self) -> String {
        self.env.trim_start_matches("SCANLOGIN_").to_lowercase().replace('_', "-")
    }
}

const fn open(
    env: &'static str,
    default: &'static str,
    example: &'static str,
    help: &'static str,
) -> Setting {
    Setting { env, default, example, help, kind: Kind::Open }
}

const fn secret(env: &'static str, example: &'static str, help: &'static str) -> Setting {
    Setting { env, default: "none", example, help, kind: Kind::Secret }
}

/// The settings, in the order in which people read them.
pub static SETTINGS: &[Setting] = &[
    open("SCANLOGIN_LISTEN", "127.0.0.1:8080", "0.0.0.0:8080", "Where browsers and phones connect"),
    open(
        "SCANLOGIN_ADMIN_LISTEN",
        "127.0.0.1:8081",
        "0.0.0.0:8081",
        "Where /metrics, /livez, /readyz and /revoke are; never on the public port",
    ),
    secret(
        "SCANLOGIN_ADMIN_TOKEN",
        "an-admin-token-of-32-bytes-or-more",
        "What POST /revoke demands as `Authorization: Bearer`; without it, whoever reaches the admin \
         port may end web logins",
    ),
    secret(
        "SCANLOGIN_REDIS_URL",
        "redis://127.0.0.1:6379/0",
        "The Redis that the instances share: redis://, rediss://, redis+sentinel://, redis+cluster:// \
         (with s: rediss+...). Without it: an embedded store, for one process",
    ),
    open(
        "SCANLOGIN_REDIS_PREFIX",
        "scanlogin:",
        "scanlogin:",
        "The beginning of every key in Redis",
    ),
    open(
        "SCANLOGIN_REDIS_CA_FILE",
        "none",
        "/etc/scanlogin/redis-ca.pem",
        "The authority that signed Redis's certificate (PEM), instead of the system's",
    ),
    open(
        "SCANLOGIN_REDIS_CERT_FILE",
        "none",
        "/etc/scanlogin/redis-client.pem",
        "Our own certificate towards Redis (PEM)",
    ),
    open(
        "SCANLOGIN_REDIS_KEY_FILE",
        "none",
        "/etc/scanlogin/redis-client.key",
        "The key of our own certificate towards Redis (PEM)",
    ),
    open(
        "SCANLOGIN_PUBLIC_URL",
        "from the request",
        "https://login.example.com",
        "Where the outside finds this service; the QR code holds <public url>/s#<key>",
    ),
    open(
        "SCANLOGIN_APP_NAME",
        "none",
        "Example",
        "The phone app's name, for the page that a phone without the app sees at <public url>/s",
    ),
    open(
        "SCANLOGIN_APP_LINKS",
        "none",
        "https://apps.apple.com/app/id123456789,https://play.google.com/store/apps/details?id=com.example.app",
        "Where a phone gets the app (https, comma-separated, at most 8), for the same page",
    ),
    open(
        "SCANLOGIN_APPLE_APP_IDS",
        "none",
        "ABCDE12345.com.example.app",
        "The iOS apps that open <public url>/s, as team id and bundle id (comma-separated): makes \
         /.well-known/apple-app-site-association",
    ),
    open(
        "SCANLOGIN_ANDROID_APPS",
        "none",
        "com.example.app:14:6D:E9:83:C5:73:06:50:D8:EE:B9:95:2F:34:FC:64:16:A0:83:42:E6:1D:BE:A8:8A:04:96:B2:3F:CF:44:E5",
        "The Android apps that open <public url>/s, as package and SHA-256 fingerprint of its \
         certificate (comma-separated): makes /.well-known/assetlinks.json",
    ),
    secret(
        "SCANLOGIN_APP_JWT_SECRET",
        "a-shared-secret-of-32-bytes-or-more",
        "The secret with which the phone app's own JWT is signed (HS256); exactly one of this, \
         SCANLOGIN_APP_JWT_PUBLIC_KEY_FILE and SCANLOGIN_APP_JWKS_URL",
    ),
    secret(
        "SCANLOGIN_APP_JWT_SECRET_PREVIOUS",
        "the-secret-before-of-32-bytes-or-more",
        "A further secret that is accepted while the app's is rotated",
    ),
    open(
        "SCANLOGIN_APP_JWT_PUBLIC_KEY_FILE",
        "none",
        "/etc/scanlogin/app-jwt.pem",
        "The public keys that verify the phone app's own JWT (PEM; RSA: RS256, P-256: ES256, \
         Ed25519: EdDSA)",
    ),
    open(
        "SCANLOGIN_APP_JWKS_URL",
        "none",
        "https://accounts.example.com/.well-known/jwks.json",
        "The key set that verifies the phone app's own JWT (RS256, ES256, EdDSA); https, or http \
         to a loopback host",
    ),
    open(
        "SCANLOGIN_APP_JWT_ISSUER",
        "none",
        "https://accounts.example.com",
        "The `iss` that the app's JWT must have",
    ),
    open(
        "SCANLOGIN_APP_JWT_AUDIENCE",
        "none",
        "scanlogin",
        "The `aud` that the app's JWT must have",
    ),
    secret(
        "SCANLOGIN_TOKEN_SECRET",
        "another-secret-of-32-bytes-or-more-",
        "The secret with which web tokens are signed (HS256); exactly one of this, \
         SCANLOGIN_TOKEN_PRIVATE_KEY_FILE and SCANLOGIN_TOKEN_WEBHOOK_URL",
    ),
    secret(
        "SCANLOGIN_TOKEN_SECRET_PREVIOUS",
        "the-secret-before-of-32-bytes-or-more",
        "A further secret with which web tokens are accepted, never signed, while it is rotated",
    ),
    open(
        "SCANLOGIN_TOKEN_PRIVATE_KEY_FILE",
        "none",
        "/etc/scanlogin/token.pem",
        "The private keys of web tokens (PEM; RSA: RS256, P-256: ES256, Ed25519: EdDSA): the first \
         signs, all are accepted and listed in /.well-known/jwks.json",
    ),
    open(
        "SCANLOGIN_TOKEN_WEBHOOK_URL",
        "none",
        "https://accounts.example.com/scanlogin",
        "The server that makes the tokens in our place; https, or http to a loopback host \
         (docs/webhook.md)",
    ),
    secret(
        "SCANLOGIN_TOKEN_WEBHOOK_SECRET",
        "a-webhook-secret-of-32-bytes-or-more",
        "The secret with which calls of the webhook are signed",
    ),
    open(
        "SCANLOGIN_TOKEN_ISSUER",
        "scanlogin",
        "https://login.example.com",
        "The web token's `iss`",
    ),
    open("SCANLOGIN_TOKEN_AUDIENCE", "none", "https://www.example.com", "The web token's `aud`"),
    open("SCANLOGIN_WAIT_SECONDS", "120", "120", "How long a browser waits for a scan: 1 to 900"),
    open(
        "SCANLOGIN_ROTATE_SECONDS",
        "30",
        "30",
        "How often a waiting browser gets a new code (JSON protocol): 0 for never, or 5 up to the \
         wait, at most 32 codes a login",
    ),
    open(
        "SCANLOGIN_RESUME_SECONDS",
        "60",
        "60",
        "How long an approved login can be collected: 1 to 300",
    ),
    open(
        "SCANLOGIN_TOKEN_TTL_SECONDS",
        "2592000",
        "2592000",
        "How long a web login lasts: 60 to 31536000",
    ),
    open(
        "SCANLOGIN_CONFIRM",
        "off",
        "required",
        "Whether the person must confirm after the scan: off, required (what production should run)",
    ),
    open(
        "SCANLOGIN_DELIVER",
        "token",
        "ticket",
        "What the browser gets: token (in a frame, for the page's scripts), ticket (for POST /redeem, \
         which sets a cookie that no script can read; needs SCANLOGIN_ALLOWED_ORIGINS)",
    ),
    open(
        "SCANLOGIN_TICKET_BINDING",
        "on",
        "off",
        "Whether a ticket is good only in the browser that asked for the login, which is known by a \
         cookie: on, off (where cookies cannot come along: a server redeems, or the page is on \
         another site than this service)",
    ),
    open(
        "SCANLOGIN_MATCH",
        "off",
        "risky",
        "Whether the person must type two digits that the browser shows: off, risky (the browser's \
         address is neither the phone's nor one that the user has confirmed before), always. Needs \
         SCANLOGIN_CONFIRM=required",
    ),
    open(
        "SCANLOGIN_ALLOWED_ORIGINS",
        "the host of the public URL, else of the request",
        "https://www.example.com,https://shop.example.com",
        "The origins whose pages may log in here, exact and comma-separated, of apps and extensions \
         too (capacitor://localhost, chrome-extension://<id>); * for any",
    ),
    open(
        "SCANLOGIN_TRUSTED_PROXIES",
        "none",
        "10.0.0.0/8,fd00::/8",
        "The networks of our own proxies (CIDR): only they are believed about a client's address",
    ),
    open(
        "SCANLOGIN_PROXY_HEADER",
        "x-forwarded-for",
        "forwarded",
        "The header in which trusted proxies tell the client's address: x-forwarded-for, forwarded",
    ),
    open(
        "SCANLOGIN_MAX_WAITING",
        "200000",
        "200000",
        "Most waiting sockets of this instance; past it 503 before the upgrade. As many logins may wait \
         for browsers that were cut off, a quarter of them for one client address (IPv6: /64)",
    ),
    open(
        "SCANLOGIN_CONNECTIONS_PER_ADDRESS",
        "0",
        "200",
        "Most connections of one client address (IPv6: per /64) and instance at once; behind trusted \
         proxies most waiting sockets and held calls; 0 = unlimited",
    ),
    open(
        "SCANLOGIN_CONNECTS_PER_MINUTE",
        "600",
        "600",
        "New logins per client address (IPv6: per /64) and instance; resumes have ten times that; \
         0 = unlimited",
    ),
    open(
        "SCANLOGIN_SCANS_PER_MINUTE",
        "30",
        "30",
        "Scans, confirmations and denials per user and instance; 0 = unlimited",
    ),
    open(
        "SCANLOGIN_BAD_TOKENS_PER_MINUTE",
        "600",
        "600",
        "Calls with a token that nobody has signed who may, per client address (IPv6: per /64) and \
         instance; past it 429 instead of 401, good tokens go on; 0 = unlimited",
    ),
    open(
        "SCANLOGIN_CLAIMS_PER_USER",
        "5",
        "5",
        "Logins of one user that may wait for a confirmation at once, per instance; 0 = unlimited",
    ),
    open(
        "SCANLOGIN_DRAIN_SECONDS",
        "20",
        "20",
        "The time over which waiting browsers are sent elsewhere after SIGTERM: 0 to 3600",
    ),
    open("SCANLOGIN_WORKERS", "number of cores", "4", "Threads that serve sockets: at least 1"),
    open(
        "SCANLOGIN_LOG",
        "info",
        "info,scanlogin=debug",
        "What is logged: a level, or a filter as of tracing-subscriber",
    ),
    open("SCANLOGIN_LOG_FORMAT", "text", "json", "How it is logged: text, json"),
    open(
        "SCANLOGIN_LOG_LINES_PER_SECOND",
        "500",
        "500",
        "Lines about single logins that are logged a second, some three a login; past it about a \
         share of the logins, the same on every instance; 0 = all",
    ),
    open(
        "SCANLOGIN_OTLP_ENDPOINT",
        "none",
        "http://collector:4318",
        "The OpenTelemetry collector that gets traces: OTLP over HTTP, at /v1/traces of this address",
    ),
    open(
        "SCANLOGIN_OTLP_ONE_IN",
        "1",
        "100",
        "Of so many logins one is traced, the same on every instance: 1 to 1000000. Calls that \
         bring a traceparent follow it",
    ),
    open(
        "SCANLOGIN_DEMO",
        "true with the embedded store, no secret and a loopback listener, else false",
        "true",
        "Demo page, phone simulator and demo users: true, false; unsafe = true even beside an app \
         secret or Redis",
    ),
];

/// The headings of `--help`, each with the setting that it stands above.
pub static HEADINGS: &[(&str, &str)] = &[
    ("SCANLOGIN_LISTEN", "Addresses"),
    ("SCANLOGIN_REDIS_URL", "Redis"),
    ("SCANLOGIN_PUBLIC_URL", "What phones open"),
    ("SCANLOGIN_APP_JWT_SECRET", "The app's own tokens"),
    ("SCANLOGIN_TOKEN_SECRET", "Web tokens"),
    ("SCANLOGIN_WAIT_SECONDS", "Times"),
    ("SCANLOGIN_CONFIRM", "How a login goes"),
    ("SCANLOGIN_ALLOWED_ORIGINS", "Who may ask, and how much"),
    ("SCANLOGIN_DRAIN_SECONDS", "Operation"),
];

/// The settings under their headings.
pub fn sections() -> impl Iterator<Item = (&'static str, &'static [Setting])> {
    let place = |env: &str| SETTINGS.iter().position(|setting| setting.env == env);
    HEADINGS.iter().enumerate().map(move |(index, (first, heading))| {
        let from = place(first).expect("a setting of the table");
        let to = HEADINGS.get(index + 1).and_then(|(next, _)| place(next));
        (*heading, &SETTINGS[from..to.unwrap_or(SETTINGS.len())])
    })
}

/// The setting of this name.
///
/// # Panics
/// If there is none: names are written in this crate only.
pub fn setting(env: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.env == env).expect("a setting of the table")
}
