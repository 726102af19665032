//! Reputation kept: the book behind a lock, written to the soft store in the background and read back at the start.

use std::{
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    find::Fitness,
    rank::{self, Standing},
    reputation::{Book, Deed, Score},
};
use crate::{
    base::{PeerId, Tasks, random, time},
    store::{Batch, Durability, Kv},
};

const TABLE: &str = "reputation";
const PAGE: usize = 1024;
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// What is known of peers, across restarts. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    book: Mutex<Book>,
    soft: Arc<dyn Kv>,
}

impl Ledger {
    /// Reads what the soft store remembers. A store that cannot be read costs the memory, nothing else.
    pub fn open(soft: Arc<dyn Kv>) -> Ledger {
        let mut book = Book::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let page = match soft.scan(TABLE, from, Bound::Unbounded, PAGE) {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "reputation could not be read; peers start anew");
                    break;
                }
            };
            for (key, value) in &page {
                book.restore(key, value);
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
                _ => break,
            }
        }
        Ledger { inner: Arc::new(Inner { book: Mutex::new(book), soft }) }
    }

    /// Saves every few seconds and when the tasks are stopped.
    pub fn save_in_background(&self, tasks: &Tasks) {
        let (ledger, group) = (self.clone(), tasks.clone());
        tasks.spawn_graceful("save reputation", async move {
            let mut ticks = tokio::time::interval(SAVE_EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let stop = tokio::select! {
                    () = group.stopped() => true,
                    _ = ticks.tick() => false,
                };
                let saver = ledger.clone();
                if let Err(error) = tokio::task::spawn_blocking(move || saver.save()).await {
                    tracing::warn!(%error, "saving reputation failed");
                }
                if stop {
                    return;
                }
            }
        });
    }

    /// Writes what changed since the last call; blocks on the store.
    pub fn save(&self) {
        let dirty = self.book().take_dirty();
        if dirty.is_empty() {
            return;
        }
        let mut batch = Batch::new();
        for (key, value) in dirty {
            match value {
                Some(value) => batch.put(TABLE, key, value),
                None => batch.delete(TABLE, key),
            }
        }
        if let Err(error) = self.inner.soft.commit(batch, Durability::Lazy) {
            tracing::warn!(%error, "reputation could not be saved; what peers did lately is forgotten at the next start");
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.inner.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what a peer did.
    pub fn note(&self, peer: PeerId, deed: Deed) {
        self.book().note(peer, deed, time::unix_ms(), random::fraction());
    }

    /// What a peer is worth.
    pub fn score(&self, peer: &PeerId) -> Score {
        self.book().score(peer, time::unix_ms())
    }

    /// Whether a peer may be asked: neither banned nor waiting after failures.
    pub fn usable(&self, peer: &PeerId) -> bool {
        self.book().usable(peer, time::unix_ms())
    }

    /// How a search treats a peer.
    pub fn fitness(&self, peer: &PeerId) -> Fitness {
        let (book, now) = (self.book(), time::unix_ms());
        match book.score(peer, now).banned_until_ms {
            Some(_) => Fitness::Banned,
            None if book.usable(peer, now) => Fitness::Usable,
            None => Fitness::Resting,
        }
    }

    /// Sorts peers, best first.
    pub fn rank(&self, peers: &mut [PeerId]) {
        let (book, now) = (self.book(), time::unix_ms());
        rank::rank(peers, |p| Standing { usable: book.usable(p, now), value: book.score(p, now).value });
    }

    /// Those of `peers` that have delivered something, best first.
    pub fn deliverers(&self, peers: impl IntoIterator<Item = PeerId>) -> Vec<PeerId> {
        let mut known: Vec<PeerId> = {
            let (book, now) = (self.book(), time::unix_ms());
            peers.into_iter().filter(|p| book.has_delivered(p, now)).collect()
        };
        self.rank(&mut known);
        known
    }

    /// Everybody with a record, best first.
    pub fn scores(&self) -> Vec<(PeerId, Score)> {
        self.book().scores(time::unix_ms())
    }
}
