//! Connections and addresses.
//!
//! `book.rs` remembers where peers are, `dial.rs` asks the swarm's task to dial, `driver.rs` is the part of that task,
//! `state.rs` is what it tells everybody, this file is the handle.

mod book;
mod dial;
mod driver;
mod state;

use std::time::Duration;

use tokio::sync::broadcast;

pub(super) use self::{
    book::{Book, Trust},
    dial::{DialRequest, Dialler},
    driver::Driver,
    state::State,
};
use super::{address, error::NetError, streams::Streams};
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
pub struct Peers {
    pub(super) local: PeerId,
    pub(super) dialler: Dialler,
    pub(super) streams: Streams,
    pub(super) announce: Vec<Multiaddr>,
    /// The protocols spoken by the swarm itself.
    pub(super) protocols: Vec<String>,
}

impl Peers {
    /// Connects to an address given by the operator or the cluster, with or without `/p2p/…`; where it is given the
    /// identity must match. Returns at once when the peer is connected already.
    ///
    /// # Errors
    /// [`NetError::WrongPeer`], [`NetError::Unreachable`], [`NetError::BadAddress`], [`NetError::Refused`],
    /// [`NetError::OwnAddress`], [`NetError::Timeout`].
    pub async fn connect(&self, address: Multiaddr) -> Result<PeerId, NetError> {
        let (bare, peer) = address::split(&address);
        if peer == Some(self.local) {
            return Err(NetError::OwnAddress);
        }
        if let (Some(peer), true) = (peer, bare.is_empty()) {
            return self.connect_peer(peer, Vec::new()).await.map(|()| peer);
        }
        if !address::is_supported(&bare) {
            let reason = "only …/tcp/PORT and …/udp/PORT/quic-v1 of a host that is named or numbered are".into();
            return Err(NetError::BadAddress { address: address.to_string(), reason });
        }
        if self.dialler.book.is_own(&bare) {
            return Err(NetError::OwnAddress);
        }
        self.dialler.book.give(&bare);
        match peer {
            Some(peer) => {
                self.add_address(peer, vec![bare.clone()]);
                if self.is_connected(&peer) {
                    return Ok(peer);
                }
                self.dialler.dial(Some(peer), vec![bare], false).await
            }
            None => {
                let peer = self.dialler.dial(None, vec![bare.clone()], false).await?;
                self.add_address(peer, vec![bare]);
                Ok(peer)
            }
        }
    }

    /// Connects to a peer at `addrs` (learnt from strangers: the profile's rule for dialling holds) or where it is
    /// already known to be. Returns at once when it is connected already.
    ///
    /// # Errors
    /// As [`Peers::connect`], and [`NetError::NoAddress`].
    pub async fn connect_peer(&self, peer: PeerId, addrs: Vec<Multiaddr>) -> Result<(), NetError> {
        if peer == self.local {
            return Err(NetError::OwnAddress);
        }
        self.hint_address(peer, addrs);
        if self.is_connected(&peer) {
            return Ok(());
        }
        self.dialler.dial_known(peer, false).await
    }

    /// Closes all connections to a peer, if any.
    pub fn disconnect(&self, peer: PeerId) {
        self.dialler.state.wish(|wishes| {
            wishes.disconnect.insert(peer);
        });
    }

    /// The connected peers, ordered by id.
    pub fn connected(&self) -> Vec<PeerInfo> {
        self.dialler.state.connected()
    }

    /// Whether there is a connection to the peer.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.dialler.state.is_connected(peer)
    }

    /// Where this node listens, expanded to its interfaces, without `/p2p/…`.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.dialler.state.listen_addrs()
    }

    /// What this node tells others to dial: announced addresses, then the ones listened on, without `/p2p/…`.
    pub fn announce_addrs(&self) -> Vec<Multiaddr> {
        let mut all = self.announce.clone();
        all.extend(self.listen_addrs().into_iter().filter(|address| !self.announce.contains(address)));
        all
    }

    /// The protocols this node accepts streams of, ordered.
    pub fn protocols(&self) -> Vec<String> {
        let mut all = self.protocols.clone();
        all.extend(self.streams.accepted().into_iter().map(str::to_owned));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Remembers addresses given by the operator or the cluster: they may always be dialled.
    pub fn add_address(&self, peer: PeerId, addrs: Vec<Multiaddr>) {
        self.dialler.book.learn(peer, &addrs, Trust::Given);
    }

    /// Remembers addresses learnt from strangers; the profile's rule for dialling holds for them.
    pub fn hint_address(&self, peer: PeerId, addrs: Vec<Multiaddr>) {
        self.dialler.book.learn(peer, &addrs, Trust::Learnt);
    }

    /// The known addresses of a peer, the best first.
    pub fn addresses_of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.dialler.book.addresses_of(peer)
    }

    /// News from now on; a slow reader misses the oldest.
    pub fn subscribe(&self) -> broadcast::Receiver<PeerEvent> {
        self.dialler.state.subscribe()
    }

    /// Keeps connections to the peer open although idle and outside the limits, until every tag is taken back.
    pub fn protect(&self, peer: PeerId, tag: &str) {
        if self.streams.protect(peer, tag) {
            self.bypass(peer, true);
        }
    }

    /// Takes a tag back.
    pub fn unprotect(&self, peer: PeerId, tag: &str) {
        if self.streams.unprotect(peer, tag) {
            self.bypass(peer, false);
        }
    }

    fn bypass(&self, peer: PeerId, bypass: bool) {
        self.dialler.state.wish(|wishes| {
            wishes.bypass.insert(peer, bypass);
        });
    }

    /// Refuses the peer from now on and closes its connections.
    pub fn block(&self, peer: PeerId) {
        self.dialler.state.wish(|wishes| {
            wishes.block.insert(peer, true);
        });
    }

    /// Takes [`Peers::block`] back.
    pub fn unblock(&self, peer: PeerId) {
        self.dialler.state.wish(|wishes| {
            wishes.block.insert(peer, false);
        });
    }
}
