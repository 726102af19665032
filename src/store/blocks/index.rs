//! Sans-IO: where every block lies, in 32 bytes a block.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
};

use super::{
    BlockStat,
    record::{HEAD_BYTES, RECORD_BYTES},
};

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
    /// Bytes of records of removals.
    pub graves: u64,
}

impl SegmentInfo {
    /// Bytes of records of blocks that are not there any more.
    pub(super) fn dead(&self) -> u64 {
        self.len.saturating_sub(HEAD_BYTES as u64 + self.live + self.graves)
    }

    /// Bytes that compacting would give back; the records of removals too, unless they are still needed.
    pub(super) fn garbage(&self, graves_needed: bool) -> u64 {
        self.dead() + if graves_needed { 0 } else { self.graves }
    }
}

/// Removals' share of the whole store above which the oldest garbage is compacted whatever its share, in percent:
/// as long as it is there, the removals have to be kept.
const GRAVES_PERCENT: u64 = 12;

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

    /// Takes note of the record of a removal.
    pub(super) fn buried(&mut self, segment: u32, record_bytes: u64) {
        if let Some(info) = self.segments.get_mut(&segment) {
            info.graves += record_bytes;
        }
    }

    /// Lets a block that still lies at `from` lie at `to`.
    pub(super) fn relocate(&mut self, key: Key, from: Place, to: Place) {
        if self.get(&key) == Some(from) {
            self.put(key, to);
        }
    }

    /// Whether the records of removals in `segment` are needed: an older one may hold what they are about.
    pub(super) fn graves_needed(&self, segment: u32) -> bool {
        self.segments.range(..segment).any(|(_, info)| info.dead() > 0)
    }

    /// Bytes of garbage in `segment`, and whether that is at least `least` percent of it.
    pub(super) fn garbage(&self, segment: u32, least: u8) -> (u64, bool) {
        let Some(info) = self.segments.get(&segment) else { return (0, false) };
        let garbage = info.garbage(self.graves_needed(segment));
        (garbage, garbage > 0 && garbage * 100 >= info.len * u64::from(least))
    }

    /// The segment before `active` whose compaction is worth most: with garbage of at least `least` percent, and of
    /// these the one with the largest share, else the oldest one with garbage when removals take too much.
    pub(super) fn worst(&self, active: u32, least: u8) -> Option<u32> {
        let (mut graves_needed, mut best, mut oldest) = (false, None, None);
        for (&segment, info) in self.segments.range(..active) {
            let garbage = info.garbage(graves_needed);
            graves_needed |= info.dead() > 0;
            if garbage == 0 {
                continue;
            }
            oldest = oldest.or(Some(segment));
            let share = garbage * 1000 / info.len.max(1);
            if share >= u64::from(least) * 10 && best.is_none_or(|(most, _)| share > most) {
                best = Some((share, segment));
            }
        }
        let all: u64 = self.segments.values().map(|s| s.len).sum();
        let graves: u64 = self.segments.values().map(|s| s.graves).sum();
        let crowded = || oldest.filter(|_| graves * 100 > all * GRAVES_PERCENT);
        best.map(|(_, segment)| segment).or_else(crowded)
    }

    /// The blocks that lie in `segment`.
    pub(super) fn within(&self, segment: u32) -> Vec<(Key, Place)> {
        self.places.iter().filter(|(_, p)| p.segment == segment).map(|(k, p)| (*k, *p)).collect()
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
            live_bytes: self.segments.values().map(|s| s.live).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_puts_and_removals() {
        let mut index = Index::default();
        index.segments.insert(1, SegmentInfo { len: 1000, ..SegmentInfo::default() });
        let key = index.key(b"hash");
        assert_ne!(key, index.key(b"hasi"));
        let place = Place { segment: 1, offset: 24, meta_len: 40, data_len: 100 };
        index.put(key, place);
        index.put(key, Place { offset: 500, ..place });
        assert_eq!(index.stat(), BlockStat { blocks: 1, bytes: 100, disk_bytes: 1000, live_bytes: 164 });
        assert_eq!(index.segments[&1].live, 164);
        assert!(!index.remove_at(&key, place));
        index.remove(&key);
        index.remove(&key);
        assert_eq!(index.stat(), BlockStat { disk_bytes: 1000, ..BlockStat::default() });
        assert_eq!(index.segments[&1].live, 0);
        assert_eq!(std::mem::size_of::<(Key, Place)>(), 32);
    }

    #[test]
    fn removals_are_kept_while_older_garbage_is_there() {
        let info = |len, live, graves| SegmentInfo { salt: 0, len, live, graves };
        let mut index = Index::default();
        let head = HEAD_BYTES as u64;
        // All alive; half dead; removals only; removals and dead bytes; the one being written.
        for (segment, info) in [
            (1, info(head + 1000, 1000, 0)),
            (2, info(head + 1000, 500, 0)),
            (3, info(head + 1000, 0, 1000)),
            (4, info(head + 1000, 300, 200)),
            (9, info(head + 1000, 0, 0)),
        ] {
            index.segments.insert(segment, info);
        }
        assert!(!index.graves_needed(2) && index.graves_needed(3));
        assert_eq!(index.worst(9, 40), Some(2));
        assert_eq!(index.garbage(3, 1), (0, false));
        // Removals are more than an eighth of all: whatever holds them back goes first.
        assert_eq!(index.worst(9, 90), Some(2));
        index.segments.remove(&2);
        assert_eq!(index.worst(9, 90), Some(3));
        assert_eq!(index.garbage(4, 70), (700, false));
        index.segments.remove(&3);
        assert_eq!(index.worst(9, 60), Some(4));
        assert_eq!(index.worst(9, 70), None);
        assert_eq!(index.worst(4, 0), None);
    }
}
