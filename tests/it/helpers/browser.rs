//! A browser: one WebSocket and what it hears.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self, ClientRequestBuilder, Message,
        http::Uri,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

use super::{PATIENCE, contract, raw::Raw};

pub(crate) struct Browser {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

/// How a socket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// A Close frame with this code.
    Code(u16),
    /// Without one.
    Lost,
}

/// A refusal before the upgrade.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) headers: Vec<(String, String)>,
}

impl Browser {
    /// Opens `/ws` with these query and headers.
    pub(crate) async fn open(
        address: SocketAddr,
        query: &str,
        protocol: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<Self, Refused> {
        let uri: Uri = format!("ws://{address}/ws{query}").parse().expect("a URI");
        let mut request = ClientRequestBuilder::new(uri);
        if let Some(protocol) = protocol {
            request = request.with_sub_protocol(protocol);
        }
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        let stream = TcpStream::connect(address).await.expect("the service listens");
        let opened = timeout(PATIENCE, client_async(request, stream)).await.expect("an answer");
        match opened {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(tungstenite::Error::Http(answer)) => {
                let headers = answer.headers().iter().map(|(name, value)| {
                    (name.to_string(), value.to_str().unwrap_or_default().to_owned())
                });
                let refused = Refused {
                    status: answer.status().as_u16(),
                    headers: headers.collect(),
                    body: answer
                        .body()
                        .as_ref()
                        .and_then(|body| serde_json::from_slice(body).ok())
                        .unwrap_or_default(),
                };
                let header = |name: &str| {
                    let found = refused.headers.iter().find(|(one, _)| one == name);
                    found.map(|(_, value)| value.clone())
                };
                contract::check("GET", "/ws", refused.status, header, &refused.body);
                Err(refused)
            }
            Err(error) => panic!("neither a socket nor a refusal: {error}"),
        }
    }

    /// Opens `/ws` for the JSON protocol, with this header; also what the handshake was answered.
    pub(crate) async fn open_with_head(
        address: SocketAddr,
        query: &str,
        header: Option<(&str, &str)>,
    ) -> (Self, tungstenite::http::HeaderMap) {
        let uri: Uri = format!("ws://{address}/ws{query}").parse().expect("a URI");
        let mut request = ClientRequestBuilder::new(uri).with_sub_protocol("scanlogin.v1");
        if let Some((name, value)) = header {
            request = request.with_header(name, value);
        }
        let stream = TcpStream::connect(address).await.expect("the service listens");
        let opened = timeout(PATIENCE, client_async(request, stream)).await.expect("an answer");
        let (socket, answer) = opened.expect("a socket");
        (Self { socket }, answer.headers().clone())
    }

    /// A browser of the JSON protocol with these lines in its request's head, which need not be text.
    pub(crate) async fn open_raw(address: SocketAddr, lines: &[u8]) -> Self {
        let lines = [lines, b"Sec-WebSocket-Protocol: scanlogin.v1\r\n"].concat();
        let stream = Raw::upgraded_with(address, &lines).await.0;
        Self { socket: WebSocketStream::from_raw_socket(stream, Role::Client, None).await }
    }

    /// A browser of the plain protocol, and its key.
    pub(crate) async fn plain(address: SocketAddr) -> (Self, String) {
        let mut browser = Self::open(address, "", None, &[]).await.expect("a socket");
        let key = browser.text().await;
        (browser, key)
    }

    /// A browser of the JSON protocol, and its `key` message.
    pub(crate) async fn json(address: SocketAddr) -> (Self, Value) {
        let mut browser =
            Self::open(address, "", Some("scanlogin.v1"), &[]).await.expect("a socket");
        let key = browser.message().await;
        assert_eq!(key["type"], "key", "{key}");
        (browser, key)
    }

    /// A browser that comes back with its secret.
    pub(crate) async fn resume(address: SocketAddr, secret: &str) -> Self {
        let mut browser =
            Self::open(address, "?resume=1", Some("scanlogin.v1"), &[]).await.expect("a socket");
        browser.say(&serde_json::json!({ "type": "resume", "resume": secret })).await;
        browser
    }

    /// The next text frame; pings are answered meanwhile.
    pub(crate) async fn text(&mut self) -> String {
        match self.next().await {
            Ok(text) => text,
            Err(closed) => panic!("a text was expected, not {closed:?}"),
        }
    }

    /// The next message of the JSON protocol.
    pub(crate) async fn message(&mut self) -> Value {
        serde_json::from_str(&self.text().await).expect("a JSON message")
    }

    /// The next message of this type; others are passed over.
    pub(crate) async fn message_of(&mut self, wanted: &str) -> Value {
        loop {
            let message = self.message().await;
            if message["type"] == wanted {
                return message;
            }
        }
    }

    /// How the socket ends; nothing else must come before.
    pub(crate) async fn closed(&mut self) -> Closed {
        match self.next().await {
            Ok(text) => panic!("the end was expected, not {text}"),
            Err(closed) => closed,
        }
    }

    /// The next text, or how the socket ended.
    pub(crate) async fn next(&mut self) -> Result<String, Closed> {
        self.next_within(PATIENCE).await.expect("neither a text nor an end")
    }

    /// The same, or `None` after this time.
    pub(crate) async fn next_within(&mut self, time: Duration) -> Option<Result<String, Closed>> {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                    Some(Ok(Message::Close(frame))) => {
                        // The answer to the Close goes out with the next read.
                        let _ = self.socket.next().await;
                        let code = frame.map_or(1005, |frame| frame.code.into());
                        return Err(Closed::Code(code));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Err(Closed::Lost),
                }
            }
        };
        timeout(time, next).await.ok()
    }

    /// Says a message of the JSON protocol.
    pub(crate) async fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string()).await;
    }

    /// Says this text.
    pub(crate) async fn say_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("it is open");
    }

    /// The plain protocol's token; then the connection ends without an answer to the Close.
    pub(crate) async fn token_without_close(self) -> String {
        let mut stream = self.socket.into_inner();
        let mut bytes = vec![0; 4096];
        let mut have = 0;
        // One frame of 126 to 65535 bytes: two bytes, then two of length.
        let whole = |bytes: &[u8], have| {
            let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
            (have >= 4 && have >= 4 + length).then(|| bytes[4..4 + length].to_vec())
        };
        loop {
            let read = timeout(PATIENCE, stream.read(&mut bytes[have..])).await;
            let read = read.expect("a token in time").expect("an open connection");
            assert_ne!(read, 0, "closed without a token");
            have += read;
            if let Some(token) = whole(&bytes, have) {
                return String::from_utf8(token).expect("a text");
            }
        }
    }

    /// The same, where the socket may be lost.
    pub(crate) async fn try_say(&mut self, message: &Value) -> Result<(), tungstenite::Error> {
        self.socket.send(Message::text(message.to_string())).await
    }

    /// Closes with 1000 and leaves, in at most this time.
    pub(crate) async fn leave_within(self, time: Duration) {
        let _ = timeout(time, self.leave(1000)).await;
    }

    /// Sends a Close with this code and leaves.
    pub(crate) async fn leave(mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        let _ = self.socket.close(Some(frame)).await;
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}
