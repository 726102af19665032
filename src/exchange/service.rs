//! The exchange service: the handle, the state its tasks share, and what the fetching core's actions come to.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{Notify, Semaphore, broadcast, mpsc, oneshot};

use super::{
    ExchangeError, ExchangeStat, Session,
    client::{Action, Client, Limits, SessionId},
    inbound,
    message::PROTOCOLS,
    replies,
    server::{Server, ServerLimits},
    stat::Counters,
    wants,
};
use crate::{
    base::{Cid, PeerId, Tasks, time},
    net::{Class, Net, PeerEvent},
    routing::{Candidate, Deed, Routing, Source},
    store::Blocks,
};

/// Inbound streams waiting to be taken.
const INBOUND: usize = 256;
/// Bytes of messages being read, hashed and stored, in all.
pub(super) const READING_BYTES: usize = 128 * 1024 * 1024;
/// Tasks that make replies.
const REPLY_MAKERS: usize = 4;
/// Providers dialled at once for one search.
const DIALS: usize = 8;
/// Candidates remembered per session, for those who want to know where it came from.
const FOUND: usize = 64;
/// How often time-outs are looked at while anything is wanted.
const TICK: Duration = Duration::from_millis(20);
/// How often reputation is read anew while anything is wanted.
const RATE_EVERY: Duration = Duration::from_secs(1);

/// Fetching and serving. Cheap to clone; all clones are the same service.
#[derive(Clone)]
pub struct Exchange {
    pub(super) inner: Arc<Inner>,
}

/// What the tasks share.
pub(super) struct Inner {
    pub(super) net: Net,
    pub(super) routing: Routing,
    pub(super) blocks: Blocks,
    pub(super) tasks: Tasks,
    fetching: Mutex<Fetching>,
    server: Mutex<Server>,
    /// Something may be there to be popped from the server.
    pub(super) to_serve: Notify,
    /// Something is wanted: the clock has to run.
    clock: Notify,
    pub(super) want_writers: Mutex<HashMap<PeerId, Arc<Notify>>>,
    pub(super) repliers: Mutex<HashMap<PeerId, mpsc::Sender<replies::Ready>>>,
    pub(super) inbound: Mutex<HashMap<PeerId, inbound::Gate>>,
    pub(super) counters: Counters,
    pub(super) reading: Arc<Semaphore>,
    /// Grows with every block that comes, so that a wantlist looked up meanwhile is looked up again.
    pub(super) arrivals: AtomicU64,
}

/// The fetching core and who waits for what.
pub(super) struct Fetching {
    pub(super) client: Client,
    waiters: HashMap<Cid, Vec<Waiter>>,
    next_waiter: u64,
    /// Blocks from peers that are being stored, to be handed out by whoever stores them.
    pub(super) storing: HashSet<Cid>,
    found: HashMap<SessionId, Vec<Candidate>>,
}

struct Waiter {
    id: u64,
    session: SessionId,
    done: oneshot::Sender<Bytes>,
}

impl Exchange {
    /// Starts fetching and serving on `net`.
    pub fn start(net: Net, routing: Routing, blocks: Blocks, tasks: &Tasks) -> Exchange {
        let incoming = net.streams().accept(PROTOCOLS, Class::Bulk, INBOUND);
        let events = net.peers().subscribe();
        let stored = blocks.subscribe();
        let inner = Arc::new(Inner {
            net,
            routing,
            blocks,
            tasks: tasks.clone(),
            fetching: Mutex::new(Fetching {
                client: Client::new(Limits::default()),
                waiters: HashMap::new(),
                next_waiter: 0,
                storing: HashSet::new(),
                found: HashMap::new(),
            }),
            server: Mutex::new(Server::new(ServerLimits::default())),
            to_serve: Notify::new(),
            clock: Notify::new(),
            want_writers: Mutex::default(),
            repliers: Mutex::default(),
            inbound: Mutex::default(),
            counters: Counters::default(),
            reading: Arc::new(Semaphore::new(READING_BYTES)),
            arrivals: AtomicU64::new(0),
        });
        tasks.spawn("bitswap inbound", inbound::accept(inner.clone(), incoming));
        tasks.spawn("bitswap peers", watch_peers(inner.clone(), events));
        tasks.spawn("bitswap store", watch_store(inner.clone(), stored));
        tasks.spawn("bitswap clock", run_clock(inner.clone()));
        for _ in 0..REPLY_MAKERS {
            tasks.spawn("bitswap replies", replies::make(inner.clone()));
        }
        Exchange { inner }
    }

    /// Begins a session about `root`: fetches that share what is learnt about who has its blocks. It ends when the last
    /// clone is dropped.
    pub fn session(&self, root: &Cid) -> Session {
        let id = self.inner.fetching().client.open(*root);
        Session::new(self.inner.clone(), id)
    }

    /// Gives the block, from here or from others within `timeout`.
    pub async fn fetch(&self, cid: &Cid, timeout: Duration) -> Result<Bytes, ExchangeError> {
        self.session(cid).get_within(cid, timeout).await
    }

    /// Counters, and what is under way.
    pub fn stat(&self) -> ExchangeStat {
        let mut stat = self.inner.counters.read();
        let fetching = self.inner.fetching();
        (stat.wants, stat.hedges) = (fetching.client.wants() as u64, fetching.client.hedges());
        drop(fetching);
        stat.partners = self.inner.server().partners() as u64;
        stat
    }
}

impl Inner {
    pub(super) fn fetching(&self) -> MutexGuard<'_, Fetching> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the fetching core and does what comes of it.
    pub(super) fn with_client<T>(self: &Arc<Self>, call: impl FnOnce(&mut Client, Instant) -> T) -> T {
        let (result, actions) = {
            let mut fetching = self.fetching();
            let result = call(&mut fetching.client, time::now());
            (result, fetching.client.take_actions())
        };
        self.act(actions);
        result
    }

    fn act(self: &Arc<Self>, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Wake(peer) => wants::wake(self, peer),
                Action::Note(peer, deed) => {
                    self.routing.note(peer, deed);
                    let (score, usable) = self.standing(&peer);
                    self.fetching().client.rate(&peer, score, usable);
                }
                Action::Search { session, cid } => {
                    self.tasks.spawn("find providers", search(self.clone(), session, cid));
                }
            }
        }
    }

    /// What the core needs to know of a peer's repute. One that waits after failures is asked only when nobody else can
    /// be, a banned one never.
    fn standing(&self, peer: &PeerId) -> (f64, bool) {
        let score = self.routing.score(peer);
        let banned = score.banned_until_ms.is_some();
        (if self.routing.usable(peer) { score.value } else { score.value.min(0.1) }, !banned)
    }

    /// Registers a wait for a block. Dropping the guard takes it back.
    pub(super) fn want(
        self: &Arc<Self>,
        session: SessionId,
        cid: &Cid,
    ) -> Result<(oneshot::Receiver<Bytes>, WaitGuard), ExchangeError> {
        let (done, arrived) = oneshot::channel();
        let (id, actions, first) = {
            let mut fetching = self.fetching();
            let first = fetching.client.wants() == 0;
            if !fetching.client.want(session, *cid, time::now()) {
                return Err(ExchangeError::Busy { limit: Limits::default().wants });
            }
            fetching.next_waiter += 1;
            let id = fetching.next_waiter;
            fetching.waiters.entry(*cid).or_default().push(Waiter { id, session, done });
            (id, fetching.client.take_actions(), first)
        };
        self.act(actions);
        if first {
            self.clock.notify_one();
        }
        Ok((arrived, WaitGuard { inner: self.clone(), session, cid: *cid, id }))
    }

    fn unwait(self: &Arc<Self>, session: SessionId, cid: &Cid, id: u64) {
        let actions = {
            let mut fetching = self.fetching();
            let Some(waiters) = fetching.waiters.get_mut(cid) else { return };
            waiters.retain(|w| w.id != id);
            let others = waiters.iter().any(|w| w.session == session);
            if waiters.is_empty() {
                fetching.waiters.remove(cid);
            }
            if !others {
                fetching.client.unwant(session, cid);
            }
            fetching.client.take_actions()
        };
        self.act(actions);
    }

    /// Blocks from `peer` are stored: whoever waits for them gets them. Gives how many were still waited for.
    pub(super) fn deliver(self: &Arc<Self>, peer: PeerId, blocks: Vec<(Cid, Bytes)>, at: Instant) -> usize {
        let sizes: Vec<(Cid, u32)> = blocks.iter().map(|(cid, data)| (*cid, data.len() as u32)).collect();
        let (fresh, waiters, actions) = {
            let mut fetching = self.fetching();
            let fresh = fetching.client.arrived(peer, &sizes, at, time::now());
            let waiters: Vec<_> = blocks.iter().map(|(cid, _)| fetching.waiters.remove(cid)).collect();
            for (cid, _) in &blocks {
                fetching.storing.remove(cid);
            }
            (fresh, waiters, fetching.client.take_actions())
        };
        // The next wants first: the peer works while the blocks are handed out here.
        self.act(actions);
        for ((_, data), waiters) in blocks.into_iter().zip(waiters) {
            for waiter in waiters.into_iter().flatten() {
                let _ = waiter.done.send(data.clone());
            }
        }
        fresh.into_iter().filter(|f| *f).count()
    }

    /// A block was stored, by whomever: peers and sessions that wait for it get it.
    async fn stored(self: &Arc<Self>, cid: &Cid) {
        self.arrivals.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        let awaited = self.server().is_awaited();
        let waited = {
            let fetching = self.fetching();
            // What a peer brought is handed out by its own task, which also counts it for that peer.
            fetching.waiters.contains_key(cid) && !fetching.storing.contains(cid)
        };
        if awaited && let Ok(Some(size)) = self.blocks.size(cid).await {
            self.serve_arrival(cid, size);
        }
        if waited && let Ok(Some(data)) = self.blocks.get(cid).await {
            self.deliver_local(cid, &data);
        }
    }

    fn deliver_local(self: &Arc<Self>, cid: &Cid, data: &Bytes) {
        let (waiters, actions) = {
            let mut fetching = self.fetching();
            let waiters = fetching.waiters.remove(cid).unwrap_or_default();
            fetching.client.came(cid, time::now());
            (waiters, fetching.client.take_actions())
        };
        self.act(actions);
        for waiter in waiters {
            let _ = waiter.done.send(data.clone());
        }
    }

    /// A block is here now: peers that wait for it are served.
    fn serve_arrival(&self, cid: &Cid, size: u32) {
        if self.server().came(cid, size) {
            self.to_serve.notify_one();
        }
    }

    pub(super) fn found(&self, session: SessionId) -> Vec<Candidate> {
        self.fetching().found.get(&session).cloned().unwrap_or_default()
    }

    pub(super) fn close(self: &Arc<Self>, session: SessionId) {
        let actions = {
            let mut fetching = self.fetching();
            fetching.found.remove(&session);
            fetching.client.close(session);
            fetching.client.take_actions()
        };
        self.act(actions);
    }

    fn joined(self: &Arc<Self>, peer: PeerId) {
        let (score, usable) = self.standing(&peer);
        self.with_client(|client, now| client.connected(peer, score, usable, now));
    }

    fn left(self: &Arc<Self>, peer: PeerId) {
        if self.net.peers().is_connected(&peer) {
            return;
        }
        self.with_client(|client, now| client.disconnected(&peer, now));
        self.server().gone(&peer);
    }
}

/// Takes a want back when dropped.
pub(super) struct WaitGuard {
    inner: Arc<Inner>,
    session: SessionId,
    cid: Cid,
    id: u64,
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.inner.unwait(self.session, &self.cid, self.id);
    }
}

/// Keeps the cores told of who is connected.
async fn watch_peers(inner: Arc<Inner>, mut events: broadcast::Receiver<PeerEvent>) {
    let mut known: HashSet<PeerId> = HashSet::new();
    let mut resync = true;
    loop {
        if std::mem::take(&mut resync) {
            let now: HashSet<PeerId> = inner.net.peers().connected().into_iter().map(|p| p.peer).collect();
            now.difference(&known).for_each(|p| inner.joined(*p));
            known.difference(&now).for_each(|p| inner.left(*p));
            known = now;
        }
        match events.recv().await {
            Ok(PeerEvent::Connected(peer)) => {
                known.insert(peer);
                inner.joined(peer);
            }
            Ok(PeerEvent::Disconnected(peer)) => {
                known.remove(&peer);
                inner.left(peer);
            }
            // It may speak other protocols now.
            Ok(PeerEvent::Identified(peer)) => inner.joined(peer),
            Err(broadcast::error::RecvError::Lagged(_)) => resync = true,
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Serves what is stored to those who wait for it. What is lost when this lags, they ask for again.
async fn watch_store(inner: Arc<Inner>, mut stored: broadcast::Receiver<Cid>) {
    loop {
        match stored.recv().await {
            Ok(cid) => inner.stored(&cid).await,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Lets the fetching core's time pass while anything is wanted.
async fn run_clock(inner: Arc<Inner>) {
    let mut rated = time::now();
    loop {
        if inner.fetching().client.wants() == 0 {
            inner.clock.notified().await;
            continue;
        }
        let deadline = inner.fetching().client.next_deadline();
        let wait = deadline.map_or(TICK, |at| at.saturating_duration_since(time::now())).min(TICK);
        tokio::time::sleep(wait.max(Duration::from_millis(2))).await;
        inner.with_client(|client, now| client.tick(now));
        if rated.elapsed() >= RATE_EVERY {
            rated = time::now();
            for peer in inner.net.peers().connected() {
                let (score, usable) = inner.standing(&peer.peer);
                // One whose streams failed is tried again for as long as it stays connected.
                inner.with_client(|client, now| match client.knows(&peer.peer) {
                    true => client.rate(&peer.peer, score, usable),
                    false => client.connected(peer.peer, score, usable, now),
                });
            }
        }
    }
}

/// Searches providers for a session and connects to them; ends early when nothing is wanted any more.
async fn search(inner: Arc<Inner>, session: SessionId, cid: Cid) {
    let mut candidates = inner.routing.find(&cid);
    let mut dials = FuturesUnordered::new();
    let mut open = true;
    while open || !dials.is_empty() {
        tokio::select! {
            candidate = candidates.recv(), if open && dials.len() < DIALS => match candidate {
                Some(candidate) => {
                    if !inner.take_candidate(session, &candidate) {
                        return;
                    }
                    // Whoever merely delivered before is asked for presence like the rest.
                    if candidate.source == Source::Connected {
                        continue;
                    }
                    if inner.net.peers().is_connected(&candidate.peer) {
                        inner.with_client(|client, now| client.provider(session, candidate.peer, now));
                    } else {
                        let peers = inner.net.peers().clone();
                        dials.push(async move {
                            (candidate.peer, peers.connect_peer(candidate.peer, candidate.addrs).await)
                        });
                    }
                }
                None => open = false,
            },
            Some((peer, dialled)) = dials.next(), if !dials.is_empty() => match dialled {
                Ok(()) => {
                    // The event of this connection may still be on its way.
                    inner.joined(peer);
                    inner.with_client(|client, now| client.provider(session, peer, now));
                }
                Err(error) => {
                    tracing::debug!(%peer, %error, "a provider could not be reached");
                    inner.routing.note(peer, Deed::DialFailed);
                }
            },
        }
    }
    inner.with_client(|client, now| client.search_done(session, now));
}

impl Inner {
    /// Writes down a candidate; false when the session wants nothing any more.
    fn take_candidate(&self, session: SessionId, candidate: &Candidate) -> bool {
        let mut fetching = self.fetching();
        if !fetching.client.is_waiting(session) {
            fetching.client.search_done(session, time::now());
            return false;
        }
        if candidate.source != Source::Connected {
            fetching.client.named(session);
        }
        let found = fetching.found.entry(session).or_default();
        if found.len() < FOUND && !found.contains(candidate) {
            found.push(candidate.clone());
        }
        true
    }
}
