//! Sans-IO: where every block lies, in 32 bytes a block.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
};

use super::{BlockStat, record::RECORD_BYTES};

/// A keyed 128-bit fingerprint of a multihash. Its keys are drawn at every start, so that nobody can look for two
/// blocks with the same one.
pub(super) type Key = [u64; 2];

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

/// A segment's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentInfo {
    pub salt: u64,
    /// Bytes of the file.
    pub len: u64,
    /// Bytes of records of blocks that are there.
    pub live: u64,
}

/// Takes a fingerprint as its own hash.
#[derive(Default)]
pub(super) struct Fingerprint(u64);

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.0 = self.0.rotate_left(8) ^ u64::from(b));
    }

    fn write_usize(&mut self, _: usize) {}

    fn write_u64(&mut self, n: u64) {
        self.0 ^= n;
    }
}

#[derive(Default)]
pub(super) struct Index {
    keys: [RandomState; 2],
    places: HashMap<Key, Place, BuildHasherDefault<Fingerprint>>,
    pub segments: BTreeMap<u32, SegmentInfo>,
    bytes: u64,
}

impl Index {
    /// The key of a multihash.
    pub(super) fn key(&self, hash: &[u8]) -> Key {
        [self.keys[0].hash_one(hash), self.keys[1].hash_one(hash)]
    }

    pub(super) fn get(&self, key: &Key) -> Option<Place> {
        self.places.get(key).copied()
    }

    pub(super) fn put(&mut self, key: Key, place: Place) {
        self.bytes += u64::from(place.data_len);
        if let Some(info) = self.segments.get_mut(&place.segment) {
            info.live += place.total();
        }
        if let Some(old) = self.places.insert(key, place) {
            self.gone(old);
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(old) = self.places.remove(key) {
            self.gone(old);
        }
    }

    /// Removes `key` if it still lies at `place`.
    pub(super) fn remove_at(&mut self, key: &Key, place: Place) -> bool {
        let there = self.get(key) == Some(place);
        if there {
            self.remove(key);
        }
        there
    }

    fn gone(&mut self, old: Place) {
        self.bytes -= u64::from(old.data_len);
        if let Some(info) = self.segments.get_mut(&old.segment) {
            info.live -= old.total();
        }
    }

    /// Every block, in the order of the files.
    pub(super) fn sorted(&self) -> Vec<(Key, Place)> {
        let mut out: Vec<_> = self.places.iter().map(|(k, p)| (*k, *p)).collect();
        out.sort_unstable_by_key(|(_, p)| (p.segment, p.offset));
        out
    }

    /// The first block of `segment` after `offset`.
    pub(super) fn after(&self, segment: u32, offset: u32) -> Option<u32> {
        let later = self.places.values().filter(|p| p.segment == segment && p.offset > offset);
        later.map(|p| p.offset).min()
    }

    pub(super) fn stat(&self) -> BlockStat {
        BlockStat {
            blocks: self.places.len() as u64,
            bytes: self.bytes,
            disk_bytes: self.segments.values().map(|s| s.len).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_puts_and_removals() {
        let mut index = Index::default();
        index.segments.insert(1, SegmentInfo { salt: 0, len: 1000, live: 0 });
        let key = index.key(b"hash");
        assert_ne!(key, index.key(b"hasi"));
        let place = Place { segment: 1, offset: 24, meta_len: 40, data_len: 100 };
        index.put(key, place);
        index.put(key, Place { offset: 500, ..place });
        assert_eq!(index.stat(), BlockStat { blocks: 1, bytes: 100, disk_bytes: 1000 });
        assert_eq!(index.segments[&1].live, 164);
        assert!(!index.remove_at(&key, place));
        index.remove(&key);
        index.remove(&key);
        assert_eq!(index.stat(), BlockStat { blocks: 0, bytes: 0, disk_bytes: 1000 });
        assert_eq!(index.segments[&1].live, 0);
        assert_eq!(std::mem::size_of::<(Key, Place)>(), 32);
    }
}
