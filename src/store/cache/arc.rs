//! Sans-IO: an adaptive replacement cache whose sizes are bytes.
//!
//! Megiddo and Modha's ARC ("ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003): what was asked for once and
//! what was asked for again are two lists, and the names of what either lost lately are two more, the ghosts. A ghost that is
//! asked for shows which list was too short, and the border between them moves. So one walk over everything costs nothing
//! that is asked for again and again.

use std::hash::Hash;

use lru::LruCache;

/// Values of at most this share of the capacity are kept.
const LARGEST_SHARE: u64 = 8;

/// Items in the order in which they were asked for, and their bytes.
struct List<K: Hash + Eq, V> {
    items: LruCache<K, (V, u64)>,
    bytes: u64,
}

impl<K: Hash + Eq, V> List<K, V> {
    fn new() -> Self {
        List { items: LruCache::unbounded(), bytes: 0 }
    }

    fn push(&mut self, key: K, value: V, weight: u64) {
        self.bytes += weight;
        self.items.push(key, (value, weight));
    }

    fn take(&mut self, key: &K) -> Option<(V, u64)> {
        let (value, weight) = self.items.pop(key)?;
        self.bytes -= weight;
        Some((value, weight))
    }

    fn oldest(&mut self) -> Option<(K, V, u64)> {
        let (key, (value, weight)) = self.items.pop_lru()?;
        self.bytes -= weight;
        Some((key, value, weight))
    }
}

/// A cache of values by key, each with its weight in bytes.
pub(super) struct Adaptive<K: Hash + Eq, V> {
    capacity: u64,
    /// Bytes that what was asked for once may take before it gives way to the rest.
    target: u64,
    once: List<K, V>,
    again: List<K, V>,
    once_gone: List<K, ()>,
    again_gone: List<K, ()>,
}

impl<K: Hash + Eq, V: Clone> Adaptive<K, V> {
    /// An empty cache of values of together at most `capacity` bytes.
    pub(super) fn new(capacity: u64) -> Self {
        Adaptive {
            capacity,
            target: 0,
            once: List::new(),
            again: List::new(),
            once_gone: List::new(),
            again_gone: List::new(),
        }
    }

    /// The value of a key, which counts as asked for.
    pub(super) fn get(&mut self, key: &K) -> Option<V>
    where
        K: Clone,
    {
        if let Some((value, weight)) = self.once.take(key) {
            self.again.push(key.clone(), value.clone(), weight);
            return Some(value);
        }
        self.again.items.get(key).map(|(value, _)| value.clone())
    }

    /// Keeps a value that was asked for and not there. One that is there stays; one that is too large is not kept.
    pub(super) fn put(&mut self, key: K, value: V, weight: u64) {
        let there = self.once.items.contains(&key) || self.again.items.contains(&key);
        if there || weight == 0 || weight > self.capacity / LARGEST_SHARE {
            return;
        }
        let (gone_once, gone_again) = (self.once_gone.bytes, self.again_gone.bytes);
        // The shorter list of ghosts says more: a hit in it moves the border further.
        let step = |hit: u64, other: u64| weight.max(weight.saturating_mul(other) / hit.max(1));
        if self.once_gone.take(&key).is_some() {
            self.target = (self.target + step(gone_once, gone_again)).min(self.capacity);
            self.make_room(weight, false);
            self.again.push(key, value, weight);
        } else if self.again_gone.take(&key).is_some() {
            self.target = self.target.saturating_sub(step(gone_again, gone_once));
            self.make_room(weight, true);
            self.again.push(key, value, weight);
        } else {
            self.make_room(weight, false);
            self.once.push(key, value, weight);
        }
        self.bury();
    }

    /// Lets go of a value and of its name.
    pub(super) fn remove(&mut self, key: &K) {
        let _ = self.once.take(key).or_else(|| self.again.take(key));
        let _ = self.once_gone.take(key).or_else(|| self.again_gone.take(key));
    }

    /// Values kept, and their bytes.
    pub(super) fn size(&self) -> (usize, u64) {
        (self.once.items.len() + self.again.items.len(), self.once.bytes + self.again.bytes)
    }

    /// Bytes that what was asked for once may take.
    pub(super) fn target(&self) -> u64 {
        self.target
    }

    /// Lets values go until there is room for `weight` bytes; `again`: for something the second list had lost.
    fn make_room(&mut self, weight: u64, again: bool) {
        while self.once.bytes + self.again.bytes + weight > self.capacity {
            let over = self.once.bytes > self.target || (again && self.once.bytes == self.target);
            let from_once = !self.once.items.is_empty() && (over || self.again.items.is_empty());
            let (from, ghosts) = match from_once {
                true => (&mut self.once, &mut self.once_gone),
                false => (&mut self.again, &mut self.again_gone),
            };
            let Some((key, _, weight)) = from.oldest() else { return };
            ghosts.push(key, (), weight);
        }
    }

    /// Forgets the oldest ghosts: those of the first list when it and they name more than the capacity, those of the
    /// second when all lists name more than twice the capacity.
    fn bury(&mut self) {
        while self.once.bytes + self.once_gone.bytes > self.capacity && self.once_gone.oldest().is_some() {}
        let all = |cache: &Self| cache.once.bytes + cache.again.bytes + cache.once_gone.bytes + cache.again_gone.bytes;
        while all(self) > 2 * self.capacity && self.again_gone.oldest().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by the paper's words, with plain lists: the most recent stands last.
    #[derive(Default)]
    struct Model {
        capacity: u64,
        target: u64,
        t1: Vec<(u16, u64)>,
        t2: Vec<(u16, u64)>,
        b1: Vec<(u16, u64)>,
        b2: Vec<(u16, u64)>,
    }

    fn bytes(list: &[(u16, u64)]) -> u64 {
        list.iter().map(|(_, weight)| weight).sum()
    }

    fn take(list: &mut Vec<(u16, u64)>, key: u16) -> bool {
        let at = list.iter().position(|(k, _)| *k == key);
        at.map(|at| list.remove(at)).is_some()
    }

    impl Model {
        /// Asks for a key; true when it was there.
        fn ask(&mut self, key: u16, weight: u64) -> bool {
            let hit = take(&mut self.t1, key) | take(&mut self.t2, key);
            if hit {
                self.t2.push((key, weight));
                return true;
            }
            if weight > self.capacity / 8 {
                return false;
            }
            let (b1, b2) = (bytes(&self.b1), bytes(&self.b2));
            let (was_once, was_again) = (take(&mut self.b1, key), take(&mut self.b2, key));
            if was_once {
                self.target = self.capacity.min(self.target + weight.max(weight * b2 / b1));
            } else if was_again {
                self.target = self.target.saturating_sub(weight.max(weight * b1 / b2));
            }
            while bytes(&self.t1) + bytes(&self.t2) + weight > self.capacity {
                let t1 = bytes(&self.t1);
                let first = t1 > self.target || (was_again && t1 == self.target) || self.t2.is_empty();
                if first && !self.t1.is_empty() {
                    self.b1.push(self.t1.remove(0));
                } else {
                    self.b2.push(self.t2.remove(0));
                }
            }
            if was_once || was_again { &mut self.t2 } else { &mut self.t1 }.push((key, weight));
            while bytes(&self.t1) + bytes(&self.b1) > self.capacity {
                self.b1.remove(0);
            }
            while [&self.t1, &self.t2, &self.b1, &self.b2].map(|list| bytes(list)).iter().sum::<u64>()
                > 2 * self.capacity
            {
                self.b2.remove(0);
            }
            false
        }
    }

    fn ask(cache: &mut Adaptive<u16, u16>, key: u16, weight: u64) -> bool {
        match cache.get(&key) {
            Some(value) => {
                assert_eq!(value, key.wrapping_mul(7), "another's value");
                true
            }
            None => {
                cache.put(key, key.wrapping_mul(7), weight);
                false
            }
        }
    }

    /// A key's weight is always the same, as a block's size is.
    fn weight_of(key: u16) -> u64 {
        1 + u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 60
    }

    proptest! {
        /// Hit for hit and border for border what the model does; never over its budget, ghosts bounded.
        #[test]
        fn as_the_paper_has_it(
            capacity in 100u64..800,
            asked in proptest::collection::vec((0u16..60, any::<bool>()), 0..600),
        ) {
            let mut cache = Adaptive::new(capacity);
            let mut model = Model { capacity, ..Model::default() };
            for (n, (key, far)) in asked.into_iter().enumerate() {
                // Some come from a range so wide that they are never asked for again.
                let key = if far { 1000 + n as u16 } else { key };
                let weight = weight_of(key);
                prop_assert_eq!(ask(&mut cache, key, weight), model.ask(key, weight), "asking for {}", key);
                prop_assert_eq!(cache.target(), model.target);
                let (count, kept) = cache.size();
                prop_assert_eq!(count, model.t1.len() + model.t2.len());
                prop_assert!(kept <= capacity);
                prop_assert!(cache.once.bytes + cache.once_gone.bytes <= capacity);
                let ghosts = cache.once_gone.bytes + cache.again_gone.bytes;
                prop_assert!(kept + ghosts <= 2 * capacity);
                for list in [&cache.once, &cache.again] {
                    prop_assert_eq!(list.bytes, list.items.iter().map(|(_, (_, weight))| weight).sum::<u64>());
                }
            }
        }

        /// Whatever is removed is neither there nor remembered.
        #[test]
        fn what_is_removed_is_gone(asked in proptest::collection::vec((0u16..40, any::<bool>()), 0..300)) {
            let mut cache = Adaptive::new(400);
            for (key, remove) in asked {
                if remove {
                    cache.remove(&key);
                    prop_assert_eq!(cache.get(&key), None);
                    prop_assert!(!cache.once_gone.items.contains(&key) && !cache.again_gone.items.contains(&key));
                } else {
                    ask(&mut cache, key, weight_of(key));
                }
                prop_assert!(cache.size().1 <= 400);
            }
        }
    }

    #[test]
    fn a_walk_over_everything_leaves_what_is_asked_for_again() {
        let mut cache = Adaptive::new(1000);
        for _ in 0..2 {
            for key in 0..50 {
                ask(&mut cache, key, 10);
            }
        }
        for key in 1000..20_000 {
            ask(&mut cache, key, 10);
        }
        assert!((0..50).all(|key| ask(&mut cache, key, 10)), "a plain LRU has lost them all");
    }

    #[test]
    fn the_border_moves_to_where_the_hits_are() {
        let mut cache = Adaptive::new(1000);
        // A loop a little longer than the cache, once something else was asked for again: recency earns room.
        for _ in 0..2 {
            for key in 0..90 {
                ask(&mut cache, key, 10);
            }
        }
        assert_eq!(cache.target(), 0);
        for _ in 0..6 {
            for key in 200..240 {
                ask(&mut cache, key, 10);
            }
        }
        assert!(cache.target() > 0, "ghosts of what was asked for once were asked for");
        assert!((200..240).all(|key| ask(&mut cache, key, 10)));
    }

    #[test]
    fn without_capacity_and_for_giants_nothing_is_kept() {
        let mut none = Adaptive::new(0);
        assert!(!ask(&mut none, 1, 1) && !ask(&mut none, 1, 1));
        let mut small = Adaptive::new(80);
        assert!(!ask(&mut small, 1, 11) && !ask(&mut small, 1, 11), "over an eighth");
        assert!(!ask(&mut small, 2, 10) && ask(&mut small, 2, 10));
    }
}
