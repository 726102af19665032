//! Sans-IO: what the fetching side knows of one peer: what it was asked, how fast it is, what waits to be told to it.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use super::Limits;
use crate::{
    base::Cid,
    exchange::message::{Entry, WantKind},
};

/// Asks remembered for telling late blocks from unasked ones.
const MAX_REMEMBERED: usize = 16_384;
/// Blocks asked at once of a peer that was given up, until it gives something.
const PROBE_ASKS: usize = 4;
/// Samples kept for percentiles.
const SAMPLES: usize = 64;
/// The rate is measured over at least this long.
const RATE_SPAN: Duration = Duration::from_millis(50);

/// The newest samples of a time, for percentiles.
#[derive(Debug, Default)]
pub(super) struct Ring {
    samples: VecDeque<Duration>,
}

impl Ring {
    pub(super) fn push(&mut self, sample: Duration) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The 95th percentile; `None` without samples.
    pub(super) fn p95(&self) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get((sorted.len() * 95).div_ceil(100).saturating_sub(1)).copied()
    }
}

/// An outstanding want for a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) at: Instant,
    /// What it counts for in the window, in bytes.
    pub(super) bytes: usize,
    /// Asked while nothing else was outstanding: its answer time is the peer's latency.
    pub(super) idle: bool,
    /// The peer had said HAVE.
    pub(super) promised: bool,
    /// It was on the peer's list already and was not told again.
    pub(super) quiet: bool,
}

/// How late a peer is with everything it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lateness {
    InTime,
    /// Past its own 95th percentile: the oldest asks are hedged.
    Late,
    /// Twice that: everything is hedged and nothing new asked.
    Stalled,
    /// It counts as a failure.
    TimedOut,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) connected: bool,
    /// It does not speak Bitswap (until it connects again).
    pub(super) unsupported: bool,
    /// Score in [0, 1], and whether it may be asked, as told by reputation.
    pub(super) score: f64,
    pub(super) usable: bool,
    pub(super) asks: HashMap<Cid, Ask>,
    /// Oldest first; entries without an ask are stale.
    order: VecDeque<(Cid, Instant)>,
    pub(super) inflight: usize,
    pub(super) window: usize,
    pub(super) lateness: Lateness,
    /// It was charged for its present silence.
    pub(super) blamed: bool,
    /// Times in a row that it was given up for giving nothing.
    pub(super) strikes: u32,
    last_progress: Option<Instant>,
    /// When bytes of a message came last; they may wait here to be stored.
    last_heard: Option<Instant>,
    latency: Ring,
    gap: Ring,
    age: Ring,
    late_after: Duration,
    rtt: Option<Duration>,
    pub(super) rate: Option<f64>,
    rate_from: Option<Instant>,
    rate_bytes: u64,
    /// What is on the peer's wantlist (as far as written to the stream).
    remote: HashMap<Cid, WantKind>,
    outbox: HashMap<Cid, Entry>,
    outbox_order: VecDeque<Cid>,
    pub(super) resend: bool,
    pub(super) woken: bool,
    /// Fingerprints of what it was ever asked for, with how often.
    remembered: HashMap<u64, u8>,
    remembered_order: VecDeque<u64>,
    hasher: RandomState,
}

impl Peer {
    pub(super) fn new(limits: &Limits) -> Self {
        Peer {
            connected: false,
            unsupported: false,
            score: 0.5,
            usable: true,
            asks: HashMap::new(),
            order: VecDeque::new(),
            inflight: 0,
            window: limits.window_floor,
            lateness: Lateness::InTime,
            blamed: false,
            strikes: 0,
            last_progress: None,
            last_heard: None,
            latency: Ring::default(),
            gap: Ring::default(),
            age: Ring::default(),
            late_after: limits.late_unknown,
            rtt: None,
            rate: None,
            rate_from: None,
            rate_bytes: 0,
            remote: HashMap::new(),
            outbox: HashMap::new(),
            outbox_order: VecDeque::new(),
            resend: true,
            woken: false,
            remembered: HashMap::new(),
            remembered_order: VecDeque::new(),
            hasher: RandomState::new(),
        }
    }

    /// Whether it can be asked anything at all.
    pub(super) fn reachable(&self) -> bool {
        self.connected && !self.unsupported && self.usable
    }

    pub(super) fn has_room(&self, bytes: usize, limits: &Limits) -> bool {
        let asks = if self.strikes > 0 { PROBE_ASKS } else { limits.asks_per_peer };
        self.asks.is_empty() || (self.inflight + bytes <= self.window && self.asks.len() < asks)
    }

    /// A guess when `bytes` more would be here, in seconds, made worse for peers of little repute.
    pub(super) fn eta(&self, bytes: usize) -> f64 {
        let latency = self.rtt.unwrap_or(Duration::from_millis(100)).as_secs_f64();
        let rate = self.rate.unwrap_or(8e6).max(1e3);
        (latency + (self.inflight + bytes) as f64 / rate) / self.score.max(0.01).powi(2)
    }

    pub(super) fn ask(&mut self, cid: Cid, bytes: usize, promised: bool, quiet: bool, now: Instant) {
        let idle = self.asks.is_empty();
        if let Some(old) = self.asks.insert(cid, Ask { at: now, bytes, idle, promised, quiet }) {
            self.inflight -= old.bytes;
        }
        self.inflight += bytes;
        self.order.push_back((cid, now));
        if self.order.len() > 4 * self.asks.len() + 64 {
            let asks = &self.asks;
            self.order.retain(|(cid, at)| asks.get(cid).is_some_and(|a| a.at == *at));
        }
    }

    pub(super) fn unask(&mut self, cid: &Cid) -> Option<Ask> {
        let ask = self.asks.remove(cid)?;
        self.inflight -= ask.bytes;
        Some(ask)
    }

    /// The oldest outstanding ask.
    pub(super) fn oldest(&mut self) -> Option<(Cid, Ask)> {
        while let Some((cid, at)) = self.order.front() {
            match self.asks.get(cid) {
                Some(ask) if ask.at == *at => return Some((*cid, *ask)),
                _ => {
                    self.order.pop_front();
                }
            }
        }
        None
    }

    /// The `n` oldest outstanding asks.
    pub(super) fn oldest_asks(&self, n: usize) -> Vec<Cid> {
        let live = self.order.iter().filter(|(cid, at)| self.asks.get(cid).is_some_and(|a| a.at == *at));
        live.take(n).map(|(cid, _)| *cid).collect()
    }

    /// Since when it owes something without having given anything.
    pub(super) fn owing_since(&mut self) -> Option<Instant> {
        let (_, ask) = self.oldest()?;
        Some(self.last_progress.map_or(ask.at, |p| p.max(ask.at)))
    }

    /// How long it may owe before each step of lateness.
    pub(super) fn late_after(&self, step: Lateness, limits: &Limits) -> Duration {
        match step {
            Lateness::InTime => Duration::ZERO,
            Lateness::Late => self.late_after,
            Lateness::Stalled => self.late_after * 2,
            Lateness::TimedOut => {
                let first = (self.late_after * 4).clamp(limits.timeout_floor, limits.timeout_ceiling);
                first.saturating_mul(1 << self.strikes.min(8)).min(limits.timeout_ceiling * 2)
            }
        }
    }

    /// Since when silence counts towards a step of lateness: bytes on their way show that it is alive, not that it is
    /// in time, and not for ever.
    pub(super) fn silent_since(&self, step: Lateness, owing: Instant, limits: &Limits) -> Instant {
        match self.last_heard {
            Some(heard) if step == Lateness::TimedOut => heard.clamp(owing, owing + limits.timeout_ceiling * 4),
            _ => owing,
        }
    }

    /// When the oldest ask has been passed over for too long, others having been answered since.
    pub(super) fn too_old_at(&mut self, limits: &Limits) -> Option<Instant> {
        let (_, ask) = self.oldest()?;
        self.last_progress.is_some_and(|p| p > ask.at).then(|| ask.at + self.max_age(limits))
    }

    /// Bytes of a message came.
    pub(super) fn heard(&mut self, at: Instant) {
        self.last_heard = Some(self.last_heard.map_or(at, |heard| heard.max(at)));
    }

    /// Whether its wantlist has the block itself, written or about to be.
    pub(super) fn lists_block(&self, cid: &Cid) -> bool {
        match self.outbox.get(cid) {
            Some(entry) => !entry.cancel && entry.kind == WantKind::Block,
            None => !self.resend && self.remote.get(cid) == Some(&WantKind::Block),
        }
    }

    /// How old a single ask may grow while others are answered.
    fn max_age(&self, limits: &Limits) -> Duration {
        self.age.p95().map_or(limits.age_floor, |p95| (p95 * 6).max(limits.age_floor))
    }

    /// It answered `asks` with `bytes` of blocks at `at`. Gives the time it took, for its reputation.
    pub(super) fn progress(&mut self, asks: &[Ask], bytes: u64, at: Instant, limits: &Limits) -> Duration {
        let mut service = Duration::ZERO;
        if let Some(oldest) = asks.iter().map(|a| a.at).min() {
            let since = self.last_progress.map_or(oldest, |p| p.max(oldest));
            service = at.saturating_duration_since(since);
            self.gap.push(service);
            for ask in asks {
                let age = at.saturating_duration_since(ask.at);
                if ask.idle {
                    self.latency.push(age);
                    self.rtt = Some(self.rtt.map_or(age, |r| if age < r { age } else { (r * 7 + age) / 8 }));
                }
                self.age.push(age);
            }
            let p95 = self.latency.p95().max(self.gap.p95()).unwrap_or(limits.late_unknown);
            self.late_after = p95.mul_f64(1.5).clamp(limits.late_floor, limits.late_ceiling);
            self.measure_rate(since, bytes, at, limits);
        }
        self.last_progress = Some(self.last_progress.map_or(at, |p| p.max(at)));
        self.lateness = Lateness::InTime;
        self.strikes = 0;
        self.blamed = false;
        service
    }

    fn measure_rate(&mut self, since: Instant, bytes: u64, at: Instant, limits: &Limits) {
        // Idle time does not count.
        let from = match self.rate_from {
            Some(from) if self.last_progress.is_some_and(|p| since <= p) => from,
            _ => {
                self.rate_bytes = 0;
                since
            }
        };
        self.rate_from = Some(from);
        self.rate_bytes += bytes;
        let span = at.saturating_duration_since(from);
        if span < RATE_SPAN {
            return;
        }
        let sample = self.rate_bytes as f64 / span.as_secs_f64();
        self.rate = Some(self.rate.map_or(sample, |r| r + 0.5 * (sample - r)));
        self.rate_from = Some(at);
        self.rate_bytes = 0;
        let delay = self.rtt.unwrap_or(limits.late_floor).as_secs_f64();
        let product = 2.0 * self.rate.unwrap_or(0.0) * delay;
        self.window = (product as usize).clamp(limits.window_floor, limits.window_ceiling);
    }

    fn fingerprint(&self, cid: &Cid) -> u64 {
        self.hasher.hash_one(cid.hash())
    }

    fn remember(&mut self, cid: &Cid) {
        let print = self.fingerprint(cid);
        let count = self.remembered.entry(print).or_insert(0);
        *count = count.saturating_add(1);
        self.remembered_order.push_back(print);
        if self.remembered_order.len() > MAX_REMEMBERED
            && let Some(old) = self.remembered_order.pop_front()
        {
            self.take_print(old);
        }
    }

    fn take_print(&mut self, print: u64) -> bool {
        let Some(count) = self.remembered.get_mut(&print) else { return false };
        *count -= 1;
        if *count == 0 {
            self.remembered.remove(&print);
        }
        true
    }

    /// Whether it was ever asked for this; each asking covers one copy.
    pub(super) fn was_asked(&mut self, cid: &Cid) -> bool {
        let print = self.fingerprint(cid);
        self.take_print(print)
    }

    /// Whether it was ever asked for anything it has not sent.
    pub(super) fn owes_anything(&self) -> bool {
        !self.remembered.is_empty()
    }

    /// Queues an entry for it; true when it has to be woken.
    pub(super) fn tell(&mut self, entry: Entry) -> bool {
        self.remember(&entry.cid);
        if self.outbox.insert(entry.cid, entry).is_none() {
            self.outbox_order.push_back(entry.cid);
        }
        !std::mem::replace(&mut self.woken, true)
    }

    /// Takes a want back; true when it has to be woken.
    pub(super) fn cancel(&mut self, cid: &Cid) -> bool {
        if !self.remote.contains_key(cid) {
            // Never left: the order keeps a stale id, skipped when drained.
            self.outbox.remove(cid);
            return false;
        }
        let entry = Entry { cid: *cid, priority: 0, kind: WantKind::Block, cancel: true, send_dont_have: false };
        if self.outbox.insert(*cid, entry).is_none() {
            self.outbox_order.push_back(*cid);
        }
        !std::mem::replace(&mut self.woken, true)
    }

    /// It sent the block: the want is no longer on its list.
    pub(super) fn served(&mut self, cid: &Cid) {
        self.remote.remove(cid);
        self.outbox.remove(cid);
    }

    /// The next entries to write, and whether they are the whole list.
    pub(super) fn drain(&mut self, max: usize) -> Option<(Vec<Entry>, bool)> {
        let full = std::mem::take(&mut self.resend);
        if full {
            // A new stream starts from a whole list: what was written to an old one may be lost.
            for (cid, kind) in std::mem::take(&mut self.remote) {
                match self.outbox.get(&cid) {
                    Some(entry) if entry.cancel => {
                        self.outbox.remove(&cid);
                    }
                    Some(_) => {}
                    None => {
                        let entry = Entry { cid, priority: 1, kind, cancel: false, send_dont_have: true };
                        // Told twice, it may be sent twice.
                        self.remember(&cid);
                        self.outbox.insert(cid, entry);
                        self.outbox_order.push_back(cid);
                    }
                }
            }
        }
        let mut entries = Vec::new();
        while entries.len() < max
            && let Some(cid) = self.outbox_order.pop_front()
        {
            let Some(entry) = self.outbox.remove(&cid) else { continue };
            if entry.cancel {
                self.remote.remove(&cid);
            } else {
                self.remote.insert(cid, entry.kind);
            }
            entries.push(entry);
        }
        if self.outbox_order.is_empty() {
            self.woken = false;
        }
        if entries.is_empty() {
            self.resend |= full;
            return None;
        }
        Some((entries, full))
    }

    /// Whether it owes in a way that counts against it when another delivers instead; true once per silence.
    pub(super) fn take_blame(&mut self) -> bool {
        let to_blame =
            self.lateness >= Lateness::Stalled || self.lateness == Lateness::Late && self.last_progress.is_none();
        to_blame && !std::mem::replace(&mut self.blamed, true)
    }

    /// Whether anything is on its list or waits to be put there.
    pub(super) fn is_busy(&self) -> bool {
        !self.outbox.is_empty() || !self.remote.is_empty()
    }

    /// The connection is gone, and its wantlist with it. Gives what it was told.
    pub(super) fn reset(&mut self) -> Vec<Cid> {
        self.asks.clear();
        self.order.clear();
        self.inflight = 0;
        self.lateness = Lateness::InTime;
        (self.last_progress, self.last_heard, self.strikes) = (None, None, 0);
        self.resend = true;
        self.woken = false;
        self.outbox_order.clear();
        let told = self.remote.drain().map(|(cid, _)| cid);
        told.chain(self.outbox.drain().map(|(cid, _)| cid)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Block, Codec, Hash, time};

    fn cid(n: u32) -> Cid {
        *Block::new(Codec::Raw, Hash::Sha2_256, n.to_be_bytes().to_vec()).unwrap().cid()
    }

    fn entry(n: u32, kind: WantKind) -> Entry {
        Entry { cid: cid(n), priority: 1, kind, cancel: false, send_dont_have: true }
    }

    #[test]
    fn percentiles() {
        let mut ring = Ring::default();
        assert_eq!(ring.p95(), None);
        (1..=100).for_each(|n| ring.push(Duration::from_millis(n)));
        assert_eq!(ring.p95(), Some(Duration::from_millis(97)));
    }

    #[test]
    fn the_outbox_merges_and_a_new_stream_gets_the_whole_list() {
        let mut p = Peer::new(&Limits::default());
        assert!(p.tell(entry(1, WantKind::Have)));
        assert!(!p.tell(entry(1, WantKind::Block)), "already woken");
        p.tell(entry(2, WantKind::Have));
        p.tell(entry(3, WantKind::Have));
        p.cancel(&cid(3));
        let (entries, full) = p.drain(100).unwrap();
        assert!(full);
        assert_eq!(entries, [entry(1, WantKind::Block), entry(2, WantKind::Have)]);
        assert!(p.cancel(&cid(2)));
        let (entries, full) = p.drain(100).unwrap();
        assert!(!full && entries[0].cancel && entries.len() == 1);
        assert_eq!(p.drain(100), None);
        p.resend = true;
        let (entries, full) = p.drain(100).unwrap();
        assert!(full && entries.len() == 1 && entries[0].cid == cid(1));
    }

    #[test]
    fn each_asking_covers_one_copy() {
        let mut p = Peer::new(&Limits::default());
        p.tell(entry(1, WantKind::Have));
        p.tell(entry(1, WantKind::Block));
        assert!(p.was_asked(&cid(1)) && p.was_asked(&cid(1)));
        assert!(!p.was_asked(&cid(1)) && !p.was_asked(&cid(2)));
    }

    #[test]
    fn the_window_follows_bandwidth_times_delay() {
        let limits = Limits::default();
        let mut p = Peer::new(&limits);
        let t0 = time::now();
        // 100 ms away, 100 MB/s: 2 x 10 MB.
        p.ask(cid(0), 1, false, false, t0);
        let ask = p.unask(&cid(0)).unwrap();
        p.progress(&[ask], 100_000, t0 + Duration::from_millis(100), &limits);
        let mut at = t0 + Duration::from_millis(100);
        for n in 1..40 {
            p.ask(cid(n), 1, false, false, at);
            p.asks.get_mut(&cid(n)).unwrap().idle = false;
            let ask = p.unask(&cid(n)).unwrap();
            at += Duration::from_millis(10);
            p.progress(&[ask], 1_000_000, at, &limits);
        }
        assert!((15_000_000..25_000_000).contains(&p.window), "{}", p.window);
    }
}
