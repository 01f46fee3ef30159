//! People who log in and allocate nothing while they do: what is counted beside them is the service's.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::json;

use crate::helpers::{PATIENCE, phone::app_token, service::APP_SECRET};

/// A browser that allocates nothing: a socket, and what was read on the stack.
pub(crate) struct Browser(TcpStream);

impl Browser {
    /// Connects, and reads until its key is there, which is given to `then`.
    pub(crate) fn open<T>(address: SocketAddr, then: impl FnOnce(&str) -> T) -> (Self, T) {
        const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Protocol: scanlogin.v1\r\n\r\n";
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(REQUEST).expect("it reads");
        let mut browser = Self(stream);
        let result = browser.read_until("\"resume\":\"", |text| {
            let key = text.split_once("\"key\":\"").expect("a key").1;
            then(key.split_once('"').expect("its end").0)
        });
        (browser, result)
    }

    /// Reads until `mark` is there, and a little after it.
    fn read_until<T>(&mut self, mark: &str, then: impl FnOnce(&str) -> T) -> T {
        let (mut buffer, mut have) = ([0; 4096], 0);
        loop {
            let read = self.0.read(&mut buffer[have..]).expect("it goes on");
            assert!(read > 0, "the connection ended");
            have += read;
            // The frame's head is no text; what comes before it may be.
            let from = buffer[..have].iter().rposition(|byte| *byte == b'{').unwrap_or(0);
            let text = str::from_utf8(&buffer[from..have]).unwrap_or_default();
            if text.contains(mark) && text.ends_with('}') {
                return then(text);
            }
        }
    }

    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let mut buffer = [0; 16];
        let read = &mut buffer[..bytes.len()];
        self.0.read_exact(read).expect("it goes on");
        assert_eq!(read, bytes);
    }

    /// Says that the token is stored, and sees the connection closed.
    fn acknowledge(mut self) {
        const RECEIVED: &[u8] = br#"{"type":"received"}"#;
        let mut frame = [0; 6 + RECEIVED.len()];
        frame[..2].copy_from_slice(&[0x81, 0x80 | RECEIVED.len() as u8]);
        frame[6..].copy_from_slice(RECEIVED);
        self.0.write_all(&frame).expect("it reads");
        let mut rest = [0; 256];
        while self.0.read(&mut rest).expect("it goes on") > 0 {}
    }
}

/// Phones of one user each, on one connection.
pub(crate) struct Phones {
    stream: TcpStream,
    address: SocketAddr,
    tokens: Vec<String>,
}

impl Phones {
    pub(crate) fn new(address: SocketAddr, users: usize) -> Self {
        let token = |user| {
            let claims = json!({ "sub": format!("user-{user}"), "exp": 4_000_000_000_u64 });
            app_token(&claims, APP_SECRET)
        };
        let stream = Self::connect(address);
        Self { stream, address, tokens: (0..users).map(token).collect() }
    }

    fn connect(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// The server ends a connection that was idle for long.
    pub(crate) fn connect_again(&mut self) {
        self.stream = Self::connect(self.address);
    }

    fn scan(&mut self, user: usize, key: &str) {
        let mut request = [0; 2048];
        let mut rest = &mut request[..];
        let (token, length) = (&self.tokens[user], key.len() + 10);
        write!(
            rest,
            "POST /scan HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n\
             {{\"key\":\"{key}\"}}"
        )
        .expect("there is room");
        let left = rest.len();
        let end = request.len() - left;
        self.stream.write_all(&request[..end]).expect("it reads");
        let mut answer = [0; 2048];
        let read = self.stream.read(&mut answer).expect("an answer");
        let answer = str::from_utf8(&answer[..read]).expect("a text");
        assert!(answer.contains("\"code\":100"), "{answer}");
    }
}

/// One login, from the connection to its end.
pub(crate) fn log_in(address: SocketAddr, phones: &mut Phones, user: usize) {
    let mut key = [0; 64];
    let (mut browser, length) = Browser::open(address, |shown| {
        key[..shown.len()].copy_from_slice(shown.as_bytes());
        shown.len()
    });
    phones.scan(user, str::from_utf8(&key[..length]).expect("a text"));
    browser.read_until("\"type\":\"token\"", |_| ());
    browser.acknowledge();
}
