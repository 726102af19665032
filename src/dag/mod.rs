//! Sans-IO: pure content addressing: DAG-PB and UnixFS codecs, chunking, building and reading files and directories,
//! content paths.
//!
//! For everyone who turns bytes into blocks or blocks into bytes. What always holds: the same input and parameters give
//! the same CIDs as Kubo's defaults (IPIP-499 profile `unixfs-v0-2015`), no input makes it panic, and nothing here holds
//! more of a file than a stated window. Start with [`mod@file`] to write and [`read`] to read.

pub mod car;
pub mod cbor;
pub mod chunk;
pub mod dir;
mod error;
pub mod file;
pub mod hamt;
pub mod path;
pub mod pb;
pub mod read;
pub mod unixfs;
mod wire;

#[cfg(test)]
mod vectors;

pub use error::DagError;
pub use path::DagPath;

use crate::base::{Block, Cid, Codec, Hash};

/// Largest chunk a file may be cut into, in bytes: a block less room for the UnixFS wrapping, as Kubo has it.
pub const MAX_CHUNK_BYTES: usize = 2 * 1024 * 1024 - 256;

/// A block that was built, with the links in it, so that nobody needs to decode it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutBlock {
    /// The block.
    pub block: Block,
    /// The CIDs it links to, in order.
    pub links: Vec<Cid>,
}

/// How files and directories are turned into blocks. The default is Kubo's default, `unixfs-v0-2015`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportParams {
    /// Bytes in a chunk, 1 to [`MAX_CHUNK_BYTES`].
    pub chunk_bytes: usize,
    /// Most children of an inner file node, 2 to 8,192.
    pub max_links: usize,
    /// 0 or 1; version 0 needs SHA2-256.
    pub cid_version: u8,
    /// Whether leaves are raw blocks rather than UnixFS File nodes.
    pub raw_leaves: bool,
    /// The hash function.
    pub hash: Hash,
}

impl Default for ImportParams {
    fn default() -> Self {
        ImportParams { chunk_bytes: 262_144, max_links: 174, cid_version: 0, raw_leaves: false, hash: Hash::Sha2_256 }
    }
}

impl ImportParams {
    /// The parameters of IPIP-499's `unixfs-v1-2025`: CIDv1, raw leaves, 1 MiB chunks, 1,024 links.
    pub fn v1_2025() -> Self {
        ImportParams { chunk_bytes: 1_048_576, max_links: 1024, cid_version: 1, raw_leaves: true, hash: Hash::Sha2_256 }
    }

    /// Checks bounds and combinations.
    pub fn validate(&self) -> Result<(), DagError> {
        let bad = |reason: String| Err(DagError::BadParams { reason });
        if !(1..=MAX_CHUNK_BYTES).contains(&self.chunk_bytes) {
            return bad(format!("chunks of {} bytes; use 1 to {MAX_CHUNK_BYTES}", self.chunk_bytes));
        }
        if !(2..=8192).contains(&self.max_links) {
            return bad(format!("{} links in a node; use 2 to 8192", self.max_links));
        }
        if self.cid_version > 1 {
            return bad(format!("CID version {}; use 0 or 1", self.cid_version));
        }
        if self.cid_version == 0 && self.hash != Hash::Sha2_256 {
            return bad("CID version 0 has only sha2-256; use CID version 1".into());
        }
        if self.hash == Hash::Identity {
            return bad("the identity function keeps data in the CID and cannot hash whole files".into());
        }
        Ok(())
    }

    /// Makes a DAG-PB block of these bytes.
    pub(crate) fn pb_block(&self, data: Vec<u8>) -> Result<Block, DagError> {
        Ok(if self.cid_version == 0 { Block::new_v0(data)? } else { Block::new(Codec::DagPb, self.hash, data)? })
    }
}

/// The CIDs a block links to, in order, repeated ones repeated. Raw blocks and blocks of an unknown codec link nowhere.
///
/// Errors when the bytes are not what their codec says.
pub fn links(cid: &Cid, data: &[u8]) -> Result<Vec<Cid>, DagError> {
    match Codec::from(cid.codec()) {
        Codec::DagPb => pb::link_cids(data),
        Codec::DagCbor => cbor::link_cids(data),
        Codec::Raw | Codec::Other(_) => Ok(Vec::new()),
    }
}
