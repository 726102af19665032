//! Single blocks: get, put and remove.

use std::collections::HashMap;

use bytes::Bytes;
use futures::TryStreamExt;

use super::{Content, ContentError, PinFilter};
use crate::{
    base::{Block, Cid, Codec, Hash, cid::Multihash},
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

    /// Stores a block; durable when it returns. As in Kubo the bytes need not be what the codec says; but then they can
    /// be pinned alone only, not with what they link to.
    pub async fn block_put(&self, data: impl Into<Bytes>, format: BlockFormat, pin: bool) -> Result<Cid, ContentError> {
        let v0 = format.version == 0 && format.codec == Codec::DagPb && format.hash == Hash::Sha2_256;
        let block = if v0 { Block::new_v0(data)? } else { Block::new(format.codec, format.hash, data)? };
        let cid = *block.cid();
        let _adding = self.repo.blocks().adding();
        let links = dag::links(block.cid(), block.data()).ok();
        let dag::OutBlock { block, links } = dag::with_links(block, links)?;
        self.repo.blocks().put(vec![NewBlock { block, links }]).await?;
        self.repo.blocks().sync().await?;
        if pin {
            self.pin(&cid, PinKind::Recursive, None).await?;
        } else {
            self.announce(&cid).await;
        }
        Ok(cid)
    }

    /// Removes blocks that nothing keeps; durable when it returns. For each, in order, why it is still there.
    ///
    /// Errors as a whole when it cannot be told what is pinned.
    pub async fn block_remove(&self, cids: &[Cid], force: bool) -> Result<Vec<Result<(), ContentError>>, ContentError> {
        let kept = self.keeping(cids).await?;
        let blocks = self.repo.blocks();
        let (mut out, mut gone) = (Vec::with_capacity(cids.len()), Vec::new());
        for cid in cids {
            out.push(match kept.get(cid.hash()) {
                Some(why) => Err(ContentError::StillKept { cid: Box::new(*cid), why: why.clone() }),
                None if blocks.has(cid).await? => {
                    gone.push(*cid);
                    Ok(())
                }
                None if force => Ok(()),
                None => Err(ContentError::NotFoundOffline { cid: Box::new(*cid) }),
            });
        }
        if !gone.is_empty() {
            blocks.remove(gone).await?;
            blocks.sync().await?;
            blocks.tidy();
        }
        Ok(out)
    }

    /// What keeps each of these blocks; none where nothing does.
    async fn keeping(&self, cids: &[Cid]) -> Result<HashMap<Multihash, String>, ContentError> {
        let asked: HashMap<Multihash, Cid> = cids.iter().map(|cid| (*cid.hash(), *cid)).collect();
        let mut kept = HashMap::new();
        for (owner, cid) in self.repo.pins().holds("")? {
            if asked.contains_key(cid.hash()) {
                kept.insert(*cid.hash(), format!("held: {owner}"));
            }
        }
        let mut pins = self.pins(PinFilter::All);
        while kept.len() < asked.len()
            && let Some(pin) = pins.try_next().await?
        {
            if asked.contains_key(pin.cid.hash()) {
                kept.entry(*pin.cid.hash()).or_insert_with(|| format!("pinned: {}", pin.kind.as_str()));
            }
        }
        Ok(kept)
    }
}
