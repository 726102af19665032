//! Why an attempt at a task failed.

use crate::{
    base::{HasKind, Kind},
    content::ContentError,
};

/// Errors of task handlers. What they say reaches the task's submitter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// No handler has this name.
    #[error("this worker has no handler for tasks of kind '{kind}'; it has {known}")]
    UnknownKind {
        /// The name.
        kind: String,
        /// The names there are.
        known: String,
    },
    /// The task names no input and its kind needs one.
    #[error("tasks of kind '{kind}' need the CID of an input")]
    NoInput {
        /// The kind.
        kind: String,
    },
    /// The attempt was told to stop.
    #[error("the attempt was stopped")]
    Stopped,
    /// Input or output failed.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The handler's own reason.
    #[error("{message}")]
    Failed {
        /// What went wrong.
        message: String,
        /// Whether another attempt may succeed.
        retryable: bool,
    },
}

impl WorkError {
    /// A handler's own failure that another attempt would only repeat.
    pub fn failed(message: impl Into<String>) -> Self {
        WorkError::Failed { message: message.into(), retryable: false }
    }

    /// Whether another attempt, maybe on another worker, may succeed.
    pub fn retryable(&self) -> bool {
        match self {
            WorkError::UnknownKind { .. } | WorkError::Stopped => true,
            WorkError::NoInput { .. } => false,
            // A DAG that is wrong is wrong everywhere; a damaged disk is not.
            WorkError::Content(ContentError::Dag(_)) => false,
            WorkError::Content(error) => error.kind() != Kind::Invalid,
            WorkError::Failed { retryable, .. } => *retryable,
        }
    }
}

impl HasKind for WorkError {
    fn kind(&self) -> Kind {
        match self {
            WorkError::UnknownKind { .. } | WorkError::NoInput { .. } => Kind::Invalid,
            WorkError::Stopped => Kind::Busy,
            WorkError::Content(error) => error.kind(),
            WorkError::Failed { .. } => Kind::Bug,
        }
    }
}
