//! What one TCP connection may take of the service: time, memory and files, in each of its phases.
//!
//! actix-http reads heads and writes answers. Its timers cover a connection's first head and the
//! silence between two requests, and are off: all phases are bounded here, each head, silence, what
//! follows a request that is still under way, a body that nobody reads, an answer that nobody takes.
//! [`GuardedStream`] stands between the TCP connection and actix-http and sees the bytes; [`Bounded`] stands between
//! actix-http and the application and sees where a request begins and ends; [`guard`] ends the
//! connection when its time is over. The rules are in `progress`, without I/O.

mod bounded;
mod places;
mod progress;
mod stream;

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use self::progress::{Ended, Progress, Reading};
pub use self::{
    bounded::Bounded,
    places::{AddressPermit, OpenConnections, Place, Places, SocketPlace},
    progress::{KEEP_ALIVE, MAX_HEAD},
    stream::GuardedStream,
};
use crate::{
    error::ApiError,
    metrics::{ConnectionEnd, ConnectionState, Route, Status},
};

tokio::task_local! {
    /// What is served right now. Not actix-http's connection data, which would be three allocations for
    /// each connection and a look-up for each request.
    static CURRENT: Rc<Connection>;
}

/// One connection that speaks HTTP.
pub struct Connection {
    progress: RefCell<Progress>,
    /// Of a read that waits until the request under way is answered.
    paused: Cell<Option<Waker>>,
    /// What is written instead of an answer before the connection ends.
    last_word: Cell<Option<Bytes>>,
    state: Cell<ConnectionState>,
    is_upgrading: Cell<bool>,
    place: Cell<Option<Place>>,
    shared: Arc<OpenConnections>,
}

impl Connection {
    /// A connection on which nothing has been said yet.
    pub fn new(place: Place) -> Rc<Self> {
        let shared = place.shared().clone();
        shared.count(ConnectionState::Silent, 1);
        Rc::new(Self {
            progress: RefCell::new(Progress::new(Instant::now())),
            paused: Cell::default(),
            last_word: Cell::default(),
            state: Cell::new(ConnectionState::Silent),
            is_upgrading: Cell::default(),
            place: Cell::new(Some(place)),
            shared,
        })
    }

    /// The connection whose request is being served; `None` in a task of its own.
    pub fn current() -> Option<Rc<Self>> {
        CURRENT.try_with(Rc::clone).ok()
    }

    /// Whether a 101 may answer the request: actix-http takes it for a WebSocket handshake, and has let
    /// go of the connection.
    pub fn is_upgrading(&self) -> bool {
        self.is_upgrading.get()
    }

    /// The first byte is there.
    pub fn begin(&self) {
        self.change(|progress| *progress = Progress::new(Instant::now()));
    }

    /// The handler has read the request's body to its end.
    pub fn body_was_read(&self) {
        self.progress.borrow_mut().body_was_read();
    }

    /// Nothing that follows the request under way is answered.
    pub fn close_after_answer(&self) {
        self.progress.borrow_mut().close_after_answer();
    }

    /// Whether what follows the request under way is answered by nobody.
    pub fn closes(&self) -> bool {
        self.progress.borrow().closes()
    }

    /// Takes the place of this connection with the socket that it becomes.
    pub fn into_socket(&self) -> Option<SocketPlace> {
        self.place.take().map(SocketPlace::new)
    }

    /// Changes how far it has come, where that may change its state.
    fn change<T>(&self, change: impl FnOnce(&mut Progress) -> T) -> T {
        let mut progress = self.progress.borrow_mut();
        let result = change(&mut progress);
        let (before, now) = (self.state.get(), progress.state());
        drop(progress);
        if before != now {
            self.state.set(now);
            self.shared.count(before, -1);
            self.shared.count(now, 1);
            if let Some(waker) = self.paused.take() {
                waker.wake();
            }
        }
        result
    }

    /// Counts an answer that actix-http gave by itself: the request was none.
    fn answered_without_request(&self, bytes: &[u8]) {
        let status = bytes.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
        if let Some(status) = status.and_then(|status| str::from_utf8(status).ok()?.parse().ok()) {
            self.shared.metrics().http_requests.inc(Route::Other, Status::of(status));
        }
    }

    /// Its time is over.
    fn expire(&self) {
        let ended = self.change(Progress::expire);
        let reason = match ended {
            Ended::SlowHead => {
                self.last_word.set(Some(last_word(&ApiError::SlowHead)));
                ConnectionEnd::SlowHead
            }
            Ended::Silent => ConnectionEnd::Silent,
            Ended::SlowReader => ConnectionEnd::SlowReader,
            Ended::Closed => ConnectionEnd::Unclosed,
        };
        self.shared.ended(reason);
    }

    /// What a read may do now.
    fn reading(&self) -> Reading {
        let reading = self.progress.borrow_mut().reading();
        if reading == Reading::TooLarge {
            self.last_word.set(Some(last_word(&ApiError::HeadTooLarge)));
            self.shared.ended(ConnectionEnd::LargeHead);
        }
        reading
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.count(self.state.get(), -1);
    }
}

/// An answer without a request that could be asked for more than the connection.
fn last_word(error: &ApiError) -> Bytes {
    let wire = error.wire();
    let body = format!(r#"{{"code":{},"msg":"{}"}}"#, wire.code, wire.msg);
    Bytes::from(format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        wire.status.as_u16(),
        wire.status.canonical_reason().unwrap_or_default(),
        body.len()
    ))
}

/// Serves a connection until it ends or its time is over.
pub async fn guard(connection: Rc<Connection>, serve: impl Future) {
    let mut serve = pin!(CURRENT.scope(connection.clone(), serve));
    // Set anew when it fires, or for an earlier end: most ends are put off long before they come.
    let far = Duration::from_secs(3600);
    let mut alarm = pin!(sleep_until(Instant::now() + far));
    std::future::poll_fn(|cx| {
        if serve.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let Some(end) = connection.progress.borrow().end() else { return Poll::Pending };
            if alarm.deadline() > end || alarm.is_elapsed() {
                alarm.as_mut().reset(end);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if end <= Instant::now() {
                connection.expire();
                // It reads, and hears of its end: the last word is written there.
                let _ = serve.as_mut().poll(cx);
                return Poll::Ready(());
            }
        }
    })
    .await;
}
