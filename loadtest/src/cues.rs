//! What a play says about where it is: to whoever looks at the servers meanwhile, and to the other
//! processes that play the same.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::{
    proc::{self, Machine},
    target::{Usage, Watcher},
    workers::child::Link,
};

/// Who is told.
#[derive(Clone)]
pub enum Cues {
    /// This process plays alone.
    Alone(Arc<Observer>),
    /// The process that started this one.
    Worker(Arc<Link>),
}

impl Cues {
    /// Waits until all processes have come this far.
    pub async fn together(&self) {
        if let Self::Worker(link) = self {
            link.together().await;
        }
    }

    /// It begins to count.
    pub fn counting(&self) {
        match self {
            Self::Alone(observer) => observer.counting(),
            Self::Worker(link) => link.counting(),
        }
    }

    /// It has counted.
    pub fn counted(&self) {
        match self {
            Self::Alone(observer) => observer.counted(),
            Self::Worker(link) => link.counted(),
        }
    }
}

/// A look at the servers and at the client.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    usage: Usage,
    client: Duration,
    machine: Machine,
}

#[derive(Default)]
struct Looks {
    first: Option<Look>,
    last: Option<Look>,
    tasks: Vec<JoinHandle<()>>,
}

/// Looks at servers and client when it begins to count, and when it has counted: first and last, of
/// several processes.
pub struct Observer {
    servers: Watcher,
    clients: Vec<u32>,
    looks: Mutex<Looks>,
}

/// What was used while it counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// Between both looks.
    pub time: Duration,
    /// At the first.
    pub begun: Usage,
    /// At the last.
    pub ended: Usage,
    /// Processor time of all processes of the client.
    pub client: Duration,
    /// How busy all cores of this machine were, in percent.
    pub machine_percent: f64,
}

impl Observer {
    /// Of these servers, and of these processes.
    pub fn new(servers: Watcher, clients: Vec<u32>) -> Arc<Self> {
        Arc::new(Self { servers, clients, looks: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn look(&self) -> Look {
        let client = self.clients.iter().filter_map(|pid| proc::cpu(*pid)).sum();
        let machine = proc::machine();
        Look { at: Instant::now(), usage: self.servers.usage(), client, machine }
    }

    /// On a thread of its own: reading what a full process uses takes milliseconds.
    fn later(self: &Arc<Self>, note: fn(&mut Looks, Look)) {
        let me = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let look = me.look();
            note(&mut me.lock(), look);
        });
        self.lock().tasks.push(task);
    }

    /// It begins to count.
    pub fn counting(self: &Arc<Self>) {
        self.later(|looks, look| {
            looks.first.get_or_insert(look);
        });
    }

    /// It has counted.
    pub fn counted(self: &Arc<Self>) {
        self.later(|looks, look| looks.last = Some(look));
    }

    /// What was seen. Nothing, where it never counted.
    pub async fn finish(&self) -> Used {
        let tasks = std::mem::take(&mut self.lock().tasks);
        for task in tasks {
            let _ = task.await;
        }
        let looks = self.lock();
        let (Some(first), Some(last)) = (looks.first, looks.last) else { return Used::default() };
        Used {
            time: last.at.saturating_duration_since(first.at),
            begun: first.usage,
            ended: last.usage,
            client: last.client.saturating_sub(first.client),
            machine_percent: proc::busy(first.machine, last.machine),
        }
    }
}
