//! Sans-IO: what a task is asked to do, signed by its author.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::{Cid, Keypair, PeerId};

use super::{
    Certificate, ClusterId, SpecError, TaskId,
    cert::{message, signed_by},
};

const TAG: &[u8] = b"ipfs-kit task spec v1\0";

/// The longest a spec may be valid, in milliseconds (24 hours).
pub const MAX_LIFE_MS: u64 = 24 * 3600 * 1000;
/// How far a receiver's clock may be behind the author's, in milliseconds.
pub const CLOCK_SKEW_MS: u64 = 60_000;
/// The largest encoded signed spec, in bytes.
pub const MAX_SPEC_BYTES: usize = 32 * 1024;
/// The longest kind, in bytes.
pub const MAX_KIND_BYTES: usize = 64;
/// The most parameters a spec may carry.
pub const MAX_PARAMS: usize = 32;
/// All parameters' names and values together, in bytes.
pub const MAX_PARAM_BYTES: usize = 8 * 1024;

/// What to do. Its hash is the task's id, so a spec that arrives twice is one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The cluster it is meant for.
    pub cluster: ClusterId,
    /// Who asks.
    pub author: PeerId,
    /// Random: tells apart two tasks that ask the same.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 16],
    /// The kind of work: lower-case letters, digits, `-`, `_` and `.`, at most 64 bytes.
    pub kind: String,
    /// The content to work on.
    pub input: Option<Cid>,
    /// Parameters of the kind; at most 32, 8 KiB in all.
    pub params: BTreeMap<String, String>,
    /// Until when it may be accepted and run, in milliseconds since 1970; at most 24 hours ahead.
    pub not_after_ms: u64,
    /// Higher goes first.
    pub priority: u8,
}

impl TaskSpec {
    /// The task's id.
    pub fn id(&self) -> TaskId {
        TaskId(Sha256::digest(message(TAG, self)).into())
    }

    /// Checks the limits that need no key and no clock.
    pub fn check_shape(&self) -> Result<(), SpecError> {
        let malformed = |why: String| Err(SpecError::Malformed { why });
        let kind_char = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        if self.kind.is_empty() || self.kind.len() > MAX_KIND_BYTES || !self.kind.bytes().all(kind_char) {
            return malformed(format!(
                "the kind must be 1 to {MAX_KIND_BYTES} lower-case letters, digits, '-', '_' or '.'"
            ));
        }
        if self.params.len() > MAX_PARAMS {
            return malformed(format!("{} parameters, at most {MAX_PARAMS} are allowed", self.params.len()));
        }
        let bytes: usize = self.params.iter().map(|(k, v)| k.len() + v.len()).sum();
        if bytes > MAX_PARAM_BYTES {
            return malformed(format!("{bytes} bytes of parameters, at most {MAX_PARAM_BYTES} are allowed"));
        }
        Ok(())
    }

    /// Signs it with the author's key.
    pub fn sign(self, certificate: Certificate, author: &Keypair) -> Result<SignedSpec, SpecError> {
        self.check_shape()?;
        let signer = author.public().to_peer_id();
        let signature = author.sign(&message(TAG, &self)).map_err(|_| SpecError::Forged { signer })?;
        Ok(SignedSpec { spec: self, certificate, signature })
    }
}

/// A spec with its author's certificate and signature: what travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedSpec {
    /// What to do.
    pub spec: TaskSpec,
    /// The author's certificate.
    pub certificate: Certificate,
    /// The author's signature over the spec.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

impl SignedSpec {
    /// Checks everything a receiver can check alone, and gives the task's id: limits, cluster, time, the author's
    /// certificate and signature. Cheap checks come first.
    pub fn verify(&self, cluster: &ClusterId, now_ms: u64) -> Result<TaskId, SpecError> {
        let spec = &self.spec;
        spec.check_shape()?;
        if spec.cluster != *cluster {
            return Err(SpecError::Foreign { expected: *cluster, found: spec.cluster });
        }
        let not_after_ms = spec.not_after_ms;
        if not_after_ms <= now_ms {
            return Err(SpecError::Expired { not_after_ms, now_ms });
        }
        if not_after_ms > now_ms.saturating_add(MAX_LIFE_MS + CLOCK_SKEW_MS) {
            return Err(SpecError::TooLong { not_after_ms });
        }
        self.certificate.verify_shown_by(spec.author, cluster, now_ms)?;
        if !signed_by(&self.certificate.peer_key, &message(TAG, spec), &self.signature) {
            return Err(SpecError::Forged { signer: spec.author });
        }
        Ok(spec.id())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        base::{Block, Codec, Hash, Role, cbor},
        cluster::model::{ClusterKey, Subject},
    };

    pub fn cid(text: &str) -> Cid {
        *Block::new(Codec::Raw, Hash::Sha2_256, bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap().cid()
    }

    fn sample() -> (ClusterKey, SignedSpec) {
        let key = Keypair::ed25519_from_bytes([1; 32]).unwrap();
        let cluster = ClusterKey::from_seed([9; 32]);
        let subject = Subject { peer_key: key.public(), node: None, role: Role::Leecher, epoch: 1 };
        let certificate = cluster.certify(subject, 0);
        let spec = TaskSpec {
            cluster: cluster.id(),
            author: key.public().to_peer_id(),
            nonce: [7; 16],
            kind: "word-count".into(),
            input: Some(cid("input")),
            params: BTreeMap::from([("a".into(), "b".into())]),
            not_after_ms: 5_000,
            priority: 0,
        };
        (cluster, spec.sign(certificate, &key).unwrap())
    }

    #[test]
    fn a_signed_spec_survives_cbor_and_names_one_task() {
        let (cluster, signed) = sample();
        let bytes = cbor::to_vec(&signed);
        let back: SignedSpec = cbor::from_slice(&bytes, MAX_SPEC_BYTES).unwrap();
        assert_eq!(back, signed);
        assert_eq!(back.verify(&cluster.id(), 1_000).unwrap(), signed.spec.id());
        assert_eq!(cbor::to_vec(&back), bytes);
    }

    #[test]
    fn a_change_of_any_field_is_found() {
        let (cluster, good) = sample();
        let other = Keypair::ed25519_from_bytes([2; 32]).unwrap();
        let mallory = ClusterKey::from_seed([8; 32]);
        type Change<'a> = Box<dyn Fn(&mut SignedSpec) + 'a>;
        let changes: Vec<Change<'_>> = vec![
            Box::new(|s| s.spec.cluster.0[0] ^= 1),
            Box::new(|s| s.spec.author = other.public().to_peer_id()),
            Box::new(|s| s.spec.nonce[0] ^= 1),
            Box::new(|s| s.spec.kind = "noop".into()),
            Box::new(|s| s.spec.input = None),
            Box::new(|s| s.spec.input = Some(cid("other"))),
            Box::new(|s| s.spec.params.clear()),
            Box::new(|s| {
                s.spec.params.insert("a".into(), "c".into());
            }),
            Box::new(|s| s.spec.not_after_ms += 1),
            Box::new(|s| s.spec.priority = 1),
            Box::new(|s| s.signature[0] ^= 1),
            Box::new(|s| s.signature = other.sign(&message(TAG, &s.spec)).unwrap()),
            Box::new(|s| s.certificate.role = Role::Master),
            Box::new(|s| {
                let subject = Subject { peer_key: other.public(), node: None, role: Role::Leecher, epoch: 1 };
                s.certificate = mallory.certify(subject, 0);
            }),
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(bad.verify(&cluster.id(), 1_000).is_err(), "change {i}");
        }
    }

    #[test]
    fn every_flipped_bit_of_the_encoding_is_refused_or_harmless() {
        let (cluster, good) = sample();
        let bytes = cbor::to_vec(&good);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            if let Ok(spec) = cbor::from_slice::<SignedSpec>(&bad, MAX_SPEC_BYTES) {
                let verdict = spec.verify(&cluster.id(), 1_000);
                assert!(verdict.is_err() || spec == good, "byte {at}");
            }
        }
    }

    #[test]
    fn times_and_limits_hold() {
        let (cluster, good) = sample();
        assert!(matches!(good.verify(&cluster.id(), 5_000), Err(SpecError::Expired { .. })));
        let key = Keypair::ed25519_from_bytes([1; 32]).unwrap();
        let sign = |change: &dyn Fn(&mut TaskSpec)| {
            let mut spec = good.spec.clone();
            change(&mut spec);
            spec.sign(good.certificate.clone(), &key)
        };
        let long = sign(&|s| s.not_after_ms = 1_000 + MAX_LIFE_MS + CLOCK_SKEW_MS + 1).unwrap();
        assert!(matches!(long.verify(&cluster.id(), 1_000), Err(SpecError::TooLong { .. })));
        assert!(sign(&|s| s.kind = String::new()).is_err());
        assert!(sign(&|s| s.kind = "Word Count".into()).is_err());
        assert!(sign(&|s| s.kind = "x".repeat(65)).is_err());
        assert!(sign(&|s| s.params = (0..33).map(|i| (i.to_string(), String::new())).collect()).is_err());
        assert!(
            sign(&|s| {
                s.params.insert("x".into(), "y".repeat(9000));
            })
            .is_err()
        );
        let other = ClusterKey::from_seed([8; 32]).id();
        assert!(matches!(good.verify(&other, 1_000), Err(SpecError::Foreign { .. })));
    }
}
