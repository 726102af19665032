//! Sans-IO: where every block lies.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::atomic::Ordering::Relaxed,
};

use super::{
    BlockStat,
    marks::{self, Name, Young},
    places::{Key, Place, Places, Slot},
    record::HEAD_BYTES,
};

/// Tables that the index is divided into: what goes through all of it can pause between two.
pub(super) const SHARDS: usize = 256;

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

pub(super) struct Index {
    keys: [RandomState; 2],
    shards: Vec<Places>,
    pub segments: BTreeMap<u32, SegmentInfo>,
    bytes: u64,
}

impl Default for Index {
    fn default() -> Self {
        let shards = std::iter::repeat_with(Places::default).take(SHARDS).collect();
        Index { keys: Default::default(), shards, segments: BTreeMap::new(), bytes: 0 }
    }
}

impl Index {
    /// The key of a multihash.
    pub(super) fn key(&self, hash: &[u8]) -> Key {
        let (first, second) = (self.keys[0].hash_one(hash), self.keys[1].hash_one(hash));
        [first as u32, (first >> 32) as u32, second as u32]
    }

    fn shard(&self, key: &Key) -> &Places {
        &self.shards[key[0] as usize % SHARDS]
    }

    fn shard_mut(&mut self, key: &Key) -> &mut Places {
        &mut self.shards[key[0] as usize % SHARDS]
    }

    pub(super) fn get(&self, key: &Key) -> Option<Place> {
        self.shard(key).get(key).map(Slot::place)
    }

    /// Puts a block that was not there, or lies somewhere else now, in the generation `now`.
    pub(super) fn put(&mut self, key: Key, place: Place, now: Name) {
        self.insert(key, place, marks::touched(0, now));
    }

    /// Puts a block that was there before this process began.
    pub(super) fn load(&mut self, key: Key, place: Place) {
        self.insert(key, place, 0);
    }

    fn insert(&mut self, key: Key, place: Place, word: u32) {
        self.bytes += u64::from(place.data_len);
        if let Some(info) = self.segments.get_mut(&place.segment) {
            info.live += place.total();
        }
        if let Some(old) = self.shard_mut(&key).insert(Slot::new(key, place, word)) {
            self.gone(old.place());
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(old) = self.shard_mut(key).remove(key) {
            self.gone(old.place());
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

    /// Removes `key` if it still lies at `place` and nothing spares it.
    pub(super) fn remove_dead(&mut self, key: &Key, place: Place, young: Young) -> bool {
        let spared = |slot: &Slot| young.spares(slot.word.load(Relaxed));
        let dead = self.shard(key).get(key).is_some_and(|slot| slot.place() == place && !spared(slot));
        if dead {
            self.remove(key);
        }
        dead
    }

    /// Changes a block's marks; gives its place and the marks before, `None` when it is not there.
    pub(super) fn mark(&self, key: &Key, change: impl Fn(u32) -> u32) -> Option<(Place, u32)> {
        let slot = self.shard(key).get(key)?;
        let before = slot.mark(change);
        Some((slot.place(), before))
    }

    /// Clears the marks in a shard, for a collection.
    pub(super) fn clear_marks(&self, shard: usize, young: Young) {
        for slot in self.shards[shard].iter() {
            slot.mark(|word| marks::cleared(word, young));
        }
    }

    /// Where the blocks of a shard lie that nothing spares.
    pub(super) fn dead(&self, shard: usize, young: Young) -> impl Iterator<Item = (u32, u32)> {
        let slots = self.shards[shard].iter();
        slots.filter(move |slot| !young.spares(slot.word.load(Relaxed))).map(|slot| (slot.segment, slot.offset))
    }

    fn all(&self) -> impl Iterator<Item = (Key, Place)> {
        self.shards.iter().flat_map(Places::iter).map(|slot| (slot.key, slot.place()))
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
        let word = self.shard(&key).get(&key).filter(|slot| slot.place() == from).map(|slot| slot.word.load(Relaxed));
        if let Some(word) = word {
            self.insert(key, to, word);
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
        self.all().filter(|(_, p)| p.segment == segment).collect()
    }

    /// Every block, in the order of the files.
    pub(super) fn sorted(&self) -> Vec<(Key, Place)> {
        let mut out: Vec<_> = self.all().collect();
        out.sort_unstable_by_key(|(_, p)| (p.segment, p.offset));
        out
    }

    /// The first block of `segment` after `offset`.
    pub(super) fn after(&self, segment: u32, offset: u32) -> Option<u32> {
        let later = self.all().filter(|(_, p)| p.segment == segment && p.offset > offset);
        later.map(|(_, p)| p.offset).min()
    }

    /// Bytes of the segment files.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.segments.values().map(|s| s.len).sum()
    }

    pub(super) fn stat(&self) -> BlockStat {
        BlockStat {
            blocks: self.shards.iter().map(|shard| shard.len() as u64).sum(),
            bytes: self.bytes,
            disk_bytes: self.disk_bytes(),
            live_bytes: self.segments.values().map(|s| s.live).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::marks::Generations, *};

    #[test]
    fn figures_follow_puts_and_removals() {
        let mut index = Index::default();
        index.segments.insert(1, SegmentInfo { len: 1000, ..SegmentInfo::default() });
        let key = index.key(b"hash");
        assert_ne!(key, index.key(b"hasi"));
        let place = Place { segment: 1, offset: 24, meta_len: 40, data_len: 100 };
        let mut generations = Generations::default();
        index.put(key, place, generations.name());
        index.put(key, Place { offset: 500, ..place }, generations.name());
        assert_eq!(index.stat(), BlockStat { blocks: 1, bytes: 100, disk_bytes: 1000, live_bytes: 164 });
        assert_eq!(index.segments[&1].live, 164);
        assert!(!index.remove_at(&key, place));
        index.remove(&key);
        index.remove(&key);
        assert_eq!(index.stat(), BlockStat { disk_bytes: 1000, ..BlockStat::default() });
        assert_eq!(index.segments[&1].live, 0);

        // Marks go along when a block moves, and spare it.
        let (shard, to) = (key[0] as usize % SHARDS, Place { offset: 900, ..place });
        index.put(key, place, generations.name());
        let young = generations.advance();
        index.clear_marks(shard, young);
        assert_eq!(index.dead(shard, young).collect::<Vec<_>>(), [(1, 24)]);
        assert!(!index.remove_dead(&key, to, young));
        index.mark(&key, marks::kept).unwrap();
        index.relocate(key, place, to);
        assert_eq!((index.get(&key), index.dead(shard, young).count()), (Some(to), 0));
        assert!(!index.remove_dead(&key, to, young));
        let young = generations.advance();
        index.clear_marks(shard, young);
        index.mark(&key, |word| marks::touched(word, generations.name())).unwrap();
        assert!(!index.remove_dead(&key, to, young));
        let young = generations.advance();
        index.clear_marks(shard, young);
        assert!(index.remove_dead(&key, to, young) && index.get(&key).is_none());
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
