//! Raw negotiated substreams, whose bytes never pass through the swarm's task.
//!
//! `table.rs` decides which connection carries which class, `behaviour.rs` keeps that table true, `handler.rs` opens and
//! accepts on one connection, this file is the handle. What always holds: an inbound stream that finds its queue full is
//! reset at the remote end and counted; nothing here waits for a slow reader.

mod behaviour;
mod handler;
mod shared;
mod stream;
mod table;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

pub(super) use self::behaviour::Behaviour;
pub use self::stream::{Class, Inbound, Stream};
use self::{
    shared::{Accepted, Conn, OpenError, Request, Shared},
    table::Pick,
};
use super::{error::NetError, peers::Dialler};
use crate::base::{PeerId, time};

/// How long a second connection may take to be dialled, while the first could serve.
const SECOND_LIMIT: Duration = Duration::from_secs(3);
/// How long after a failure no second connection is tried.
const SECOND_PAUSE: Duration = Duration::from_secs(30);
/// How often an open is tried again when its connection ends under it.
const TRIES: usize = 3;

/// The peers whose connections are kept, with the tags that ask for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Keep {
    tags: Arc<Mutex<HashMap<PeerId, BTreeSet<String>>>>,
}

impl Keep {
    fn has(&self, peer: &PeerId) -> bool {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).contains_key(peer)
    }

    /// Adds a tag; true when it is the peer's first.
    fn add(&self, peer: PeerId, tag: &str) -> bool {
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !tags.contains_key(&peer);
        tags.entry(peer).or_default().insert(tag.to_owned());
        first
    }

    /// Takes a tag back; true when it was the peer's last.
    fn remove(&self, peer: &PeerId, tag: &str) -> bool {
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of_peer) = tags.get_mut(peer) else { return false };
        of_peer.remove(tag);
        of_peer.is_empty() && tags.remove(peer).is_some()
    }
}

/// Dials in progress for streams, so that many opens at once dial once.
type Gates = Mutex<HashMap<(PeerId, Option<Class>), Weak<AsyncMutex<()>>>>;

/// Opens and accepts raw streams. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    shared: Arc<Shared>,
    keep: Keep,
    gates: Arc<Gates>,
    /// Peers that could not be reached a second time, until when they are not tried again.
    shunned: Arc<Mutex<HashMap<PeerId, Instant>>>,
    dialler: Dialler,
}

impl Streams {
    /// The handle, and its part of the swarm.
    pub(super) fn new(max_inbound: usize, timeout: Duration, dialler: Dialler) -> (Self, Behaviour) {
        let shared = Arc::new(Shared::new(max_inbound, timeout));
        let keep = Keep::default();
        let behaviour = Behaviour::new(shared.clone(), keep.clone());
        (Streams { shared, keep, gates: Arc::default(), shunned: Arc::default(), dialler }, behaviour)
    }

    /// Opens a stream to `peer` that speaks the first of `protocols` the peer supports; returns which. Uses the
    /// connection of that class, or dials one when addresses are known; falls back to any connection to the peer.
    ///
    /// # Errors
    /// [`NetError::NoAddress`], [`NetError::Unreachable`], [`NetError::Unsupported`], [`NetError::Timeout`],
    /// [`NetError::Closed`], [`NetError::Stopped`].
    pub async fn open(
        &self,
        peer: PeerId,
        protocols: &[&'static str],
        class: Class,
    ) -> Result<(&'static str, Stream), NetError> {
        self.open_on(peer, protocols, Some(class)).await
    }

    /// As [`Streams::open`]; without a class any connection will do and none is given one.
    pub(super) async fn open_on(
        &self,
        peer: PeerId,
        protocols: &[&'static str],
        class: Option<Class>,
    ) -> Result<(&'static str, Stream), NetError> {
        let mut last = NetError::Closed { peer };
        for _ in 0..TRIES {
            let conn = self.connection(peer, class).await?;
            match self.open_at(peer, &conn, protocols).await {
                Err(error @ NetError::Closed { .. }) => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    async fn open_at(
        &self,
        peer: PeerId,
        conn: &Conn,
        protocols: &[&'static str],
    ) -> Result<(&'static str, Stream), NetError> {
        let (tx, rx) = oneshot::channel();
        let asked = async {
            conn.requests.send(Request::Open(protocols.to_vec(), tx)).await.ok()?;
            rx.await.ok()
        };
        // The connection has its own timer for negotiating; this one covers a queue that does not move.
        let limit = self.shared.timeout * 2;
        match tokio::time::timeout(limit, asked).await {
            Ok(Some(Ok((name, io)))) => Ok((name, Stream { io, _guard: None })),
            Ok(Some(Err(OpenError::Unsupported))) => {
                Err(NetError::Unsupported { peer, protocols: protocols.join(", ") })
            }
            Ok(Some(Err(OpenError::Io(reason)))) => {
                tracing::debug!(%peer, reason, "opening a stream failed");
                Err(NetError::Closed { peer })
            }
            Ok(None) => {
                tokio::task::yield_now().await;
                Err(NetError::Closed { peer })
            }
            Ok(Some(Err(OpenError::Timeout))) => {
                Err(NetError::Timeout { what: "opening a stream", limit: self.shared.timeout })
            }
            Err(_) => Err(NetError::Timeout { what: "opening a stream", limit }),
        }
    }

    /// The connection for a stream of `class`, dialled when there is none.
    async fn connection(&self, peer: PeerId, class: Option<Class>) -> Result<Arc<Conn>, NetError> {
        if let Pick::Use(conn) = self.pick(&peer, class) {
            return Ok(conn);
        }
        if let Pick::DialOr(conn) = self.pick(&peer, class)
            && self.shuns(&peer)
        {
            return Ok(conn);
        }
        let gate = self.gate(peer, class);
        let _one_dial = gate.lock().await;
        let dialled = match self.pick(&peer, class) {
            Pick::Use(conn) => return Ok(conn),
            Pick::Dial => self.dialler.dial_known(peer, false).await,
            Pick::DialOr(conn) if self.shuns(&peer) => return Ok(conn),
            Pick::DialOr(conn) => match tokio::time::timeout(SECOND_LIMIT, self.dialler.dial_known(peer, true)).await {
                Ok(Ok(())) => Ok(()),
                failed => {
                    tracing::debug!(%peer, ?class, ?failed, "no second connection; sharing the first");
                    self.shun(peer);
                    return Ok(conn);
                }
            },
        };
        dialled?;
        match self.pick(&peer, class) {
            Pick::Use(conn) | Pick::DialOr(conn) => Ok(conn),
            Pick::Dial => Err(NetError::Closed { peer }),
        }
    }

    fn shuns(&self, peer: &PeerId) -> bool {
        let shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        shunned.get(peer).is_some_and(|until| time::now() < *until)
    }

    fn shun(&self, peer: PeerId) {
        let now = time::now();
        let mut shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        shunned.retain(|_, until| now < *until);
        shunned.insert(peer, now + SECOND_PAUSE);
    }

    fn pick(&self, peer: &PeerId, class: Option<Class>) -> Pick<Arc<Conn>> {
        self.shared.table().pick(peer, class)
    }

    fn gate(&self, peer: PeerId, class: Option<Class>) -> Arc<AsyncMutex<()>> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&(peer, class)).and_then(Weak::upgrade) {
            return gate;
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::new(AsyncMutex::new(()));
        gates.insert((peer, class), Arc::downgrade(&gate));
        gate
    }

    /// Accepts streams of `protocols` from now on, on old and new connections. At most `bound` wait in the queue; a
    /// stream that finds it full is reset at the remote end. Dropping the receiver stops accepting; accepting a
    /// protocol again replaces its former receiver.
    pub fn accept(&self, protocols: &[&'static str], class: Class, bound: usize) -> mpsc::Receiver<Inbound> {
        let (queue, receiver) = mpsc::channel(bound.max(1));
        self.shared.accept(protocols.iter().map(|name| Accepted { name, class, queue: queue.clone() }).collect());
        receiver
    }

    /// The protocols accepted now.
    pub(super) fn accepted(&self) -> Vec<&'static str> {
        self.shared.accepted().iter().filter(|a| !a.queue.is_closed()).map(|a| a.name).collect()
    }

    /// The classes of the connections to a peer, oldest first; `None` for one that has none yet.
    pub fn classes(&self, peer: &PeerId) -> Vec<Option<Class>> {
        self.shared.table().classes(peer)
    }

    /// How many inbound streams were refused because a queue or a limit was full.
    pub fn refused(&self) -> u64 {
        self.shared.refused.get()
    }

    pub(super) fn refused_counter(&self) -> Counter {
        self.shared.refused.clone()
    }

    /// Keeps the peer's connections; true when this is its first tag.
    pub(super) fn protect(&self, peer: PeerId, tag: &str) -> bool {
        let first = self.keep.add(peer, tag);
        if first {
            self.set_keep(&peer, true);
        }
        first
    }

    /// Takes a tag back; true when it was the last.
    pub(super) fn unprotect(&self, peer: PeerId, tag: &str) -> bool {
        let last = self.keep.remove(&peer, tag);
        if last {
            self.set_keep(&peer, false);
        }
        last
    }

    fn set_keep(&self, peer: &PeerId, keep: bool) {
        for conn in self.shared.table().of(peer) {
            conn.keep.store(keep, Ordering::Relaxed);
            let _ = conn.requests.try_send(Request::Refresh);
        }
    }
}
