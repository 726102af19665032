//! Single blocks: get and put.

use bytes::Bytes;

use super::{Content, ContentError};
use crate::{
    base::{Block, Cid, Codec, Hash},
    dag,
    store::{NewBlock, PinKind},
};

/// What to make of bytes given as a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockFormat {
    /// The codec; [`Codec::DagPb`] with `version` 0 gives a CIDv0.
    pub codec: Codec,
    /// The hash function.
    pub hash: Hash,
    /// The CID's version, 0 or 1.
    pub version: u8,
}

impl Default for BlockFormat {
    fn default() -> Self {
        BlockFormat { codec: Codec::Raw, hash: Hash::Sha2_256, version: 1 }
    }
}

impl Content {
    /// A block's bytes, from here or from the network.
    pub async fn block_get(&self, cid: &Cid) -> Result<Bytes, ContentError> {
        self.source(*cid).get(cid).await
    }

    /// A block's size in bytes; it is fetched when it is not here.
    pub async fn block_stat(&self, cid: &Cid) -> Result<u64, ContentError> {
        match self.repo.blocks().size(cid).await? {
            Some(size) => Ok(u64::from(size)),
            None => Ok(self.block_get(cid).await?.len() as u64),
        }
    }

    /// Stores a block; durable when it returns. Errors when the bytes are not what the codec says.
    pub async fn block_put(&self, data: impl Into<Bytes>, format: BlockFormat, pin: bool) -> Result<Cid, ContentError> {
        let v0 = format.version == 0 && format.codec == Codec::DagPb && format.hash == Hash::Sha2_256;
        let block = if v0 { Block::new_v0(data)? } else { Block::new(format.codec, format.hash, data)? };
        let cid = *block.cid();
        let links = dag::links(&cid, block.data())?;
        self.repo.blocks().put(vec![NewBlock { block, links }]).await?;
        self.repo.blocks().sync().await?;
        if pin {
            self.pin(&cid, PinKind::Recursive, None).await?;
        } else {
            self.announce(&cid).await;
        }
        Ok(cid)
    }
}
