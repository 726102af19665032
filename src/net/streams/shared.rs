//! What the handle, the behaviour and the connections' handlers share.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use libp2p::swarm::ConnectionId;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};

use super::{Class, Inbound, table::Table};

/// How many streams may wait to be opened on one connection.
pub(super) const OPEN_QUEUE: usize = 256;

/// Why a connection could not open a stream.
#[derive(Debug)]
pub(crate) enum OpenError {
    Unsupported,
    Timeout,
    Io(String),
}

/// What is sent to a connection's handler.
#[derive(Debug)]
pub(super) enum Request {
    /// Open a stream that speaks the first of the names the peer supports.
    Open(Vec<&'static str>, Reply),
    /// Look again at what is accepted and whether to stay alive.
    Refresh,
}

/// Where the opened stream goes.
pub(crate) type Reply = oneshot::Sender<Result<(&'static str, libp2p::Stream), OpenError>>;

/// A connection as the table knows it.
#[derive(Debug)]
pub(super) struct Conn {
    /// Wakes the handler.
    pub(super) requests: mpsc::Sender<Request>,
    /// Keep the connection although idle.
    pub(super) keep: AtomicBool,
    /// Inbound streams of our protocols open on it.
    pub(super) inbound: AtomicUsize,
}

/// A protocol that is accepted.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) name: &'static str,
    pub(super) class: Class,
    pub(super) queue: mpsc::Sender<Inbound>,
}

/// What the handle, the behaviour and the handlers share.
#[derive(Debug)]
pub(super) struct Shared {
    accepted: RwLock<Arc<[Accepted]>>,
    table: Mutex<Table<ConnectionId, Arc<Conn>>>,
    /// Inbound streams refused because a queue or a limit was full.
    pub(super) refused: Counter,
    /// Inbound streams allowed at once on one connection.
    pub(super) max_inbound: usize,
    /// How long negotiating may take.
    pub(super) timeout: std::time::Duration,
}

impl Shared {
    pub(super) fn new(max_inbound: usize, timeout: std::time::Duration) -> Self {
        Shared {
            accepted: RwLock::new(Arc::from([])),
            table: Mutex::default(),
            refused: Counter::default(),
            max_inbound,
            timeout,
        }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table<ConnectionId, Arc<Conn>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is accepted now.
    pub(super) fn accepted(&self) -> Arc<[Accepted]> {
        self.accepted.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Accepts more protocols, in place of former readers of the same ones, and wakes all connections.
    pub(super) fn accept(&self, more: Vec<Accepted>) {
        {
            let mut accepted = self.accepted.write().unwrap_or_else(PoisonError::into_inner);
            let kept = accepted.iter().filter(|old| !old.queue.is_closed() && !more.iter().any(|n| n.name == old.name));
            *accepted = kept.cloned().chain(more.iter().cloned()).collect();
        }
        self.refresh_all();
    }

    /// Stops accepting what nobody reads any more.
    pub(super) fn forget_closed(&self) {
        let mut accepted = self.accepted.write().unwrap_or_else(PoisonError::into_inner);
        *accepted = accepted.iter().filter(|old| !old.queue.is_closed()).cloned().collect();
    }

    fn refresh_all(&self) {
        for conn in self.table().all() {
            // A full queue means that the handler is about to run anyway.
            let _ = conn.requests.try_send(Request::Refresh);
        }
    }
}

/// Counts an inbound stream of a connection for as long as it lives.
#[derive(Debug)]
pub(super) struct Guard(Arc<Conn>);

impl Guard {
    /// A guard, unless the connection has `max` already.
    pub(super) fn new(conn: &Arc<Conn>, max: usize) -> Option<Self> {
        if conn.inbound.fetch_add(1, Ordering::Relaxed) >= max {
            conn.inbound.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Guard(conn.clone()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.inbound.fetch_sub(1, Ordering::Relaxed);
    }
}
