//! Writes into a repo and prints each acknowledgement, then checks after a crash that nothing acknowledged is lost. Driven by
//! `powercut.sh` beside it.
//!
//! `crash_writer write REPO` writes blocks, pins, log entries, votes and states until it is killed or its disk fails;
//! `crash_writer content REPO` adds, pins and changes the files tree. `crash_writer check REPO < ACKNOWLEDGEMENTS` opens the
//! repo and compares. Acknowledgements go to standard output, which must lie outside the disk that is cut.
#![allow(clippy::disallowed_methods)]

mod content;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::BufRead,
    ops::Bound,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use ipfs_kit::{
    base::{Block, Cid, Codec, Hash},
    store::{Batch, Durability, Kv, NewBlock, PinKind, Repo, StoreOptions},
};
use tokio::sync::mpsc;

use content::{Fail, noise, say};

const WAL: &str = "rig";
const KV: &str = "rig";
const BLOCK_WRITERS: u64 = 3;

#[tokio::main]
async fn main() -> Result<(), Fail> {
    let arguments: Vec<String> = std::env::args().collect();
    let usage =
        "usage: crash_writer write REPO | crash_writer content REPO | crash_writer check REPO < ACKNOWLEDGEMENTS";
    match (arguments.get(1).map(String::as_str), arguments.get(2)) {
        (Some("write"), Some(repo)) => write(Path::new(repo)).await,
        (Some("content"), Some(repo)) => {
            let repo = content::open(Path::new(repo))?;
            let run = begin(&repo)?;
            content::write(repo, run).await
        }
        (Some("check"), Some(repo)) => check(Path::new(repo)).await,
        _ => Err(usage.into()),
    }
}

fn entry(index: u64, term: u64) -> Bytes {
    let length = 20 + (index * 37 % 3000) as usize;
    Bytes::from(noise(index.wrapping_mul(1_000_003) ^ (term << 40), length))
}

fn number(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn last_number(kv: &Arc<dyn Kv>, table: &str) -> Result<u64, Fail> {
    Ok(kv.last(table)?.map_or(0, |(key, _)| u64::from_be_bytes(key.try_into().unwrap_or_default())))
}

/// The number of this run.
fn begin(repo: &Repo) -> Result<u64, Fail> {
    let run = last_number(repo.state(), "rig-runs")? + 1;
    let mut batch = Batch::new();
    batch.put("rig-runs", run.to_be_bytes().to_vec(), Vec::new());
    repo.state().commit(batch, Durability::Immediate)?;
    say(&format!("kv rig-runs {run}"));
    Ok(run)
}

async fn write(dir: &Path) -> Result<(), Fail> {
    let repo = Repo::open(dir, StoreOptions::default())?;
    let (wal, recovered) = repo.open_wal(WAL)?;
    let (fail, mut failed) = mpsc::channel::<String>(16);

    let run = begin(&repo)?;

    for writer in 0..BLOCK_WRITERS {
        let (repo, fail) = (repo.clone(), fail.clone());
        tokio::spawn(async move {
            if let Err(error) = blocks(repo, run * 1_000_000_000 + writer * 100_000_000).await {
                let _ = fail.send(format!("blocks: {error}")).await;
            }
        });
    }
    let state = (repo.clone(), fail.clone());
    tokio::spawn(async move {
        if let Err(error) = states(state.0, run).await {
            let _ = state.1.send(format!("states: {error}")).await;
        }
    });
    let log = tokio::spawn(async move { entries(wal, recovered).await });
    tokio::select! {
        error = failed.recv() => Err(error.unwrap_or_default().into()),
        ended = log => Err(format!("log: {ended:?}").into()),
    }
}

/// Puts batches of blocks, syncs, pins some and removes older pins.
async fn blocks(repo: Repo, first: u64) -> Result<(), Fail> {
    let mut pinned: Vec<Cid> = Vec::new();
    for round in 0.. {
        let mut cids = Vec::new();
        let mut batch = Vec::new();
        for at in 0..8 {
            let seed = first + round * 8 + at;
            let length = 1 + (seed * 7919 % 60_000) as usize;
            let block = Block::new(Codec::Raw, Hash::Sha2_256, noise(seed, length))?;
            cids.push(*block.cid());
            batch.push(NewBlock { block, links: Vec::new() });
        }
        repo.blocks().put(batch).await?;
        repo.blocks().sync().await?;
        for cid in &cids {
            say(&format!("block {cid}"));
        }
        repo.pins().add(&cids[0], PinKind::Recursive, None).await?;
        say(&format!("pin {}", cids[0]));
        pinned.push(cids[0]);
        if pinned.len() > 20 {
            let old = pinned.remove(0);
            say(&format!("begin-unpin {old}"));
            repo.pins().remove(&old, None).await?;
            say(&format!("unpin {old}"));
        }
    }
    Ok(())
}

/// Commits to an engine of its own, lazily, and syncs now and then, as a replicated state does.
async fn states(repo: Repo, run: u64) -> Result<(), Fail> {
    let kv = repo.open_kv(KV)?;
    let mut next = last_number(&kv, "applied")? + 1;
    loop {
        let writer = kv.clone();
        next = tokio::task::spawn_blocking(move || -> Result<u64, Fail> {
            for step in 0..20 {
                let mut batch = Batch::new();
                batch.put("applied", (next + step).to_be_bytes().to_vec(), run.to_be_bytes().to_vec());
                batch.put("mirror", (next + step).to_be_bytes().to_vec(), noise(next + step, 200));
                writer.commit(batch, Durability::Lazy)?;
            }
            writer.sync()?;
            Ok(next + 20)
        })
        .await??;
        say(&format!("state {}", next - 1));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Appends to the log with several appends under way, votes, cuts its tail back and purges its head.
async fn entries(wal: ipfs_kit::store::Wal, recovered: ipfs_kit::store::Recovered) -> Result<(), Fail> {
    let mut next = recovered.last.or(recovered.purged.as_ref().map(|(index, _)| *index)).map_or(1, |last| last + 1);
    let mut floor = recovered.purged.as_ref().map_or(0, |(index, _)| *index);
    let mut term = recovered.vote.as_deref().map_or(0, number);
    let (done, mut acknowledged) = mpsc::channel::<Result<(u64, u64, u64), String>>(256);
    loop {
        term += 1;
        wal.save_vote(term.to_string().into_bytes()).await?;
        say(&format!("vote {term}"));
        if next > floor + 12 {
            let keep = next - 6;
            say(&format!("begin-truncate {keep}"));
            wal.truncate_after(Some(keep)).await?;
            say(&format!("truncate {keep}"));
            next = keep + 1;
        }
        let mut under_way = 0;
        let mut last = next - 1;
        for _ in 0..120 {
            let batch: Vec<(u64, Bytes)> =
                (next..next + 1 + next % 5).map(|index| (index, entry(index, term))).collect();
            let (first, to) = (next, next + batch.len() as u64 - 1);
            next = to + 1;
            let done = done.clone();
            wal.append(
                batch,
                Box::new(move |result| {
                    let _ = done.try_send(result.map(|()| (first, to, term)).map_err(|error| error.to_string()));
                }),
            );
            under_way += 1;
            while under_way >= 16 {
                last = acknowledge(&mut acknowledged).await?;
                under_way -= 1;
            }
        }
        while under_way > 0 {
            last = acknowledge(&mut acknowledged).await?;
            under_way -= 1;
        }
        wal.save_committed(last.to_string().into_bytes()).await?;
        if last > floor + 2000 {
            floor = last - 500;
            say(&format!("begin-purge {floor}"));
            wal.purge_upto(floor, floor.to_string().into_bytes()).await?;
        }
    }
}

async fn acknowledge(done: &mut mpsc::Receiver<Result<(u64, u64, u64), String>>) -> Result<u64, Fail> {
    let (first, last, term) = done.recv().await.ok_or("the log's thread is gone")??;
    for index in first..=last {
        say(&format!("entry {index} {term}"));
    }
    Ok(last)
}

#[derive(Default)]
struct Acknowledged {
    blocks: BTreeSet<String>,
    entries: BTreeMap<u64, u64>,
    purged: u64,
    vote: u64,
    state: u64,
    run: u64,
    content: content::Known,
}

fn read_acknowledgements() -> Acknowledged {
    let mut known = Acknowledged::default();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if known.content.read(&words) {
            continue;
        }
        let value = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        match words.first().copied() {
            Some("block") => _ = known.blocks.insert(words[1].to_owned()),
            Some("entry") => _ = known.entries.insert(value(1), value(2)),
            Some("begin-truncate") => _ = known.entries.split_off(&(value(1) + 1)),
            Some("begin-purge") => known.purged = known.purged.max(value(1)),
            Some("vote") => known.vote = known.vote.max(value(1)),
            Some("state") => known.state = known.state.max(value(1)),
            Some("kv") => known.run = known.run.max(value(2)),
            _ => {}
        }
    }
    known.entries = known.entries.split_off(&(known.purged + 1));
    known
}

async fn check(dir: &Path) -> Result<(), Fail> {
    let known = read_acknowledgements();
    let repo = Repo::open(dir, StoreOptions::default())?;
    let mut lost = Vec::new();
    for text in &known.blocks {
        let cid: Cid = text.parse()?;
        let found = repo.blocks().get(&cid).await;
        if !matches!(&found, Ok(Some(data)) if Block::verify(cid, data.clone()).is_ok()) {
            lost.push(format!("block {cid}: {:?}", found.map(|data| data.map(|bytes| bytes.len()))));
        }
    }
    lost.extend(known.content.lost(&repo).await?);
    let (wal, recovered) = repo.open_wal(WAL)?;
    if recovered.vote.as_deref().map_or(0, number) < known.vote {
        lost.push(format!("vote {}: the log holds {:?}", known.vote, recovered.vote.as_deref().map(number)));
    }
    let (first, last) = (known.entries.keys().next().copied(), known.entries.keys().last().copied());
    if let (Some(first), Some(last)) = (first, last) {
        let mut at = first;
        let mut held = BTreeMap::new();
        while at <= last {
            let part = match wal.read(at, last + 1, 1 << 20).await {
                Ok(part) if !part.is_empty() => part,
                other => {
                    lost.push(format!("entries from {at} on: {:?}", other.map(|part| part.len())));
                    break;
                }
            };
            at = part.last().map_or(last, |(index, _)| *index) + 1;
            held.extend(part);
        }
        for (index, term) in &known.entries {
            if held.get(index) != Some(&entry(*index, *term)) {
                lost.push(format!("entry {index} of term {term}"));
            }
        }
    }
    let kv = repo.open_kv(KV)?;
    let applied = last_number(&kv, "applied")?;
    if applied < known.state {
        lost.push(format!("state {}: the engine holds {applied}", known.state));
    }
    let whole = kv.scan("mirror", Bound::Unbounded, Bound::Unbounded, usize::MAX)?;
    if whole.len() as u64 != applied
        || whole.iter().any(|(key, value)| {
            let key = u64::from_be_bytes(key.as_slice().try_into().unwrap_or_default());
            *value != noise(key, 200)
        })
    {
        lost.push(format!("state: {} mirrored of {applied} applied; a batch was torn", whole.len()));
    }
    if last_number(repo.state(), "rig-runs")? < known.run {
        lost.push(format!("run {}", known.run));
    }
    repo.close().await;
    for line in lost.iter().take(20) {
        println!("LOST {line}");
    }
    println!(
        "{} blocks, {} entries, vote {}, state {}, {}: {} lost",
        known.blocks.len(),
        known.entries.len(),
        known.vote,
        known.state,
        known.content.summary(),
        lost.len()
    );
    if lost.is_empty() { Ok(()) } else { Err(format!("{} acknowledged writes are lost", lost.len()).into()) }
}
