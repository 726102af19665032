//! The routing service: one handle over reputation, searches, hints and announcements.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

use super::{
    Deed, Score,
    find::{Hints, Merge},
    ledger::Ledger,
    provide::{MAX_QUEUED, Queue, REANNOUNCE},
};
use crate::{
    base::{Cid, Multiaddr, PeerId, Tasks, random, time},
    net::{Net, PeerEvent},
    store::Kv,
};

/// Candidates of one search waiting to be taken.
const CANDIDATES: usize = 64;
/// Providers asked of the DHT in one search.
const DHT_PROVIDERS: usize = 32;
/// Connected peers that delivered before, named in one search.
const CONNECTED: usize = 8;
/// Searches in the DHT at once.
const SEARCHES: usize = 64;
/// Announcements waiting to enter the queue.
const INTAKE: usize = 256;
/// Roots listed at a time.
const ROOT_PAGE: usize = 256;
/// New peers within this time make one renewed attempt.
const SETTLE: Duration = Duration::from_millis(300);

/// Where a candidate was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A provider record of the DHT.
    Dht {
        /// The peer that gave the record.
        from: PeerId,
    },
    /// It is connected and has delivered before.
    Connected,
    /// Someone here said so ([`Routing::hint`]).
    Hint,
}

/// A peer that may have what is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub peer: PeerId,
    /// Where, as far as known.
    pub addrs: Vec<Multiaddr>,
    /// How it was learnt.
    pub source: Source,
}

/// Lists held roots in pages, in any order that stays the same: `(after, limit)` gives at most `limit` roots behind
/// `after`; an empty page ends the list.
pub type RootPages = Arc<dyn Fn(Option<Cid>, usize) -> BoxFuture<'static, Vec<Cid>> + Send + Sync>;

/// Finding, ranking and announcing. Cheap to clone; all clones are the same service.
#[derive(Clone)]
pub struct Routing {
    inner: Arc<Inner>,
}

struct Inner {
    net: Net,
    ledger: Ledger,
    hints: Mutex<Hints>,
    searches: Arc<Semaphore>,
    announce: mpsc::Sender<Cid>,
    roots: watch::Sender<Option<RootPages>>,
    tasks: Tasks,
}

impl Routing {
    /// Starts the service; reputation is read from and kept in `soft`.
    pub fn start(net: Net, soft: Arc<dyn Kv>, tasks: &Tasks) -> Routing {
        let ledger = Ledger::open(soft);
        ledger.save_in_background(tasks);
        let (announce, intake) = mpsc::channel(INTAKE);
        let (roots, roots_seen) = watch::channel(None);
        tasks.spawn("announce", announcer(net.clone(), intake, roots_seen));
        let inner = Inner {
            net,
            ledger,
            hints: Mutex::new(Hints::new()),
            searches: Arc::new(Semaphore::new(SEARCHES)),
            announce,
            roots,
            tasks: tasks.clone(),
        };
        Routing { inner: Arc::new(inner) }
    }

    /// Searches peers that may have `cid`: those hinted, connected peers that delivered before, then the DHT. Each peer is
    /// named once, banned ones never, those waiting after failures last. The channel ends when the search does; dropping
    /// it ends the search.
    pub fn find(&self, cid: &Cid) -> mpsc::Receiver<Candidate> {
        let (out, candidates) = mpsc::channel(CANDIDATES);
        let (routing, cid) = (self.clone(), *cid);
        self.inner.tasks.spawn("find", async move {
            let closed = out.clone();
            tokio::select! {
                () = closed.closed() => {}
                () = routing.search(cid, out) => {}
            }
        });
        candidates
    }

    async fn search(&self, cid: Cid, out: mpsc::Sender<Candidate>) {
        let inner = &self.inner;
        let mut merge = Merge::new(inner.net.local_peer());
        let hints = inner.hints.lock().unwrap_or_else(PoisonError::into_inner).get(&cid, time::now());
        let hinted = hints.into_iter().map(|(peer, addrs)| Candidate { peer, addrs, source: Source::Hint });
        let connected = inner.net.peers().connected().into_iter().map(|p| p.peer);
        let proven = inner.ledger.deliverers(connected).into_iter().take(CONNECTED);
        let proven = proven.map(|peer| Candidate { peer, addrs: Vec::new(), source: Source::Connected });
        for candidate in hinted.chain(proven) {
            let fitness = inner.ledger.fitness(&candidate.peer);
            if let Some(candidate) = merge.admit(candidate.peer, fitness, candidate)
                && out.send(candidate).await.is_err()
            {
                return;
            }
        }
        let Ok(_permit) = inner.searches.acquire().await else { return };
        let mut records = inner.net.dht().find_providers(&cid.hash().to_bytes(), DHT_PROVIDERS).await;
        while let Some(record) = records.recv().await {
            let source = Source::Dht { from: record.from };
            let candidate = Candidate { peer: record.peer, addrs: record.addrs, source };
            let fitness = inner.ledger.fitness(&candidate.peer);
            if let Some(candidate) = merge.admit(candidate.peer, fitness, candidate)
                && out.send(candidate).await.is_err()
            {
                return;
            }
        }
        for candidate in merge.rest() {
            if out.send(candidate).await.is_err() {
                return;
            }
        }
    }

    /// Remembers for an hour that `peer` is said to have `cid`.
    pub fn hint(&self, cid: &Cid, peer: PeerId, addrs: Vec<Multiaddr>) {
        self.inner.hints.lock().unwrap_or_else(PoisonError::into_inner).add(cid, peer, addrs, time::now());
    }

    /// Writes down what a peer did.
    pub fn note(&self, peer: PeerId, deed: Deed) {
        self.inner.ledger.note(peer, deed);
    }

    /// What a peer is worth.
    pub fn score(&self, peer: &PeerId) -> Score {
        self.inner.ledger.score(peer)
    }

    /// Sorts peers, best first: usable ones before those that wait after failures, then by score.
    pub fn rank(&self, peers: &mut [PeerId]) {
        self.inner.ledger.rank(peers);
    }

    /// Whether a peer may be asked: neither banned nor waiting after failures.
    pub fn usable(&self, peer: &PeerId) -> bool {
        self.inner.ledger.usable(peer)
    }

    /// Everybody with a record, best first.
    pub fn scores(&self) -> Vec<(PeerId, Score)> {
        self.inner.ledger.scores()
    }

    /// Queues the announcement that this node provides `cid`. Failed ones are tried again with growing waits, and at once
    /// when a peer was met; roots that find no place in the queue are announced when there is room.
    pub async fn provide(&self, cid: &Cid) {
        // It fails only when the node is stopping, and then nobody needs the announcement.
        let _ = self.inner.announce.send(*cid).await;
    }

    /// Sets where held roots are listed; they are announced now and every twelve hours.
    pub fn set_roots(&self, pages: RootPages) {
        self.inner.roots.send_replace(Some(pages));
    }
}

/// Announces what comes in, and all roots once in a while.
async fn announcer(net: Net, mut intake: mpsc::Receiver<Cid>, mut roots: watch::Receiver<Option<RootPages>>) {
    let mut queue = Queue::new();
    let mut events = net.peers().subscribe();
    let mut active = FuturesUnordered::new();
    // Behind which root the round under way stands; `None` when no round is under way.
    let mut round: Option<Option<Cid>> = None;
    let mut rounds = tokio::time::interval(REANNOUNCE);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut met = false;
    // Roots found no place in the queue; a round of all roots makes up for it when there is room again.
    let mut missed = false;
    loop {
        if missed && round.is_none() && queue.len() < MAX_QUEUED / 2 {
            (missed, round) = (false, Some(None));
        }
        while let Some(cid) = queue.pop(time::now()) {
            let dht = net.dht().clone();
            active.push(async move { (cid, dht.provide_counted(&cid.hash().to_bytes()).await) });
        }
        let due = queue.next_due().map(|at| at.saturating_duration_since(time::now()));
        let pages = roots.borrow().clone();
        tokio::select! {
            Some((cid, result)) = active.next(), if !active.is_empty() => {
                let announced = match &result {
                    Ok(takers) => *takers > 0,
                    Err(error) => {
                        tracing::debug!(%cid, %error, "announcing failed");
                        false
                    }
                };
                queue.done(cid, announced, time::now(), random::fraction());
            }
            // Taken at once, so that adding and pinning never wait for announcements that fail.
            Some(cid) = intake.recv() => missed |= !queue.push(cid),
            page = next_page(pages, round.flatten()), if round.is_some() && queue.len() < MAX_QUEUED / 2 => {
                round = page.last().map(|last| Some(*last));
                for cid in page {
                    queue.push(cid);
                }
            }
            changed = roots.changed() => {
                if changed.is_err() {
                    return;
                }
                round = Some(None);
            }
            _ = rounds.tick() => round = Some(None),
            () = tokio::time::sleep(due.unwrap_or(REANNOUNCE)), if due.is_some() => {}
            event = events.recv() => match event {
                Ok(PeerEvent::Identified(_)) | Err(broadcast::error::RecvError::Lagged(_)) => met = true,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            () = tokio::time::sleep(SETTLE), if met => {
                met = false;
                queue.hurry();
            }
        }
    }
}

async fn next_page(pages: Option<RootPages>, after: Option<Cid>) -> Vec<Cid> {
    match pages {
        Some(pages) => pages(after, ROOT_PAGE).await,
        None => Vec::new(),
    }
}
