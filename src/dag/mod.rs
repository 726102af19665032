//! Sans-IO: pure content addressing: DAG-PB and UnixFS codecs, chunking, building and reading files and directories,
//! content paths.
//!
//! For everyone who turns bytes into blocks or blocks into bytes. What always holds: the same input and parameters give
//! the same CIDs as Kubo's defaults (IPIP-499 profile `unixfs-v0-2015`), no input makes it panic, and nothing here holds
//! more of a file than a stated window. Start with [`mod@file`] to write and [`read`] to read.

pub mod car;
pub mod cbor;
pub mod chunk;
mod cutters;
pub mod dir;
pub mod edit;
mod error;
pub mod file;
pub mod hamt;
mod params;
pub mod path;
pub mod pb;
pub mod read;
pub mod shards;
mod trickle;
pub mod unixfs;
mod wire;

#[cfg(test)]
mod vectors;

pub use error::DagError;
pub use params::{Chunking, ImportParams, Layout, MAX_CHUNK_BYTES, SizeEstimation};
pub use path::DagPath;

use crate::base::{Block, Cid, Codec};

/// A block that was built, with the links in it, so that nobody needs to decode it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutBlock {
    /// The block.
    pub block: Block,
    /// The CIDs it links to, in order.
    pub links: Vec<Cid>,
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
