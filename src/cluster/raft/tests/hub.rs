//! Links between masters in one process, which can be cut and mended.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use futures::future::BoxFuture;
use tokio::{
    io,
    sync::{Notify, mpsc},
};
use tokio_util::{compat::TokioAsyncReadCompatExt, sync::CancellationToken};

use crate::{
    base::{PeerId, Tasks},
    cluster::{
        model::MasterInfo,
        raft::link::{BoxDuplex, InboundLink, Lane, Link},
    },
};

/// All links of a test.
#[derive(Clone, Default)]
pub(super) struct Hub {
    inner: Arc<Mutex<Inner>>,
    tasks: Tasks,
    news: Arc<Notify>,
}

#[derive(Default)]
struct Inner {
    listeners: HashMap<(PeerId, Lane), mpsc::Sender<InboundLink>>,
    cut: HashSet<(PeerId, PeerId)>,
    open: Vec<(PeerId, PeerId, CancellationToken)>,
    snapshots: usize,
    /// How often each master was refused a stream because its link was cut.
    refused: HashMap<PeerId, usize>,
}

impl Hub {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn link(&self, me: PeerId) -> HubLink {
        HubLink { hub: self.clone(), me }
    }

    /// Separates `side` from everyone else; streams between them break.
    pub fn part(&self, side: &[PeerId], others: &[PeerId]) {
        let mut inner = self.inner();
        for a in side {
            for b in others {
                inner.cut.extend([(*a, *b), (*b, *a)]);
            }
        }
        let Inner { cut, open, .. } = &mut *inner;
        open.retain(|(a, b, token)| {
            if cut.contains(&(*a, *b)) {
                token.cancel();
            }
            !token.is_cancelled()
        });
    }

    /// Mends every cut.
    pub fn mend(&self) {
        self.inner().cut.clear();
    }

    /// Waits until `peer` was refused `count` more streams.
    pub async fn refused(&self, peer: PeerId, count: usize) {
        let now = || self.inner().refused.get(&peer).copied().unwrap_or_default();
        let enough = now() + count;
        loop {
            let news = self.news.notified();
            if now() >= enough {
                return;
            }
            news.await;
        }
    }

    /// Streams opened for snapshots so far.
    pub fn snapshots(&self) -> usize {
        self.inner().snapshots
    }
}

/// One master's end of the hub.
pub(super) struct HubLink {
    hub: Hub,
    me: PeerId,
}

impl Link for HubLink {
    fn open(&self, to: MasterInfo, lane: Lane) -> BoxFuture<'static, Result<BoxDuplex, String>> {
        let (hub, me) = (self.hub.clone(), self.me);
        Box::pin(async move {
            let token = CancellationToken::new();
            let listener = {
                let mut inner = hub.inner();
                if inner.cut.contains(&(me, to.peer)) {
                    *inner.refused.entry(me).or_default() += 1;
                    hub.news.notify_waiters();
                    return Err("the link is cut".into());
                }
                inner.snapshots += usize::from(lane == Lane::Snapshot);
                inner.open.push((me, to.peer, token.clone()));
                inner.listeners.get(&(to.peer, lane)).cloned().ok_or("nobody listens")?
            };
            let (near, mut a) = io::duplex(64 * 1024);
            let (mut b, far) = io::duplex(64 * 1024);
            hub.tasks.spawn("pump", async move {
                tokio::select! {
                    _ = io::copy_bidirectional(&mut a, &mut b) => {}
                    () = token.cancelled() => {}
                }
            });
            let stream: BoxDuplex = Box::new(far.compat());
            listener.send(InboundLink { peer: me, stream }).await.map_err(|_| "nobody listens any more")?;
            Ok(Box::new(near.compat()) as BoxDuplex)
        })
    }

    fn accept(&self, lane: Lane) -> mpsc::Receiver<InboundLink> {
        let (to, out) = mpsc::channel(64);
        self.hub.inner().listeners.insert((self.me, lane), to);
        out
    }
}
