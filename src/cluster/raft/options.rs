//! What Raft is started with, and what it shows of itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    base::{NodeId, PeerId, Role, time},
    cluster::model::{Certificate, ClusterId, MasterInfo},
};

use super::link::Link;

/// Raft's timers, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// How often the leader shows that it lives.
    pub heartbeat_ms: u64,
    /// A follower waits at least this long before it stands for election.
    pub election_min_ms: u64,
    /// And at most this long.
    pub election_max_ms: u64,
}

impl Timing {
    /// For masters on one network.
    pub const LAN: Timing = Timing { heartbeat_ms: 100, election_min_ms: 400, election_max_ms: 800 };
    /// For masters far apart.
    pub const WAN: Timing = Timing { heartbeat_ms: 500, election_min_ms: 2_000, election_max_ms: 4_000 };
}

impl Default for Timing {
    fn default() -> Self {
        Timing::LAN
    }
}

/// When snapshots are made and how much of the log is kept behind them, in log entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// A snapshot is made this many entries after the last one.
    pub every: u64,
    /// The log keeps this many entries behind a snapshot.
    pub keep: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        SnapshotPolicy { every: 5_000, keep: 1_000 }
    }
}

/// What Raft is started with.
#[derive(Clone)]
pub struct RaftOptions {
    /// This node's number.
    pub node: NodeId,
    /// Where the log and the state are.
    pub repo: crate::store::Repo,
    /// How to reach the others.
    pub link: Arc<dyn Link>,
    /// The timers.
    pub timing: Timing,
    /// When snapshots are made.
    pub snapshots: SnapshotPolicy,
    /// Shows this node's certificate and judges the others'.
    pub authorise: Arc<dyn Authorise>,
}

/// Shows this node's certificate to other masters and judges theirs. Tombstones are checked by Raft itself; its own
/// view of the membership, which may lag, is never asked.
pub trait Authorise: Send + Sync + 'static {
    /// This node's certificate, shown in the first frame of every stream.
    fn certificate(&self) -> Certificate;
    /// Whether `peer`, which the connection has authenticated, may speak Raft as `node`; else why not.
    fn may_speak_raft(&self, peer: PeerId, node: NodeId, certificate: &Certificate) -> Result<(), String>;
}

/// [`Authorise`] by the cluster's certificates: masters only.
#[derive(Clone, Debug)]
pub struct CertifiedMasters {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node's certificate.
    pub certificate: Certificate,
}

impl Authorise for CertifiedMasters {
    fn certificate(&self) -> Certificate {
        self.certificate.clone()
    }

    fn may_speak_raft(&self, peer: PeerId, node: NodeId, certificate: &Certificate) -> Result<(), String> {
        certificate.verify_shown_by(peer, &self.cluster, time::unix_ms()).map_err(|e| e.to_string())?;
        certificate.require(Role::Master).map_err(|e| e.to_string())?;
        if certificate.node != Some(node) {
            return Err(format!("the certificate of {peer} is not for node {node}"));
        }
        Ok(())
    }
}

/// Raft as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftStatus {
    /// This node's number.
    pub node: NodeId,
    /// Who leads.
    pub leader: Option<NodeId>,
    /// Its identity and addresses.
    pub leader_info: Option<MasterInfo>,
    /// The term.
    pub term: u64,
    /// The last index known to be committed.
    pub committed: u64,
    /// The last index applied here.
    pub applied: u64,
    /// The last index in this node's log.
    pub last_log: u64,
    /// The last index covered by a snapshot here.
    pub snapshot: u64,
    /// The last index purged from the log here.
    pub purged: u64,
    /// Whether this node leads.
    pub is_leader: bool,
    /// Who votes.
    pub voters: Vec<(NodeId, MasterInfo)>,
    /// Who listens without a vote.
    pub learners: Vec<(NodeId, MasterInfo)>,
    /// On the leader: the last index each other node has stored.
    pub matched: Vec<(NodeId, u64)>,
    /// Why Raft has stopped on this node, if it has.
    pub stopped: Option<String>,
}
