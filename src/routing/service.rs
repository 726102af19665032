//! The routing service: one handle over reputation, searches, hints and announcements.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::{Deed, Score};
use crate::base::{Cid, Multiaddr, PeerId};

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
#[allow(unused)]
pub struct Routing;

#[allow(unused, missing_docs)]
impl Routing {
    pub fn find(&self, cid: &Cid) -> mpsc::Receiver<Candidate> {
        todo!()
    }
    pub fn hint(&self, cid: &Cid, peer: PeerId, addrs: Vec<Multiaddr>) {
        todo!()
    }
    pub fn note(&self, peer: PeerId, deed: Deed) {
        todo!()
    }
    pub fn score(&self, peer: &PeerId) -> Score {
        todo!()
    }
    pub fn rank(&self, peers: &mut Vec<PeerId>) {
        todo!()
    }
    pub fn usable(&self, peer: &PeerId) -> bool {
        todo!()
    }
    pub fn scores(&self) -> Vec<(PeerId, Score)> {
        todo!()
    }
    /// Queues the announcement that this node provides `cid`; waits only while the queue is full.
    pub async fn provide(&self, cid: &Cid) {
        todo!()
    }
    /// The roots announced after a start and every twelve hours.
    pub fn set_roots(&self, pages: RootPages) {
        todo!()
    }
}
