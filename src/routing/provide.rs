//! Sans-IO: what waits to be announced as provided here: a bounded queue without duplicates, with waits after failures.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::base::{Cid, backoff::Backoff};

/// Keys waiting at most; beyond it they wait for the next round of all roots.
pub const MAX_QUEUED: usize = 16_384;
/// Held roots are announced again this often.
pub const REANNOUNCE: Duration = Duration::from_secs(12 * 3600);
/// Announcements under way at once.
pub const MAX_ACTIVE: usize = 8;

const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(300) };
/// After this many failures in a row a key waits for the next round of all roots.
const MAX_TRIES: u32 = 20;

/// The queue of announcements.
#[derive(Debug, Default)]
pub struct Queue {
    ready: VecDeque<Cid>,
    later: BTreeMap<(Instant, u64), Cid>,
    /// Failures so far of every key that is ready, later or under way.
    known: HashMap<Cid, u32>,
    active: usize,
    seq: u64,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key; true when it is or already was in the queue, false when the queue is full.
    pub fn push(&mut self, cid: Cid) -> bool {
        if self.known.contains_key(&cid) {
            return true;
        }
        if self.known.len() >= MAX_QUEUED {
            return false;
        }
        self.known.insert(cid, 0);
        self.ready.push_back(cid);
        true
    }

    /// Keys in the queue, those under way included.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing waits or is under way.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The next key to announce, when one is due and few enough are under way.
    pub fn pop(&mut self, now: Instant) -> Option<Cid> {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let cid = entry.remove();
            self.ready.push_back(cid);
        }
        if self.active >= MAX_ACTIVE {
            return None;
        }
        let cid = self.ready.pop_front()?;
        self.active += 1;
        Some(cid)
    }

    /// Reports how the announcement of a popped key ended; a failed one waits, `jitter` in [0, 1) shortening the wait.
    pub fn done(&mut self, cid: Cid, announced: bool, now: Instant, jitter: f64) {
        self.active = self.active.saturating_sub(1);
        let tries = match self.known.get_mut(&cid) {
            Some(tries) if !announced && *tries < MAX_TRIES => {
                *tries += 1;
                *tries
            }
            _ => {
                self.known.remove(&cid);
                return;
            }
        };
        self.seq += 1;
        self.later.insert((now + BACKOFF.wait(tries, jitter), self.seq), cid);
    }

    /// Makes everything that waits after a failure due now: the network has changed.
    pub fn hurry(&mut self) {
        self.ready.extend(std::mem::take(&mut self.later).into_values());
    }

    /// When the next waiting key is due; `None` when none waits.
    pub fn next_due(&self) -> Option<Instant> {
        self.later.keys().next().map(|k| k.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Block, Codec, Hash, time};

    fn cid(n: u32) -> Cid {
        *Block::new(Codec::Raw, Hash::Sha2_256, n.to_be_bytes().to_vec()).unwrap().cid()
    }

    #[test]
    fn keys_are_unique_bounded_and_limited_under_way() {
        let mut q = Queue::new();
        let now = time::now();
        for n in 0..MAX_QUEUED as u32 {
            assert!(q.push(cid(n)));
        }
        assert!(q.push(cid(3)), "already there");
        assert!(!q.push(cid(u32::MAX)), "full");
        let taken: Vec<Cid> = std::iter::from_fn(|| q.pop(now)).collect();
        assert_eq!(taken.len(), MAX_ACTIVE);
        q.done(taken[0], true, now, 0.0);
        assert!(q.push(cid(u32::MAX)));
        assert!(q.pop(now).is_some());
    }

    #[test]
    fn failures_wait_and_a_changed_network_hurries_them() {
        let mut q = Queue::new();
        let now = time::now();
        q.push(cid(1));
        let c = q.pop(now).unwrap();
        q.done(c, false, now, 0.0);
        assert_eq!(q.pop(now), None);
        assert_eq!(q.next_due(), Some(now + Duration::from_secs(1)));
        assert_eq!(q.pop(now + Duration::from_secs(1)), Some(c));
        q.done(c, false, now, 0.0);
        q.hurry();
        assert_eq!(q.pop(now), Some(c));
        q.done(c, true, now, 0.0);
        assert!(q.is_empty());
    }
}
