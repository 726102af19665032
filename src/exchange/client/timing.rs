//! Sans-IO: what happens when time passes: late peers are hedged, silent ones given up, sessions look around again.

use std::time::Instant;

use super::{Action, Client, SessionId, peer::Lateness};
use crate::{
    base::{Cid, PeerId},
    routing::Deed,
};

/// Blocks asked of a second peer when the first is merely late.
const FIRST_HEDGE: usize = 4;

impl Client {
    /// When [`Client::tick`] has to be called next; `None` when nothing waits for time to pass.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let limits = self.limits;
        let peers = self.peers.values_mut().filter(|p| !p.asks.is_empty()).filter_map(|p| {
            let owing = p.owing_since()?;
            let step = match p.lateness {
                Lateness::InTime => Some(Lateness::Late),
                Lateness::Late => Some(Lateness::Stalled),
                Lateness::Stalled => Some(Lateness::TimedOut),
                Lateness::TimedOut => None,
            };
            let step = step.map(|step| p.silent_since(step, owing, &limits) + p.late_after(step, &limits));
            let age = p.too_old_at(&limits);
            step.into_iter().chain(age).min()
        });
        let peers = peers.min();
        let sessions = self.sessions.values().filter_map(|s| s.next_deadline()).min();
        peers.into_iter().chain(sessions).min()
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Instant) {
        let busy: Vec<PeerId> = self.peers.iter().filter(|(_, p)| !p.asks.is_empty()).map(|(id, _)| *id).collect();
        for id in busy {
            self.tick_peer(id, now);
        }
        let due: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, s)| s.next_deadline().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.tick_session(id, now);
        }
        self.feed(now);
    }

    fn tick_peer(&mut self, id: PeerId, now: Instant) {
        let limits = self.limits;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(owing) = peer.owing_since() else { return };
        let before = peer.lateness;
        let step = [Lateness::TimedOut, Lateness::Stalled, Lateness::Late]
            .into_iter()
            .find(|step| {
                now.saturating_duration_since(peer.silent_since(*step, owing, &limits))
                    >= peer.late_after(*step, &limits)
            })
            .unwrap_or(Lateness::InTime);
        if step > before {
            peer.lateness = step;
            match step {
                Lateness::TimedOut => return self.give_up(id, now),
                Lateness::Stalled => self.hedge(&id, usize::MAX, now),
                _ => self.hedge(&id, FIRST_HEDGE, now),
            }
        }
        self.give_up_old(id, now);
    }

    /// The peer has given nothing for too long: it is charged, and all it owes is asked of others.
    fn give_up(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let owed = peer.oldest_asks(usize::MAX);
        let promised = peer.asks.values().any(|a| a.promised);
        // What was only waited for, and not told again, has to be told again: the answer may be lost.
        let quiet: Vec<Cid> = owed.iter().filter(|cid| peer.unask(cid).is_some_and(|a| a.quiet)).copied().collect();
        (peer.strikes, peer.lateness) = (peer.strikes.saturating_add(1), Lateness::InTime);
        if !std::mem::replace(&mut peer.blamed, true) {
            let deed = if promised { Deed::HaveWithoutDelivery } else { Deed::Timeout };
            self.actions.push_back(Action::Note(id, deed));
        }
        for cid in &owed {
            if let Some(want) = self.wants.get_mut(cid) {
                want.have.retain(|p| *p != id);
            }
        }
        for cid in &quiet {
            self.missed(&id, cid);
        }
        // It stays a partner: it is asked for a little, the least gladly of all, and it may be the only one.
        self.requeue(&id, &owed, now);
    }

    /// Single blocks that were passed over while others came.
    fn give_up_old(&mut self, id: PeerId, now: Instant) {
        let limits = self.limits;
        let mut old: Vec<Cid> = Vec::new();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let mut promised = false;
        while peer.too_old_at(&limits).is_some_and(|at| at <= now)
            && let Some((cid, ask)) = peer.oldest()
        {
            peer.unask(&cid);
            promised |= ask.promised;
            old.push(cid);
        }
        if old.is_empty() {
            return;
        }
        if promised {
            self.actions.push_back(Action::Note(id, Deed::HaveWithoutDelivery));
        }
        for cid in &old {
            if let Some(want) = self.wants.get_mut(cid) {
                want.have.retain(|p| *p != id);
            }
            self.missed(&id, cid);
        }
        self.requeue(&id, &old, now);
    }

    /// A peer has not sent this block where it might have: it is told again, when nobody else can be asked.
    fn missed(&mut self, id: &PeerId, cid: &Cid) {
        if let Some(want) = self.wants.get_mut(cid)
            && !want.missed.contains(id)
        {
            want.missed.push(*id);
        }
    }
}
