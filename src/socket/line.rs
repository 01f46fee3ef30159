//! What an actor speaks into.

use std::rc::Rc;

use actix_http::ws::Message;
use bytes::Bytes;

use super::{answer::Frames, transport::Wire};

/// A WebSocket, or the answer to a POST.
pub(super) enum Line {
    /// A WebSocket.
    Socket(Rc<Wire>),
    /// An event stream or a long poll: nothing is heard on it, not even a Close.
    Answer(Rc<Frames>),
}

impl Line {
    /// Says a frame.
    pub(super) fn say(&self, message: Message) {
        match self {
            Self::Socket(wire) => wire.say(message),
            Self::Answer(frames) => frames.say(message),
        }
    }

    /// Asks whether the other side is there, where it can answer; else shows that we are.
    pub(super) fn ping(&self) {
        match self {
            Self::Socket(wire) => wire.ping(),
            Self::Answer(frames) => frames.say(Message::Ping(Bytes::new())),
        }
    }

    /// Nothing more will be said, and what is heard does not matter.
    pub(super) fn finish(&self) {
        if let Self::Socket(wire) = self {
            wire.finish();
        }
    }

    /// Whether the other side can answer a ping or a Close.
    pub(super) fn hears(&self) -> bool {
        matches!(self, Self::Socket(_))
    }
}
