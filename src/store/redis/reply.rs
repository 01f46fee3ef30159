//! The messages of Redis in a stream of bytes (RESP3).
//!
//! A message that comes in many pieces, such as the records of a resync, is looked through once and
//! not again with each piece. What every login is answered with is taken apart here: the redis crate
//! would copy each message into a buffer of 8 KiB first. The rest of RESP3 is left to it.

use redis::{PushKind, RedisResult, Value};

/// A stream that is not RESP3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis sent what is not RESP3")]
pub(super) struct NotResp3;

/// How far into a message the bytes so far were looked through.
#[derive(Debug)]
pub(super) struct Scan {
    /// Bytes of whole elements.
    at: usize,
    /// Elements that are still to come: a list counts as itself, then as its members.
    wanted: usize,
}

impl Default for Scan {
    fn default() -> Self {
        Self { at: 0, wanted: 1 }
    }
}

impl Scan {
    /// The length of the message that `bytes` begin with, once it is complete; the next call is to
    /// begin with the next one. `bytes`: those of the call before, and what has come since.
    ///
    /// # Errors
    /// [`NotResp3`].
    pub(super) fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, NotResp3> {
        while self.wanted > 0 {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
                return Ok(None);
            };
            let (kind, text) = rest[..line].split_first().ok_or(NotResp3)?;
            let mut length = line + 2;
            let mut members = 0;
            match kind {
                // Simple texts and errors, numbers, truth values, nothing.
                b'+' | b'-' | b':' | b',' | b'(' | b'#' | b'_' => {}
                // Texts with their length in front; -1 is none at all.
                b'$' | b'=' | b'!' => {
                    if let Some(bytes) = count(text)? {
                        length += bytes + 2;
                    }
                }
                b'*' | b'~' | b'>' => members = count(text)?.unwrap_or(0),
                b'%' => members = 2 * count(text)?.unwrap_or(0),
                // Attributes stand in front of the element that they describe.
                b'|' => members = 2 * count(text)?.unwrap_or(0) + 1,
                _ => return Err(NotResp3),
            }
            if rest.len() < length {
                return Ok(None);
            }
            self.at += length;
            self.wanted = self.wanted - 1 + members;
        }
        let length = self.at;
        *self = Self::default();
        Ok(Some(length))
    }
}

/// A length or a number of members; `None` for -1. More than 2³¹ is nothing that Redis would send.
fn count(text: &[u8]) -> Result<Option<usize>, NotResp3> {
    const MOST: usize = 1 << 31;
    if text == b"-1" {
        return Ok(None);
    }
    let digits = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'));
    let count = digits.and_then(|digits| digits.parse().ok()).filter(|count| *count <= MOST);
    count.map(Some).ok_or(NotResp3)
}

/// Takes one whole message apart.
///
/// # Errors
/// A message that is no RESP3 after all.
pub(super) fn value(message: &[u8]) -> RedisResult<Value> {
    match plain(&mut &*message) {
        Some(value) => Ok(value),
        None => redis::parse_redis_value(message),
    }
}

/// Numbers, texts, nothing, lists of them, and what channels say; `None` for everything else.
fn plain(rest: &mut &[u8]) -> Option<Value> {
    let line = rest.windows(2).position(|two| two == b"\r\n")?;
    let (kind, text) = rest[..line].split_first()?;
    *rest = &rest[line + 2..];
    let number = || std::str::from_utf8(text).ok()?.parse::<i64>().ok();
    let members = |rest: &mut &[u8]| -> Option<Vec<Value>> {
        let count = usize::try_from(number()?).ok().filter(|count| *count <= rest.len())?;
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            members.push(plain(rest)?);
        }
        Some(members)
    };
    match kind {
        b':' => number().map(Value::Int),
        b'_' => Some(Value::Nil),
        b'+' if text == b"OK" => Some(Value::Okay),
        b'$' if text == b"-1" => Some(Value::Nil),
        b'$' => {
            let length = usize::try_from(number()?).ok()?;
            let bytes = rest.get(..length)?.to_vec();
            *rest = rest.get(length + 2..)?;
            Some(Value::BulkString(bytes))
        }
        b'*' => members(rest).map(Value::Array),
        b'>' => {
            let mut data = members(rest)?;
            let kind = match data.first()? {
                Value::BulkString(kind) if kind == b"message" => PushKind::Message,
                Value::BulkString(kind) if kind == b"subscribe" => PushKind::Subscribe,
                Value::BulkString(kind) if kind == b"unsubscribe" => PushKind::Unsubscribe,
                _ => return None,
            };
            data.remove(0);
            Some(Value::Push { kind, data })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGES: [&[u8]; 17] = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-17\r\n",
        b"_\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$4\r\n\r\n\r\n\r\n",
        b"*0\r\n",
        b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
        b"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n",
        b"|1\r\n+ttl\r\n:3\r\n$1\r\ny\r\n",
        b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\nset\r\n",
        b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
        b">3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
        b"*2\r\n:1\r\n-NOPERM no\r\n",
        b"*-1\r\n",
    ];

    fn lengths(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<usize> {
        let (mut scan, mut bytes, mut found) = (Scan::default(), Vec::new(), Vec::new());
        for piece in pieces {
            bytes.extend(piece);
            while let Some(length) = scan.end(&bytes).unwrap() {
                bytes.drain(..length);
                found.push(length);
            }
        }
        assert!(bytes.is_empty(), "all of it is messages");
        found
    }

    #[test]
    fn messages_are_found_however_the_stream_is_cut() {
        let stream = MESSAGES.concat();
        let expected: Vec<_> = MESSAGES.iter().map(|message| message.len()).collect();
        for size in 1..=stream.len() {
            let found = lengths(stream.chunks(size).map(<[u8]>::to_vec));
            assert_eq!(found, expected, "pieces of {size}");
        }
    }

    #[test]
    fn they_mean_what_the_redis_crate_says() {
        for message in MESSAGES {
            let theirs = redis::parse_redis_value(message).unwrap();
            assert_eq!(value(message).unwrap(), theirs, "{}", String::from_utf8_lossy(message));
        }
    }

    #[test]
    fn what_is_no_resp3_is_refused() {
        for bytes in
            ["\r\n", "HTTP/1.1 400\r\n", "$+3\r\nabc\r\n", "*-2\r\n", "$9999999999\r\n", "*x\r\n"]
        {
            assert_eq!(Scan::default().end(bytes.as_bytes()), Err(NotResp3), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_make_it_panic_or_read_past_the_end(bytes: Vec<u8>) {
            if let Ok(Some(length)) = Scan::default().end(&bytes) {
                prop_assert!(length <= bytes.len());
                let _ = value(&bytes[..length]);
            }
        }
    }
}
