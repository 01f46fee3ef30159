//! The bodies of the answers that are no refusals, as `/openapi.json` describes them.

#![expect(
    dead_code,
    reason = "read by their derived schemas; tests compare every answer with them"
)]

use schemars::JsonSchema;

/// One step was enough: the browser is logged in.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Approved {
    #[schemars(extend("const" = 100))]
    code: i32,
    #[schemars(extend("const" = "Sao successfully"))]
    msg: String,
    claim: Claim,
    /// Only where `?wait` asked for it.
    state: Option<State>,
}

/// The login is this user's to confirm or deny.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Claimed {
    #[schemars(extend("const" = 101))]
    code: i32,
    #[schemars(extend("const" = "Confirmation needed"))]
    msg: String,
    claim: Claim,
    /// Who asks. Only while nothing has been decided.
    browser: Option<Asker>,
    /// What speaks against it, and for it. Only while nothing has been decided.
    flags: Option<Vec<Flag>>,
    /// The confirmation must bring the number that the browser shows. Only while nothing has been
    /// decided.
    #[schemars(rename = "match", extend("const" = true))]
    number: Option<bool>,
}

/// What `/scan` answers: `SCANLOGIN_CONFIRM` decides which.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Scanned {
    /// With `off`.
    Approved(Approved),
    /// With `required`.
    Claimed(Claimed),
}

/// What a person needs to decide.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Asker {
    ip: String,
    user_agent: String,
    /// What a person recognises of it: "Firefox on Windows". As the user agent, what the asker says of itself.
    browser_name: String,
    /// The page's origin, as the asker says: a browser tells the truth, a program may say anything. Empty: no page.
    origin: String,
    /// Milliseconds since the browser asked.
    age_ms: u64,
}

/// What speaks against a login, or for it.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum Flag {
    /// The browser's address is not the phone's.
    AddressDiffers,
    /// This user has confirmed a login of a browser at that address in the last 90 days.
    AddressKnownToUser,
}

/// The claim: base64url without padding.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub(super) struct Claim(#[schemars(regex(pattern = r"^[A-Za-z0-9_-]{64}$"))] String);

/// Where a login stands.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum State {
    Waiting,
    Scanned,
    Approved,
    Delivered,
    Undelivered,
    Denied,
    Expired,
    Cancelled,
}

/// The login is confirmed.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Confirmed {
    #[schemars(extend("const" = 100))]
    code: i32,
    #[schemars(extend("const" = "Confirmed"))]
    msg: String,
    /// Only where `?wait` asked for it.
    state: Option<State>,
}

/// The login is declined.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Denied {
    #[schemars(extend("const" = 100))]
    code: i32,
    #[schemars(extend("const" = "Denied"))]
    msg: String,
}

/// The receipt. The code says only that the call worked.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Receipt {
    #[schemars(extend("const" = 100))]
    code: i32,
    #[schemars(extend("const" = "OK"))]
    msg: String,
    state: State,
}

/// The web token is good.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Verified {
    #[schemars(extend("const" = 100))]
    code: i32,
    #[schemars(extend("const" = "OK"))]
    msg: String,
    user: String,
    #[schemars(extend("const" = "web"))]
    platform: String,
    /// Seconds since the Unix epoch.
    expires_at: u64,
}

/// The web token is worth nothing any more.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct LoggedOut {
    #[schemars(extend("const" = 100))]
    code: i32,
    #[schemars(extend("const" = "Logged out"))]
    msg: String,
}

/// The user's web login.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct WebLogin {
    #[schemars(extend("const" = 100))]
    code: i32,
    #[schemars(extend("const" = "OK"))]
    msg: String,
    /// Seconds since the Unix epoch.
    since: u64,
    /// Absent where it was sealed with another secret.
    browser: Option<LoggedIn>,
}

/// The browser that is logged in.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct LoggedIn {
    ip: String,
    user_agent: String,
    /// What a person recognises of it: "Firefox on Windows".
    browser_name: String,
    /// The page's origin; empty where there is none.
    origin: String,
}

/// An app token of a demo user.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct DemoToken {
    #[schemars(extend("const" = 100))]
    code: i32,
    #[schemars(extend("const" = "OK"))]
    msg: String,
    token: String,
}

/// The next messages of a login.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct News {
    #[schemars(extend("const" = 100))]
    code: i32,
    #[schemars(extend("const" = "OK"))]
    msg: String,
    /// As on the socket.
    frames: Vec<Message>,
    /// The close code, where the login has left this line.
    close: Option<u16>,
}

/// A message of `scanlogin.v1`, described in the README.
#[derive(JsonSchema)]
pub(super) struct Message {
    r#type: String,
}

/// What the browser said is done.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Heard {
    #[schemars(extend("const" = 100))]
    code: i32,
    #[schemars(extend("const" = "OK"))]
    msg: String,
}
