//! Browsers that wait, and do together what they are told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    crew::{Crew, Visitor, Wrong},
    pacer::Random,
    recorder::Step,
};

/// Connections that are being opened at the same time while a fleet assembles.
const OPENERS: usize = 128;
/// How long all may take to do what they were told.
const OBEY_TIME: Duration = Duration::from_secs(60);
/// Nobody waits longer.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// What all are told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    /// Wait.
    Stay,
    /// Lose the connection now, and come back at some moment within this time.
    Cut(Duration),
    /// The first so many: be scanned.
    LogIn(u64),
    /// This share of all, another one in each round: leave, and say so.
    Leave { share: f64, round: u64 },
}

/// Browsers that wait, until dropped: then they are gone without a word.
pub struct Fleet {
    tasks: JoinSet<()>,
    orders: watch::Sender<Order>,
    done: Arc<AtomicU64>,
    /// How many there were ever.
    ever: u64,
    /// How long it took until the last of those who came last had its key.
    pub assembled_in: Duration,
}

impl Fleet {
    /// Opens so many, as fast as they go, and waits until each has its key or has failed.
    pub async fn assemble(crew: &Arc<Crew>, browsers: u64) -> Self {
        let (orders, _) = watch::channel(Order::Stay);
        let (tasks, done, ever) = (JoinSet::new(), Arc::new(AtomicU64::new(0)), 0);
        let mut fleet = Self { tasks, orders, done, ever, assembled_in: Duration::ZERO };
        fleet.join(crew, browsers).await;
        fleet
    }

    /// Adds so many, as fast as they go.
    pub async fn join(&mut self, crew: &Arc<Crew>, browsers: u64) {
        let started = Instant::now();
        let left = Arc::new(AtomicU64::new(browsers));
        let mut openers = JoinSet::new();
        for _ in 0..OPENERS {
            openers.spawn(open_some(crew.clone(), left.clone()));
        }
        while let Some(opened) = openers.join_next().await {
            for visitor in opened.unwrap_or_default() {
                let number = self.ever;
                self.ever += 1;
                let member = Member { crew: crew.clone(), number, done: self.done.clone() };
                self.tasks.spawn(member.wait(visitor, self.orders.subscribe()));
            }
        }
        self.assembled_in = started.elapsed();
    }

    /// A share of them, chosen at random, leave and say so; how many are left.
    pub async fn thin_out(&mut self, share: f64, round: u64) -> usize {
        let all = self.waiting() as u64;
        self.order(Order::Leave { share, round }, all).await;
        self.waiting()
    }

    /// How many there are still.
    pub fn waiting(&mut self) -> usize {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len()
    }

    /// All connections are cut at once, without a word; all come back within this time, and go on
    /// with their logins where the protocol can. Returns when the last is back.
    pub async fn cut(&mut self, spread: Duration) {
        let all = self.waiting() as u64;
        self.order(Order::Cut(spread), all).await;
    }

    /// So many of them are scanned, all at once.
    pub async fn log_in(&mut self, most: u64) {
        let all = self.waiting() as u64;
        self.order(Order::LogIn(most), all).await;
    }

    /// All have heard it, and done what it means to them.
    async fn order(&mut self, order: Order, all: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.orders.send_replace(order);
        let deadline = Instant::now() + OBEY_TIME;
        while self.done.load(Ordering::Relaxed) < all && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn open_some(crew: Arc<Crew>, left: Arc<AtomicU64>) -> Vec<Visitor> {
    let mut opened = Vec::new();
    let one = |left| (left > 0_u64).then(|| left - 1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one).is_ok() {
        let begun = Instant::now();
        match crew.open().await {
            Ok(visitor) => opened.push(visitor),
            Err(Wrong(step, why)) => crew.recorder.failure(step, begun.elapsed(), &why),
        }
    }
    opened
}

struct Member {
    crew: Arc<Crew>,
    number: u64,
    done: Arc<AtomicU64>,
}

impl Member {
    async fn wait(self, visitor: Visitor, mut orders: watch::Receiver<Order>) {
        let mut visitor = Some(visitor);
        while let Some(mut waiting) = visitor.take() {
            let for_ever = Instant::now() + FOR_EVER;
            let order = tokio::select! {
                shown = self.crew.show_until(&mut waiting, for_ever) => {
                    if let Err(why) = shown {
                        self.crew.recorder.failure(Step::Key, Duration::ZERO, &why);
                        return;
                    }
                    Order::Stay
                },
                changed = orders.changed() => match changed {
                    Ok(()) => *orders.borrow_and_update(),
                    Err(_) => return,
                },
            };
            // Boxed: what happens now and then must not be part of what waits.
            visitor = Box::pin(self.obey(waiting, order)).await;
            if order != Order::Stay {
                self.done.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn obey(&self, waiting: Visitor, order: Order) -> Option<Visitor> {
        let begun = Instant::now();
        let result = match order {
            Order::LogIn(most) if self.number < most => {
                self.crew.log_in(waiting, begun).await.map(|()| None)
            }
            Order::Stay | Order::LogIn(_) => Ok(Some(waiting)),
            Order::Leave { share, round } => {
                if Random::new(self.number ^ round << 32).unit() >= share {
                    return Some(waiting);
                }
                let left = self.crew.cancel(waiting).await;
                left.map(|()| None).map_err(|why| Wrong(Step::End, why))
            }
            Order::Cut(spread) => {
                let (number, secret) = (waiting.number, waiting.shown.resume.clone());
                drop(waiting);
                tokio::time::sleep(spread.mul_f64(Random::new(number).unit())).await;
                match secret {
                    Some(secret) => self.crew.resume(number, &secret).await.map(Some),
                    None => self.crew.open().await.map(Some),
                }
            }
        };
        result.unwrap_or_else(|Wrong(step, why)| {
            self.crew.recorder.failure(step, begun.elapsed(), &why);
            None
        })
    }
}
