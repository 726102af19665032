//! Tests of the block store: what is put is there, through crashes, damage, full segments and many callers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
};

use super::*;
use crate::base::{Codec, Hash, random};

pub(super) struct Random(u64);

impl Random {
    pub(super) fn new() -> Self {
        let seed = random::u64();
        println!("seed {seed}");
        Random(seed)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n.max(1)
    }
}

pub(super) fn open(dir: &Path) -> Blocks {
    Blocks::open(dir, 64 << 10, 1 << 20, None).unwrap()
}

pub(super) fn block(n: u64, len: usize) -> NewBlock {
    let mut data = n.to_le_bytes().to_vec();
    data.resize(len.max(8), n as u8);
    let links = (0..n % 4).map(|i| *Block::new(Codec::Raw, Hash::Blake3, i.to_le_bytes().to_vec()).unwrap().cid());
    NewBlock { block: Block::new(Codec::DagPb, Hash::Sha2_256, data).unwrap(), links: links.collect() }
}

pub(super) async fn all(blocks: &Blocks) -> BTreeSet<Vec<u8>> {
    let mut out = BTreeSet::new();
    let mut from = None;
    loop {
        let (page, next) = blocks.list(from, 7).await.unwrap();
        out.extend(page.iter().map(Cid::to_bytes));
        from = next;
        if from.is_none() {
            return out;
        }
    }
}

pub(super) fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

#[tokio::test]
async fn blocks_are_put_got_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    let mut news = blocks.subscribe();
    let one = block(3, 100_000);
    let cid = *one.block.cid();
    assert_eq!(blocks.get(&cid).await.unwrap(), None);
    blocks.put(vec![one.clone(), one.clone(), block(1, 8)]).await.unwrap();
    blocks.put(vec![one.clone()]).await.unwrap();
    assert_eq!(news.try_recv().unwrap(), cid);
    assert_eq!(blocks.get(&cid).await.unwrap().unwrap(), one.block.data());
    // The multihash counts, not the codec.
    let raw = Cid::new_v1(0x55, *cid.hash());
    assert!(blocks.has(&raw).await.unwrap());
    assert_eq!(blocks.size(&cid).await.unwrap(), Some(100_000));
    assert_eq!(blocks.links(&cid).await.unwrap().unwrap(), one.links);
    let stat = blocks.stat();
    assert_eq!((stat.blocks, stat.bytes), (2, 100_008));
    assert_eq!(all(&blocks).await.len(), 2);
    blocks.remove(vec![cid, cid]).await.unwrap();
    assert!(!blocks.has(&cid).await.unwrap());
    assert_eq!(blocks.stat().blocks, 1);
    blocks.sync().await.unwrap();
    drop(blocks);
    let blocks = open(dir.path());
    assert!(!blocks.has(&cid).await.unwrap());
    assert_eq!(blocks.stat().blocks, 1);
    blocks.put(vec![one.clone()]).await.unwrap();
    assert!(blocks.has(&cid).await.unwrap());
    assert_eq!(blocks.verify().await.unwrap().blocks, 2);
}

#[tokio::test]
async fn links_are_known_only_under_the_codec_a_block_was_put_with() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    let node = block(3, 500);
    let (pb, data) = (*node.block.cid(), node.block.data().clone());
    let raw = Block::new(Codec::Raw, Hash::Sha2_256, data.clone()).unwrap();
    let raw_cid = *raw.cid();
    assert_eq!(blocks.links(&raw_cid).await.unwrap(), None);
    blocks.put(vec![NewBlock { block: raw, links: vec![] }]).await.unwrap();
    assert_eq!(blocks.links(&raw_cid).await.unwrap(), Some(vec![]));
    assert_eq!(blocks.links(&pb).await.unwrap(), None);
    assert_eq!(blocks.get(&pb).await.unwrap(), Some(data));
    // Put again under the other codec it is there already.
    blocks.put(vec![node.clone()]).await.unwrap();
    assert_eq!(blocks.links(&pb).await.unwrap(), None);
    blocks.remove(vec![pb]).await.unwrap();
    blocks.put(vec![node.clone()]).await.unwrap();
    assert_eq!(blocks.links(&pb).await.unwrap(), Some(node.links));
    assert_eq!(blocks.links(&Cid::new_v0(*pb.hash()).unwrap()).await.unwrap().unwrap().len(), 3);
    assert_eq!(blocks.links(&raw_cid).await.unwrap(), Some(vec![]));
    assert_eq!(blocks.links(&Cid::new_v1(0x71, *pb.hash())).await.unwrap(), None);
}

#[tokio::test]
async fn identity_blocks_are_never_stored() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    let new = NewBlock { block: Block::new(Codec::Raw, Hash::Identity, &b"me"[..]).unwrap(), links: vec![] };
    let cid = *new.block.cid();
    blocks.put(vec![new]).await.unwrap();
    assert_eq!(blocks.stat().blocks, 0);
    assert_eq!(blocks.get(&cid).await.unwrap().unwrap(), &b"me"[..]);
    assert_eq!(blocks.size(&cid).await.unwrap(), Some(2));
    assert_eq!(blocks.links(&cid).await.unwrap(), Some(vec![]));
    assert_eq!(blocks.links(&Cid::new_v1(0x70, *cid.hash())).await.unwrap(), None);
}

#[tokio::test]
async fn the_store_does_what_a_map_does_through_crashes() {
    let mut random = Random::new();
    for _ in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let mut blocks = open(dir.path());
        let mut model: BTreeMap<u64, NewBlock> = BTreeMap::new();
        let mut synced = model.clone();
        for _ in 0..150 {
            match random.below(12) {
                0..=5 => {
                    let max = if random.below(8) == 0 { 60_000 } else { 600 };
                    let numbers: Vec<u64> = (0..1 + random.below(6)).map(|_| random.below(200)).collect();
                    let new = numbers.iter().map(|&n| block(n, 8 + (n * 37 % max) as usize)).collect::<Vec<_>>();
                    for (n, new) in numbers.iter().zip(&new) {
                        // The same number at another length is another block; the model keeps the first.
                        if model.get(n).is_some_and(|old| old.block.cid() != new.block.cid()) {
                            blocks.remove(vec![*model[n].block.cid()]).await.unwrap();
                        }
                        model.insert(*n, new.clone());
                    }
                    blocks.put(model.values().cloned().collect()).await.unwrap();
                    blocks.put(new).await.unwrap();
                }
                6 | 7 => {
                    let n = random.below(200);
                    if let Some(gone) = model.remove(&n) {
                        blocks.remove(vec![*gone.block.cid()]).await.unwrap();
                    }
                }
                8 | 9 => {
                    blocks.sync().await.unwrap();
                    synced = model.clone();
                }
                10 => {
                    drop(blocks);
                    blocks = open(dir.path());
                    synced = model.clone();
                }
                _ => {
                    // A crash: what was appended after the last sync is cut anywhere.
                    // The files are copied one after the other, so nothing may move between them in the background.
                    blocks.compact(TIDY_PERCENT).await.unwrap();
                    let before = copy(dir.path());
                    blocks.sync().await.unwrap();
                    let base = copy(dir.path());
                    drop(before);
                    let extra = block(1_000 + random.below(1000), 700);
                    blocks.put(vec![extra.clone()]).await.unwrap();
                    let crashed = copy(dir.path());
                    synced = model.clone();
                    for entry in fs::read_dir(crashed.path()).unwrap() {
                        let path = entry.unwrap().path();
                        let old = fs::metadata(base.path().join(path.file_name().unwrap())).map_or(0, |m| m.len());
                        let len = fs::metadata(&path).unwrap().len();
                        if path.extension().is_some_and(|e| e == "seg") && len > old && old > 0 {
                            let file = OpenOptions::new().write(true).open(&path).unwrap();
                            if random.below(2) == 0 {
                                file.set_len(old + random.below(len - old)).unwrap();
                            } else {
                                let at = old + random.below(len - old);
                                file.write_all_at(&vec![0; (len - at) as usize], at).unwrap();
                            }
                        }
                    }
                    let after = open(crashed.path());
                    for kept in synced.values() {
                        let got = after.get(kept.block.cid()).await.unwrap();
                        assert_eq!(got.as_ref(), Some(kept.block.data()));
                    }
                    assert!(after.damage().is_empty());
                    after.put(vec![extra.clone()]).await.unwrap();
                    assert!(after.has(extra.block.cid()).await.unwrap());
                    drop(after);
                    let after = open(crashed.path());
                    assert_eq!(after.stat().blocks as usize, synced.len() + 1);
                    blocks.remove(vec![*extra.block.cid()]).await.unwrap();
                }
            }
            assert_eq!(blocks.stat().blocks as usize, model.len());
        }
        assert!(synced.len() <= 200);
        let names: BTreeSet<_> = model.values().map(|b| b.block.cid().to_bytes()).collect();
        assert_eq!(all(&blocks).await, names);
        for new in model.values() {
            assert_eq!(blocks.get(new.block.cid()).await.unwrap().as_ref(), Some(new.block.data()));
            assert_eq!(blocks.links(new.block.cid()).await.unwrap().as_ref(), Some(&new.links));
        }
    }
}

#[tokio::test]
async fn damage_is_named_and_harms_its_block_alone() {
    let mut random = Random::new();
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    let many: Vec<NewBlock> = (0..60).map(|n| block(n, 900)).collect();
    blocks.put(many.clone()).await.unwrap();
    blocks.sync().await.unwrap();
    drop(blocks);
    for round in 0..40 {
        let copy = copy(dir.path());
        // Without the checkpoint everything is read from the segment.
        if round % 2 == 0 {
            fs::remove_file(copy.path().join("00000001.idx")).unwrap();
        }
        let path = copy.path().join("00000001.seg");
        let mut bytes = fs::read(&path).unwrap();
        // Not in the last record: that would be a torn write.
        let at = record::HEAD_BYTES as u64 + random.below(bytes.len() as u64 - 2000);
        bytes[at as usize] ^= 1 << random.below(8);
        fs::write(&path, bytes).unwrap();
        let blocks = open(copy.path());
        assert_eq!(blocks.damage().len(), (round + 1) % 2);
        let report = blocks.verify().await.unwrap();
        assert_eq!((report.blocks, report.damaged.len()), (59, 1), "byte {at}");
        let found = report.damaged[0].offset;
        assert!(found <= at && at < found + 1200, "{found} {at}");
        let mut missing = 0;
        for new in &many {
            match blocks.get(new.block.cid()).await.unwrap() {
                Some(data) => assert_eq!(&data, new.block.data()),
                None => missing += 1,
            }
        }
        assert_eq!(missing, 1);
        assert_eq!(all(&blocks).await.len(), 59);
        blocks.put(many.clone()).await.unwrap();
        assert_eq!(blocks.verify().await.unwrap().blocks, 60);
    }
}

#[tokio::test]
async fn the_bytes_of_a_segment_stored_as_a_block_are_no_records() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    blocks.put((0..20).map(|n| block(n, 500)).collect()).await.unwrap();
    let bytes = fs::read(dir.path().join("00000001.seg")).unwrap();
    let other = tempfile::tempdir().unwrap();
    let store = open(other.path());
    let inner = Block::new(Codec::Raw, Hash::Sha2_256, bytes).unwrap();
    store.put(vec![NewBlock { block: inner, links: vec![] }, block(99, 50)]).await.unwrap();
    drop(store);
    fs::remove_file(other.path().join("00000001.idx")).unwrap();
    let path = other.path().join("00000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    bytes[record::HEAD_BYTES] ^= 1;
    fs::write(&path, bytes).unwrap();
    let store = open(other.path());
    assert_eq!(store.stat().blocks, 1);
    assert_eq!(store.damage().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_put_and_sync_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    let tasks: Vec<_> = (0..16u64)
        .map(|task| {
            let blocks = blocks.clone();
            let run = async move {
                for i in 0..20 {
                    let new = block(task / 2 * 1000 + i, 3000);
                    let cid = *new.block.cid();
                    blocks.put(vec![new.clone()]).await.unwrap();
                    blocks.sync().await.unwrap();
                    assert_eq!(blocks.get(&cid).await.unwrap().as_ref(), Some(new.block.data()));
                }
            };
            #[allow(clippy::disallowed_methods)]
            tokio::spawn(run)
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(blocks.stat().blocks, 160);
    drop(blocks);
    let blocks = open(dir.path());
    assert_eq!(blocks.stat().blocks, 160);
    assert_eq!(blocks.verify().await.unwrap().blocks, 160);
}

#[tokio::test]
async fn a_new_segment_that_cannot_be_made_is_an_error_and_reading_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blocks");
    let blocks = open(&path);
    let one = block(1, 60_000);
    blocks.put(vec![one.clone()]).await.unwrap();
    assert!(blocks.get(one.block.cid()).await.unwrap().is_some());
    fs::rename(&path, dir.path().join("away")).unwrap();
    assert!(blocks.put(vec![block(2, 60_000)]).await.is_err());
    assert!(blocks.get(one.block.cid()).await.unwrap().is_some());
    fs::rename(dir.path().join("away"), &path).unwrap();
    blocks.put(vec![block(2, 60_000)]).await.unwrap();
    assert_eq!(blocks.stat().blocks, 2);
}

/// What is read again comes from memory, unless it is large; what is removed does not, and comes back when it is put again.
#[tokio::test]
async fn small_blocks_are_kept_in_memory_as_long_as_they_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    let (small, large) = (block(3, 5_000), block(2, 100_000));
    let (one, two) = (*small.block.cid(), *large.block.cid());
    blocks.put(vec![small.clone(), large.clone()]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(blocks.get(&one).await.unwrap().unwrap(), small.block.data());
        assert_eq!(blocks.get(&two).await.unwrap().unwrap(), large.block.data());
    }
    let stat = blocks.cache_stat();
    assert_eq!((stat.hits, stat.misses, stat.entries), (2, 1, 1));
    assert!((5_000..7_000).contains(&stat.bytes), "{stat:?}");
    blocks.remove(vec![one]).await.unwrap();
    assert_eq!(blocks.get(&one).await.unwrap(), None);
    assert_eq!(blocks.cache_stat().entries, 0);
    blocks.put(vec![small.clone()]).await.unwrap();
    assert_eq!(blocks.get(&one).await.unwrap().unwrap(), small.block.data());
    // It holds what it was given and no more.
    for n in 0..600 {
        let next = block(10 + n, 5_000);
        blocks.put(vec![next.clone()]).await.unwrap();
        blocks.get(next.block.cid()).await.unwrap().unwrap();
        assert!(blocks.cache_stat().bytes <= 1 << 20);
    }
    let off = Blocks::open(&dir.path().join("off"), 64 << 10, 0, None).unwrap();
    off.put(vec![small.clone()]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(off.get(&one).await.unwrap().unwrap(), small.block.data());
    }
    assert_eq!(off.cache_stat(), CacheStat::default());
}
