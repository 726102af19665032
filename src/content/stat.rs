//! What one block is and says of what lies below it.

use super::{Content, ContentError, EntryKind, dagnode::resolve};
use crate::{
    base::{Cid, Codec},
    dag::{
        self, DagPath,
        codec::names,
        pb::PbNode,
        unixfs::{Kind, UnixFs},
    },
};

/// One block, as [`Content::node_stat`] gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStat {
    /// Its CID.
    pub cid: Cid,
    /// Its codec, by the name in the multicodec table.
    pub codec: String,
    /// What it is in UnixFS.
    pub kind: EntryKind,
    /// Its bytes.
    pub block_size: u64,
    /// Its links.
    pub links: u64,
    /// Bytes of the whole DAG, repeated blocks repeated, as its author says; `None` when the codec says nothing of it.
    pub cumulative_size: Option<u64>,
    /// Bytes of a file's content.
    pub size: Option<u64>,
}

impl Content {
    /// What the block is that a path leads to. One block is read, whatever lies below it.
    pub async fn node_stat(&self, path: &DagPath) -> Result<NodeStat, ContentError> {
        let source = self.source(path.root);
        let cid = resolve(&source, path).await?;
        let bytes = source.get(&cid).await?;
        let codec = Codec::from(cid.codec());
        let block_size = bytes.len() as u64;
        let mut stat = NodeStat {
            cid,
            codec: names::codec(cid.codec()).map_or_else(|| format!("0x{:x}", cid.codec()), str::to_owned),
            kind: EntryKind::Unknown,
            block_size,
            links: 0,
            cumulative_size: Some(block_size),
            size: None,
        };
        match codec {
            Codec::Raw => (stat.kind, stat.size) = (EntryKind::File, Some(block_size)),
            Codec::DagPb => {
                let node = PbNode::decode_shared(&bytes)?;
                stat.links = node.links.len() as u64;
                let below = node.links.iter().fold(0u64, |sum, link| sum.saturating_add(link.tsize));
                stat.cumulative_size = Some(below.saturating_add(block_size));
                if let Some(unixfs) = node.data.as_ref().and_then(|data| UnixFs::decode(data).ok()) {
                    (stat.kind, stat.size) = match unixfs.kind {
                        Kind::File | Kind::Raw => {
                            let own = unixfs.data.as_ref().map_or(0, |data| data.len() as u64);
                            (EntryKind::File, Some(unixfs.filesize.unwrap_or(own)))
                        }
                        Kind::Directory | Kind::HamtShard => (EntryKind::Directory, None),
                        Kind::Symlink => (EntryKind::Symlink, None),
                        Kind::Metadata => (EntryKind::Unknown, None),
                    };
                }
            }
            _ => {
                stat.links = dag::links(&cid, &bytes)?.len() as u64;
                stat.cumulative_size = (stat.links == 0).then_some(block_size);
            }
        }
        Ok(stat)
    }
}
