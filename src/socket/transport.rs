//! Bytes in and out of an upgraded socket, with nothing held while it is idle.
//!
//! [`Incoming`] waits for readability and reads into the stack: an idle socket owns no buffer. It
//! checks each frame's declared length before the bytes go on, because the WebSocket codec checks
//! only once a whole frame is in memory. [`Wire`] takes the frames that the actor says; [`Pump`]
//! drives the actor and writes them. It never waits for the client to read before it lets the actor
//! run, so a client that does not read stops nothing but itself.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_codec::Encoder;
use actix_http::ws::{Codec, Message};
use actix_web::{Error, error::PayloadError};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use tokio::{
    io::Interest,
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::frame_guard::{FrameGuard, TooBig};
use crate::connection::SocketPlace;

/// Most bytes that may wait for a client that does not read: a hundred times what a login says.
pub const MAX_BACKLOG: usize = 64 * 1024;
/// How long the peer has to close its side after we closed ours. Dropping a socket with unread
/// input would send a reset, and that can destroy a token which is still on its way.
const LINGER: Duration = Duration::from_secs(2);

/// "More follows" (send(2), Linux): here, the end of the stream.
const MSG_MORE: i32 = 0x8000;

/// Bytes read at a time, on the stack.
const CHUNK: usize = 2048;

/// A socket, and what is to be written to it. Frames go here and not through the context's own queue,
/// which would keep its block for as long as the socket lives.
pub struct Wire {
    io: TcpStream,
    /// Without a block of its own while nothing waits.
    out: Cell<BytesMut>,
    /// Nothing more will be said.
    finished: Cell<bool>,
    /// Among the open connections.
    _place: Option<SocketPlace>,
}

impl Wire {
    /// A socket whose first bytes, the answer to its handshake, are still to be written: they go out
    /// together with the first frame.
    pub fn new(io: TcpStream, head: BytesMut) -> Self {
        Self { io, out: Cell::new(head), finished: Cell::new(false), _place: None }
    }

    /// The same, with the place that it has among the open connections.
    #[must_use]
    pub fn in_place(mut self, place: Option<SocketPlace>) -> Self {
        self._place = place;
        self
    }

    /// Adds to what is to be written.
    fn push(&self, add: impl FnOnce(&mut BytesMut)) {
        let mut out = self.out.take();
        add(&mut out);
        self.out.set(out);
    }

    /// After what was said, our side of the connection ends: the end travels with the last frame
    /// instead of in a segment of its own, which is worth 5 % of a login (docs/capacity.md). Only
    /// where nothing that the client may still say matters: a proxy in between may hang up on it.
    pub fn finish(&self) {
        self.finished.set(true);
    }

    /// Writes; `last`: the end of our side follows at once, and may go with it.
    fn write(&self, bytes: &[u8], last: bool) -> io::Result<usize> {
        if !last {
            return self.io.try_write(bytes);
        }
        let socket = socket2::SockRef::from(&self.io);
        self.io.try_io(Interest::WRITABLE, || socket.send_with_flags(bytes, MSG_MORE))
    }

    /// A read gave less than there was room for, so the next one would find nothing: it waits for the
    /// kernel to say that more has come, as tokio's own reads do where they can.
    fn was_emptied(&self) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.io.try_io(Interest::READABLE, nothing);
    }

    /// Asks whether the client is there: at once and without a block for it, unless something waits
    /// to be written already, or the connection takes nothing.
    pub fn ping(&self) {
        const PING: [u8; 2] = [0x89, 0];
        self.push(|out| {
            let written = if out.is_empty() { self.io.try_write(&PING).unwrap_or(0) } else { 0 };
            out.extend_from_slice(&PING[written..]);
        });
    }

    /// Says a frame; the pump writes it.
    pub fn say(&self, message: Message) {
        // The only error is a message that is no frame, such as a continuation out of place.
        self.push(|out| drop(Codec::new().encode(message, out)));
    }
}

/// What the client sends, as a stream for the WebSocket context.
pub struct Incoming {
    wire: Rc<Wire>,
    guard: FrameGuard,
    /// Bytes that came with the handshake.
    early: Bytes,
    /// A chunk was just handed on: the frames in it come first, or a flooding client would have
    /// everything it sends buffered before a single frame is looked at.
    yielded: bool,
    ended: bool,
}

impl Incoming {
    /// Reads from the socket, after the bytes that came early.
    pub fn new(wire: Rc<Wire>, early: Bytes) -> Self {
        Self { wire, guard: FrameGuard::default(), early, yielded: false, ended: false }
    }

    fn hand_on(&mut self, chunk: Bytes) -> Poll<Option<Result<Bytes, PayloadError>>> {
        self.yielded = true;
        Poll::Ready(Some(match self.guard.check(&chunk) {
            Ok(()) => Ok(chunk),
            Err(TooBig) => {
                self.ended = true;
                Err(PayloadError::Overflow)
            }
        }))
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if std::mem::take(&mut self.yielded) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            return self.hand_on(early);
        }
        loop {
            if ready!(self.wire.io.poll_read_ready(cx)).is_err() {
                self.ended = true;
                return Poll::Ready(None);
            }
            let mut chunk = [0; CHUNK];
            match self.wire.io.try_read(&mut chunk) {
                Ok(0) => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Ok(n) => {
                    if n < CHUNK {
                        self.wire.was_emptied();
                    }
                    return self.hand_on(Bytes::copy_from_slice(&chunk[..n]));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

/// How a socket's task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// Everything was written, and the peer has closed or had the time to.
    Closed,
    /// The connection broke.
    Broken,
    /// More than [`MAX_BACKLOG`] bytes waited for a client that does not read.
    Slow,
}

/// Drives the actor's context and writes what it says.
pub struct Pump<S> {
    wire: Rc<Wire>,
    /// The context; `None` once the actor has stopped.
    context: Option<Pin<Box<S>>>,
    /// Runs from when the actor has stopped.
    linger: Option<Pin<Box<Sleep>>>,
    shut: bool,
}

impl<S: Stream<Item = Result<Bytes, Error>>> Pump<S> {
    /// A pump between a context and its socket.
    pub fn new(wire: Rc<Wire>, context: S) -> Self {
        Self { wire, context: Some(Box::pin(context)), linger: None, shut: false }
    }

    /// Lets the actor run, and writes what it said.
    fn poll_context(&mut self, cx: &mut Context<'_>) -> Result<(), Pumped> {
        while let Some(context) = &mut self.context {
            match context.as_mut().poll_next(cx) {
                Poll::Pending => return self.poll_write(cx),
                // What the context's own queue was given, if anything.
                Poll::Ready(Some(Ok(bytes))) => {
                    self.wire.push(|out| out.extend_from_slice(&bytes));
                    self.poll_write(cx)?;
                }
                Poll::Ready(Some(Err(_)) | None) => {
                    self.context = None;
                    self.linger = Some(Box::pin(tokio::time::sleep(LINGER)));
                }
            }
        }
        self.poll_write(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), Pumped> {
        let mut out = self.wire.out.take();
        let written = self.poll_write_all(&mut out, cx);
        let is_written = out.is_empty();
        // An idle socket keeps no block for what it may say later.
        self.wire.out.set(if is_written { BytesMut::new() } else { out });
        written?;
        if is_written && self.wire.finished.get() { self.shut_once() } else { Ok(()) }
    }

    fn poll_write_all(&self, out: &mut BytesMut, cx: &mut Context<'_>) -> Result<(), Pumped> {
        let finished = self.wire.finished.get();
        while !out.is_empty() {
            match self.wire.write(out, finished) {
                Ok(n) => out.advance(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if out.len() > MAX_BACKLOG {
                        return Err(Pumped::Slow);
                    }
                    match self.wire.io.poll_write_ready(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => return Err(Pumped::Broken),
                        Poll::Pending => return Ok(()),
                    }
                }
                Err(_) => return Err(Pumped::Broken),
            }
        }
        Ok(())
    }

    /// Ends our side of the connection.
    fn shut_once(&mut self) -> Result<(), Pumped> {
        if std::mem::replace(&mut self.shut, true) {
            return Ok(());
        }
        let shut = socket2::SockRef::from(&self.wire.io).shutdown(std::net::Shutdown::Write);
        shut.map_err(|_| Pumped::Broken)
    }

    /// After the actor has stopped: write the rest, close our side, wait for the peer's.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<Pumped> {
        if let Some(linger) = &mut self.linger
            && linger.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Pumped::Closed);
        }
        if !self.shut {
            let out = self.wire.out.take();
            let is_written = out.is_empty();
            self.wire.out.set(out);
            if !is_written {
                return Poll::Pending;
            }
        }
        if let Err(pumped) = self.shut_once() {
            return Poll::Ready(pumped);
        }
        loop {
            if ready!(self.wire.io.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Pumped::Broken);
            }
            let mut chunk = [0; CHUNK];
            match self.wire.io.try_read(&mut chunk) {
                Ok(0) => return Poll::Ready(Pumped::Closed),
                // Both have said Close: nothing can come that our end of the connection would lose.
                Ok(n) if is_close(&chunk[..n]) => return Poll::Ready(Pumped::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Pumped::Broken),
            }
        }
    }
}

/// Whether a client has said Close, and nothing else (RFC 6455, 5.2: final, masked, short).
fn is_close(bytes: &[u8]) -> bool {
    matches!(bytes, [0x88, length @ 0x80..=0xfd, rest @ ..] if rest.len() == 4 + usize::from(length & 0x7f))
}

impl<S: Stream<Item = Result<Bytes, Error>>> Future for Pump<S> {
    type Output = Pumped;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pumped> {
        let this = &mut *self;
        if let Err(pumped) = this.poll_context(cx) {
            // Dropping the context stops the actor, which cleans up.
            this.context = None;
            return Poll::Ready(pumped);
        }
        if this.context.is_some() {
            return Poll::Pending;
        }
        this.poll_linger(cx)
    }
}

/// Writes a whole answer and closes; used where an upgrade is refused.
pub async fn write_and_close(io: &TcpStream, mut bytes: &[u8]) {
    let deadline = Instant::now() + LINGER;
    let work = async {
        while !bytes.is_empty() {
            io.writable().await?;
            match io.try_write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        socket2::SockRef::from(io).shutdown(std::net::Shutdown::Write)?;
        loop {
            io.ready(Interest::READABLE).await?;
            match io.try_read(&mut [0; CHUNK]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    };
    // Whatever goes wrong here, the peer is gone or will be.
    let _ = tokio::time::timeout_at(deadline, work).await;
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use tokio::net::TcpListener;

    use super::{super::frame_guard::tests::frame, *};

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, client)
    }

    fn wire(io: TcpStream) -> Rc<Wire> {
        Rc::new(Wire::new(io, BytesMut::new()))
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_cut_when_its_backlog_is_full() {
        let (server, _client) = pair().await;
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 1024])));
        assert_eq!(Pump::new(wire(server), endless).await, Pumped::Slow);
    }

    #[tokio::test]
    async fn what_was_said_last_arrives_although_the_client_had_more_to_say() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (server, mut client) = pair().await;
        client.write_all(&[7; 10_000]).await.unwrap();
        let said = stream::iter([Ok(Bytes::from_static(b"token"))]);
        let pump = Pump::new(wire(server), said);
        let client = async move {
            let mut text = Vec::new();
            client.read_to_end(&mut text).await.unwrap();
            assert_eq!(text, b"token");
        };
        assert_eq!(tokio::join!(pump, client).0, Pumped::Closed);
    }

    #[tokio::test]
    async fn who_has_said_close_is_not_waited_for_and_who_has_not_is() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let close = [0x88, 0x82, 0, 0, 0, 0, 3, 232];
        for (said, waited) in [(&close[..], false), (&close[..7], true), (&frame(2)[..], true)] {
            let (server, mut client) = pair().await;
            let pump = Pump::new(wire(server), stream::iter([Ok(Bytes::from_static(b"bye"))]));
            let mut pump = std::pin::pin!(tokio::time::timeout(LINGER / 2, pump));
            let mut client_says = async || {
                client.read_to_end(&mut Vec::new()).await.unwrap();
                client.write_all(said).await.unwrap();
                // Its end of the connection stays as it is.
            };
            let (pumped, ()) = tokio::join!(&mut pump, client_says());
            assert_eq!(pumped.is_err(), waited, "{said:?}");
        }
    }

    #[tokio::test]
    async fn a_flood_is_handed_on_a_chunk_at_a_time() {
        use tokio::io::AsyncWriteExt;
        let (server, mut client) = pair().await;
        let mut flood = frame(0);
        flood = flood.repeat(2000);
        client.write_all(&flood).await.unwrap();
        let mut incoming = Incoming::new(wire(server), Bytes::new());
        let first = incoming.next().await.unwrap().unwrap();
        assert!(first.len() <= CHUNK);
        let waker = futures_util::task::noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(incoming.poll_next_unpin(&mut cx).is_pending(), "the decoder's turn");
        assert!(incoming.poll_next_unpin(&mut cx).is_ready());
    }
}
