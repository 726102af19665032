//! Sans-IO: the iterative Kademlia lookup (specs/kad-dht): ask the closest known peers, learn closer ones from their
//! answers, end when the `k` closest have answered.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::base::PeerId;

/// How a lookup goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Params {
    /// How many of the closest must have answered.
    pub(super) k: usize,
    /// How many are asked at once.
    pub(super) alpha: usize,
    /// How many are asked in all.
    pub(super) max_asked: usize,
    /// How many are remembered; the farthest are forgotten.
    pub(super) max_known: usize,
}

impl Default for Params {
    fn default() -> Self {
        Params { k: 20, alpha: 6, max_asked: 120, max_known: 400 }
    }
}

/// A place in the key space.
pub(super) type Place = [u8; 32];

/// The place of a key: of a multihash's or a peer id's bytes.
pub(super) fn place(key: &[u8]) -> Place {
    Sha256::digest(key).into()
}

fn distance(a: &Place, b: &Place) -> Place {
    std::array::from_fn(|i| a[i] ^ b[i])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Asked,
    Answered,
    Failed,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask this peer.
    Ask(PeerId),
    /// Wait for answers.
    Wait,
    /// It has ended.
    Done,
}

/// One lookup.
#[derive(Debug)]
pub(super) struct Lookup {
    target: Place,
    local: PeerId,
    params: Params,
    known: BTreeMap<Place, (PeerId, State)>,
    in_flight: usize,
    asked: usize,
}

impl Lookup {
    /// A lookup for `target` that starts with `seeds` and never asks `local`.
    pub(super) fn new(target: Place, local: PeerId, seeds: impl IntoIterator<Item = PeerId>, params: Params) -> Self {
        let mut lookup = Lookup { target, local, params, known: BTreeMap::new(), in_flight: 0, asked: 0 };
        lookup.learn(seeds);
        lookup
    }

    fn learn(&mut self, peers: impl IntoIterator<Item = PeerId>) {
        for peer in peers {
            if peer != self.local {
                let at = distance(&self.target, &place(&peer.to_bytes()));
                self.known.entry(at).or_insert((peer, State::Waiting));
            }
        }
        while self.known.len() > self.params.max_known {
            // One that is being asked stays, so that its answer finds it.
            let farthest = self.known.iter().rev().find(|(_, (_, state))| *state != State::Asked);
            let Some(at) = farthest.map(|(at, _)| *at) else { break };
            self.known.remove(&at);
        }
    }

    /// What to do next; to be called until it says to wait, again after each answer or failure.
    pub(super) fn next(&mut self) -> Next {
        let closest = self.known.values_mut().filter(|(_, state)| *state != State::Failed).take(self.params.k);
        let mut pending = false;
        for (peer, state) in closest {
            match state {
                State::Waiting if self.in_flight >= self.params.alpha => return Next::Wait,
                State::Waiting if self.asked < self.params.max_asked => {
                    *state = State::Asked;
                    self.in_flight += 1;
                    self.asked += 1;
                    return Next::Ask(*peer);
                }
                State::Asked => pending = true,
                _ => {}
            }
        }
        if pending { Next::Wait } else { Next::Done }
    }

    fn settle(&mut self, peer: &PeerId, settled: State) {
        let at = distance(&self.target, &place(&peer.to_bytes()));
        if let Some((_, state)) = self.known.get_mut(&at)
            && *state == State::Asked
        {
            *state = settled;
            self.in_flight -= 1;
        }
    }

    /// A peer has answered and named closer ones.
    pub(super) fn answered(&mut self, peer: &PeerId, closer: impl IntoIterator<Item = PeerId>) {
        self.settle(peer, State::Answered);
        self.learn(closer);
    }

    /// A peer could not be asked or has not answered.
    pub(super) fn failed(&mut self, peer: &PeerId) {
        self.settle(peer, State::Failed);
    }

    /// The closest peers that have answered, closest first.
    pub(super) fn closest(&self) -> Vec<PeerId> {
        let answered = self.known.values().filter(|(_, state)| *state == State::Answered);
        answered.map(|(peer, _)| *peer).take(self.params.k).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn sorted(mut peers: Vec<PeerId>, target: &Place) -> Vec<PeerId> {
        peers.sort_by_key(|peer| distance(target, &place(&peer.to_bytes())));
        peers
    }

    /// Runs a lookup in a network where each peer knows those in `knows`; `dead` never answer.
    fn run(
        lookup: &mut Lookup,
        knows: &HashMap<PeerId, Vec<PeerId>>,
        dead: &HashSet<PeerId>,
        alpha: usize,
    ) -> (usize, Vec<PeerId>) {
        let (mut flying, mut asked) = (Vec::new(), 0);
        loop {
            match lookup.next() {
                Next::Ask(peer) => {
                    asked += 1;
                    flying.push(peer);
                    assert!(flying.len() <= alpha);
                }
                Next::Wait => {
                    let peer = flying.remove(0);
                    match knows.get(&peer) {
                        Some(closer) if !dead.contains(&peer) => lookup.answered(&peer, closer.iter().copied()),
                        _ => lookup.failed(&peer),
                    }
                }
                Next::Done => {
                    assert!(flying.is_empty());
                    return (asked, lookup.closest());
                }
            }
        }
    }

    #[test]
    fn nobody_known_is_over_at_once() {
        let local = PeerId::random();
        assert_eq!(Lookup::new(place(b"x"), local, [local], Params::default()).next(), Next::Done);
    }

    #[test]
    fn asking_is_bounded_even_when_answers_invent_peers_without_end() {
        let params = Params { max_asked: 30, max_known: 50, ..Params::default() };
        let mut lookup = Lookup::new(place(b"x"), PeerId::random(), [PeerId::random()], params);
        let mut asked = 0;
        loop {
            match lookup.next() {
                Next::Ask(peer) => {
                    asked += 1;
                    lookup.answered(&peer, (0..20).map(|_| PeerId::random()));
                    assert!(lookup.known.len() <= 50);
                }
                Next::Wait => unreachable!("every question was answered at once"),
                Next::Done => break,
            }
        }
        assert!(asked <= 30);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn finds_the_closest_living_peers(size in 1usize..80, dead_every in 3usize..20, key in any::<[u8; 8]>()) {
            let target = place(&key);
            let peers: Vec<_> = (0..size).map(|_| PeerId::random()).collect();
            let dead: HashSet<_> = peers.iter().copied().skip(1).step_by(dead_every).collect();
            // Every peer knows those closest to itself and the ring's next, so the network is connected.
            let knows = peers.iter().enumerate().map(|(i, peer)| {
                let near = sorted(peers.clone(), &place(&peer.to_bytes()));
                let next = (1..=8).map(|step| peers[(i + step) % size]);
                (*peer, near.into_iter().take(20).chain(next).collect())
            }).collect();
            let params = Params { k: 8, ..Params::default() };
            let mut lookup = Lookup::new(target, PeerId::random(), peers.first().copied(), params);
            let (asked, found) = run(&mut lookup, &knows, &dead, params.alpha);
            let living = peers.iter().copied().filter(|peer| !dead.contains(peer)).collect();
            let mut best = sorted(living, &target);
            best.truncate(8);
            prop_assert!(asked <= params.max_asked);
            prop_assert_eq!(found, best);
        }
    }
}
