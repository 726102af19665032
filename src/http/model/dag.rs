//! Sans-IO: the JSON of `dag`, `block`, `cid`, `refs` and `resolve`, in Kubo's shapes.

use serde::{Deserialize, Serialize};

/// A CID as DAG-JSON writes links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CidLink {
    /// Its text.
    #[serde(rename = "/")]
    pub cid: String,
}

/// A line of `dag/import`: a root or, at the end, what was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImportEvent {
    /// A root of an archive, and how pinning it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<ImportRoot>,
    /// What was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<ImportStats>,
}

/// A root of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImportRoot {
    /// Its CID.
    pub cid: CidLink,
    /// Why it is not pinned; empty when it is.
    pub pin_error_msg: String,
}

/// What archives held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImportStats {
    /// Blocks, repeated ones repeated.
    pub block_count: u64,
    /// Their bytes.
    pub block_bytes_count: u64,
}

/// A line of `dag/put`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CidReply {
    /// The CID.
    pub cid: CidLink,
}

/// `dag/resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResolveReply {
    /// The last block.
    pub cid: CidLink,
    /// What is left of the path in it, with a leading slash; empty when nothing is.
    pub rem_path: String,
}

/// A line of `dag/stat`. What is 0 is left out, as Kubo does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StatSummary {
    /// Different blocks of all DAGs; at the end only.
    #[serde(skip_serializing_if = "is_zero")]
    pub unique_blocks: u64,
    /// Their bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub total_size: u64,
    /// Bytes saved by blocks that several DAGs share; at the end only.
    #[serde(skip_serializing_if = "is_zero")]
    pub shared_size: u64,
    /// Bytes of all DAGs by those of the different blocks; at the end only.
    #[serde(skip_serializing_if = "is_nothing")]
    pub ratio: f32,
    /// Each DAG.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dag_stats: Vec<DagStatReply>,
}

/// How much a DAG holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DagStatReply {
    /// Its root.
    pub cid: String,
    /// Bytes of its blocks.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    /// Its blocks.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_blocks: u64,
}

/// A line of `block/rm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Removed {
    /// The CID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// Why it is still there; empty when it is not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A line of `refs` and `refs/local`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RefLine {
    /// The reference, formatted.
    #[serde(rename = "Ref")]
    pub reference: String,
    /// Why a root's references end there.
    pub err: String,
}

/// `resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PathReply {
    /// `/ipfs/CID`, and what is left of the path in that block.
    pub path: String,
}

/// A line of `cid/format` and `cid/base32`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CidFormatted {
    /// What was given.
    pub cid_str: String,
    /// What it became.
    pub formatted: String,
    /// Why nothing.
    pub error_msg: String,
}

/// An item of `cid/bases`, `cid/codecs` and `cid/hashes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CodeAndName {
    /// Its number.
    pub code: u64,
    /// Its name.
    pub name: String,
}

/// `cid/inspect`; in Kubo, too, its keys begin in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CidInspected {
    /// What was given.
    pub cid: String,
    /// 0 or 1.
    pub version: u8,
    /// The multibase.
    pub multibase: InspectedBase,
    /// The codec.
    pub multicodec: InspectedCodec,
    /// The hash.
    pub multihash: InspectedHash,
    /// The same as version 0, where there is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cid_v0: String,
    /// The same as version 1.
    pub cid_v1: String,
    /// Why it is no CID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error_msg: String,
}

/// A multibase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InspectedBase {
    /// Its letter.
    pub prefix: String,
    /// Its name.
    pub name: String,
}

/// A codec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InspectedCodec {
    /// Its number.
    pub code: u64,
    /// Its name.
    pub name: String,
}

/// A hash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InspectedHash {
    /// The function's number.
    pub code: u64,
    /// Its name.
    pub name: String,
    /// Bytes of the digest.
    pub length: usize,
    /// The digest in hexadecimal.
    pub digest: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_nothing(number: &f32) -> bool {
    *number == 0.0
}
