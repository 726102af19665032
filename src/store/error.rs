//! Sans-IO: why something at rest could not be opened, read or written.

use std::{io, path::PathBuf};

use crate::base::{HasKind, Kind};

/// Errors of everything in this folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the repo open.
    #[error(
        "the repo {dir} is in use by process {pid}; talk to that daemon, stop it, or choose another folder with --repo"
    )]
    Locked {
        /// The repo's folder.
        dir: PathBuf,
        /// Process id found in the lock file, or "unknown".
        pid: String,
    },
    /// The folder is laid out by another version of this program, or by another program.
    #[error("{dir} cannot be opened as a repo: {reason}")]
    Layout {
        /// The folder.
        dir: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Stored bytes are not what was written.
    #[error("{what} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The file or thing that is damaged.
        what: String,
        /// Where, in bytes from its start.
        offset: u64,
        /// What is wrong and what to do.
        reason: String,
    },
    /// There is no room left.
    #[error("no space left while {doing}; free some space on its disk, then try again: {source}")]
    Full {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// Blocks take as much of the disk as they may.
    #[error(
        "blocks take {used} of the {limit} bytes that they may, so {more} more were refused; free some by 'ipfs-kit unpin' \
         and 'ipfs-kit repo gc', or raise the setting storage.max"
    )]
    Limit {
        /// Bytes they take.
        used: u64,
        /// Bytes that were to come.
        more: u64,
        /// Bytes they may take.
        limit: u64,
    },
    /// The system refused an operation.
    #[error("{doing} failed: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// An earlier sync failed, so nothing can be promised about later writes.
    #[error("writing has stopped after an earlier failure ({reason}); check the disk, then restart")]
    Poisoned {
        /// The earlier failure.
        reason: String,
    },
    /// A key-value engine failed.
    #[error("the {engine} store failed: {reason}")]
    Engine {
        /// The engine's name.
        engine: &'static str,
        /// Its own words.
        reason: String,
    },
    /// A value is over its limit, or a name is not allowed.
    #[error("{what} is not allowed: {reason}")]
    Invalid {
        /// What was given.
        what: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// The content is pinned in another way already.
    #[error("{cid} already pinned recursively; remove that pin first")]
    PinnedRecursively {
        /// The content id.
        cid: String,
    },
    /// Nothing to update from.
    #[error("{cid}, the 'from' of the update, was not recursively pinned already; use pin add for the new one")]
    UpdateFrom {
        /// The content id.
        cid: String,
    },
    /// The update's aim is reached already, in another way.
    #[error("{cid}, the 'to' of the update, was already recursively pinned; remove the old pin by pin rm")]
    UpdateTo {
        /// The content id.
        cid: String,
    },
    /// The store has been closed.
    #[error("the repo is closed")]
    Closed,
}

impl StoreError {
    /// Names an input or output error; lack of space gets its own variant.
    pub(crate) fn io(doing: &'static str) -> impl Fn(io::Error) -> StoreError {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { doing, source },
            _ => StoreError::Io { doing, source },
        }
    }

    /// The same failure for one more caller of what was done together.
    pub(crate) fn again(&self) -> StoreError {
        let copy = |e: &io::Error| {
            e.raw_os_error().map_or_else(|| io::Error::other(e.to_string()), io::Error::from_raw_os_error)
        };
        match self {
            StoreError::Full { doing, source } => StoreError::Full { doing, source: copy(source) },
            StoreError::Io { doing, source } => StoreError::Io { doing, source: copy(source) },
            StoreError::Invalid { what, reason } => StoreError::Invalid { what: what.clone(), reason: reason.clone() },
            other => StoreError::Poisoned { reason: other.to_string() },
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(source: io::Error) -> Self {
        StoreError::io("reading or writing the repo")(source)
    }
}

impl HasKind for StoreError {
    fn kind(&self) -> Kind {
        match self {
            StoreError::Locked { .. } | StoreError::PinnedRecursively { .. } | StoreError::UpdateTo { .. } => {
                Kind::Conflict
            }
            StoreError::UpdateFrom { .. } => Kind::NotFound,
            StoreError::Layout { .. } | StoreError::Invalid { .. } => Kind::Invalid,
            StoreError::Damaged { .. } => Kind::Corrupt,
            StoreError::Full { .. } | StoreError::Limit { .. } => Kind::Busy,
            StoreError::Io { source, .. } => HasKind::kind(source),
            StoreError::Poisoned { .. } | StoreError::Engine { .. } => Kind::Bug,
            StoreError::Closed => Kind::Offline,
        }
    }
}
