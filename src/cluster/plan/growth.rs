//! Sans-IO: how many masters vote: 1, 3 or 5, grown in pairs so that the number stays odd.

use crate::base::NodeId;

/// The most voters.
pub const MAX_VOTERS: usize = 5;
/// A learner this many entries behind, or fewer, has caught up.
pub const MAX_LAG: u64 = 1_000;

/// A master that does not vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learner {
    /// Its number.
    pub node: NodeId,
    /// The last index it said it applied; none when it has not been heard lately.
    pub applied: Option<u64>,
}

/// Which learners shall vote now: two that have caught up, the earliest admitted first, as long as fewer than
/// [`MAX_VOTERS`] vote. An even number of voters (left by a removal) is mended with one.
pub fn promote(voters: usize, learners: &[Learner], committed: u64) -> Vec<NodeId> {
    let wanted = match voters {
        0 => return Vec::new(),
        v if v >= MAX_VOTERS => return Vec::new(),
        v if v % 2 == 0 => 1,
        _ => 2,
    };
    let mut ready: Vec<NodeId> = learners
        .iter()
        .filter(|l| l.applied.is_some_and(|applied| committed.saturating_sub(applied) <= MAX_LAG))
        .map(|l| l.node)
        .collect();
    ready.sort_unstable();
    ready.truncate(wanted);
    if ready.len() == wanted { ready } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learner(n: u64, applied: Option<u64>) -> Learner {
        Learner { node: NodeId(n), applied }
    }

    #[test]
    fn voters_grow_in_pairs_and_stop_at_five() {
        let two = [learner(3, Some(10)), learner(2, Some(10))];
        assert_eq!(promote(1, &two, 10), vec![NodeId(2), NodeId(3)]);
        assert_eq!(promote(3, &two, 10), vec![NodeId(2), NodeId(3)]);
        assert!(promote(1, &two[..1], 10).is_empty(), "two voters tolerate no more than one");
        assert!(promote(5, &two, 10).is_empty());
        assert!(promote(0, &two, 10).is_empty(), "nothing is known yet");
        assert_eq!(promote(2, &two, 10), vec![NodeId(2)], "an even number is mended with one");
        assert_eq!(promote(4, &two, 10), vec![NodeId(2)]);
    }

    #[test]
    fn a_silent_or_lagging_learner_waits() {
        let list = [learner(2, None), learner(3, Some(0)), learner(4, Some(5_000))];
        assert!(promote(1, &list, 5_000).is_empty());
        assert_eq!(promote(1, &list, 1_000), vec![NodeId(3), NodeId(4)]);
        // One that has applied more than this leader knows to be committed is not behind.
        assert_eq!(promote(1, &list[1..], 900), vec![NodeId(3), NodeId(4)]);
    }
}
