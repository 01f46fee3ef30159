//! What each worker thread has of its own: a store, a registry, a feed.
//!
//! A login is registered on the thread that holds its socket, and its notification arrives on that
//! thread's own connection, so that nothing about it has to cross from one thread to another: with
//! one registry for all, waking threads cost a third of a login (docs/capacity.md). Two threads of
//! an instance know of each other no more than two instances do.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{Notify, mpsc};

use crate::{
    clock::Clock,
    config::Config,
    connection::OpenConnections,
    crash::Crash,
    feed::{self, Feed, Mechanisms},
    http::Limits,
    journal::Journal,
    keys::Entropy,
    metrics::Metrics,
    pulse,
    registry::{DetachedPool, Registry, RegistryAddr},
    socket::{Admission, Background, Waiting, Worker},
    store::{
        EmbeddedStore, Store, StoreFactory,
        redis::{Connector, ThreadLine},
    },
    tokens::{AppAuth, FactsKey, Issuer, Webhook},
};

/// Changes that may wait for a thread's registry with the embedded store.
const CHANGES: usize = 1024;

/// The store that all threads share.
#[derive(Clone)]
pub(super) enum Shelf {
    /// In this process.
    Embedded(EmbeddedStore),
    /// In Redis.
    Redis(Arc<Connector>),
}

impl Shelf {
    /// Makes the store of each thread.
    pub(super) fn factory(&self) -> StoreFactory {
        match self {
            Self::Embedded(store) => StoreFactory::Embedded(store.clone()),
            Self::Redis(connector) => StoreFactory::Redis(connector.clone()),
        }
    }

    /// The store's clock minus our wall clock when they were last compared, in microseconds; `None` where
    /// they are one, or were not compared yet.
    pub(super) fn clock_offset(&self) -> Option<i64> {
        match self {
            Self::Embedded(_) => None,
            Self::Redis(connector) => connector.offset_from_wall(),
        }
    }
}

/// What a worker thread tells the application.
pub(super) enum ThreadEvent {
    /// It is there, and this is its registry.
    Started(RegistryAddr<Waiting>),
    /// Its feed has listened, or polled, for the first time.
    Listening,
    /// Its feed has ended.
    FeedDied,
}

/// How many events a thread sends in its life.
pub(super) const EVENTS: usize = 3;

/// What every worker thread gets.
#[derive(Clone)]
pub(super) struct Shared {
    pub config: Arc<Config>,
    pub shelf: Shelf,
    pub metrics: Arc<Metrics>,
    pub journal: Arc<Journal>,
    pub clock: Clock,
    pub entropy: Entropy,
    pub mechanisms: Mechanisms,
    pub crash: Crash,
    pub admission: Arc<Admission>,
    pub detached: Arc<DetachedPool>,
    pub connections: Arc<OpenConnections>,
    pub background: Arc<Background>,
    pub limits: Arc<Limits>,
    pub app_auth: Arc<AppAuth>,
    pub issuer: Arc<Issuer>,
    pub webhook: Option<Arc<Webhook>>,
    pub facts: Arc<FactsKey>,
    pub warned: Arc<feed::Warned>,
    pub events: mpsc::Sender<ThreadEvent>,
    /// Numbers the threads.
    pub threads: Arc<AtomicUsize>,
}

impl Shared {
    /// The parts of the calling thread, its registry and its feed started.
    pub(super) fn start_thread(&self) -> Rc<Worker> {
        let number = self.threads.fetch_add(1, Ordering::Relaxed);
        let series = self.metrics.threads.of(number);
        let line = Rc::new(ThreadLine::default());
        let store: Store = self.shelf.factory().make_on(line.clone(), &self.metrics, &self.clock);
        let measured = store.clone();
        let measure = move || {
            if measured.doubts_its_time() {
                let store = measured.clone();
                // Where it fails, the next look asks again.
                actix_rt::spawn(async move { store.token_time().await.map(drop) });
            }
        };
        actix_rt::spawn(pulse::watch(series, self.clock.clone(), measure));
        Rc::new(Worker {
            config: self.config.clone(),
            registry: self.start_registry(number, store.clone(), line),
            store,
            metrics: self.metrics.clone(),
            journal: self.journal.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy,
            admission: self.admission.clone(),
            connections: self.connections.clone(),
            bases: Default::default(),
            background: self.background.clone(),
            limits: self.limits.clone(),
            looks: Default::default(),
            app_auth: self.app_auth.clone(),
            issuer: self.issuer.clone(),
            webhook: self.webhook.clone(),
            facts: self.facts.clone(),
            crash: self.crash.clone(),
        })
    }

    fn start_registry(
        &self,
        number: usize,
        store: Store,
        line: Rc<ThreadLine>,
    ) -> RegistryAddr<Waiting> {
        let crash = self.crash.clone();
        let (clock, metrics) = (self.clock.clone(), self.metrics.clone());
        let (journal, detached) = (self.journal.clone(), self.detached.clone());
        let start = |feed| Registry::start(feed, store, clock, metrics, journal, detached, crash);
        let ready = Rc::new(Notify::new());
        match &self.shelf {
            Shelf::Embedded(embedded) => {
                let (sender, changes) = mpsc::channel(CHANGES);
                let feed = Feed::Embedded(feed::EmbeddedHandle::new(embedded.clone(), sender));
                let registry = start(feed);
                ready.notify_one();
                self.look_after(
                    ready,
                    feed::run_embedded(changes, registry.clone(), self.crash.clone()),
                );
                self.tell(ThreadEvent::Started(registry.clone()));
                registry
            }
            Shelf::Redis(connector) => {
                let handle = feed::RedisHandle::new(connector.names().clone());
                let registry = start(Feed::Redis(handle.clone()));
                let instance = feed::Instance {
                    line: number,
                    registry: registry.clone(),
                    connector: connector.clone(),
                    thread_line: line,
                    metrics: self.metrics.clone(),
                    clock: self.clock.clone(),
                    mechanisms: self.mechanisms,
                    crash: self.crash.clone(),
                    warned: self.warned.clone(),
                    ready: ready.clone(),
                };
                self.look_after(ready, feed::run_redis(instance, handle));
                self.tell(ThreadEvent::Started(registry.clone()));
                registry
            }
        }
    }

    /// Runs a feed, and tells when it first listens and if it ends.
    fn look_after(&self, ready: Rc<Notify>, feed: impl Future<Output = ()> + 'static) {
        let (listening, died) = (self.clone(), self.clone());
        actix_rt::spawn(async move {
            ready.notified().await;
            listening.tell(ThreadEvent::Listening);
        });
        let feed = actix_rt::spawn(feed);
        actix_rt::spawn(async move {
            // However it ends: a panic in it too.
            let _ = feed.await;
            died.tell(ThreadEvent::FeedDied);
        });
    }

    fn tell(&self, event: ThreadEvent) {
        // There is room for all that the threads have to say; closed only at the end.
        let _ = self.events.try_send(event);
    }
}
