//! Sans-IO: the JSON of `files/…`, in Kubo's names and shapes.

use serde::{Deserialize, Serialize};

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `files/stat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StatReply {
    /// The CID.
    pub hash: String,
    /// Bytes of a file.
    pub size: u64,
    /// Bytes of the whole DAG.
    pub cumulative_size: u64,
    /// Links of its own node.
    pub blocks: u64,
    /// `file` or `directory`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Whether the next two are known.
    #[serde(skip_serializing_if = "is_zero")]
    pub with_locality: bool,
    /// Whether all of it is here.
    #[serde(skip_serializing_if = "is_zero")]
    pub local: bool,
    /// Bytes that are here.
    #[serde(skip_serializing_if = "is_zero")]
    pub size_local: u64,
    /// Go's file mode in octal digits: permissions, and bits for directories and links; empty when there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub mode: String,
    /// Modification time in seconds since 1970; 0 when there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtime: i64,
    /// Its nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtime_nsecs: u32,
}

/// Go's bit for a directory in a file's mode.
pub const MODE_DIR: u32 = 1 << 31;
/// Go's bit for a symbolic link.
pub const MODE_SYMLINK: u32 = 1 << 27;

/// Unix permission bits as Go's file mode has them: set-user-id, set-group-id and sticky stand elsewhere there.
pub fn go_mode(unix: u32) -> u32 {
    (unix & 0o777) | (unix & 0o6000) << 12 | (unix & 0o1000) << 11
}

/// `files/ls`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LsReply {
    /// What lies there; null when nothing does.
    pub entries: Option<Vec<LsEntry>>,
}

/// One entry of `files/ls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LsEntry {
    /// Its name.
    pub name: String,
    /// 0 = file, 1 = directory; 0 unless asked for.
    #[serde(rename = "Type")]
    pub kind: u8,
    /// Bytes of a file; 0 unless asked for.
    pub size: u64,
    /// Its CID; empty unless asked for.
    pub hash: String,
}

/// `files/flush`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FlushReply {
    /// The CID of what stands at the path.
    pub cid: String,
}
