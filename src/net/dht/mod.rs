//! Who has what, on Kademlia.
//!
//! libp2p's Kademlia answers others, keeps the routing table and bootstraps; lookups are our own (`lookup.rs` decides,
//! `walk.rs` asks, `wire.rs` speaks), because only so is it known who gave a record. `records.rs` keeps the records,
//! `driver.rs` is the part of the swarm's task, this file is the handle.

mod driver;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod lookup;
mod records;
mod walk;
mod wire;

use std::{
    collections::{BTreeMap, HashSet},
    ops::ControlFlow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::sync::mpsc;

pub(super) use self::{
    driver::{Command, Driver},
    records::{Records, Unsaved},
};
use self::{walk::Walker, wire::MessageType};
use super::{
    error::NetError,
    peers::{Peers, Trust},
};
use crate::base::{Multiaddr, PeerId, Tasks};

/// Providers that may wait to be read of one search.
const FOUND_QUEUE: usize = 64;
/// Peers told at once about one provided key.
const TELL_AT_ONCE: usize = 10;
/// How long changes of records are gathered before they are written.
const GATHER: Duration = Duration::from_millis(500);

/// Someone who can provide the content asked for, and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderRecord {
    /// The provider.
    pub peer: PeerId,
    /// Where it may listen.
    pub addrs: Vec<Multiaddr>,
    /// Who gave the record; this node itself when it keeps the record.
    pub from: PeerId,
}

/// A stored record: its key and value.
pub type StoreRecord = (Vec<u8>, Vec<u8>);

/// A change of the stored records: the key, and its new value or `None` to delete it.
pub type StoreChange = (Vec<u8>, Option<Vec<u8>>);

/// Keeps DHT records over restarts; soft: losing them is harmless. Calls may block, they run outside the swarm task.
pub trait DhtStore: Send + Sync + 'static {
    /// The next `limit` records in ascending order of keys, after the key given.
    ///
    /// # Errors
    /// A text for the log.
    fn load(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<StoreRecord>, String>;

    /// Applies changes.
    ///
    /// # Errors
    /// A text for the log.
    fn write(&self, changes: Vec<StoreChange>) -> Result<(), String>;
}

/// A [`DhtStore`] in memory, for tests and nodes without a disk.
#[derive(Debug, Default)]
pub struct MemoryDhtStore {
    map: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl DhtStore for MemoryDhtStore {
    fn load(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<StoreRecord>, String> {
        use std::ops::Bound;
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(map.range::<[u8], _>((from, Bound::Unbounded)).take(limit).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn write(&self, changes: Vec<StoreChange>) -> Result<(), String> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }
}

/// Who has what. Cheap to clone.
#[derive(Clone)]
pub struct Dht {
    walker: Arc<Walker>,
    peers: Peers,
    table_size: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Dht {
    pub(super) fn new(protocol: &'static str, peers: Peers, table_size: Arc<AtomicUsize>, tasks: Tasks) -> Self {
        let dialler = &peers.dialler;
        let walker = Walker::new(
            peers.local,
            protocol,
            peers.streams.clone(),
            dialler.book.clone(),
            dialler.state.clone(),
            dialler.commands.clone(),
        );
        Dht { walker: Arc::new(walker), peers, table_size, tasks }
    }

    /// Looks for up to `limit` providers of `key` (a multihash's bytes); they arrive as they are found, each peer once,
    /// those in this node's own records first. The channel ends when the search does; dropping it ends the search.
    pub async fn find_providers(&self, key: &[u8], limit: usize) -> mpsc::Receiver<ProviderRecord> {
        let (found, receiver) = mpsc::channel(FOUND_QUEUE);
        let (walker, key) = (self.walker.clone(), key.to_vec());
        self.tasks.spawn("dht search", async move {
            let gone = found.clone();
            tokio::select! {
                () = gone.closed() => {}
                () = search(&walker, &key, limit, found) => {}
            }
        });
        receiver
    }

    /// Tells the DHT's nodes closest to `key` (a multihash's bytes) that this node provides it, and remembers it for
    /// 48 hours; to be called again before they are over.
    ///
    /// # Errors
    /// [`NetError::NoPeers`] when no other node took the record; this node answers for it all the same.
    pub async fn provide(&self, key: &[u8]) -> Result<(), NetError> {
        match self.provide_counted(key).await? {
            0 => Err(NetError::NoPeers { what: "the DHT".into() }),
            _ => Ok(()),
        }
    }

    /// As [`Dht::provide`]; returns how many other nodes took the record, 0 when there are none.
    ///
    /// # Errors
    /// [`NetError::Stopped`].
    pub async fn provide_counted(&self, key: &[u8]) -> Result<usize, NetError> {
        let owned = key.to_vec();
        self.walker.command(|reply| Command::Provide { key: owned, reply }).await?;
        // Whoever pins much before anyone is met should not walk an empty table for each.
        if self.routing_table_size() == 0 && self.walker.state.speaking(self.walker.protocol).is_empty() {
            return Ok(0);
        }
        let (_, seeds) = self.walker.start(key).await?;
        let closest = self.walker.walk(MessageType::FindNode, key, seeds, |_, _| ControlFlow::Continue(())).await;
        let addrs = self.peers.announce_addrs();
        let told = stream::iter(closest)
            .map(|peer| self.walker.tell(peer, key, &addrs))
            .buffer_unordered(TELL_AT_ONCE)
            .filter(|told| std::future::ready(told.is_ok()))
            .count();
        Ok(told.await)
    }

    /// Forgets that this node provides `key`; other nodes' records run out by themselves.
    pub async fn stop_providing(&self, key: &[u8]) {
        let key = key.to_vec();
        // A stopped network has nothing to forget.
        let _ = self.walker.command(|reply| Command::StopProviding { key, reply }).await;
    }

    /// The addresses of a peer, from what is known here or else from the DHT.
    ///
    /// # Errors
    /// [`NetError::NotFound`], [`NetError::NoPeers`], [`NetError::Stopped`].
    pub async fn find_peer(&self, peer: PeerId) -> Result<Vec<Multiaddr>, NetError> {
        let known = self.peers.addresses_of(&peer);
        if !known.is_empty() || peer == self.walker.local {
            return Ok(if known.is_empty() { self.peers.announce_addrs() } else { known });
        }
        let key = peer.to_bytes();
        let (_, seeds) = self.walker.start(&key).await?;
        let mut addrs = Vec::new();
        let mut answers = 0;
        let on_answer = |_, answer: &wire::Message| {
            answers += 1;
            let named = wire::peers(&answer.closer_peers).find(|(who, addrs)| *who == peer && !addrs.is_empty());
            match named {
                Some((_, found)) => {
                    addrs = found;
                    ControlFlow::Break(())
                }
                None => ControlFlow::Continue(()),
            }
        };
        self.walker.walk(MessageType::FindNode, &key, seeds, on_answer).await;
        match (addrs.is_empty(), answers) {
            (false, _) => Ok(addrs),
            (true, 0) => Err(NetError::NoPeers { what: "the DHT".into() }),
            (true, _) => Err(NetError::NotFound { what: format!("peer {peer}") }),
        }
    }

    /// Looks for this node's own neighbourhood to fill the routing table.
    ///
    /// # Errors
    /// [`NetError::NoPeers`] when the routing table is empty, [`NetError::Timeout`], [`NetError::Stopped`].
    pub async fn bootstrap(&self) -> Result<(), NetError> {
        self.walker.command(|reply| Command::Bootstrap { reply }).await?
    }

    /// How many peers the routing table holds.
    pub fn routing_table_size(&self) -> usize {
        self.table_size.load(Ordering::Relaxed)
    }
}

async fn search(walker: &Walker, key: &[u8], limit: usize, found: mpsc::Sender<ProviderRecord>) {
    let Ok((records, seeds)) = walker.start(key).await else { return };
    let mut seen = HashSet::new();
    let local = walker.local;
    for (peer, addrs) in records {
        if seen.len() < limit && seen.insert(peer) {
            walker.book.learn(peer, &addrs, Trust::Learnt);
            let addrs = if addrs.is_empty() { walker.book.addresses_of(&peer) } else { addrs };
            if found.send(ProviderRecord { peer, addrs, from: local }).await.is_err() {
                return;
            }
        }
    }
    if seen.len() >= limit {
        return;
    }
    let on_answer = |from, answer: &wire::Message| {
        for (peer, addrs) in wire::peers(&answer.provider_peers) {
            if peer != local && seen.len() < limit && !seen.contains(&peer) {
                walker.book.learn(peer, &addrs, Trust::Learnt);
                // A reader slower than the search misses providers, never stalls the search.
                if found.try_send(ProviderRecord { peer, addrs, from }).is_ok() {
                    seen.insert(peer);
                }
            }
        }
        if seen.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    walker.walk(MessageType::GetProviders, key, seeds, on_answer).await;
}

/// Writes changed records to the store until the group of tasks is stopped, and once more then.
pub(super) async fn keep_records(unsaved: Arc<Unsaved>, store: Arc<dyn DhtStore>, tasks: Tasks) {
    while !tasks.is_stopped() {
        tokio::select! {
            () = tasks.stopped() => {}
            () = async {
                unsaved.some().await;
                tokio::time::sleep(GATHER).await;
            } => {}
        }
        let changes = unsaved.take();
        if changes.is_empty() {
            continue;
        }
        let store = store.clone();
        match tokio::task::spawn_blocking(move || store.write(changes)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error, "DHT records were not kept; they are learnt anew"),
            Err(error) => tracing::warn!(%error, "the DHT's record store failed"),
        }
    }
}
