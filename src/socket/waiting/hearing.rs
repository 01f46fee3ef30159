//! What the browser says.

use std::time::Duration;

use actix::{ActorContext, StreamHandler};
use actix_http::ws::{CloseReason, Item, Message, ProtocolError};
use actix_web::error::PayloadError;

use super::{Ctx, Phase, Waiting};
use crate::{
    close::Close,
    login::{Because, Protocol},
    metrics::CutReason,
    protocol::ClientMessage,
    socket::frame_guard::MAX_FRAME,
};

/// Messages that a client may send in a minute (spec 2.1).
const MESSAGES_PER_MINUTE: u8 = 100;

impl Waiting {
    /// Whether this message is one too many.
    fn is_flood(&mut self) -> bool {
        let now = self.worker.clock.now();
        if now.since(self.minute) >= Duration::from_secs(60) {
            self.minute = now;
            self.messages = 0;
        }
        self.messages = self.messages.saturating_add(1);
        self.messages > MESSAGES_PER_MINUTE
    }

    /// The client has broken a rule: counted once, then closed.
    fn cut(&mut self, reason: CutReason, ctx: &mut Ctx) {
        if !self.is_closing() {
            self.worker.metrics.sockets_cut.inc(reason);
        }
        let close = match reason {
            CutReason::TooBig => Close::TooBig,
            CutReason::Flood | CutReason::Malformed => Close::Malformed,
        };
        self.close(close, ctx);
    }

    fn hear_text(&mut self, text: &str, ctx: &mut Ctx) {
        if self.protocol == Protocol::Plain || self.phase == Phase::Closing {
            return;
        }
        let Ok(message) = ClientMessage::parse(text) else {
            return self.cut(CutReason::Malformed, ctx);
        };
        match (message, &self.phase) {
            (ClientMessage::Resume { resume }, Phase::Introducing(_)) => {
                self.introduce(&resume, ctx)
            }
            (_, Phase::Introducing(_)) | (ClientMessage::Resume { .. }, _) => {
                self.cut(CutReason::Malformed, ctx);
            }
            (ClientMessage::Received, Phase::Pushed { what, .. }) => {
                let what = what.clone();
                self.acknowledged(what);
                self.close(Close::Done, ctx);
                self.wire.finish();
            }
            (
                ClientMessage::Cancel,
                Phase::Waiting | Phase::Scanned(_) | Phase::Pushed { .. } | Phase::Ticketed,
            ) => {
                self.let_go(Because::Left);
                self.close(Close::Done, ctx);
            }
            (ClientMessage::Cancel | ClientMessage::Received | ClientMessage::Unknown, _) => {}
        }
    }

    /// Puts a fragmented message together, within one frame's limit.
    fn hear_fragment(&mut self, item: Item, ctx: &mut Ctx) {
        if self.protocol == Protocol::Plain {
            return;
        }
        let (bytes, last) = match item {
            Item::FirstBinary(_) => return self.cut(CutReason::Malformed, ctx),
            Item::FirstText(bytes) => {
                self.fragments = None;
                (bytes, false)
            }
            Item::Continue(bytes) => (bytes, false),
            Item::Last(bytes) => (bytes, true),
        };
        let mut fragments = self.fragments.take().unwrap_or_default();
        if fragments.len() + bytes.len() > MAX_FRAME {
            return self.cut(CutReason::TooBig, ctx);
        }
        fragments.extend_from_slice(&bytes);
        if !last {
            self.fragments = Some(fragments);
            return;
        }
        match String::from_utf8(*fragments) {
            Ok(text) => self.hear_text(&text, ctx),
            Err(_) => self.cut(CutReason::Malformed, ctx),
        }
    }

    fn hear_close(&mut self, reason: Option<CloseReason>, ctx: &mut Ctx) {
        match std::mem::replace(&mut self.phase, Phase::Closing) {
            // The answer to our Close, and all that the plain protocol has to say that the token is there.
            Phase::Pushed { what, closing: true, .. } if self.protocol == Protocol::Plain => {
                self.acknowledged(what);
            }
            Phase::Pushed { closing: true, .. } => self.let_go(Because::Lost),
            Phase::Closing => {}
            // A Close of its own: it may have crossed the token on the wire.
            phase => {
                let code = reason.as_ref().map(|reason| u16::from(reason.code));
                // No code at all is what `close()` without an argument sends.
                let left = matches!(code, None | Some(1000 | 1005));
                let pushed = matches!(phase, Phase::Pushed { .. } | Phase::Ticketed);
                self.wire.say(Message::Close(reason));
                let because = if left && !pushed { Because::Left } else { Because::Lost };
                self.let_go(because);
            }
        }
        ctx.stop();
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for Waiting {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Ctx) {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                let too_big = is_too_big(&error);
                self.cut(if too_big { CutReason::TooBig } else { CutReason::Malformed }, ctx);
                // The stream would give the same error for ever.
                return ctx.stop();
            }
        };
        let solicited = matches!(&message, Message::Pong(_)) && self.unanswered_pings > 0;
        let is_close = matches!(&message, Message::Close(_));
        if !solicited && !is_close && self.is_flood() {
            return self.cut(CutReason::Flood, ctx);
        }
        match message {
            Message::Text(text) => self.hear_text(&text, ctx),
            Message::Binary(_) if self.protocol == Protocol::Json => {
                self.cut(CutReason::Malformed, ctx);
            }
            Message::Continuation(item) => self.hear_fragment(item, ctx),
            Message::Ping(bytes) => self.wire.say(Message::Pong(bytes)),
            Message::Pong(_) => self.unanswered_pings = 0,
            Message::Close(reason) => self.hear_close(reason, ctx),
            Message::Binary(_) | Message::Nop => {}
        }
    }
}

/// The transport's word for a frame that declares too much passes through two crates that keep
/// nothing of it but its text.
fn is_too_big(error: &ProtocolError) -> bool {
    match error {
        ProtocolError::Overflow => true,
        ProtocolError::Io(error) => error.to_string() == PayloadError::Overflow.to_string(),
        _ => false,
    }
}
