//! What can go wrong with content, as one enum.

use std::{io, path::PathBuf};

use crate::{
    base::{BlockError, Cid, CidError, HasKind, Kind},
    dag::DagError,
    exchange::ExchangeError,
    store::StoreError,
};

/// Errors of adding, reading and pinning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The block is not here and there is no network to ask.
    #[error("{cid} was not found locally; no daemon is running, so the network was not asked")]
    NotFoundOffline {
        /// What is missing.
        cid: Box<Cid>,
    },
    /// The network did not give it.
    #[error(transparent)]
    Fetch(#[from] ExchangeError),
    /// The block store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The DAG is not what it should be.
    #[error(transparent)]
    Dag(#[from] DagError),
    /// The files tree does not allow it.
    #[error(transparent)]
    Mfs(#[from] super::mfs::MfsError),
    /// A repo was not moved, or not all of it.
    #[error(transparent)]
    Move(#[from] super::moving::MoveError),
    /// A file of this machine cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bytes to add stopped coming.
    #[error("the input ended early: {0}")]
    Input(#[source] io::Error),
    /// A directory where a file was named.
    #[error("{} is a directory; add it with -r (recursive)", path.display())]
    NeedsRecursive {
        /// Which.
        path: PathBuf,
    },
    /// Neither file, directory nor symbolic link.
    #[error("{} is neither a file, a directory nor a symbolic link; leave it out", path.display())]
    UnsupportedFile {
        /// Which.
        path: PathBuf,
    },
    /// Writing there would lead out of the output folder.
    #[error("refused to write {}: {reason}", path.display())]
    Unsafe {
        /// Where it would be written.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// Something else is there already.
    #[error("{} exists already and is {found}; remove it or choose another output", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// Two items of one tree want the same place.
    #[error("'{path}' was given twice, or as a file and as a directory")]
    Clash {
        /// Where.
        path: String,
    },
    /// A block that something keeps.
    #[error("{why}")]
    StillKept {
        /// Which.
        cid: Box<Cid>,
        /// What keeps it.
        why: String,
    },
    /// What lies below something that is kept cannot be told.
    #[error(
        "{cid} is pinned or held, or lies below something that is, and is missing or damaged; nothing was removed. 'pin \
         verify' names the pins that are broken: fetch what is missing by 'pin add', or take them back by 'pin rm'"
    )]
    KeptMissing {
        /// What is missing.
        cid: Box<Cid>,
    },
    /// The block was read but is not stored.
    #[error(
        "{cid} was read but could not be stored: blocks take as much of the disk as they may; free some of it by 'unpin' \
         and 'repo gc', or raise the setting storage.max"
    )]
    NotStored {
        /// Which.
        cid: Box<Cid>,
    },
    /// There is no such pin.
    #[error("{cid} {hint}")]
    NotPinned {
        /// What was to be unpinned.
        cid: Box<Cid>,
        /// What is so, and what to do.
        hint: &'static str,
    },
    /// The archive is not one.
    #[error("malformed tar stream: {reason}")]
    Tar {
        /// What is wrong.
        reason: String,
    },
    /// An archive was read up to there; what came before is stored, nothing is pinned.
    #[error("the import failed {}: {source}", after.as_ref().map_or("at the beginning".to_owned(), |cid| format!("after block {cid}")))]
    Import {
        /// The last block before the failure.
        after: Option<Box<Cid>>,
        /// Why.
        source: Box<ContentError>,
    },
    /// A background step ended without an answer.
    #[error("internal error: {what}")]
    Internal {
        /// Which.
        what: String,
    },
}

impl ContentError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        ContentError::Io { path: path.into(), source: source.into() }
    }

    pub(crate) fn joined(error: tokio::task::JoinError) -> Self {
        ContentError::Internal { what: error.to_string() }
    }
}

impl From<BlockError> for ContentError {
    fn from(error: BlockError) -> Self {
        ContentError::Dag(error.into())
    }
}

impl From<CidError> for ContentError {
    fn from(error: CidError) -> Self {
        ContentError::Dag(error.into())
    }
}

impl HasKind for ContentError {
    fn kind(&self) -> Kind {
        match self {
            ContentError::NotFoundOffline { .. } | ContentError::NotPinned { .. } => Kind::NotFound,
            ContentError::Fetch(error) => error.kind(),
            ContentError::Store(error) => error.kind(),
            ContentError::Dag(error) => error.kind(),
            ContentError::Mfs(error) => error.kind(),
            ContentError::Move(error) => error.kind(),
            ContentError::Io { source, .. } | ContentError::Input(source) => HasKind::kind(source),
            ContentError::NeedsRecursive { .. } | ContentError::UnsupportedFile { .. } | ContentError::Clash { .. } => {
                Kind::Invalid
            }
            ContentError::Unsafe { .. } => Kind::Denied,
            ContentError::Exists { .. } | ContentError::StillKept { .. } => Kind::Conflict,
            ContentError::KeptMissing { .. } | ContentError::Tar { .. } => Kind::Corrupt,
            ContentError::Import { source, .. } => source.kind(),
            ContentError::NotStored { .. } => Kind::Busy,
            ContentError::Internal { .. } => Kind::Bug,
        }
    }
}
