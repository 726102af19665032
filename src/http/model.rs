//! Sans-IO: the JSON of `/api/v0` (Kubo's names and shapes) and of `/api/v1` (ours), as both sides use it.

pub mod dag;

pub mod files;

mod ls;
pub mod repo;

pub mod moving;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use ls::{LsLink, LsObject, LsReply};

use crate::base::Role;

/// `id`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IdReply {
    /// The peer id.
    #[serde(rename = "ID")]
    pub id: String,
    /// The public key as protobuf in base64; empty when unknown.
    pub public_key: String,
    /// Where it listens, with `/p2p/…`.
    pub addresses: Vec<String>,
    /// What it calls itself.
    pub agent_version: String,
    /// What it speaks.
    pub protocols: Vec<String>,
}

/// One peer of `swarm/peers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SwarmPeer {
    /// Its address, without `/p2p/…`.
    pub addr: String,
    /// Its id.
    pub peer: String,
    /// The last ping's round trip as Go writes it; empty when unknown or not asked for.
    #[serde(default)]
    pub latency: String,
    /// Empty.
    #[serde(default)]
    pub muxer: String,
    /// 1 = it dialled, 2 = we dialled.
    #[serde(default)]
    pub direction: u8,
    /// Always null here.
    #[serde(default)]
    pub streams: Option<Vec<String>>,
    /// What it says of itself.
    #[serde(default)]
    pub identify: PeerIdentify,
}

/// What a peer says of itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PeerIdentify {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// What it calls itself.
    pub agent_version: String,
    /// What it speaks.
    pub protocols: Vec<String>,
}

/// `swarm/peers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SwarmPeers {
    /// The connected peers; null when there are none, as in Kubo.
    pub peers: Option<Vec<SwarmPeer>>,
}

/// `swarm/connect` and others that answer with sentences.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Strings {
    /// The sentences.
    pub strings: Vec<String>,
}

/// A line of `add`: progress (`Bytes`) or something added (`Hash`, `Size`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AddEvent {
    /// The path within what is added, or the CID when it has none.
    pub name: String,
    /// Bytes read so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The CID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Size of the DAG in bytes, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Permissions, as octal digits behind a 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Seconds since 1970 of its last modification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<i64>,
    /// Nanoseconds of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime_nsecs: Option<u32>,
}

/// `pin/rm` and `pin/update`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PinsReply {
    /// The CIDs.
    pub pins: Vec<String>,
}

/// `pin/add`: what was pinned, or how far it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PinEvent {
    /// The CIDs; absent while it goes on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<String>,
    /// Blocks that are here so far.
    #[serde(skip_serializing_if = "is_zero")]
    pub progress: u64,
    /// Their bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// One pin of `pin/ls` as a map's value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PinType {
    /// `recursive`, `direct`, `indirect` or `indirect through CID`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Its name, when names were asked for.
    #[serde(default)]
    pub name: String,
}

/// `pin/ls` without streaming.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PinList {
    /// Type and name by CID; absent when there is none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, PinType>,
}

/// One line of `pin/ls` with streaming.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PinLine {
    /// The CID.
    pub cid: String,
    /// Its name, when names were asked for and it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// As in [`PinType`].
    #[serde(rename = "Type")]
    pub kind: String,
}

/// One line of `pin/verify`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PinVerifyLine {
    /// The pin's root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cid: String,
    /// Whether all below it is here and readable; absent when not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ok: bool,
    /// What is not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bad_nodes: Vec<BadNode>,
}

/// A block that is missing or damaged.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BadNode {
    /// Which.
    pub cid: String,
    /// Why.
    pub err: String,
}

/// `block/put` and `block/stat`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockReply {
    /// The CID.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// `version`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionReply {
    /// Of this program.
    pub version: String,
    /// Empty.
    pub commit: String,
    /// Of the repo's layout.
    pub repo: String,
    /// CPU and operating system, such as `x86_64/linux`.
    pub system: String,
    /// Empty: no Go is in it.
    pub golang: String,
}

/// One line of `routing/findprovs`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RoutingEvent {
    /// Empty.
    pub extra: String,
    /// Who gave the record.
    #[serde(rename = "ID")]
    pub id: String,
    /// The providers.
    pub responses: Vec<RoutingPeer>,
    /// 4 = provider.
    #[serde(rename = "Type")]
    pub kind: u8,
}

/// A peer of a routing answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RoutingPeer {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Where it may listen.
    pub addrs: Vec<String>,
}

/// `/health`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HealthReply {
    /// `ok`.
    pub status: String,
    /// The peer id.
    pub id: String,
    /// What the node calls itself.
    pub agent_version: String,
    /// The repo's folder, without symlinks.
    pub repo: String,
}

/// What `POST /api/v1/cluster/init` takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InitRequest {
    /// Raft's timers: `lan` or `wan`; `None` = `lan`.
    pub timing: Option<String>,
}

/// What `POST /api/v1/cluster/token` takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Whom the token admits.
    pub role: Role,
    /// For how long, in seconds; `None` = 24 hours.
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
}

/// A token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenReply {
    /// Its text.
    pub token: String,
    /// Whom it admits.
    pub role: Role,
    /// Until when, in milliseconds since 1970.
    pub expires_ms: u64,
    /// Into which cluster.
    pub cluster: String,
}

/// The cluster at one moment, as one member sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusReply {
    /// The cluster's id.
    pub cluster: String,
    /// The leader's peer id, if one is known.
    pub leader: Option<String>,
    /// Raft's term.
    pub term: u64,
    /// The last committed log index.
    pub committed: u64,
    /// The last applied log index of the master that answered.
    pub applied: u64,
    /// The node that was asked.
    pub me: MeReply,
    /// The masters and workers, lost ones too.
    pub members: Vec<MemberReply>,
}

/// The node that was asked for the cluster's status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MeReply {
    /// Its peer id.
    pub peer: String,
    /// Its role.
    pub role: Role,
    /// Its number, such as `1.7`; leechers have none.
    pub node: Option<String>,
}

/// One member at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemberReply {
    /// Its peer id.
    pub peer: String,
    /// Its number.
    pub node: String,
    /// Its role.
    pub role: Role,
    /// `alive`, `suspect`, `lost` or `draining`.
    pub state: String,
    /// Whether it votes.
    pub voter: bool,
    /// Where it listens, as far as known.
    pub addresses: Vec<String>,
}

/// What `POST /api/v1/tasks` takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// The kind of task.
    pub kind: String,
    /// The CID it works on.
    #[serde(default)]
    pub input: Option<String>,
    /// Settings of the kind.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Asks a master instead of publishing.
    #[serde(default)]
    pub direct: bool,
    /// How long to wait for the receipt, in milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// A task; what is not known yet is null.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskReply {
    /// Its id.
    pub id: String,
    /// `pending`, `assigned`, `running`, `completed`, `failed`, `cancelled` or `timed_out`.
    pub state: String,
    /// The kind of task.
    pub kind: Option<String>,
    /// The CID it works on.
    pub input: Option<String>,
    /// The peer id of the worker that has it or had it last.
    pub worker: Option<String>,
    /// The CID of its result.
    pub result: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// How often it was assigned.
    pub attempts: Option<u32>,
    /// The last attempt, `EPOCH.INDEX`; a later one's index is greater.
    pub fence: Option<String>,
    /// The log index of its acceptance.
    pub accepted_index: Option<u64>,
    /// The master whose signed receipt says so.
    pub accepted_by: Option<String>,
    /// The log index of its outcome.
    pub outcome_index: Option<u64>,
    /// The master whose signed receipt says so.
    pub outcome_by: Option<String>,
}

/// One block, by `/api/v1/stat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatReply {
    /// Its CID.
    pub cid: String,
    /// `file`, `directory` or `symlink`; `unknown` when it is not UnixFS.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its codec, by the name in the multicodec table.
    pub codec: String,
    /// Its bytes.
    pub block_size: u64,
    /// Bytes of the whole DAG, repeated blocks repeated, as its author says; null when its codec does not say.
    pub cumulative_size: Option<u64>,
    /// Its links.
    pub links: u64,
    /// Bytes of a file's content; null for others.
    pub size: Option<u64>,
}
