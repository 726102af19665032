//! Sans-IO: builds directories that fit one node, and symbolic links.

use bytes::Bytes;

use super::{
    DagError, ImportParams, OutBlock,
    pb::{PbLink, PbNode},
    unixfs::{Attributes, Kind, UnixFs},
};
use crate::base::Cid;

/// Longest name of an entry, in bytes, as file systems have it.
pub const MAX_NAME_BYTES: usize = 255;

/// Longest target of a symbolic link, in bytes, as Linux has it.
pub const MAX_TARGET_BYTES: usize = 4096;

/// Checks a name: not empty, not "." or "..", no slash, no NUL, not too long.
pub fn check_name(name: &[u8]) -> Result<(), DagError> {
    let reason = match name {
        b"" => "it is empty",
        b"." | b".." => "it names a directory itself or the one above",
        _ if name.contains(&b'/') => "it contains a slash",
        _ if name.contains(&0) => "it contains a NUL byte",
        _ if name.len() > MAX_NAME_BYTES => "it is longer than 255 bytes",
        _ => return Ok(()),
    };
    Err(DagError::BadName { name: printable(name), reason })
}

/// A name as text for messages: shortened, control characters and broken UTF-8 replaced.
pub fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Collects a directory's entries in any order.
#[derive(Debug, Default)]
pub struct DirBuilder {
    links: Vec<PbLink>,
    attributes: Attributes,
}

impl DirBuilder {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same directory, saying this of itself.
    pub fn with_attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Adds an entry. `tsize` is the size of the whole DAG below it. Errors on an impossible name.
    pub fn add(&mut self, name: impl Into<Vec<u8>>, cid: Cid, tsize: u64) -> Result<(), DagError> {
        let name = name.into();
        check_name(&name)?;
        self.links.push(PbLink { cid, name, tsize });
        Ok(())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The directory's node and the size of the whole DAG. Errors when two entries have the same name, and when these
    /// parameters want the directory sharded.
    pub fn build(mut self, params: &ImportParams) -> Result<(OutBlock, u64), DagError> {
        params.validate()?;
        let bytes = params.directory_bytes(&self.attributes);
        let bytes = self.links.iter().fold(bytes, |sum, l| sum + params.entry_bytes(&l.name, &l.cid, l.tsize));
        if params.must_shard(bytes, self.links.len()) {
            return Err(DagError::WouldShard { bytes, limit: params.hamt_threshold_bytes });
        }
        self.links.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = self.links.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(DagError::BadName { name: printable(&pair[0].name), reason: "two entries have it" });
        }
        let message = UnixFs::with_attributes(Kind::Directory, &self.attributes).encode();
        PbNode { links: self.links, data: Some(message.into()) }.into_block(params)
    }
}

/// The node of a symbolic link. Errors when the target is empty, too long or contains NUL.
pub fn symlink(params: &ImportParams, target: &[u8], attributes: &Attributes) -> Result<OutBlock, DagError> {
    if target.is_empty() || target.contains(&0) || target.len() > MAX_TARGET_BYTES {
        return Err(DagError::BadName { name: printable(target), reason: "no symbolic link can lead there" });
    }
    params.validate()?;
    let mut message = UnixFs::with_attributes(Kind::Symlink, attributes);
    message.data = Some(Bytes::copy_from_slice(target));
    let node = PbNode { links: Vec::new(), data: Some(message.encode().into()) };
    Ok(OutBlock { block: params.pb_block(node.encode())?, links: Vec::new() })
}
