//! One node's feed: connect, subscribe, probe, and start again when in doubt.

use std::{cell::Cell, collections::HashMap, rc::Rc, sync::atomic::Ordering, time::Duration};

use futures_util::{StreamExt, future::try_join_all, stream::FuturesUnordered};
use redis::RedisError;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use super::{
    Instance,
    lines::{Command, Handle, Queue, Unheard},
    probe::{PROBE_TIMEOUT, Probe},
};
use crate::{
    config::Node,
    crash::Part,
    keys::{Entropy, LoginId},
    metrics::ResyncReason,
    registry::{Changed, Resync, Snapshot, Wakeable},
    store::redis::{Heard, Multiplexer},
};

/// Channels named by one command.
const CHUNK: usize = 128;
/// Notifications that are handed over together.
const BATCH: usize = 1024;
/// Pauses between attempts to connect: none at first, where the line before had held, since whoever is
/// scanned meanwhile waits for it; then doubled each time, with jitter.
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
const BACK_OFF_MOST: Duration = Duration::from_secs(5);

/// How long a canary is there: for longer than the next one takes to be written.
const CANARY_LIFE: Duration = Duration::from_secs(30);

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("the connection was closed")]
    Closed,
    #[error("the canary's notification did not come within {PROBE_TIMEOUT:?}")]
    Deaf,
    #[error("a command got no answer on it, or one that ends it")]
    Broken,
    #[error("the registry is gone")]
    NoRegistry,
}

/// Between half and the whole, so that instances that lost the same Redis come back one by one.
fn jittered(most: Duration) -> Duration {
    let [byte] = Entropy::Os.bytes::<1>();
    most / 2 + most / 2 * u32::from(byte) / 255
}

struct Connected {
    line: Multiplexer,
    /// What Redis says unasked. Ends with the connection; the feed takes all that is there at each of
    /// its turns.
    heard: mpsc::UnboundedReceiver<Heard>,
}

/// Looks after one node.
pub(super) struct Supervisor<A: Wakeable> {
    instance: Rc<Instance<A>>,
    handle: Handle,
    queue: Rc<Queue>,
    unheard: Rc<Unheard<A>>,
    /// A primary of a Cluster; `None`: whoever is the primary of a single Redis now.
    node: Option<Node>,
    canary: String,
    /// When the canary was last written, if that was on this connection.
    written: Cell<Option<Instant>>,
    reason: Cell<ResyncReason>,
}

impl<A: Wakeable> Supervisor<A> {
    /// A supervisor of `node`, which hears of what `queue` is for, by way of `canary`.
    pub(super) fn new(
        instance: Rc<Instance<A>>,
        handle: Handle,
        queue: Rc<Queue>,
        unheard: Rc<Unheard<A>>,
        node: Option<Node>,
        canary: String,
    ) -> Self {
        let reason = Cell::new(ResyncReason::Connected);
        Self { instance, handle, queue, unheard, node, canary, written: Cell::default(), reason }
    }

    /// Keeps the node's feed up for ever; returns only when the registry is gone.
    pub(super) async fn run(mut self) {
        self.set_unheard(true).await;
        let mut back_off = BACK_OFF_FIRST;
        let mut again = false;
        loop {
            let started = Instant::now();
            let lost = match self.meanwhile(self.connect()).await {
                Ok((name, connection)) => {
                    if std::mem::replace(&mut again, true) {
                        self.instance.connector.note_disturbance();
                    }
                    let crash = self.instance.crash.clone();
                    let lost = tokio::select! {
                        lost = self.listen(&name, connection) => lost,
                        () = crash.comes(Part::Feed) => panic!("told to crash"),
                    };
                    self.share(None);
                    self.instance.metrics.feed_connected.down(&name, self.instance.line);
                    lost
                }
                Err(lost) => lost,
            };
            if matches!(lost, Lost::NoRegistry) {
                return;
            }
            self.instance.connector.note_disturbance();
            self.set_unheard(true).await;
            self.reason.set(match lost {
                Lost::Deaf => ResyncReason::Probe,
                _ if self.reason.get() == ResyncReason::Connected => ResyncReason::Connected,
                _ => ResyncReason::Reconnected,
            });
            if started.elapsed() > BACK_OFF_MOST {
                back_off = Duration::ZERO;
            }
            tracing::warn!(error = %lost, retry_in_ms = back_off.as_millis() as u64, "feed lost");
            self.meanwhile(sleep(jittered(back_off))).await;
            back_off = (back_off * 2).clamp(BACK_OFF_FIRST, BACK_OFF_MOST);
        }
    }

    async fn connect(&self) -> Result<(String, Connected), Lost> {
        let connector = &self.instance.connector;
        let node = match &self.node {
            Some(node) => node.clone(),
            None => connector.primary().await?.ok_or(Lost::Closed)?,
        };
        let (tell, heard) = mpsc::unbounded_channel();
        let line = connector.listen_to(&node, tell).await?;
        // All at once: a Redis that has just dropped thousands of subscriptions answers slowly.
        let (compared, (), ()) = tokio::join!(
            self.compare_clocks(line.clone()),
            self.enable_notifications(line.clone()),
            self.look_for_eviction(line.clone()),
        );
        compared?;
        Ok((node.to_string(), Connected { line, heard }))
    }

    async fn compare_clocks(&self, mut connection: Multiplexer) -> Result<(), Lost> {
        let Instance { clock, connector, .. } = &*self.instance;
        let sent = clock.moment();
        let time = redis::cmd("TIME").query_async(&mut connection).await?;
        connector.compare_clocks(time, sent, clock);
        Ok(())
    }

    /// Writes the canary, and measures Redis's clock by the way. Whether Redis has forgotten the canary
    /// before: a FLUSHALL breaks no connection.
    async fn probe(&self, mut connection: Multiplexer) -> Result<bool, Lost> {
        let Instance { clock, connector, .. } = &*self.instance;
        let (sent, now) = (clock.moment(), Instant::now());
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(&self.canary);
        let life = CANARY_LIFE.as_millis() as u64;
        pipeline.cmd("SET").arg(&self.canary).arg(1).arg("PX").arg(life).ignore().cmd("TIME");
        let (before, time) = pipeline.query_async::<(Option<u8>, _)>(&mut connection).await?;
        connector.compare_clocks(time, sent, clock);
        let written = self.written.replace(Some(now));
        // Half its life, since Redis's clock need not run as ours does.
        let is_due = written.is_some_and(|at| now - at < CANARY_LIFE / 2);
        Ok(is_due && before.is_none())
    }

    /// All records are made again, as after a connection to a Redis that came back empty.
    async fn was_forgotten(&self) -> Result<(), Lost> {
        tracing::warn!("Redis has forgotten what was written a moment ago");
        self.instance.connector.note_disturbance();
        if self.instance.mechanisms.resync {
            let asked = self.instance.registry.ask(Resync(ResyncReason::Probe)).await;
            asked.map_err(|_| Lost::NoRegistry)?;
        }
        Ok(())
    }

    /// Lets the store of this thread use the line, where one server has all keys.
    fn share(&self, line: Option<&Multiplexer>) {
        match line {
            Some(line) if self.node.is_none() => self.instance.thread_line.put(line.clone().into()),
            _ => self.instance.thread_line.take(),
        }
    }

    /// Turns on the one class of events that carries a transition, and leaves on what others use.
    async fn enable_notifications(&self, mut connection: Multiplexer) {
        const SETTING: &str = "notify-keyspace-events";
        let Some(flags) = setting(SETTING, &mut connection).await else { return };
        if flags.contains('K') && flags.contains(['$', 'A']) {
            return;
        }
        let wanted = format!("{flags}K$");
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg(SETTING).arg(&wanted);
        match set.query_async::<()>(&mut connection).await {
            Ok(()) => tracing::info!(setting = SETTING, value = wanted, "changed Redis's setting"),
            // The probe will tell what it means.
            Err(error) => tracing::debug!(%error, "CONFIG SET is not allowed"),
        }
    }

    /// Warns of a Redis that would rather drop logins than refuse new ones.
    async fn look_for_eviction(&self, mut connection: Multiplexer) {
        let Some(policy) = setting("maxmemory-policy", &mut connection).await else { return };
        if policy != "noeviction" && !self.instance.warned.evicts.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                policy,
                "Redis drops logins when its memory is full, since every key of ours has a TTL: set \
                 maxmemory-policy to noeviction there"
            );
        }
    }

    /// Subscribes to everything, then listens until something is wrong.
    async fn listen(&mut self, name: &str, mut connection: Connected) -> Lost {
        match self.listen_until_error(name, &mut connection).await {
            Ok(never) => match never {},
            Err(lost) => lost,
        }
    }

    async fn listen_until_error(
        &mut self,
        name: &str,
        connection: &mut Connected,
    ) -> Result<std::convert::Infallible, Lost> {
        self.written.set(None);
        let canary_channel = self.instance.connector.names().channel_of_key(&self.canary);
        connection.line.subscribe(std::slice::from_ref(&canary_channel)).await?;
        // What is queued by now is in the snapshot, or its end is: the order does not matter, since
        // what is subscribed to in vain is harmless and what is missing cannot be.
        let ids = self.instance.registry.ask(Snapshot).await.map_err(|_| Lost::NoRegistry)?;
        let mine = |id: &LoginId| {
            self.handle.queue_of(*id).is_some_and(|queue| Rc::ptr_eq(&queue, &self.queue))
        };
        let ids: Vec<_> = ids.into_iter().filter(mine).collect();
        // Who registers from now on may subscribe on it by itself.
        self.share(Some(&connection.line));
        // All at once: who was scanned meanwhile waits for the reading that comes after this.
        let line = &connection.line;
        let subscribe = async |ids: &[LoginId]| {
            let channels = ids.iter().map(|id| self.instance.connector.names().channel(*id));
            line.subscribe(&channels.collect::<Vec<_>>()).await
        };
        try_join_all(ids.chunks(CHUNK).map(subscribe)).await?;
        self.instance.metrics.feed_connected.up(name, self.instance.line);

        let mut in_flight = FuturesUnordered::new();
        let mut probe = self.instance.mechanisms.probe.then(Probe::new);
        // Without a probe there is nothing to wait for: it listens, as far as it knows.
        let mut heard = false;
        if probe.is_none() {
            heard = true;
            self.now_listening().await?;
        }
        let queue = self.queue.clone();
        let thread_line = self.instance.thread_line.clone();
        loop {
            let next_probe = probe.as_ref().map(Probe::due);
            tokio::select! {
                first = connection.heard.recv() => {
                    let first = first.ok_or(Lost::Closed)?;
                    let more = std::iter::from_fn(|| connection.heard.try_recv().ok());
                    let mut ids = Vec::new();
                    let mut canary = false;
                    for heard in std::iter::once(first).chain(more).take(BATCH) {
                        match self.meaning(&heard, &canary_channel) {
                            Meaning::Changed(id) => ids.push(id),
                            Meaning::Canary => canary = true,
                            Meaning::Nothing => {}
                        }
                    }
                    if !ids.is_empty() {
                        let told = self.instance.registry.ask(Changed(ids)).await;
                        told.map_err(|_| Lost::NoRegistry)?;
                    }
                    if canary && let Some(probe) = &mut probe {
                        if let Some(sent) = probe.heard() {
                            self.instance.metrics.feed_probe.observe(sent.as_secs_f64());
                        }
                        if !heard {
                            heard = true;
                            self.now_listening().await?;
                        }
                    }
                }
                () = queue.added.notified() => {
                    let commands = std::mem::take(&mut *queue.commands.borrow_mut());
                    for batch in self.batches(commands) {
                        in_flight.push(batch.send(connection.line.clone()));
                    }
                }
                Some(result) = in_flight.next() => result?,
                () = thread_line.left(), if self.node.is_none() => return Err(Lost::Broken),
                () = until(next_probe), if next_probe.is_some() => {
                    let Some(probe) = &mut probe else { continue };
                    if probe.is_out() {
                        if heard {
                            return Err(Lost::Deaf);
                        }
                        // Never heard since the connection was made: notifications are off, and
                        // a new connection would hear no more than this one.
                        self.not_to_be_had().await;
                        probe.give_up();
                        // With the canaries alone it would be every 7 s.
                        self.compare_clocks(connection.line.clone()).await?;
                        continue;
                    }
                    probe.send();
                    if self.probe(connection.line.clone()).await? {
                        self.was_forgotten().await?;
                    }
                }
            }
        }
    }

    fn meaning(&self, (channel, text): &Heard, canary_channel: &str) -> Meaning {
        // Other classes may be on for other users of this Redis: only `set` carries a transition.
        if text != b"set" {
            return Meaning::Nothing;
        }
        match std::str::from_utf8(channel) {
            Ok(channel) if channel == canary_channel => Meaning::Canary,
            Ok(channel) => {
                let id = self.instance.connector.names().login_of(channel);
                id.map_or(Meaning::Nothing, Meaning::Changed)
            }
            Err(_) => Meaning::Nothing,
        }
    }

    /// Commands of the same kind that stand together go out as one.
    fn batches(&self, commands: Vec<Command>) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for command in commands {
            let (on, id, done) = match command {
                Command::Subscribe(id, done) => (true, id, done),
                Command::Unsubscribe(id, done) => (false, id, done),
            };
            let channel = self.instance.connector.names().channel(id);
            match batches.last_mut() {
                Some(last) if last.on == on && last.channels.len() < CHUNK => {
                    last.channels.push(channel);
                    last.done.push(done);
                }
                _ => batches.push(Batch { on, channels: vec![channel], done: vec![done] }),
            }
        }
        batches
    }

    async fn now_listening(&self) -> Result<(), Lost> {
        self.set_unheard(false).await;
        let reason = self.reason.replace(ResyncReason::Reconnected);
        if self.instance.mechanisms.resync || reason == ResyncReason::Connected {
            let asked = self.instance.registry.ask(Resync(reason)).await;
            asked.map_err(|_| Lost::NoRegistry)?;
        }
        self.instance.ready.notify_one();
        tracing::info!(?reason, "listening to keyspace notifications");
        Ok(())
    }

    async fn not_to_be_had(&self) {
        if !self.instance.warned.no_notifications.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "Redis sends no keyspace notifications and does not let us turn them on: set \
                 notify-keyspace-events to K$ there. Until then all waiting logins are read once \
                 a second"
            );
        }
        self.set_unheard(true).await;
        self.instance.ready.notify_one();
    }

    async fn set_unheard(&self, unheard: bool) {
        // Polling is a resync that goes on: a test that turns it off means both.
        let unheard = unheard && self.instance.mechanisms.resync;
        self.unheard.set_node(self.node.clone(), unheard).await;
    }

    /// While there is no connection: who wants to subscribe need not wait, since the snapshot at
    /// the next connection has it, and polling finds its changes until then.
    async fn meanwhile<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            self.queue.answer_all();
            tokio::select! {
                result = &mut work => return result,
                () = self.queue.added.notified() => {}
            }
        }
    }
}

/// A setting of Redis; `None` where we may not see it.
async fn setting(name: &str, connection: &mut Multiplexer) -> Option<String> {
    let mut get = redis::cmd("CONFIG");
    get.arg("GET").arg(name);
    let mut found: HashMap<String, String> = get.query_async(connection).await.ok()?;
    Some(found.remove(name).unwrap_or_default())
}

async fn until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

enum Meaning {
    Changed(LoginId),
    Canary,
    Nothing,
}

struct Batch {
    on: bool,
    channels: Vec<String>,
    done: Vec<oneshot::Sender<()>>,
}

impl Batch {
    async fn send(self, line: Multiplexer) -> Result<(), Lost> {
        let result = match self.on {
            true => line.subscribe(&self.channels).await,
            false => line.unsubscribe(&self.channels).await,
        };
        // Whatever came of it: a failure here brings a new connection with a new snapshot.
        for done in self.done {
            let _ = done.send(());
        }
        Ok(result?)
    }
}
