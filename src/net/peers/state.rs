//! What is known about connected peers and this node's own addresses; written by the swarm's task, read by all.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use libp2p::swarm::ConnectionId;
use tokio::sync::{Notify, broadcast};

use super::{Direction, PeerEvent, PeerInfo};
use crate::base::{Multiaddr, PeerId};

/// How many events a slow reader may lag behind.
const EVENTS: usize = 1024;

#[derive(Debug, Default)]
struct Connected {
    connections: Vec<(ConnectionId, Multiaddr, Direction)>,
    latency: Option<Duration>,
    agent_version: Option<String>,
    protocols: Vec<String>,
    identified: bool,
}

/// What callers that cannot wait want of the swarm; only the last wish about each peer counts, so it is bounded.
#[derive(Debug, Default)]
pub(in super::super) struct Wishes {
    /// Peers to disconnect.
    pub(in super::super) disconnect: HashSet<PeerId>,
    /// Peers outside the limits, or no longer.
    pub(in super::super) bypass: HashMap<PeerId, bool>,
    /// Peers to refuse, or no longer.
    pub(in super::super) block: HashMap<PeerId, bool>,
}

#[derive(Debug, Default)]
struct Inner {
    connected: BTreeMap<PeerId, Connected>,
    listen: Vec<Multiaddr>,
    wishes: Wishes,
}

/// The shared state of peers. All calls are short.
#[derive(Debug)]
pub(in super::super) struct State {
    inner: Mutex<Inner>,
    events: broadcast::Sender<PeerEvent>,
    /// Rings when there are wishes.
    pub(in super::super) bell: Notify,
}

impl State {
    pub(in super::super) fn new() -> Self {
        State { inner: Mutex::default(), events: broadcast::channel(EVENTS).0, bell: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wish(&self, wish: impl FnOnce(&mut Wishes)) {
        wish(&mut self.inner().wishes);
        self.bell.notify_one();
    }

    pub(in super::super) fn take_wishes(&self) -> Wishes {
        std::mem::take(&mut self.inner().wishes)
    }

    pub(in super::super) fn subscribe(&self) -> broadcast::Receiver<PeerEvent> {
        self.events.subscribe()
    }

    fn tell(&self, event: PeerEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    pub(in super::super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.inner().connected.contains_key(peer)
    }

    pub(in super::super) fn is_identified(&self, peer: &PeerId) -> bool {
        self.inner().connected.get(peer).is_some_and(|connected| connected.identified)
    }

    /// Whether a connection to the peer runs over loopback.
    pub(super) fn is_on_this_machine(&self, peer: &PeerId) -> bool {
        let inner = self.inner();
        let connections = inner.connected.get(peer).into_iter().flat_map(|connected| &connected.connections);
        connections.into_iter().any(|(_, address, _)| super::super::address::is_loopback(address))
    }

    /// The connected peers that have said they speak the protocol.
    pub(in super::super) fn speaking(&self, protocol: &str) -> Vec<PeerId> {
        let inner = self.inner();
        let speaks = |connected: &Connected| connected.protocols.iter().any(|name| name == protocol);
        inner.connected.iter().filter(|(_, connected)| speaks(connected)).map(|(peer, _)| *peer).collect()
    }

    pub(super) fn connected(&self) -> Vec<PeerInfo> {
        let inner = self.inner();
        let info = |(peer, connected): (&PeerId, &Connected)| {
            let (_, address, direction) = connected.connections.first()?;
            Some(PeerInfo {
                peer: *peer,
                address: address.clone(),
                direction: *direction,
                connections: connected.connections.len(),
                latency: connected.latency,
                agent_version: connected.agent_version.clone(),
                protocols: connected.protocols.clone(),
            })
        };
        inner.connected.iter().filter_map(info).collect()
    }

    pub(super) fn opened(&self, peer: PeerId, id: ConnectionId, address: Multiaddr, direction: Direction) {
        let first = {
            let mut inner = self.inner();
            let connected = inner.connected.entry(peer).or_default();
            connected.connections.push((id, address, direction));
            connected.connections.len() == 1
        };
        if first {
            self.tell(PeerEvent::Connected(peer));
        }
    }

    pub(super) fn closed(&self, peer: PeerId, id: ConnectionId) {
        let last = {
            let mut inner = self.inner();
            let Some(connected) = inner.connected.get_mut(&peer) else { return };
            connected.connections.retain(|(other, ..)| *other != id);
            connected.connections.is_empty() && inner.connected.remove(&peer).is_some()
        };
        if last {
            self.tell(PeerEvent::Disconnected(peer));
        }
    }

    pub(super) fn pinged(&self, peer: &PeerId, latency: Duration) {
        if let Some(connected) = self.inner().connected.get_mut(peer) {
            connected.latency = Some(latency);
        }
    }

    pub(super) fn identified(&self, peer: PeerId, agent_version: String, protocols: Vec<String>) {
        if let Some(connected) = self.inner().connected.get_mut(&peer) {
            connected.agent_version = Some(agent_version);
            connected.protocols = protocols;
            connected.identified = true;
        }
        self.tell(PeerEvent::Identified(peer));
    }

    pub(in super::super) fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.inner().listen.clone()
    }

    pub(super) fn listening(&self, address: Multiaddr) {
        let mut inner = self.inner();
        if !inner.listen.contains(&address) {
            inner.listen.push(address);
        }
    }

    pub(super) fn not_listening(&self, address: &Multiaddr) {
        self.inner().listen.retain(|other| other != address);
    }
}
