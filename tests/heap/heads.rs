//! Browsers that wait, each with a request head of its own making. Not those that poll: a poll is a
//! request under way, and its head is there for as long.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::helpers::PATIENCE;

/// A line on which a browser waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Line {
    Plain,
    Json,
    Stream,
}

impl Line {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Json, Self::Stream];

    /// The request line, and the headers without which there is no such line.
    fn head(self, path_end: &str) -> String {
        const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        match self {
            Self::Plain => format!("GET /ws{path_end} HTTP/1.1\r\n{UPGRADE}"),
            Self::Json => format!(
                "GET /ws{path_end} HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Protocol: scanlogin.v1\r\n"
            ),
            Self::Stream => format!(
                "POST /stream{path_end} HTTP/1.1\r\nContent-Type: application/json\r\n\
                 Content-Length: 2\r\n"
            ),
        }
    }

    /// A browser that waits on it, its key read.
    pub(crate) fn open(self, address: SocketAddr, path_end: &str, lines: &str) -> TcpStream {
        let body = if self == Self::Stream { "{}" } else { "" };
        let request = format!("{}{lines}\r\n{body}", self.head(path_end));
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("it reads");
        // The beginning of a frame behind the answer's head, or the secret in the message.
        let mark: &[u8] = if self == Self::Plain { b"\r\n\r\n\x81" } else { b"\"resume\":\"" };
        let (mut buffer, mut heard) = ([0; 4096], Vec::new());
        while !heard.windows(mark.len()).any(|part| part == mark) {
            let read = stream.read(&mut buffer).expect("it goes on");
            assert!(read > 0, "the connection ended: {}", heard.escape_ascii());
            heard.extend_from_slice(&buffer[..read]);
        }
        stream
    }
}
