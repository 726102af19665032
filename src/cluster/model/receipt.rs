//! Sans-IO: a master's signed word about a task.

use serde::{Deserialize, Serialize};

use crate::base::{Cid, Keypair, PeerId, Role};

use super::{
    Certificate, ClusterId, SpecError, TaskId, TaskRecord, TaskState,
    cert::{message, signed_by},
};

const TAG: &[u8] = b"ipfs-kit task receipt v1\0";

/// The largest encoded receipt, in bytes.
pub const MAX_RECEIPT_BYTES: usize = 8 * 1024;

/// What a receipt says.
// Receipts are few and short-lived: a box would cost more than the room it saves.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptBody {
    /// The task is in the log: it will run or end, whatever happens to the one who told so.
    Accepted {
        /// The task.
        task: TaskId,
        /// Where in the log.
        log_index: u64,
    },
    /// The task is over.
    Outcome {
        /// The task.
        task: TaskId,
        /// How it ended.
        state: TaskState,
        /// The root of its result.
        result: Option<Cid>,
        /// Who ran it.
        worker: Option<PeerId>,
        /// Why it failed.
        error: Option<String>,
        /// Where in the log.
        log_index: u64,
    },
}

impl ReceiptBody {
    /// The task it is about.
    pub fn task(&self) -> TaskId {
        match self {
            ReceiptBody::Accepted { task, .. } | ReceiptBody::Outcome { task, .. } => *task,
        }
    }

    /// What can be said of a task's record: its outcome when it is over, else that it was accepted.
    pub fn of(record: &TaskRecord) -> Self {
        if record.state.is_final() {
            ReceiptBody::Outcome {
                task: record.id,
                state: record.state,
                result: record.result,
                worker: record.worker,
                error: record.error.clone(),
                log_index: record.changed_index,
            }
        } else {
            ReceiptBody::accepted(record)
        }
    }

    /// That the task was accepted.
    pub fn accepted(record: &TaskRecord) -> Self {
        ReceiptBody::Accepted { task: record.id, log_index: record.accepted_index }
    }

    /// Signs it with a master's key.
    pub fn sign(self, certificate: Certificate, master: &Keypair) -> Result<Receipt, SpecError> {
        let signer = master.public().to_peer_id();
        let signature = master.sign(&message(TAG, &self)).map_err(|_| SpecError::Forged { signer })?;
        Ok(Receipt { body: self, certificate, signature })
    }
}

/// A receipt with its master's certificate and signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What it says.
    pub body: ReceiptBody,
    /// The master's certificate.
    pub certificate: Certificate,
    /// The master's signature over the body.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

impl Receipt {
    /// Checks that a master of `cluster` signed it.
    pub fn verify(&self, cluster: &ClusterId, now_ms: u64) -> Result<(), SpecError> {
        self.certificate.verify(cluster, now_ms)?;
        self.certificate.require(Role::Master)?;
        if !signed_by(&self.certificate.peer_key, &message(TAG, &self.body), &self.signature) {
            return Err(SpecError::Forged { signer: self.certificate.peer });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::cbor,
        cluster::model::{ClusterKey, Subject, spec::tests::cid},
    };

    fn sample(role: Role) -> (ClusterKey, Receipt) {
        let key = Keypair::ed25519_from_bytes([1; 32]).unwrap();
        let cluster = ClusterKey::from_seed([9; 32]);
        let certificate = cluster.certify(Subject { peer_key: key.public(), node: None, role, epoch: 1 }, 0);
        let body = ReceiptBody::Outcome {
            task: TaskId([4; 32]),
            state: TaskState::Completed,
            result: Some(cid("result")),
            worker: Some(key.public().to_peer_id()),
            error: None,
            log_index: 12,
        };
        (cluster, body.sign(certificate, &key).unwrap())
    }

    #[test]
    fn only_a_masters_receipt_is_believed() {
        let (cluster, receipt) = sample(Role::Master);
        receipt.verify(&cluster.id(), 5).unwrap();
        let back: Receipt = cbor::from_slice(&cbor::to_vec(&receipt), MAX_RECEIPT_BYTES).unwrap();
        assert_eq!(back, receipt);
        assert!(receipt.verify(&ClusterKey::from_seed([8; 32]).id(), 5).is_err());
        let (cluster, workers) = sample(Role::Worker);
        assert!(workers.verify(&cluster.id(), 5).is_err());
    }

    #[test]
    fn a_change_of_any_field_is_found() {
        let (cluster, good) = sample(Role::Master);
        let ReceiptBody::Outcome { task, state, result, worker, error, log_index } = good.body.clone() else {
            unreachable!()
        };
        let make = |task, state, result, worker, error, log_index| {
            let body = ReceiptBody::Outcome { task, state, result, worker, error, log_index };
            Receipt { body, ..good.clone() }
        };
        let bad = [
            make(TaskId([5; 32]), state, result, worker, error.clone(), log_index),
            make(task, TaskState::Failed, result, worker, error.clone(), log_index),
            make(task, state, Some(cid("other")), worker, error.clone(), log_index),
            make(task, state, result, None, error.clone(), log_index),
            make(task, state, result, worker, Some("x".into()), log_index),
            make(task, state, result, worker, error, 13),
            Receipt { body: ReceiptBody::Accepted { task, log_index }, ..good.clone() },
            Receipt { signature: Vec::new(), ..good.clone() },
        ];
        for (i, receipt) in bad.iter().enumerate() {
            assert!(receipt.verify(&cluster.id(), 5).is_err(), "change {i}");
        }
    }
}
