//! Sans-IO: what people and programs are shown of the cluster.

use serde::{Deserialize, Serialize};

use crate::base::{Multiaddr, NodeId, PeerId, Role};

use super::model::{Certificate, ClusterId, Receipt, TaskId};

/// This node's place in its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node's role.
    pub role: Role,
    /// This node's certificate.
    pub certificate: Certificate,
}

/// The cluster at one moment, as one member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster.
    pub cluster: ClusterId,
    /// The leader, if one is known.
    pub leader: Option<PeerId>,
    /// Raft's term.
    pub term: u64,
    /// The last committed log index.
    pub committed: u64,
    /// The last applied log index of the master that answered.
    pub applied: u64,
    /// The node that was asked.
    pub me: MeStatus,
    /// All masters and workers that are not removed, lost ones too, in the order of their admission.
    pub members: Vec<MemberStatus>,
}

/// The node that was asked for the cluster's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeStatus {
    /// Its peer id.
    pub peer: PeerId,
    /// Its role.
    pub role: Role,
    /// Its number; leechers have none.
    pub node: Option<NodeId>,
}

/// One member at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its peer id.
    pub peer: PeerId,
    /// Its number.
    pub node: NodeId,
    /// Its role.
    pub role: Role,
    /// `alive`, `suspect`, `lost` or `draining`.
    pub state: String,
    /// Whether it votes.
    pub voter: bool,
    /// Where it listens, as far as known.
    pub addresses: Vec<Multiaddr>,
}

/// By which way a task is submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// Published on the tasks topic; no stream to a master is opened.
    #[default]
    Gossip,
    /// Asked of a master.
    Direct,
}

/// A task that is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Its id.
    pub id: TaskId,
    /// A master's word for it, verified.
    pub accepted: Receipt,
}
