//! One libp2p swarm behind narrow handles.
//!
//! For every floor above that talks to other nodes: [`Peers`] (connections and addresses), [`Streams`] (raw negotiated
//! substreams), [`Dht`] (who has what) and [`Gossip`] (messages to all). What always holds: one task owns the swarm and
//! only routes commands and events to the drivers of these four; nothing in it waits; bulk bytes never pass through it,
//! they flow in raw streams owned by their users. Start reading at `service.rs`, then `streams/`.

#![allow(unused)]
use std::sync::{Arc, Mutex};

use crate::base::{PeerId, Tasks};

mod dht;
mod error;
mod gossip;
mod options;
mod peers;
mod streams;

pub use dht::{Dht, DhtStore, MemoryDhtStore, ProviderRecord, StoreChange};
pub use error::NetError;
pub use gossip::{Gossip, Incoming};
pub use options::{NetLimits, NetOptions};
pub use peers::{Direction, PeerEvent, PeerInfo, Peers};
pub use streams::{Class, Inbound, Stream, Streams};

/// The node's network. Cheap to clone; all clones are the same network.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Inner>,
}

struct Inner {
    local_peer: PeerId,
    peers: Peers,
    dht: Dht,
    gossip: Gossip,
    streams: Streams,
    registry: Arc<Mutex<prometheus_client::registry::Registry>>,
}

impl Net {
    /// Builds the swarm and listens; returns when every address of `options.listen` is bound. `records` keeps DHT
    /// records over restarts. The network ends when `tasks` are stopped.
    ///
    /// # Errors
    /// [`NetError::Listen`] when an address cannot be listened on, [`NetError::Setup`] when the swarm cannot be built.
    pub async fn start(options: NetOptions, records: Arc<dyn DhtStore>, tasks: &Tasks) -> Result<Net, NetError> {
        let _ = (options, records, tasks);
        todo!()
    }

    /// This node's peer id.
    pub fn local_peer(&self) -> PeerId {
        self.inner.local_peer
    }

    /// Connections and addresses.
    pub fn peers(&self) -> &Peers {
        &self.inner.peers
    }

    /// Who has what.
    pub fn dht(&self) -> &Dht {
        &self.inner.dht
    }

    /// Messages to all.
    pub fn gossip(&self) -> &Gossip {
        &self.inner.gossip
    }

    /// Raw negotiated substreams.
    pub fn streams(&self) -> &Streams {
        &self.inner.streams
    }

    /// The registry with the network's metrics (libp2p's own and ours), to be encoded by whoever serves `/metrics`.
    pub fn metrics(&self) -> Arc<Mutex<prometheus_client::registry::Registry>> {
        self.inner.registry.clone()
    }
}
