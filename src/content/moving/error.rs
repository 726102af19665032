//! What can go wrong while a repo is moved, as one enum.

use std::path::PathBuf;

use crate::base::{Cid, HasKind, Kind};

/// Why a repo was not moved, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// Where the repo comes from does not answer, or cannot be read. What came before is kept.
    #[error("{from}: {reason}; once that is mended, run the same again: it goes on where it was")]
    Origin {
        /// Whom or what was read.
        from: String,
        /// What is wrong.
        reason: String,
    },
    /// The folder holds no repo of that kind.
    #[error("{} cannot be imported: {reason}", dir.display())]
    NotOne {
        /// The folder.
        dir: PathBuf,
        /// What is missing or unknown, and what to do.
        reason: String,
    },
    /// A Kubo runs on the folder.
    #[error(
        "a Kubo runs on {}; stop it with 'ipfs shutdown', or import from it while it runs: --from-kubo with its API's \
         address instead of the folder",
        dir.display()
    )]
    KuboRuns {
        /// The folder.
        dir: PathBuf,
    },
    /// There is a files tree here already, and another one comes.
    #[error(
        "the files tree here is not empty, and the one that comes ({theirs}) would replace it: --files-to /DIR puts it \
         into a directory of this one, --without-files leaves it out"
    )]
    FilesHere {
        /// The root that comes.
        theirs: Box<Cid>,
    },
    /// What came is not what it should be.
    #[error("{what} is damaged: {reason}; make the export anew")]
    Damaged {
        /// Which file of it.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// Pins came and went faster than they could be written down.
    #[error("blocks were removed each of the {tries} times that the pins were read; export again when less is removed")]
    Restless {
        /// How often it was tried.
        tries: u32,
    },
}

impl MoveError {
    pub(crate) fn origin(from: impl Into<String>, reason: impl ToString) -> Self {
        MoveError::Origin { from: from.into(), reason: reason.to_string() }
    }
}

impl HasKind for MoveError {
    fn kind(&self) -> Kind {
        match self {
            MoveError::Origin { .. } => Kind::Offline,
            MoveError::NotOne { .. } => Kind::Invalid,
            MoveError::KuboRuns { .. } | MoveError::FilesHere { .. } => Kind::Conflict,
            MoveError::Damaged { .. } => Kind::Corrupt,
            MoveError::Restless { .. } => Kind::Busy,
        }
    }
}
