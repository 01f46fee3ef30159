//! A phone as the service sees it: HTTP requests over connections that are kept alive.
//!
//! By hand, because a client of two hundred crates costs more processor time per request than the
//! service needs to answer it, and both share the machine.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// A connection that was idle for longer is not used again: the service closes it after 10 s.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// A status and a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// A number in the JSON body.
    pub fn number(&self, field: &str) -> Option<i64> {
        self.json()?.get(field)?.as_i64()
    }

    /// A string in the JSON body.
    pub fn text(&self, field: &str) -> Option<String> {
        Some(self.json()?.get(field)?.as_str()?.to_owned())
    }

    fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.body).ok()
    }
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// The app token, if one is sent.
    pub bearer: Option<&'a str>,
    /// More header lines, each with its line end.
    pub headers: &'a str,
    /// The body; JSON, by its content type.
    pub body: &'a str,
}

struct Connection {
    stream: TcpStream,
    used: Instant,
}

/// Connections to one address.
pub struct Phones {
    address: SocketAddr,
    host: String,
    idle: Mutex<Vec<Connection>>,
}

impl Phones {
    /// Phones that call this address.
    pub fn new(address: SocketAddr, host: &str) -> Self {
        Self { address, host: host.to_owned(), idle: Mutex::default() }
    }

    /// Sends a request; once more over a new connection if an idle one turns out to be closed.
    ///
    /// # Errors
    /// Those of the connection; `TimedOut` where no answer came in time.
    pub async fn send(&self, request: &Request<'_>) -> io::Result<Answer> {
        let answer = async {
            if let Some(connection) = self.take_idle()
                && let Ok(answer) = self.over(connection, request).await
            {
                return Ok(answer);
            }
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            self.over(Connection { stream, used: Instant::now() }, request).await
        };
        timeout(ANSWER_TIME, answer).await.map_err(|_| ErrorKind::TimedOut)?
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let last = idle.pop()?;
        if last.used.elapsed() < IDLE_TIME {
            return Some(last);
        }
        // The last is the youngest: all are too old.
        idle.clear();
        None
    }

    async fn over(&self, mut c: Connection, request: &Request<'_>) -> io::Result<Answer> {
        let Request { method, path, headers, body, .. } = request;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}", self.host);
        if let Some(bearer) = request.bearer {
            head.push_str("Authorization: Bearer ");
            head.push_str(bearer);
            head.push_str("\r\n");
        }
        if *method == "POST" {
            head.push_str("Content-Type: application/json\r\nContent-Length: ");
            head.push_str(&body.len().to_string());
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        head.push_str(body);
        c.stream.write_all(head.as_bytes()).await?;
        let (answer, keep) = read_answer(&mut c.stream).await?;
        if keep {
            c.used = Instant::now();
            let mut idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            idle.push(c);
        }
        Ok(answer)
    }
}

/// An answer, and whether the connection can be used again.
async fn read_answer(stream: &mut TcpStream) -> io::Result<(Answer, bool)> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(answer) = parse(&bytes)? {
            return Ok(answer);
        }
        if bytes.len() > MAX_ANSWER {
            return Err(ErrorKind::InvalidData.into());
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

fn parse(bytes: &[u8]) -> io::Result<Option<(Answer, bool)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = str::from_utf8(&bytes[..end]).map_err(|_| ErrorKind::InvalidData)?;
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let status = status.ok_or(ErrorKind::InvalidData)?;
    let (mut length, mut keep) = (None, true);
    for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            keep = !value.eq_ignore_ascii_case("close");
        }
    }
    // None of the servers that are tested sends chunks with these answers.
    let length: usize = match length {
        Some(length) => length,
        None if status == 204 => 0,
        None => return Err(ErrorKind::InvalidData.into()),
    };
    let body = &bytes[end + 4..];
    if body.len() < length {
        return Ok(None);
    }
    let body = String::from_utf8_lossy(&body[..length]).into_owned();
    Ok(Some((Answer { status, body }, keep)))
}
