//! The TCP connection as actix-http sees it.

use std::{
    io,
    net::Shutdown,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use memchr::memmem;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::{Connection, SocketPlace, last_word, progress::Reading};
use crate::error::ApiError;

/// Bytes that are dropped at a time, on the stack.
const DROPPED: usize = 2048;

/// What actix-http answers with an empty 400: it has seen no request, and no handler does.
const NO_REQUEST: ApiError =
    ApiError::Malformed("No request of HTTP/1.1: a request line, exactly one Host, and headers");

/// Where an empty 400 begins with which these bytes end: no handler of ours answers so.
fn bare_400(bytes: &[u8]) -> Option<usize> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let start = memmem::rfind(bytes, b"HTTP/1.")?;
    let last = &bytes[start..];
    let is_bare = last.get(8..13) == Some(b" 400 ");
    memmem::find(last, b"\r\ncontent-length: 0\r\n").filter(|_| is_bare).map(|_| start)
}

/// A TCP connection whose bytes are watched.
pub struct GuardedStream {
    io: TcpStream,
    connection: Rc<Connection>,
}

impl GuardedStream {
    /// Watches this connection.
    pub fn new(io: TcpStream, connection: Rc<Connection>) -> Self {
        Self { io, connection }
    }

    /// The bare connection, and its place.
    pub fn into_parts(self) -> (TcpStream, Option<SocketPlace>) {
        (self.io, self.connection.into_socket())
    }

    /// Reads and forgets, until the client closes.
    fn poll_drop(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut bytes = [0; DROPPED];
            let mut bytes = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut bytes))?;
            if bytes.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Writes what stands before `start`, and in place of the empty 400 behind it one that says what
    /// was wrong.
    fn poll_write_refusal(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
        start: usize,
    ) -> Poll<io::Result<usize>> {
        let refused = [&buf[..start], &last_word(&NO_REQUEST)].concat();
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, &refused))?;
        // A client that leaves no room for so little has read none of what it was answered before.
        Poll::Ready(Ok(if written < start { written } else { buf.len() }))
    }

    /// Says the last word, if there is one and the client takes it at once.
    fn end(&mut self) -> io::Error {
        if let Some(word) = self.connection.last_word.take() {
            self.connection.answered_without_request(&word);
            let _ = self.io.try_write(&word);
        }
        io::ErrorKind::TimedOut.into()
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.connection.reading() {
            Reading::Go => {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                let bytes = &buf.filled()[before..];
                if !bytes.is_empty() {
                    this.connection.change(|progress| progress.read(bytes, Instant::now));
                }
                Poll::Ready(Ok(()))
            }
            Reading::Yield => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Reading::Pause => {
                this.connection.paused.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            Reading::Drop => this.poll_drop(cx),
            Reading::TooLarge | Reading::Over => Poll::Ready(Err(this.end())),
        }
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match bare_400(buf) {
            None => Pin::new(&mut this.io).poll_write(cx, buf),
            Some(start) => this.poll_write_refusal(cx, buf, start),
        };
        let connection = &this.connection;
        match &written {
            Poll::Ready(Ok(_)) => {
                if !connection.progress.borrow().serves() {
                    connection.answered_without_request(buf);
                }
                connection.progress.borrow_mut().wrote();
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => connection.progress.borrow_mut().is_stalled(Instant::now()),
        }
        written
    }

    /// actix-http calls it when all it had to write is written.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.connection.change(|progress| progress.flushed(Instant::now)) {
            let _ = socket2::SockRef::from(&this.io).shutdown(Shutdown::Write);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        match this.connection.reading() {
            // What the client still sends is taken, or a reset could overtake our answer.
            Reading::Drop => this.poll_drop(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}
