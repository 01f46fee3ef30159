//! What is said on the wire: the two protocols of the service, and the peer's it is compared with.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::phone::Request;

/// A protocol between browser, server and phone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Bare strings.
    Plain,
    /// The sub-protocol `scanlogin.v1`.
    #[default]
    Json,
    /// nginx with nchan: a channel per browser, whose name the browser makes up itself.
    #[value(skip)]
    Nchan,
}

/// One server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its address.
    pub address: SocketAddr,
    /// What is sent as `Host`.
    pub host: String,
}

impl Endpoint {
    /// Whether any 127.x.y.z can be the source of a connection to it.
    pub fn is_loopback(&self) -> bool {
        self.address.is_ipv4() && self.address.ip().is_loopback()
    }
}

/// A key, with what the protocol says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// What the phone sends.
    pub key: String,
    /// The browser's own secret, where the protocol has one.
    pub resume: Option<String>,
    /// Until the deadline, where the protocol says it.
    pub lifetime: Option<Duration>,
}

/// What a text message means to a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A key to show.
    Key(Shown),
    /// A phone has scanned.
    Scanned,
    /// Logged in.
    Token,
    /// No token: expired, denied, drained.
    Over(String),
    /// Something else, to be ignored.
    Other,
}

/// A body of the length that a token of the service has, for a peer that makes none.
const TOKEN_OF_A_PEER: &str = concat!(
    r#"{"type":"token","token":"eyJhbGciOiJIUzI1NiIsInR5cCI6InNjYW5sb2dpbitqd3QifQ."#,
    "eyJzdWIiOiJ1c2VyLTEyMzQ1IiwicGxhdGZvcm0iOiJ3ZWIiLCJqdGkiOiIwMTIzNDU2Ny04OWFiLWNkZWYtMDEyMy00",
    "NTY3ODlhYmNkZWYiLCJpc3MiOiJzY2FubG9naW4iLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMjU5MjAwMCwiYW1y",
    "IjpbInFyIl19.0123456789abcdef0123456789abcdef0123456789a\"",
    r#","token_type":"Bearer","expires_in":2592000,"user":"user-12345","collect_ms":59998}"#
);

impl Dialect {
    /// Path of the WebSocket, for a browser that made up this name.
    pub fn socket_path(self, name: &str, resume: bool) -> String {
        match self {
            Self::Plain | Self::Json if resume => "/ws?resume=1".into(),
            Self::Plain | Self::Json => "/ws".into(),
            Self::Nchan => format!("/ws/{name}"),
        }
    }

    /// The sub-protocol that is offered.
    pub fn subprotocol(self) -> Option<&'static str> {
        (self == Self::Json).then_some("scanlogin.v1")
    }

    /// Whether the server sends a key; else the name is the key, as soon as there is a socket.
    pub fn server_makes_keys(self) -> bool {
        self != Self::Nchan
    }

    /// Reads a text message; `has_key` tells a key from a token where only the order does.
    pub fn read(self, text: &str, has_key: bool) -> Message {
        match self {
            Self::Plain if text == "again" => Message::Over("again".into()),
            Self::Plain if has_key => Message::Token,
            Self::Plain => Message::Key(Shown { key: text.to_owned(), ..Shown::default() }),
            Self::Nchan => Message::Token,
            Self::Json => read_json(text),
        }
    }

    /// What a browser says when its token has arrived; without it, the Close says it.
    pub fn received(self) -> Option<&'static str> {
        (self == Self::Json).then_some(r#"{"type":"received"}"#)
    }

    /// What a browser says to go on with a login after a lost connection.
    pub fn resume(self, secret: &str) -> Option<String> {
        let message = || format!(r#"{{"type":"resume","resume":"{secret}"}}"#);
        (self == Self::Json).then(message)
    }

    /// What a browser says when its user leaves; without it, a Close says it.
    pub fn cancel(self) -> Option<&'static str> {
        (self == Self::Json).then_some(r#"{"type":"cancel"}"#)
    }

    /// The Close at the deadline.
    pub fn close_when_expired(self) -> u16 {
        if self == Self::Json { 4000 } else { 1000 }
    }

    /// Whether the browser is the one who closes.
    pub fn browser_closes(self) -> bool {
        self == Self::Nchan
    }

    /// The phone's first call: path and body.
    pub fn scan(self, key: &str) -> (String, String) {
        match self {
            Self::Plain | Self::Json => ("/scan".into(), format!(r#"{{"key":"{key}"}}"#)),
            Self::Nchan => (format!("/pub/{key}"), TOKEN_OF_A_PEER.into()),
        }
    }

    /// A phone's call to this path.
    pub fn call<'a>(self, path: &'a str, bearer: &'a str, body: &'a str) -> Request<'a> {
        let bearer = (self != Self::Nchan).then_some(bearer);
        Request { method: "POST", path, bearer, headers: "", body }
    }
}

/// Only the fields that matter, borrowed: the client must cost less than what it measures.
fn read_json(text: &str) -> Message {
    #[derive(serde::Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "type", borrow)]
        kind: &'a str,
        #[serde(default, borrow)]
        key: Option<&'a str>,
        #[serde(default, borrow)]
        resume: Option<&'a str>,
        #[serde(default)]
        lifetime_ms: Option<u64>,
    }
    let Ok(wire) = serde_json::from_str::<Wire<'_>>(text) else { return Message::Other };
    match (wire.kind, wire.key) {
        ("key", Some(key)) => Message::Key(Shown {
            key: key.to_owned(),
            resume: wire.resume.map(str::to_owned),
            lifetime: wire.lifetime_ms.map(Duration::from_millis),
        }),
        ("scanned", _) => Message::Scanned,
        ("token", _) => Message::Token,
        ("denied" | "expired" | "drain", _) => Message::Over(wire.kind.to_owned()),
        _ => Message::Other,
    }
}
