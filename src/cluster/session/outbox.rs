//! What a worker must still tell: outcomes that no leader has decided on yet.
//!
//! One with an output is durable before it is told: its hold here must not be forgotten. Any other is told at once and
//! written down only when it waits, since losing it costs a lease and another attempt, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

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
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// What waits and is not written down.
    unkept: BTreeSet<u64>,
    /// Where the numbers had come at the last look.
    looked: u64,
}

fn storage(e: StoreError) -> ClusterError {
    ClusterError::Storage { kind: e.kind(), message: format!("the outbox of outcomes: {e}") }
}

impl Outbox {
    /// Reads what waits.
    pub fn open(kv: Arc<dyn Kv>) -> Result<Self, ClusterError> {
        let rows = kv.scan(TABLE, Bound::Unbounded, Bound::Unbounded, MAX_WAITING * 2).map_err(storage)?;
        let mut waiting = BTreeMap::new();
        for (key, value) in rows {
            let Ok(seq) = <[u8; 8]>::try_from(&key[..]).map(u64::from_be_bytes) else { continue };
            // An outcome that cannot be read is one that never left: its lease runs out and the task runs again.
            if let Ok(entry) = cbor::from_slice(&value, MAX_BYTES) {
                waiting.insert(seq, entry);
            }
        }
        let next = waiting.keys().next_back().map_or(0, |last| last + 1);
        Ok(Outbox { kv, waiting, next, unkept: BTreeSet::new(), looked: next })
    }

    /// Takes an outcome, durably when it has an output; gives its number.
    pub fn put(&mut self, entry: Waiting) -> Result<u64, ClusterError> {
        let seq = self.next;
        let has_output = matches!(entry.outcome, Outcome::Success { result: Some(_), .. });
        self.waiting.insert(seq, entry);
        self.next += 1;
        if has_output {
            self.keep(&[seq])?;
        } else {
            self.unkept.insert(seq);
        }
        Ok(seq)
    }

    /// Writes down, durably, what has waited since the last call of this.
    pub fn keep_overdue(&mut self) -> Result<(), ClusterError> {
        let overdue: Vec<u64> = self.unkept.range(..self.looked).copied().collect();
        self.looked = self.next;
        if overdue.is_empty() { Ok(()) } else { self.keep(&overdue) }
    }

    fn keep(&mut self, seqs: &[u64]) -> Result<(), ClusterError> {
        let mut batch = Batch::new();
        for (seq, entry) in seqs.iter().filter_map(|seq| self.waiting.get_key_value(seq)) {
            batch.put(TABLE, seq.to_be_bytes(), cbor::to_vec(entry));
        }
        self.kv.commit(batch, Durability::Immediate).map_err(storage)?;
        self.unkept.retain(|seq| !seqs.contains(seq));
        Ok(())
    }

    /// The outcome is decided. Forgetting is lazy: telling it again after a crash is harmless.
    pub fn remove(&mut self, seq: u64) -> Result<Option<Waiting>, ClusterError> {
        let Some(entry) = self.waiting.remove(&seq) else { return Ok(None) };
        if self.unkept.remove(&seq) {
            return Ok(Some(entry));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryKv;

    fn waiting(n: u8, outcome: Outcome) -> Waiting {
        Waiting { task: TaskId([n; 32]), fence: Fence { epoch: 1, index: n.into() }, outcome }
    }

    #[test]
    fn outputs_are_kept_before_they_are_told_and_the_rest_when_it_waits() {
        let kv: Arc<dyn Kv> = Arc::new(MemoryKv::default());
        let kept = || Outbox::open(kv.clone()).unwrap().iter().map(|(seq, w)| (seq, w.task.0[0])).collect::<Vec<_>>();
        let mut outbox = Outbox::open(kv.clone()).unwrap();
        let cid = crate::base::Cid::try_from("bafkqaaa").unwrap();
        let output = Outcome::Success { result: Some(cid), bytes: 0 };
        let bare = Outcome::Success { result: None, bytes: 0 };
        let failure = Outcome::Failure { message: "no".into(), retryable: true };
        outbox.put(waiting(1, output)).unwrap();
        assert_eq!(kept(), [(0, 1)]);
        outbox.keep_overdue().unwrap();
        outbox.put(waiting(2, bare.clone())).unwrap();
        outbox.put(waiting(3, failure)).unwrap();
        outbox.remove(1).unwrap().unwrap();
        // A look that comes right after it was put finds it new.
        outbox.keep_overdue().unwrap();
        assert_eq!(kept(), [(0, 1)]);
        outbox.put(waiting(4, bare)).unwrap();
        outbox.keep_overdue().unwrap();
        assert_eq!(kept(), [(0, 1), (2, 3)]);
        assert_eq!(outbox.len(), 3);
        for seq in [0, 2, 3] {
            assert!(outbox.remove(seq).unwrap().is_some());
        }
        assert!(kept().is_empty() && outbox.remove(3).unwrap().is_none());
    }
}
