//! Sans-IO: the records the state is made of, and how they stand in tables.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    base::{Multiaddr, NodeId, cbor},
    cluster::model::{ClusterId, Fence, Member, TaskRecord},
};

use super::error::StateError;

/// The table of single records.
pub const META: &str = "meta";
/// Members by number, ended memberships included.
pub const MEMBERS: &str = "members";
/// Numbers of current members by peer.
pub const MEMBER_PEERS: &str = "member_peers";
/// Settings by key.
pub const SETTINGS: &str = "settings";
/// Tasks by id.
pub const TASKS: &str = "tasks";
/// Task ids by state and order of submission.
pub const TASK_STATES: &str = "task_states";
/// Ids of ended tasks by the time they may be forgotten at.
pub const TASK_ENDS: &str = "task_ends";
/// Pins by id.
pub const PINS: &str = "pins";
/// Pin ids by content id.
pub const PIN_CIDS: &str = "pin_cids";
/// Answers by (client, sequence).
pub const REPLIES: &str = "replies";
/// (client, sequence) by time.
pub const REPLY_TIMES: &str = "reply_times";

/// Every table of the replicated state, in the order of snapshots and hashes.
pub const STATE_TABLES: [&str; 11] =
    [META, MEMBERS, MEMBER_PEERS, SETTINGS, TASKS, TASK_STATES, TASK_ENDS, PINS, PIN_CIDS, REPLIES, REPLY_TIMES];

/// Key of the [`Meta`] record.
pub const META_KEY: &[u8] = b"state";

/// The format of records written today; readers refuse others.
const RECORD_VERSION: u8 = 1;
/// Longest record read, in bytes.
const MAX_RECORD_BYTES: usize = 512 * 1024;

/// Encodes a record with its version.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut out = vec![RECORD_VERSION];
    out.extend_from_slice(&cbor::to_vec(record));
    out
}

/// Decodes a record of `table`.
pub fn decode<T: DeserializeOwned>(table: &'static str, bytes: &[u8]) -> Result<T, StateError> {
    match bytes.split_first() {
        Some((&RECORD_VERSION, rest)) => {
            cbor::from_slice(rest, MAX_RECORD_BYTES).map_err(|e| StateError::Damaged { table, reason: e.to_string() })
        }
        Some((version, _)) => {
            Err(StateError::Damaged { table, reason: format!("record version {version}; use a newer ipfs-kit") })
        }
        None => Err(StateError::Damaged { table, reason: "an empty record".into() }),
    }
}

/// What there is once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The cluster, once founded.
    pub cluster: Option<ClusterId>,
    /// The lineage of this log: part of every number and fence, raised only by a recovery from lost quorum.
    pub epoch: u16,
    /// When the cluster was founded, in milliseconds since 1970.
    pub founded_ms: u64,
    /// The time of the last entry.
    pub time_ms: u64,
    /// The index of the last entry that gave a number.
    pub last_admission: u64,
    /// Tasks that have not ended.
    pub live_tasks: u64,
    /// All tasks remembered.
    pub tasks: u64,
    /// All pins.
    pub pins: u64,
    /// Current members.
    pub members: u64,
    /// Answers kept for deduplication.
    pub replies: u64,
}

/// A member, or what remains of an ended membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemberRow {
    pub member: Member,
    /// Where it listened at its admission; the current addresses of masters are in the Raft membership.
    pub addrs: Vec<Multiaddr>,
    /// Kept beside the state, so that a draining member that was lost drains on when it is back.
    pub draining: bool,
    /// The log index of the admission.
    pub admitted: u64,
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingRecord {
    /// Its value.
    pub value: String,
    /// The log index that set it.
    pub revision: u64,
}

/// A task and what only the state needs of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TaskRow {
    pub record: TaskRecord,
    /// Nodes that failed at it or lost it, oldest first, at most [`MAX_TRIED`](super::MAX_TRIED).
    pub tried: Vec<NodeId>,
    /// The last outcome a worker told: its fence and the start of its hash, so that telling it again is harmless.
    pub told: Option<(Fence, [u8; 8])>,
}

/// The number of a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PinId(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl std::fmt::Display for PinId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// An answer kept for deduplication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReplyRecord {
    /// The start of the command's hash: the same number with another command is a mistake of the sender.
    #[serde(with = "serde_bytes")]
    pub digest: [u8; 8],
    pub reply: super::Reply,
    pub time_ms: u64,
}

/// The key of a node's record.
pub fn node_key(node: NodeId) -> [u8; 8] {
    node.0.to_be_bytes()
}
