//! What a worker must still tell: outcomes that no leader has decided on yet, kept over restarts.

use std::{ops::Bound, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    base::{HasKind, cbor},
    cluster::{
        error::ClusterError,
        model::{Fence, Outcome, TaskId},
    },
    store::{Batch, Durability, Kv, StoreError},
};

const TABLE: &str = "cluster_outbox";
const MAX_BYTES: usize = 16 * 1024;
/// The most outcomes that wait; beyond it the worker takes no new tasks.
pub const MAX_WAITING: usize = 1_024;

/// An outcome that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Which task.
    pub task: TaskId,
    /// Which attempt.
    pub fence: Fence,
    /// How it ended.
    pub outcome: Outcome,
}

/// The outbox.
pub struct Outbox {
    kv: Arc<dyn Kv>,
    waiting: std::collections::BTreeMap<u64, Waiting>,
    next: u64,
}

fn storage(e: StoreError) -> ClusterError {
    ClusterError::Storage { kind: e.kind(), message: format!("the outbox of outcomes: {e}") }
}

impl Outbox {
    /// Reads what waits.
    pub fn open(kv: Arc<dyn Kv>) -> Result<Self, ClusterError> {
        let rows = kv.scan(TABLE, Bound::Unbounded, Bound::Unbounded, MAX_WAITING * 2).map_err(storage)?;
        let mut waiting = std::collections::BTreeMap::new();
        for (key, value) in rows {
            let Ok(seq) = <[u8; 8]>::try_from(&key[..]).map(u64::from_be_bytes) else { continue };
            // An outcome that cannot be read is one that never left: its lease runs out and the task runs again.
            if let Ok(entry) = cbor::from_slice(&value, MAX_BYTES) {
                waiting.insert(seq, entry);
            }
        }
        let next = waiting.keys().next_back().map_or(0, |last| last + 1);
        Ok(Outbox { kv, waiting, next })
    }

    /// Keeps an outcome, durably; gives its number.
    pub fn put(&mut self, entry: Waiting) -> Result<u64, ClusterError> {
        let seq = self.next;
        let mut batch = Batch::new();
        batch.put(TABLE, seq.to_be_bytes(), cbor::to_vec(&entry));
        self.kv.commit(batch, Durability::Immediate).map_err(storage)?;
        self.next += 1;
        self.waiting.insert(seq, entry);
        Ok(seq)
    }

    /// The outcome is decided. Forgetting is lazy: telling it again after a crash is harmless.
    pub fn remove(&mut self, seq: u64) -> Result<Option<Waiting>, ClusterError> {
        let Some(entry) = self.waiting.remove(&seq) else { return Ok(None) };
        let mut batch = Batch::new();
        batch.delete(TABLE, seq.to_be_bytes());
        self.kv.commit(batch, Durability::Lazy).map_err(storage)?;
        Ok(Some(entry))
    }

    /// What waits, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Waiting)> {
        self.waiting.iter().map(|(seq, entry)| (*seq, entry))
    }

    /// How much waits.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
