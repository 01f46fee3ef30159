//! A browser as the service sees it: one WebSocket, as lean as a simulated one must be.
//!
//! Ten thousand of them share a process and two cores with what they measure. So: a handshake made
//! by hand, no buffer while nothing is under way, and a read that owns its buffer only for as long
//! as the call takes.

mod frame;

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use self::frame::{Opcode, write};

/// The handshake's key and its answer: the example of RFC 6455, section 1.3. A constant saves a
/// hash per connection, and the answer can still be checked.
const WS_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const WS_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Longest answer to a handshake, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// How long a connection with its handshake may take.
const CONNECT_TIME: Duration = Duration::from_secs(15);
/// What real browsers send, in length and kind: heads are parsed by the byte.
const HEADERS: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nPragma: no-cache\r\n\
    Cache-Control: no-cache\r\nSec-WebSocket-Version: 13\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/142.0.0.0 Safari/537.36\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n";

/// Where to, and as whom.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// The service's address.
    pub address: SocketAddr,
    /// The source address, where one does not have enough ports.
    pub source: Option<IpAddr>,
    /// `Host`.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// The sub-protocol that is offered.
    pub protocol: Option<&'a str>,
}

/// Why there is no socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The operating system, or the peer, said no.
    #[error("connection: {0:?}")]
    Io(ErrorKind),
    /// Refused before the upgrade.
    #[error("refused with {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What came of the body.
        body: String,
    },
    /// No answer in time.
    #[error("no answer within {CONNECT_TIME:?}")]
    Timeout,
    /// Not a WebSocket server.
    #[error("not a WebSocket handshake")]
    NotAHandshake,
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.kind())
    }
}

/// What a browser hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A text message.
    Text(String),
    /// The server's Close with this code (1005: without one); it is answered.
    Close(u16),
    /// The connection ended without a Close, or with something that is no frame.
    Lost,
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Browser {
    stream: TcpStream,
    /// Bytes of a frame that is not complete, or of the next ones; mostly without a buffer.
    partial: Vec<u8>,
}

impl Browser {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn open(opening: &Opening<'_>) -> Result<Self, Failed> {
        // Boxed: the handshake's state would otherwise be part of every waiting task for ever.
        let opened = Box::pin(Self::shake_hands(opening));
        timeout(CONNECT_TIME, opened).await.map_err(|_| Failed::Timeout)?
    }

    async fn shake_hands(opening: &Opening<'_>) -> Result<Self, Failed> {
        let socket = match opening.address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = opening.source {
            socket.set_reuseaddr(true)?;
            socket.bind((source, 0).into())?;
        }
        socket.set_nodelay(true)?;
        let stream = socket.connect(opening.address).await?;
        let Opening { host, path, .. } = opening;
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n{HEADERS}\
             Sec-WebSocket-Key: {WS_KEY}\r\n"
        );
        if let Some(protocol) = opening.protocol {
            request.push_str("Sec-WebSocket-Protocol: ");
            request.push_str(protocol);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let mut browser = Self { stream, partial: Vec::new() };
        browser.write(request.as_bytes()).await?;
        browser.read_head().await?;
        Ok(browser)
    }

    async fn read_head(&mut self) -> Result<(), Failed> {
        loop {
            if let Some(end) = self.partial.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.partial[..end]).into_owned();
                self.consume(end + 4);
                return self.check_head(&head).await;
            }
            if self.partial.len() > MAX_HEAD {
                return Err(Failed::NotAHandshake);
            }
            if !self.fill().await? {
                return Err(Failed::Io(ErrorKind::UnexpectedEof));
            }
        }
    }

    async fn check_head(&mut self, head: &str) -> Result<(), Failed> {
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        match status {
            Some(101) if head.contains(WS_ACCEPT) => Ok(()),
            None | Some(101) => Err(Failed::NotAHandshake),
            Some(status) => {
                // Refusals close the connection; the body is short.
                while self.partial.len() < MAX_HEAD && self.fill().await.unwrap_or(false) {}
                let body = String::from_utf8_lossy(&self.partial).trim().to_owned();
                Err(Failed::Refused { status, body })
            }
        }
    }

    /// The next message or the end; pings are answered meanwhile.
    pub async fn next(&mut self) -> Event {
        loop {
            let Ok(frame) = frame::read(&self.partial) else { return Event::Lost };
            let Some(frame) = frame else {
                match self.fill().await {
                    Ok(true) => continue,
                    Ok(false) | Err(_) => return Event::Lost,
                }
            };
            let end = frame.payload.end;
            let payload = &self.partial[frame.payload];
            match frame.opcode {
                Opcode::Text => {
                    let text = String::from_utf8_lossy(payload).into_owned();
                    self.consume(end);
                    return Event::Text(text);
                }
                Opcode::Close => {
                    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    self.consume(end);
                    let _ = self.send(Opcode::Close, &code.to_be_bytes()).await;
                    return Event::Close(code);
                }
                Opcode::Ping => {
                    let payload = payload.to_vec();
                    self.consume(end);
                    if self.send(Opcode::Pong, &payload).await.is_err() {
                        return Event::Lost;
                    }
                }
                Opcode::Binary | Opcode::Pong => self.consume(end),
            }
        }
    }

    /// Says something.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.send(Opcode::Text, text.as_bytes()).await
    }

    /// Sends a Close with this code. Dropping the browser without it is a lost connection.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn close(&mut self, code: u16) -> std::io::Result<()> {
        self.send(Opcode::Close, &code.to_be_bytes()).await
    }

    async fn send(&mut self, opcode: Opcode, payload: &[u8]) -> std::io::Result<()> {
        let mut out = Vec::with_capacity(payload.len() + 8);
        // The mask protects proxies from pages that choose their bytes; any will do here.
        write(opcode, payload, [0x5c, 0x61, 0x6e, 0x21], &mut out);
        self.write(&out).await
    }

    async fn write(&self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there, after waiting for it; `false` at the end of the stream.
    async fn fill(&mut self) -> std::io::Result<bool> {
        loop {
            self.stream.readable().await?;
            match read_once(&self.stream, &mut self.partial) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Ok(result? > 0),
            }
        }
    }

    fn consume(&mut self, end: usize) {
        if end == self.partial.len() {
            self.partial = Vec::new();
        } else {
            self.partial.drain(..end);
        }
    }
}

/// Not async: so the buffer lives on the stack for the call, not in the waiting task.
fn read_once(stream: &TcpStream, into: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut buffer = [0; 4096];
    let read = stream.try_read(&mut buffer)?;
    into.extend_from_slice(&buffer[..read]);
    Ok(read)
}
