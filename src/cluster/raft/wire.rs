//! Sans-IO: what masters say to each other over Raft's two protocols.

use openraft::raft::{StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse};
use serde::{Deserialize, Serialize};

use crate::{base::NodeId, cluster::model::Certificate};

use super::types::{LogIdOf, SnapshotMetaOf, TypeConfig, VoteOf};

/// Largest frame read, in bytes: a page of entries and one entry more.
pub(crate) const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;
/// Largest first frame read, in bytes.
pub(crate) const MAX_HELLO_BYTES: usize = 16 * 1024;
/// Bytes of a snapshot in one frame.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;
/// Appends on their way on one stream.
pub(crate) const PIPELINE: usize = 32;

/// The first frame of every stream, from the one who opened it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Who opened it.
    pub from: NodeId,
    /// Whom it is meant for: a peer that was admitted anew must not take what was meant for its former self.
    pub to: NodeId,
    /// The opener's certificate.
    pub certificate: Certificate,
}

/// A request, answered by one [`Answer`] in order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Entries to store, or a heartbeat.
    Append(Append),
    /// A vote.
    Vote(VoteRequest<TypeConfig>),
    /// Whether a vote would be given.
    PreVote(VoteRequest<TypeConfig>),
    /// The leader hands over.
    Transfer(TransferLeaderRequest<TypeConfig>),
}

/// openraft's append request with the entries as they stand in the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Append {
    pub vote: VoteOf,
    pub prev: Option<LogIdOf>,
    pub commit: Option<LogIdOf>,
    pub entries: Vec<serde_bytes::ByteBuf>,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To [`Ask::Append`].
    Append(StreamAppendResult<TypeConfig>),
    /// To [`Ask::Vote`] and [`Ask::PreVote`].
    Vote(VoteResponse<TypeConfig>),
    /// To [`Ask::Transfer`].
    Transfer(TransferLeaderResponse<TypeConfig>),
    /// To a snapshot: the receiver's vote.
    Installed(VoteOf),
    /// The stream ends: why nothing was done.
    Refused(String),
}

/// The second frame of a snapshot's stream; chunks follow.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotHead {
    /// The leader's vote.
    pub vote: VoteOf,
    /// What it covers.
    pub meta: SnapshotMetaOf,
    /// The file's size.
    pub bytes: u64,
}

/// A piece of a snapshot's file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Chunk {
    /// The CRC-32 of the data.
    pub crc: u32,
    /// At most [`CHUNK_BYTES`].
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}
