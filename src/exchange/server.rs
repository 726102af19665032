//! Sans-IO: what others want from here, and whose turn it is: fair queueing by bytes between peers, by priority within.
//!
//! The caller looks up the size of every wanted block, hands both to [`Server::wants`], takes work with [`Server::pop`]
//! and reports with [`Server::sent`] when it has left.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use smallvec::SmallVec;

use super::message::{BLOCK_OVERHEAD, Entry, Version, WantKind};
use crate::base::{Cid, PeerId};

/// Limits of the serving side.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Wants kept per peer.
    pub wants_per_peer: usize,
    /// A block of at most this many bytes is sent instead of a HAVE.
    pub inline_bytes: u32,
    /// A reply is filled up to about this many bytes.
    pub reply_bytes: usize,
    /// Bytes popped and not yet sent, per peer.
    pub peer_bytes: usize,
    /// Bytes popped and not yet sent, in all.
    pub total_bytes: usize,
    /// Replies popped and not yet sent, per peer.
    pub peer_jobs: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits {
            wants_per_peer: 1024,
            inline_bytes: 1024,
            reply_bytes: 1024 * 1024,
            peer_bytes: 4 * 1024 * 1024,
            total_bytes: 64 * 1024 * 1024,
            peer_jobs: 16,
        }
    }
}

/// An entry of a wantlist together with the size of its block here, if it is here.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What was asked.
    pub entry: Entry,
    /// The block's size in bytes, `None` when it is not here.
    pub size: Option<u32>,
}

/// One reply to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// For whom.
    pub peer: PeerId,
    /// Blocks to send; the flag asks for a DONT_HAVE if the block has gone meanwhile.
    pub blocks: Vec<(Cid, bool)>,
    /// What is here (true) and what is not.
    pub presences: Vec<(Cid, bool)>,
    /// What it counts for in the budgets, to be given back with [`Server::sent`].
    pub bytes: usize,
    /// Bytes still queued for the peer behind it.
    pub pending_bytes: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Block,
    Have,
    DontHave,
}

#[derive(Debug)]
struct Queued {
    cid: Cid,
    what: What,
    bytes: usize,
    tell: bool,
}

/// First the higher priority, then the older.
type Turn = (Reverse<i32>, u64);

#[derive(Debug)]
struct Want {
    kind: WantKind,
    priority: i32,
    tell: bool,
    seq: u64,
    /// Its place in the queue, when something is to be sent for it.
    turn: Option<Turn>,
    /// Whether the block is not here, so that it may be sent when it comes.
    missing: bool,
}

#[derive(Debug)]
struct Ledger {
    version: Version,
    wants: HashMap<Cid, Want>,
    /// Missing wants, the first to be evicted first.
    missing: BTreeMap<(i32, u64), Cid>,
    queue: BTreeMap<Turn, Queued>,
    queued_bytes: usize,
    outstanding: usize,
    jobs: usize,
    /// Virtual time of fair queueing: bytes served, brought forward when it was idle.
    served: u64,
}

/// Every peer's wants and the queue over them.
#[derive(Debug)]
pub struct Server {
    limits: ServerLimits,
    peers: HashMap<PeerId, Ledger>,
    active: HashSet<PeerId>,
    /// Who waits for a block that is not here.
    waiting: HashMap<Cid, SmallVec<[PeerId; 2]>>,
    outstanding: usize,
    clock: u64,
    seq: u64,
}

impl Server {
    /// A server that nobody wants anything from.
    pub fn new(limits: ServerLimits) -> Self {
        Server {
            limits,
            peers: HashMap::new(),
            active: HashSet::new(),
            waiting: HashMap::new(),
            outstanding: 0,
            clock: 0,
            seq: 0,
        }
    }

    /// Peers with a wantlist here.
    pub fn partners(&self) -> usize {
        self.peers.values().filter(|l| !l.wants.is_empty()).count()
    }

    /// Wants kept for `peer`.
    pub fn wants_of(&self, peer: &PeerId) -> usize {
        self.peers.get(peer).map_or(0, |l| l.wants.len())
    }

    /// Takes a wantlist of `peer`, which spoke `version`; `full` replaces what it wanted before.
    pub fn wants(&mut self, peer: PeerId, version: Version, full: bool, asked: impl IntoIterator<Item = Asked>) {
        let clock = self.clock;
        let ledger = self.peers.entry(peer).or_insert_with(|| Ledger {
            version,
            wants: HashMap::new(),
            missing: BTreeMap::new(),
            queue: BTreeMap::new(),
            queued_bytes: 0,
            outstanding: 0,
            jobs: 0,
            served: clock,
        });
        ledger.version = version;
        if full {
            let all: Vec<Cid> = ledger.wants.keys().copied().collect();
            for cid in all {
                self.forget(&peer, &cid);
            }
        }
        for Asked { entry, size } in asked {
            if entry.cancel {
                self.forget(&peer, &entry.cid);
            } else if entry.cid.hash().code() != 0x00 {
                self.want(peer, entry, size);
            }
        }
    }

    fn want(&mut self, peer: PeerId, entry: Entry, size: Option<u32>) {
        let Some(ledger) = self.peers.get(&peer) else { return };
        let mut kind = entry.kind;
        if let Some(old) = ledger.wants.get(&entry.cid) {
            if old.kind == WantKind::Block {
                // A want for the block is never weakened to one for its presence.
                kind = WantKind::Block;
            }
            self.forget(&peer, &entry.cid);
        }
        if !self.make_room(&peer, entry.priority) {
            return;
        }
        self.seq += 1;
        let seq = self.seq;
        let Some(ledger) = self.peers.get_mut(&peer) else { return };
        let tell = entry.send_dont_have && ledger.version.has_presences();
        let want = Want { kind, priority: entry.priority, tell, seq, turn: None, missing: size.is_none() };
        ledger.wants.insert(entry.cid, want);
        match size {
            Some(size) => self.enqueue_found(peer, entry.cid, size),
            None => {
                ledger.missing.insert((entry.priority, seq), entry.cid);
                let waiting = self.waiting.entry(entry.cid).or_default();
                if !waiting.contains(&peer) {
                    waiting.push(peer);
                }
                if tell {
                    self.enqueue(peer, entry.cid, What::DontHave, BLOCK_OVERHEAD);
                }
            }
        }
    }

    /// Makes room for one more want of `priority`: a missing one goes first, else a less urgent one.
    fn make_room(&mut self, peer: &PeerId, priority: i32) -> bool {
        let Some(ledger) = self.peers.get(peer) else { return false };
        if ledger.wants.len() < self.limits.wants_per_peer {
            return true;
        }
        let victim = match (ledger.missing.values().next(), ledger.queue.last_key_value()) {
            (Some(cid), _) => *cid,
            (None, Some((turn, queued))) if turn.0.0 < priority => queued.cid,
            _ => return false,
        };
        self.forget(peer, &victim);
        true
    }

    fn enqueue_found(&mut self, peer: PeerId, cid: Cid, size: u32) {
        let Some(ledger) = self.peers.get(&peer) else { return };
        let Some(want) = ledger.wants.get(&cid) else { return };
        let (what, bytes) = if want.kind == WantKind::Block || size <= self.limits.inline_bytes {
            (What::Block, size as usize + BLOCK_OVERHEAD)
        } else {
            (What::Have, BLOCK_OVERHEAD)
        };
        self.enqueue(peer, cid, what, bytes);
    }

    fn enqueue(&mut self, peer: PeerId, cid: Cid, what: What, bytes: usize) {
        let clock = self.clock;
        let Some(ledger) = self.peers.get_mut(&peer) else { return };
        let Some(want) = ledger.wants.get_mut(&cid) else { return };
        let turn = (Reverse(want.priority), want.seq);
        want.turn = Some(turn);
        if ledger.queue.is_empty() {
            // Credit is not saved up while idle.
            ledger.served = ledger.served.max(clock);
            self.active.insert(peer);
        }
        ledger.queued_bytes += bytes;
        if let Some(old) = ledger.queue.insert(turn, Queued { cid, what, bytes, tell: want.tell }) {
            ledger.queued_bytes -= old.bytes;
        }
    }

    /// Removes a want and what is queued for it.
    fn forget(&mut self, peer: &PeerId, cid: &Cid) {
        let Some(ledger) = self.peers.get_mut(peer) else { return };
        let Some(want) = ledger.wants.remove(cid) else { return };
        if let Some(queued) = want.turn.and_then(|turn| ledger.queue.remove(&turn)) {
            ledger.queued_bytes -= queued.bytes;
        }
        if ledger.queue.is_empty() {
            self.active.remove(peer);
        }
        if want.missing {
            ledger.missing.remove(&(want.priority, want.seq));
            self.unwait(peer, cid);
        }
    }

    fn unwait(&mut self, peer: &PeerId, cid: &Cid) {
        if let Some(waiting) = self.waiting.get_mut(cid) {
            waiting.retain(|p| p != peer);
            if waiting.is_empty() {
                self.waiting.remove(cid);
            }
        }
    }

    /// A block is here now: whoever waits for it gets it. True when somebody does.
    pub fn came(&mut self, cid: &Cid, size: u32) -> bool {
        let Some(waiting) = self.waiting.remove(cid) else { return false };
        for peer in waiting {
            let Some(ledger) = self.peers.get_mut(&peer) else { continue };
            let Some(want) = ledger.wants.get_mut(cid) else { continue };
            want.missing = false;
            ledger.missing.remove(&(want.priority, want.seq));
            self.enqueue_found(peer, *cid, size);
        }
        true
    }

    /// Whether anybody waits for a block that is not here.
    pub fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next reply to make: for the peer that was served least among those with budget left.
    pub fn pop(&mut self) -> Option<Job> {
        if self.outstanding >= self.limits.total_bytes {
            return None;
        }
        let peer = self
            .active
            .iter()
            .filter_map(|p| self.peers.get(p).map(|l| (l, p)))
            .filter(|(l, _)| l.outstanding < self.limits.peer_bytes && l.jobs < self.limits.peer_jobs)
            .min_by_key(|(l, p)| (l.served, **p))
            .map(|(_, p)| *p)?;
        let ledger = self.peers.get_mut(&peer)?;
        let mut job = Job { peer, blocks: Vec::new(), presences: Vec::new(), bytes: 0, pending_bytes: 0 };
        while let Some(first) = ledger.queue.first_entry() {
            if job.bytes > 0 && job.bytes + first.get().bytes > self.limits.reply_bytes {
                break;
            }
            let queued = first.remove();
            ledger.queued_bytes -= queued.bytes;
            job.bytes += queued.bytes;
            match queued.what {
                What::Block => job.blocks.push((queued.cid, queued.tell)),
                What::Have => job.presences.push((queued.cid, true)),
                What::DontHave => job.presences.push((queued.cid, false)),
            }
            if queued.what == What::DontHave {
                // The want stays: the block is sent when it comes.
                if let Some(want) = ledger.wants.get_mut(&queued.cid) {
                    want.turn = None;
                }
            } else {
                ledger.wants.remove(&queued.cid);
            }
        }
        if ledger.queue.is_empty() {
            self.active.remove(&peer);
        }
        self.clock = self.clock.max(ledger.served);
        ledger.served += job.bytes as u64;
        ledger.outstanding += job.bytes;
        ledger.jobs += 1;
        self.outstanding += job.bytes;
        job.pending_bytes = i32::try_from(ledger.queued_bytes).unwrap_or(i32::MAX);
        Some(job)
    }

    /// A popped reply of `bytes` has left or was given up.
    pub fn sent(&mut self, peer: &PeerId, bytes: usize) {
        self.outstanding = self.outstanding.saturating_sub(bytes);
        if let Some(ledger) = self.peers.get_mut(peer) {
            ledger.outstanding = ledger.outstanding.saturating_sub(bytes);
            ledger.jobs = ledger.jobs.saturating_sub(1);
        }
    }

    /// Forgets a peer that is no longer connected. Replies popped for it are still given back with [`Server::sent`].
    pub fn gone(&mut self, peer: &PeerId) {
        let Some(ledger) = self.peers.remove(peer) else { return };
        self.active.remove(peer);
        for cid in ledger.missing.values() {
            self.unwait(peer, cid);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::{Block, Codec, Hash};

    fn cid(n: u32) -> Cid {
        *Block::new(Codec::Raw, Hash::Sha2_256, n.to_be_bytes().to_vec()).unwrap().cid()
    }

    fn ask(n: u32, kind: WantKind, size: Option<u32>) -> Asked {
        Asked { entry: Entry { cid: cid(n), priority: 1, kind, cancel: false, send_dont_have: true }, size }
    }

    fn block(n: u32, size: u32) -> Asked {
        ask(n, WantKind::Block, Some(size))
    }

    fn server() -> Server {
        Server::new(ServerLimits::default())
    }

    #[test]
    fn blocks_presences_and_small_blocks_instead_of_haves() {
        let mut s = server();
        let peer = PeerId::random();
        s.wants(
            peer,
            Version::V1_2,
            false,
            [
                block(1, 300_000),
                ask(2, WantKind::Have, Some(1024)),
                ask(3, WantKind::Have, Some(1025)),
                ask(4, WantKind::Block, None),
                ask(5, WantKind::Have, None),
            ],
        );
        let job = s.pop().unwrap();
        assert_eq!(job.blocks, [(cid(1), true), (cid(2), true)]);
        assert_eq!(job.presences, [(cid(3), true), (cid(4), false), (cid(5), false)]);
        assert_eq!(s.pop(), None);
        assert_eq!(s.wants_of(&peer), 2, "the missing ones stay");
        assert!(s.came(&cid(4), 10) && s.came(&cid(5), 5000));
        let job = s.pop().unwrap();
        assert_eq!((job.blocks, job.presences), (vec![(cid(4), true)], vec![(cid(5), true)]));
        assert!(!s.is_awaited() && s.wants_of(&peer) == 0);
    }

    #[test]
    fn peers_before_1_2_get_no_presences() {
        let mut s = server();
        s.wants(PeerId::random(), Version::V1_1, false, [ask(1, WantKind::Block, None)]);
        assert_eq!(s.pop(), None);
        assert!(s.came(&cid(1), 10));
        assert_eq!(s.pop().unwrap().blocks, [(cid(1), false)]);
    }

    #[test]
    fn cancels_upgrades_and_full_lists() {
        let mut s = server();
        let peer = PeerId::random();
        s.wants(peer, Version::V1_2, false, [block(1, 10), block(2, 10), ask(3, WantKind::Have, Some(9000))]);
        let cancel = Entry { cancel: true, ..block(1, 0).entry };
        s.wants(peer, Version::V1_2, false, [Asked { entry: cancel, size: None }, block(3, 9000)]);
        s.wants(peer, Version::V1_2, false, [ask(3, WantKind::Have, Some(9000))]);
        assert_eq!(s.pop().unwrap().blocks, [(cid(2), true), (cid(3), true)]);
        s.wants(peer, Version::V1_2, false, [block(4, 10), ask(5, WantKind::Block, None)]);
        s.wants(peer, Version::V1_2, true, [block(6, 10)]);
        assert_eq!(s.pop().unwrap().blocks, [(cid(6), true)]);
        assert!(!s.is_awaited());
        let identity = Block::new(Codec::Raw, Hash::Identity, &b"hi"[..]).unwrap();
        let entry = Entry { cid: *identity.cid(), ..block(0, 0).entry };
        s.wants(peer, Version::V1_2, false, [Asked { entry, size: Some(2) }]);
        assert_eq!((s.pop(), s.wants_of(&peer)), (None, 0));
    }

    #[test]
    fn urgent_wants_go_first() {
        let mut s = server();
        let peer = PeerId::random();
        let with = |n, priority| {
            let a = block(n, 10);
            Asked { entry: Entry { priority, ..a.entry }, ..a }
        };
        s.wants(peer, Version::V1_2, false, [with(1, 1), with(2, 5), with(3, 5), with(4, 9)]);
        let order: Vec<Cid> = s.pop().unwrap().blocks.into_iter().map(|b| b.0).collect();
        assert_eq!(order, [cid(4), cid(2), cid(3), cid(1)]);
    }

    #[test]
    fn wantlists_are_capped_also_full_ones() {
        for full in [false, true] {
            let mut s = server();
            let peer = PeerId::random();
            s.wants(peer, Version::V1_2, full, (0..3000).map(|n| block(n, 10)));
            assert_eq!(s.wants_of(&peer), 1024);
            let urgent = Entry { priority: 100, ..block(9000, 0).entry };
            s.wants(peer, Version::V1_2, false, [Asked { entry: urgent, size: Some(10) }]);
            assert_eq!(s.wants_of(&peer), 1024);
            assert_eq!(s.pop().unwrap().blocks[0].0, cid(9000));
        }
        let mut s = server();
        let peer = PeerId::random();
        s.wants(peer, Version::V1_2, false, (0..1024).map(|n| ask(n, WantKind::Have, None)));
        s.wants(peer, Version::V1_2, false, [block(5000, 10)]);
        assert_eq!(s.wants_of(&peer), 1024, "a missing one made room");
        assert!(s.pop().unwrap().blocks.iter().any(|b| b.0 == cid(5000)));
    }

    #[test]
    fn a_greedy_peer_does_not_starve_a_modest_one() {
        let mut s = server();
        let (greedy, modest) = (PeerId::random(), PeerId::random());
        s.wants(greedy, Version::V1_2, false, (0..1000).map(|n| block(n, 262_144)));
        for _ in 0..10 {
            let job = s.pop().unwrap();
            assert!(job.bytes <= ServerLimits::default().reply_bytes);
            s.sent(&job.peer, job.bytes);
        }
        s.wants(modest, Version::V1_2, false, (2000..2004).map(|n| block(n, 262_144)));
        let mut turns = Vec::new();
        for _ in 0..2 {
            let job = s.pop().unwrap();
            s.sent(&job.peer, job.bytes);
            turns.push(job.peer);
        }
        assert!(turns.contains(&modest), "{turns:?}");
    }

    #[test]
    fn budgets_hold_a_slow_peer_back() {
        let mut s = server();
        let peer = PeerId::random();
        s.wants(peer, Version::V1_2, false, (0..1000).map(|n| block(n, 262_144)));
        let jobs: Vec<Job> = std::iter::from_fn(|| s.pop()).collect();
        let out: usize = jobs.iter().map(|j| j.bytes).sum();
        let limits = ServerLimits::default();
        assert!(out >= limits.peer_bytes && out <= limits.peer_bytes + limits.reply_bytes, "{out}");
        s.sent(&peer, jobs[0].bytes);
        s.sent(&peer, jobs[1].bytes);
        assert!(s.pop().is_some());
        s.gone(&peer);
        for job in &jobs[2..] {
            s.sent(&peer, job.bytes);
        }
        assert_eq!((s.pop(), s.partners()), (None, 0));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Want(usize, u32, WantKind, i32, Option<u32>),
        Cancel(usize, u32),
        Full(usize, u32),
        Came(u32),
        Pop,
        SentAll,
        Gone(usize),
    }

    fn any_op() -> impl Strategy<Value = Op> {
        let kind = prop_oneof![Just(WantKind::Block), Just(WantKind::Have)];
        prop_oneof![
            8 => (0usize..3, 0u32..40, kind, 0i32..4, proptest::option::of(1u32..2_000_000))
                .prop_map(|(p, n, k, prio, size)| Op::Want(p, n, k, prio, size)),
            3 => (0usize..3, 0u32..40).prop_map(|(p, n)| Op::Cancel(p, n)),
            1 => (0usize..3, 0u32..40).prop_map(|(p, n)| Op::Full(p, n)),
            2 => (0u32..40).prop_map(Op::Came),
            4 => Just(Op::Pop),
            2 => Just(Op::SentAll),
            1 => (0usize..3).prop_map(Op::Gone),
        ]
    }

    proptest! {
        #[test]
        fn nothing_unwanted_is_sent_and_budgets_hold(ops in proptest::collection::vec(any_op(), 1..300)) {
            let limits = ServerLimits { wants_per_peer: 16, ..Default::default() };
            let mut s = Server::new(limits);
            let peers: Vec<PeerId> = (0..3).map(|_| PeerId::random()).collect();
            let mut wanted: HashSet<(PeerId, Cid)> = HashSet::new();
            let mut out: Vec<Job> = Vec::new();
            for op in ops {
                match op {
                    Op::Want(p, n, kind, priority, size) => {
                        let entry = Entry { cid: cid(n), priority, kind, cancel: false, send_dont_have: true };
                        s.wants(peers[p], Version::V1_2, false, [Asked { entry, size }]);
                        wanted.insert((peers[p], cid(n)));
                    }
                    Op::Cancel(p, n) => {
                        let entry = Entry { cancel: true, ..block(n, 0).entry };
                        s.wants(peers[p], Version::V1_2, false, [Asked { entry, size: None }]);
                        wanted.remove(&(peers[p], cid(n)));
                    }
                    Op::Full(p, n) => {
                        s.wants(peers[p], Version::V1_2, true, [block(n, 10)]);
                        wanted.retain(|(q, _)| *q != peers[p]);
                        wanted.insert((peers[p], cid(n)));
                    }
                    Op::Came(n) => {
                        s.came(&cid(n), 100);
                    }
                    Op::Pop => {
                        if let Some(job) = s.pop() {
                            prop_assert!(job.blocks.len() + job.presences.len() > 0);
                            for c in job.blocks.iter().chain(&job.presences).map(|b| b.0) {
                                prop_assert!(wanted.contains(&(job.peer, c)));
                            }
                            out.push(job);
                        }
                    }
                    Op::SentAll => out.drain(..).for_each(|j| s.sent(&j.peer, j.bytes)),
                    Op::Gone(p) => {
                        s.gone(&peers[p]);
                        wanted.retain(|(q, _)| *q != peers[p]);
                    }
                }
                for p in &peers {
                    prop_assert!(s.wants_of(p) <= 16);
                }
                for ledger in s.peers.values() {
                    prop_assert_eq!(ledger.queued_bytes, ledger.queue.values().map(|q| q.bytes).sum::<usize>());
                    prop_assert_eq!(ledger.missing.len(), ledger.wants.values().filter(|w| w.missing).count());
                }
            }
            for p in &peers {
                s.gone(p);
            }
            prop_assert!(s.waiting.is_empty() && s.active.is_empty());
        }
    }
}
