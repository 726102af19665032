//! Sans-IO: what a submitter and a master remember about tasks for a while: receipts that came, specs not yet accepted.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::cluster::model::{Receipt, ReceiptBody, SignedSpec, TaskId};

/// Tasks whose receipts are remembered.
const MAX_TASKS: usize = 4_096;
/// How long a master remembers a spec it has not seen accepted.
pub const REMEMBER_MS: u64 = 30_000;
/// Specs a master remembers.
const MAX_SPECS: usize = 4_096;

/// The receipts of one task, as far as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    /// That it is in the log.
    pub accepted: Option<Receipt>,
    /// How it ended.
    pub outcome: Option<Receipt>,
}

/// Receipts by task; the oldest tasks are forgotten first.
#[derive(Clone, Debug, Default)]
pub struct ReceiptBook {
    tasks: HashMap<TaskId, Receipts>,
    order: VecDeque<TaskId>,
}

impl ReceiptBook {
    /// Notes a verified receipt; true when it is news. The first of each sort is kept.
    pub fn note(&mut self, receipt: Receipt) -> bool {
        let task = receipt.body.task();
        if !self.tasks.contains_key(&task) {
            if self.order.len() == MAX_TASKS
                && let Some(oldest) = self.order.pop_front()
            {
                self.tasks.remove(&oldest);
            }
            self.order.push_back(task);
        }
        let entry = self.tasks.entry(task).or_default();
        let slot = match receipt.body {
            ReceiptBody::Accepted { .. } => &mut entry.accepted,
            ReceiptBody::Outcome { .. } => &mut entry.outcome,
        };
        let news = slot.is_none();
        if news {
            *slot = Some(receipt);
        }
        news
    }

    /// What came for a task.
    pub fn get(&self, task: &TaskId) -> Receipts {
        self.tasks.get(task).cloned().unwrap_or_default()
    }
}

/// Specs a master saw on the topic and has not seen accepted, for the case that it becomes the leader.
#[derive(Clone, Debug, Default)]
pub struct Unaccepted {
    specs: BTreeMap<TaskId, (u64, SignedSpec)>,
}

impl Unaccepted {
    /// Remembers a verified spec; when there are too many the new one is not remembered: its author repeats it.
    pub fn remember(&mut self, task: TaskId, spec: SignedSpec, now_ms: u64) {
        if self.specs.len() >= MAX_SPECS {
            self.forget_old(now_ms);
        }
        if self.specs.len() < MAX_SPECS {
            self.specs.entry(task).or_insert((now_ms, spec));
        }
    }

    /// The task is in the log.
    pub fn accepted(&mut self, task: &TaskId) {
        self.specs.remove(task);
    }

    fn forget_old(&mut self, now_ms: u64) {
        self.specs.retain(|_, (at, _)| now_ms.saturating_sub(*at) < REMEMBER_MS);
    }

    /// What a new leader should propose.
    pub fn all(&mut self, now_ms: u64) -> Vec<SignedSpec> {
        self.forget_old(now_ms);
        self.specs.values().map(|(_, spec)| spec.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Keypair, Role};
    use crate::cluster::model::{ClusterKey, Subject, TaskSpec, TaskState};

    fn certificate() -> (ClusterKey, Keypair, crate::cluster::Certificate) {
        let key = Keypair::ed25519_from_bytes([1; 32]).unwrap();
        let cluster = ClusterKey::from_seed([9; 32]);
        let subject = Subject { peer_key: key.public(), node: None, role: Role::Master, epoch: 1 };
        let certificate = cluster.certify(subject, 0);
        (cluster, key, certificate)
    }

    #[test]
    fn the_first_receipt_of_each_sort_is_kept_and_the_book_is_bounded() {
        let (_, _, certificate) = certificate();
        let receipt = |body| Receipt { body, certificate: certificate.clone(), signature: Vec::new() };
        let task = |n: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            TaskId(id)
        };
        let mut book = ReceiptBook::default();
        let accepted = |n, log_index| receipt(ReceiptBody::Accepted { task: task(n), log_index });
        assert!(book.note(accepted(0, 1)));
        assert!(!book.note(accepted(0, 2)));
        let outcome = receipt(ReceiptBody::Outcome {
            task: task(0),
            state: TaskState::Completed,
            result: None,
            worker: None,
            error: None,
            log_index: 3,
        });
        assert!(book.note(outcome.clone()));
        assert_eq!(book.get(&task(0)), Receipts { accepted: Some(accepted(0, 1)), outcome: Some(outcome) });
        for n in 1..=MAX_TASKS as u32 {
            book.note(accepted(n, 1));
        }
        assert_eq!(book.get(&task(0)), Receipts::default());
        assert_eq!(book.tasks.len(), MAX_TASKS);
    }

    #[test]
    fn unaccepted_specs_are_kept_for_half_a_minute() {
        let (cluster, key, certificate) = certificate();
        let spec = |n: u8| {
            let spec = TaskSpec {
                cluster: cluster.id(),
                author: key.public().to_peer_id(),
                nonce: [n; 16],
                kind: "noop".into(),
                input: None,
                params: BTreeMap::new(),
                not_after_ms: 9,
                priority: 0,
            };
            (spec.id(), spec.sign(certificate.clone(), &key).unwrap())
        };
        let mut book = Unaccepted::default();
        for n in 0..3 {
            let (id, spec) = spec(n);
            book.remember(id, spec, u64::from(n) * 10_000);
        }
        book.accepted(&spec(1).0);
        assert_eq!(book.all(20_000).len(), 2);
        assert_eq!(book.all(30_000), vec![spec(2).1]);
        assert!(book.all(50_000).is_empty());
    }
}
