//! The store: durable puts and gets of blocks, durable appends to the write-ahead log beside a bare file's.

use std::{fs::File, io::Write, os::unix::fs::FileExt, sync::mpsc};

use bytes::Bytes;
use divan::{Bencher, counter::BytesCount, counter::ItemsCount};
use ipfs_kit::{
    base::{Block, Codec, Hash, random},
    store::{NewBlock, Repo, StoreOptions, Wal},
};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

fn repo() -> (tempfile::TempDir, Repo, Runtime) {
    // Beside the target folder, not in a memory filesystem.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let repo = Repo::open(&dir.path().join("repo"), StoreOptions::default()).expect("the repo opens");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    (dir, repo, runtime.expect("the runtime starts"))
}

fn batch(block_bytes: usize) -> Vec<NewBlock> {
    (0..(1 << 20) / block_bytes)
        .map(|_| {
            let mut data = vec![0x5a; block_bytes];
            data[..8].copy_from_slice(&random::u64().to_le_bytes());
            NewBlock { block: Block::new(Codec::Raw, Hash::Sha2_256, data).expect("it is small"), links: vec![] }
        })
        .collect()
}

/// 1 MiB of blocks put and synced.
#[divan::bench(args = [262_144, 1024], sample_count = 300, sample_size = 1)]
fn put_and_sync_1_mib(bencher: Bencher<'_, '_>, block_bytes: usize) {
    let (_dir, repo, runtime) = repo();
    bencher.counter(BytesCount::new(1u64 << 20)).with_inputs(|| batch(block_bytes)).bench_local_values(|blocks| {
        runtime.block_on(async {
            repo.blocks().put(blocks).await.expect("it stores");
            repo.blocks().sync().await.expect("it syncs");
        });
    });
}

/// One block read from the page cache.
#[divan::bench(args = [262_144, 1024])]
fn get(bencher: Bencher<'_, '_>, block_bytes: usize) {
    let (_dir, repo, runtime) = repo();
    let blocks: Vec<NewBlock> = (0..16).flat_map(|_| batch(block_bytes)).collect();
    let cids: Vec<_> = blocks.iter().map(|b| *b.block.cid()).collect();
    runtime.block_on(repo.blocks().put(blocks)).expect("it stores");
    let mut at = 0;
    bencher.counter(BytesCount::new(block_bytes)).bench_local(|| {
        at = (at + 7) % cids.len();
        runtime.block_on(repo.blocks().get(&cids[at])).expect("it reads").expect("it is there")
    });
}

fn append(wal: &Wal, entries: Vec<(u64, Bytes)>) {
    let (tx, rx) = mpsc::sync_channel(1);
    wal.append(entries, Box::new(move |result| tx.send(result).expect("the caller waits")));
    rx.recv().expect("the log answers").expect("it is durable");
}

/// Entries of 256 bytes, so many for each durable point.
#[divan::bench(args = [1, 64], sample_count = 3000, sample_size = 1)]
fn wal_append(bencher: Bencher<'_, '_>, entries: u64) {
    let (_dir, repo, _runtime) = repo();
    let (wal, _) = repo.open_wal("bench").expect("the log opens");
    let entry = Bytes::from(vec![0x5a; 256]);
    let mut next = 0;
    bencher.counter(ItemsCount::new(entries)).bench_local(|| {
        append(&wal, (next..next + entries).map(|i| (i, entry.clone())).collect());
        next += entries;
    });
}

/// The same bytes written into a bare file full of zeros: the machine's limit.
#[divan::bench(args = [1, 64], sample_count = 3000, sample_size = 1)]
fn bare_file_append(bencher: Bencher<'_, '_>, entries: u64) {
    let (dir, _repo, _runtime) = repo();
    let mut file = File::create(dir.path().join("bare")).expect("a file can be made");
    for _ in 0..64 {
        file.write_all(&vec![0; 1 << 20]).expect("there is room");
    }
    file.sync_all().expect("it syncs");
    let bytes = vec![0x5a; entries as usize * 256];
    let mut at = 0;
    bencher.counter(ItemsCount::new(entries)).bench_local(|| {
        file.write_all_at(&bytes, at).expect("there is room");
        file.sync_data().expect("it syncs");
        at += bytes.len() as u64;
    });
}
