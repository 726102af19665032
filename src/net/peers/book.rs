//! Where peers are: a bounded book of addresses, and which of them may be dialled.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;

use super::super::address;
use crate::base::{Multiaddr, PeerId};

/// After so many failures in a row an address of a stranger is forgotten.
const FORGET_AFTER: u32 = 3;

/// Who gave an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Trust {
    /// The operator or the cluster: may always be dialled.
    Given,
    /// The peer itself or another one: the profile's rule holds.
    Learnt,
}

#[derive(Clone, Debug)]
struct Entry {
    address: Multiaddr,
    trust: Trust,
    failures: u32,
}

#[derive(Debug)]
struct Inner {
    peers: LruCache<PeerId, Vec<Entry>>,
    given: LruCache<Multiaddr, ()>,
    own: Vec<Multiaddr>,
}

/// The address book. All calls are short.
#[derive(Debug)]
pub(in super::super) struct Book {
    inner: Mutex<Inner>,
    local: PeerId,
    local_only: bool,
    per_peer: usize,
}

impl Book {
    pub(in super::super) fn new(local: PeerId, local_only: bool, peers: usize, per_peer: usize) -> Self {
        let peers = NonZeroUsize::new(peers).unwrap_or(NonZeroUsize::MIN);
        let inner = Inner { peers: LruCache::new(peers), given: LruCache::new(peers), own: Vec::new() };
        Book { inner: Mutex::new(inner), local, local_only, per_peer: per_peer.max(1) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where this node listens itself: another node's loopback address may well be the same, and dialling it would
    /// only lead back here.
    pub(in super::super) fn set_own(&self, own: Vec<Multiaddr>) {
        self.inner().own = own;
    }

    /// Whether this node listens there itself.
    pub(in super::super) fn is_own(&self, address: &Multiaddr) -> bool {
        self.inner().own.contains(&address::split(address).0)
    }

    /// Whether the profile lets this node dial the address.
    pub(in super::super) fn may_dial(&self, address: &Multiaddr) -> bool {
        if !self.local_only || address::is_local_or_named(address) {
            return true;
        }
        self.inner().given.contains(&address::split(address).0)
    }

    /// Lets this node dial an address whose peer is not known yet.
    pub(in super::super) fn give(&self, address: &Multiaddr) {
        self.inner().given.put(address::split(address).0, ());
    }

    /// Remembers addresses.
    pub(in super::super) fn learn(&self, peer: PeerId, addrs: &[Multiaddr], trust: Trust) {
        if peer == self.local {
            return;
        }
        for address in addrs.iter().take(self.per_peer * 2) {
            let (address, named) = address::split(address);
            if named.is_some_and(|named| named != peer) || !address::is_supported(&address) {
                continue;
            }
            if trust == Trust::Given {
                self.give(&address);
            } else if !self.may_dial(&address) {
                continue;
            }
            let mut inner = self.inner();
            let entries = inner.peers.get_or_insert_mut(peer, Vec::new);
            match entries.iter_mut().find(|entry| entry.address == address) {
                Some(entry) if trust == Trust::Given => {
                    entry.trust = trust;
                    entry.failures = 0;
                }
                Some(_) => {}
                None => entries.push(Entry { address, trust, failures: 0 }),
            }
            if entries.len() > self.per_peer {
                let worst = entries.iter().enumerate().max_by_key(|(_, e)| (e.trust == Trust::Learnt, e.failures));
                if let Some((at, _)) = worst {
                    entries.remove(at);
                }
            }
        }
    }

    /// The peer itself says where it listens: what strangers said before is forgotten.
    pub(in super::super) fn identified(&self, peer: PeerId, addrs: &[Multiaddr]) {
        if let Some(entries) = self.inner().peers.get_mut(&peer) {
            entries.retain(|entry| entry.trust == Trust::Given || addrs.contains(&entry.address));
        }
        self.learn(peer, addrs, Trust::Learnt);
    }

    /// The address has led to the peer.
    pub(in super::super) fn succeeded(&self, peer: PeerId, address: &Multiaddr) {
        let (address, _) = address::split(address);
        self.learn(peer, std::slice::from_ref(&address), Trust::Learnt);
        if let Some(entries) = self.inner().peers.get_mut(&peer)
            && let Some(at) = entries.iter().position(|entry| entry.address == address)
        {
            entries[at].failures = 0;
            entries[..=at].rotate_right(1);
        }
    }

    /// Dialling the address has failed.
    pub(in super::super) fn failed(&self, peer: PeerId, address: &Multiaddr) {
        let (address, _) = address::split(address);
        if let Some(entries) = self.inner().peers.get_mut(&peer) {
            for entry in entries.iter_mut().filter(|entry| entry.address == address) {
                entry.failures = entry.failures.saturating_add(1);
            }
            entries.retain(|entry| entry.trust == Trust::Given || entry.failures < FORGET_AFTER);
        }
    }

    /// Somebody else lives at the address.
    pub(in super::super) fn forget(&self, peer: PeerId, address: &Multiaddr) {
        let (address, _) = address::split(address);
        if let Some(entries) = self.inner().peers.get_mut(&peer) {
            entries.retain(|entry| entry.address != address);
        }
    }

    /// The addresses of a peer, the best first.
    pub(in super::super) fn addresses_of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let mut inner = self.inner();
        let mut entries = inner.peers.get(peer).cloned().unwrap_or_default();
        entries.sort_by_key(|entry| entry.failures);
        entries.into_iter().map(|entry| entry.address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn strangers_cannot_make_a_local_node_dial_public_addresses() {
        let (book, peer) = (Book::new(PeerId::random(), true, 10, 4), PeerId::random());
        let (public, private) = (at("/ip4/8.8.8.8/tcp/1"), at("/ip4/10.0.0.1/tcp/1"));
        book.learn(peer, &[public.clone(), private.clone()], Trust::Learnt);
        assert_eq!(book.addresses_of(&peer), vec![private.clone()]);
        assert!(!book.may_dial(&public));
        book.learn(peer, std::slice::from_ref(&public), Trust::Given);
        assert!(book.may_dial(&public.clone().with_p2p(peer).unwrap()));
        assert_eq!(book.addresses_of(&peer), vec![private, public]);
    }

    #[test]
    fn the_peers_own_word_replaces_hearsay_and_failures_sink() {
        let (book, peer) = (Book::new(PeerId::random(), true, 10, 4), PeerId::random());
        let ports: Vec<_> = (1..=3).map(|port| at(&format!("/ip4/127.0.0.1/tcp/{port}"))).collect();
        book.learn(peer, &ports[..1], Trust::Learnt);
        book.identified(peer, &ports[1..]);
        assert_eq!(book.addresses_of(&peer), ports[1..]);
        book.failed(peer, &ports[1]);
        assert_eq!(book.addresses_of(&peer), vec![ports[2].clone(), ports[1].clone()]);
        book.succeeded(peer, &ports[1]);
        assert_eq!(book.addresses_of(&peer), ports[1..]);
        for _ in 0..FORGET_AFTER {
            book.failed(peer, &ports[2]);
        }
        assert_eq!(book.addresses_of(&peer), ports[1..2]);
    }

    #[test]
    fn the_book_is_bounded() {
        let book = Book::new(PeerId::random(), true, 2, 2);
        let peers: Vec<_> = (0..3).map(|_| PeerId::random()).collect();
        for peer in &peers {
            for port in 1..10 {
                book.learn(*peer, &[at(&format!("/ip4/127.0.0.1/tcp/{port}"))], Trust::Learnt);
            }
            assert!(book.addresses_of(peer).len() <= 2);
        }
        assert!(book.addresses_of(&peers[0]).is_empty());
        let other = at("/ip4/127.0.0.1/tcp/1").with_p2p(peers[1]).unwrap();
        book.forget(peers[2], &at("/ip4/127.0.0.1/tcp/1"));
        let before = book.addresses_of(&peers[2]);
        book.learn(peers[2], &[other], Trust::Learnt);
        assert_eq!(book.addresses_of(&peers[2]), before);
    }
}
