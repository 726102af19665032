//! Sans-IO: which connection to a peer carries which class of streams.
//!
//! A connection belongs to no class until the first stream of a classed protocol is opened or accepted on it; both
//! sides see the same first stream and so agree. When both open one of different classes at the same moment, the
//! side that dialled wins: the other side follows the first stream it hears.

use std::collections::HashMap;

use super::Class;
use crate::base::PeerId;

/// One connection.
#[derive(Debug)]
struct Entry<K, C> {
    id: K,
    class: Option<Class>,
    dialled: bool,
    heard: bool,
    conn: C,
}

/// What to do to open a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pick<C> {
    /// Use this connection; it has the class asked for.
    Use(C),
    /// Dial another connection; when that fails, use this one.
    DialOr(C),
    /// There is no connection: dial.
    Dial,
}

/// All connections, by peer.
#[derive(Debug)]
pub(super) struct Table<K, C> {
    peers: HashMap<PeerId, Vec<Entry<K, C>>>,
}

impl<K, C> Default for Table<K, C> {
    fn default() -> Self {
        Table { peers: HashMap::new() }
    }
}

impl<K: Copy + Eq, C: Clone> Table<K, C> {
    /// Adds a connection; `dialled` says that this side opened it.
    pub(super) fn insert(&mut self, peer: PeerId, id: K, dialled: bool, conn: C) {
        self.peers.entry(peer).or_default().push(Entry { id, class: None, dialled, heard: false, conn });
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, peer: &PeerId, id: K) {
        if let Some(entries) = self.peers.get_mut(peer) {
            entries.retain(|entry| entry.id != id);
            if entries.is_empty() {
                self.peers.remove(peer);
            }
        }
    }

    /// A stream of `class` was accepted on the connection.
    pub(super) fn accepted(&mut self, peer: &PeerId, id: K, class: Class) {
        let Some(entry) = self.peers.get_mut(peer).and_then(|all| all.iter_mut().find(|entry| entry.id == id)) else {
            return;
        };
        if entry.class.is_none() || (!entry.dialled && !entry.heard) {
            entry.class = Some(class);
        }
        entry.heard = true;
    }

    /// Chooses the connection for a new stream of `class` and gives it that class; `None` takes any connection and
    /// changes nothing. Of several the youngest is taken: the older may be dead without knowing it yet.
    pub(super) fn pick(&mut self, peer: &PeerId, class: Option<Class>) -> Pick<C> {
        let Some(entries) = self.peers.get_mut(peer) else { return Pick::Dial };
        let Some(class) = class else {
            let rank = |entry: &Entry<K, C>| match entry.class {
                Some(Class::Bulk) => 2,
                None => 1,
                Some(Class::Control) => 0,
            };
            return entries.iter().max_by_key(|e| rank(e)).map_or(Pick::Dial, |entry| Pick::Use(entry.conn.clone()));
        };
        if let Some(entry) = entries.iter().rev().find(|entry| entry.class == Some(class)) {
            return Pick::Use(entry.conn.clone());
        }
        if let Some(entry) = entries.iter_mut().rev().find(|entry| entry.class.is_none()) {
            entry.class = Some(class);
            return Pick::Use(entry.conn.clone());
        }
        entries.last().map_or(Pick::Dial, |entry| Pick::DialOr(entry.conn.clone()))
    }

    /// The connections to a peer.
    pub(super) fn of(&self, peer: &PeerId) -> impl Iterator<Item = &C> {
        self.peers.get(peer).into_iter().flatten().map(|entry| &entry.conn)
    }

    /// All connections.
    pub(super) fn all(&self) -> impl Iterator<Item = &C> {
        self.peers.values().flatten().map(|entry| &entry.conn)
    }

    /// The classes of the connections to a peer, oldest first.
    pub(super) fn classes(&self, peer: &PeerId) -> Vec<Option<Class>> {
        self.peers.get(peer).into_iter().flatten().map(|entry| entry.class).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> PeerId {
        PeerId::random()
    }

    #[test]
    fn a_second_class_wants_a_second_connection() {
        let (mut table, p) = (Table::default(), peer());
        assert_eq!(table.pick(&p, Some(Class::Bulk)), Pick::Dial);
        table.insert(p, 1, true, 1);
        assert_eq!(table.pick(&p, Some(Class::Bulk)), Pick::Use(1));
        assert_eq!(table.pick(&p, Some(Class::Control)), Pick::DialOr(1));
        table.insert(p, 2, true, 2);
        assert_eq!(table.pick(&p, Some(Class::Control)), Pick::Use(2));
        assert_eq!(table.pick(&p, Some(Class::Bulk)), Pick::Use(1));
        table.remove(&p, 1);
        assert_eq!(table.pick(&p, Some(Class::Bulk)), Pick::DialOr(2));
        table.remove(&p, 2);
        assert_eq!(table.pick(&p, None), Pick::Dial);
    }

    #[test]
    fn a_stream_without_class_changes_nothing_and_avoids_control() {
        let (mut table, p) = (Table::default(), peer());
        table.insert(p, 1, true, 1);
        assert_eq!(table.pick(&p, None), Pick::Use(1));
        assert_eq!(table.classes(&p), vec![None]);
        table.accepted(&p, 1, Class::Control);
        table.insert(p, 2, false, 2);
        assert_eq!(table.pick(&p, None), Pick::Use(2));
    }

    #[test]
    fn both_sides_agree_when_they_open_different_classes_at_once() {
        let (mut dialler, mut listener, p) = (Table::default(), Table::default(), peer());
        dialler.insert(p, 1, true, 1);
        listener.insert(p, 1, false, 1);
        assert_eq!(dialler.pick(&p, Some(Class::Control)), Pick::Use(1));
        assert_eq!(listener.pick(&p, Some(Class::Bulk)), Pick::Use(1));
        dialler.accepted(&p, 1, Class::Bulk);
        listener.accepted(&p, 1, Class::Control);
        assert_eq!(dialler.classes(&p), listener.classes(&p));
        assert_eq!(dialler.classes(&p), vec![Some(Class::Control)]);
        // A later stream of the other class, sent over it for want of a second connection, changes nothing.
        listener.accepted(&p, 1, Class::Bulk);
        assert_eq!(listener.classes(&p), vec![Some(Class::Control)]);
    }
}
