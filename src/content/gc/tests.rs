//! Tests of garbage collection over a repo without a network: what stays, what goes, and what may happen meanwhile.
// Each waits for the tasks it spawns.
#![allow(clippy::disallowed_methods)]

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::TryStreamExt;

use crate::{
    base::{Block, Codec, HasKind, Hash, Kind, random},
    content::{
        mfs::{CpOptions, FilesPath},
        tests::noise,
        *,
    },
    dag::{Chunking, ImportParams, pb},
    store::{NewBlock, PinKind, StoreOptions},
};

struct Place {
    _dir: tempfile::TempDir,
    content: Content,
}

/// A repo whose segments are small, so that they are compacted all the time.
fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { segment_bytes: 64 << 10, ..StoreOptions::default() };
    let repo = Repo::open(&dir.path().join("repo"), options).unwrap();
    Place { content: Content::new(repo, None, None), _dir: dir }
}

fn unpinned() -> AddOptions {
    AddOptions { pin: false, ..AddOptions::default() }
}

async fn collect(content: &Content) -> Result<Vec<Cid>, ContentError> {
    content.collect().try_collect().await
}

/// Everything that roots reach, by hash.
async fn reached(content: &Content) -> HashSet<Vec<u8>> {
    let pins = content.list_pins(PinFilter::Roots).await.unwrap();
    let holds = content.repo().pins().holds("").unwrap();
    let files = content.files().root().unwrap();
    let mut out = HashSet::new();
    for root in pins.iter().map(|pin| pin.cid).chain(holds.into_iter().map(|(_, cid)| cid)).chain([files]) {
        let mut open = vec![root];
        while let Some(cid) = open.pop() {
            if out.insert(cid.hash().to_bytes()) && cid.hash().code() != 0 {
                open.extend(content.source(cid).offline().links(&cid).await.unwrap());
            }
        }
    }
    out
}

async fn stored(content: &Content) -> HashSet<Vec<u8>> {
    content.local_refs().map_ok(|cid| cid.hash().to_bytes()).try_collect().await.unwrap()
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// The bytes of a file: chunks that files share.
fn file(number: u64) -> Vec<u8> {
    let mut random = Random(number);
    let chunks = 1 + random.below(40);
    (0..chunks).flat_map(|_| noise_of(random.below(48))).collect()
}

fn noise_of(seed: u64) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(77) + 1);
    (0..1024).map(|_| random.below(256) as u8).collect()
}

fn small_chunks() -> ImportParams {
    ImportParams { chunker: Chunking::parse("size-1024").unwrap(), max_file_links: 4, ..ImportParams::default() }
}

/// What one worker knows of its file.
#[derive(Default, Clone, Copy, Debug)]
struct State {
    pinned: bool,
    held: bool,
    in_files: bool,
}

/// Adds, pins, holds, unpins and copies into the files tree the files it owns, in a random order.
async fn work(content: Content, own: Vec<u64>, mut random: Random, steps: u64) {
    let mut states = vec![State::default(); own.len()];
    for _ in 0..steps {
        let at = random.below(own.len() as u64) as usize;
        let (number, state) = (own[at], &mut states[at]);
        let bytes = file(number);
        let options = |pin| AddOptions { params: small_chunks(), pin, ..AddOptions::default() };
        let only_hash = AddOptions { only_hash: true, ..options(false) };
        let cid = content.add_bytes(bytes.clone(), only_hash).await.unwrap().cid;
        let (place, name) = (FilesPath::parse(&format!("/{number}")).unwrap(), format!("/{number}"));
        match random.below(8) {
            0 => {
                content.add_bytes(bytes.clone(), options(true)).await.unwrap();
                state.pinned = true;
            }
            // Garbage, or found and pinned before it is collected.
            1 => drop(content.add_bytes(bytes.clone(), options(false)).await.unwrap()),
            2 => match content.pin(&cid, PinKind::Recursive, None).await {
                Ok(_) => state.pinned = true,
                Err(error) => assert_eq!(error.kind(), Kind::NotFound, "{error}"),
            },
            3 if state.pinned => {
                content.unpin(&cid, None).await.unwrap();
                state.pinned = false;
            }
            4 => {
                let options = AddOptions { hold: Some(format!("task:{number}")), ..options(false) };
                content.add_bytes(bytes.clone(), options).await.unwrap();
                state.held = true;
            }
            5 if state.held => {
                content.repo().pins().release(&format!("task:{number}")).await.unwrap();
                state.held = false;
            }
            6 if (state.pinned || state.held) && !state.in_files => {
                let flush = random.below(2) == 0;
                content.files().cp(&format!("/ipfs/{cid}"), &place, &CpOptions::default(), flush).await.unwrap();
                state.in_files = true;
            }
            7 if state.in_files => {
                content.files().rm(&[name], false, false).await.unwrap();
                state.in_files = false;
            }
            _ => {}
        }
        if state.pinned || state.held || state.in_files {
            let read = content.cat_all(cid, u64::MAX).await;
            assert!(read.is_ok_and(|read| read == bytes), "file {number} ({cid}), {state:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_roots_reach_stays_and_the_rest_goes_whatever_happens_meanwhile() {
    let given = std::env::var("GC_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(random::u64);
    println!("GC_SEED={seed}");
    let mut random = Random(seed);
    let place = place();
    let content = &place.content;
    let workers: Vec<_> = (0..3)
        .map(|worker| {
            let own = (0..8).map(|n| n * 3 + worker).collect();
            tokio::spawn(work(content.clone(), own, Random(random.below(u64::MAX >> 1)), 120))
        })
        .collect();
    let (stop, removed, rounds) = (Arc::new(AtomicBool::new(false)), AtomicU64::new(0), AtomicU64::new(0));
    let collecting = async {
        while !stop.load(Ordering::Relaxed) {
            // One in four is given up in the middle.
            let some = if random.below(4) == 0 { random.below(40) as usize } else { usize::MAX };
            let mut found = content.collect();
            for _ in 0..some {
                let Some(_) = found.try_next().await.unwrap() else { break };
                removed.fetch_add(1, Ordering::Relaxed);
            }
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    };
    let working = async {
        for worker in workers {
            worker.await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(collecting, working);
    println!("{removed:?} blocks were removed in {rounds:?} rounds");
    assert!(removed.load(Ordering::Relaxed) > 0);
    // With nobody at work, what stays is exactly what is reached.
    content.files().flush(&FilesPath::parse("/").unwrap()).await.unwrap();
    collect(content).await.unwrap();
    let mut reached = reached(content).await;
    let stored = stored(content).await;
    reached
        .retain(|hash| stored.contains(hash) || *hash != crate::content::source::empty_dir().cid().hash().to_bytes());
    assert_eq!(stored, reached);
    let report = content.repo().blocks().verify().await.unwrap();
    assert!(report.damaged.is_empty(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_that_is_added_again_while_it_is_collected_stays() {
    let place = place();
    let content = &place.content;
    let bytes = noise(200_000);
    let options = |pin| AddOptions { params: small_chunks(), pin, ..AddOptions::default() };
    let mut both = 0;
    for round in 0..60u64 {
        let cid = content.add_bytes(bytes.clone(), options(false)).await.unwrap().cid;
        let collecting = tokio::spawn({
            let content = content.clone();
            async move { collect(&content).await.unwrap().len() }
        });
        // So far into the collection.
        for _ in 0..round * 4 {
            tokio::task::yield_now().await;
        }
        content.add_bytes(bytes.clone(), options(true)).await.unwrap();
        both += u64::from(collecting.await.unwrap() > 0);
        assert_eq!(content.cat_all(cid, u64::MAX).await.unwrap(), bytes, "round {round}");
        collect(content).await.unwrap();
        assert_eq!(content.cat_all(cid, u64::MAX).await.unwrap(), bytes, "round {round}");
        content.unpin(&cid, None).await.unwrap();
    }
    // Nothing were shown if all additions came first.
    assert!(both > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_addition_has_put_or_found_stays_until_it_ends() {
    let place = place();
    let content = &place.content;
    let blocks = content.repo().blocks();
    let block = |text: &'static str| Block::new(Codec::Raw, Hash::Sha2_256, text).unwrap();
    let new = |text| NewBlock { block: block(text), links: Vec::new() };
    blocks.put(vec![new("garbage"), new("found")]).await.unwrap();
    // A generation ends: what is from before counts for no addition that begins now.
    content.pin(block("garbage").cid(), PinKind::Direct, None).await.unwrap();
    content.pin(block("found").cid(), PinKind::Direct, None).await.unwrap();
    assert!(collect(content).await.unwrap().is_empty());
    content.unpin_all(vec![*block("garbage").cid(), *block("found").cid()], None).await.unwrap();
    let adding = blocks.adding();
    blocks.put(vec![new("found"), new("new")]).await.unwrap();
    assert_eq!(collect(content).await.unwrap(), [*block("garbage").cid()]);
    // Another addition that began later is no reason to keep more.
    let later = blocks.adding();
    assert!(collect(content).await.unwrap().is_empty());
    drop(adding);
    assert_eq!(collect(content).await.unwrap().len(), 2);
    drop(later);
    assert_eq!(blocks.stat().blocks, 0);
    // The disk has it back.
    assert!(blocks.stat().disk_bytes < 4096, "{:?}", blocks.stat());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_when_something_kept_is_missing() {
    let place = place();
    let content = &place.content;
    let blocks = content.repo().blocks();
    content.add_bytes("garbage", unpinned()).await.unwrap();
    let params = ImportParams { max_file_links: 2, ..small_chunks() };
    let root = content.add_bytes(noise(9000), AddOptions { params, ..AddOptions::default() }).await.unwrap().cid;
    let inner = blocks.links(&root).await.unwrap().unwrap()[0];
    blocks.remove(vec![inner]).await.unwrap();
    let before = blocks.stat().blocks;
    let error = collect(content).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    let text = error.to_string();
    assert!(text.contains(&inner.to_string()) && text.contains("pin verify"), "{text}");
    assert_eq!(blocks.stat().blocks, before);
    // What the files tree reaches need not be here.
    let files = FilesPath::parse("/x").unwrap();
    content.files().cp(&format!("/ipfs/{root}"), &files, &CpOptions::default(), true).await.unwrap();
    content.unpin(&root, None).await.unwrap();
    let removed = collect(content).await.unwrap();
    assert!(blocks.has(&root).await.unwrap() && !removed.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_kept_under_another_codec_keeps_what_it_links_to() {
    let place = place();
    let content = &place.content;
    let leaf = content.block_put("leaf", BlockFormat::default(), false).await.unwrap();
    let mut node = pb::PbNode::default();
    node.links.push(pb::PbLink { cid: leaf, name: b"leaf".to_vec(), tsize: 4 });
    let bytes = node.encode();
    // Stored as a raw block; pinned raw and directly, and then as what it is.
    let raw = content.block_put(bytes, BlockFormat::default(), false).await.unwrap();
    let node = Cid::new_v1(Codec::DagPb.code(), *raw.hash());
    content.pin(&raw, PinKind::Direct, None).await.unwrap();
    content.pin(&node, PinKind::Recursive, None).await.unwrap();
    assert!(collect(content).await.unwrap().is_empty());
    content.unpin(&node, None).await.unwrap();
    assert_eq!(collect(content).await.unwrap(), [leaf]);
    assert!(content.repo().blocks().has(&raw).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_tree_stays_flushed_or_not() {
    let place = place();
    let content = &place.content;
    let path = |text: &str| FilesPath::parse(text).unwrap();
    for (name, flush) in [("/flushed", true), ("/seen", false)] {
        let cid = content.add_bytes(name, unpinned()).await.unwrap().cid;
        content.files().cp(&format!("/ipfs/{cid}"), &path(name), &CpOptions::default(), flush).await.unwrap();
        collect(content).await.unwrap();
        assert_eq!(content.cat_all(cid, u64::MAX).await.unwrap(), name);
    }
    // Both roots, both files, nothing else.
    assert_eq!(stored(content).await.len(), 4);
}
