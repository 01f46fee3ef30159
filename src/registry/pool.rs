//! Places for logins whose browser is away and may come back, on all threads of the instance.
//!
//! There are `SCANLOGIN_MAX_WAITING`, so that all sockets may be cut off at once and come back. One
//! client address (IPv6: /64) has a quarter of them. Past either, the oldest login that merely waits
//! ends: of that address, or of the one that holds most. A scanned login never does.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix::{Message, WeakRecipient};

use super::ConnId;
use crate::{keys::LoginId, metrics::Metrics, origin::ClientNetwork};

/// One address may have so many times less than there are.
const SHARES: usize = 4;

/// The registry is to end this login if its browser is still away and nobody has scanned it.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct MakeRoom {
    pub(super) id: LoginId,
    pub(super) conn: ConnId,
}

/// A login whose browser is away. Its connection's number grows with the connection's age, and no two
/// have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) from: ClientNetwork,
    pub(super) conn: ConnId,
}

/// The login that has a place, and the number of the registry that looks after it.
#[derive(Clone, Copy)]
pub(super) struct Holder {
    pub(super) id: LoginId,
    pub(super) thread: u16,
}

/// The places of an instance.
pub struct DetachedPool {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken>,
    metrics: Arc<Metrics>,
}

/// Everything is found in logarithmic time: a full pool ends a login for each that comes.
#[derive(Default)]
struct Taken {
    registries: Vec<WeakRecipient<MakeRoom>>,
    /// Those that may end, by address and age.
    waiting: BTreeMap<Place, Holder>,
    /// Those that somebody has scanned.
    wanted: HashSet<Place>,
    /// How many each address has.
    counts: HashMap<ClientNetwork, usize>,
    /// The addresses that have one that may end: who has most comes last, and of those who have as
    /// many the one with the oldest.
    ranks: BTreeSet<(usize, Reverse<ConnId>, ClientNetwork)>,
}

impl DetachedPool {
    /// Places for `most` logins, one at least.
    pub fn new(most: usize, metrics: Arc<Metrics>) -> Self {
        let most_of_one = (most / SHARES).max(1);
        Self { most: most.max(1), most_of_one, taken: Mutex::default(), metrics }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A registry whose logins will have places here: its number.
    pub(super) fn join(&self, registry: WeakRecipient<MakeRoom>) -> u16 {
        let mut taken = self.lock();
        taken.registries.push(registry);
        (taken.registries.len() - 1) as u16
    }

    /// The login has a place from now on. `waits`: nobody has scanned it, so it may end for another. If
    /// there is none left, another ends, or this one.
    pub(super) fn hold(&self, place: Place, holder: Holder, waits: bool) {
        let mut taken = self.lock();
        taken.remove(place);
        self.place(taken, place, holder, waits);
    }

    /// The same where it has a place, and is not about to end for another.
    pub(super) fn update(&self, place: Place, holder: Holder, waits: bool) {
        let mut taken = self.lock();
        if taken.remove(place) {
            self.place(taken, place, holder, waits);
        }
    }

    /// Whether it has a place: one that nobody holds has none while it is about to end for another.
    pub(super) fn holds(&self, place: Place) -> bool {
        self.lock().has(place)
    }

    fn place(&self, mut taken: MutexGuard<'_, Taken>, place: Place, holder: Holder, waits: bool) {
        taken.insert(place, holder, waits);
        let ends = taken.crowded(place.from, self.most, self.most_of_one);
        let ends = ends.and_then(|(place, Holder { id, thread })| {
            taken.remove(place);
            let registry = taken.registries.get(usize::from(thread))?.upgrade()?;
            Some((registry, MakeRoom { id, conn: place.conn }))
        });
        self.metrics.detached_logins.set(taken.len() as i64);
        drop(taken);
        if let Some((registry, make_room)) = ends {
            // Bounded: one for each login that has lost its connection.
            self.metrics.registry_mailbox.inc();
            registry.do_send(make_room);
        }
    }

    /// The login is over, or its browser has come back. Nothing happens where it has no place.
    pub(super) fn release(&self, place: Place) {
        let mut taken = self.lock();
        taken.remove(place);
        self.metrics.detached_logins.set(taken.len() as i64);
    }
}

impl Taken {
    fn len(&self) -> usize {
        self.waiting.len() + self.wanted.len()
    }

    /// The oldest login of this address that may end.
    fn oldest(&self, from: ClientNetwork) -> Option<Place> {
        let first = Place { from, conn: ConnId::FIRST };
        let (place, _) = self.waiting.range(first..).next()?;
        (place.from == from).then_some(*place)
    }

    fn rank(&self, from: ClientNetwork) -> Option<(usize, Reverse<ConnId>, ClientNetwork)> {
        let count = self.counts.get(&from).copied().unwrap_or_default();
        self.oldest(from).map(|oldest| (count, Reverse(oldest.conn), from))
    }

    /// Changes what one address has, and so its rank.
    fn change(&mut self, from: ClientNetwork, change: impl FnOnce(&mut Self)) {
        if let Some(rank) = self.rank(from) {
            self.ranks.remove(&rank);
        }
        change(self);
        self.ranks.extend(self.rank(from));
    }

    fn insert(&mut self, place: Place, holder: Holder, waits: bool) {
        self.change(place.from, |taken| {
            *taken.counts.entry(place.from).or_default() += 1;
            if waits {
                taken.waiting.insert(place, holder);
            } else {
                taken.wanted.insert(place);
            }
        });
    }

    fn has(&self, place: Place) -> bool {
        self.waiting.contains_key(&place) || self.wanted.contains(&place)
    }

    /// Whether it was there.
    fn remove(&mut self, place: Place) -> bool {
        if !self.has(place) {
            return false;
        }
        self.change(place.from, |taken| {
            taken.waiting.remove(&place);
            taken.wanted.remove(&place);
            if let Some(count) = taken.counts.get_mut(&place.from) {
                *count -= 1;
                if *count == 0 {
                    taken.counts.remove(&place.from);
                }
            }
        });
        true
    }

    /// Which login is to end, now that this address has one more.
    fn crowded(
        &self,
        from: ClientNetwork,
        most: usize,
        most_of_one: usize,
    ) -> Option<(Place, Holder)> {
        let of_one = self.counts.get(&from).is_some_and(|count| *count > most_of_one);
        let own = self.oldest(from).filter(|_| of_one);
        let place = own.or_else(|| {
            let (_, _, crowd) = self.ranks.last().filter(|_| self.len() > most)?;
            self.oldest(*crowd)
        })?;
        Some((place, *self.waiting.get(&place)?))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use actix::{Actor, Addr, Context, Handler};
    use tokio::{sync::mpsc, task::LocalSet};

    use super::*;
    use crate::keys::Entropy;

    /// A registry that tells what it is to end.
    struct Told(mpsc::UnboundedSender<ConnId>);

    impl Actor for Told {
        type Context = Context<Self>;
    }

    impl Handler<MakeRoom> for Told {
        type Result = ();

        fn handle(&mut self, MakeRoom { conn, .. }: MakeRoom, _: &mut Self::Context) {
            let _ = self.0.send(conn);
        }
    }

    struct Rig {
        pool: DetachedPool,
        told: mpsc::UnboundedReceiver<ConnId>,
        _registry: Addr<Told>,
    }

    impl Rig {
        fn new(most: usize) -> Self {
            let (sender, told) = mpsc::unbounded_channel();
            let (pool, registry) =
                (DetachedPool::new(most, Metrics::new().into()), Told(sender).start());
            assert_eq!(pool.join(registry.downgrade().recipient()), 0);
            Self { pool, told, _registry: registry }
        }

        fn hold(&self, place: Place, waits: bool) -> Place {
            self.pool.hold(place, Holder { id: LoginId::random(Entropy::Os), thread: 0 }, waits);
            place
        }

        /// One more of this address.
        fn more(&self, address: u32, waits: bool) -> Place {
            let from = ClientNetwork::of(IpAddr::V4(Ipv4Addr::from(address)));
            self.hold(Place { from, conn: ConnId::next() }, waits)
        }

        async fn ended(&mut self) -> Vec<ConnId> {
            tokio::task::yield_now().await;
            std::iter::from_fn(|| self.told.try_recv().ok()).collect()
        }

        fn count(&self) -> i64 {
            self.pool.metrics.detached_logins.get()
        }
    }

    async fn local(test: impl Future<Output = ()>) {
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn one_address_has_a_quarter_and_its_own_oldest_ends() {
        local(async {
            let mut rig = Rig::new(20);
            let other = rig.more(2, true);
            let own: Vec<_> = (0..8).map(|_| rig.more(1, true)).collect();
            let oldest: Vec<_> = own[..3].iter().map(|place| place.conn).collect();
            assert_eq!(rig.ended().await, oldest);
            assert_eq!(rig.count(), 6);
            // The place of one that came back is free.
            rig.pool.release(own[7]);
            rig.pool.release(own[7]);
            rig.more(1, true);
            assert_eq!((rig.ended().await, rig.count()), (vec![], 6));
            rig.pool.release(other);
            assert_eq!(rig.count(), 5);
        })
        .await;
    }

    #[tokio::test]
    async fn who_holds_most_loses_its_oldest_and_of_equals_the_oldest_of_all() {
        local(async {
            let mut rig = Rig::new(8);
            let alone = rig.more(9, true);
            let crowd: Vec<_> = (0..6).map(|number| rig.more(1 + number / 2, true)).collect();
            rig.more(4, true);
            assert_eq!(rig.ended().await, []);
            rig.more(5, true);
            assert_eq!(rig.ended().await, [crowd[0].conn], "the older of two of the first pair");
            rig.more(6, true);
            assert_eq!(rig.ended().await, [crowd[2].conn], "the next pair has most now");
            rig.more(7, true);
            assert_eq!(rig.ended().await, [crowd[4].conn]);
            // Everybody has one: the oldest of all.
            rig.more(8, true);
            assert_eq!(rig.ended().await, [alone.conn]);
        })
        .await;
    }

    #[tokio::test]
    async fn what_somebody_has_scanned_counts_and_never_ends() {
        local(async {
            let mut rig = Rig::new(4);
            let scanned: Vec<_> = (0..4).map(|_| rig.more(1, false)).collect();
            assert_eq!((rig.ended().await, rig.count()), (vec![], 4), "past its quarter");
            let waiting = rig.more(2, true);
            assert_eq!(rig.ended().await, [waiting.conn], "there is nobody else");
            // What was read of it before says nothing, while it is to end.
            rig.pool.update(waiting, Holder { id: LoginId::random(Entropy::Os), thread: 0 }, true);
            assert_eq!((rig.ended().await, rig.count()), (vec![], 4));
            // It was scanned a moment before: it stays, and whoever comes next has no place.
            rig.hold(waiting, false);
            assert_eq!((rig.ended().await, rig.count()), (vec![], 5));
            let next = rig.more(3, true);
            assert_eq!(rig.ended().await, [next.conn]);
            // Redis has forgotten the scan of one: it merely waits, and its address has too many.
            rig.hold(scanned[1], true);
            assert_eq!((rig.ended().await, rig.count()), (vec![scanned[1].conn], 4));
        })
        .await;
    }

    #[tokio::test]
    async fn nothing_is_kept_of_who_has_no_place() {
        local(async {
            let mut rig = Rig::new(100);
            let places: Vec<_> =
                (0..300).map(|number| rig.more(number % 70, number % 3 > 0)).collect();
            rig.ended().await;
            for place in places {
                rig.pool.release(place);
            }
            let taken = rig.pool.lock();
            let left =
                (taken.waiting.len(), taken.wanted.len(), taken.counts.len(), taken.ranks.len());
            assert_eq!(left, (0, 0, 0, 0));
        })
        .await;
    }
}
