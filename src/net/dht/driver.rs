//! The DHT's part of the swarm's task: the routing table, this node's records, and Kademlia's own queries.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use libp2p::{
    identify, kad,
    kad::{QueryId, store::RecordStore},
    swarm::DialError,
};
use tokio::sync::oneshot;

use super::super::{error::NetError, peers::Book, swarm::NetSwarm};
use crate::base::{Multiaddr, PeerId, time};

/// Addresses of one peer in the routing table.
const MAX_ADDRESSES: usize = 16;

/// Peers with addresses.
pub(super) type Found = Vec<(PeerId, Vec<Multiaddr>)>;

/// What the handle asks of the swarm's task.
#[derive(Debug)]
pub(in super::super) enum Command {
    /// The records kept here about a key, and the peers of the routing table closest to it.
    Local { key: Vec<u8>, reply: oneshot::Sender<(Found, Found)> },
    /// Remember that this node provides a key.
    Provide { key: Vec<u8>, reply: oneshot::Sender<()> },
    /// Forget it.
    StopProviding { key: Vec<u8>, reply: oneshot::Sender<()> },
    /// Look for the own neighbourhood.
    Bootstrap { reply: oneshot::Sender<Result<(), NetError>> },
}

/// The DHT's part of the swarm's task.
pub(in super::super) struct Driver {
    local: PeerId,
    protocol: String,
    /// A client keeps no routing table: it walks from whomever it is connected to, and Kademlia, which would connect to
    /// its whole neighbourhood as soon as it knew one peer, leaves it alone.
    server: bool,
    book: Arc<Book>,
    table_size: Arc<AtomicUsize>,
    bootstraps: HashMap<QueryId, oneshot::Sender<Result<(), NetError>>>,
}

impl Driver {
    pub(in super::super) fn new(
        local: PeerId,
        protocol: String,
        server: bool,
        book: Arc<Book>,
        table_size: Arc<AtomicUsize>,
    ) -> Self {
        Driver { local, protocol, server, book, table_size, bootstraps: HashMap::new() }
    }

    /// Does what the handle asks.
    pub(in super::super) fn on_command(&mut self, swarm: &mut NetSwarm, command: Command) {
        let kad = &mut swarm.behaviour_mut().kad;
        match command {
            Command::Local { key, reply } => {
                let records = kad.store_mut().of(&key, time::unix_ms());
                let target = kad::KBucketKey::new(key);
                let closest = kad.find_closest_local_peers(&target, &self.local);
                let closest = closest.map(|peer| (peer.node_id, peer.multiaddrs)).collect();
                let _ = reply.send((records, closest));
            }
            Command::Provide { key, reply } => {
                let record = kad::ProviderRecord::new(key, self.local, Vec::new());
                if let Err(error) = kad.store_mut().add_provider(record) {
                    tracing::warn!(%error, "the own provider record was not kept");
                }
                let _ = reply.send(());
            }
            Command::StopProviding { key, reply } => {
                kad.stop_providing(&key.into());
                let _ = reply.send(());
            }
            Command::Bootstrap { reply } => match kad.bootstrap() {
                Ok(id) => {
                    self.bootstraps.insert(id, reply);
                }
                Err(_) => {
                    let _ = reply.send(Err(NetError::NoPeers { what: "the DHT".into() }));
                }
            },
        }
    }

    /// A peer has said what it speaks and where it listens: the routing table follows.
    pub(in super::super) fn identified(
        &mut self,
        swarm: &mut NetSwarm,
        peer: PeerId,
        info: &identify::Info,
        addrs: &[Multiaddr],
    ) {
        if !self.server {
            return;
        }
        let kad = &mut swarm.behaviour_mut().kad;
        if !info.protocols.iter().any(|name| name.as_ref() == self.protocol) {
            kad.remove_peer(&peer);
        } else {
            let may = |address: &&Multiaddr| self.book.may_dial(address);
            let addrs: Vec<_> = addrs.iter().filter(may).take(MAX_ADDRESSES).cloned().collect();
            let with_peer: Vec<_> = addrs.iter().filter_map(|address| address.clone().with_p2p(peer).ok()).collect();
            for address in addrs {
                kad.add_address(&peer, address);
            }
            for old in Self::known(kad, peer) {
                if !with_peer.contains(&old) {
                    kad.remove_address(&peer, &old);
                }
            }
        }
        self.count(swarm);
    }

    /// A peer could not be dialled: others are not told of it any more, until it is back.
    pub(in super::super) fn unreachable(&mut self, swarm: &mut NetSwarm, peer: PeerId, error: &DialError) {
        if matches!(error, DialError::Transport(_)) && !swarm.is_connected(&peer) {
            swarm.behaviour_mut().kad.remove_peer(&peer);
            self.count(swarm);
        }
    }

    fn known(kad: &mut kad::Behaviour<super::Records>, peer: PeerId) -> Vec<Multiaddr> {
        let bucket = kad.kbucket(peer);
        let entries = bucket.iter().flat_map(|bucket| bucket.iter());
        let entry = entries.into_iter().find(|entry| *entry.node.key.preimage() == peer);
        entry.map(|entry| entry.node.value.iter().cloned().collect()).unwrap_or_default()
    }

    /// Takes note of what Kademlia reports.
    pub(in super::super) fn on_event(&mut self, swarm: &mut NetSwarm, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result: kad::QueryResult::Bootstrap(result), step, .. } => {
                if step.last
                    && let Some(reply) = self.bootstraps.remove(&id)
                {
                    let _ = reply.send(match result {
                        Ok(_) => Ok(()),
                        Err(_) => Err(NetError::Timeout {
                            what: "the DHT's bootstrap",
                            limit: std::time::Duration::from_secs(30),
                        }),
                    });
                }
            }
            kad::Event::RoutingUpdated { .. } => self.count(swarm),
            _ => {}
        }
    }

    /// Drops records that have run out.
    pub(in super::super) fn tidy(&mut self, swarm: &mut NetSwarm) {
        swarm.behaviour_mut().kad.store_mut().sweep(time::unix_ms());
        self.count(swarm);
    }

    fn count(&self, swarm: &mut NetSwarm) {
        let size = swarm.behaviour_mut().kad.kbuckets().map(|bucket| bucket.num_entries()).sum();
        self.table_size.store(size, Ordering::Relaxed);
    }
}
