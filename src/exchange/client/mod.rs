//! Sans-IO: the fetching side: sessions, whom to ask for what, when to move on, when to ask a second one.
//!
//! Calls tell the core what happened; [`Client::take_actions`] says what to do about it, [`Client::drain`] what to write
//! to a peer. Wants are shared: several sessions that want the same block ask for it once.

mod limits;
mod peer;
mod pick;
mod session;
#[cfg(test)]
mod tests;
mod timing;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Instant,
};

use smallvec::SmallVec;

use self::peer::Peer;
use self::session::Session;
use super::message::{Entry, WantKind};
use crate::{
    base::{Cid, Codec, PeerId},
    routing::Deed,
};

pub use self::{limits::Limits, session::Report};

/// Names a session.
pub type SessionId = u64;

/// Something the caller has to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Search providers of `cid` for the session, then call [`Client::search_done`].
    Search {
        /// Who needs them.
        session: SessionId,
        /// What they should have.
        cid: Cid,
    },
    /// Tell reputation.
    Note(PeerId, Deed),
    /// Something waits to be written to this peer ([`Client::drain`]).
    Wake(PeerId),
}

/// What a block that arrived is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Wanted, under this CID.
    Wanted(Cid),
    /// Asked of this peer once, but here already or no longer wanted.
    Late,
    /// Never asked of this peer: to be dropped; it has been charged.
    Unasked,
}

/// A wanted block.
#[derive(Debug)]
struct Want {
    sessions: SmallVec<[SessionId; 1]>,
    priority: i32,
    /// Peers asked for the block whose answer is awaited.
    asks: SmallVec<[PeerId; 2]>,
    /// Peers that have it on their wantlist.
    told: SmallVec<[PeerId; 4]>,
    have: SmallVec<[PeerId; 2]>,
    refused: SmallVec<[PeerId; 4]>,
    /// Peers that were asked and sent other things instead.
    missed: SmallVec<[PeerId; 2]>,
}

/// The fetching side's state.
#[derive(Debug)]
pub struct Client {
    limits: Limits,
    sessions: HashMap<SessionId, Session>,
    wants: HashMap<Cid, Want>,
    peers: HashMap<PeerId, Peer>,
    actions: VecDeque<Action>,
    next_session: SessionId,
    next_priority: i32,
    hedges: u64,
    /// Sessions that wait for room in their peers' windows, the longest waiting first.
    hungry: VecDeque<SessionId>,
}

impl Client {
    /// A client that wants nothing and knows nobody.
    pub fn new(limits: Limits) -> Self {
        Client {
            limits,
            sessions: HashMap::new(),
            wants: HashMap::new(),
            peers: HashMap::new(),
            actions: VecDeque::new(),
            next_session: 1,
            next_priority: i32::MAX,
            hedges: 0,
            hungry: VecDeque::new(),
        }
    }

    /// Blocks wanted now.
    pub fn wants(&self) -> usize {
        self.wants.len()
    }

    /// Blocks asked of a second peer because the first was late, since the start.
    pub fn hedges(&self) -> u64 {
        self.hedges
    }

    /// What is to be done since the last call.
    pub fn take_actions(&mut self) -> Vec<Action> {
        self.actions.drain(..).collect()
    }

    /// Begins a session about `root`.
    pub fn open(&mut self, root: Cid) -> SessionId {
        let id = self.next_session;
        self.next_session += 1;
        self.sessions.insert(id, Session::new(root, &self.limits));
        id
    }

    /// Ends a session and takes back what only it wanted.
    pub fn close(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let wants: Vec<Cid> = session.wants.iter().copied().collect();
        for cid in wants {
            self.unwant(id, &cid);
        }
        self.sessions.remove(&id);
        self.hungry.retain(|s| *s != id);
    }

    /// What the session's search came to so far.
    pub fn report(&self, id: SessionId) -> Report {
        self.sessions.get(&id).map(Session::report).unwrap_or_default()
    }

    /// Whether the session wants anything now.
    pub fn is_waiting(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|s| !s.wants.is_empty())
    }

    /// What a block of the session is expected to weigh, in bytes.
    pub fn block_bytes(&self, id: SessionId) -> usize {
        self.sessions.get(&id).map_or(262_144, Session::block_bytes)
    }

    /// The session wants a block. False when too much is wanted already.
    pub fn want(&mut self, id: SessionId, cid: Cid, now: Instant) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if !session.wants.contains(&cid) {
            if !self.wants.contains_key(&cid) && self.wants.len() >= self.limits.wants {
                return false;
            }
            session.wants.insert(cid);
            session.queue.push_back(cid);
            let priority = &mut self.next_priority;
            let want = self.wants.entry(cid).or_insert_with(|| {
                *priority = if *priority <= 1 { i32::MAX } else { *priority - 1 };
                Want {
                    sessions: SmallVec::new(),
                    priority: *priority,
                    asks: SmallVec::new(),
                    told: SmallVec::new(),
                    have: SmallVec::new(),
                    refused: SmallVec::new(),
                    missed: SmallVec::new(),
                }
            });
            want.sessions.push(id);
            // Whoever said HAVE to another session is worth knowing here too.
            for peer in want.have.iter().chain(&want.asks) {
                session.add_partner(*peer);
            }
        }
        self.start_search(id);
        self.schedule(id, now);
        true
    }

    fn start_search(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.searches == 0 {
            session.searches = 1;
            session.searching = true;
            self.actions.push_back(Action::Search { session: id, cid: session.root });
        }
    }

    /// The session no longer wants a block.
    pub fn unwant(&mut self, id: SessionId, cid: &Cid) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !session.wants.remove(cid) {
            return;
        }
        let Some(want) = self.wants.get_mut(cid) else { return };
        want.sessions.retain(|s| *s != id);
        if want.sessions.is_empty()
            && let Some(want) = self.wants.remove(cid)
        {
            self.withdraw(cid, &want, None);
        }
    }

    /// The block is here by other ways: nobody is asked for it any more.
    pub fn came(&mut self, cid: &Cid, now: Instant) {
        let Some(want) = self.wants.remove(cid) else { return };
        self.withdraw(cid, &want, None);
        self.feed(now);
        for id in &want.sessions {
            if let Some(session) = self.sessions.get_mut(id) {
                session.wants.remove(cid);
            }
            self.schedule(*id, now);
        }
    }

    /// There may be room in the peers' windows: sessions that wait for it have their turn.
    fn feed(&mut self, now: Instant) {
        for _ in 0..self.hungry.len() {
            let Some(id) = self.hungry.pop_front() else { return };
            if let Some(session) = self.sessions.get_mut(&id) {
                session.hungry = false;
                self.schedule(id, now);
            }
        }
    }

    /// Bytes of a message are coming from a peer.
    pub fn heard(&mut self, id: &PeerId, at: Instant) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.heard(at);
        }
    }

    /// Whether the peer counts as connected here.
    pub fn knows(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_some_and(|p| p.connected)
    }

    /// Takes a want back from everybody but `except`.
    fn withdraw(&mut self, cid: &Cid, want: &Want, except: Option<&PeerId>) {
        for peer_id in want.told.iter().filter(|p| Some(*p) != except) {
            let Some(peer) = self.peers.get_mut(peer_id) else { continue };
            peer.unask(cid);
            if peer.cancel(cid) {
                self.actions.push_back(Action::Wake(*peer_id));
            }
        }
    }

    /// A peer is connected; `score` in [0, 1] and whether it may be asked come from reputation.
    pub fn connected(&mut self, id: PeerId, score: f64, usable: bool, now: Instant) {
        if self.peers.len() >= self.limits.peers {
            self.peers.retain(|_, p| p.connected);
        }
        let limits = self.limits;
        let peer = self.peers.entry(id).or_insert_with(|| Peer::new(&limits));
        peer.connected = true;
        peer.unsupported = false;
        (peer.score, peer.usable) = (score, usable);
        // Whoever is still looking asks the newcomer at once.
        let stuck: Vec<SessionId> =
            self.sessions.iter().filter(|(_, s)| !s.queue.is_empty()).map(|(id, _)| *id).collect();
        for session in stuck {
            self.schedule(session, now);
        }
    }

    /// Reputation changed.
    pub fn rate(&mut self, id: &PeerId, score: f64, usable: bool) {
        if let Some(peer) = self.peers.get_mut(id) {
            (peer.score, peer.usable) = (score, usable);
        }
    }

    /// The last connection to a peer is gone: what it owed goes to others.
    pub fn disconnected(&mut self, id: &PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.connected = false;
        let owed: Vec<Cid> = peer.asks.keys().copied().collect();
        let told = peer.reset();
        if !peer.owes_anything() {
            self.peers.remove(id);
        }
        for cid in &told {
            if let Some(want) = self.wants.get_mut(cid) {
                want.told.retain(|p| p != id);
                want.have.retain(|p| p != id);
            }
        }
        self.requeue(id, &owed, now);
    }

    /// A connected peer does not speak the protocol.
    pub fn unsupported(&mut self, id: &PeerId, now: Instant) {
        self.disconnected(id, now);
        let limits = self.limits;
        let peer = self.peers.entry(*id).or_insert_with(|| Peer::new(&limits));
        peer.connected = true;
        peer.unsupported = true;
    }

    /// The stream for wants broke while the peer stays connected: everything is told again on the next one.
    pub fn stream_lost(&mut self, id: &PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.resend = true;
            if peer.is_busy() && !std::mem::replace(&mut peer.woken, true) {
                self.actions.push_back(Action::Wake(*id));
            }
        }
    }

    /// The next entries to write to a peer, at most `max`, and whether they are the whole wantlist.
    pub fn drain(&mut self, id: &PeerId, max: usize) -> Option<(Vec<Entry>, bool)> {
        self.peers.get_mut(id)?.drain(max)
    }

    /// Whether a peer's wantlist is empty, so that its stream may be closed.
    pub fn is_idle(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_none_or(|p| !p.is_busy())
    }

    /// Routing named a peer that may have the session's blocks, and it is connected: it is asked for them directly.
    pub fn provider(&mut self, id: SessionId, peer: PeerId, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.add_partner(peer);
        self.schedule(id, now);
    }

    /// Routing named one more provider for the session, connected or not.
    pub fn named(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.providers += 1;
        }
    }

    /// The session's search has ended.
    pub fn search_done(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.searching = false;
        session.next_search = None;
        self.schedule(id, now);
    }

    /// A peer says that it has a block, or has it not.
    pub fn presence(&mut self, peer_id: PeerId, cid: &Cid, have: bool, now: Instant) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        let Some(want) = self.wants.get_mut(cid) else { return };
        if !want.told.contains(&peer_id) {
            return;
        }
        if have {
            if !want.have.contains(&peer_id) {
                want.have.push(peer_id);
            }
            want.refused.retain(|p| *p != peer_id);
            want.missed.retain(|p| *p != peer_id);
            let (sessions, asks) = (want.sessions.clone(), want.asks.clone());
            for id in sessions {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.add_partner(peer_id);
                }
                self.schedule(id, now);
            }
            for asked in asks {
                if self.peers.get(&asked).is_some_and(|p| p.strikes > 0) {
                    self.hedge(&asked, usize::MAX, now);
                }
            }
            return;
        }
        if !want.refused.contains(&peer_id) {
            want.refused.push(peer_id);
        }
        let said_have = want.have.contains(&peer_id);
        want.have.retain(|p| *p != peer_id);
        let sessions = want.sessions.clone();
        let ask = peer.unask(cid);
        if let Some(ask) = ask {
            peer.progress(&[ask], 0, now, &self.limits);
        }
        let deed =
            if said_have && ask.is_some_and(|a| a.promised) { Deed::HaveWithoutDelivery } else { Deed::DontHave };
        self.actions.push_back(Action::Note(peer_id, deed));
        for id in &sessions {
            if let Some(session) = self.sessions.get_mut(id) {
                session.note_refused(peer_id);
            }
        }
        if ask.is_some() {
            self.requeue(&peer_id, &[*cid], now);
        } else {
            for id in sessions {
                self.schedule(id, now);
            }
        }
    }

    /// Puts blocks that `peer` was asked for back to where another can be asked.
    fn requeue(&mut self, peer: &PeerId, cids: &[Cid], now: Instant) {
        let mut touched: HashSet<SessionId> = HashSet::new();
        // Backwards, so that the oldest ends up first.
        for cid in cids.iter().rev() {
            let Some(want) = self.wants.get_mut(cid) else { continue };
            want.asks.retain(|p| p != peer);
            if want.asks.is_empty() {
                for id in &want.sessions {
                    if let Some(session) = self.sessions.get_mut(id) {
                        session.queue.push_front(*cid);
                        touched.insert(*id);
                    }
                }
            }
        }
        self.feed(now);
        for id in touched {
            self.schedule(id, now);
        }
    }

    /// Whether a peer owes anything: bytes from others need not even be hashed.
    pub fn owes_anything(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_some_and(Peer::owes_anything)
    }

    /// Judges a block that arrived from a peer; its CID was computed from its bytes.
    pub fn inspect(&mut self, peer_id: PeerId, cid: &Cid, bytes: usize, now: Instant) -> Verdict {
        let asked = self.peers.get_mut(&peer_id).is_some_and(|p| p.was_asked(cid));
        if !asked {
            self.charge(peer_id, bytes as u64, now);
            return Verdict::Unasked;
        }
        match self.wanted_as(cid) {
            Some(wanted) => Verdict::Wanted(wanted),
            None => Verdict::Late,
        }
    }

    /// Charges a peer for bytes nobody asked it for. What it owes is asked of others too: it may be lying.
    pub fn charge(&mut self, peer_id: PeerId, bytes: u64, now: Instant) {
        self.actions.push_back(Action::Note(peer_id, Deed::Unasked { bytes }));
        if self.peers.get(&peer_id).is_some_and(|p| !p.asks.is_empty()) {
            self.hedge(&peer_id, usize::MAX, now);
        }
    }

    /// The CID under which the bytes of `cid` are wanted: itself, or another that names the same bytes.
    fn wanted_as(&self, cid: &Cid) -> Option<Cid> {
        if self.wants.contains_key(cid) {
            return Some(*cid);
        }
        let hash = *cid.hash();
        let v1 = [Codec::Raw, Codec::DagPb, Codec::DagCbor].map(|c| Cid::new_v1(c.code(), hash));
        v1.into_iter().chain(Cid::new_v0(hash).ok()).find(|c| self.wants.contains_key(c))
    }

    /// Wanted blocks from `peer_id` (CID as wanted, size) are stored; they had arrived `at`. True for each that somebody
    /// still waited for.
    pub fn arrived(&mut self, peer_id: PeerId, blocks: &[(Cid, u32)], at: Instant, now: Instant) -> Vec<bool> {
        let mut answered: SmallVec<[peer::Ask; 8]> = SmallVec::new();
        let mut bytes = 0;
        let mut touched: HashSet<SessionId> = HashSet::new();
        let mut fresh = Vec::with_capacity(blocks.len());
        for (cid, size) in blocks {
            if let Some(peer) = self.peers.get_mut(&peer_id) {
                peer.served(cid);
                answered.extend(peer.unask(cid));
            }
            let Some(want) = self.wants.remove(cid) else {
                fresh.push(false);
                continue;
            };
            fresh.push(true);
            bytes += u64::from(*size);
            self.blame(&want, &peer_id, cid);
            self.withdraw(cid, &want, Some(&peer_id));
            for id in &want.sessions {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.wants.remove(cid);
                    session.got(peer_id, *size);
                    touched.insert(*id);
                }
            }
        }
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            let mut service = peer.progress(&answered, bytes, at, &self.limits);
            if answered.is_empty() {
                // It had been given up; what it brings now counts, but not as fast.
                service = self.limits.timeout_floor;
            }
            if bytes > 0 {
                let deed = Deed::Delivered { bytes, first_byte: service, whole: service };
                self.actions.push_back(Action::Note(peer_id, deed));
            }
        }
        self.feed(now);
        for id in touched {
            self.schedule(id, now);
        }
        fresh
    }

    /// Another had to deliver what these owed.
    fn blame(&mut self, want: &Want, deliverer: &PeerId, cid: &Cid) {
        for id in want.asks.iter().filter(|p| *p != deliverer) {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            if peer.take_blame() {
                let promised = peer.asks.get(cid).is_some_and(|a| a.promised);
                let deed = if promised { Deed::HaveWithoutDelivery } else { Deed::Timeout };
                self.actions.push_back(Action::Note(*id, deed));
            }
        }
    }

    /// A late block came as a duplicate from `peer_id`; sessions that use it hedge less.
    pub fn duplicate(&mut self, peer_id: &PeerId, bytes: usize, at: Instant) {
        if let Some(peer) = self.peers.get_mut(peer_id) {
            peer.progress(&[], bytes as u64, at, &self.limits);
        }
        for session in self.sessions.values_mut().filter(|s| s.partners.iter().any(|p| p.peer == *peer_id)) {
            session.duplicate_bytes += bytes as u64;
        }
    }

    fn tell(&mut self, peer_id: PeerId, cid: Cid, kind: WantKind) {
        let Some(want) = self.wants.get_mut(&cid) else { return };
        if !want.told.contains(&peer_id) {
            want.told.push(peer_id);
        }
        for id in &want.sessions {
            if let Some(session) = self.sessions.get_mut(id) {
                session.note_asked(peer_id);
            }
        }
        let entry = Entry { cid, priority: want.priority, kind, cancel: false, send_dont_have: true };
        if self.peers.get_mut(&peer_id).is_some_and(|p| p.tell(entry)) {
            self.actions.push_back(Action::Wake(peer_id));
        }
    }
}
