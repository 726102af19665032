//! Sans-IO: members as the replicated state knows them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{Multiaddr, NodeId, PeerId, Role};

/// A master as Raft's membership carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterInfo {
    /// Who it is.
    pub peer: PeerId,
    /// Where it listens, without `/p2p/`.
    pub addrs: Vec<Multiaddr>,
}

/// Who asks to be a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// The network identity.
    pub peer: PeerId,
    /// The random id of its repo, so that a wiped or cloned disk is not mistaken for it.
    #[serde(with = "serde_bytes")]
    pub storage_id: [u8; 16],
    /// Its role.
    pub role: Role,
    /// Where it listens; kept for masters only.
    pub addrs: Vec<Multiaddr>,
}

/// A member's logged state. Suspicion is never logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It takes part.
    Alive,
    /// It is silent: its tasks went to others.
    Lost,
    /// It gets no new tasks.
    Draining,
    /// It is a member no more; its number is never used again.
    Removed,
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MemberState::Alive => "alive",
            MemberState::Lost => "lost",
            MemberState::Draining => "draining",
            MemberState::Removed => "removed",
        })
    }
}

/// A master or worker as the replicated state keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The number its admission gave it.
    pub node: NodeId,
    /// The network identity.
    pub peer: PeerId,
    /// The random id of its repo.
    #[serde(with = "serde_bytes")]
    pub storage_id: [u8; 16],
    /// Its role.
    pub role: Role,
    /// Its logged state.
    pub state: MemberState,
    /// The entry time of the last change of state, in milliseconds since 1970.
    pub since_ms: u64,
}
