//! Settings that are one of a few words.

/// Whether a scan alone logs the browser in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// One step.
    Off,
    /// The person must confirm.
    Required,
}

/// What a browser gets that is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deliver {
    /// The token, in a frame: its page's scripts keep it.
    Token,
    /// A ticket, which it redeems for a cookie that no script can read.
    Ticket,
}

/// When the person must type the number that the browser shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchWhen {
    /// Never.
    Off,
    /// Where nothing speaks for the browser's address.
    Risky,
    /// At every login.
    Always,
}

/// In which header trusted proxies tell the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}
