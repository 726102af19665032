//! What was read lately, in memory: for whoever reads blocks.
//!
//! [`Cache`] is an adaptive cache ([`arc`]) behind a lock, with its hits counted. What always holds: its values never take
//! more than its bytes, and it is empty until something is read. Start with [`Cache::get`].

mod arc;

use std::{
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use self::arc::Adaptive;

/// Bytes counted for each value beside its own: its places in lists and tables, and the head of its memory.
const OVERHEAD_BYTES: u64 = 256;

/// How a cache does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStat {
    /// How often something was found, since the start.
    pub hits: u64,
    /// How often something was not.
    pub misses: u64,
    /// Values kept.
    pub entries: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Bytes they may take.
    pub capacity: u64,
    /// Of these, what was asked for once may take so many before it gives way; the cache finds that out itself.
    pub recent_bytes: u64,
}

struct State<K: Hash + Eq, V> {
    cache: Adaptive<K, V>,
    hits: u64,
    misses: u64,
}

/// Values by key, of together at most so many bytes.
pub(super) struct Cache<K: Hash + Eq, V> {
    capacity: u64,
    state: Mutex<State<K, V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// An empty cache of `capacity` bytes; of none, it is off.
    pub(super) fn new(capacity: u64) -> Self {
        Cache { capacity, state: Mutex::new(State { cache: Adaptive::new(capacity), hits: 0, misses: 0 }) }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        if self.capacity == 0 {
            return None;
        }
        let mut state = self.lock();
        let found = state.cache.get(key);
        match found {
            Some(_) => state.hits += 1,
            None => state.misses += 1,
        }
        found
    }

    /// Keeps a value of `bytes` bytes that was asked for and not there.
    pub(super) fn put(&self, key: K, value: V, bytes: usize) {
        if self.capacity > 0 {
            self.lock().cache.put(key, value, bytes as u64 + OVERHEAD_BYTES);
        }
    }

    /// Lets go of values.
    pub(super) fn remove<'a>(&self, keys: impl IntoIterator<Item = &'a K>)
    where
        K: 'a,
    {
        let mut keys = keys.into_iter().peekable();
        if self.capacity > 0 && keys.peek().is_some() {
            let mut state = self.lock();
            keys.for_each(|key| state.cache.remove(key));
        }
    }

    /// How it does.
    pub(super) fn stat(&self) -> CacheStat {
        let state = self.lock();
        let (entries, bytes) = state.cache.size();
        CacheStat {
            hits: state.hits,
            misses: state.misses,
            entries: entries as u64,
            bytes,
            capacity: self.capacity,
            recent_bytes: state.cache.target(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
