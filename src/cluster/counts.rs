//! Sans-IO: what the cluster's services count, for `/metrics`.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

type Pair = (&'static str, &'static str);

/// The topic of specs, as a label.
pub const TASKS: &str = "tasks";
/// The topic of receipts, as a label.
pub const RECEIPTS: &str = "receipts";

/// A verdict on a message of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good: used and passed on.
    Accepted,
    /// Forged, foreign, expired or malformed: refused.
    Rejected,
    /// Too many of its publisher: not passed on, without blame.
    Ignored,
}

impl Verdict {
    fn label(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Rejected => "rejected",
            Verdict::Ignored => "ignored",
        }
    }
}

/// The counters. Cheap to clone; clones are the same counters.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    messages: Family<[Pair; 2], Counter>,
    calls: Family<[Pair; 1], Counter>,
    outcomes: Family<[Pair; 1], Counter>,
    running: Gauge,
}

impl Counts {
    /// Counters at zero, shown in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let counts = Counts::default();
        let messages = counts.messages.clone();
        registry.register("cluster_messages", "Messages of the cluster's topics by verdict", messages);
        registry.register("cluster_calls", "Calls of other nodes by kind", counts.calls.clone());
        let outcomes = counts.outcomes.clone();
        registry.register("cluster_outcomes", "Outcomes that workers told this leader, by verdict", outcomes);
        registry.register("cluster_attempts", "Attempts at tasks that run here now", counts.running.clone());
        counts
    }

    /// A message of `topic` was judged.
    pub fn judged(&self, topic: &'static str, verdict: Verdict) {
        self.messages.get_or_create(&[("topic", topic), ("verdict", verdict.label())]).inc();
    }

    /// A call of `kind` came.
    pub fn called(&self, kind: &'static str) {
        self.calls.get_or_create(&[("kind", kind)]).inc();
    }

    /// An outcome that a worker told was `accepted` or is `stale`.
    pub fn decided(&self, verdict: &'static str) {
        self.outcomes.get_or_create(&[("verdict", verdict)]).inc();
    }

    /// So many attempts run here.
    pub fn running(&self, attempts: usize) {
        self.running.set(attempts as i64);
    }

    /// Messages of `topic` with this verdict so far.
    #[cfg(test)]
    pub fn messages(&self, topic: &'static str, verdict: Verdict) -> u64 {
        self.messages.get_or_create(&[("topic", topic), ("verdict", verdict.label())]).get()
    }

    /// Calls of `kind` so far.
    #[cfg(test)]
    pub fn calls(&self, kind: &'static str) -> u64 {
        self.calls.get_or_create(&[("kind", kind)]).get()
    }
}
