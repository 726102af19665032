//! Sans-IO: pure content addressing: DAG-PB and UnixFS codecs, chunking, building and reading files and directories,
//! content paths.
//!
//! For everyone who turns bytes into blocks or blocks into bytes. What always holds: the same input and parameters give
//! the same CIDs as Kubo's defaults (IPIP-499 profile `unixfs-v0-2015`), no input makes it panic, and nothing here holds
//! more of a file than a stated window. Start with [`mod@file`] to write and [`read`] to read.

pub mod car;
pub mod cbor;
pub mod chunk;
pub mod cids;
pub mod codec;
mod cutters;
pub mod dir;
pub mod edit;
mod error;
pub mod file;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
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

use crate::base::{Block, BlockError, Cid, Codec};

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
        Codec::DagJson => codec::json_links(data),
        Codec::Raw | Codec::Cbor | Codec::Json | Codec::Other(_) => Ok(Vec::new()),
    }
}

/// A block with its links, as it is to be stored. One whose bytes are not what its codec says becomes a raw block of the
/// same bytes: it can be had, but nobody takes it for one that links nowhere.
pub fn with_links(block: Block, links: Option<Vec<Cid>>) -> Result<OutBlock, BlockError> {
    match links {
        Some(links) => Ok(OutBlock { block, links }),
        None => {
            let raw = Cid::new_v1(Codec::Raw.code(), *block.cid().hash());
            Ok(OutBlock { block: Block::verify(raw, block.into_data())?, links: Vec::new() })
        }
    }
}

/// A CID that takes all the bytes.
fn exact_cid(codec: &'static str, bytes: &[u8]) -> Result<Cid, DagError> {
    let mut rest = bytes;
    let cid =
        crate::base::cid::read(&mut rest).map_err(|e| DagError::malformed(codec, format!("a link's CID: {e}")))?;
    if rest.is_empty() { Ok(cid) } else { Err(DagError::malformed(codec, "bytes left over behind a link's CID")) }
}
