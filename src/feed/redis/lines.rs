//! Which Redis node hears of which login, and what waits to be sent there.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    ops::RangeInclusive,
    rc::Rc,
    sync::Arc,
};

use tokio::sync::{Notify, oneshot};

use crate::{
    config::Node,
    keys::LoginId,
    registry::{Poll, Polling, RegistryAddr, Wakeable},
    store::redis::Names,
};

/// Slots of a Cluster, from and to.
pub(super) type Slots = RangeInclusive<u16>;

pub(super) enum Command {
    Subscribe(LoginId, oneshot::Sender<()>),
    Unsubscribe(LoginId, oneshot::Sender<()>),
}

/// What waits to be sent to one node. Bounded by the registry: each entry and each of its ends is
/// in it once, and entries are bounded by `SCANLOGIN_MAX_WAITING`.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) commands: RefCell<Vec<Command>>,
    pub(super) added: Notify,
}

impl Queue {
    fn add(&self, command: Command) {
        self.commands.borrow_mut().push(command);
        self.added.notify_one();
    }

    /// Answers everything without sending it: the next connection starts from a snapshot.
    pub(super) fn answer_all(&self) {
        for command in std::mem::take(&mut *self.commands.borrow_mut()) {
            let (Command::Subscribe(_, done) | Command::Unsubscribe(_, done)) = command;
            let _ = done.send(());
        }
    }
}

/// Who hears of what.
enum Lines {
    /// One node hears of everything.
    One(Rc<Queue>),
    /// The primaries of a Cluster, each of its own slots: Redis announces a key's changes only
    /// where the key lives.
    Cluster(Vec<(Slots, Rc<Queue>)>),
}

/// What the registry's side holds.
#[derive(Clone)]
pub struct Handle {
    names: Names,
    lines: Rc<RefCell<Lines>>,
}

impl Handle {
    /// A single node, until a Cluster is found.
    pub fn new(names: Names) -> Self {
        Self { names, lines: Rc::new(RefCell::new(Lines::One(Rc::default()))) }
    }

    /// The queue of the single node.
    pub(super) fn only(&self) -> Rc<Queue> {
        match &*self.lines.borrow() {
            Lines::One(queue) => queue.clone(),
            Lines::Cluster(_) => Rc::default(),
        }
    }

    /// From now on, these nodes hear of these slots.
    pub(super) fn set_cluster(&self, lines: Vec<(Slots, Rc<Queue>)>) {
        if let Lines::One(queue) = self.lines.replace(Lines::Cluster(lines)) {
            queue.answer_all();
        }
    }

    /// Who hears of this login; nobody, while its slot has no known primary.
    pub(super) fn queue_of(&self, id: LoginId) -> Option<Rc<Queue>> {
        match &*self.lines.borrow() {
            Lines::One(queue) => Some(queue.clone()),
            Lines::Cluster(lines) => {
                let slot = self.names.slot(id);
                let line = lines.iter().find(|(slots, _)| slots.contains(&slot));
                line.map(|(_, queue)| queue.clone())
            }
        }
    }

    fn add(
        &self,
        id: LoginId,
        command: impl FnOnce(oneshot::Sender<()>) -> Command,
    ) -> oneshot::Receiver<()> {
        let (done, confirmed) = oneshot::channel();
        match self.queue_of(id) {
            Some(queue) => queue.add(command(done)),
            // Polled until somebody hears of it.
            None => drop(done.send(())),
        }
        confirmed
    }

    pub(in crate::feed) fn subscribe(&self, id: LoginId) -> oneshot::Receiver<()> {
        self.add(id, |done| Command::Subscribe(id, done))
    }

    pub(in crate::feed) fn unsubscribe(&self, id: LoginId) -> oneshot::Receiver<()> {
        self.add(id, |done| Command::Unsubscribe(id, done))
    }
}

/// What must be polled, because nobody hears of it.
pub(super) struct Unheard<A: Wakeable> {
    registry: RegistryAddr<A>,
    names: Names,
    /// Nodes that are not listened to; `None` stands for the primary of a single Redis.
    nodes: RefCell<BTreeSet<Option<Node>>>,
    /// Slots on the move: their keys leave one by one, while the map still shows the source.
    moving: RefCell<Vec<Slots>>,
    /// Slots that no known primary serves.
    uncovered: Cell<bool>,
    told: Cell<bool>,
}

impl<A: Wakeable> Unheard<A> {
    pub(super) fn new(registry: RegistryAddr<A>, names: Names) -> Self {
        Self {
            registry,
            names,
            nodes: RefCell::default(),
            moving: RefCell::default(),
            uncovered: Cell::new(false),
            told: Cell::new(false),
        }
    }

    /// A node is listened to, or is not.
    pub(super) async fn set_node(&self, node: Option<Node>, unheard: bool) {
        let changed = match unheard {
            true => self.nodes.borrow_mut().insert(node),
            false => self.nodes.borrow_mut().remove(&node),
        };
        if changed {
            self.tell().await;
        }
    }

    /// What the Cluster's map says.
    pub(super) async fn set_cluster(&self, moving: Vec<Slots>, uncovered: bool) {
        let was_uncovered = self.uncovered.replace(uncovered);
        let was_moving = self.moving.replace(moving);
        if was_uncovered != uncovered || was_moving != *self.moving.borrow() {
            self.tell().await;
        }
    }

    async fn tell(&self) {
        let everything = self.uncovered.get() || !self.nodes.borrow().is_empty();
        let moving = self.moving.borrow().clone();
        let poll = if everything {
            Poll::Everything
        } else if moving.is_empty() {
            Poll::Nothing
        } else {
            let names = self.names.clone();
            Poll::These(Arc::new(move |id| {
                let slot = names.slot(id);
                moving.iter().any(|slots| slots.contains(&slot))
            }))
        };
        let polling = !matches!(poll, Poll::Nothing);
        if self.told.replace(polling) || polling {
            let _ = self.registry.ask(Polling(poll)).await;
        }
    }
}
