//! Blocks in append-only segment files, found through an index in memory that the segments can rebuild.

use bytes::Bytes;
use tokio::sync::broadcast;

use super::StoreError;
use crate::base::{Block, Cid};

/// A block to be stored, with the content ids it links to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBlock {
    /// The block.
    pub block: Block,
    /// What it links to; kept beside the block, so that nobody has to parse it again.
    pub links: Vec<Cid>,
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockStat {
    /// Blocks.
    pub blocks: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Bytes of the segment files, including records of removed blocks.
    pub disk_bytes: u64,
}

/// A stored block that cannot be read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's number.
    pub segment: u32,
    /// Where in the segment file, in bytes.
    pub offset: u64,
    /// Which block, where that can still be told.
    pub cid: Option<Cid>,
    /// What is wrong.
    pub reason: String,
}

/// What a check of every block found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blocks read and hashed.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that are damaged.
    pub damaged: Vec<Damage>,
}

/// A place in a listing of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cursor {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// The block store. Cheap to clone.
#[derive(Clone)]
pub struct Blocks;

impl Blocks {
    /// Stores blocks. Readable by everyone on return; durable only after [`Blocks::sync`]. A block that is there
    /// already costs a look-up; identity blocks are not stored.
    pub async fn put(&self, _blocks: Vec<NewBlock>) -> Result<(), StoreError> {
        todo!()
    }

    /// Makes everything put or removed before this call durable. Concurrent callers share one sync.
    pub async fn sync(&self) -> Result<(), StoreError> {
        todo!()
    }

    /// The block's bytes, checked against their checksum. A damaged block counts as missing.
    pub async fn get(&self, _cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        todo!()
    }

    /// Whether the block is there.
    pub async fn has(&self, _cid: &Cid) -> Result<bool, StoreError> {
        todo!()
    }

    /// The block's size, in bytes.
    pub async fn size(&self, _cid: &Cid) -> Result<Option<u32>, StoreError> {
        todo!()
    }

    /// What the block links to, as given when it was put.
    pub async fn links(&self, _cid: &Cid) -> Result<Option<Vec<Cid>>, StoreError> {
        todo!()
    }

    /// Removes blocks; no error for those that are not there. Durable after [`Blocks::sync`].
    pub async fn remove(&self, _cids: Vec<Cid>) -> Result<(), StoreError> {
        todo!()
    }

    /// How much is stored.
    pub fn stat(&self) -> BlockStat {
        todo!()
    }

    /// About `limit` content ids from `from` on, and where to go on (`None` at the end). Blocks put or removed
    /// meanwhile may or may not be listed.
    pub async fn list(&self, _from: Option<Cursor>, _limit: usize) -> Result<(Vec<Cid>, Option<Cursor>), StoreError> {
        todo!()
    }

    /// The content ids of blocks as they are stored. A receiver that lags loses the oldest ones and is told so.
    pub fn subscribe(&self) -> broadcast::Receiver<Cid> {
        todo!()
    }

    /// Reads and hashes every block.
    pub async fn verify(&self) -> Result<VerifyReport, StoreError> {
        todo!()
    }

    /// What was found damaged when the store was opened.
    pub fn damage(&self) -> &[Damage] {
        todo!()
    }
}
