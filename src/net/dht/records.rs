//! The provider records this node keeps: for others, bounded; its own, not. Both run out after 48 hours and survive
//! restarts through a [`DhtStore`].

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use libp2p::kad::{
    ProviderRecord as KadRecord, Record, RecordKey as Key,
    store::{Error, RecordStore, Result},
};
use prost::Message as _;
use tokio::sync::Notify;

use super::{super::address, DhtStore, StoreChange, wire};
use crate::base::{Multiaddr, PeerId, time};

/// How long a record holds, in milliseconds.
const TTL_MS: u64 = 48 * 3600 * 1000;
/// Providers kept of one key: as many as the DHT ever gives out.
const PER_KEY: usize = 20;
/// Addresses kept of one provider.
const MAX_ADDRESSES: usize = 16;
/// The longest key, in bytes: a multihash.
const MAX_KEY: usize = 128;
/// Records read from the store at once.
const PAGE: usize = 1000;

/// The changes that are not written yet: the last one of each record, so bounded by the records.
#[derive(Debug, Default)]
pub(in super::super) struct Unsaved {
    changes: Mutex<HashMap<Vec<u8>, Option<Vec<u8>>>>,
    bell: Notify,
}

impl Unsaved {
    fn note(&self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value);
        self.bell.notify_one();
    }

    /// What is to be written now.
    pub(super) fn take(&self) -> Vec<StoreChange> {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }

    /// Resolves when there may be something to write.
    pub(super) async fn some(&self) {
        self.bell.notified().await;
    }
}

#[derive(Clone, Debug)]
struct Held {
    provider: PeerId,
    addrs: Vec<Multiaddr>,
    expires_ms: u64,
}

/// The provider records.
#[derive(Debug)]
pub(in super::super) struct Records {
    local: PeerId,
    max: usize,
    own: HashMap<Key, u64>,
    remote: HashMap<Key, Vec<Held>>,
    /// Others' records by the time they run out.
    order: BTreeSet<(u64, Vec<u8>, PeerId)>,
    unsaved: Arc<Unsaved>,
}

impl Records {
    /// An empty store that keeps up to `max` records for others.
    pub(super) fn new(local: PeerId, max: usize) -> Self {
        let (own, remote, order) = Default::default();
        Records { local, max: max.max(1), own, remote, order, unsaved: Arc::default() }
    }

    /// Reads what was kept; damaged and expired records are left out, a store that fails costs only its records.
    pub(in super::super) fn load(local: PeerId, max: usize, store: &dyn DhtStore) -> Self {
        let mut records = Records::new(local, max);
        let (now, mut after) = (time::unix_ms(), None::<Vec<u8>>);
        loop {
            let page = match store.load(after.as_deref(), PAGE) {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(error, "kept DHT records cannot be read; they are learnt anew");
                    return records;
                }
            };
            for (key, value) in &page {
                if !records.restore(key, value, now) {
                    records.unsaved.note(key.clone(), None);
                }
            }
            if page.len() < PAGE {
                return records;
            }
            after = page.last().map(|(key, _)| key.clone());
        }
    }

    pub(in super::super) fn unsaved(&self) -> Arc<Unsaved> {
        self.unsaved.clone()
    }

    fn restore(&mut self, key: &[u8], value: &[u8], now: u64) -> bool {
        let Some((head, rest)) = value.split_first_chunk::<8>() else { return false };
        // A clock that was set back must not make records live longer.
        let expires_ms = u64::from_be_bytes(*head).min(now + TTL_MS);
        if expires_ms <= now {
            return false;
        }
        match key.split_first() {
            Some((b'o', key)) if key.len() <= MAX_KEY => {
                self.own.insert(Key::new(&key), expires_ms);
                true
            }
            Some((b'r', rest_key)) => {
                let Some((len, rest_key)) = rest_key.split_first() else { return false };
                let Some((key, _)) = rest_key.split_at_checked(usize::from(*len)) else { return false };
                let Ok(peer) = wire::Peer::decode(rest) else { return false };
                let Some((provider, addrs)) = wire::peers(&[peer]).next() else { return false };
                self.hold(Key::new(&key), Held { provider, addrs, expires_ms });
                true
            }
            _ => false,
        }
    }

    fn own_key(key: &Key) -> Vec<u8> {
        [b"o", key.as_ref()].concat()
    }

    fn remote_key(key: &[u8], provider: &PeerId) -> Vec<u8> {
        [b"r".as_slice(), &[key.len() as u8], key, &provider.to_bytes()].concat()
    }

    /// Keeps a record for another peer, in place of its former one; the first to run out makes room.
    fn hold(&mut self, key: Key, held: Held) {
        self.drop_held(&key, &held.provider);
        if self.remote.get(&key).is_some_and(|all| all.len() >= PER_KEY)
            && let Some(oldest) = self.remote[&key].iter().min_by_key(|held| held.expires_ms).map(|held| held.provider)
        {
            self.forget(&key, &oldest);
        }
        while self.order.len() >= self.max {
            let Some((_, key, provider)) = self.order.first().cloned() else { break };
            self.forget(&Key::from(key), &provider);
        }
        self.order.insert((held.expires_ms, key.to_vec(), held.provider));
        self.remote.entry(key).or_default().push(held);
    }

    /// Takes a record for another peer out of memory.
    fn drop_held(&mut self, key: &Key, provider: &PeerId) -> bool {
        let Some(all) = self.remote.get_mut(key) else { return false };
        let Some(at) = all.iter().position(|held| held.provider == *provider) else { return false };
        let held = all.swap_remove(at);
        if all.is_empty() {
            self.remote.remove(key);
        }
        self.order.remove(&(held.expires_ms, key.to_vec(), held.provider))
    }

    /// Takes a record for another peer out of memory and the store.
    fn forget(&mut self, key: &Key, provider: &PeerId) {
        if self.drop_held(key, provider) {
            self.unsaved.note(Self::remote_key(key.as_ref(), provider), None);
        }
    }

    /// Drops what has run out.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        while let Some((expires_ms, key, provider)) = self.order.first().cloned() {
            if expires_ms > now_ms {
                break;
            }
            self.forget(&Key::from(key), &provider);
        }
        let unsaved = &self.unsaved;
        self.own.retain(|key, expires_ms| {
            let keep = *expires_ms > now_ms;
            if !keep {
                unsaved.note(Self::own_key(key), None);
            }
            keep
        });
    }

    /// The records about a key that have not run out: this node's own without addresses.
    pub(super) fn of(&self, key: &[u8], now_ms: u64) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let own = self.own.get(key).filter(|expires_ms| **expires_ms > now_ms).map(|_| (self.local, Vec::new()));
        let others = self.remote.get(key).into_iter().flatten().filter(|held| held.expires_ms > now_ms);
        own.into_iter().chain(others.map(|held| (held.provider, held.addrs.clone()))).collect()
    }

    fn keep(&mut self, record: KadRecord, now_ms: u64) -> Result<()> {
        if record.key.as_ref().len() > MAX_KEY {
            return Err(Error::ValueTooLarge);
        }
        let expires_ms = now_ms + TTL_MS;
        let mut value = expires_ms.to_be_bytes().to_vec();
        if record.provider == self.local {
            self.unsaved.note(Self::own_key(&record.key), Some(value));
            self.own.insert(record.key, expires_ms);
        } else {
            let addrs = record.addresses.iter().take(MAX_ADDRESSES).map(|address| address::split(address).0);
            let addrs: Vec<_> = addrs.collect();
            value.extend(wire::peer(record.provider, &addrs).encode_to_vec());
            self.unsaved.note(Self::remote_key(record.key.as_ref(), &record.provider), Some(value));
            self.hold(record.key, Held { provider: record.provider, addrs, expires_ms });
        }
        Ok(())
    }
}

impl RecordStore for Records {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::vec::IntoIter<Cow<'a, KadRecord>>;

    // Value records are not kept: nothing here can check them.
    fn get(&self, _: &Key) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &Key) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    fn add_provider(&mut self, record: KadRecord) -> Result<()> {
        self.keep(record, time::unix_ms())
    }

    fn providers(&self, key: &Key) -> Vec<KadRecord> {
        let of = self.of(key.as_ref(), time::unix_ms()).into_iter();
        of.map(|(provider, addrs)| KadRecord::new(key.clone(), provider, addrs)).collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        let own = self.own.keys().map(|key| Cow::Owned(KadRecord::new(key.clone(), self.local, Vec::new())));
        own.collect::<Vec<_>>().into_iter()
    }

    fn remove_provider(&mut self, key: &Key, provider: &PeerId) {
        if *provider != self.local {
            self.forget(key, provider);
        } else if self.own.remove(key).is_some() {
            self.unsaved.note(Self::own_key(key), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::MemoryDhtStore, *};

    fn record(key: &[u8], provider: PeerId) -> KadRecord {
        KadRecord::new(key.to_vec(), provider, vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()])
    }

    #[test]
    fn own_keys_have_no_limit_and_others_make_room_for_the_newest() {
        let local = PeerId::random();
        let mut records = Records::new(local, 10);
        for i in 0..3000u32 {
            records.keep(record(&i.to_be_bytes(), local), 1000).unwrap();
        }
        assert_eq!(records.provided().count(), 3000);
        for i in 0..30u32 {
            records.keep(record(&i.to_be_bytes(), PeerId::random()), 1000 + u64::from(i)).unwrap();
        }
        assert_eq!(records.order.len(), 10);
        assert_eq!(records.of(&29u32.to_be_bytes(), 2000).len(), 2);
        assert_eq!(records.of(&0u32.to_be_bytes(), 2000).len(), 1);
        for _ in 0..40 {
            records.keep(record(b"popular", PeerId::random()), 5000).unwrap();
        }
        assert!(records.order.len() <= 10 && records.of(b"popular", 6000).len() <= PER_KEY);
        assert!(records.put(Record::new(b"k".to_vec(), vec![])).is_err());
    }

    #[test]
    fn records_survive_a_restart_and_run_out() {
        let (local, other, store) = (PeerId::random(), PeerId::random(), MemoryDhtStore::default());
        let now = time::unix_ms();
        let mut records = Records::new(local, 100);
        records.keep(record(b"mine", local), now).unwrap();
        records.keep(record(b"theirs", other), now).unwrap();
        records.keep(record(b"gone", other), now).unwrap();
        records.remove_provider(&Key::new(b"gone"), &other);
        records.keep(record(b"old", other), now - TTL_MS).unwrap();
        store.write(records.unsaved.take()).unwrap();
        store.write(vec![(b"rubbish".to_vec(), Some(vec![1])), (b"r".to_vec(), Some(vec![255; 20]))]).unwrap();
        let mut back = Records::load(local, 100, &store);
        assert_eq!(back.of(b"mine", now), vec![(local, vec![])]);
        assert_eq!(back.of(b"theirs", now), records.of(b"theirs", now));
        assert!(back.of(b"gone", now).is_empty() && back.of(b"old", now).is_empty());
        store.write(back.unsaved.take()).unwrap();
        assert_eq!(store.load(None, 100).unwrap().len(), 2);
        back.sweep(now + TTL_MS);
        store.write(back.unsaved.take()).unwrap();
        assert!(store.load(None, 100).unwrap().is_empty());
    }
}
