//! Sans-IO: how many messages a publisher may send: a bucket of tokens for each, forgotten when it is full again.

use std::collections::HashMap;

use crate::base::PeerId;

/// Messages a second that are passed on for one publisher.
pub const RATE_PER_SECOND: f64 = 200.0;
/// Messages that may come at once.
pub const BURST: f64 = 800.0;
/// Publishers remembered at once.
const MAX_PUBLISHERS: usize = 4_096;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at_ms: u64,
}

impl Bucket {
    fn refill(&mut self, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.at_ms) as f64 / 1000.0;
        self.tokens = (self.tokens + passed * RATE_PER_SECOND).min(BURST);
        self.at_ms = self.at_ms.max(now_ms);
    }
}

/// The buckets of all publishers.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    map: HashMap<PeerId, Bucket>,
}

impl Buckets {
    /// Takes `cost` tokens; false when the publisher has too few, or when too many publishers are active.
    pub fn take(&mut self, publisher: PeerId, cost: f64, now_ms: u64) -> bool {
        if !self.map.contains_key(&publisher) && self.map.len() >= MAX_PUBLISHERS {
            self.map.retain(|_, b| {
                b.refill(now_ms);
                b.tokens < BURST
            });
            if self.map.len() >= MAX_PUBLISHERS {
                return false;
            }
        }
        let bucket = self.map.entry(publisher).or_insert(Bucket { tokens: BURST, at_ms: now_ms });
        bucket.refill(now_ms);
        let enough = bucket.tokens >= cost;
        if enough {
            bucket.tokens -= cost;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let (mut buckets, a, b) = (Buckets::default(), PeerId::random(), PeerId::random());
        let taken = (0..10_000).filter(|_| buckets.take(a, 1.0, 0)).count();
        assert_eq!(taken, BURST as usize);
        assert!(buckets.take(b, 1.0, 0), "others are not affected");
        let taken = (0..10_000).filter(|_| buckets.take(a, 1.0, 1_000)).count();
        assert_eq!(taken, RATE_PER_SECOND as usize);
        assert!(!buckets.take(a, 1.0, 500), "time does not go back");
    }

    #[test]
    fn the_number_of_publishers_is_bounded() {
        let mut buckets = Buckets::default();
        for _ in 0..MAX_PUBLISHERS {
            assert!(buckets.take(PeerId::random(), 1.0, 0));
        }
        assert!(!buckets.take(PeerId::random(), 1.0, 0));
        // Full buckets are forgotten, so that a flood does not lock others out for long.
        assert!(buckets.take(PeerId::random(), 1.0, 1_000));
        assert_eq!(buckets.map.len(), 1);
    }
}
