//! The messages on a browser's socket (spec 2.1, 2.2). Pure: no socket, no actor.

use serde::{Deserialize, Serialize};

use crate::json;

/// The sub-protocol of the JSON messages.
pub const SUBPROTOCOL: &str = "scanlogin.v1";

/// The plain protocol's word for "no token: start again".
pub const AGAIN: &str = "again";

/// What the server says in the JSON protocol.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage<'a> {
    /// Show this code.
    Key {
        /// The number of the code, from 1.
        seq: u32,
        /// What the phone POSTs.
        key: &'a str,
        /// What to draw as a QR code.
        url: &'a str,
        /// The drawn code, only if asked for by `?qr=svg`.
        #[serde(skip_serializing_if = "Option::is_none")]
        qr_svg: Option<&'a str>,
        /// Milliseconds until the next code, grace not counted.
        valid_ms: u64,
        /// Milliseconds until the deadline.
        lifetime_ms: u64,
        /// The browser's own secret.
        resume: &'a str,
        /// The browser was given its cookie with this login. Another of its tabs may have been given
        /// one at the same moment: who comes back once has the one that is left.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        new_browser: bool,
    },
    /// A phone claimed the login and must still confirm.
    Scanned {
        /// Of who scanned.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        /// Of who scanned.
        #[serde(skip_serializing_if = "Option::is_none")]
        picture: Option<&'a str>,
        /// Two digits to show, which the person types on the phone; only if asked for.
        #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
        number: Option<&'a str>,
        /// Milliseconds until the deadline.
        lifetime_ms: u64,
    },
    /// Logged in.
    Token {
        /// The web token.
        token: &'a str,
        /// Always `Bearer`.
        token_type: &'static str,
        /// Seconds until it expires.
        expires_in: u64,
        /// Who is logged in.
        user: &'a str,
        /// Milliseconds until it can't be collected any more.
        collect_ms: u64,
    },
    /// Logged in, where tokens are delivered by ticket: `POST /redeem` sets the cookie.
    Ticket {
        /// What to redeem, once.
        ticket: &'a str,
        /// Seconds until it can't be redeemed any more.
        expires_in: u64,
    },
    /// Declined on the phone.
    Denied,
    /// The deadline has passed.
    Expired,
    /// This instance goes away: reconnect with `resume`.
    Drain {
        /// Milliseconds to wait before that.
        retry_in_ms: u64,
    },
}

impl ServerMessage<'_> {
    /// The text frame.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialise")
    }
}

/// What a client says in the JSON protocol.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// Go on with that login.
    Resume {
        /// The browser's own secret.
        resume: String,
    },
    /// The token has arrived and is stored.
    Received,
    /// The user left.
    Cancel,
    /// A type of a later version: ignored.
    #[serde(other)]
    Unknown,
}

/// A text frame that is not a JSON object with a field `type`, or lacks a field of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of scanlogin.v1")]
pub struct NotAMessage;

impl ClientMessage {
    /// Reads a text frame.
    ///
    /// # Errors
    /// [`NotAMessage`].
    pub fn parse(text: &str) -> Result<Self, NotAMessage> {
        json::object(text.as_bytes()).map_err(|_| NotAMessage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_messages_are_the_golden_ones() {
        let key = |qr_svg, new_browser| ServerMessage::Key {
            seq: 1,
            key: "K",
            url: "https://x.example/s#K",
            qr_svg,
            valid_ms: 30_000,
            lifetime_ms: 120_000,
            resume: "R",
            new_browser,
        };
        let token = ServerMessage::Token {
            token: "T",
            token_type: "Bearer",
            expires_in: 60,
            user: "u",
            collect_ms: 59_950,
        };
        let scanned = |name, picture, number| ServerMessage::Scanned {
            name,
            picture,
            number,
            lifetime_ms: 9,
        };
        for (message, golden) in [
            (
                key(None, false),
                r#"{"type":"key","seq":1,"key":"K","url":"https://x.example/s#K","valid_ms":30000,"lifetime_ms":120000,"resume":"R"}"#,
            ),
            (
                key(Some("<svg/>"), true),
                r#"{"type":"key","seq":1,"key":"K","url":"https://x.example/s#K","qr_svg":"<svg/>","valid_ms":30000,"lifetime_ms":120000,"resume":"R","new_browser":true}"#,
            ),
            (scanned(None, None, None), r#"{"type":"scanned","lifetime_ms":9}"#),
            (
                scanned(Some("A"), Some("p"), Some("07")),
                r#"{"type":"scanned","name":"A","picture":"p","match":"07","lifetime_ms":9}"#,
            ),
            (
                token,
                r#"{"type":"token","token":"T","token_type":"Bearer","expires_in":60,"user":"u","collect_ms":59950}"#,
            ),
            (
                ServerMessage::Ticket { ticket: "T", expires_in: 60 },
                r#"{"type":"ticket","ticket":"T","expires_in":60}"#,
            ),
            (ServerMessage::Denied, r#"{"type":"denied"}"#),
            (ServerMessage::Expired, r#"{"type":"expired"}"#),
            (ServerMessage::Drain { retry_in_ms: 5 }, r#"{"type":"drain","retry_in_ms":5}"#),
        ] {
            assert_eq!(message.to_text(), golden);
        }
    }

    #[test]
    fn client_messages_are_read_and_the_unknown_is_ignored() {
        let resume = ClientMessage::Resume { resume: "R".into() };
        for (text, read) in [
            (r#"{"type":"received"}"#, Ok(ClientMessage::Received)),
            (r#"{"type":"cancel","later":1}"#, Ok(ClientMessage::Cancel)),
            (r#"{"resume":"R","type":"resume"}"#, Ok(resume)),
            (r#"{"type":"hello","version":2}"#, Ok(ClientMessage::Unknown)),
            (r#"{"type":"resume"}"#, Err(NotAMessage)),
            (r#"{}"#, Err(NotAMessage)),
            ("[]", Err(NotAMessage)),
            ("7", Err(NotAMessage)),
            ("", Err(NotAMessage)),
            ("again", Err(NotAMessage)),
        ] {
            assert!(ClientMessage::parse(text) == read, "{text}");
        }
    }
}
