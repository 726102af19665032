//! Nodes of any codec: paths through them, reading and writing them as values, and how much a DAG holds.

use futures::{Stream, StreamExt, stream::FuturesUnordered};

use super::{
    Content, ContentError,
    pins::Seen,
    read::find,
    source::{Source, driven, gone},
};
use crate::{
    base::{Block, Cid, Codec, Hash},
    dag::{
        self, DagError, DagPath,
        codec::{self, Ipld},
        pb::PbNode,
        unixfs::UnixFs,
    },
    store::{NewBlock, PinKind},
};

/// Blocks asked for at a time while a DAG is measured.
const STAT_LANES: usize = 64;
/// Blocks between two reports of progress.
const REPORT_EVERY: u64 = 4096;

/// Where a path ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The last block it leads to.
    pub cid: Cid,
    /// What is left of the path inside that block; empty when it leads to the block itself.
    pub rest: Vec<String>,
}

impl Content {
    /// Follows a path through nodes of any codec: names of UnixFS directories and of DAG-PB links, keys of maps and
    /// numbers of list items, crossing links. The last block is not fetched when nothing of the path is left in it.
    pub async fn resolve_path(&self, path: &DagPath) -> Result<Resolved, ContentError> {
        walk(&self.source(path.root), path).await
    }

    /// What a path leads to, as a value written by `output`.
    pub async fn dag_get(&self, path: &DagPath, output: Codec) -> Result<Vec<u8>, ContentError> {
        let source = self.source(path.root);
        let Resolved { cid, rest } = walk(&source, path).await?;
        let value = codec::decode(Codec::from(cid.codec()), &source.get(&cid).await?)?;
        let mut at = &value;
        for segment in &rest {
            at = at.step(segment).ok_or_else(|| no_entry(&cid, segment))?;
        }
        Ok(codec::encode(output, at)?)
    }

    /// Reads values as `input`, stores them as `store` and pins them if asked. Durable when it returns.
    pub async fn dag_put(
        &self,
        values: Vec<Vec<u8>>,
        input: Codec,
        store: Codec,
        hash: Hash,
        pin: bool,
    ) -> Result<Vec<Cid>, ContentError> {
        let (mut new, mut cids) = (Vec::new(), Vec::new());
        for bytes in values {
            let block = Block::new(store, hash, codec::encode(store, &codec::decode(input, &bytes)?)?)?;
            let links = dag::links(block.cid(), block.data())?;
            cids.push(*block.cid());
            new.push(NewBlock { block, links });
        }
        let _adding = self.repo.blocks().adding();
        self.repo.blocks().put(new).await?;
        self.repo.blocks().sync().await?;
        for cid in &cids {
            if pin {
                self.pin(cid, PinKind::Recursive, None).await?;
            } else {
                self.announce(cid).await;
            }
        }
        Ok(cids)
    }

    /// Measures DAGs, fetching what is missing: totals so far now and then, and at last all of them.
    pub fn dag_stat(
        &self,
        roots: Vec<Cid>,
    ) -> impl Stream<Item = Result<DagStats, ContentError>> + Send + Unpin + 'static {
        let content = self.clone();
        driven(1, move |sender| async move {
            let mut stats = DagStats::default();
            // Two roots may share blocks; one visits each block once anyway.
            let mut all = (roots.len() > 1).then(Seen::default);
            let mut count = 0u64;
            for root in roots {
                let source = content.source(root);
                stats.roots.push(DagStat { cid: root, bytes: 0, blocks: 0 });
                let (mut seen, mut open, mut coming) = (Seen::default(), vec![root], FuturesUnordered::new());
                seen.insert(&root);
                loop {
                    while coming.len() < STAT_LANES {
                        let Some(cid) = open.pop() else { break };
                        let source = &source;
                        coming.push(async move { measure(source, cid).await });
                    }
                    let Some(measured) = coming.next().await else { break };
                    let (cid, bytes, links) = measured?;
                    if let Some(root) = stats.roots.last_mut() {
                        root.bytes += bytes;
                        root.blocks += 1;
                    }
                    if all.as_mut().is_none_or(|all| all.insert(&cid)) {
                        stats.unique_blocks += 1;
                        stats.unique_bytes += bytes;
                    }
                    open.extend(links.into_iter().filter(|cid| seen.insert(cid)));
                    count += 1;
                    if count.is_multiple_of(REPORT_EVERY) {
                        sender.send(Ok(stats.clone())).await.map_err(gone)?;
                    }
                }
            }
            stats.done = true;
            sender.send(Ok(stats)).await.map_err(gone)
        })
    }
}

async fn measure(source: &Source, cid: Cid) -> Result<(Cid, u64, Vec<Cid>), ContentError> {
    let links = source.links(&cid).await?;
    let bytes = match source.blocks.size(&cid).await? {
        Some(size) => u64::from(size),
        None => source.get(&cid).await?.len() as u64,
    };
    Ok((cid, bytes, links))
}

/// How much DAGs hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DagStats {
    /// Each of them, counting a block it has twice once.
    pub roots: Vec<DagStat>,
    /// Different blocks of all.
    pub unique_blocks: u64,
    /// Their bytes.
    pub unique_bytes: u64,
    /// Whether all was measured.
    pub done: bool,
}

/// How much a DAG holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DagStat {
    /// Its root.
    pub cid: Cid,
    /// Bytes of its blocks.
    pub bytes: u64,
    /// Its blocks.
    pub blocks: u64,
}

fn no_entry(cid: &Cid, name: &str) -> DagError {
    DagError::NoEntry { cid: Box::new(*cid), name: name.to_owned() }
}

/// Follows a path that has to lead to a block.
pub(super) async fn resolve(source: &Source, path: &DagPath) -> Result<Cid, ContentError> {
    let Resolved { cid, rest } = walk(source, path).await?;
    if rest.is_empty() {
        return Ok(cid);
    }
    let reason = format!("it leads into the middle of {cid}, to /{}; 'dag get' reads that", rest.join("/"));
    Err(DagError::BadPath { path: path.to_string(), reason }.into())
}

async fn walk(source: &Source, path: &DagPath) -> Result<Resolved, ContentError> {
    let (mut cid, mut left) = (path.root, path.segments.as_slice());
    'blocks: while let Some(name) = left.first() {
        match Codec::from(cid.codec()) {
            Codec::DagPb => {
                cid = below(source, &cid, name).await?.ok_or_else(|| no_entry(&cid, name))?;
                left = &left[1..];
            }
            Codec::Raw | Codec::Other(_) => return Err(no_entry(&cid, name).into()),
            codec => {
                let value = codec::decode(codec, &source.get(&cid).await?)?;
                let (mut at, mut steps) = (&value, left);
                while let Some((name, rest)) = steps.split_first() {
                    at = at.step(name).ok_or_else(|| no_entry(&cid, name))?;
                    steps = rest;
                    if let Ipld::Link(next) = at {
                        (cid, left) = (**next, rest);
                        continue 'blocks;
                    }
                }
                return Ok(Resolved { cid, rest: left.to_vec() });
            }
        }
    }
    Ok(Resolved { cid, rest: Vec::new() })
}

/// What a name of a DAG-PB node leads to: an entry of a directory or, without UnixFS in it, a link.
async fn below(source: &Source, cid: &Cid, name: &str) -> Result<Option<Cid>, ContentError> {
    let bytes = source.get(cid).await?;
    let node = PbNode::decode_shared(&bytes)?;
    if node.data.as_ref().is_some_and(|data| UnixFs::decode(data).is_ok()) {
        return find(source, cid, name.as_bytes()).await;
    }
    Ok(node.links.into_iter().find(|link| link.name == name.as_bytes()).map(|link| link.cid))
}
