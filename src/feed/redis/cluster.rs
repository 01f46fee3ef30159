//! A feed for each primary of a Cluster, and the map that says who hears of which slot.
//!
//! The map is read once a second. When it changes, the logins whose slots have moved are subscribed
//! at their new place, and then all records are read again. While a slot is on the move its keys
//! leave one by one although the map still shows the source, so its logins are polled.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use redis::RedisError;
use tokio::{task::JoinHandle, time::sleep};

use super::{
    Instance,
    lines::{Handle, Queue, Slots, Unheard},
    supervisor::Supervisor,
};
use crate::{
    config::{Node, RedisNodes},
    keys::LoginId,
    metrics::ResyncReason,
    registry::{Resync, Snapshot, Wakeable},
    store::redis::slot_of,
};

/// Between two looks at the map.
const LOOK: Duration = Duration::from_secs(1);
/// Slots of a Cluster.
const SLOTS: u16 = 16384;

/// The primaries with their slots, and the slots on the move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Map {
    primaries: BTreeMap<Node, Vec<Slots>>,
    moving: Vec<Slots>,
}

/// A primary that is listened to.
struct Listener {
    queue: Rc<Queue>,
    slots: Vec<Slots>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        self.queue.answer_all();
    }
}

/// Keeps a listener at each primary; returns only when the registry, or one of them, is gone.
pub(super) async fn run<A: Wakeable>(
    instance: Rc<Instance<A>>,
    handle: Handle,
    unheard: Rc<Unheard<A>>,
    canary: String,
) {
    handle.set_cluster(Vec::new());
    unheard.set_cluster(Vec::new(), true).await;
    let mut known = Map::default();
    let mut listeners: BTreeMap<Node, Listener> = BTreeMap::new();
    loop {
        match read_map(&instance, &known).await {
            Ok(map) if map != known => {
                if map.primaries != known.primaries {
                    tracing::info!(primaries = map.primaries.len(), "the Cluster's map changed");
                    if !known.primaries.is_empty() {
                        instance.connector.note_disturbance();
                    }
                    follow(&instance, &handle, &unheard, &canary, &map, &mut listeners).await;
                    let reason = ResyncReason::Topology;
                    if instance.mechanisms.resync
                        && instance.registry.ask(Resync(reason)).await.is_err()
                    {
                        return;
                    }
                }
                let covered: u32 = map
                    .primaries
                    .values()
                    .flatten()
                    .map(|slots| u32::from(slots.end() - slots.start()) + 1)
                    .sum();
                unheard.set_cluster(map.moving.clone(), covered < u32::from(SLOTS)).await;
                known = map;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the Cluster's map cannot be read"),
        }
        // A supervisor ends only where the registry is gone, or by a panic; and then nobody else
        // would notice that its node is not listened to any more.
        if listeners.values().any(|listener| listener.task.is_finished()) {
            return;
        }
        sleep(LOOK).await;
    }
}

/// Listens where the map says, and moves the subscriptions of logins whose slots have moved.
async fn follow<A: Wakeable>(
    instance: &Rc<Instance<A>>,
    handle: &Handle,
    unheard: &Rc<Unheard<A>>,
    canary: &str,
    map: &Map,
    listeners: &mut BTreeMap<Node, Listener>,
) {
    let ids = instance.registry.ask(Snapshot).await.unwrap_or_default();
    let before: Vec<_> = ids.iter().map(|id| handle.queue_of(*id)).collect();

    let gone: Vec<_> =
        listeners.keys().filter(|node| !map.primaries.contains_key(node)).cloned().collect();
    for node in gone {
        listeners.remove(&node);
        unheard.set_node(Some(node.clone()), false).await;
        instance.metrics.feed_connected.forget(&node.to_string(), instance.line);
    }
    // The map first, then the listeners: each starts from the logins that the map gives it.
    let queues: BTreeMap<Node, Rc<Queue>> = map
        .primaries
        .keys()
        .map(|node| {
            let queue = listeners.get(node).map(|listener| listener.queue.clone());
            (node.clone(), queue.unwrap_or_default())
        })
        .collect();
    let lines = map
        .primaries
        .iter()
        .flat_map(|(node, slots)| slots.iter().map(|slots| (slots.clone(), queues[node].clone())));
    handle.set_cluster(lines.collect());
    for (node, slots) in &map.primaries {
        let still_mine = |listener: &Listener| {
            let slot = slot_of(canary_in(canary, &listener.slots).as_bytes());
            slots.iter().any(|range| range.contains(&slot))
        };
        match listeners.get_mut(node) {
            Some(listener) if still_mine(listener) => {}
            // New, or its canary's slot has moved away.
            _ => {
                let queue = queues[node].clone();
                let supervisor = Supervisor::new(
                    instance.clone(),
                    handle.clone(),
                    queue.clone(),
                    unheard.clone(),
                    Some(node.clone()),
                    canary_in(canary, slots),
                );
                let task = actix_rt::spawn(supervisor.run());
                listeners.insert(node.clone(), Listener { queue, slots: slots.clone(), task });
            }
        }
    }
    subscribe_the_moved(handle, &ids, &before).await;
}

/// Subscribes at their new place those logins that another node heard of before.
async fn subscribe_the_moved(handle: &Handle, ids: &[LoginId], before: &[Option<Rc<Queue>>]) {
    let mut confirmed = Vec::new();
    for (id, before) in ids.iter().zip(before) {
        let moved = match (before, handle.queue_of(*id)) {
            (Some(before), Some(after)) => !Rc::ptr_eq(before, &after),
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if moved {
            confirmed.push(handle.subscribe(*id));
        }
    }
    for confirmed in confirmed {
        let _ = confirmed.await;
    }
}

/// A canary whose key lives in one of these slots.
fn canary_in(canary: &str, slots: &[Slots]) -> String {
    (0..=u32::from(SLOTS) * 16)
        .map(|number| format!("{canary}:{number}"))
        .find(|key| {
            let slot = slot_of(key.as_bytes());
            slots.iter().any(|slots| slots.contains(&slot))
        })
        // Only where there are no slots: then nothing is to be heard either.
        .unwrap_or_else(|| canary.to_owned())
}

/// Asks each primary for its view: all know who serves what, each knows what is leaving it.
async fn read_map<A: Wakeable>(instance: &Instance<A>, known: &Map) -> Result<Map, RedisError> {
    let RedisNodes::Cluster(configured) = instance.connector.nodes() else {
        return Ok(Map::default());
    };
    let mut map = None;
    let mut last = None;
    for node in known.primaries.keys().chain(configured) {
        match ask(instance, node).await {
            Ok(text) => {
                map = Some(parse(&text));
                break;
            }
            Err(error) => last = Some(error),
        }
    }
    let Some(mut map) = map else {
        let none = (redis::ErrorKind::Io, "no node of the Cluster is configured");
        return Err(last.unwrap_or_else(|| none.into()));
    };
    let mut moving = Vec::new();
    for node in map.primaries.keys() {
        if let Ok(text) = ask(instance, node).await {
            moving.extend(parse(&text).moving);
        }
    }
    moving.sort_by_key(|slots| *slots.start());
    moving.dedup();
    map.moving = moving;
    Ok(map)
}

async fn ask<A: Wakeable>(instance: &Instance<A>, node: &Node) -> Result<String, RedisError> {
    let mut connection = instance.connector.kept_connection(node).await?;
    let result = redis::cmd("CLUSTER").arg("NODES").query_async(&mut connection).await;
    if result.is_err() {
        instance.connector.forget_connection(node);
    }
    result
}

/// Reads `CLUSTER NODES`: a line a node, `id address flags primary ping pong epoch link slots...`.
fn parse(text: &str) -> Map {
    let mut map = Map::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(_id), Some(address), Some(flags)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let is = |wanted: &str| flags.split(',').any(|flag| flag == wanted);
        if !is("master") || is("fail") || is("noaddr") || is("handshake") {
            continue;
        }
        // `ip:port@bus` or, from Redis 7 on, `ip:port@bus,hostname`.
        let (address, hostname) = address.split_once(',').unwrap_or((address, ""));
        let address = address.split('@').next().unwrap_or_default();
        let Some((ip, port)) = address.rsplit_once(':') else { continue };
        let Ok(port) = port.parse() else { continue };
        let host = if hostname.is_empty() { ip } else { hostname };
        let mut slots = Vec::new();
        for word in words.skip(5) {
            if let Some(moving) = word.strip_prefix('[') {
                // `[slot->-id]` is leaving, `[slot-<-id]` is arriving.
                let slot = moving.split('-').next().and_then(|slot| slot.parse().ok());
                map.moving.extend(slot.map(|slot: u16| slot..=slot));
                continue;
            }
            let (from, to) = word.split_once('-').unwrap_or((word, word));
            if let (Ok(from), Ok(to)) = (from.parse(), to.parse()) {
                slots.push(from..=to);
            }
        }
        if !slots.is_empty() {
            map.primaries.insert(Node { host: host.into(), port }, slots);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_read_from_cluster_nodes() {
        let text = "\
a 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460 [93->-b] 5470
b 10.0.0.2:7001@17001,node-b master - 0 0 2 connected 5461-5469 5471-10922
c 127.0.0.1:7002@17002 slave a 0 0 1 connected
d 127.0.0.1:7003@17003 master,fail - 0 0 3 disconnected 10923-16383
e :0@0 master,noaddr - 0 0 4 disconnected
";
        let node = |host: &str, port| Node { host: host.into(), port };
        let map = parse(text);
        let primaries = [
            (node("127.0.0.1", 7000), vec![0..=5460, 5470..=5470]),
            (node("node-b", 7001), vec![5461..=5469, 5471..=10922]),
        ];
        assert_eq!(map.primaries, BTreeMap::from(primaries));
        assert_eq!(map.moving, [93..=93]);
    }

    #[test]
    fn a_canary_is_found_in_any_slots() {
        for slots in [vec![0..=0], vec![16383..=16383], vec![1..=2, 900..=900]] {
            let slot = slot_of(canary_in("scanlogin:probe:x", &slots).as_bytes());
            assert!(slots.iter().any(|slots| slots.contains(&slot)));
        }
    }
}
