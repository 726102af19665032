//! Sans-IO: who is asked for what: the block of one good peer, its presence of a few likely ones, a second peer for what
//! is late.

use std::time::Instant;

use super::{Action, Client, SessionId, Want, peer::Lateness, peer::Peer, session::Session};
use crate::{
    base::{Cid, PeerId},
    exchange::message::WantKind,
};

/// Queued wants looked at before giving up: one that cannot be placed must not hide those behind it.
const SCAN: usize = 64;
/// Peers with a score below this are asked only when there is no better one.
const POOR: f64 = 0.42;

/// What came of looking for a peer.
enum Pick {
    Peer(PeerId, u8),
    /// There are peers, the best of this class; their windows are full.
    Full(u8),
    Nobody,
}

/// The class of peers that give nothing: they are asked, but others are looked for at the same time.
const SILENT: u8 = 2;

/// How gladly a peer is asked; the lower the better.
fn class(peer: &Peer) -> u8 {
    match peer {
        p if p.lateness >= Lateness::Stalled || p.strikes > 0 => SILENT,
        p if p.score < POOR => 1,
        _ => 0,
    }
}

impl Client {
    /// Asks for as many of the session's queued blocks as its peers' windows allow, and looks for peers for the rest.
    pub(super) fn schedule(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let mut queue = std::mem::take(&mut session.queue);
        let bytes = session.block_bytes();
        let mut kept = Vec::new();
        let mut stuck = Vec::new();
        let mut full = false;
        while kept.len() < SCAN
            && let Some(cid) = queue.pop_front()
        {
            let Some(session) = self.sessions.get(&id) else { break };
            let Some(want) = self.wants.get(&cid) else { continue };
            if !session.wants.contains(&cid) || !want.asks.is_empty() {
                continue;
            }
            match self.pick(want, session, bytes, u8::MAX) {
                Pick::Peer(peer, class) => {
                    self.ask(peer, cid, bytes, now);
                    if class >= SILENT {
                        stuck.push(cid);
                    }
                }
                Pick::Full(class) => {
                    full = true;
                    if class >= SILENT {
                        stuck.push(cid);
                    }
                    kept.push(cid);
                    // Without refusals every want behind it sees the same full windows.
                    if self.wants.get(&cid).is_some_and(|w| w.refused.is_empty() && w.missed.is_empty()) {
                        break;
                    }
                }
                Pick::Nobody => {
                    kept.push(cid);
                    stuck.push(cid);
                }
            }
        }
        for cid in kept.into_iter().rev() {
            queue.push_front(cid);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.queue = queue;
            if full && !std::mem::replace(&mut session.hungry, true) {
                self.hungry.push_back(id);
            }
        }
        self.look_for_peers(id, &stuck, now);
    }

    /// The best peer to ask for a want, of those no worse than `worst`.
    fn pick(&self, want: &Want, session: &Session, bytes: usize, worst: u8) -> Pick {
        let shared = want.sessions.iter().filter_map(|s| self.sessions.get(s)).flat_map(|s| &s.partners);
        let partners = if want.sessions.len() > 1 { None } else { Some(&session.partners) };
        let candidates = want
            .have
            .iter()
            .copied()
            .chain(partners.into_iter().flatten().map(|p| p.peer))
            .chain(partners.is_none().then_some(shared).into_iter().flatten().map(|p| p.peer));
        let mut best: Option<(u8, f64, PeerId)> = None;
        let mut best_full = u8::MAX;
        for id in candidates {
            let Some(peer) = self.peers.get(&id) else { continue };
            if !peer.reachable() || want.refused.contains(&id) || want.asks.contains(&id) {
                continue;
            }
            let class = if want.missed.contains(&id) { SILENT } else { class(peer) };
            if class > worst {
                continue;
            }
            if !peer.has_room(bytes, &self.limits) {
                best_full = best_full.min(class);
                continue;
            }
            // One that said HAVE is surer than one that has had its neighbours.
            let doubt = if want.have.contains(&id) { 1.0 } else { 1.25 };
            let eta = peer.eta(bytes) * doubt;
            if best.is_none_or(|(c, e, _)| (class, eta) < (c, e)) {
                best = Some((class, eta, id));
            }
        }
        match best {
            // A better one is busy with our own wants: waiting for it beats asking a bad one.
            Some((class, _, _)) if best_full < class => Pick::Full(best_full),
            Some((class, _, peer)) => Pick::Peer(peer, class),
            None if best_full < u8::MAX => Pick::Full(best_full),
            None => Pick::Nobody,
        }
    }

    fn ask(&mut self, peer_id: PeerId, cid: Cid, bytes: usize, now: Instant) {
        let Some(want) = self.wants.get_mut(&cid) else { return };
        let promised = want.have.contains(&peer_id);
        let missed = want.missed.contains(&peer_id);
        want.asks.push(peer_id);
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        // Telling again what is on its list makes it send what is already on its way once more.
        let quiet = peer.strikes == 0 && !missed && peer.lists_block(&cid);
        peer.ask(cid, bytes, promised, quiet, now);
        if quiet {
            return;
        }
        want.missed.retain(|p| *p != peer_id);
        self.tell(peer_id, cid, WantKind::Block);
    }

    /// Asks a second peer for the `n` oldest blocks that `late` owes.
    pub(super) fn hedge(&mut self, late: &PeerId, n: usize, now: Instant) {
        let Some(peer) = self.peers.get(late) else { return };
        for cid in peer.oldest_asks(n) {
            let Some(want) = self.wants.get(&cid) else { continue };
            if want.asks.len() != 1 {
                continue;
            }
            let Some(session) = want.sessions.first().and_then(|s| self.sessions.get(s)) else { continue };
            if !session.may_hedge() {
                continue;
            }
            let bytes = session.block_bytes();
            if let Pick::Peer(second, _) = self.pick(want, session, bytes, 1) {
                self.hedges += 1;
                self.ask(second, cid, bytes, now);
            }
        }
    }

    /// Nobody known can be asked for `stuck`: asks more peers whether they have it, and routing when even that is over.
    pub(super) fn look_for_peers(&mut self, id: SessionId, stuck: &[Cid], now: Instant) {
        let limits = self.limits;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if stuck.is_empty() {
            // Whoever is useful now is asked anew from the best when it ends.
            (session.next_probe, session.next_search, session.next_round) = (None, None, None);
            session.breadth = limits.probe_first;
            session.rounds = 0;
            return;
        }
        let reachable = self.peers.values().filter(|p| p.reachable()).count();
        if session.next_probe.is_none() && session.breadth < reachable {
            session.next_probe = Some(now + limits.probe_wait);
        }
        if session.next_search.is_none() && !session.searching {
            let wait = Session::wait(limits.search_base, limits.search_ceiling, session.searches);
            session.next_search = Some(now + wait);
        }
        if session.next_round.is_none() {
            let wait = Session::wait(limits.round_base, limits.round_ceiling, session.rounds + 1);
            session.next_round = Some(now + wait);
        }
        let breadth = session.breadth;
        let mut likely: Vec<(PeerId, f64)> =
            self.peers.iter().filter(|(_, p)| p.reachable()).map(|(id, p)| (*id, p.score)).collect();
        likely.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        for cid in stuck.iter().take(limits.probe_blocks) {
            for (peer, _) in likely.iter().take(breadth) {
                let fresh = self.wants.get(cid).is_some_and(|w| !w.told.contains(peer) && !w.refused.contains(peer));
                if fresh {
                    self.tell(*peer, *cid, WantKind::Have);
                }
            }
        }
    }

    /// Does what is due for the session: asks more peers, searches again, forgets refusals.
    pub(super) fn tick_session(&mut self, id: SessionId, now: Instant) {
        let limits = self.limits;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.wants.is_empty() {
            (session.next_probe, session.next_search, session.next_round) = (None, None, None);
            return;
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let mut again = false;
        if due(session.next_probe) {
            session.next_probe = None;
            session.breadth += limits.probe_step;
            again = true;
        }
        if due(session.next_round) {
            session.next_round = None;
            session.rounds += 1;
            let queued: Vec<Cid> = session.queue.iter().copied().collect();
            for cid in queued {
                let Some(want) = self.wants.get_mut(&cid) else { continue };
                // It is still on their lists, but a list may have been cut or the answer lost.
                let refused = std::mem::take(&mut want.refused);
                want.told.retain(|p| !refused.contains(p));
            }
            again = true;
        }
        if let Some(session) = self.sessions.get_mut(&id)
            && due(session.next_search)
        {
            session.next_search = None;
            session.searching = true;
            session.searches += 1;
            // The root's providers first; then those of what is missing, which may lie elsewhere.
            let missing = session.queue.front().copied().unwrap_or(session.root);
            let cid = if session.searches.is_multiple_of(2) { missing } else { session.root };
            self.actions.push_back(Action::Search { session: id, cid });
        }
        if again {
            self.schedule(id, now);
        }
    }
}
