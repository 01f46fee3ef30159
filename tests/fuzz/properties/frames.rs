//! A stream of bytes on an upgraded socket: the guard of `socket::frame_guard`, then the codec, as the
//! WebSocket context uses them.

use actix_codec::Decoder;
use actix_http::ws::{Codec, Frame};
use bytes::BytesMut;
use scanlogin::{
    protocol::ClientMessage,
    socket::frame_guard::{FrameGuard, MAX_FRAME},
};

/// A frame's header and mask, in bytes, at most.
const HEADER: usize = 14;

/// The first byte says how the rest is cut.
pub(crate) fn frames(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let size = usize::from(cut) + 1;
    let (mut guard, mut codec) = (FrameGuard::default(), Codec::new().max_size(MAX_FRAME));
    let mut buffer = BytesMut::new();
    for chunk in stream.chunks(size) {
        if guard.check(chunk).is_err() {
            return;
        }
        buffer.extend_from_slice(chunk);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => assert!(length(&frame) <= MAX_FRAME, "longer than allowed"),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        // What is kept is one incomplete frame: nothing that a stranger sends makes it grow.
        assert!(buffer.len() <= MAX_FRAME + HEADER, "{} bytes are kept", buffer.len());
    }
}

fn length(frame: &Frame) -> usize {
    match frame {
        Frame::Text(bytes) => {
            if let Ok(text) = str::from_utf8(bytes) {
                let _ = ClientMessage::parse(text);
            }
            bytes.len()
        }
        Frame::Binary(bytes) | Frame::Ping(bytes) | Frame::Pong(bytes) => bytes.len(),
        _ => 0,
    }
}
