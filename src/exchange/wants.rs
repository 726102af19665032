//! Writing our wants: one kept-open stream per peer, one task per stream.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures::AsyncWriteExt;
use tokio::sync::Notify;

use super::{
    message::{PROTOCOLS, Version, encode_wants},
    service::Inner,
};
use crate::{
    base::{PeerId, backoff::Backoff, random},
    net::{Class, NetError, Stream},
    routing::Deed,
};

/// Entries in one message.
const MAX_ENTRIES: usize = 512;
/// A peer that takes no wants for this long is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// A stream nothing was written to for this long is closed once the peer's list is empty.
const IDLE: Duration = Duration::from_secs(60);
const RETRY: Backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(5) };
/// Streams tried in a row before the peer counts as gone.
const MAX_FAILURES: u32 = 4;

/// Makes sure that what waits for `peer` gets written.
pub(super) fn wake(inner: &Arc<Inner>, peer: PeerId) {
    let mut writers = inner.want_writers.lock().unwrap_or_else(PoisonError::into_inner);
    let notify = writers.entry(peer).or_insert_with(|| {
        let notify = Arc::new(Notify::new());
        inner.tasks.spawn("bitswap wants", write(inner.clone(), peer, notify.clone()));
        notify
    });
    notify.notify_one();
}

async fn write(inner: Arc<Inner>, peer: PeerId, notify: Arc<Notify>) {
    let mut stream: Option<(Version, Stream)> = None;
    let mut failures = 0;
    loop {
        // Whoever is wanting right now gets into the same message.
        tokio::task::yield_now().await;
        let Some((entries, full)) = inner.with_client(|client, _| client.drain(&peer, MAX_ENTRIES)) else {
            if tokio::time::timeout(IDLE, notify.notified()).await.is_err() && retire(&inner, &peer) {
                break;
            }
            continue;
        };
        let result = send(&inner, peer, &mut stream, &entries, full).await;
        match result {
            Ok(()) => failures = 0,
            Err(NetError::Unsupported { .. }) => {
                inner.with_client(|client, now| client.unsupported(&peer, now));
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "writing wants failed");
                stream = None;
                failures += 1;
                if failures >= MAX_FAILURES || !inner.net.peers().is_connected(&peer) {
                    failures = 0;
                    inner.routing.note(peer, Deed::DialFailed);
                    inner.with_client(|client, now| client.disconnected(&peer, now));
                    continue;
                }
                inner.with_client(|client, _| client.stream_lost(&peer));
                tokio::time::sleep(RETRY.wait(failures, random::fraction())).await;
            }
        }
    }
    if let Some((_, mut stream)) = stream {
        let _ = tokio::time::timeout(WRITE_LIMIT, stream.close()).await;
    }
}

/// Ends the task when nothing is on the peer's list; a want that comes later starts a new one.
fn retire(inner: &Arc<Inner>, peer: &PeerId) -> bool {
    let mut writers = inner.want_writers.lock().unwrap_or_else(PoisonError::into_inner);
    let idle = inner.fetching().client.is_idle(peer);
    if idle {
        writers.remove(peer);
    }
    idle
}

async fn send(
    inner: &Arc<Inner>,
    peer: PeerId,
    stream: &mut Option<(Version, Stream)>,
    entries: &[super::message::Entry],
    full: bool,
) -> Result<(), NetError> {
    let (version, io) = match stream {
        Some(open) => open,
        None => {
            let (protocol, io) = inner.net.streams().open(peer, PROTOCOLS, Class::Bulk).await?;
            stream.insert((Version::of(protocol), io))
        }
    };
    let bytes = encode_wants(entries, full, *version);
    let written = tokio::time::timeout(WRITE_LIMIT, async {
        io.write_all(&bytes).await?;
        io.flush().await
    });
    match written.await {
        Ok(Ok(())) => {
            inner.counters.messages_sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        }
        Ok(Err(_)) => Err(NetError::Closed { peer }),
        Err(_) => Err(NetError::Timeout { what: "writing wants", limit: WRITE_LIMIT }),
    }
}
