//! What reads and writes the stream of a [`Multiplexer`](super::Multiplexer).

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use redis::{PushKind, Value};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    RESPONSE_TIMEOUT,
    multiplexer::{Heard, Shared, Waiting},
    reply::{self, Scan},
    stream::Stream,
};

/// Bytes read at a time, and kept for it.
const CHUNK: usize = 16 * 1024;

/// What has been read and not been understood yet.
#[derive(Default)]
struct Input {
    /// Its first `filled` bytes are what has come.
    buffer: Vec<u8>,
    filled: usize,
    scan: Scan,
}

impl Input {
    /// Where to read to.
    fn room(&mut self) -> &mut [u8] {
        if self.buffer.len() < self.filled + CHUNK {
            self.buffer.resize(self.filled + CHUNK, 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// Hands on all messages that are complete.
    fn messages(&mut self, mut take: impl FnMut(Value) -> io::Result<()>) -> io::Result<()> {
        let mut begin = 0;
        while let Some(length) =
            self.scan.end(&self.buffer[begin..self.filled]).map_err(io::Error::other)?
        {
            let message = &self.buffer[begin..begin + length];
            take(reply::value(message).map_err(io::Error::other)?)?;
            begin += length;
        }
        self.buffer.copy_within(begin..self.filled, 0);
        self.filled -= begin;
        if self.filled == 0 && self.buffer.len() > 4 * CHUNK {
            // After a resync; nothing of that size comes again soon.
            self.buffer = Vec::new();
        }
        Ok(())
    }
}

/// Reads and writes the stream.
#[must_use = "nothing is asked or heard before it is polled"]
pub(super) struct Driver {
    shared: Arc<Shared>,
    stream: Box<dyn Stream>,
    input: Input,
    /// What is being written, and how much of it was.
    output: Vec<u8>,
    written: usize,
    heard: mpsc::UnboundedSender<Heard>,
    /// When the oldest answer is due; one timer for all of them.
    overdue: Pin<Box<Sleep>>,
    is_armed: bool,
    /// When what waits for a carrier goes out without one. None while nothing waits: a timer that is
    /// of no use any more would still wake the thread.
    departure: Option<Pin<Box<Sleep>>>,
}

impl Driver {
    /// Drives this stream for whoever shares that.
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: Box<dyn Stream>,
        heard: mpsc::UnboundedSender<Heard>,
    ) -> Self {
        Self {
            shared,
            stream,
            input: Input::default(),
            output: Vec::new(),
            written: 0,
            heard,
            overdue: Box::pin(tokio::time::sleep(RESPONSE_TIMEOUT)),
            is_armed: false,
            departure: None,
        }
    }

    /// Reads all that is there.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let mut room = ReadBuf::new(self.input.room());
            match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
                Poll::Pending => return Ok(()),
                Poll::Ready(result) => result?,
            }
            let read = room.filled().len();
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "Redis has closed"));
            }
            self.input.filled += read;
            let (shared, heard) = (&self.shared, &self.heard);
            self.input.messages(|value| take(shared, heard, value))?;
        }
    }

    /// Writes all that is to be written, as far as the stream takes it.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            if self.written == self.output.len() {
                self.output.clear();
                self.output.shrink_to(CHUNK);
                self.written = 0;
                let mut state = self.shared.lock();
                if state.out.is_empty() {
                    drop(state);
                    // TLS keeps what the network has not taken yet.
                    return match Pin::new(&mut self.stream).poll_flush(cx) {
                        Poll::Ready(result) => result,
                        Poll::Pending => Ok(()),
                    };
                }
                std::mem::swap(&mut self.output, &mut state.out);
            }
            let rest = &self.output[self.written..];
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Pending => return Ok(()),
                Poll::Ready(result) => match result? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    written => self.written += written,
                },
            }
        }
    }

    /// Lets those go that have waited for a carrier for long enough.
    fn poll_departure(&mut self, cx: &mut Context<'_>) {
        let mut state = self.shared.lock();
        let Some(due) = state.piggyback.due() else {
            self.departure = None;
            return;
        };
        let departure = self.departure.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if departure.deadline() != due {
            departure.as_mut().reset(due);
        }
        if departure.as_mut().poll(cx).is_ready() {
            state.let_piggyback_go(Instant::now());
            self.departure = None;
        }
    }

    /// Tells those who have waited for too long.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) {
        loop {
            let mut state = self.shared.lock();
            let mut waiting = state.waiting.iter_mut().filter(|one| one.told.is_some());
            let Some(oldest) = waiting.next() else { return };
            let due = oldest.asked + RESPONSE_TIMEOUT;
            if !std::mem::replace(&mut self.is_armed, true) {
                self.overdue.as_mut().reset(due);
            }
            if self.overdue.as_mut().poll(cx).is_pending() {
                return;
            }
            // It was the timer of one that was answered since, or of this one.
            self.is_armed = false;
            let now = Instant::now();
            if now >= due
                && let Some(told) = oldest.told.take()
            {
                let _ = told.send(Err(io::Error::from(io::ErrorKind::TimedOut).into()));
            }
        }
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // Both at each turn: who reads only when all is written may wait for a Redis that does the same.
        self.poll_read(cx)?;
        self.poll_departure(cx);
        self.poll_write(cx)?;
        self.poll_overdue(cx);
        Ok(())
    }
}

/// An answer, or a message.
fn take(shared: &Shared, heard: &mpsc::UnboundedSender<Heard>, value: Value) -> io::Result<()> {
    if let Value::Push { kind: PushKind::Message, data } = value {
        let mut data = data.into_iter();
        if let (Some(Value::BulkString(channel)), Some(Value::BulkString(text))) =
            (data.next(), data.next())
        {
            // The feed may have ended a moment before its line does.
            let _ = heard.send((channel, text));
        }
        return Ok(());
    }
    let is_answer = |kind: &PushKind| matches!(kind, PushKind::Subscribe | PushKind::Unsubscribe);
    if matches!(&value, Value::Push { kind, .. } if !is_answer(kind)) {
        return Ok(());
    }
    let mut state = shared.lock();
    let Some(first) = state.waiting.front_mut() else {
        return Err(io::Error::other("Redis answered what nobody had asked"));
    };
    if let Some(whole) = first.answers.take(value)
        && let Some(Waiting { told: Some(told), .. }) = state.waiting.pop_front()
    {
        // Whoever has asked may have left.
        let _ = told.send(Ok(whole));
    }
    Ok(())
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.shared.lock();
            if state.ended.is_some() {
                return Poll::Ready(());
            }
            // Before anything is looked at: what is asked from here on wakes it again.
            state.driver = Some(cx.waker().clone());
        }
        match self.poll_all(cx) {
            Ok(()) => Poll::Pending,
            Err(error) => {
                self.shared.lock().end(Some(error));
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.lock().end(None);
    }
}
