//! Sans-IO: what openraft is told our types are, and how log entries, votes and log ids are written.

use std::fmt;

use bytes::Bytes;
use openraft::{EntryPayload, LogId, Membership, type_config::alias};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use crate::{
    base::{Multiaddr, NodeId, PeerId, cbor},
    cluster::{
        model::MasterInfo,
        state::{Reply, command::MAX_ENTRY_BYTES},
    },
};

openraft::declare_raft_types!(
    /// Our types in openraft's traits.
    pub(crate) TypeConfig:
        D = LoggedEntry,
        R = Replies,
        NodeId = u64,
        Node = MasterNode,
);

pub(crate) type CommittedLeaderId = alias::CommittedLeaderIdOf<TypeConfig>;
pub(crate) type LogIdOf = LogId<CommittedLeaderId>;
pub(crate) type VoteOf = alias::VoteOf<TypeConfig>;
pub(crate) type EntryOf = alias::EntryOf<TypeConfig>;
pub(crate) type StoredMembershipOf = alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMetaOf = alias::SnapshotMetaOf<TypeConfig>;

/// An encoded [`Entry`](crate::cluster::state::Entry): encoded once by the proposer, decoded once where it is applied,
/// copied by log and network.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LoggedEntry(pub Bytes);

impl fmt::Debug for LoggedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for LoggedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for LoggedEntry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for LoggedEntry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(LoggedEntry(serde_bytes::ByteBuf::deserialize(from)?.into_vec().into()))
    }
}

/// The replies to an entry's requests; none for blank and membership entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replies(pub Vec<Reply>);

/// A master in the Raft membership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MasterNode {
    /// `None` only in openraft's own tests.
    pub peer: Option<PeerId>,
    pub addrs: Vec<Multiaddr>,
}

impl MasterNode {
    pub fn info(&self) -> Option<MasterInfo> {
        self.peer.map(|peer| MasterInfo { peer, addrs: self.addrs.clone() })
    }
}

impl From<MasterInfo> for MasterNode {
    fn from(info: MasterInfo) -> Self {
        MasterNode { peer: Some(info.peer), addrs: info.addrs }
    }
}

/// Why a record of the log is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a malformed log record: {0}")]
pub(crate) struct RecordError(String);

impl From<RecordError> for std::io::Error {
    fn from(e: RecordError) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, e)
    }
}

const RECORD_VERSION: u8 = 1;
const KIND_BLANK: u8 = 0;
const KIND_NORMAL: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;
const HEAD_BYTES: usize = 2 + 3 * 8;
/// Largest record of the log or of the votes, in bytes.
pub(crate) const MAX_RECORD_BYTES: usize = HEAD_BYTES + MAX_ENTRY_BYTES;

/// A log entry as it stands in the log and travels: version, kind, term, leader, index, body.
pub(crate) fn encode_entry(entry: &EntryOf) -> Bytes {
    let (kind, body) = match &entry.payload {
        EntryPayload::Blank => (KIND_BLANK, Bytes::new()),
        EntryPayload::Normal(logged) => (KIND_NORMAL, logged.0.clone()),
        EntryPayload::Membership(membership) => (KIND_MEMBERSHIP, cbor::to_vec(membership).into()),
    };
    let mut out = Vec::with_capacity(HEAD_BYTES + body.len());
    out.extend_from_slice(&[RECORD_VERSION, kind]);
    for word in [entry.log_id.leader_id.term, entry.log_id.leader_id.node_id, entry.log_id.index] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(&body);
    out.into()
}

/// Reads what [`encode_entry`] wrote.
pub(crate) fn decode_entry(bytes: Bytes) -> Result<EntryOf, RecordError> {
    if bytes.len() < HEAD_BYTES || bytes.len() > MAX_RECORD_BYTES {
        return Err(RecordError(format!("{} bytes", bytes.len())));
    }
    if bytes[0] != RECORD_VERSION {
        return Err(RecordError(format!("version {}; use a newer ipfs-kit", bytes[0])));
    }
    let word = |at: usize| {
        let part: [u8; 8] = std::array::from_fn(|i| bytes[2 + at * 8 + i]);
        u64::from_be_bytes(part)
    };
    let leader_id = CommittedLeaderId { term: word(0), node_id: word(1) };
    let body = bytes.slice(HEAD_BYTES..);
    let payload = match bytes[1] {
        KIND_BLANK => EntryPayload::Blank,
        KIND_NORMAL => EntryPayload::Normal(LoggedEntry(body)),
        KIND_MEMBERSHIP => {
            let membership: Membership<u64, MasterNode> =
                cbor::from_slice(&body, MAX_ENTRY_BYTES).map_err(|e| RecordError(e.to_string()))?;
            EntryPayload::Membership(membership)
        }
        kind => return Err(RecordError(format!("kind {kind}"))),
    };
    Ok(EntryOf { log_id: LogId { leader_id, index: word(2) }, payload })
}

/// Reads a small record: a vote, a log id, a membership.
pub(crate) fn decode_small<T: DeserializeOwned>(bytes: &[u8]) -> std::io::Result<T> {
    cbor::from_slice(bytes, MAX_ENTRY_BYTES).map_err(|e| RecordError(e.to_string()).into())
}

/// The number of a node in openraft's words.
pub(crate) fn raw(node: NodeId) -> u64 {
    node.0
}
