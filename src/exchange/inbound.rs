//! Reading what others send: any number of streams per peer (Go nodes open one for every reply), each with its own task;
//! blocks are hashed beside it, so that the next message is read meanwhile.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError,
        atomic::Ordering::{Acquire, Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    client::Verdict,
    frame,
    message::{Entry, Incoming, MAX_MESSAGE_BYTES, RawBlock, Version, decode},
    server::Asked,
    service::Inner,
};
use crate::{
    base::{Block, Cid, PeerId, time},
    dag::{self, OutBlock},
    net::{Inbound, Stream},
    store::{NewBlock, StoreError},
};

/// Inbound streams per peer and in all; what is beyond is closed.
const STREAMS_PER_PEER: usize = 512;
const STREAMS: usize = 4096;
/// Bytes being read, hashed and stored per peer: a few of the largest messages.
const PEER_BYTES: usize = 4 * MAX_MESSAGE_BYTES;
/// Least time a message is given to arrive once it has begun, and the slowest rate, in bytes per second.
const READ_LIMIT: Duration = Duration::from_secs(30);
const SLOWEST: usize = 12_500;
/// Blocks of at most this many bytes in all are hashed in the stream's own task.
const HASH_HERE_BYTES: usize = 32 * 1024;

/// What bounds one peer's streams.
pub(super) struct Gate {
    streams: usize,
    reading: Arc<Semaphore>,
}

/// Takes inbound streams.
pub(super) async fn accept(inner: Arc<Inner>, mut incoming: mpsc::Receiver<Inbound>) {
    while let Some(Inbound { peer, protocol, stream }) = incoming.recv().await {
        let Some(place) = Place::take(&inner, peer) else {
            tracing::debug!(%peer, "too many bitswap streams; one is closed");
            continue;
        };
        inner.tasks.spawn("bitswap stream", async move {
            if let Err(error) = read(&place, Version::of(protocol), stream).await {
                tracing::debug!(%peer, %error, "a bitswap stream ended badly");
            }
        });
    }
}

/// A stream's place among its peer's; given back when dropped.
struct Place {
    inner: Arc<Inner>,
    peer: PeerId,
    reading: Arc<Semaphore>,
}

impl Place {
    fn take(inner: &Arc<Inner>, peer: PeerId) -> Option<Place> {
        let mut gates = inner.inbound.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.values().map(|g| g.streams).sum::<usize>() >= STREAMS {
            return None;
        }
        let gate =
            gates.entry(peer).or_insert_with(|| Gate { streams: 0, reading: Arc::new(Semaphore::new(PEER_BYTES)) });
        if gate.streams >= STREAMS_PER_PEER {
            return None;
        }
        gate.streams += 1;
        Some(Place { inner: inner.clone(), peer, reading: gate.reading.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut gates = self.inner.inbound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get_mut(&self.peer) {
            gate.streams -= 1;
            if gate.streams == 0 {
                gates.remove(&self.peer);
            }
        }
    }
}

/// What a message being worked on holds of the budgets.
struct Budget {
    _peer: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

async fn read(place: &Place, version: Version, mut stream: Stream) -> std::io::Result<()> {
    let inner = &place.inner;
    while let Some(length) = frame::read_length(&mut stream).await? {
        let permits = length.max(1) as u32;
        let (Ok(peer), Ok(all)) = (
            place.reading.clone().acquire_many_owned(permits).await,
            inner.reading.clone().acquire_many_owned(permits).await,
        ) else {
            return Ok(());
        };
        let budget = Budget { _peer: peer, _all: all };
        let limit = READ_LIMIT + Duration::from_secs((length / SLOWEST) as u64);
        let heard = || inner.fetching().client.heard(&place.peer, time::now());
        let body = tokio::time::timeout(limit, frame::read_body(&mut stream, length, heard))
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        let at = time::now();
        inner.counters.messages_received.fetch_add(1, Relaxed);
        let message = decode(body).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e))?;
        handle(inner, place.peer, version, message, at, budget).await;
    }
    Ok(())
}

async fn handle(inner: &Arc<Inner>, peer: PeerId, version: Version, message: Incoming, at: Instant, budget: Budget) {
    if message.oversized_bytes > 0 {
        inner.counters.unasked.add(1, message.oversized_bytes);
        inner.with_client(|client, now| client.charge(peer, message.oversized_bytes, now));
    }
    if !message.presences.is_empty() {
        inner.with_client(|client, now| {
            for (cid, have) in &message.presences {
                client.presence(peer, cid, *have, now);
            }
        });
    }
    if message.full || !message.entries.is_empty() {
        take_wants(inner, peer, version, message.full, message.entries).await;
    }
    if message.blocks.is_empty() {
        return;
    }
    let bytes: usize = message.blocks.iter().map(|b| b.data.len()).sum();
    if !inner.fetching().client.owes_anything(&peer) {
        // Nothing was ever asked of it: not worth hashing.
        inner.counters.unasked.add(message.blocks.len() as u64, bytes as u64);
        inner.with_client(|client, now| client.charge(peer, bytes as u64, now));
        return;
    }
    if bytes <= HASH_HERE_BYTES {
        let hashed = hash(message.blocks);
        take_blocks(inner, peer, hashed, at).await;
        return;
    }
    let work = inner.clone();
    inner.tasks.spawn("bitswap blocks", async move {
        let Ok(hashed) = tokio::task::spawn_blocking(move || hash(message.blocks)).await else { return };
        take_blocks(&work, peer, hashed, at).await;
        drop(budget);
    });
}

/// Looks up what of a wantlist is here and gives both to the serving core.
async fn take_wants(inner: &Arc<Inner>, peer: PeerId, version: Version, full: bool, entries: Vec<Entry>) {
    let before = inner.arrivals.load(Acquire);
    let mut asked = Vec::with_capacity(entries.len());
    for entry in entries {
        let size = if entry.cancel { None } else { inner.blocks.size(&entry.cid).await.unwrap_or_default() };
        asked.push(Asked { entry, size });
    }
    let missing: Vec<Cid> = asked.iter().filter(|a| a.size.is_none() && !a.entry.cancel).map(|a| a.entry.cid).collect();
    inner.server().wants(peer, version, full, asked);
    if inner.arrivals.load(Acquire) != before {
        for cid in missing {
            if let Ok(Some(size)) = inner.blocks.size(&cid).await {
                inner.server().came(&cid, size);
            }
        }
    }
    inner.to_serve.notify_one();
}

struct Hashed {
    /// `None` when the prefix asks for something that is not admitted; its links are `None` when it is malformed.
    block: Option<(Block, Option<Vec<Cid>>)>,
    bytes: usize,
}

fn hash(blocks: Vec<RawBlock>) -> Vec<Hashed> {
    let hash = |raw: RawBlock| {
        let bytes = raw.data.len();
        let block = raw.hash().ok().map(|block| {
            let links = links(&block);
            (block, links)
        });
        Hashed { block, bytes }
    };
    blocks.into_iter().map(hash).collect()
}

fn links(block: &Block) -> Option<Vec<Cid>> {
    dag::links(block.cid(), block.data())
        .inspect_err(|error| tracing::debug!(cid = %block.cid(), %error, "a malformed block is kept as raw bytes"))
        .ok()
}

/// Judges hashed blocks, stores the wanted ones and hands them out.
async fn take_blocks(inner: &Arc<Inner>, peer: PeerId, hashed: Vec<Hashed>, at: Instant) {
    let mut wanted: HashMap<Cid, (Block, Option<Vec<Cid>>)> = HashMap::new();
    let mut storing: Vec<Cid> = Vec::new();
    inner.with_client(|client, now| {
        for Hashed { block, bytes } in hashed {
            let Some((block, links)) = block else {
                inner.counters.unasked.add(1, bytes as u64);
                client.charge(peer, bytes as u64, now);
                continue;
            };
            match client.inspect(peer, block.cid(), bytes, now) {
                Verdict::Wanted(cid) => {
                    storing.push(cid);
                    wanted.insert(cid, (block, links));
                }
                Verdict::Late => {
                    inner.counters.duplicates.add(1, bytes as u64);
                    client.duplicate(&peer, bytes, at);
                }
                Verdict::Unasked => inner.counters.unasked.add(1, bytes as u64),
            }
        }
    });
    if wanted.is_empty() {
        return;
    }
    inner.fetching().storing.extend(storing.iter().copied());
    let mut blocks = Vec::with_capacity(wanted.len());
    let mut data: Vec<(Cid, Bytes)> = Vec::with_capacity(wanted.len());
    for (cid, mut new) in wanted {
        if cid != *new.0.cid() {
            // Wanted under another CID of the same bytes: what it links to depends on that one's codec.
            let Ok(block) = Block::verify(cid, new.0.into_data()) else {
                inner.fetching().storing.remove(&cid);
                continue;
            };
            new = (block.clone(), links(&block));
        }
        let Ok(OutBlock { block, links }) = dag::with_links(new.0, new.1) else {
            inner.fetching().storing.remove(&cid);
            continue;
        };
        data.push((cid, block.data().clone()));
        blocks.push(NewBlock { block, links });
    }
    match inner.blocks.put(blocks).await {
        Ok(()) => {}
        // Whoever reads them has them all the same; whoever wants to keep them finds that they are not here.
        Err(error @ StoreError::Limit { .. }) => tracing::debug!(%error, "fetched blocks are not stored"),
        Err(error) => {
            // The wants stay open and end at their callers' timeouts; the store says more in its own words.
            tracing::error!(%error, "fetched blocks could not be stored");
            inner.fetching().storing.retain(|cid| !storing.contains(cid));
            return;
        }
    }
    let (count, bytes) = (data.len(), data.iter().map(|(_, d)| d.len() as u64).sum());
    let fresh = inner.deliver(peer, data, at);
    inner.counters.received.add(count as u64, bytes);
    if fresh < count {
        inner.counters.duplicates.add((count - fresh) as u64, 0);
    }
}
