//! Blocks on their way to the store while a file is written: gathered, put many at a time, readable at once.

use std::collections::HashMap;

use bytes::Bytes;

use crate::{
    base::Cid,
    content::{ContentError, source::Source},
    dag::OutBlock,
    store::NewBlock,
};

/// Bytes after which what is gathered is put.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Blocks gathered over those that are stored.
pub(super) struct Batch {
    source: Source,
    made: HashMap<Cid, OutBlock>,
    bytes: usize,
}

impl Batch {
    pub(super) fn new(source: Source) -> Self {
        Batch { source, made: HashMap::new(), bytes: 0 }
    }

    /// Takes a block.
    pub(super) async fn put(&mut self, block: OutBlock) -> Result<(), ContentError> {
        let bytes = block.block.data().len();
        if self.made.insert(*block.block.cid(), block).is_none() {
            self.bytes += bytes;
        }
        if self.bytes >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// A block's bytes, gathered, stored or from the network.
    pub(super) async fn get(&self, cid: &Cid) -> Result<Bytes, ContentError> {
        match self.made.get(cid) {
            Some(made) => Ok(made.block.data().clone()),
            None => self.source.get(cid).await,
        }
    }

    /// Puts what is gathered.
    pub(super) async fn flush(&mut self) -> Result<(), ContentError> {
        self.bytes = 0;
        let made = std::mem::take(&mut self.made);
        let blocks = made.into_values().map(|made| NewBlock { block: made.block, links: made.links }).collect();
        Ok(self.source.blocks.put(blocks).await?)
    }
}
