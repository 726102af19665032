//! Identities: peers on the network, nodes in a cluster.

pub use libp2p::identity::Keypair;
pub use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

/// A member's number in its cluster: the cluster's epoch in the upper 16 bits, the log index of the admission in the
/// lower 48. A number is never given twice, so a wiped disk can never be mistaken for its former owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The number given by the log entry `index` of `epoch`.
    pub fn new(epoch: u16, index: u64) -> Self {
        NodeId(u64::from(epoch) << 48 | index & 0xffff_ffff_ffff)
    }

    /// The cluster's epoch when the number was given.
    pub fn epoch(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The log index of the admission.
    pub fn index(self) -> u64 {
        self.0 & 0xffff_ffff_ffff
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.epoch(), self.index())
    }
}
