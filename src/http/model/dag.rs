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
