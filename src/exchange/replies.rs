//! Serving: reading the blocks others want and writing replies, on one kept-open stream per peer.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures::{AsyncWriteExt, StreamExt, stream};
use tokio::sync::mpsc;

use super::{
    frame,
    message::{PROTOCOLS, Reply, Version},
    server::Job,
    service::Inner,
};
use crate::{
    base::{Cid, PeerId},
    net::{Class, NetError, Stream},
};

/// Blocks of one reply read at once.
const READ_AHEAD: usize = 4;
/// Replies waiting for a peer's stream; the core pops fewer than this per peer.
const READY: usize = 64;
/// A stream nothing was written to for this long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Least time a reply is given to leave, and the slowest rate it may leave at, in bytes per second.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
const SLOWEST: u64 = 12_500;

/// A reply with its blocks read.
pub(super) struct Ready {
    reply: Reply,
    /// What the job counts for in the core.
    bytes: usize,
}

/// Takes jobs from the core and hands complete replies to the peers' streams.
pub(super) async fn make(inner: Arc<Inner>) {
    loop {
        let job = inner.server().pop();
        let Some(job) = job else {
            inner.to_serve.notified().await;
            continue;
        };
        // There may be more for the other makers.
        inner.to_serve.notify_one();
        let (peer, bytes) = (job.peer, job.bytes);
        let reply = read(&inner, job).await;
        if reply.is_empty() || !hand_over(&inner, peer, Ready { reply, bytes }) {
            given_back(&inner, &peer, bytes);
        }
    }
}

fn given_back(inner: &Inner, peer: &PeerId, bytes: usize) {
    inner.server().sent(peer, bytes);
    inner.to_serve.notify_one();
}

async fn read(inner: &Inner, job: Job) -> Reply {
    let mut reply = Reply { blocks: Vec::new(), presences: job.presences, pending_bytes: job.pending_bytes };
    let read = |(cid, tell): (Cid, bool)| async move { (cid, tell, inner.blocks.get(&cid).await) };
    let mut blocks = stream::iter(job.blocks).map(read).buffered(READ_AHEAD);
    while let Some((cid, tell, data)) = blocks.next().await {
        match data {
            Ok(Some(data)) => reply.blocks.push((cid, data)),
            Ok(None) if tell => reply.presences.push((cid, false)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%cid, %error, "a block could not be read for a peer");
                if tell {
                    reply.presences.push((cid, false));
                }
            }
        }
    }
    reply
}

fn hand_over(inner: &Arc<Inner>, peer: PeerId, ready: Ready) -> bool {
    let mut repliers = inner.repliers.lock().unwrap_or_else(PoisonError::into_inner);
    let sender = repliers.entry(peer).or_insert_with(|| {
        let (sender, queue) = mpsc::channel(READY);
        inner.tasks.spawn("bitswap reply stream", write(inner.clone(), peer, queue));
        sender
    });
    sender.try_send(ready).is_ok()
}

async fn write(inner: Arc<Inner>, peer: PeerId, mut queue: mpsc::Receiver<Ready>) {
    let mut stream: Option<(Version, Stream)> = None;
    loop {
        let ready = match tokio::time::timeout(IDLE, queue.recv()).await {
            Ok(Some(ready)) => ready,
            Ok(None) => break,
            Err(_) => {
                // Under the lock nothing can be handed over, so nothing is lost.
                let mut repliers = inner.repliers.lock().unwrap_or_else(PoisonError::into_inner);
                if queue.is_empty() {
                    repliers.remove(&peer);
                    break;
                }
                continue;
            }
        };
        let flush = queue.is_empty();
        let mut result = send(&inner, peer, &mut stream, &ready.reply, flush).await;
        if result.is_err() && stream.take().is_some() {
            // The stream had been kept open and may have been closed by the other side: once more on a new one.
            result = send(&inner, peer, &mut stream, &ready.reply, flush).await;
        }
        if let Err(error) = result {
            tracing::debug!(%peer, %error, "a reply could not be sent");
            stream = None;
            // It will ask again when it comes back.
            inner.server().gone(&peer);
        }
        given_back(&inner, &peer, ready.bytes);
    }
    if let Some((_, mut stream)) = stream {
        let _ = tokio::time::timeout(WRITE_LIMIT, stream.close()).await;
    }
}

async fn send(
    inner: &Arc<Inner>,
    peer: PeerId,
    stream: &mut Option<(Version, Stream)>,
    reply: &Reply,
    flush: bool,
) -> Result<(), NetError> {
    let (version, io) = match stream {
        Some(open) => open,
        None => {
            let (protocol, io) = inner.net.streams().open(peer, PROTOCOLS, Class::Bulk).await?;
            stream.insert((Version::of(protocol), io))
        }
    };
    if reply.blocks.is_empty() && !version.has_presences() {
        return Ok(());
    }
    let segments = reply.encode(*version);
    let bytes: u64 = segments.iter().map(|s: &Bytes| s.len() as u64).sum();
    let limit = WRITE_LIMIT + Duration::from_secs(bytes / SLOWEST);
    let written = tokio::time::timeout(limit, async {
        frame::write_segments(io, &segments).await?;
        if flush { io.flush().await } else { Ok(()) }
    });
    match written.await {
        Ok(Ok(())) => {
            let data: u64 = reply.blocks.iter().map(|(_, data)| data.len() as u64).sum();
            inner.counters.sent.add(reply.blocks.len() as u64, data);
            inner.counters.presences_sent.fetch_add(reply.presences.len() as u64, Relaxed);
            inner.counters.messages_sent.fetch_add(1, Relaxed);
            Ok(())
        }
        Ok(Err(_)) => Err(NetError::Closed { peer }),
        Err(_) => Err(NetError::Timeout { what: "writing a reply", limit }),
    }
}
