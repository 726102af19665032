//! Sans-IO: hints of who has what, and the order in which a search names its candidates.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use crate::base::{Cid, Multiaddr, PeerId, cid::Multihash};

/// Keys with hints at most; the oldest go first.
const MAX_KEYS: usize = 4096;
/// Peers hinted per key at most.
const MAX_PER_KEY: usize = 16;
/// Addresses kept of a hint.
const MAX_ADDRS: usize = 8;
/// A hint is forgotten after this.
const KEEP: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Hint {
    peer: PeerId,
    addrs: Vec<Multiaddr>,
    at: Instant,
}

/// Who someone here said has what.
#[derive(Debug, Default)]
pub struct Hints {
    keys: HashMap<Multihash, Vec<Hint>>,
    order: VecDeque<Multihash>,
}

impl Hints {
    /// No hints.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers that `peer` has `cid`; said again, it counts as new.
    pub fn add(&mut self, cid: &Cid, peer: PeerId, mut addrs: Vec<Multiaddr>, now: Instant) {
        addrs.truncate(MAX_ADDRS);
        let key = *cid.hash();
        if !self.keys.contains_key(&key) {
            if self.order.len() >= MAX_KEYS
                && let Some(oldest) = self.order.pop_front()
            {
                self.keys.remove(&oldest);
            }
            self.order.push_back(key);
        }
        let hints = self.keys.entry(key).or_default();
        hints.retain(|h| h.peer != peer);
        if hints.len() >= MAX_PER_KEY {
            hints.remove(0);
        }
        hints.push(Hint { peer, addrs, at: now });
    }

    /// The peers hinted for `cid`, the newest hint first.
    pub fn get(&self, cid: &Cid, now: Instant) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let hints = self.keys.get(cid.hash()).map(Vec::as_slice).unwrap_or_default();
        let fresh = hints.iter().rev().filter(|h| now.saturating_duration_since(h.at) < KEEP);
        fresh.map(|h| (h.peer, h.addrs.clone())).collect()
    }
}

/// Names each peer of one search once; those that should rest are put back to the end.
#[derive(Debug)]
pub struct Merge<T> {
    seen: HashSet<PeerId>,
    resting: Vec<T>,
}

/// How a search treats a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitness {
    /// Named at once.
    Usable,
    /// Waiting after failures: named when the search is over, in case there is nobody else.
    Resting,
    /// Never named.
    Banned,
}

impl<T> Merge<T> {
    /// A search that never names `own`.
    pub fn new(own: PeerId) -> Self {
        Merge { seen: HashSet::from([own]), resting: Vec::new() }
    }

    /// Takes a candidate that was found; gives it back when it is to be named now.
    pub fn admit(&mut self, peer: PeerId, fitness: Fitness, candidate: T) -> Option<T> {
        if fitness == Fitness::Banned || !self.seen.insert(peer) {
            return None;
        }
        if fitness == Fitness::Resting {
            self.resting.push(candidate);
            return None;
        }
        Some(candidate)
    }

    /// What is left to name at the end.
    pub fn rest(self) -> Vec<T> {
        self.resting
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
    fn hints_are_fresh_bounded_and_by_hash() {
        let mut hints = Hints::new();
        let now = time::now();
        let peers: Vec<PeerId> = (0..20).map(|_| PeerId::random()).collect();
        peers.iter().for_each(|p| hints.add(&cid(1), *p, vec![], now));
        let got: Vec<PeerId> = hints.get(&cid(1), now).into_iter().map(|h| h.0).collect();
        assert_eq!(got.len(), MAX_PER_KEY);
        assert_eq!(got[0], peers[19]);
        let twin = Cid::new_v1(Codec::DagPb.code(), *cid(1).hash());
        assert_eq!(hints.get(&twin, now).len(), MAX_PER_KEY);
        assert!(hints.get(&cid(1), now + KEEP).is_empty());
        (2..MAX_KEYS as u32 + 2).for_each(|n| hints.add(&cid(n), peers[0], vec![], now));
        assert!(hints.get(&cid(1), now).is_empty() && hints.keys.len() == MAX_KEYS);
    }

    #[test]
    fn a_search_names_everybody_once_and_the_resting_last() {
        let own = PeerId::random();
        let (a, b, c) = (PeerId::random(), PeerId::random(), PeerId::random());
        let mut merge = Merge::new(own);
        assert_eq!(merge.admit(own, Fitness::Usable, 0), None);
        assert_eq!(merge.admit(a, Fitness::Usable, 1), Some(1));
        assert_eq!(merge.admit(a, Fitness::Usable, 2), None);
        assert_eq!(merge.admit(b, Fitness::Resting, 3), None);
        assert_eq!(merge.admit(c, Fitness::Banned, 4), None);
        assert_eq!(merge.rest(), [3]);
    }
}
