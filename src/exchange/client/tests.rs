//! The fetching core against serving cores, on a simulated clock and network.

mod recovery;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::{
    base::{Block, Hash, time},
    exchange::{
        message::Version,
        server::{Asked, Server, ServerLimits},
    },
    routing::reputation::Book,
};

const SIZE: u32 = 262_144;

fn cid(n: u32) -> Cid {
    *Block::new(Codec::Raw, Hash::Sha2_256, n.to_be_bytes().to_vec()).unwrap().cid()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Honest,
    /// Says nothing at all.
    Stalls,
    /// Says HAVE and never delivers.
    Promises,
    /// Answers every want with a block nobody wanted.
    Junk,
}

struct Node {
    id: PeerId,
    manner: Manner,
    has: BTreeSet<Cid>,
    delay: Duration,
    /// Bytes per second.
    rate: f64,
    busy_until: Instant,
    server: Server,
}

enum Event {
    Wants(usize, Vec<Entry>, bool),
    Presence(usize, Cid, bool),
    Block(usize, Cid),
}

struct Sim {
    start: Instant,
    now: Instant,
    seq: u64,
    queue: BTreeMap<(Instant, u64), Event>,
    client: Client,
    book: Book,
    nodes: Vec<Node>,
    got: Vec<(Cid, PeerId)>,
    /// Blocks that came in vain, and blocks asked for, by node.
    late: u64,
    asked: Vec<usize>,
    searches: Vec<(SessionId, Cid)>,
    unasked: u64,
    /// Pseudo-random extra delay up to this many milliseconds, which reorders messages.
    jitter_ms: u64,
    seed: u64,
    /// Of a hundred replies with a block so many are lost on their way, as when their stream is reset.
    loss: u64,
}

impl Sim {
    fn new(manners: &[Manner], blocks: u32) -> Sim {
        let now = time::now();
        let node = |manner: &Manner| Node {
            id: PeerId::random(),
            manner: *manner,
            has: if *manner == Manner::Junk { BTreeSet::new() } else { (0..blocks).map(cid).collect() },
            delay: ms(5),
            rate: 500e6,
            busy_until: now,
            server: Server::new(ServerLimits::default()),
        };
        let mut sim = Sim {
            start: now,
            now,
            seq: 0,
            queue: BTreeMap::new(),
            client: Client::new(Limits::default()),
            book: Book::new(),
            nodes: manners.iter().map(node).collect(),
            got: Vec::new(),
            late: 0,
            asked: vec![0; manners.len()],
            searches: Vec::new(),
            unasked: 0,
            jitter_ms: 0,
            seed: 1,
            loss: 0,
        };
        for n in 0..sim.nodes.len() {
            sim.client.connected(sim.nodes[n].id, 0.5, true, now);
        }
        sim
    }

    fn wall(&self) -> u64 {
        1_700_000_000_000 + (self.now - self.start).as_millis() as u64
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.seed >> 33) % below.max(1)
    }

    fn post(&mut self, delay: Duration, event: Event) {
        let jitter = self.random(self.jitter_ms + 1);
        self.seq += 1;
        self.queue.insert((self.now + delay + ms(jitter), self.seq), event);
    }

    fn want_all(&mut self, session: SessionId, blocks: impl IntoIterator<Item = u32>) {
        for n in blocks {
            assert!(self.client.want(session, cid(n), self.now));
        }
        self.act();
    }

    fn act(&mut self) {
        loop {
            let actions = self.client.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Wake(peer) => {
                        let Some(n) = self.nodes.iter().position(|p| p.id == peer) else { continue };
                        while let Some((entries, full)) = self.client.drain(&peer, 512) {
                            let blocks = entries.iter().filter(|e| !e.cancel && e.kind == WantKind::Block).count();
                            self.asked[n] += blocks;
                            let delay = self.nodes[n].delay;
                            self.post(delay, Event::Wants(n, entries, full));
                        }
                    }
                    Action::Note(peer, deed) => {
                        let wall = self.wall();
                        self.book.note(peer, deed, wall, 0.0);
                        let score = self.book.score(&peer, wall);
                        let usable = score.banned_until_ms.is_none();
                        let value = if self.book.usable(&peer, wall) { score.value } else { score.value.min(0.1) };
                        self.client.rate(&peer, value, usable);
                    }
                    Action::Search { session, cid } => self.searches.push((session, cid)),
                }
            }
        }
    }

    fn serve(&mut self, n: usize) {
        while let Some(job) = self.nodes[n].server.pop() {
            self.nodes[n].server.sent(&job.peer, job.bytes);
            let delay = self.nodes[n].delay;
            for (cid, have) in job.presences {
                self.post(delay, Event::Presence(n, cid, have));
            }
            for (cid, _) in job.blocks {
                if self.nodes[n].manner == Manner::Promises {
                    continue;
                }
                let node = &mut self.nodes[n];
                let took = Duration::from_secs_f64(f64::from(SIZE) / node.rate);
                node.busy_until = node.busy_until.max(self.now) + took;
                let delay = delay + (node.busy_until - self.now);
                if self.random(100) < self.loss {
                    continue;
                }
                self.post(delay, Event::Block(n, cid));
            }
        }
    }

    /// Runs until nothing happens any more or `limit` is over.
    fn run(&mut self, limit: Duration) {
        let end = self.now + limit;
        self.act();
        loop {
            let next = self.queue.keys().next().map(|k| k.0);
            let deadline = self.client.next_deadline();
            let Some(at) = next.into_iter().chain(deadline).min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            if next.is_none_or(|n| n > self.now) {
                self.client.tick(self.now);
                self.act();
                continue;
            }
            let Some((_, event)) = self.queue.pop_first() else { return };
            self.handle(event);
            self.act();
            self.check();
        }
    }

    fn handle(&mut self, event: Event) {
        let me = PeerId::from_bytes(&[0, 1, 7]).unwrap_or_else(|_| self.nodes[0].id);
        match event {
            Event::Wants(n, entries, full) => {
                let node = &mut self.nodes[n];
                match node.manner {
                    Manner::Stalls => {}
                    Manner::Junk => {
                        for _ in entries.iter().filter(|e| !e.cancel) {
                            let junk = 1_000_000 + self.seq as u32;
                            self.post(ms(1), Event::Block(n, cid(junk)));
                        }
                    }
                    _ => {
                        let asked: Vec<Asked> = entries
                            .into_iter()
                            .map(|entry| Asked { entry, size: node.has.contains(&entry.cid).then_some(SIZE) })
                            .collect();
                        node.server.wants(me, Version::V1_2, full, asked);
                        self.serve(n);
                    }
                }
            }
            Event::Presence(n, cid, have) => self.client.presence(self.nodes[n].id, &cid, have, self.now),
            Event::Block(n, cid) => {
                let id = self.nodes[n].id;
                match self.client.inspect(id, &cid, SIZE as usize, self.now) {
                    Verdict::Wanted(wanted) => {
                        assert_eq!(self.client.arrived(id, &[(wanted, SIZE)], self.now, self.now), [true]);
                        self.got.push((wanted, id));
                    }
                    Verdict::Late => {
                        self.late += 1;
                        self.client.duplicate(&id, SIZE as usize, self.now);
                    }
                    Verdict::Unasked => self.unasked += 1,
                }
            }
        }
    }

    /// What must hold at any time.
    fn check(&self) {
        for peer in self.client.peers.values() {
            assert_eq!(peer.inflight, peer.asks.values().map(|a| a.bytes).sum::<usize>());
            for cid in peer.asks.keys() {
                assert!(self.client.wants.contains_key(cid), "asked for what nobody wants");
            }
        }
        for (cid, want) in &self.client.wants {
            assert!(!want.sessions.is_empty());
            for id in &want.sessions {
                let session = &self.client.sessions[id];
                assert!(session.wants.contains(cid));
                assert!(!want.asks.is_empty() || session.queue.contains(cid), "a want that nobody will ask for");
            }
        }
    }

    fn from(&self, n: usize) -> usize {
        self.got.iter().filter(|(_, id)| *id == self.nodes[n].id).count()
    }
}

#[test]
fn a_known_provider_is_asked_for_blocks_directly_and_deeply() {
    let mut sim = Sim::new(&[Manner::Honest], 400);
    let session = sim.client.open(cid(0));
    sim.client.provider(session, sim.nodes[0].id, sim.now);
    sim.want_all(session, 0..400);
    let before = sim.client.peers[&sim.nodes[0].id].asks.len();
    assert!(before >= 15, "{before} blocks in flight");
    sim.run(ms(5000));
    assert_eq!((sim.got.len(), sim.late, sim.unasked), (400, 0, 0));
    assert_eq!(sim.asked, [400]);
    assert_eq!(sim.searches, [(session, cid(0))], "searched at once, and once");
    assert!(sim.book.score(&sim.nodes[0].id, sim.wall()).value > 0.5);
}

#[test]
fn presence_finds_the_one_that_has_it() {
    let mut sim = Sim::new(&[Manner::Honest; 6], 10);
    (0..5).for_each(|n| sim.nodes[n].has.clear());
    let session = sim.client.open(cid(0));
    sim.want_all(session, 0..10);
    sim.run(ms(500));
    assert_eq!((sim.got.len(), sim.from(5)), (10, 10));
    assert_eq!(sim.asked[..5], [0; 5], "only presence was asked of the others");
    let report = sim.client.report(session);
    assert_eq!((report.asked, report.refused), (6, 5));
}

#[test]
fn a_refusal_moves_on_at_once() {
    let mut sim = Sim::new(&[Manner::Honest; 2], 1);
    sim.nodes[0].has.clear();
    let session = sim.client.open(cid(0));
    sim.client.rate(&sim.nodes[0].id, 0.9, true);
    sim.client.provider(session, sim.nodes[0].id, sim.now);
    sim.client.provider(session, sim.nodes[1].id, sim.now);
    sim.want_all(session, 0..1);
    sim.run(ms(25));
    assert_eq!(sim.from(1), 1, "two round trips of 10 ms each");
    assert_eq!(sim.asked, [1, 1]);
}

#[test]
fn beside_a_stalling_provider_all_comes_and_the_next_fetch_asks_the_good_one_first() {
    for manner in [Manner::Stalls, Manner::Promises] {
        let mut sim = Sim::new(&[manner, Manner::Honest], 200);
        let session = sim.client.open(cid(0));
        // The bad one even looks better at first.
        sim.client.rate(&sim.nodes[0].id, 0.6, true);
        (0..2).for_each(|n| sim.client.provider(session, sim.nodes[n].id, sim.now));
        sim.want_all(session, 0..100);
        assert!(sim.asked[0] > 0, "{manner:?}");
        sim.run(ms(3000));
        assert_eq!(sim.from(1), 100, "{manner:?}");
        sim.client.close(session);
        let (bad, good) =
            (sim.book.score(&sim.nodes[0].id, sim.wall()).value, sim.book.score(&sim.nodes[1].id, sim.wall()).value);
        assert!(bad < 0.42 && good > 0.5, "{manner:?}: {bad} {good}");

        // After a restart only the book is left.
        let mut restarted = Book::new();
        sim.book.take_dirty().into_iter().for_each(|(k, v)| assert!(restarted.restore(&k, &v.unwrap())));
        sim.book = restarted;
        sim.client = Client::new(Limits::default());
        for node in &sim.nodes {
            sim.client.connected(node.id, sim.book.score(&node.id, sim.wall()).value, true, sim.now);
        }
        sim.asked = vec![0; 2];
        let session = sim.client.open(cid(100));
        (0..2).for_each(|n| sim.client.provider(session, sim.nodes[n].id, sim.now));
        sim.want_all(session, 100..200);
        sim.run(ms(3000));
        assert_eq!(sim.asked, [0, 100], "{manner:?}");
        assert_eq!(sim.got.len(), 200);
    }
}

#[test]
fn a_late_block_is_hedged_after_the_peers_own_p95_not_after_a_timeout() {
    let mut sim = Sim::new(&[Manner::Honest; 2], 100);
    sim.nodes[1].delay = ms(8);
    let session = sim.client.open(cid(0));
    (0..2).for_each(|n| sim.client.provider(session, sim.nodes[n].id, sim.now));
    for n in 0..20 {
        sim.want_all(session, n..n + 1);
        sim.run(ms(40));
    }
    assert_eq!((sim.got.len(), sim.client.hedges()), (20, 0));
    assert_eq!(sim.from(0), 20, "the nearer one");
    sim.nodes[0].manner = Manner::Stalls;
    sim.want_all(session, 50..51);
    sim.run(ms(100));
    assert_eq!((sim.from(1), sim.client.hedges()), (1, 1));
}

#[test]
fn a_disconnected_peers_blocks_go_to_others() {
    let mut sim = Sim::new(&[Manner::Stalls, Manner::Honest], 50);
    let session = sim.client.open(cid(0));
    sim.client.provider(session, sim.nodes[0].id, sim.now);
    sim.want_all(session, 0..10);
    assert!(sim.asked[0] == 10);
    sim.client.provider(session, sim.nodes[1].id, sim.now);
    sim.client.disconnected(&sim.nodes[0].id, sim.now);
    sim.run(ms(100));
    assert_eq!(sim.from(1), 10);
}

#[test]
fn sessions_share_wants_and_a_cancel_by_one_keeps_the_others() {
    let mut sim = Sim::new(&[Manner::Honest], 10);
    let (a, b) = (sim.client.open(cid(0)), sim.client.open(cid(1)));
    sim.client.provider(a, sim.nodes[0].id, sim.now);
    sim.want_all(a, 0..5);
    sim.want_all(b, 0..5);
    sim.client.unwant(a, &cid(3));
    sim.client.close(a);
    sim.act();
    sim.run(ms(100));
    assert_eq!((sim.got.len(), sim.asked[0]), (5, 5));
    assert_eq!(sim.client.wants(), 0);
}

#[test]
fn late_is_not_guilty_and_unasked_is_charged() {
    let mut sim = Sim::new(&[Manner::Honest, Manner::Honest], 10);
    let (peer, other) = (sim.nodes[0].id, sim.nodes[1].id);
    let session = sim.client.open(cid(0));
    sim.client.provider(session, peer, sim.now);
    sim.want_all(session, 0..1);
    sim.client.unwant(session, &cid(0));
    sim.act();
    assert_eq!(sim.client.inspect(peer, &cid(0), 10, sim.now), Verdict::Late);
    assert!(sim.client.take_actions().is_empty());
    assert_eq!(sim.client.inspect(peer, &cid(0), 10, sim.now), Verdict::Unasked, "one asking covers one copy");
    assert_eq!(sim.client.inspect(other, &cid(0), 10, sim.now), Verdict::Unasked);
    let notes = sim.client.take_actions();
    assert_eq!(notes, [peer, other].map(|p| Action::Note(p, Deed::Unasked { bytes: 10 })));
    let twin = Cid::new_v1(Codec::DagPb.code(), *cid(5).hash());
    sim.want_all(session, 5..6);
    assert_eq!(sim.client.inspect(peer, &twin, 10, sim.now), Verdict::Wanted(cid(5)), "the same bytes by another name");
}

#[test]
fn a_liar_is_charged_and_the_honest_one_delivers() {
    let mut sim = Sim::new(&[Manner::Junk, Manner::Honest], 40);
    let session = sim.client.open(cid(0));
    sim.client.rate(&sim.nodes[0].id, 0.6, true);
    (0..2).for_each(|n| sim.client.provider(session, sim.nodes[n].id, sim.now));
    sim.want_all(session, 0..40);
    sim.run(ms(2000));
    assert_eq!(sim.from(1), 40);
    assert!(sim.unasked > 0);
    let wall = sim.wall();
    assert!(sim.book.score(&sim.nodes[0].id, wall).value < sim.book.score(&sim.nodes[1].id, wall).value);
}

#[test]
fn what_nobody_has_is_searched_again_with_growing_waits_and_widening_circles() {
    let mut sim = Sim::new(&[Manner::Honest; 30], 0);
    let session = sim.client.open(cid(0));
    sim.want_all(session, 0..1);
    assert_eq!(sim.searches.len(), 1);
    assert_eq!(sim.client.report(session).asked, Limits::default().probe_first);
    for _ in 0..60 {
        sim.run(ms(1000));
        for (id, _) in std::mem::take(&mut sim.searches) {
            sim.client.search_done(id, sim.now);
        }
    }
    let report = sim.client.report(session);
    assert_eq!((report.asked, report.refused), (30, 30));
    assert!((4..=9).contains(&report.searches), "{report:?}");
    // When it turns up somewhere it comes, without anybody asking again.
    sim.nodes[7].has.insert(cid(0));
    sim.nodes[7].server.came(&cid(0), SIZE);
    sim.serve(7);
    sim.run(ms(100));
    assert_eq!(sim.from(7), 1);
}

#[test]
fn a_newcomer_is_asked_at_once() {
    let mut sim = Sim::new(&[Manner::Honest; 2], 1);
    sim.client.disconnected(&sim.nodes[1].id, sim.now);
    sim.nodes[0].has.clear();
    let session = sim.client.open(cid(0));
    sim.want_all(session, 0..1);
    sim.run(ms(50));
    assert!(sim.got.is_empty());
    sim.client.connected(sim.nodes[1].id, 0.5, true, sim.now);
    sim.run(ms(30));
    assert_eq!(sim.from(1), 1);
}
