//! Writing into files of the tree. The bytes come while other changes go on; only putting the file in its place takes a
//! turn.

use std::{io, pin::pin, sync::PoisonError};

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::{
    Mfs, MfsError, NodeStyle, Owner, batch::Batch, change::Change, modify::Modifier, node::FsNode, path::FilesPath,
};
use crate::{
    base::Cid,
    content::ContentError,
    dag::{
        OutBlock,
        unixfs::{Attributes, Kind},
    },
};

/// How a file is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Where the first byte goes; zeros fill what lies between the file's end and there.
    pub offset: u64,
    /// Bytes written at most; what comes beyond is left.
    pub count: Option<u64>,
    /// Make the file when it is not there.
    pub create: bool,
    /// Make the directories above it.
    pub parents: bool,
    /// Empty the file first.
    pub truncate: bool,
    /// Whether new leaves are raw blocks; `None`: when the file's CID is of version 1.
    pub raw_leaves: Option<bool>,
    /// How a new file and new directories are written.
    pub style: NodeStyle,
    /// What the file says of itself from now on; `None`: what it said before.
    pub attributes: Option<Attributes>,
}

/// The right to write one file.
struct Writing<'a> {
    owner: &'a Owner,
    path: FilesPath,
}

impl<'a> Writing<'a> {
    /// Waits until nobody else writes the file.
    async fn begin(owner: &'a Owner, path: &FilesPath) -> Self {
        loop {
            let mut over = pin!(owner.written.notified());
            // Listening begins before looking, so that no end is missed.
            over.as_mut().enable();
            if owner.writing.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone()) {
                return Writing { owner, path: path.clone() };
            }
            over.await;
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.owner.writing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
        self.owner.written.notify_waiters();
    }
}

impl Mfs {
    /// Writes bytes into a file. It changes as a whole when all have come; when they stop coming or somebody else
    /// replaced the file meanwhile, nothing changes.
    pub async fn write(
        &self,
        path: &FilesPath,
        options: &WriteOptions,
        source: impl Stream<Item = io::Result<Bytes>> + Send,
        flush: bool,
    ) -> Result<(), ContentError> {
        let owner = self.owner().clone();
        let _writing = Writing::begin(&owner, path).await;
        let _adding = self.content.repo.blocks().adding();
        let view = self.view()?;
        let before = self.writable(&view, path, options).await?;
        let node = match before {
            Some(cid) => view.node(&cid).await?,
            None => FsNode::empty(options.style.params()?, Kind::File, Attributes::default()),
        };
        drop(view);
        let mut batch = Batch::new(self.content.source(before.unwrap_or(self.root()?)));
        let file = fill(&mut batch, node, options, source).await?;
        let cid = *file.block.cid();
        batch.put(file).await?;
        batch.flush().await?;

        let mut turn = self.begin(flush).await?;
        if options.parents {
            turn.make_dirs(path.parent(), options.style).await?;
        }
        turn.change.dir(path.parent()).await?;
        if turn.change.lookup(path.names()).await? != before {
            return Err(MfsError::Changed { path: path.to_string() }.into());
        }
        if before != Some(cid) {
            turn.change.put(path.names(), cid).await?;
        }
        self.commit(turn).await?;
        Ok(())
    }

    /// The file as it is, if it is there; an error when it cannot be written.
    async fn writable(
        &self,
        view: &Change,
        path: &FilesPath,
        options: &WriteOptions,
    ) -> Result<Option<Cid>, ContentError> {
        if path.names_directory() {
            return Err(MfsError::NotAFile { path: path.to_string() }.into());
        }
        let found = view.lookup(path.names()).await?;
        match found {
            Some(cid) if !view.node(&cid).await?.is_file() => Err(MfsError::NotAFile { path: path.to_string() }.into()),
            Some(cid) => Ok(Some(cid)),
            None if !options.create => Err(MfsError::NotFound { path: path.to_string() }.into()),
            None if options.parents => Ok(None),
            None => view.dir(path.parent()).await.map(|_| None),
        }
    }
}

async fn fill(
    batch: &mut Batch,
    node: FsNode,
    options: &WriteOptions,
    source: impl Stream<Item = io::Result<Bytes>> + Send,
) -> Result<OutBlock, ContentError> {
    let mut file = Modifier::new(batch, node, options.raw_leaves);
    if options.truncate {
        file.truncate().await?;
    }
    file.seek(options.offset).await?;
    let mut left = options.count.unwrap_or(u64::MAX);
    let mut source = pin!(source);
    while left > 0 {
        let Some(piece) = source.next().await else { break };
        let mut piece = piece.map_err(ContentError::Input)?;
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= piece.len() as u64;
        file.write(piece).await?;
    }
    file.finish(options.attributes).await
}
