//! Who has what: the handle on Kademlia.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::mpsc;

use super::error::NetError;
use crate::base::{Multiaddr, PeerId};

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

/// A change of the stored records: the key, and its new value or `None` to delete it.
pub type StoreChange = (Vec<u8>, Option<Vec<u8>>);

/// Keeps DHT records over restarts; soft: losing them is harmless. Calls may block, they run outside the swarm task.
pub trait DhtStore: Send + Sync + 'static {
    /// The next `limit` records in ascending order of keys, after the key given.
    ///
    /// # Errors
    /// A text for the log.
    fn load(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, String>;

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
    fn load(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, String> {
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
pub struct Dht {}

impl Dht {
    /// Looks for up to `limit` providers of `key` (a multihash's bytes); they arrive as they are found, each peer once,
    /// those in this node's own records first. The channel ends when the search does; dropping it ends the search.
    pub async fn find_providers(&self, key: &[u8], limit: usize) -> mpsc::Receiver<ProviderRecord> {
        let _ = (key, limit);
        todo!()
    }

    /// Tells the DHT's nodes closest to `key` (a multihash's bytes) that this node provides it, and remembers it for
    /// 48 hours; to be called again before they are over.
    ///
    /// # Errors
    /// [`NetError::NoPeers`] when no other node took the record; this node answers for it all the same.
    pub async fn provide(&self, key: &[u8]) -> Result<(), NetError> {
        let _ = key;
        todo!()
    }

    /// As [`Dht::provide`]; returns how many other nodes took the record, 0 when there are none.
    ///
    /// # Errors
    /// [`NetError::Stopped`].
    pub async fn provide_counted(&self, key: &[u8]) -> Result<usize, NetError> {
        let _ = key;
        todo!()
    }

    /// Forgets that this node provides `key`; other nodes' records run out by themselves.
    pub async fn stop_providing(&self, key: &[u8]) {
        let _ = key;
        todo!()
    }

    /// The addresses of a peer, from what is known here or else from the DHT.
    ///
    /// # Errors
    /// [`NetError::NotFound`], [`NetError::NoPeers`].
    pub async fn find_peer(&self, peer: PeerId) -> Result<Vec<Multiaddr>, NetError> {
        let _ = peer;
        todo!()
    }

    /// Looks for this node's own neighbourhood to fill the routing table.
    ///
    /// # Errors
    /// [`NetError::NoPeers`] when the routing table is empty.
    pub async fn bootstrap(&self) -> Result<(), NetError> {
        todo!()
    }

    /// How many peers the routing table holds.
    pub fn routing_table_size(&self) -> usize {
        todo!()
    }
}
