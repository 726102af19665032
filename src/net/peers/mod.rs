//! Connections and addresses: the handle.

use std::time::Duration;

use tokio::sync::broadcast;

use super::error::NetError;
use crate::base::{Multiaddr, PeerId};

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The other side.
    Inbound,
    /// This node.
    Outbound,
}

/// A connected peer.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Its id.
    pub peer: PeerId,
    /// Its address on the oldest connection.
    pub address: Multiaddr,
    /// Who opened the oldest connection.
    pub direction: Direction,
    /// How many connections there are.
    pub connections: usize,
    /// The last ping's round trip.
    pub latency: Option<Duration>,
    /// What it calls itself, once identified.
    pub agent_version: Option<String>,
    /// What it speaks, once identified.
    pub protocols: Vec<String>,
}

/// News about peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// The first connection to a peer is there.
    Connected(PeerId),
    /// The last connection to a peer has ended.
    Disconnected(PeerId),
    /// A connected peer has said (again) what it speaks and where it listens.
    Identified(PeerId),
}

/// Connections and addresses. Cheap to clone.
#[derive(Clone)]
pub struct Peers {}

impl Peers {
    /// Connects to an address given by the operator or the cluster, with or without `/p2p/…`; where it is given the
    /// identity must match. Returns at once when the peer is connected already.
    ///
    /// # Errors
    /// [`NetError::WrongPeer`], [`NetError::Unreachable`], [`NetError::BadAddress`], [`NetError::Refused`].
    pub async fn connect(&self, address: Multiaddr) -> Result<PeerId, NetError> {
        let _ = address;
        todo!()
    }

    /// Connects to a peer at `addrs` (learnt from strangers: the profile's rule for dialling holds) or where it is
    /// already known to be. Returns at once when it is connected already.
    ///
    /// # Errors
    /// As [`Peers::connect`], and [`NetError::NoAddress`].
    pub async fn connect_peer(&self, peer: PeerId, addrs: Vec<Multiaddr>) -> Result<(), NetError> {
        let _ = (peer, addrs);
        todo!()
    }

    /// Closes all connections to a peer, if any.
    pub fn disconnect(&self, peer: PeerId) {
        let _ = peer;
        todo!()
    }

    /// The connected peers, ordered by id.
    pub fn connected(&self) -> Vec<PeerInfo> {
        todo!()
    }

    /// Whether there is a connection to the peer.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        let _ = peer;
        todo!()
    }

    /// Where this node listens, expanded to its interfaces, without `/p2p/…`.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        todo!()
    }

    /// What this node tells others to dial: announced addresses, then the ones listened on, without `/p2p/…`.
    pub fn announce_addrs(&self) -> Vec<Multiaddr> {
        todo!()
    }

    /// The protocols this node accepts streams of, ordered.
    pub fn protocols(&self) -> Vec<String> {
        todo!()
    }

    /// Remembers addresses given by the operator or the cluster: they may always be dialled.
    pub fn add_address(&self, peer: PeerId, addrs: Vec<Multiaddr>) {
        let _ = (peer, addrs);
        todo!()
    }

    /// Remembers addresses learnt from strangers; the profile's rule for dialling holds for them.
    pub fn hint_address(&self, peer: PeerId, addrs: Vec<Multiaddr>) {
        let _ = (peer, addrs);
        todo!()
    }

    /// The known addresses of a peer, the best first.
    pub fn addresses_of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let _ = peer;
        todo!()
    }

    /// News from now on; a slow reader misses the oldest.
    pub fn subscribe(&self) -> broadcast::Receiver<PeerEvent> {
        todo!()
    }

    /// Keeps connections to the peer open although idle and outside the limits, until every tag is taken back.
    pub fn protect(&self, peer: PeerId, tag: &str) {
        let _ = (peer, tag);
        todo!()
    }

    /// Takes a tag back.
    pub fn unprotect(&self, peer: PeerId, tag: &str) {
        let _ = (peer, tag);
        todo!()
    }

    /// Refuses the peer from now on and closes its connections.
    pub fn block(&self, peer: PeerId) {
        let _ = peer;
        todo!()
    }

    /// Takes [`Peers::block`] back.
    pub fn unblock(&self, peer: PeerId) {
        let _ = peer;
        todo!()
    }
}
