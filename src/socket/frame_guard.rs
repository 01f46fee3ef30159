//! Frames that are too big, told by their headers: the WebSocket codec would hold one whole before it looks.

/// Largest frame that a client may send, in bytes (spec 2.1).
pub const MAX_FRAME: usize = 4096;

/// Watches the frame headers in a stream of bytes.
#[derive(Default)]
pub struct FrameGuard {
    /// The header so far, while it is incomplete.
    header: [u8; 14],
    have: u8,
    /// Payload bytes (and mask) of the current frame still to come: at most [`MAX_FRAME`] and four.
    payload: u16,
}

/// A frame declares more than [`MAX_FRAME`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of more than {MAX_FRAME} bytes")]
pub struct TooBig;

impl FrameGuard {
    /// Looks at the next bytes of the stream, however it is cut.
    ///
    /// # Errors
    /// [`TooBig`], before the frame's payload has come.
    pub fn check(&mut self, mut bytes: &[u8]) -> Result<(), TooBig> {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skip = usize::from(self.payload).min(bytes.len());
                self.payload -= skip as u16;
                bytes = &bytes[skip..];
                continue;
            }
            self.header[usize::from(self.have)] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if let Some(length) = self.declared() {
                if length > MAX_FRAME as u64 {
                    return Err(TooBig);
                }
                let mask = if self.header[1] & 0x80 != 0 { 4 } else { 0 };
                self.payload = length as u16 + mask;
                self.have = 0;
            }
        }
        Ok(())
    }

    /// The payload's length, once enough of the header is there (RFC 6455, 5.2).
    fn declared(&self) -> Option<u64> {
        let have = usize::from(self.have);
        if have < 2 {
            return None;
        }
        match self.header[1] & 0x7f {
            126 if have >= 4 => {
                Some(u64::from(u16::from_be_bytes([self.header[2], self.header[3]])))
            }
            127 if have >= 10 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.header[2..10]);
                Some(u64::from_be_bytes(length))
            }
            126 | 127 => None,
            short => Some(u64::from(short)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The header of a client's frame, with its mask.
    pub(in super::super) fn frame(length: u64) -> Vec<u8> {
        let mut frame = vec![0x81];
        match length {
            0..=125 => frame.push(0x80 | length as u8),
            126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&length.to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame
    }

    #[test]
    fn a_frame_that_declares_too_much_is_found_in_its_header_however_it_is_cut() {
        for length in [MAX_FRAME as u64 + 1, 1 << 33, u64::MAX] {
            let mut bytes = frame(5);
            bytes.extend_from_slice(&[1; 5]);
            bytes.extend_from_slice(&frame(length));
            for size in 1..=bytes.len() {
                let mut guard = FrameGuard::default();
                let found = bytes.chunks(size).any(|chunk| guard.check(chunk) == Err(TooBig));
                assert!(found, "{length} in pieces of {size}");
            }
        }
    }

    #[test]
    fn frames_up_to_the_limit_pass_however_they_are_cut() {
        let mut bytes = Vec::new();
        for length in [0, 1, 125, 126, 127, MAX_FRAME as u64] {
            bytes.extend_from_slice(&frame(length));
            bytes.resize(bytes.len() + length as usize, 0xff);
        }
        for size in 1..200 {
            let mut guard = FrameGuard::default();
            assert!(bytes.chunks(size).all(|chunk| guard.check(chunk).is_ok()), "size {size}");
        }
    }
}
