//! Sans-IO: the payloads of the topics `ipfs-kit/<cluster>/tasks` and `ipfs-kit/<cluster>/receipts`.

use serde::{Deserialize, Serialize};

use crate::base::cbor;
use crate::cluster::model::{ClusterId, Receipt, SignedSpec, SpecError};

/// The largest payload, in bytes; gossipsub's own limit is 64 KiB a message.
pub const MAX_PAYLOAD_BYTES: usize = 60 * 1024;
/// The most specs or receipts in one payload.
pub const MAX_ITEMS: usize = 64;

/// The topic on which specs are submitted.
pub fn tasks_topic(cluster: &ClusterId) -> String {
    format!("ipfs-kit/{cluster}/tasks")
}

/// The topic on which masters answer.
pub fn receipts_topic(cluster: &ClusterId) -> String {
    format!("ipfs-kit/{cluster}/receipts")
}

/// What travels on a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload<T> {
    /// The format's version, 1.
    pub v: u8,
    /// Random, so that a repeated message is not taken for one already seen.
    pub salt: u64,
    /// The specs or receipts.
    pub items: Vec<T>,
}

impl<T: Serialize> Payload<T> {
    /// Encodes `items` into as few payloads as fit the limits; `salt` gives a random number for each.
    pub fn pack(items: Vec<T>, mut salt: impl FnMut() -> u64) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for item in items {
            let size = cbor::to_vec(&item).len();
            if batch.len() == MAX_ITEMS || (bytes + size > MAX_PAYLOAD_BYTES - 64 && !batch.is_empty()) {
                out.push(cbor::to_vec(&Payload { v: 1, salt: salt(), items: std::mem::take(&mut batch) }));
                bytes = 0;
            }
            bytes += size;
            batch.push(item);
        }
        if !batch.is_empty() {
            out.push(cbor::to_vec(&Payload { v: 1, salt: salt(), items: batch }));
        }
        out
    }
}

fn unpack<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, SpecError> {
    let malformed = |why: String| SpecError::Malformed { why };
    let payload: Payload<T> = cbor::from_slice(bytes, MAX_PAYLOAD_BYTES).map_err(|e| malformed(e.to_string()))?;
    match payload.items.len() {
        _ if payload.v != 1 => Err(malformed(format!("version {} of the payload is not known", payload.v))),
        0 => Err(malformed("it holds nothing".into())),
        n if n > MAX_ITEMS => Err(malformed(format!("{n} items, at most {MAX_ITEMS} are allowed"))),
        _ => Ok(payload.items),
    }
}

/// Reads and verifies a payload of the tasks topic. One bad spec makes the whole message bad: whoever signed the message
/// put it there.
pub fn read_specs(bytes: &[u8], cluster: &ClusterId, now_ms: u64) -> Result<Vec<SignedSpec>, SpecError> {
    let specs: Vec<SignedSpec> = unpack(bytes)?;
    for spec in &specs {
        spec.verify(cluster, now_ms)?;
    }
    Ok(specs)
}

/// Reads and verifies a payload of the receipts topic.
pub fn read_receipts(bytes: &[u8], cluster: &ClusterId, now_ms: u64) -> Result<Vec<Receipt>, SpecError> {
    let receipts: Vec<Receipt> = unpack(bytes)?;
    for receipt in &receipts {
        receipt.verify(cluster, now_ms)?;
    }
    Ok(receipts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Keypair, Role};
    use crate::cluster::model::{ClusterKey, ReceiptBody, Subject, TaskId, TaskSpec};

    fn cluster() -> (ClusterKey, Keypair, crate::cluster::Certificate) {
        let key = Keypair::ed25519_from_bytes([1; 32]).unwrap();
        let cluster = ClusterKey::from_seed([9; 32]);
        let subject = Subject { peer_key: key.public(), node: None, role: Role::Master, epoch: 1 };
        let certificate = cluster.certify(subject, 0);
        (cluster, key, certificate)
    }

    fn spec(n: u8, not_after_ms: u64) -> SignedSpec {
        let (cluster, key, certificate) = cluster();
        let author = key.public().to_peer_id();
        let spec = TaskSpec {
            cluster: cluster.id(),
            author,
            nonce: [n; 16],
            kind: "noop".into(),
            input: None,
            params: [("p".to_owned(), "x".repeat(4_000))].into(),
            not_after_ms,
            priority: 0,
        };
        spec.sign(certificate, &key).unwrap()
    }

    #[test]
    fn specs_are_packed_within_the_limits_and_read_back() {
        let id = cluster().0.id();
        let specs: Vec<SignedSpec> = (0..40).map(|n| spec(n, 5_000)).collect();
        let mut salts = 0;
        let payloads = Payload::pack(specs.clone(), || {
            salts += 1;
            salts
        });
        assert_eq!(salts as usize, payloads.len());
        assert!(payloads.len() > 1 && payloads.iter().all(|p| p.len() <= MAX_PAYLOAD_BYTES));
        let back: Vec<SignedSpec> = payloads.iter().flat_map(|p| read_specs(p, &id, 1_000).unwrap()).collect();
        assert_eq!(back, specs);
    }

    #[test]
    fn one_forged_or_expired_spec_condemns_the_message() {
        let id = cluster().0.id();
        let pack = |items| Payload::pack(items, || 1).remove(0);
        assert!(read_specs(&pack(vec![spec(1, 5_000), spec(2, 900)]), &id, 1_000).is_err());
        let mut forged = spec(3, 5_000);
        forged.spec.priority = 9;
        assert!(read_specs(&pack(vec![spec(1, 5_000), forged]), &id, 1_000).is_err());
        assert!(read_specs(b"", &id, 0).is_err());
        assert!(read_specs(&vec![0xff; 70_000], &id, 0).is_err());
        let empty = cbor::to_vec(&Payload::<SignedSpec> { v: 1, salt: 0, items: Vec::new() });
        assert!(read_specs(&empty, &id, 0).is_err());
        let future = cbor::to_vec(&Payload { v: 2, salt: 0, items: vec![spec(1, 5_000)] });
        assert!(read_specs(&future, &id, 0).is_err());
    }

    #[test]
    fn receipts_are_believed_from_masters_only() {
        let (cluster, key, certificate) = cluster();
        let body = ReceiptBody::Accepted { task: TaskId([1; 32]), log_index: 4 };
        let good = body.clone().sign(certificate.clone(), &key).unwrap();
        let pack = |items| Payload::pack(items, || 1).remove(0);
        assert_eq!(read_receipts(&pack(vec![good.clone()]), &cluster.id(), 0).unwrap(), vec![good.clone()]);
        let stranger = Keypair::ed25519_from_bytes([2; 32]).unwrap();
        let forged = body.sign(certificate, &stranger).unwrap();
        assert!(read_receipts(&pack(vec![good, forged]), &cluster.id(), 0).is_err());
    }
}
