//! A client that does what no browser would: bytes on a TCP connection.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::PATIENCE;

pub(crate) struct Raw(pub(crate) TcpStream);

/// A client's frame with this first byte and this declared length; the mask is zero, so that the
/// payload goes as it is.
pub(crate) fn frame(first: u8, declared: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match declared {
        0..=125 => frame.push(0x80 | declared as u8),
        126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(declared as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&declared.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// A client's text frame.
pub(crate) fn text_frame(text: &str) -> Vec<u8> {
    frame(0x81, text.len() as u64, text.as_bytes())
}

/// The code of the Close among a server's frames.
pub(crate) fn close_code(mut frames: &[u8]) -> Option<u16> {
    while let [first, length, rest @ ..] = frames {
        let (length, rest) = match length {
            126 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..]),
            127 => return None,
            short => (usize::from(*short), rest),
        };
        let payload = rest.get(..length)?;
        if first & 0x0f == 8 {
            return Some(u16::from_be_bytes([*payload.first()?, *payload.get(1)?]));
        }
        frames = &rest[length..];
    }
    None
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("the service listens"))
    }

    /// A WebSocket of which nothing but the answer's head has been read.
    pub(crate) async fn upgraded(address: SocketAddr, protocol: Option<&str>) -> Self {
        let mut raw = Self::connect(address).await;
        let protocol = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
            protocol.unwrap_or_default()
        );
        raw.send(head.as_bytes()).await.expect("the head is taken");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let byte = timeout(PATIENCE, raw.0.read_u8()).await.expect("an answer in time");
            answer.push(byte.expect("a whole head"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        raw
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.0.write_all(bytes)).await.expect("the server reads")
    }

    /// The next frame of the server's, its kind (RFC 6455, 5.2) and payload; `None`: the connection has
    /// ended. It is not answered, whatever it is.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let first = self.0.read_u8().await.ok()?;
            let length = match self.0.read_u8().await.ok()? {
                126 => usize::from(self.0.read_u16().await.ok()?),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((first & 0x0f, payload))
        };
        timeout(PATIENCE, read).await.expect("a frame in time, or the end")
    }

    /// The next frame, which must be a text.
    pub(crate) async fn text(&mut self) -> String {
        match self.frame().await {
            Some((1, text)) => String::from_utf8(text).expect("a text"),
            other => panic!("a text was expected, not {other:?}"),
        }
    }

    /// The code of the next frame, which must be a Close.
    pub(crate) async fn close(&mut self) -> u16 {
        match self.frame().await {
            Some((8, payload)) => u16::from_be_bytes([payload[0], payload[1]]),
            other => panic!("a Close was expected, not {other:?}"),
        }
    }

    /// Everything that comes until the server closes or resets; `None` if it does neither in time.
    pub(crate) async fn rest(&mut self, within: Duration) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        let read = async {
            // A reset is an end too.
            let _ = self.0.read_to_end(&mut all).await;
        };
        timeout(within, read).await.ok()?;
        Some(all)
    }
}
