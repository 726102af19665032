//! One change of the files tree under way: looks up and replaces entries in memory; nothing is stored before it is whole.

use std::collections::HashMap;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{MfsError, node::FsNode, path::shown};
use crate::{
    base::Cid,
    content::{ContentError, source::Source},
    dag::{
        DagError, ImportParams, OutBlock,
        edit::Edit,
        hamt::{Shard, Slot},
        read::entries,
    },
    store::NewBlock,
};

/// Shards fetched at a time while a directory is measured.
const LANES: usize = 16;

/// A tree that is being changed: the blocks made so far are kept here, over those that are stored.
pub(super) struct Change {
    source: Source,
    params: ImportParams,
    root: Cid,
    made: HashMap<Cid, OutBlock>,
    /// What directories are known to hold at least, in bytes of entries.
    pub(super) measured: HashMap<Cid, u64>,
}

impl Change {
    /// The tree below `root`, to be changed by these parameters.
    pub(super) fn new(source: Source, params: ImportParams, root: Cid) -> Self {
        Change { source, params, root, made: HashMap::new(), measured: HashMap::new() }
    }

    /// The root as it is by now.
    pub(super) fn root(&self) -> Cid {
        self.root
    }

    /// Makes another directory the root.
    pub(super) fn set_root(&mut self, root: Cid) {
        self.root = root;
    }

    async fn get(&self, cid: &Cid) -> Result<Bytes, ContentError> {
        match self.made.get(cid) {
            Some(made) => Ok(made.block.data().clone()),
            None => self.source.get(cid).await,
        }
    }

    /// Takes a block that the change needs.
    pub(super) fn make(&mut self, block: OutBlock) {
        self.made.insert(*block.block.cid(), block);
    }

    /// Reads a node.
    pub(super) async fn node(&self, cid: &Cid) -> Result<FsNode, ContentError> {
        FsNode::decode(cid, &self.get(cid).await?)
    }

    /// The entry of this name in a directory.
    async fn find(&self, dir: &Cid, name: &str) -> Result<Option<Cid>, ContentError> {
        let bytes = self.get(dir).await?;
        let mut shard = match entries(dir, &bytes) {
            Ok(list) => {
                return Ok(list.into_iter().find(|entry| entry.name == name.as_bytes()).map(|entry| entry.cid));
            }
            Err(DagError::Sharded { .. }) => Shard::decode(dir, &bytes)?,
            Err(error) => return Err(error.into()),
        };
        for level in 0.. {
            match shard.find(name.as_bytes(), level) {
                None => break,
                Some(Slot::Entry(entry)) => return Ok(Some(entry.cid)),
                Some(Slot::Shard { cid, .. }) => {
                    let cid = *cid;
                    shard = Shard::decode(&cid, &self.get(&cid).await?)?;
                }
            }
        }
        Ok(None)
    }

    /// What stands at a path; `None` when nothing does. A file on the way is an error.
    pub(super) async fn lookup(&self, names: &[String]) -> Result<Option<Cid>, ContentError> {
        let mut at = self.root;
        for (depth, name) in names.iter().enumerate() {
            let found = match self.find(&at, name).await {
                Err(ContentError::Dag(DagError::NotADirectory { .. } | DagError::NotUnixFs { .. })) => {
                    return Err(MfsError::NotADirectory { path: shown(&names[..depth]) }.into());
                }
                found => found?,
            };
            match found {
                Some(cid) => at = cid,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// What stands at a path; an error when nothing does.
    pub(super) async fn at(&self, names: &[String]) -> Result<Cid, ContentError> {
        let missing = || MfsError::NotFound { path: shown(names) };
        Ok(self.lookup(names).await?.ok_or_else(missing)?)
    }

    /// The directory at a path.
    pub(super) async fn dir(&self, names: &[String]) -> Result<Cid, ContentError> {
        let cid = self.at(names).await?;
        if self.node(&cid).await?.is_dir() { Ok(cid) } else { Err(not_a_dir(names)) }
    }

    /// Puts a node at a path, in the place of what stands there. The directory above must exist.
    pub(super) async fn put(&mut self, names: &[String], cid: Cid) -> Result<(), ContentError> {
        let bytes = self.get(&cid).await?;
        let node = FsNode::decode(&cid, &bytes)?;
        let tsize = node.links().iter().fold(bytes.len() as u64, |sum, link| sum.saturating_add(link.tsize));
        self.set(names, Some((cid, tsize))).await
    }

    /// Takes away what stands at a path.
    pub(super) async fn remove(&mut self, names: &[String]) -> Result<(), ContentError> {
        self.set(names, None).await
    }

    /// Changes an entry and with it every directory up to the root.
    async fn set(&mut self, names: &[String], mut put: Option<(Cid, u64)>) -> Result<(), ContentError> {
        let mut dirs = vec![self.root];
        for depth in 1..names.len() {
            dirs.push(self.at(&names[..depth]).await?);
        }
        for (dir, name) in dirs.into_iter().zip(names).rev() {
            let params = self.params.clone();
            let edit = match put {
                Some((cid, tsize)) => Edit::put(params, dir, name.as_bytes(), cid, tsize)?,
                None => Edit::remove(params, dir, name.as_bytes())?,
            };
            put = Some(self.run(edit.knowing(self.measured.get(&dir).copied().unwrap_or(0))).await?);
        }
        if let Some((root, _)) = put.filter(|_| !names.is_empty()) {
            self.root = root;
        }
        Ok(())
    }

    async fn run(&mut self, mut edit: Edit) -> Result<(Cid, u64), ContentError> {
        loop {
            let needs = edit.needs();
            if needs.is_empty() {
                break;
            }
            let this = &*self;
            let get = |cid: Cid| async move { Ok::<_, ContentError>((cid, this.get(&cid).await?)) };
            let got: Vec<(Cid, Bytes)> = stream::iter(needs).map(get).buffered(LANES).try_collect().await?;
            got.iter().try_for_each(|(cid, bytes)| edit.feed(cid, bytes))?;
        }
        let unfinished =
            || ContentError::Internal { what: "a directory's change needs nothing and is not done".into() };
        let edited = edit.finish().ok_or_else(unfinished)?;
        edited.blocks.into_iter().for_each(|block| self.make(block));
        if let Some(bytes) = edited.at_least {
            self.measured.insert(edited.cid, bytes);
        }
        Ok((edited.cid, edited.tsize))
    }

    /// The blocks that the new tree needs; what only lay between is left out.
    pub(super) fn blocks(mut self) -> Vec<NewBlock> {
        let mut open = vec![self.root];
        let mut out = Vec::new();
        while let Some(cid) = open.pop() {
            if let Some(made) = self.made.remove(&cid) {
                open.extend(&made.links);
                out.push(NewBlock { block: made.block, links: made.links });
            }
        }
        out
    }
}

pub(super) fn not_a_dir(names: &[String]) -> ContentError {
    MfsError::NotADirectory { path: shown(names) }.into()
}
