//! WebSocket frames as a client needs them (RFC 6455, section 5): reads unmasked, writes masked.

/// Longest payload that is accepted, in bytes: nothing that the service sends comes near it.
const MAX_PAYLOAD: usize = 256 * 1024;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    /// A message of text.
    Text,
    /// A message of bytes.
    Binary,
    /// The end.
    Close,
    /// To be answered by a pong.
    Ping,
    /// The answer to a ping.
    Pong,
}

/// A frame at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// What it is for.
    pub(super) opcode: Opcode,
    /// Where its payload is in the buffer.
    pub(super) payload: std::ops::Range<usize>,
}

/// Bytes that are no frame a server may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a WebSocket frame of a server")]
pub(super) struct NotAFrame;

/// Reads the frame at the start of `bytes`; `None` if it is not complete.
///
/// # Errors
/// [`NotAFrame`].
pub(super) fn read(bytes: &[u8]) -> Result<Option<Frame>, NotAFrame> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (length, start) = match second {
        0..=125 => (usize::from(*second), 2),
        126 => match rest {
            [high, low, ..] => (usize::from(u16::from_be_bytes([*high, *low])), 4),
            _ => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(long) => (usize::try_from(u64::from_be_bytes(*long)).unwrap_or(usize::MAX), 10),
            None => return Ok(None),
        },
        // Masked: only clients mask.
        _ => return Err(NotAFrame),
    };
    // Fragments and reserved bits are legal, and never sent by what is tested here.
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8a => Opcode::Pong,
        _ => return Err(NotAFrame),
    };
    if length > MAX_PAYLOAD {
        return Err(NotAFrame);
    }
    let payload = start..start + length;
    Ok((bytes.len() >= payload.end).then_some(Frame { opcode, payload }))
}

/// Appends a masked frame with a payload of at most 65,535 bytes.
pub(super) fn write(opcode: Opcode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(match opcode {
        Opcode::Text => 0x81,
        Opcode::Binary => 0x82,
        Opcode::Close => 0x88,
        Opcode::Ping => 0x89,
        Opcode::Pong => 0x8a,
    });
    match u8::try_from(payload.len()) {
        Ok(short @ 0..=125) => out.push(0x80 | short),
        _ => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_whole_or_not_at_all() {
        let mut bytes = vec![0x81, 126, 1, 0];
        bytes.extend([b'x'; 256]);
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Ok(None), "{end}");
        }
        let frame = read(&bytes).expect("a frame").expect("complete");
        assert_eq!(frame, Frame { opcode: Opcode::Text, payload: 4..260 });
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        for bytes in
            [&[0x81, 0x85][..], &[0x01, 1], &[0xc1, 1], &[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]]
        {
            assert_eq!(read(bytes), Err(NotAFrame), "{bytes:?}");
        }
    }

    #[test]
    fn a_written_frame_is_masked() {
        let mut out = Vec::new();
        write(Opcode::Text, b"abc", [1, 2, 3, 4], &mut out);
        assert_eq!(out, [0x81, 0x83, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, b'c' ^ 3]);
    }
}
