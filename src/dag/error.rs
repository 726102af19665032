//! Sans-IO: what can be wrong with a DAG, as one enum.

use crate::base::{BlockError, Cid, CidError, HasKind, Kind};

/// Why a node, a tree of nodes or a path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DagError {
    /// The bytes are not what their codec says.
    #[error("malformed {codec}: {reason}")]
    Malformed {
        /// The format expected.
        codec: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// No codec of that number is known here.
    #[error("codec 0x{code:x}{} is not read or written here; use dag-cbor, dag-json, dag-pb, cbor, json or raw", name.map_or(String::new(), |name| format!(" ({name})")))]
    UnknownCodec {
        /// Its multicodec number.
        code: u64,
        /// Its name.
        name: Option<&'static str>,
    },
    /// More than this node reads in one piece.
    #[error("{what}: {count} is over the limit of {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        count: u64,
        /// How much may be.
        limit: u64,
    },
    /// The sizes in a file's nodes contradict each other.
    #[error("the sizes in the file's nodes disagree at {cid}: {declared} bytes declared, {actual} found")]
    SizeMismatch {
        /// The node.
        cid: Box<Cid>,
        /// What its parent or its own header says.
        declared: u64,
        /// What is there.
        actual: u64,
    },
    /// A directory with so many entries that it does not fit one node; [`super::hamt`] builds those.
    #[error("the directory is too large for one node ({bytes} bytes of names and links, at most {limit}); shard it")]
    WouldShard {
        /// Bytes of names and CIDs.
        bytes: u64,
        /// How many may be.
        limit: u64,
    },
    /// A sharded directory, which one block alone does not tell; [`super::hamt`] reads its shards.
    #[error("{cid} is a sharded directory (HAMT), which has to be read shard by shard")]
    Sharded {
        /// The directory.
        cid: Box<Cid>,
    },
    /// A file was needed.
    #[error("{cid} is a {found}, not a file; get it whole, or name a file in it: CID/NAME")]
    NotAFile {
        /// The node.
        cid: Box<Cid>,
        /// What it is.
        found: &'static str,
    },
    /// A directory was needed.
    #[error("{cid} is a {found}, not a directory")]
    NotADirectory {
        /// The node.
        cid: Box<Cid>,
        /// What it is.
        found: &'static str,
    },
    /// The codec holds no files.
    #[error("{cid} has codec 0x{codec:x}, which is neither UnixFS nor raw bytes")]
    NotUnixFs {
        /// The node.
        cid: Box<Cid>,
        /// Its multicodec number.
        codec: u64,
    },
    /// A directory has no such entry.
    #[error("no entry named '{name}' in {cid}")]
    NoEntry {
        /// The directory.
        cid: Box<Cid>,
        /// The name looked for.
        name: String,
    },
    /// A name that cannot stand in a directory.
    #[error("'{name}' cannot be the name of a directory's entry: {reason}")]
    BadName {
        /// The name, made printable.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// Not a content path.
    #[error("'{path}' is not a content path: {reason}; write CID, CID/NAME or /ipfs/CID/NAME")]
    BadPath {
        /// What was given, shortened.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Import settings that make no sense together.
    #[error("these import settings cannot be used: {reason}")]
    BadParams {
        /// What is wrong.
        reason: String,
    },
    /// The block cannot be made.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A CID in it is not admitted.
    #[error(transparent)]
    Cid(#[from] CidError),
}

impl DagError {
    pub(crate) fn malformed(codec: &'static str, reason: impl Into<String>) -> Self {
        DagError::Malformed { codec, reason: reason.into() }
    }
}

impl HasKind for DagError {
    fn kind(&self) -> Kind {
        match self {
            DagError::Malformed { .. } | DagError::SizeMismatch { .. } => Kind::Corrupt,
            DagError::NoEntry { .. } => Kind::NotFound,
            _ => Kind::Invalid,
        }
    }
}
