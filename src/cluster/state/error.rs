//! Sans-IO: why the replicated state cannot be read or advanced.

use crate::base::{HasKind, Kind};

/// Why the replicated state cannot be read or advanced. All of these stop the node: refusals of a command are replies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The tables cannot be read.
    #[error("cannot read the cluster's state: {0}")]
    Storage(String),
    /// A record does not say what it should.
    #[error("the cluster's state is damaged in table {table}: {reason}; remove this node and let it join again")]
    Damaged {
        /// Where.
        table: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The log holds an entry of a newer version.
    #[error("log entry {index} was written by a newer ipfs-kit ({reason}); upgrade this node")]
    Newer {
        /// Which.
        index: u64,
        /// What was not understood.
        reason: String,
    },
    /// An index lies beyond what numbers can carry.
    #[error("log index {0} is over the limit of 2^48")]
    IndexOverflow(u64),
}

impl HasKind for StateError {
    fn kind(&self) -> Kind {
        match self {
            StateError::Damaged { .. } => Kind::Corrupt,
            StateError::Newer { .. } => Kind::Invalid,
            StateError::Storage(_) | StateError::IndexOverflow(_) => Kind::Bug,
        }
    }
}
