//! Sans-IO: the cluster's key, and the certificates it signs for members.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{Keypair, NodeId, PeerId, Role, cbor};

use super::{CertError, ClusterId};

const TAG: &[u8] = b"ipfs-kit certificate v1\0";

/// How long a worker's or leecher's certificate lasts, in milliseconds (30 days); masters' do not expire.
pub const CERTIFICATE_MS: u64 = 30 * 24 * 3600 * 1000;

/// What is signed: the tag of the type, then the value in CBOR.
pub(super) fn message<T: Serialize>(tag: &[u8], value: &T) -> Vec<u8> {
    let mut out = tag.to_vec();
    out.extend(cbor::to_vec(value));
    out
}

/// Whether `signature` is by the holder of `public_key` (protobuf encoding) over `message`.
pub(super) fn signed_by(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    libp2p::identity::PublicKey::try_decode_protobuf(public_key).is_ok_and(|key| key.verify(message, signature))
}

/// The private key of a cluster. Only masters hold it.
#[derive(Clone)]
pub struct ClusterKey(Keypair);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKey({})", self.id())
    }
}

impl ClusterKey {
    /// The key made from 32 random bytes.
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let key = Keypair::ed25519_from_bytes(&mut seed[..]).expect("any 32 bytes are an Ed25519 secret");
        ClusterKey(key)
    }

    /// Reads [`ClusterKey::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Keypair::from_protobuf_encoding(bytes).ok().map(ClusterKey)
    }

    /// The key in libp2p's protobuf encoding; secret.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_protobuf_encoding().expect("Ed25519 keys can be encoded")
    }

    /// The public half in libp2p's protobuf encoding.
    pub fn public(&self) -> Vec<u8> {
        self.0.public().encode_protobuf()
    }

    /// The id of the cluster this key makes.
    pub fn id(&self) -> ClusterId {
        ClusterId::of_key(&self.public())
    }

    /// Signs a certificate for `subject`. A master's never expires; any other ends 30 days after `now_ms`.
    pub fn certify(&self, subject: Subject, now_ms: u64) -> Certificate {
        let expires_ms = (subject.role != Role::Master).then(|| now_ms.saturating_add(CERTIFICATE_MS));
        self.certify_until(subject, now_ms, expires_ms)
    }

    /// Signs a certificate with a chosen end.
    pub fn certify_until(&self, subject: Subject, now_ms: u64, expires_ms: Option<u64>) -> Certificate {
        let Subject { peer_key, node, role, epoch } = subject;
        let mut certificate = Certificate {
            cluster_key: self.public(),
            peer: peer_key.to_peer_id(),
            peer_key: peer_key.encode_protobuf(),
            node,
            role,
            epoch,
            issued_ms: now_ms,
            expires_ms,
            signature: Vec::new(),
        };
        let message = certificate.message();
        certificate.signature = self.0.sign(&message).expect("Ed25519 signing cannot fail");
        certificate
    }
}

/// Whom a certificate is for.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The member's own public key; its hash is the peer id.
    pub peer_key: libp2p::identity::PublicKey,
    /// The number the log gave it; leechers have none.
    pub node: Option<NodeId>,
    /// Its role.
    pub role: Role,
    /// The cluster's epoch.
    pub epoch: u16,
}

/// A cluster's word that a peer is its member with this role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The cluster's public key (protobuf encoding); its hash is the cluster id.
    #[serde(with = "serde_bytes")]
    pub cluster_key: Vec<u8>,
    /// Whose membership it certifies.
    pub peer: PeerId,
    /// That peer's public key (protobuf encoding), with which specs and receipts are checked.
    #[serde(with = "serde_bytes")]
    pub peer_key: Vec<u8>,
    /// The member's number in the log; leechers have none.
    pub node: Option<NodeId>,
    /// The member's role.
    pub role: Role,
    /// The cluster's epoch at admission.
    pub epoch: u16,
    /// When it was signed, in milliseconds since 1970.
    pub issued_ms: u64,
    /// When it ends, in milliseconds since 1970; never for masters.
    pub expires_ms: Option<u64>,
    /// The cluster key's signature over all of the above.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

impl Certificate {
    fn message(&self) -> Vec<u8> {
        let unsigned = Certificate { signature: Vec::new(), ..self.clone() };
        message(TAG, &unsigned)
    }

    /// The cluster that issued it, if it is genuine.
    pub fn cluster(&self) -> ClusterId {
        ClusterId::of_key(&self.cluster_key)
    }

    /// Checks that `cluster` issued it and that it is valid at `now_ms`.
    pub fn verify(&self, cluster: &ClusterId, now_ms: u64) -> Result<(), CertError> {
        let found = self.cluster();
        if found != *cluster {
            return Err(CertError::Foreign { expected: *cluster, found });
        }
        let forged = |why| CertError::Forged { peer: self.peer, why };
        if !signed_by(&self.cluster_key, &self.message(), &self.signature) {
            return Err(forged("the signature is not by the cluster's key"));
        }
        let key = libp2p::identity::PublicKey::try_decode_protobuf(&self.peer_key)
            .map_err(|_| forged("it holds no public key"))?;
        if key.to_peer_id() != self.peer {
            return Err(forged("its public key is another peer's"));
        }
        match self.expires_ms {
            Some(expires_ms) if expires_ms <= now_ms => Err(CertError::Expired { peer: self.peer, expires_ms }),
            None if self.role != Role::Master => Err(forged("only masters' certificates have no end")),
            _ => Ok(()),
        }
    }

    /// [`Certificate::verify`], and that it names `peer`, who showed it.
    pub fn verify_shown_by(&self, peer: PeerId, cluster: &ClusterId, now_ms: u64) -> Result<(), CertError> {
        self.verify(cluster, now_ms)?;
        if self.peer != peer {
            return Err(CertError::WrongPeer { peer: self.peer, shown_by: Box::new(peer) });
        }
        Ok(())
    }

    /// Checks that it makes its peer a `role`.
    pub fn require(&self, role: Role) -> Result<(), CertError> {
        if self.role != role {
            return Err(CertError::WrongRole { peer: self.peer, role: self.role, needed: role });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn key(seed: u8) -> Keypair {
        Keypair::ed25519_from_bytes([seed; 32]).unwrap()
    }

    fn sample(role: Role) -> (ClusterKey, Certificate) {
        let cluster = ClusterKey::from_seed([9; 32]);
        let subject = Subject { peer_key: key(1).public(), node: Some(NodeId::new(1, 7)), role, epoch: 1 };
        let certificate = cluster.certify(subject, 1_000);
        (cluster, certificate)
    }

    #[test]
    fn a_certificate_is_believed_for_its_cluster_and_its_time_only() {
        let (cluster, certificate) = sample(Role::Worker);
        certificate.verify(&cluster.id(), 1_000).unwrap();
        certificate.verify_shown_by(key(1).public().to_peer_id(), &cluster.id(), 2_000).unwrap();
        let shown = certificate.verify_shown_by(key(2).public().to_peer_id(), &cluster.id(), 2_000);
        assert!(matches!(shown, Err(CertError::WrongPeer { .. })));
        let late = certificate.verify(&cluster.id(), 1_000 + CERTIFICATE_MS);
        assert!(matches!(late, Err(CertError::Expired { .. })));
        let other = ClusterKey::from_seed([8; 32]).id();
        assert!(matches!(certificate.verify(&other, 1_000), Err(CertError::Foreign { .. })));
        assert!(certificate.require(Role::Worker).is_ok());
        assert!(matches!(certificate.require(Role::Master), Err(CertError::WrongRole { .. })));
        let (cluster, master) = sample(Role::Master);
        master.verify(&cluster.id(), u64::MAX).unwrap();
    }

    #[test]
    fn a_change_of_any_field_is_found() {
        let (cluster, good) = sample(Role::Worker);
        let other = ClusterKey::from_seed([8; 32]);
        let changes: Vec<fn(&mut Certificate, &ClusterKey)> = vec![
            |c, other| c.cluster_key = other.public(),
            |c, _| c.peer = key(2).public().to_peer_id(),
            |c, _| c.peer_key = key(2).public().encode_protobuf(),
            |c, _| c.node = None,
            |c, _| c.node = Some(NodeId::new(1, 8)),
            |c, _| c.role = Role::Master,
            |c, _| c.epoch = 2,
            |c, _| c.issued_ms += 1,
            |c, _| c.expires_ms = None,
            |c, _| c.expires_ms = c.expires_ms.map(|ms| ms + 1),
            |c, _| c.signature[3] ^= 1,
            |c, _| c.signature.clear(),
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut bad = good.clone();
            change(&mut bad, &other);
            assert!(bad.verify(&cluster.id(), 2_000).is_err(), "change {i}");
        }
        // Even the cluster's own key cannot make a worker's certificate that never ends.
        let subject = Subject { peer_key: key(1).public(), node: None, role: Role::Leecher, epoch: 1 };
        assert!(cluster.certify_until(subject, 0, None).verify(&cluster.id(), 1).is_err());
    }

    #[test]
    fn it_survives_cbor_and_the_key_survives_bytes() {
        let (cluster, certificate) = sample(Role::Worker);
        let bytes = cbor::to_vec(&certificate);
        assert!(bytes.len() < 400, "{}", bytes.len());
        let back: Certificate = cbor::from_slice(&bytes, 1024).unwrap();
        assert_eq!(back, certificate);
        assert_eq!(ClusterKey::from_bytes(&cluster.to_bytes()).unwrap().id(), cluster.id());
        assert!(!format!("{cluster:?}").contains("secret"));
    }
}
