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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, Value, aio};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    driver::Driver,
    piggyback::{Piggyback, Role},
    stream::Stream,
};

/// Commands that may wait for their answers: what thousands of logins a second ask while Redis is
/// silent for [`RESPONSE_TIMEOUT`](super::RESPONSE_TIMEOUT). One more is refused at once.
pub(super) const MOST_WAITING: usize = 64 * 1024;
/// What refuses it.
pub(super) const FULL: (ErrorKind, &str) = (ErrorKind::Client, "too many commands wait for Redis");
/// A message that nobody asked for: the channel's name, and what was said there.
pub type Heard = (Vec<u8>, Vec<u8>);

/// Asks over the connection.
#[derive(Clone)]
pub struct Multiplexer {
    handle: Arc<Handle>,
    db: i64,
    /// What the commands that are asked over this handle are to others.
    role: Role,
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
pub(super) struct Shared(Mutex<State>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Shared`].
#[derive(Default)]
pub(super) struct State {
    /// What is still to be written.
    pub(super) out: Vec<u8>,
    /// Whoever waits, in the order in which they asked: that of the answers.
    pub(super) waiting: VecDeque<Waiting>,
    /// What has not been asked yet, but will be before long.
    pub(super) piggyback: Piggyback,
    /// Wakes the driver.
    pub(super) driver: Option<Waker>,
    /// Set once nothing can be asked any more; why, where it was an error.
    pub(super) ended: Option<Option<io::Error>>,
}

impl State {
    pub(super) fn end(&mut self, why: Option<io::Error>) {
        if self.ended.is_none() {
            self.ended = Some(why);
        }
        // Whoever waits hears that nobody will answer.
        self.waiting.clear();
        self.piggyback.clear();
        self.wake_driver();
    }

    /// Those that wait for a carrier are written from now on.
    pub(super) fn let_piggyback_go(&mut self, now: Instant) {
        let (bytes, waiting) = self.piggyback.take(now);
        self.out.append(bytes);
        self.waiting.extend(waiting);
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
pub(super) struct Waiting {
    pub(super) asked: Instant,
    pub(super) answers: Answers,
    /// Taken when it has waited for too long; its answers are skipped then.
    pub(super) told: Option<oneshot::Sender<RedisResult<Value>>>,
}

/// What somebody waits for.
pub(super) enum Answers {
    One,
    /// How many are still to come, and those that came.
    Several(usize, Vec<Value>),
    /// The confirmations of one command's channels, or one error instead of them.
    Confirmations(usize),
}

impl Answers {
    /// Takes the next answer; the whole, if that was the last.
    pub(super) fn take(&mut self, value: Value) -> Option<Value> {
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
        let driver = Driver::new(shared.clone(), stream, heard);
        (Self { handle: Arc::new(Handle(shared)), db, role: Role::Plain }, driver)
    }

    /// The same connection, for commands of this role.
    pub(super) fn with_role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// Listens to channels.
    ///
    /// # Errors
    /// As for any command: after [`RESPONSE_TIMEOUT`](super::RESPONSE_TIMEOUT), or when the connection ends.
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
        // One that waits may be the end of an earlier subscription to the same channel.
        self.handle.0.lock().let_piggyback_go(Instant::now());
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
            if state.waiting.len() + state.piggyback.len() >= MOST_WAITING {
                return Err(FULL.into());
            }
            let (told, answer) = oneshot::channel();
            let now = Instant::now();
            let waiting = Waiting { asked: now, answers, told: Some(told) };
            if self.role == Role::Passenger && state.piggyback.may_wait(now) {
                state.piggyback.put(waiting, put);
            } else {
                put(&mut state.out);
                state.waiting.push_back(waiting);
                if self.role == Role::Carrier {
                    state.piggyback.carrier(now);
                    state.let_piggyback_go(now);
                }
            }
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

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use redis::aio::ConnectionLike;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::{JoinHandle, LocalSet},
    };

    use super::*;

    /// A multiplexer, its driver at work, and the other end of its stream: Redis's.
    pub(in crate::store::redis) struct Wired {
        pub(in crate::store::redis) line: Multiplexer,
        driver: JoinHandle<()>,
        pub(in crate::store::redis) redis: DuplexStream,
        heard: mpsc::UnboundedReceiver<Heard>,
    }

    pub(in crate::store::redis) fn wired() -> Wired {
        let (ours, redis) = duplex(64 * 1024);
        let (tell, heard) = mpsc::unbounded_channel();
        let (line, driver) = Multiplexer::new(Box::new(ours), 0, tell);
        Wired { line, driver: tokio::task::spawn_local(driver), redis, heard }
    }

    pub(in crate::store::redis) fn get(
        line: &Multiplexer,
        key: &str,
    ) -> JoinHandle<RedisResult<Value>> {
        let (mut line, command) = (line.clone(), redis::cmd("GET").arg(key).take());
        tokio::task::spawn_local(async move { line.req_packed_command(&command).await })
    }

    /// Reads as much as these commands are.
    pub(in crate::store::redis) async fn expect(redis: &mut DuplexStream, commands: &[&Cmd]) {
        let expected: Vec<u8> = commands.iter().flat_map(|one| one.get_packed_command()).collect();
        let mut asked = vec![0; expected.len()];
        redis.read_exact(&mut asked).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&asked), String::from_utf8_lossy(&expected));
    }

    /// An answer that never comes is a failure, not a test that hangs.
    pub(in crate::store::redis) async fn within_a_minute(test: impl Future<Output = ()>) {
        let test = tokio::time::timeout(Duration::from_secs(60), test);
        LocalSet::new().run_until(test).await.expect("an answer");
    }

    pub(in crate::store::redis) async fn until_idle() {
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
        within_a_minute(test).await;
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
        within_a_minute(test).await;
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
        within_a_minute(test).await;
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
            within_a_minute(test).await;
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
        within_a_minute(test).await;
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
        within_a_minute(test).await;
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
        within_a_minute(test).await;
    }
}
