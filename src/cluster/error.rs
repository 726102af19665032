//! Sans-IO: why the cluster could not do something.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{HasKind, Kind, NodeId, PeerId, Role, cbor::CborError, frame::FrameError};
use crate::net::NetError;

use super::model::{CertError, ClusterId, SpecError, TaskId, TokenError};

/// Why the cluster could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The node is in no cluster.
    #[error("this node is not in a cluster; use `ipfs-kit cluster init`, or `daemon --join ADDR --token T --role R`")]
    NotMember,
    /// The node is in a cluster already.
    #[error("this node is already a {role} of cluster {cluster}; use another repo to join another cluster")]
    AlreadyMember {
        /// Its cluster.
        cluster: ClusterId,
        /// Its role there.
        role: Role,
    },
    /// Only a master can do this.
    #[error("only a master can {what}; ask one of: {masters}")]
    NeedsMaster {
        /// What was asked for.
        what: &'static str,
        /// The masters known, as peer ids with addresses.
        masters: String,
    },
    /// No leader is known or reachable.
    #[error("the cluster has no leader that can be reached ({reason}); try again")]
    NoLeader {
        /// What was tried.
        reason: String,
    },
    /// Nobody at the bootstrap addresses let this node in.
    #[error("cannot join: {reason}")]
    JoinFailed {
        /// What each address said.
        reason: String,
    },
    /// A token is not accepted.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A certificate is not believed.
    #[error(transparent)]
    Certificate(#[from] CertError),
    /// A spec or a receipt is not believed.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The task is not known.
    #[error("no task {task} is known to the cluster")]
    NoTask {
        /// The id asked for.
        task: TaskId,
    },
    /// What was waited for did not happen in time.
    #[error("{what} did not happen within {limit:?}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// Another member refused.
    #[error("{message}")]
    Refused {
        /// The kind the other side gave.
        kind: Kind,
        /// What it said.
        message: String,
    },
    /// The other side broke the protocol.
    #[error("peer {peer} broke the cluster protocol: {why}")]
    Protocol {
        /// Who.
        peer: PeerId,
        /// How.
        why: String,
    },
    /// A queue is full.
    #[error("the cluster is busy ({what}); try again later")]
    Busy {
        /// What is full.
        what: &'static str,
    },
    /// The files of the membership are damaged.
    #[error("the membership file {path} cannot be used: {reason}")]
    Membership {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The disk is not the one this member was admitted with, or is behind what it acknowledged.
    #[error("this repo cannot go on as member {node}: {reason}; join again with a new repo")]
    Identity {
        /// The member's number.
        node: NodeId,
        /// What gave it away.
        reason: String,
    },
    /// Storage failed or is damaged.
    #[error("the cluster's storage: {message}")]
    Storage {
        /// The kind the store gave.
        kind: Kind,
        /// What it said.
        message: String,
    },
    /// Raft failed; the node no longer takes part.
    #[error("raft stopped: {reason}")]
    Raft {
        /// What openraft said.
        reason: String,
    },
    /// The network failed.
    #[error(transparent)]
    Net(Box<NetError>),
    /// A stream failed or a frame is malformed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Bytes are not what they should be.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// The cluster part of the node is stopping.
    #[error("the node is stopping")]
    Stopped,
}

impl From<NetError> for ClusterError {
    fn from(e: NetError) -> Self {
        ClusterError::Net(Box::new(e))
    }
}

impl HasKind for ClusterError {
    fn kind(&self) -> Kind {
        match self {
            ClusterError::NotMember | ClusterError::NeedsMaster { .. } => Kind::Invalid,
            ClusterError::AlreadyMember { .. } | ClusterError::Identity { .. } => Kind::Conflict,
            ClusterError::NoLeader { .. } | ClusterError::JoinFailed { .. } | ClusterError::Stopped => Kind::Offline,
            ClusterError::Token(e) => e.kind(),
            ClusterError::Certificate(e) => e.kind(),
            ClusterError::Spec(e) => e.kind(),
            ClusterError::NoTask { .. } => Kind::NotFound,
            ClusterError::Timeout { .. } => Kind::Timeout,
            ClusterError::Refused { kind, .. } | ClusterError::Storage { kind, .. } => *kind,
            ClusterError::Protocol { .. } | ClusterError::Frame(_) | ClusterError::Cbor(_) => Kind::Invalid,
            ClusterError::Busy { .. } => Kind::Busy,
            ClusterError::Membership { .. } => Kind::Corrupt,
            ClusterError::Raft { .. } => Kind::Bug,
            ClusterError::Net(e) => e.kind(),
        }
    }
}

impl ClusterError {
    /// A refusal as it travels to the one who asked.
    pub fn to_wire(&self) -> WireError {
        WireError { kind: self.kind(), message: self.to_string() }
    }
}

/// An error as it travels between members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireError {
    /// Its kind.
    pub kind: Kind,
    /// Its text.
    pub message: String,
}

impl From<WireError> for ClusterError {
    fn from(e: WireError) -> Self {
        ClusterError::Refused { kind: e.kind, message: e.message }
    }
}
