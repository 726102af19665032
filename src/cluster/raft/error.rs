//! Sans-IO: why Raft could not do something.

use crate::base::{HasKind, Kind, NodeId, PeerId};
use crate::cluster::model::MasterInfo;

/// Why a proposal or a read was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Another node leads, or none does.
    #[error("this master does not lead; {}", describe(.leader))]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<(NodeId, MasterInfo)>,
    },
    /// The queue of proposals is full.
    #[error("too many proposals are waiting; try again later")]
    Busy,
    /// The proposal is over a limit.
    #[error("the proposal is too large: {0}")]
    TooLarge(String),
    /// A change of the masters' group is under way or not possible.
    #[error("the group of masters cannot be changed now: {0}")]
    Membership(String),
    /// The time is over; what was proposed may or may not be applied later.
    #[error("no answer in time; what was asked may still be done")]
    Timeout,
    /// Raft has stopped.
    #[error("raft has stopped: {0}")]
    Stopped(String),
}

fn describe(leader: &Option<(NodeId, MasterInfo)>) -> String {
    match leader {
        Some((node, info)) => format!("{} (node {node}) does", info.peer),
        None => "no leader is known, try again".into(),
    }
}

impl ProposeError {
    /// Who leads, if the error tells.
    pub fn leader(&self) -> Option<PeerId> {
        match self {
            ProposeError::NotLeader { leader } => leader.as_ref().map(|(_, info)| info.peer),
            _ => None,
        }
    }
}

impl HasKind for ProposeError {
    fn kind(&self) -> Kind {
        match self {
            ProposeError::NotLeader { .. } | ProposeError::Stopped(_) => Kind::Offline,
            ProposeError::Busy => Kind::Busy,
            ProposeError::TooLarge(_) => Kind::Invalid,
            ProposeError::Membership(_) => Kind::Conflict,
            ProposeError::Timeout => Kind::Timeout,
        }
    }
}
