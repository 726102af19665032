//! Sans-IO: the JSON of `repo`, in Kubo's shapes.

use serde::{Deserialize, Serialize};

use super::dag::CidLink;

/// `repo/stat` and `stats/repo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RepoStat {
    /// Bytes of all files of the repo.
    pub repo_size: u64,
    /// Most bytes that blocks may take on the disk; the greatest number there is when nothing limits them.
    pub storage_max: u64,
    /// Blocks; 0 when only sizes were asked for.
    pub num_objects: u64,
    /// The repo's folder; empty when only sizes were asked for.
    pub repo_path: String,
    /// Its layout, as `fs-repo@1`; empty when only sizes were asked for.
    pub version: String,
}

/// A line of `repo/gc`: a block that was removed, or what went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GcLine {
    /// The block, as a raw one.
    pub key: Option<CidLink>,
    /// What went wrong; only where errors were asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A line of `repo/verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VerifyLine {
    /// What is wrong, or how it ended; empty where the line says how far it is.
    pub msg: String,
    /// Blocks that were hashed so far.
    pub progress: u64,
    /// Ours: what is wrong, in parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReply>,
}

/// Something of the repo that is not what was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultReply {
    /// The file, from the repo's folder on.
    pub file: String,
    /// Where in it, in bytes; `null` where it is the whole.
    pub offset: Option<u64>,
    /// Which block it is about, where that can be told.
    pub cid: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// Whether it is whole again, or gone where that was asked for.
    pub mended: bool,
}

/// `repo/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RepoVersion {
    /// The layout's number.
    pub version: String,
}
