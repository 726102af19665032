//! One libp2p swarm behind narrow handles.
//!
//! For every floor above that talks to other nodes: [`Peers`] (connections and addresses), [`Streams`] (raw negotiated
//! substreams), [`Dht`] (who has what) and [`Gossip`] (messages to all). What always holds: one task owns the swarm and
//! only routes commands and events to the drivers of these four; nothing in it waits; bulk bytes never pass through it,
//! they flow in raw streams owned by their users. Start reading at `service.rs`, then `streams/`.

mod address;
mod dht;
mod error;
mod gossip;
mod options;
mod peers;
mod service;
mod streams;
mod swarm;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize};

use futures::future::BoxFuture;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::sync::mpsc;

use self::{
    dht::Records,
    peers::{Book, Dialler, State},
    service::Service,
};
use crate::base::{PeerId, Tasks};

/// Commands that may wait for the swarm's task.
const COMMANDS: usize = 256;
/// Verdicts on gossip that may wait for it.
const VERDICTS: usize = 16 * 1024;

#[cfg(any(fuzzing, test))]
pub(crate) use dht::fuzz::message as fuzz_dht;
pub use dht::{Dht, DhtStore, MemoryDhtStore, ProviderRecord, StoreChange, StoreRecord};
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
    registry: Arc<Mutex<Registry>>,
}

impl Net {
    /// Builds the swarm and listens; returns when every address of `options.listen` is bound. `records` keeps DHT
    /// records over restarts. The network ends when `tasks` are stopped.
    ///
    /// # Errors
    /// [`NetError::Listen`] when an address cannot be listened on, [`NetError::Setup`] when the swarm cannot be built.
    ///
    /// Boxed, so that the swarm is compiled with this crate and not again with each program that polls it.
    pub fn start(
        options: NetOptions,
        records: Arc<dyn DhtStore>,
        tasks: &Tasks,
    ) -> BoxFuture<'_, Result<Net, NetError>> {
        Box::pin(Self::build(options, records, tasks))
    }

    async fn build(options: NetOptions, records: Arc<dyn DhtStore>, tasks: &Tasks) -> Result<Net, NetError> {
        let local = options.keypair.public().to_peer_id();
        let limits = &options.limits;
        let mut registry = Registry::default();
        let book = Arc::new(Book::new(local, options.local_only, limits.known_peers, limits.addresses_per_peer));
        let state = Arc::new(State::new());
        let (commands, command_queue) = mpsc::channel(COMMANDS);
        let (verdicts, verdict_queue) = mpsc::channel(VERDICTS);
        let dialler = Dialler {
            commands: commands.clone(),
            book: book.clone(),
            state: state.clone(),
            limit: limits.dial_timeout,
        };
        let (streams, behaviour) =
            Streams::new(limits.inbound_streams_per_connection, limits.open_timeout, dialler.clone());
        let kept = load_records(local, limits.remote_records, records.clone()).await?;
        let unsaved = kept.unsaved();
        let swarm = swarm::build(&options, book.clone(), kept, behaviour, &mut registry, tasks)?;

        let dropped = Counter::default();
        registry.register("gossip_ignored", "Messages ignored because a queue was full", dropped.clone());
        registry.register("streams_refused", "Inbound streams refused for lack of room", streams.refused_counter());
        let table_size = Arc::new(AtomicUsize::new(0));
        let mut service = Service {
            metrics: libp2p::metrics::Metrics::new(&mut registry),
            swarm,
            commands: command_queue,
            verdicts: verdict_queue,
            peers: peers::Driver::new(book.clone(), state.clone()),
            dht: dht::Driver::new(local, options.kad_protocol.clone(), options.kad_server, book, table_size.clone()),
            gossip: gossip::Driver::new(verdicts, dropped.clone(), limits.gossip_message_bytes),
        };
        service.listen(&options.listen, &options.announce).await?;

        let peers = Peers {
            local,
            dialler,
            streams: streams.clone(),
            announce: options.announce.iter().map(|announced| address::split(announced).0).collect(),
            protocols: service::protocols(&options),
        };
        let dht = Dht::new(intern(&options.kad_protocol), peers.clone(), table_size, tasks.clone());
        let gossip = Gossip { commands, dropped, limit: limits.gossip_message_bytes };
        tasks.spawn_graceful("dht records", dht::keep_records(unsaved, records, tasks.clone()));
        tasks.spawn("swarm", service.run());
        let registry = Arc::new(Mutex::new(registry));
        Ok(Net { inner: Arc::new(Inner { local_peer: local, peers, dht, gossip, streams, registry }) })
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
    pub fn metrics(&self) -> Arc<Mutex<Registry>> {
        self.inner.registry.clone()
    }
}

/// Reads the kept DHT records on a thread that may block.
async fn load_records(local: PeerId, max: usize, store: Arc<dyn DhtStore>) -> Result<Records, NetError> {
    let load = move || Records::load(local, max, store.as_ref());
    tokio::task::spawn_blocking(load).await.map_err(|error| NetError::Setup { reason: error.to_string() })
}

/// A protocol's name for the life of the process; every name is kept once.
fn intern(name: &str) -> &'static str {
    static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.iter().find(|known| **known == name) {
        return known;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.push(kept);
    kept
}
