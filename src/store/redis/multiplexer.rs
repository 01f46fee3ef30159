//! A connection that many ask over at a time, and that hears as well (RESP3).
//!
//! Written by hand, since every login waits for it four times and every waiting login is subscribed
//! to on it: for each command the redis crate's own would make a timer, two boxes and two channels,
//! and for each subscription it keeps the channel's name, a hundred bytes a browser that this thread's
//! registry has already (docs/capacity.md). Commands are put together and answers taken apart by
//! that crate all the same; what is here is who waits for which of them.
//!
//! A [`Multiplexer`] is a handle; whatever is asked within one turn of its thread goes out in one
//! write. The [`Driver`] owns the stream, and ends with it or when the last handle is dropped.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use redis::{Cmd, ErrorKind, Pipeline, PushKind, RedisError, RedisFuture, RedisResult, Value, aio};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{mpsc, oneshot},
    time::{Instant, Sleep},
};

use super::{
    RESPONSE_TIMEOUT,
    reply::{self, Scan},
    stream::Stream,
};

/// Commands that may wait for their answers: what thousands of logins a second ask while Redis is
/// silent for [`RESPONSE_TIMEOUT`]. One more is refused at once.
pub(super) const MOST_WAITING: usize = 64 * 1024;
/// What refuses it.
pub(super) const FULL: (ErrorKind, &str) = (ErrorKind::Client, "too many commands wait for Redis");
/// Bytes read at a time, and kept for it.
const CHUNK: usize = 16 * 1024;

/// A message that nobody asked for: the channel's name, and what was said there.
pub type Heard = (Vec<u8>, Vec<u8>);

/// Asks over the connection.
#[derive(Clone)]
pub struct Multiplexer {
    handle: Arc<Handle>,
    db: i64,
}

/// Lives as long as somebody may ask.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().end(None);
    }
}

/// What handles and the driver share. A lock, though all of it is on one thread: futures of the
/// redis crate have to be [`Send`].
#[derive(Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct State {
    /// What is still to be written.
    out: Vec<u8>,
    /// Whoever waits, in the order in which they asked: that of the answers.
    waiting: VecDeque<Waiting>,
    /// Wakes the driver.
    driver: Option<Waker>,
    /// Set once nothing can be asked any more; why, where it was an error.
    ended: Option<Option<io::Error>>,
}

impl State {
    fn end(&mut self, why: Option<io::Error>) {
        if self.ended.is_none() {
            self.ended = Some(why);
        }
        // Whoever waits hears that nobody will answer.
        self.waiting.clear();
        self.wake_driver();
    }

    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    fn end_error(&self) -> RedisError {
        let why = self.ended.as_ref().and_then(Option::as_ref);
        let why = why.map_or("the connection was closed".into(), io::Error::to_string);
        io::Error::new(io::ErrorKind::BrokenPipe, why).into()
    }
}

/// Waits for the answer to a command, or to several that were asked together.
struct Waiting {
    asked: Instant,
    answers: Answers,
    /// Taken when it has waited for too long; its answers are skipped then.
    told: Option<oneshot::Sender<RedisResult<Value>>>,
}

enum Answers {
    One,
    /// How many are still to come, and those that came.
    Several(usize, Vec<Value>),
    /// The confirmations of one command's channels, or one error instead of them.
    Confirmations(usize),
}

impl Answers {
    /// Takes the next answer; the whole, if that was the last.
    fn take(&mut self, value: Value) -> Option<Value> {
        match self {
            Self::One => Some(value),
            Self::Several(missing, values) => {
                values.push(value);
                *missing -= 1;
                (*missing == 0).then(|| Value::Array(std::mem::take(values)))
            }
            Self::Confirmations(missing) => {
                *missing -= 1;
                (*missing == 0 || matches!(value, Value::ServerError(_))).then_some(value)
            }
        }
    }
}

impl Multiplexer {
    /// A handle of this stream, and what drives it; `heard` gets the messages of channels, and is
    /// dropped when the connection ends. `db`: the database that was, or will be, selected on it.
    ///
    /// Unbounded, because the driver reads answers too and must not wait; what can be in it is one
    /// message for each change of a login that waits here.
    pub(super) fn new(
        stream: Box<dyn Stream>,
        db: i64,
        heard: mpsc::UnboundedSender<Heard>,
    ) -> (Self, Driver) {
        let shared = Arc::new(Shared::default());
        let driver = Driver {
            shared: shared.clone(),
            stream,
            input: Input::default(),
            output: Vec::new(),
            written: 0,
            heard,
            overdue: Box::pin(tokio::time::sleep(RESPONSE_TIMEOUT)),
            is_armed: false,
        };
        (Self { handle: Arc::new(Handle(shared)), db }, driver)
    }

    /// Listens to channels.
    ///
    /// # Errors
    /// As for any command: after [`RESPONSE_TIMEOUT`], or when the connection ends.
    pub async fn subscribe(&self, channels: &[String]) -> RedisResult<()> {
        self.confirmed("SUBSCRIBE", channels).await
    }

    /// Listens no more.
    ///
    /// # Errors
    /// As above.
    pub async fn unsubscribe(&self, channels: &[String]) -> RedisResult<()> {
        self.confirmed("UNSUBSCRIBE", channels).await
    }

    async fn confirmed(&self, name: &str, channels: &[String]) -> RedisResult<()> {
        if channels.is_empty() {
            // Redis would take that for all of them.
            return Ok(());
        }
        let mut command = redis::cmd(name);
        command.arg(channels);
        let answers = Answers::Confirmations(channels.len());
        let value = self.ask(answers, |out| command.write_packed_command(out)).await?;
        value.extract_error().map(drop)
    }

    async fn ask(&self, answers: Answers, put: impl FnOnce(&mut Vec<u8>)) -> RedisResult<Value> {
        let answer = {
            let mut state = self.handle.0.lock();
            if state.ended.is_some() {
                return Err(state.end_error());
            }
            if state.waiting.len() >= MOST_WAITING {
                return Err(FULL.into());
            }
            put(&mut state.out);
            let (told, answer) = oneshot::channel();
            let asked = Instant::now();
            state.waiting.push_back(Waiting { asked, answers, told: Some(told) });
            state.wake_driver();
            answer
        };
        answer.await.unwrap_or_else(|_| Err(self.handle.0.lock().end_error()))
    }
}

impl aio::ConnectionLike for Multiplexer {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.ask(Answers::One, |out| command.write_packed_command(out)))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            // A transaction's first answers say no more than that it was queued.
            let answers = Answers::Several(offset + count, Vec::with_capacity(offset + count));
            let put = |out: &mut Vec<u8>| out.extend(commands.get_packed_pipeline());
            match self.ask(answers, put).await? {
                Value::Array(mut values) => Ok(values.split_off(offset)),
                _ => Err((ErrorKind::UnexpectedReturnType, "an answer to each command").into()),
            }
        })
    }

    fn get_db(&self) -> i64 {
        self.db
    }
}

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
}

impl Driver {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use redis::aio::ConnectionLike;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::{JoinHandle, LocalSet},
    };

    use super::*;

    /// A multiplexer, its driver at work, and the other end of its stream: Redis's.
    struct Wired {
        line: Multiplexer,
        driver: JoinHandle<()>,
        redis: DuplexStream,
        heard: mpsc::UnboundedReceiver<Heard>,
    }

    fn wired() -> Wired {
        let (ours, redis) = duplex(64 * 1024);
        let (tell, heard) = mpsc::unbounded_channel();
        let (line, driver) = Multiplexer::new(Box::new(ours), 0, tell);
        Wired { line, driver: tokio::task::spawn_local(driver), redis, heard }
    }

    fn get(line: &Multiplexer, key: &str) -> JoinHandle<RedisResult<Value>> {
        let (mut line, command) = (line.clone(), redis::cmd("GET").arg(key).take());
        tokio::task::spawn_local(async move { line.req_packed_command(&command).await })
    }

    /// Reads as much as these commands are.
    async fn expect(redis: &mut DuplexStream, commands: &[&Cmd]) {
        let expected: Vec<u8> = commands.iter().flat_map(|one| one.get_packed_command()).collect();
        let mut asked = vec![0; expected.len()];
        redis.read_exact(&mut asked).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&asked), String::from_utf8_lossy(&expected));
    }

    async fn until_idle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn each_gets_its_own_answer_and_messages_between_them_are_heard() {
        let test = async {
            let Wired { line, mut redis, mut heard, .. } = wired();
            let (one, two) = (get(&line, "one"), get(&line, "two"));
            let cmd = |key| redis::cmd("GET").arg(key).take();
            expect(&mut redis, &[&cmd("one"), &cmd("two")]).await;
            let stream = b"$1\r\n1\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\nset\r\n$1\r\n2\r\n";
            // However it is cut.
            for byte in stream {
                redis.write_all(&[*byte]).await.unwrap();
                until_idle().await;
            }
            assert_eq!(one.await.unwrap().unwrap(), Value::BulkString(b"1".into()));
            assert_eq!(two.await.unwrap().unwrap(), Value::BulkString(b"2".into()));
            assert_eq!(heard.recv().await.unwrap(), (b"c".to_vec(), b"set".to_vec()));
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn who_leaves_takes_nobody_elses_answer_along() {
        let test = async {
            let Wired { line, mut redis, .. } = wired();
            let leaves = get(&line, "one");
            until_idle().await;
            leaves.abort();
            let stays = get(&line, "two");
            until_idle().await;
            redis.write_all(b"$1\r\n1\r\n$1\r\n2\r\n").await.unwrap();
            assert_eq!(stays.await.unwrap().unwrap(), Value::BulkString(b"2".into()));
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_for_too_long_is_told_and_the_late_answer_goes_to_nobody() {
        let test = async {
            let Wired { line, mut redis, .. } = wired();
            let first = get(&line, "one");
            tokio::time::sleep(Duration::from_secs(1)).await;
            let second = get(&line, "two");
            assert!(first.await.unwrap().unwrap_err().is_timeout());
            redis.write_all(b"$1\r\n1\r\n$1\r\n2\r\n").await.unwrap();
            assert_eq!(second.await.unwrap().unwrap(), Value::BulkString(b"2".into()));
            // The timer serves the next ones too.
            assert!(get(&line, "three").await.unwrap().unwrap_err().is_timeout());
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn a_stream_that_ends_or_is_no_redis_tells_everybody() {
        for (said, reason) in [
            (&b"-ERR to nobody\r\n"[..], "Redis answered what nobody had asked"),
            (b"$1\r\n1\r\nHTTP/1.1 400\r\n", "Redis sent what is not RESP3"),
            (b"", "Redis has closed"),
        ] {
            let test = async {
                let Wired { line, driver, mut redis, mut heard } = wired();
                let asked =
                    (!said.starts_with(b"-")).then(|| (get(&line, "one"), get(&line, "two")));
                until_idle().await;
                redis.write_all(said).await.unwrap();
                drop(redis);
                driver.await.unwrap();
                if let Some((one, two)) = asked {
                    assert_eq!(one.await.unwrap().is_ok(), said.starts_with(b"$"));
                    assert!(two.await.unwrap().unwrap_err().is_unrecoverable_error());
                }
                let error = get(&line, "three").await.unwrap().unwrap_err();
                assert!(error.is_unrecoverable_error());
                assert!(error.to_string().contains(reason), "{error}");
                assert_eq!(heard.recv().await, None);
            };
            LocalSet::new().run_until(test).await;
        }
    }

    #[tokio::test]
    async fn it_ends_with_its_last_handle() {
        let test = async {
            let Wired { line, driver, mut redis, .. } = wired();
            let other = line.clone();
            drop(line);
            until_idle().await;
            assert!(!driver.is_finished());
            drop(other);
            driver.await.unwrap();
            assert_eq!(redis.read(&mut [0]).await.unwrap(), 0, "closed");
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn one_more_than_may_wait_is_refused_and_the_others_are_answered() {
        let test = async {
            let Wired { line, redis, .. } = wired();
            let (mut reader, mut writer) = tokio::io::split(redis);
            let asked: Vec<_> = (0..MOST_WAITING).map(|_| get(&line, "one")).collect();
            let drain = tokio::task::spawn_local(async move {
                tokio::io::copy(&mut reader, &mut tokio::io::sink()).await
            });
            until_idle().await;
            let error = get(&line, "two").await.unwrap().unwrap_err();
            assert_eq!(error.kind(), FULL.0, "{error}");
            writer.write_all(&b"_\r\n".repeat(MOST_WAITING)).await.unwrap();
            for one in asked {
                assert_eq!(one.await.unwrap().unwrap(), Value::Nil);
            }
            assert!(!drain.is_finished());
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn a_subscription_is_confirmed_for_each_channel_or_refused_once() {
        let test = async {
            let Wired { line, mut redis, .. } = wired();
            let confirm = |kind: &str, name: &str| {
                format!(">3\r\n${}\r\n{kind}\r\n$1\r\n{name}\r\n:1\r\n", kind.len())
            };
            let subscribe = {
                let line = line.clone();
                async move { line.subscribe(&["a".into(), "b".into()]).await }
            };
            let subscribed = tokio::task::spawn_local(subscribe);
            until_idle().await;
            redis.write_all(confirm("subscribe", "a").as_bytes()).await.unwrap();
            until_idle().await;
            assert!(!subscribed.is_finished());
            redis.write_all(confirm("subscribe", "b").as_bytes()).await.unwrap();
            subscribed.await.unwrap().unwrap();
            let refused = async { line.unsubscribe(&["a".into(), "b".into()]).await };
            let (refused, ()) = tokio::join!(refused, async {
                until_idle().await;
                redis.write_all(b"-NOPERM no\r\n").await.unwrap();
            });
            assert_eq!(refused.unwrap_err().code(), Some("NOPERM"));
            // Nothing is left over: the next answer is the next one's.
            let next = get(&line, "one");
            until_idle().await;
            redis.write_all(b"_\r\n").await.unwrap();
            assert_eq!(next.await.unwrap().unwrap(), Value::Nil);
        };
        LocalSet::new().run_until(test).await;
    }
}
