//! Who is connected, and from where: one place for each connection, of a number that leaves files
//! for the admin port and for Redis.

use std::{
    collections::HashMap,
    net::IpAddr,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use ipnet::IpNet;

use crate::{
    metrics::{ConnectionEnd, ConnectionState, Metrics, Port},
    origin,
};

/// The connections of one port, on all threads.
pub struct OpenConnections {
    port: Port,
    most: usize,
    open: AtomicUsize,
    addresses: Addresses,
    metrics: Arc<Metrics>,
}

/// How many connections, sockets and held calls a client address has.
#[derive(Default)]
struct Addresses {
    /// 0: they are not counted.
    most: usize,
    /// Behind these, clients are told apart by what the proxy says of each request.
    proxies: Vec<IpNet>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Addresses {
    fn enter(&self, address: IpAddr) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        let has_room = *count < self.most;
        *count += usize::from(has_room);
        has_room
    }

    fn leave(&self, address: IpAddr) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}

impl OpenConnections {
    /// Room for `most` connections of this port.
    pub fn new(port: Port, most: usize, metrics: Arc<Metrics>) -> Self {
        Self { port, most, open: AtomicUsize::default(), addresses: Addresses::default(), metrics }
    }

    /// The same, with at most `most` of one client address (IPv6: /64); 0: any number. Connections
    /// of these proxies are not counted, but the sockets and held calls of their clients.
    #[must_use]
    pub fn per_address(mut self, most: usize, proxies: &[IpNet]) -> Self {
        self.addresses = Addresses { most, proxies: proxies.to_vec(), open: Mutex::default() };
        self
    }

    /// What the connections of this peer are counted on, if they are.
    fn counted(&self, peer: IpAddr) -> Option<IpAddr> {
        let Addresses { most, proxies, .. } = &self.addresses;
        let peer = peer.to_canonical();
        let is_counted = *most > 0 && !proxies.iter().any(|proxy| proxy.contains(&peer));
        is_counted.then(|| origin::limit_key(peer))
    }

    /// Counts a waiting socket or a held call of a client behind a trusted proxy: `client` is its
    /// address, `peer` the connection's. `Ok(None)` where the connection is counted itself, or
    /// nothing is.
    ///
    /// # Errors
    /// The client's address has as many as it may.
    pub fn enter_behind_proxy(
        self: &Arc<Self>,
        peer: IpAddr,
        client: IpAddr,
    ) -> Result<Option<AddressPermit>, Crowded> {
        if self.addresses.most == 0 || self.counted(peer).is_some() {
            return Ok(None);
        }
        let address = origin::limit_key(client);
        if !self.addresses.enter(address) {
            return Err(Crowded);
        }
        Ok(Some(AddressPermit { connections: self.clone(), address: Some(address) }))
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn count(&self, state: ConnectionState, by: i64) {
        self.metrics.connections.add(self.port, state, by);
    }

    /// Counts a connection that a limit has ended.
    pub(super) fn ended(&self, reason: ConnectionEnd) {
        self.metrics.connections_ended.inc(self.port, reason);
    }
}

/// Where a thread's connections find their places.
pub struct Places {
    connections: Arc<OpenConnections>,
    /// Shared by all whose address is not counted: they cost no block of their own.
    uncounted: Rc<PlaceOf>,
}

impl Places {
    /// Of the calling thread.
    pub fn new(connections: &Arc<OpenConnections>) -> Self {
        let connections = connections.clone();
        let uncounted = PlaceOf { connections: connections.clone(), address: None };
        Self { connections, uncounted: Rc::new(uncounted) }
    }

    /// Whether a further connection has to wait until one ends.
    pub fn are_taken(&self) -> bool {
        self.connections.open.load(Ordering::Relaxed) >= self.connections.most
    }

    /// Takes a place for a connection of this peer; `None`: its address has as many as it may.
    pub fn enter(&self, peer: IpAddr) -> Option<Place> {
        let connections = &self.connections;
        let address = connections.counted(peer);
        if let Some(address) = address
            && !connections.addresses.enter(address)
        {
            connections.ended(ConnectionEnd::Crowded);
            return None;
        }
        connections.open.fetch_add(1, Ordering::Relaxed);
        Some(Place(match address {
            None => self.uncounted.clone(),
            address => Rc::new(PlaceOf { connections: connections.clone(), address }),
        }))
    }
}

/// An address has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many connections of this address as it may have")]
pub struct Crowded;

/// One connection's place, free again when dropped. Eight bytes, since every waiting socket has one.
pub struct Place(Rc<PlaceOf>);

struct PlaceOf {
    connections: Arc<OpenConnections>,
    /// What it is counted on, where addresses are counted.
    address: Option<IpAddr>,
}

impl Place {
    pub(super) fn shared(&self) -> &Arc<OpenConnections> {
        &self.0.connections
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let PlaceOf { connections, address } = &*self.0;
        connections.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = address {
            connections.addresses.leave(*address);
        }
    }
}

/// The place of a connection that has become a socket.
pub struct SocketPlace(Place);

impl SocketPlace {
    pub(super) fn new(place: Place) -> Self {
        place.shared().count(ConnectionState::Socket, 1);
        Self(place)
    }

    /// The same, counted on the address of a client behind a proxy as well.
    pub fn of_client(&mut self, permit: AddressPermit) {
        let (connections, address) = (self.0.shared().clone(), permit.into_address());
        self.0.0 = Rc::new(PlaceOf { connections, address });
    }
}

impl Drop for SocketPlace {
    fn drop(&mut self) {
        self.0.shared().count(ConnectionState::Socket, -1);
    }
}

/// A waiting socket or held call of a client behind a proxy, counted until it is dropped.
pub struct AddressPermit {
    connections: Arc<OpenConnections>,
    address: Option<IpAddr>,
}

impl AddressPermit {
    fn into_address(mut self) -> Option<IpAddr> {
        self.address.take()
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.connections.addresses.leave(address);
        }
    }
}
