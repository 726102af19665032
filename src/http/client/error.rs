//! Sans-IO: what goes wrong when a node is asked.

use crate::base::{HasKind, Kind};

/// Why a request to a node failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The node answered with an error.
    #[error("{message}")]
    Refused {
        /// What kind of failure it is.
        kind: Kind,
        /// The node's sentence.
        message: String,
    },
    /// Nobody listens at the address.
    #[error("no daemon answers at {address} ({reason}); start one with 'ipfs-kit daemon', or correct --api-url")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// The address of the API cannot be read.
    #[error(transparent)]
    Address(#[from] crate::config::ConfigError),
    /// No answer, or no further piece of it, within the time.
    #[error("no answer within {seconds} s while waiting for {what}; give it longer with --timeout")]
    Timeout {
        /// The time given, in seconds.
        seconds: f64,
        /// What was waited for.
        what: &'static str,
    },
    /// The connection broke in the middle.
    #[error("the connection to the daemon broke: {reason}; see whether it still runs, then ask again")]
    Broken {
        /// What the system says.
        reason: String,
    },
    /// The answer is not what this version understands.
    #[error("the daemon at this address does not answer like ipfs-kit: {reason}")]
    Malformed {
        /// What was found.
        reason: String,
    },
    /// What came could not be written here.
    #[error(transparent)]
    Content(#[from] crate::content::ContentError),
    /// A file here could not be read or written.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// What kind of failure it is.
        kind: Kind,
        /// What is wrong.
        reason: String,
    },
}

impl HasKind for ClientError {
    fn kind(&self) -> Kind {
        match self {
            ClientError::Refused { kind, .. } | ClientError::File { kind, .. } => *kind,
            ClientError::Unreachable { .. } | ClientError::Broken { .. } => Kind::Offline,
            ClientError::Content(error) => error.kind(),
            ClientError::Address(_) => Kind::Invalid,
            ClientError::Timeout { .. } => Kind::Timeout,
            ClientError::Malformed { .. } => Kind::Bug,
        }
    }
}

impl ClientError {
    /// A failure of the file system here.
    pub fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        ClientError::File { path: path.display().to_string(), kind: HasKind::kind(error), reason: error.to_string() }
    }
}
