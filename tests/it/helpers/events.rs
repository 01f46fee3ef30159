//! A browser whose WebSockets are blocked: an event stream, or polls.

use std::net::SocketAddr;

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    PATIENCE,
    phone::{Answer, answer},
};

/// What an event stream says.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    Frame(Value),
    Close(u64),
    End,
}

pub(crate) struct Events {
    response: Response,
    text: String,
}

impl Events {
    /// Opens `/stream` with this body.
    pub(crate) async fn open(address: SocketAddr, body: &Value) -> Self {
        let response = post(address, "/stream", body).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "no-store, no-transform");
        assert_eq!(header("x-accel-buffering"), "no");
        Self { response, text: String::new() }
    }

    /// One of a new login, and its `key` message.
    pub(crate) async fn new(address: SocketAddr) -> (Self, Value) {
        let mut events = Self::open(address, &json!({})).await;
        let key = events.frame_of("key").await;
        (events, key)
    }

    /// The next event; comments are passed over.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let Some(data) = data else { continue };
                let data: Value = serde_json::from_str(data).expect("JSON");
                return match event.lines().next() {
                    Some("event: close") => Event::Close(data["code"].as_u64().expect("a code")),
                    _ => Event::Frame(data),
                };
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("more, or the end");
            match chunk.expect("a whole answer") {
                Some(chunk) => self.text += std::str::from_utf8(&chunk).expect("text"),
                None => return Event::End,
            }
        }
    }

    /// The next event, which must be a message of this type.
    pub(crate) async fn frame_of(&mut self, wanted: &str) -> Value {
        match self.next().await {
            Event::Frame(frame) if frame["type"] == wanted => frame,
            other => panic!("{wanted} was expected, not {other:?}"),
        }
    }

    /// The stream closes with this code, and ends.
    pub(crate) async fn closes(&mut self, code: u64) {
        assert_eq!(self.next().await, Event::Close(code));
        assert_eq!(self.next().await, Event::End);
    }
}

fn post(address: SocketAddr, path: &str, body: &Value) -> reqwest::RequestBuilder {
    Client::new().post(format!("http://{address}{path}")).json(body)
}

/// `POST /stream/poll`
pub(crate) async fn poll(address: SocketAddr, body: &Value) -> Answer {
    answer(post(address, "/stream/poll", body)).await
}

/// `POST /stream/message`
pub(crate) async fn tell(address: SocketAddr, resume: &str, kind: &str) -> Answer {
    let body = json!({ "resume": resume, "type": kind });
    answer(post(address, "/stream/message", &body)).await
}
