//! Sans-IO: a table from fingerprints to places, made to be small.
//!
//! A linear hash table of buckets of entries without gaps: it grows by one bucket at a time, so that no growing ever copies
//! all of it or holds two tables at once. It takes about 31 bytes a block at any number of blocks; a hash map takes 38 to 75,
//! and half as much again while it grows.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{marks, record::RECORD_BYTES};

/// A keyed fingerprint of a multihash, of 96 bits: of a hundred billion stores with a billion blocks each, one has two blocks
/// with the same. Its keys are drawn at every start, so that nobody can look for such two.
pub(super) type Key = [u32; 3];

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub segment: u32,
    pub offset: u32,
    pub meta_len: u32,
    pub data_len: u32,
}

impl Place {
    /// Bytes of the record.
    pub(super) fn total(&self) -> u64 {
        RECORD_BYTES as u64 + u64::from(self.meta_len) + u64::from(self.data_len)
    }
}

/// A key and its place as the table holds them, with marks beside the length of the meta part. Marks change under a shared
/// lock.
pub(super) struct Slot {
    pub key: Key,
    pub segment: u32,
    pub offset: u32,
    pub word: AtomicU32,
    data_len: u32,
}

impl Slot {
    pub(super) fn new(key: Key, place: Place, word: u32) -> Slot {
        let Place { segment, offset, meta_len, data_len } = place;
        Slot { key, segment, offset, word: AtomicU32::new(marks::with_length(word, meta_len)), data_len }
    }

    pub(super) fn place(&self) -> Place {
        let meta_len = marks::length(self.word.load(Relaxed));
        Place { segment: self.segment, offset: self.offset, meta_len, data_len: self.data_len }
    }

    /// Changes the marks; gives the word before.
    pub(super) fn mark(&self, change: impl Fn(u32) -> u32) -> u32 {
        let mut before = self.word.load(Relaxed);
        loop {
            let after = change(before);
            if after == before {
                return before;
            }
            match self.word.compare_exchange_weak(before, after, Relaxed, Relaxed) {
                Ok(_) => return before,
                Err(now) => before = now,
            }
        }
    }
}

/// Entries of a bucket, on average, before one more is made.
const LOAD: usize = 32;
/// A bucket gets room for so many entries at a time.
const STEP: usize = 4;

/// Where blocks lie, by key. A key's bucket is found by its second word: the index divides its tables by the first.
pub(super) struct Places {
    buckets: Vec<Vec<Slot>>,
    /// There are at least 2 to this many buckets.
    bits: u32,
    /// Those before this one have been split already.
    split: usize,
    len: usize,
}

impl Default for Places {
    fn default() -> Self {
        Places { buckets: vec![Vec::new()], bits: 0, split: 0, len: 0 }
    }
}

impl Places {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Slot> {
        self.buckets[self.bucket(key)].iter().find(|slot| slot.key == *key)
    }

    /// Sets what is there under the slot's key; gives what was.
    pub(super) fn insert(&mut self, slot: Slot) -> Option<Slot> {
        let number = self.bucket(&slot.key);
        let bucket = &mut self.buckets[number];
        if let Some(old) = bucket.iter_mut().find(|old| old.key == slot.key) {
            return Some(std::mem::replace(old, slot));
        }
        if bucket.len() == bucket.capacity() {
            bucket.reserve_exact(STEP);
        }
        bucket.push(slot);
        self.len += 1;
        if self.len > self.buckets.len() * LOAD {
            self.grow();
        }
        None
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Slot> {
        let number = self.bucket(key);
        let bucket = &mut self.buckets[number];
        let at = bucket.iter().position(|slot| slot.key == *key)?;
        let slot = bucket.swap_remove(at);
        if bucket.capacity() - bucket.len() > 2 * STEP {
            bucket.shrink_to(bucket.len() + STEP);
        }
        self.len -= 1;
        Some(slot)
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.buckets.iter().flatten()
    }

    fn bucket(&self, key: &Key) -> usize {
        let hash = key[1] as usize;
        let whole = hash & ((1 << self.bits) - 1);
        if whole < self.split { hash & ((2 << self.bits) - 1) } else { whole }
    }

    /// Makes one more bucket, of those entries of the next one to be split whose hash has the next bit.
    fn grow(&mut self) {
        let bit = 1 << self.bits;
        let old = std::mem::take(&mut self.buckets[self.split]);
        let (there, here): (Vec<Slot>, Vec<Slot>) = old.into_iter().partition(|slot| slot.key[1] as usize & bit != 0);
        self.buckets[self.split] = fitted(here);
        self.buckets.push(fitted(there));
        self.split += 1;
        if self.split == bit {
            (self.bits, self.split) = (self.bits + 1, 0);
        }
    }
}

/// The same entries with room for a few more.
fn fitted(slots: Vec<Slot>) -> Vec<Slot> {
    let mut out = Vec::with_capacity(slots.len() + STEP);
    out.extend(slots);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::{super::record::MAX_META_BYTES, *};
    use crate::base::MAX_BLOCK_BYTES;

    fn place(n: u32) -> Place {
        let (meta, data) = (n % (MAX_META_BYTES as u32 + 1), n % (MAX_BLOCK_BYTES as u32 + 1));
        Place { segment: n, offset: !n, meta_len: meta, data_len: data }
    }

    /// Keys of which many share their lower bits, as those that must be told apart within a bucket.
    fn key(n: u16) -> Key {
        [7, u32::from(n) << 7, u32::MAX - u32::from(n)]
    }

    fn slot(key: Key, value: u32) -> Slot {
        Slot::new(key, place(value), 0)
    }

    proptest! {
        #[test]
        fn as_a_map_has_it(steps in proptest::collection::vec((0u16..700, any::<u32>(), 0u8..4), 0..3000)) {
            let mut places = Places::default();
            let mut model: HashMap<Key, Place> = HashMap::new();
            for (n, value, what) in steps {
                let key = key(n);
                let old = match what {
                    0 => (places.remove(&key), model.remove(&key)),
                    _ => (places.insert(slot(key, value)), model.insert(key, place(value))),
                };
                prop_assert_eq!(old.0.map(|slot| slot.place()), old.1);
                prop_assert_eq!(places.get(&key).map(Slot::place), model.get(&key).copied());
                prop_assert_eq!(places.len(), model.len());
            }
            prop_assert!((0..700).all(|n| places.get(&key(n)).map(Slot::place) == model.get(&key(n)).copied()));
            let all: HashMap<Key, Place> = places.iter().map(|slot| (slot.key, slot.place())).collect();
            prop_assert_eq!(all, model);
        }
    }

    /// The room that is taken, whatever the number of entries, and that it is given back.
    #[test]
    fn it_stays_small_while_it_grows_and_when_it_is_emptied() {
        fn bytes(places: &Places) -> usize {
            let slots: usize = places.buckets.iter().map(Vec::capacity).sum();
            slots * size_of::<Slot>() + places.buckets.len() * size_of::<Vec<Slot>>()
        }
        let mut places = Places::default();
        let mut state = 1u64;
        for n in 0..200_000u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            places.insert(slot([7, (state >> 32) as u32, n], n));
            if n > 1000 && n % 5000 == 0 {
                assert!(bytes(&places) <= places.len() * 34, "{} bytes for {} places", bytes(&places), places.len());
            }
        }
        let keys: Vec<Key> = places.iter().map(|slot| slot.key).collect();
        keys.iter().for_each(|key| assert!(places.remove(key).is_some()));
        assert!(places.len() == 0 && bytes(&places) < keys.len() * 10, "{}", bytes(&places));
    }
}
