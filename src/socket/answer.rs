//! Where WebSockets are blocked: the same actor, whose frames go into the answer to a POST.
//!
//! An event stream ([`Said::into_events`]) is held open as a socket is; a long poll
//! ([`Said::first_news`]) takes what is new and lets the actor go, and the login waits without one
//! until the next poll resumes it. Both are admitted, limited, counted and drained as sockets are.
//! What the browser says comes in requests of their own (`message.rs`), at whichever instance.

use std::{
    cell::RefCell,
    convert::Infallible,
    fmt::Write,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::ws::Message;
use actix_web::{Error, http::header::HeaderValue};
use actix_web_actors::ws::WebsocketContext;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Admitted, Reserved, Waiting, Worker,
    line::Line,
    waiting::{Introduce, Newcomer, Opening},
};
use crate::{
    connection::AddressPermit, error::ApiError, http::client::Client, json, login::Protocol,
    metrics::ProtocolLabel,
};

/// What an answer has to say next.
pub enum Frame {
    /// A message of `scanlogin.v1`.
    Text(String),
    /// Nothing, said so that nobody on the way takes the line for dead.
    Ping,
    /// The end, as a socket would close.
    Close {
        /// The close code.
        code: u16,
        /// For people.
        reason: String,
    },
}

/// What the actor said and the answer has not taken yet. Its bound is the actor's: it runs only
/// when the answer is ready for more, and then all of this is taken.
#[derive(Default)]
pub struct Frames(RefCell<Vec<Frame>>);

impl Frames {
    pub(super) fn say(&self, message: Message) {
        let frame = match message {
            Message::Text(text) => Frame::Text(text.to_string()),
            Message::Ping(_) => Frame::Ping,
            Message::Close(Some(reason)) => Frame::Close {
                code: reason.code.into(),
                reason: reason.description.unwrap_or_default(),
            },
            // Answers to frames that only a socket can hear.
            Message::Close(None)
            | Message::Pong(_)
            | Message::Binary(_)
            | Message::Continuation(_)
            | Message::Nop => return,
        };
        self.0.borrow_mut().push(frame);
    }
}

/// Asks for a login over an answer: a new one, or the one of this secret.
pub struct Asked {
    /// The browser's own secret.
    pub resume: Option<String>,
    /// Whether the code is wanted drawn.
    pub qr_svg: bool,
}

/// What a poll's client shows already, so that it is not told again at once.
#[derive(Deserialize, JsonSchema, PartialEq, Eq)]
pub struct Seen {
    /// The type of the frame.
    #[serde(rename = "type")]
    kind: String,
    /// The number of the code.
    seq: Option<u32>,
}

/// Admits the request, and starts its actor.
///
/// # Errors
/// Every refusal before the answer begins.
pub async fn open(
    worker: Rc<Worker>,
    client: &Client,
    asked: Asked,
    label: ProtocolLabel,
) -> Result<Said<impl Stream<Item = Result<Bytes, Error>> + use<>>, ApiError> {
    let opened = worker.clock.now();
    let Asked { resume, qr_svg } = asked;
    let admitted = Admitted::of(&worker, client, Protocol::Json, resume.is_some()).await?;
    let Admitted { conn, reserved, seat, permit, browser, set_cookie } = admitted;
    let new_browser = set_cookie.is_some();
    let base = worker.bases.intern(client.public_base(&worker.config));
    let held = reserved.map(Reserved::take);
    worker.metrics.sockets_opened.inc(label);
    let frames = Rc::new(Frames::default());
    let newcomer = Newcomer { from: client.network(), browser };
    let protocol = Protocol::Json;
    let opening =
        Opening { conn, held, newcomer, protocol, base, qr_svg, opened, seat, new_browser };
    let actor = Waiting::new(Line::Answer(frames.clone()), opening);
    let (addr, context) = WebsocketContext::create_with_addr(actor, stream::pending());
    if let Some(secret) = resume {
        addr.do_send(Introduce(secret));
    }
    Ok(Said { frames, context: Some(Box::pin(context)), set_cookie, _permit: permit })
}

/// What an actor says, as it says it; dropping this stops the actor, which cleans up.
pub struct Said<S> {
    frames: Rc<Frames>,
    /// The context; `None` once the actor has stopped.
    context: Option<Pin<Box<S>>>,
    /// For the head of the answer.
    pub set_cookie: Option<HeaderValue>,
    _permit: Option<AddressPermit>,
}

impl<S: Stream<Item = Result<Bytes, Error>>> Stream for Said<S> {
    type Item = Vec<Frame>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while let Some(context) = &mut self.context {
            match context.as_mut().poll_next(cx) {
                Poll::Pending => break,
                // The context's own queue is given nothing.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => self.context = None,
            }
        }
        let said = std::mem::take(&mut *self.frames.0.borrow_mut());
        match (said.is_empty(), &self.context) {
            (false, _) => Poll::Ready(Some(said)),
            (true, None) => Poll::Ready(None),
            (true, Some(_)) => Poll::Pending,
        }
    }
}

impl<S: Stream<Item = Result<Bytes, Error>>> Said<S> {
    /// As an event stream: frames as events, pings as comments, and the end as an event `close`.
    pub fn into_events(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        self.map(|said| Ok(Bytes::from(events(&said))))
    }

    /// The first that is no news to somebody who has `seen` that, or nothing after `hold`.
    pub async fn first_news(mut self, seen: Option<Seen>, hold: Duration) -> News {
        let mut seen = seen;
        let news = async {
            while let Some(said) = self.next().await {
                let mut news = News::default();
                for frame in said {
                    match frame {
                        Frame::Ping => {}
                        Frame::Close { code, .. } => news.close = Some(code),
                        Frame::Text(text) => {
                            let known = seen.take();
                            if known.is_none() || known != json::object(text.as_bytes()).ok() {
                                news.frames.push(text);
                            }
                        }
                    }
                }
                if !news.frames.is_empty() || news.close.is_some() {
                    return news;
                }
            }
            News::default()
        };
        tokio::time::timeout(hold, news).await.unwrap_or_default()
    }
}

/// The answer to a poll.
#[derive(Default)]
pub struct News {
    frames: Vec<String>,
    close: Option<u16>,
}

impl News {
    /// `frames`, and `close` where the login has left this line.
    pub fn to_json(&self) -> Value {
        let read =
            |text: &String| serde_json::from_str::<Value>(text).expect("written by us as JSON");
        let frames: Vec<Value> = self.frames.iter().map(read).collect();
        match self.close {
            Some(close) => json!({ "code": 100, "msg": "OK", "frames": frames, "close": close }),
            None => json!({ "code": 100, "msg": "OK", "frames": frames }),
        }
    }
}

fn events(said: &[Frame]) -> String {
    let mut text = String::new();
    for frame in said {
        let written = match frame {
            // JSON has no line breaks outside its strings, and none of ours inside them.
            Frame::Text(frame) => write!(text, "data: {frame}\n\n"),
            Frame::Ping => write!(text, ":\n\n"),
            Frame::Close { code, reason } => {
                let close = json!({ "code": code, "reason": reason });
                write!(text, "event: close\ndata: {close}\n\n")
            }
        };
        written.expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ServerMessage;

    /// What an actor would have said, in one go, before it went on waiting.
    fn said(
        frames: impl IntoIterator<Item = Frame>,
    ) -> Said<impl Stream<Item = Result<Bytes, Error>>> {
        let frames = Rc::new(Frames(RefCell::new(frames.into_iter().collect())));
        Said { frames, context: Some(Box::pin(stream::pending())), set_cookie: None, _permit: None }
    }

    #[tokio::test]
    async fn a_poll_tells_what_is_new_and_nothing_else() {
        let hold = Duration::from_millis(1);
        let key = || Frame::Text(r#"{"type":"key","seq":3}"#.into());
        let scanned = || Frame::Text(r#"{"type":"scanned"}"#.into());
        let seen = |seq| Some(Seen { kind: "key".into(), seq: Some(seq) });
        let news = |frames: &str| serde_json::from_str::<Value>(frames).unwrap();

        let known = said([Frame::Ping, key()]).first_news(seen(3), hold).await;
        assert_eq!(known.to_json(), news(r#"{"code":100,"msg":"OK","frames":[]}"#));
        let rotated = said([key()]).first_news(seen(2), hold).await;
        assert_eq!(rotated.to_json()["frames"], news(r#"[{"type":"key","seq":3}]"#));
        // The code was lost and is shown again: only the first frame can be what is known.
        let again = said([scanned(), key()]).first_news(seen(3), hold).await;
        assert_eq!(
            again.to_json()["frames"],
            news(r#"[{"type":"scanned"},{"type":"key","seq":3}]"#)
        );
        let closed = said([Frame::Close { code: 4002, reason: String::new() }]);
        let closed = closed.first_news(None, hold).await.to_json();
        assert_eq!(closed, news(r#"{"code":100,"msg":"OK","frames":[],"close":4002}"#));
    }

    #[test]
    fn what_is_said_becomes_events_that_a_parser_of_such_streams_reads() {
        let said = [
            Frame::Text(ServerMessage::Denied.to_text()),
            Frame::Ping,
            Frame::Close { code: 4001, reason: "denied".into() },
        ];
        let golden = "data: {\"type\":\"denied\"}\n\n:\n\n\
                      event: close\ndata: {\"code\":4001,\"reason\":\"denied\"}\n\n";
        assert_eq!(events(&said), golden);
    }
}
