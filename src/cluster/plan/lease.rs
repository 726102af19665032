//! Sans-IO: leases on attempts, on the leader's side and on the worker's.
//!
//! A lease says until when a worker may believe that an attempt is its own. It makes zombies rare; that they are
//! harmless is the fence's work. The worker counts from when it *sent* the beat that was acknowledged, the leader from
//! when it received it, and the worker stops at three quarters: so it stops before the leader gives the task away.

use std::collections::{BTreeMap, VecDeque};

use crate::base::NodeId;

use crate::cluster::model::{Fence, TaskId};

/// How long a lease runs without renewal.
pub const LEASE_MS: u64 = 10_000;
/// After this long without an acknowledged beat the worker stops its attempts itself.
pub const SELF_STOP_MS: u64 = 7_500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lease {
    fence: Fence,
    node: NodeId,
    ends_ms: u64,
    told_ms: u64,
}

/// The leader's book of leases.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    leases: BTreeMap<TaskId, Lease>,
    loads: BTreeMap<NodeId, u32>,
}

/// What a worker's list of running attempts means for the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// The worker runs these but they are no longer its own: cancel them there.
    pub cancel: Vec<(TaskId, Fence)>,
    /// These are the worker's but it does not run them: tell it again.
    pub tell: Vec<(TaskId, Fence)>,
}

impl Leases {
    /// A lease for a new attempt, or for one found in the log by a new leader. A later fence replaces an earlier one.
    pub fn grant(&mut self, task: TaskId, fence: Fence, node: NodeId, now_ms: u64) {
        let lease = Lease { fence, node, ends_ms: now_ms.saturating_add(LEASE_MS), told_ms: now_ms };
        if self.leases.get(&task).is_some_and(|known| known.fence > fence) {
            return;
        }
        self.end(&task);
        self.leases.insert(task, lease);
        *self.loads.entry(node).or_default() += 1;
    }

    /// A beat of `node` that lists what it runs: renews those leases. An attempt told less than `grace_ms` ago may not
    /// have arrived yet and is not told again.
    pub fn reconcile(
        &mut self,
        node: NodeId,
        running: &[(TaskId, Fence)],
        grace_ms: u64,
        renew: bool,
        now_ms: u64,
    ) -> Reconciled {
        let mut out = Reconciled::default();
        for &(task, fence) in running {
            match self.leases.get_mut(&task) {
                Some(lease) if lease.fence == fence && lease.node == node => {
                    if renew {
                        lease.ends_ms = now_ms.saturating_add(LEASE_MS);
                    }
                }
                _ => out.cancel.push((task, fence)),
            }
        }
        for (task, lease) in &mut self.leases {
            let runs = running.iter().any(|(t, f)| t == task && *f == lease.fence);
            if lease.node == node && !runs && now_ms.saturating_sub(lease.told_ms) >= grace_ms {
                lease.told_ms = now_ms;
                out.tell.push((*task, lease.fence));
            }
        }
        out
    }

    /// The attempt ended.
    pub fn end(&mut self, task: &TaskId) {
        let Some(lease) = self.leases.remove(task) else { return };
        if let Some(load) = self.loads.get_mut(&lease.node) {
            *load -= 1;
            if *load == 0 {
                self.loads.remove(&lease.node);
            }
        }
    }

    /// Attempts whose lease is over. They stay until [`Leases::end`] or a new [`Leases::grant`].
    pub fn expired(&self, now_ms: u64) -> Vec<(TaskId, Fence)> {
        self.leases.iter().filter(|(_, l)| l.ends_ms <= now_ms).map(|(t, l)| (*t, l.fence)).collect()
    }

    /// How many attempts `node` has.
    pub fn load(&self, node: NodeId) -> u32 {
        self.loads.get(&node).copied().unwrap_or_default()
    }

    /// The attempt that is current for a task.
    pub fn current(&self, task: &TaskId) -> Option<(Fence, NodeId)> {
        self.leases.get(task).map(|l| (l.fence, l.node))
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }
}

/// The worker's side: whether it may still believe in its leases.
#[derive(Clone, Debug)]
pub struct LeaseGuard {
    sent: VecDeque<(u64, u64)>,
    renewed_ms: u64,
}

/// Beats not yet acknowledged that are remembered; older ones could not renew anything any more.
const MAX_SENT: usize = 32;

impl LeaseGuard {
    /// A guard whose leases were renewed at `now_ms` (of boot time).
    pub fn new(now_ms: u64) -> Self {
        LeaseGuard { sent: VecDeque::new(), renewed_ms: now_ms }
    }

    /// Beat `seq` leaves at `now_ms`.
    pub fn sent(&mut self, seq: u64, now_ms: u64) {
        if self.sent.len() == MAX_SENT {
            self.sent.pop_front();
        }
        self.sent.push_back((seq, now_ms));
    }

    /// The leader acknowledged beat `seq`: leases are renewed from the time it was sent.
    pub fn acknowledged(&mut self, seq: u64) {
        while let Some(&(at, sent_ms)) = self.sent.front() {
            if at > seq {
                break;
            }
            self.sent.pop_front();
            if at == seq {
                self.renewed_ms = self.renewed_ms.max(sent_ms);
            }
        }
    }

    /// A first attempt was assigned while nothing ran: the assignment itself is news from the leader.
    pub fn assigned(&mut self, now_ms: u64) {
        self.renewed_ms = self.renewed_ms.max(now_ms);
    }

    /// Whether everything that runs must stop now.
    pub fn must_stop(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.renewed_ms) >= SELF_STOP_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TaskId = TaskId([1; 32]);
    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn fence(index: u64) -> Fence {
        Fence { epoch: 1, index }
    }

    #[test]
    fn a_lease_lasts_as_long_as_it_is_renewed() {
        let mut leases = Leases::default();
        leases.grant(T, fence(5), A, 0);
        assert!(leases.expired(9_999).is_empty());
        assert_eq!(leases.reconcile(A, &[(T, fence(5))], 3_000, true, 9_000), Reconciled::default());
        assert!(leases.expired(18_999).is_empty());
        assert_eq!(leases.expired(19_000), vec![(T, fence(5))]);
        // A beat that could not be confirmed with a majority renews nothing.
        leases.reconcile(A, &[(T, fence(5))], 3_000, false, 18_000);
        assert_eq!(leases.expired(19_000), vec![(T, fence(5))]);
        leases.end(&T);
        assert!(leases.is_empty());
    }

    #[test]
    fn another_workers_attempt_is_cancelled_and_renews_nothing() {
        let mut leases = Leases::default();
        leases.grant(T, fence(5), A, 0);
        leases.grant(T, fence(9), B, 11_000);
        leases.grant(T, fence(5), A, 11_500);
        assert_eq!(leases.current(&T), Some((fence(9), B)), "a fence never goes back");
        let late = leases.reconcile(A, &[(T, fence(5))], 3_000, true, 12_000);
        assert_eq!(late.cancel, vec![(T, fence(5))]);
        assert_eq!((leases.load(A), leases.load(B)), (0, 1));
        leases.grant(TaskId([2; 32]), fence(10), B, 11_600);
        assert_eq!(leases.load(B), 2);
        leases.end(&TaskId([2; 32]));
        leases.end(&TaskId([2; 32]));
        assert_eq!(leases.load(B), 1);
        assert_eq!(leases.expired(21_000), vec![(T, fence(9))]);
        let impostor = leases.reconcile(A, &[(T, fence(9))], 3_000, true, 20_000);
        assert_eq!(impostor.cancel, vec![(T, fence(9))]);
        assert_eq!(leases.expired(21_000), vec![(T, fence(9))]);
    }

    #[test]
    fn a_worker_that_does_not_know_its_attempt_is_told_again() {
        let mut leases = Leases::default();
        leases.grant(T, fence(5), A, 0);
        assert!(leases.reconcile(A, &[], 3_000, true, 2_000).tell.is_empty());
        assert_eq!(leases.reconcile(A, &[], 3_000, true, 3_000).tell, vec![(T, fence(5))]);
        assert!(leases.reconcile(A, &[], 3_000, true, 4_000).tell.is_empty());
        assert!(leases.reconcile(B, &[], 0, true, 9_000).tell.is_empty());
        assert_eq!(leases.expired(10_000), vec![(T, fence(5))], "telling does not renew");
    }

    #[test]
    fn the_worker_counts_from_when_it_sent() {
        let mut guard = LeaseGuard::new(0);
        guard.sent(1, 1_000);
        guard.sent(2, 2_000);
        assert!(!guard.must_stop(7_499));
        assert!(guard.must_stop(7_500));
        guard.acknowledged(2);
        assert!(!guard.must_stop(9_499));
        assert!(guard.must_stop(9_500));
        guard.acknowledged(1);
        guard.acknowledged(77);
        assert!(guard.must_stop(9_500), "old and unknown acknowledgements renew nothing");
        for seq in 3..100 {
            guard.sent(seq, 20_000);
        }
        guard.acknowledged(99);
        assert!(!guard.must_stop(27_499));
        // The worker's limit lies inside the leader's whatever the way took.
        const { assert!(SELF_STOP_MS + 2_000 < LEASE_MS) };
    }
}
