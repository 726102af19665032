//! Sans-IO: one session of the fetching side: what it wants, who has proved useful, when to look for more peers.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use super::Limits;
use crate::base::{Cid, PeerId};

/// Peers remembered as asked, for the report.
const MAX_REPORTED: usize = 4096;
/// A partner that refused this often in a row is none any more.
const MAX_REFUSALS: u32 = 16;
/// Partners kept.
const MAX_PARTNERS: usize = 64;

/// What a session's search for its blocks came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Peers that were asked for anything.
    pub asked: usize,
    /// Those of them that said they do not have something.
    pub refused: usize,
    /// Providers that routing named.
    pub providers: usize,
    /// Routing searches begun.
    pub searches: u32,
}

#[derive(Debug)]
pub(super) struct Partner {
    pub(super) peer: PeerId,
    refusals: u32,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) root: Cid,
    /// Wanted, but asked of nobody.
    pub(super) queue: VecDeque<Cid>,
    pub(super) wants: HashSet<Cid>,
    pub(super) partners: Vec<Partner>,
    /// Connected peers that may be asked for presence, the best first.
    pub(super) breadth: usize,
    pub(super) next_probe: Option<Instant>,
    /// It is among those that wait for room.
    pub(super) hungry: bool,
    pub(super) searching: bool,
    pub(super) next_search: Option<Instant>,
    /// When refusals are forgotten and everybody is asked once more.
    pub(super) next_round: Option<Instant>,
    pub(super) rounds: u32,
    pub(super) searches: u32,
    pub(super) providers: usize,
    asked: HashSet<PeerId>,
    refused: HashSet<PeerId>,
    /// Moving average of the blocks' sizes, in bytes.
    size: f64,
    sized: bool,
    pub(super) bytes: u64,
    pub(super) duplicate_bytes: u64,
}

impl Session {
    pub(super) fn new(root: Cid, limits: &Limits) -> Self {
        Session {
            root,
            queue: VecDeque::new(),
            wants: HashSet::new(),
            partners: Vec::new(),
            breadth: limits.probe_first,
            next_probe: None,
            hungry: false,
            searching: false,
            next_search: None,
            next_round: None,
            rounds: 0,
            searches: 0,
            providers: 0,
            asked: HashSet::new(),
            refused: HashSet::new(),
            size: 262_144.0,
            sized: false,
            bytes: 0,
            duplicate_bytes: 0,
        }
    }

    /// What a block of it is expected to weigh, in bytes.
    pub(super) fn block_bytes(&self) -> usize {
        self.size as usize + 64
    }

    pub(super) fn got(&mut self, peer: PeerId, bytes: u32) {
        let sample = f64::from(bytes);
        self.size = if self.sized { self.size + 0.2 * (sample - self.size) } else { sample.max(4096.0) };
        self.sized = true;
        self.bytes += u64::from(bytes);
        self.add_partner(peer);
    }

    /// Counts `peer` among those that have what the session is about.
    pub(super) fn add_partner(&mut self, peer: PeerId) {
        match self.partners.iter_mut().find(|p| p.peer == peer) {
            Some(partner) => partner.refusals = 0,
            None => {
                if self.partners.len() >= MAX_PARTNERS {
                    self.partners.remove(0);
                }
                self.partners.push(Partner { peer, refusals: 0 });
            }
        }
    }

    pub(super) fn note_asked(&mut self, peer: PeerId) {
        if self.asked.len() < MAX_REPORTED {
            self.asked.insert(peer);
        }
    }

    pub(super) fn note_refused(&mut self, peer: PeerId) {
        if self.refused.len() < MAX_REPORTED {
            self.refused.insert(peer);
        }
        if let Some(at) = self.partners.iter().position(|p| p.peer == peer) {
            self.partners[at].refusals += 1;
            if self.partners[at].refusals >= MAX_REFUSALS {
                self.partners.remove(at);
            }
        }
    }

    pub(super) fn report(&self) -> Report {
        Report {
            asked: self.asked.len(),
            refused: self.refused.len(),
            providers: self.providers,
            searches: self.searches,
        }
    }

    /// The wait before the next search or round, doubling with their number.
    pub(super) fn wait(base: Duration, ceiling: Duration, done: u32) -> Duration {
        base.saturating_mul(1u32.checked_shl(done.saturating_sub(1)).unwrap_or(u32::MAX)).min(ceiling)
    }

    /// Duplicates are few enough to ask for some blocks twice.
    pub(super) fn may_hedge(&self) -> bool {
        self.duplicate_bytes * 5 <= self.bytes + 4 * 1024 * 1024
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if self.wants.is_empty() {
            return None;
        }
        [self.next_probe, self.next_search, self.next_round].into_iter().flatten().min()
    }
}
