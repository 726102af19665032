//! Sans-IO: what peers have done for us, how that fades, and what it is worth: one score in [0, 1] per peer.
//!
//! The success rate is a Beta distribution's mean whose evidence decays by half every day, so a new peer starts in the
//! middle and an old quarrel is forgotten. Speed counts for less than success, and only as far as there is evidence.
//! Times are wall-clock milliseconds since 1970, because records outlive the process.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::base::{PeerId, backoff::Backoff, cbor};

/// Peers remembered at most; the least telling records are forgotten first.
pub const MAX_PEERS: usize = 8192;
/// The longest wait after failures, whatever their number.
pub const MAX_BACKOFF: Duration = Duration::from_secs(300);
/// How long a peer whose bytes did not match a named CID is left alone.
pub const BAN_BAD_BYTES: Duration = Duration::from_secs(24 * 3600);
/// How long a peer that keeps sending what nobody asked for is left alone.
pub const BAN_UNASKED: Duration = Duration::from_secs(3600);
/// The score of a peer nothing is known about.
pub const NEUTRAL: f64 = 0.5;

/// Evidence halves in this time, in milliseconds (one day).
const HALF_LIFE_MS: f64 = 24.0 * 3_600_000.0;
/// Successes and failures assumed before any evidence: Beta(2, 2).
const PRIOR: f64 = 2.0;
/// Evidence beyond this many deeds is not piled up, so that a long good name cannot hide a new failure.
const MAX_EVIDENCE: f64 = 200.0;
/// Weight of the newest sample in the moving averages.
const ALPHA: f64 = 0.25;
/// Unasked bytes that are always forgiven.
const UNASKED_FREE: f64 = 4.0 * 1024.0 * 1024.0;
/// Encoded size of a record at most, in bytes.
const MAX_RECORD_BYTES: usize = 512;

const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), max: MAX_BACKOFF };

/// Something a peer did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deed {
    /// It delivered what was asked.
    Delivered {
        /// Bytes delivered.
        bytes: u64,
        /// From asking to the first of them.
        first_byte: Duration,
        /// From asking to the last of them.
        whole: Duration,
    },
    /// It answered nothing in its time.
    Timeout,
    /// It said it had a block and did not deliver it.
    HaveWithoutDelivery,
    /// It sent bytes nobody had asked it for.
    Unasked {
        /// How many.
        bytes: u64,
    },
    /// Its bytes did not match the CID that its answer was bound to.
    BadBytes,
    /// It could not be reached.
    DialFailed,
    /// It said honestly that it does not have something.
    DontHave,
}

/// What is remembered of one peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    /// Successes and failures, decayed to `at_ms`.
    good: f64,
    bad: f64,
    at_ms: u64,
    /// Moving averages; `samples` decays with the rest and says how far to trust them.
    first_byte_ms: f64,
    bytes_per_s: f64,
    samples: f64,
    /// Decayed bytes delivered and bytes nobody asked for.
    delivered: f64,
    unasked: f64,
    /// Failures since the last success.
    streak: u32,
    retry_at_ms: u64,
    banned_until_ms: u64,
}

/// What a peer is worth, with what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// The whole, in [0, 1]; 0.5 when nothing is known, 0 while banned.
    pub value: f64,
    /// The decayed success rate, in [0, 1].
    pub success: f64,
    /// Decayed number of deeds behind it.
    pub evidence: f64,
    /// Milliseconds from asking to the first byte, averaged.
    pub first_byte_ms: Option<f64>,
    /// Bytes per second, averaged.
    pub bytes_per_second: Option<f64>,
    /// Decayed bytes it has delivered.
    pub delivered_bytes: f64,
    /// Decayed bytes it sent without being asked.
    pub unasked_bytes: f64,
    /// Failures since its last success.
    pub failures_in_a_row: u32,
    /// Not asked again before this time (milliseconds since 1970).
    pub retry_at_ms: Option<u64>,
    /// Banned until this time (milliseconds since 1970).
    pub banned_until_ms: Option<u64>,
}

impl Record {
    fn decay(&mut self, now_ms: u64) {
        let past = now_ms.saturating_sub(self.at_ms) as f64;
        if past > 0.0 {
            let keep = 0.5f64.powf(past / HALF_LIFE_MS);
            for v in [&mut self.good, &mut self.bad, &mut self.samples, &mut self.delivered, &mut self.unasked] {
                *v *= keep;
            }
            self.at_ms = now_ms;
        }
    }

    fn succeed(&mut self, weight: f64) {
        self.good += weight;
        self.cap();
        self.streak = 0;
        self.retry_at_ms = 0;
    }

    fn fail(&mut self, weight: f64, now_ms: u64, jitter: f64) {
        self.bad += weight;
        self.cap();
        self.streak = self.streak.saturating_add(1);
        self.retry_at_ms = now_ms + BACKOFF.wait(self.streak, jitter).as_millis() as u64;
    }

    fn cap(&mut self) {
        let sum = self.good + self.bad;
        if sum > MAX_EVIDENCE {
            self.good *= MAX_EVIDENCE / sum;
            self.bad *= MAX_EVIDENCE / sum;
        }
    }

    fn sample(&mut self, bytes: u64, first_byte: Duration, whole: Duration) {
        let first_ms = first_byte.as_secs_f64() * 1e3;
        let rate = bytes as f64 / whole.as_secs_f64().max(1e-4);
        if self.samples < 0.5 {
            self.first_byte_ms = first_ms;
            self.bytes_per_s = rate;
        } else {
            self.first_byte_ms += ALPHA * (first_ms - self.first_byte_ms);
            self.bytes_per_s += ALPHA * (rate - self.bytes_per_s);
        }
        self.samples = (self.samples + 1.0).min(MAX_EVIDENCE);
        self.delivered += bytes as f64;
    }

    fn score(&self, now_ms: u64) -> Score {
        let mut r = self.clone();
        r.decay(now_ms);
        let success = (r.good + PRIOR) / (r.good + r.bad + 2.0 * PRIOR);
        // Half a mark at 100 ms and at 4 MB/s; without evidence speed is neutral.
        let latency = 100.0 / (100.0 + r.first_byte_ms);
        let rate = r.bytes_per_s / (r.bytes_per_s + 4e6);
        let trust = r.samples / (r.samples + 2.0);
        let speed = 0.5 + ((latency + rate) / 2.0 - 0.5) * trust;
        let honesty = (UNASKED_FREE / 4.0 + r.delivered) / (UNASKED_FREE / 4.0 + r.delivered + r.unasked);
        let banned = r.banned_until_ms > now_ms;
        let value = if banned { 0.0 } else { ((0.8 * success + 0.2 * speed) * honesty).clamp(0.0, 1.0) };
        Score {
            value,
            success,
            evidence: r.good + r.bad,
            first_byte_ms: (r.samples > 0.01).then_some(r.first_byte_ms),
            bytes_per_second: (r.samples > 0.01).then_some(r.bytes_per_s),
            delivered_bytes: r.delivered,
            unasked_bytes: r.unasked,
            failures_in_a_row: r.streak,
            retry_at_ms: (r.retry_at_ms > now_ms).then_some(r.retry_at_ms),
            banned_until_ms: banned.then_some(r.banned_until_ms),
        }
    }

    /// How much would be lost by forgetting it.
    fn weight(&self, now_ms: u64) -> f64 {
        let ban = if self.banned_until_ms > now_ms { MAX_EVIDENCE } else { 0.0 };
        let past = now_ms.saturating_sub(self.at_ms) as f64;
        (self.good + self.bad) * 0.5f64.powf(past / HALF_LIFE_MS) + ban
    }

    fn is_sane(&self) -> bool {
        [self.good, self.bad, self.first_byte_ms, self.bytes_per_s, self.samples, self.delivered, self.unasked]
            .iter()
            .all(|v| v.is_finite() && *v >= 0.0)
    }
}

/// The records of all peers that did something.
#[derive(Debug, Default)]
pub struct Book {
    peers: HashMap<PeerId, Record>,
    dirty: HashSet<PeerId>,
}

impl Book {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes down what `peer` did at `now_ms`; `jitter` in [0, 1) shortens the wait after a failure.
    pub fn note(&mut self, peer: PeerId, deed: Deed, now_ms: u64, jitter: f64) {
        let record = self.peers.entry(peer).or_default();
        record.decay(now_ms);
        record.at_ms = now_ms;
        match deed {
            Deed::Delivered { bytes, first_byte, whole } => {
                record.sample(bytes, first_byte, whole);
                record.succeed(1.0);
            }
            // An honest "no" keeps a peer reachable but says nothing about its deliveries.
            Deed::DontHave => {
                record.streak = 0;
                record.retry_at_ms = 0;
            }
            Deed::Timeout => record.fail(2.0, now_ms, jitter),
            Deed::HaveWithoutDelivery => record.fail(2.0, now_ms, jitter),
            Deed::DialFailed => record.fail(0.5, now_ms, jitter),
            Deed::Unasked { bytes } => {
                record.unasked += bytes as f64;
                if record.unasked > UNASKED_FREE.max(record.delivered / 10.0) {
                    record.banned_until_ms = now_ms + BAN_UNASKED.as_millis() as u64;
                }
            }
            Deed::BadBytes => {
                record.bad += 10.0;
                record.cap();
                record.banned_until_ms = now_ms + BAN_BAD_BYTES.as_millis() as u64;
            }
        }
        self.dirty.insert(peer);
        if self.peers.len() > MAX_PEERS {
            self.forget_some(now_ms);
        }
    }

    /// What `peer` is worth at `now_ms`.
    pub fn score(&self, peer: &PeerId, now_ms: u64) -> Score {
        self.peers.get(peer).cloned().unwrap_or_default().score(now_ms)
    }

    /// Whether `peer` may be asked now: neither banned nor waiting after failures.
    pub fn usable(&self, peer: &PeerId, now_ms: u64) -> bool {
        self.peers.get(peer).is_none_or(|r| r.banned_until_ms <= now_ms && r.retry_at_ms <= now_ms)
    }

    /// Whether `peer` has delivered something that is not yet forgotten.
    pub fn has_delivered(&self, peer: &PeerId, now_ms: u64) -> bool {
        self.peers.get(peer).is_some_and(|r| r.score(now_ms).delivered_bytes >= 1.0)
    }

    /// Every peer with a record and its score at `now_ms`, best first.
    pub fn scores(&self, now_ms: u64) -> Vec<(PeerId, Score)> {
        let mut all: Vec<_> = self.peers.iter().map(|(p, r)| (*p, r.score(now_ms))).collect();
        all.sort_by(|a, b| b.1.value.total_cmp(&a.1.value).then_with(|| a.0.cmp(&b.0)));
        all
    }

    /// Takes what changed since the last call, to be persisted: key and value, or `None` for a forgotten peer.
    pub fn take_dirty(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let peers = &self.peers;
        self.dirty.drain().map(|p| (p.to_bytes(), peers.get(&p).map(cbor::to_vec))).collect()
    }

    /// Restores one persisted record; damaged ones are skipped (they are only soft knowledge). False when skipped.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> bool {
        let (Ok(peer), Ok(record)) = (PeerId::from_bytes(key), cbor::from_slice::<Record>(value, MAX_RECORD_BYTES))
        else {
            return false;
        };
        if !record.is_sane() || self.peers.len() >= MAX_PEERS {
            return false;
        }
        self.peers.insert(peer, record);
        true
    }

    fn forget_some(&mut self, now_ms: u64) {
        let mut weights: Vec<(f64, PeerId)> = self.peers.iter().map(|(p, r)| (r.weight(now_ms), *p)).collect();
        weights.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, peer) in weights.into_iter().take(MAX_PEERS / 16) {
            self.peers.remove(&peer);
            self.dirty.insert(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T0: u64 = 1_700_000_000_000;
    const GOOD: Deed =
        Deed::Delivered { bytes: 262_144, first_byte: Duration::from_millis(5), whole: Duration::from_millis(8) };

    #[test]
    fn a_new_peer_is_in_the_middle_and_deeds_move_it() {
        let peer = PeerId::random();
        let mut book = Book::new();
        assert_eq!(book.score(&peer, T0).value, NEUTRAL);
        book.note(peer, GOOD, T0, 0.0);
        let good = book.score(&peer, T0).value;
        assert!(good > NEUTRAL, "{good}");
        let bad_peer = PeerId::random();
        book.note(bad_peer, Deed::Timeout, T0, 0.0);
        assert!(book.score(&bad_peer, T0).value < NEUTRAL);
        assert_eq!(book.scores(T0).first().map(|s| s.0), Some(peer));
        assert!(book.has_delivered(&peer, T0) && !book.has_delivered(&bad_peer, T0));
    }

    #[test]
    fn knowledge_fades_towards_the_middle() {
        let (good, bad) = (PeerId::random(), PeerId::random());
        let mut book = Book::new();
        for _ in 0..20 {
            book.note(good, GOOD, T0, 0.0);
            book.note(bad, Deed::HaveWithoutDelivery, T0, 0.0);
        }
        let month = T0 + 30 * 24 * 3_600_000;
        assert!((book.score(&good, month).value - NEUTRAL).abs() < 0.01);
        assert!((book.score(&bad, month).value - NEUTRAL).abs() < 0.01);
        assert!(book.usable(&bad, month));
    }

    #[test]
    fn backoff_grows_to_its_ceiling_and_a_success_ends_it() {
        let peer = PeerId::random();
        let mut book = Book::new();
        for (n, wait) in [1u64, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].into_iter().enumerate() {
            book.note(peer, Deed::Timeout, T0, 0.0);
            assert!(!book.usable(&peer, T0 + wait * 1000 - 1), "failure {n}");
            assert!(book.usable(&peer, T0 + wait * 1000), "failure {n}");
        }
        book.note(peer, GOOD, T0, 0.0);
        assert!(book.usable(&peer, T0));
        book.note(peer, Deed::Timeout, T0, 0.0);
        book.note(peer, Deed::DontHave, T0, 0.0);
        assert!(book.usable(&peer, T0), "an answer ends the wait");
    }

    #[test]
    fn bad_bytes_ban_and_unasked_bytes_are_charged() {
        let (liar, flood) = (PeerId::random(), PeerId::random());
        let mut book = Book::new();
        for _ in 0..50 {
            book.note(liar, GOOD, T0, 0.0);
        }
        book.note(liar, Deed::BadBytes, T0, 0.0);
        assert_eq!(book.score(&liar, T0).value, 0.0);
        assert!(!book.usable(&liar, T0 + 23 * 3_600_000));
        assert!(book.usable(&liar, T0 + 25 * 3_600_000));

        book.note(flood, Deed::Unasked { bytes: 1 << 20 }, T0, 0.0);
        let charged = book.score(&flood, T0).value;
        assert!(charged < NEUTRAL && book.usable(&flood, T0), "{charged}");
        book.note(flood, Deed::Unasked { bytes: 8 << 20 }, T0, 0.0);
        assert!(!book.usable(&flood, T0));
    }

    #[test]
    fn beside_a_stalling_provider_the_good_one_comes_first_and_after_a_restart_too() {
        let (stalling, good) = (PeerId::random(), PeerId::random());
        let mut book = Book::new();
        book.note(stalling, Deed::HaveWithoutDelivery, T0, 0.5);
        book.note(good, GOOD, T0, 0.5);
        let first = |book: &Book, now: u64| book.scores(now)[0].0;
        assert_eq!(first(&book, T0), good);

        let mut restarted = Book::new();
        for (key, value) in book.take_dirty() {
            assert!(restarted.restore(&key, &value.unwrap()));
        }
        let later = T0 + 60_000;
        assert_eq!(first(&restarted, later), good);
        assert_eq!(restarted.scores(later), book.scores(later));
        assert!(book.take_dirty().is_empty());
    }

    #[test]
    fn damaged_records_are_skipped() {
        let mut book = Book::new();
        let peer = PeerId::random();
        assert!(!book.restore(b"junk", &[]));
        assert!(!book.restore(&peer.to_bytes(), b"junk"));
        let nan = Record { good: f64::NAN, ..Record::default() };
        assert!(!book.restore(&peer.to_bytes(), &cbor::to_vec(&nan)));
        assert_eq!(book.score(&peer, T0).value, NEUTRAL);
    }

    #[test]
    fn the_book_is_bounded_and_keeps_the_banned() {
        let mut book = Book::new();
        let banned = PeerId::random();
        book.note(banned, Deed::BadBytes, T0, 0.0);
        for _ in 0..MAX_PEERS + 10 {
            book.note(PeerId::random(), Deed::DialFailed, T0, 0.0);
        }
        assert!(book.peers.len() <= MAX_PEERS);
        assert!(!book.usable(&banned, T0));
    }

    fn any_deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            (0u64..1 << 40, 0u64..100_000, 0u64..100_000).prop_map(|(bytes, a, b)| Deed::Delivered {
                bytes,
                first_byte: Duration::from_millis(a),
                whole: Duration::from_millis(a + b),
            }),
            Just(Deed::Timeout),
            Just(Deed::HaveWithoutDelivery),
            (0u64..1 << 40).prop_map(|bytes| Deed::Unasked { bytes }),
            Just(Deed::BadBytes),
            Just(Deed::DialFailed),
            Just(Deed::DontHave),
        ]
    }

    proptest! {
        #[test]
        fn scores_stay_in_bounds_whatever_happens(
            deeds in proptest::collection::vec((any_deed(), 0u64..1 << 36, 0.0f64..1.0), 1..200),
        ) {
            let peer = PeerId::random();
            let mut book = Book::new();
            let mut last = T0;
            for (deed, jump, jitter) in deeds {
                // The wall clock may also jump back.
                let now = T0 + jump;
                book.note(peer, deed, now, jitter);
                let score = book.score(&peer, now);
                prop_assert!((0.0..=1.0).contains(&score.value), "{score:?}");
                let retry = score.retry_at_ms.unwrap_or(now);
                prop_assert!(retry <= now.max(last) + MAX_BACKOFF.as_millis() as u64);
                last = last.max(now);
            }
        }
    }
}
