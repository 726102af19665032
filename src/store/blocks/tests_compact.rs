//! Tests of compaction: the disk gets back what was removed, nothing that is there is lost, whenever it is stopped.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use super::{
    tests::{Random, all, block, copy, open},
    *,
};

/// The segment files and their lengths.
fn segments(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    let files = entries.map(|e| (e.path(), e.metadata().unwrap().len()));
    files.filter(|(path, _)| path.extension().is_some_and(|e| e == "seg")).collect()
}

async fn same(blocks: &Blocks, model: &BTreeMap<u64, NewBlock>, what: &str) {
    assert_eq!(blocks.stat().blocks as usize, model.len(), "{what}");
    for (n, new) in model {
        let cid = new.block.cid();
        assert_eq!(blocks.get(cid).await.unwrap().as_ref(), Some(new.block.data()), "{what}: block {n}");
        assert_eq!(blocks.links(cid).await.unwrap().as_ref(), Some(&new.links), "{what}: block {n}");
    }
    let names = model.values().map(|b| b.block.cid().to_bytes()).collect();
    assert_eq!(all(blocks).await, names, "{what}");
}

#[tokio::test]
async fn the_disk_gets_back_what_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    let many: Vec<NewBlock> = (0..400).map(|n| block(n, 1000)).collect();
    for some in many.chunks(20) {
        blocks.put(some.to_vec()).await.unwrap();
    }
    let full = blocks.stat();
    assert!(full.live_bytes > 400_000 && full.disk_bytes - full.live_bytes < 1000, "{full:?}");
    assert_eq!(blocks.compact(1).await.unwrap(), Compacted::default());
    let gone: Vec<Cid> = many.iter().filter(|n| n.links.len() != 3).map(|n| *n.block.cid()).collect();
    blocks.remove(gone).await.unwrap();
    assert!(blocks.stat().disk_bytes >= full.disk_bytes);
    let done = blocks.compact(20).await.unwrap();
    let stat = blocks.stat();
    assert!(done.segments.len() >= 6 && done.removed_bytes > done.moved_bytes, "{done:?}");
    assert!(stat.disk_bytes < full.disk_bytes / 3 && stat.disk_bytes - stat.live_bytes < 2000, "{stat:?}");
    // What the system says, too.
    assert_eq!(segments(dir.path()).values().sum::<u64>(), stat.disk_bytes);
    let left: BTreeMap<u64, NewBlock> = (0..400).filter(|n| n % 4 == 3).map(|n| (n, block(n, 1000))).collect();
    same(&blocks, &left, "compacted").await;
    drop(blocks);
    let blocks = open(dir.path());
    same(&blocks, &left, "opened again").await;
    assert_eq!(blocks.verify().await.unwrap().damaged, []);
}

#[tokio::test]
async fn segments_that_are_half_garbage_are_compacted_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    for n in 0..200 {
        blocks.put(vec![block(n, 1000)]).await.unwrap();
    }
    let before = blocks.stat().disk_bytes;
    blocks.remove((0..120).map(|n| *block(n, 1000).block.cid()).collect()).await.unwrap();
    blocks.tidy();
    // A wish that has nothing to do ends when the one before it has.
    let done = blocks.compact(100).await.unwrap();
    assert!(done.segments.is_empty());
    assert!(blocks.stat().disk_bytes < before * 2 / 3);
    // What was left undone is done at the next start.
    blocks.remove((120..170).map(|n| *block(n, 1000).block.cid()).collect()).await.unwrap();
    let before = blocks.stat().disk_bytes;
    drop(blocks);
    let blocks = open(dir.path());
    blocks.compact(100).await.unwrap();
    assert!(blocks.stat().disk_bytes < before);
    assert_eq!(blocks.stat().blocks, 30);
}

#[tokio::test]
async fn a_removal_is_kept_as_long_as_an_older_segment_holds_the_block() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    // The first segment stays nearly whole; the others become garbage.
    for n in 0..240 {
        blocks.put(vec![block(n, 1000)]).await.unwrap();
    }
    let first = *block(5, 1000).block.cid();
    blocks.remove(vec![first]).await.unwrap();
    blocks.remove((80..240).map(|n| *block(n, 1000).block.cid()).collect()).await.unwrap();
    blocks.compact(40).await.unwrap();
    assert!(segments(dir.path()).len() <= 3);
    assert!(dir.path().join("00000001.seg").exists());
    drop(blocks);
    let blocks = open(dir.path());
    assert!(!blocks.has(&first).await.unwrap(), "a removed block is back");
    assert_eq!(blocks.stat().blocks, 79);
    // Without the old record nobody needs that of its removal.
    while !blocks.compact(1).await.unwrap().segments.is_empty() {}
    drop(blocks);
    let blocks = open(dir.path());
    assert_eq!(blocks.stat().blocks, 79);
    let stat = blocks.stat();
    assert!(stat.disk_bytes - stat.live_bytes < 500, "{stat:?}");
}

/// What a crash may leave of a compaction that removed the segments `order`: its copies half written or whole beside the
/// old files; then the old files gone one by one.
fn crashed(random: &mut Random, before: &Path, after: &Path, order: &[u32]) -> tempfile::TempDir {
    let image = copy(after);
    let path = |dir: &Path, segment: u32| core::segment_path(dir, segment);
    // Of a segment that was begun and compacted again in one go there is no copy.
    let first = order.iter().rposition(|n| !path(before, *n).exists()).map_or(0, |at| at + 1);
    let gone = first + random.below((order.len() - first) as u64 + 1) as usize;
    for &segment in &order[gone..] {
        fs::copy(path(before, segment), path(image.path(), segment)).unwrap();
    }
    if gone > 0 {
        return image;
    }
    let old = segments(before);
    let name = |path: &PathBuf| path.file_name().unwrap().to_owned();
    // None has gone, so the last copies need not be on the disk; everything before the compaction was synced.
    let last = segments(image.path()).keys().next_back().unwrap().clone();
    let len = fs::metadata(&last).unwrap().len();
    let floor = old.get(&before.join(name(&last))).copied().unwrap_or(record::HEAD_BYTES as u64);
    let at = floor + random.below(len - floor + 1);
    let file = OpenOptions::new().write(true).open(&last).unwrap();
    if random.below(2) == 0 {
        file.set_len(at).unwrap();
    } else {
        file.write_all_at(&vec![0; (len - at) as usize], at).unwrap();
    }
    image
}

#[tokio::test]
async fn compaction_loses_nothing_wherever_it_is_stopped() {
    let mut random = Random::new();
    for _ in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let mut blocks = open(dir.path());
        let mut model: BTreeMap<u64, NewBlock> = BTreeMap::new();
        for round in 0..12 {
            for _ in 0..40 {
                let n = random.below(300);
                if random.below(3) > 0 {
                    let new = block(n, 8 + (n * 37 % 3000) as usize);
                    blocks.put(vec![new.clone()]).await.unwrap();
                    model.insert(n, new);
                } else if let Some(old) = model.remove(&n) {
                    blocks.remove(vec![*old.block.cid()]).await.unwrap();
                }
            }
            blocks.sync().await.unwrap();
            let before = copy(dir.path());
            // One segment at a time, or all.
            let least = 1 + random.below(80) as u8;
            let done = blocks.compact(least).await.unwrap();
            let after = copy(dir.path());
            same(&blocks, &model, "while open").await;
            for _ in 0..4 {
                let image = crashed(&mut random, before.path(), after.path(), &done.segments);
                let opened = open(image.path());
                let what = format!("round {round}, {done:?}");
                same(&opened, &model, &what).await;
                // What the crash left undone is done now.
                opened.compact(1).await.unwrap();
                same(&opened, &model, &what).await;
                assert!(opened.damage().is_empty());
                drop(opened);
                same(&open(image.path()), &model, &what).await;
            }
            if random.below(3) == 0 {
                drop(blocks);
                blocks = open(dir.path());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_and_writing_go_on_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    let stay: Vec<NewBlock> = (0..300).filter(|n| n % 3 == 0).map(|n| block(n, 900)).collect();
    for n in 0..300 {
        blocks.put(vec![block(n, 900)]).await.unwrap();
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let reader = |seed: usize| {
        let (blocks, stay, stopped) = (blocks.clone(), stay.clone(), stopped.clone());
        async move {
            let mut reads = 0;
            while !*stopped.borrow() || reads < 300 {
                let new = &stay[(reads + seed) % stay.len()];
                assert_eq!(blocks.get(new.block.cid()).await.unwrap().as_ref(), Some(new.block.data()));
                reads += 1;
            }
        }
    };
    let lister = {
        let (blocks, stopped, stay) = (blocks.clone(), stopped.clone(), stay.clone());
        async move {
            let mut lists = 0;
            while !*stopped.borrow() || lists < 3 {
                let found = all(&blocks).await;
                let missing = stay.iter().filter(|n| !found.contains(&n.block.cid().to_bytes())).count();
                assert_eq!(missing, 0, "blocks that are moved stay listed");
                lists += 1;
            }
        }
    };
    #[allow(clippy::disallowed_methods)]
    let running = [tokio::spawn(reader(0)), tokio::spawn(reader(50)), tokio::spawn(lister)];
    for round in 0..10u64 {
        let extra = 1000 + round * 100;
        blocks.remove((0..300).filter(|n| n % 3 != 0).map(|n| *block(n, 900).block.cid()).collect()).await.unwrap();
        let (compacted, put) =
            tokio::join!(blocks.compact(1), blocks.put((extra..extra + 50).map(|n| block(n, 900)).collect()));
        assert!(!compacted.unwrap().segments.is_empty());
        put.unwrap();
        blocks.put((0..300).map(|n| block(n, 900)).collect()).await.unwrap();
    }
    stop.send(true).unwrap();
    for task in running {
        task.await.unwrap();
    }
    assert_eq!(blocks.stat().blocks, 300 + 500);
    assert_eq!(blocks.verify().await.unwrap().damaged, []);
}

#[tokio::test]
async fn a_store_that_cannot_sync_keeps_its_segments() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    for n in 0..200 {
        blocks.put(vec![block(n, 1000)]).await.unwrap();
    }
    blocks.remove((0..150).map(|n| *block(n, 1000).block.cid()).collect()).await.unwrap();
    let before = segments(dir.path());
    blocks.inner.core.poison(&"the disk said no");
    let refused = blocks.compact(1).await.unwrap_err();
    assert!(matches!(refused, StoreError::Poisoned { .. }), "{refused}");
    assert_eq!(segments(dir.path()), before);
    assert!(blocks.get(block(180, 1000).block.cid()).await.unwrap().is_some());
    drop(blocks);
    let blocks = open(dir.path());
    let done = blocks.compact(1).await.unwrap();
    assert!(!done.segments.is_empty() || blocks.stat().disk_bytes < before.values().sum());
    assert_eq!(blocks.stat().blocks, 50);
}

#[tokio::test]
async fn a_damaged_block_is_named_and_costs_itself_alone() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = open(dir.path());
    for n in 0..60 {
        blocks.put(vec![block(n, 900)]).await.unwrap();
    }
    blocks.sync().await.unwrap();
    let (bytes, head) = (fs::read(dir.path().join("00000001.seg")).unwrap(), block(40, 900).block.data()[..9].to_vec());
    let at = bytes.windows(9).position(|w| w == head).unwrap() as u64;
    let file = OpenOptions::new().write(true).open(dir.path().join("00000001.seg")).unwrap();
    file.write_all_at(&[0xff], at + 500).unwrap();
    blocks.remove((0..30).map(|n| *block(n, 900).block.cid()).collect()).await.unwrap();
    assert_eq!(blocks.compact(1).await.unwrap().segments, [1]);
    let left: BTreeMap<u64, NewBlock> = (30..60).filter(|n| *n != 40).map(|n| (n, block(n, 900))).collect();
    same(&blocks, &left, "all but the damaged one").await;
    assert!(!blocks.has(block(40, 900).block.cid()).await.unwrap());
}
