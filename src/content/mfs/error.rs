//! What can go wrong with the files tree, as one enum.

use crate::base::{Cid, HasKind, Kind};

/// Why an operation on the files tree was refused. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MfsError {
    /// Nothing is there. The first words are Kubo's, for programs look for them.
    #[error("file does not exist: {path}")]
    NotFound {
        /// Where.
        path: String,
    },
    /// Something is there.
    #[error("file already exists: {path}; remove it first{}", if *force { ", or replace it with --force" } else { "" })]
    Exists {
        /// Where.
        path: String,
        /// Whether the operation knows `--force`.
        force: bool,
    },
    /// A directory was needed.
    #[error("{path} is not a directory")]
    NotADirectory {
        /// Where.
        path: String,
    },
    /// A file was needed.
    #[error("{path} was not a file")]
    NotAFile {
        /// Where.
        path: String,
    },
    /// The path is none.
    #[error("'{path}' is no path of the files tree: {reason}")]
    BadPath {
        /// What was given, shortened.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A directory was to be removed without saying so.
    #[error("{path} is a directory, use -r to remove directories")]
    NeedsRecursive {
        /// Which.
        path: String,
    },
    /// The root was to be removed, moved or replaced.
    #[error("{what} the root '/' of the files tree is not possible{hint}")]
    Root {
        /// What was asked for, such as `removing`.
        what: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// A directory was to be moved into itself.
    #[error("{path} cannot be moved into itself")]
    IntoItself {
        /// Which.
        path: String,
    },
    /// Not a file or directory.
    #[error("{cid} is no file or directory: the source must be valid UnixFS (dag-pb or raw)")]
    NotUnixFs {
        /// The node.
        cid: Box<Cid>,
    },
    /// Reading begins behind the end.
    #[error("offset was past end of file ({offset} > {size})")]
    PastEnd {
        /// Where reading was to begin, in bytes.
        offset: u64,
        /// Bytes of the file.
        size: u64,
    },
    /// More zeros would be written than is allowed.
    #[error("the offset {offset} lies {gap} bytes behind the file's end; at most {limit} are filled with zeros")]
    Gap {
        /// Where writing was to begin.
        offset: u64,
        /// How far behind the end that is.
        gap: u64,
        /// How far it may be.
        limit: u64,
    },
    /// Somebody else changed it meanwhile.
    #[error("{path} was replaced, moved or removed while it was written; nothing was changed, write again")]
    Changed {
        /// Which.
        path: String,
    },
    /// Too many changes wait for being made durable.
    #[error(
        "reached limit of {limit} unflushed changes of the files tree; run 'ipfs-kit files flush', or leave out --flush=false"
    )]
    Unflushed {
        /// How many may wait.
        limit: u32,
    },
}

impl HasKind for MfsError {
    fn kind(&self) -> Kind {
        match self {
            MfsError::NotFound { .. } => Kind::NotFound,
            MfsError::Exists { .. } | MfsError::Changed { .. } => Kind::Conflict,
            MfsError::Unflushed { .. } => Kind::Busy,
            _ => Kind::Invalid,
        }
    }
}
