//! Sans-IO: who has been silent for how long. Only lost and back become log entries; suspicion never does.

use std::collections::BTreeMap;

use crate::base::NodeId;

/// Silent this long is suspect: it gets no new tasks.
pub const SUSPECT_MS: u64 = 3_000;
/// Silent this long is lost: its tasks go to others.
pub const LOST_MS: u64 = 10_000;

/// How a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Heard lately.
    Alive,
    /// Silent for [`SUSPECT_MS`].
    Suspect,
    /// Silent for [`LOST_MS`].
    Lost,
}

/// What should be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The member is silent for too long.
    Lost(NodeId),
    /// A lost member is heard again.
    Back(NodeId),
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    last_ms: u64,
    logged_lost: bool,
}

/// When each member was last heard.
#[derive(Clone, Debug, Default)]
pub struct Health {
    seen: BTreeMap<NodeId, Seen>,
}

impl Health {
    /// Starts watching a member as the log has it; it gets the whole time from now. Does nothing when it is watched.
    pub fn watch(&mut self, node: NodeId, logged_lost: bool, now_ms: u64) {
        // A member the log calls lost must be heard before it counts again.
        let last_ms = if logged_lost { now_ms.saturating_sub(LOST_MS) } else { now_ms };
        self.seen.entry(node).or_insert(Seen { last_ms, logged_lost });
    }

    /// Stops watching a member.
    pub fn forget(&mut self, node: NodeId) {
        self.seen.remove(&node);
    }

    /// The member was heard.
    pub fn heard(&mut self, node: NodeId, now_ms: u64) {
        if let Some(seen) = self.seen.get_mut(&node) {
            seen.last_ms = seen.last_ms.max(now_ms);
        }
    }

    /// The log now says so.
    pub fn logged(&mut self, change: Change) {
        let (node, lost) = match change {
            Change::Lost(node) => (node, true),
            Change::Back(node) => (node, false),
        };
        if let Some(seen) = self.seen.get_mut(&node) {
            seen.logged_lost = lost;
        }
    }

    /// How a member stands; one that is not watched is lost.
    pub fn standing(&self, node: NodeId, now_ms: u64) -> Standing {
        match self.seen.get(&node).map(|s| now_ms.saturating_sub(s.last_ms)) {
            Some(silent) if silent < SUSPECT_MS => Standing::Alive,
            Some(silent) if silent < LOST_MS => Standing::Suspect,
            _ => Standing::Lost,
        }
    }

    /// How everyone stands.
    pub fn all(&self, now_ms: u64) -> BTreeMap<NodeId, Standing> {
        self.seen.keys().map(|node| (*node, self.standing(*node, now_ms))).collect()
    }

    /// What should be logged now; given again until [`Health::logged`] says that it was.
    pub fn changes(&self, now_ms: u64) -> Vec<Change> {
        let mut out = Vec::new();
        for (&node, seen) in &self.seen {
            match self.standing(node, now_ms) {
                Standing::Lost if !seen.logged_lost => out.push(Change::Lost(node)),
                Standing::Alive if seen.logged_lost => out.push(Change::Back(node)),
                _ => {}
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);

    #[test]
    fn silence_becomes_suspicion_and_then_loss_once() {
        let mut health = Health::default();
        health.watch(A, false, 1_000);
        assert_eq!(health.standing(A, 3_999), Standing::Alive);
        assert_eq!(health.standing(A, 4_000), Standing::Suspect);
        assert!(health.changes(10_999).is_empty(), "suspicion is not logged");
        assert_eq!(health.changes(11_000), vec![Change::Lost(A)]);
        assert_eq!(health.changes(12_000), vec![Change::Lost(A)], "repeated until it is logged");
        health.logged(Change::Lost(A));
        assert!(health.changes(13_000).is_empty());
        health.heard(A, 14_000);
        assert_eq!(health.changes(14_000), vec![Change::Back(A)]);
        health.logged(Change::Back(A));
        assert!(health.changes(14_500).is_empty());
    }

    #[test]
    fn a_new_leader_gives_everyone_the_whole_time_but_believes_the_log() {
        let mut health = Health::default();
        health.watch(A, true, 50_000);
        assert_eq!(health.standing(A, 50_000), Standing::Lost);
        assert!(health.changes(50_000).is_empty());
        health.heard(A, 50_100);
        assert_eq!(health.changes(50_100), vec![Change::Back(A)]);
        health.watch(A, true, 60_000);
        assert_eq!(health.standing(A, 50_200), Standing::Alive, "watching again changes nothing");
        health.heard(A, 40_000);
        assert_eq!(health.standing(A, 50_200), Standing::Alive, "an old beat does not age it");
        health.forget(A);
        assert_eq!(health.standing(A, 50_200), Standing::Lost);
    }
}
