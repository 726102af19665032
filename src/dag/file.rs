//! Sans-IO: builds balanced UnixFS files, leaf by leaf, holding one node's links per level and no data.
//!
//! [`leaf`] is pure and may run on any thread; the [`TreeBuilder`] takes its results in order. [`FileBuilder`] joins the
//! two for callers that need no parallel hashing.

use bytes::Bytes;

use super::{
    DagError, ImportParams, OutBlock,
    pb::{PbLink, PbNode},
    unixfs::{Kind, UnixFs},
};
use crate::base::{Block, Cid, Codec};

/// A finished file's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRoot {
    /// Its CID.
    pub cid: Cid,
    /// Bytes of all its blocks, repeated ones repeated.
    pub tsize: u64,
    /// Bytes of the file.
    pub size: u64,
}

/// Makes the leaf of one chunk.
pub fn leaf(params: &ImportParams, chunk: Bytes) -> Result<(OutBlock, FileRoot), DagError> {
    let size = chunk.len() as u64;
    let block = if params.raw_leaves {
        Block::new(Codec::Raw, params.hash, chunk)?
    } else {
        params.pb_block(wrap_leaf(&chunk))?
    };
    let root = FileRoot { cid: *block.cid(), tsize: block.data().len() as u64, size };
    Ok((OutBlock { block, links: Vec::new() }, root))
}

/// A DAG-PB node with a UnixFS File message with this data, written at once so that the data is copied only once.
fn wrap_leaf(chunk: &[u8]) -> Vec<u8> {
    use super::wire;
    let len = chunk.len() as u64;
    let data_field = if chunk.is_empty() { 0 } else { 1 + wire::varint_len(len) + chunk.len() };
    let message = 2 + data_field + 1 + wire::varint_len(len);
    let mut out = Vec::with_capacity(message + 8);
    wire::put_varint(&mut out, 1 << 3 | 2);
    wire::put_varint(&mut out, message as u64);
    wire::put_number(&mut out, 1, Kind::File as u64);
    if !chunk.is_empty() {
        wire::put_bytes(&mut out, 2, chunk);
    }
    wire::put_number(&mut out, 3, len);
    out
}

/// Joins leaves into a tree whose leaves all stand at the same depth.
#[derive(Debug)]
pub struct TreeBuilder {
    params: ImportParams,
    levels: Vec<Vec<FileRoot>>,
}

impl TreeBuilder {
    /// An empty tree. Errors when the parameters make no sense.
    pub fn new(params: ImportParams) -> Result<Self, DagError> {
        params.validate()?;
        Ok(TreeBuilder { params, levels: vec![Vec::new()] })
    }

    /// Adds the next leaf; inner nodes that are complete come out.
    pub fn push(&mut self, leaf: FileRoot) -> Result<Vec<OutBlock>, DagError> {
        let mut out = Vec::new();
        self.insert(0, leaf, &mut out)?;
        Ok(out)
    }

    /// Puts a node on a level; a full level becomes a node of the next, only now that more follows.
    fn insert(&mut self, mut level: usize, mut item: FileRoot, out: &mut Vec<OutBlock>) -> Result<(), DagError> {
        loop {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let full = self.levels[level].len() == self.params.max_links;
            let node = if full { Some(self.close(level, out)?) } else { None };
            self.levels[level].push(item);
            match node {
                Some(node) => (item, level) = (node, level + 1),
                None => return Ok(()),
            }
        }
    }

    /// The remaining inner nodes and the root. A tree without leaves is an error: an empty file has one empty leaf.
    pub fn finish(mut self) -> Result<(Vec<OutBlock>, FileRoot), DagError> {
        let mut out = Vec::new();
        let mut level = 0;
        loop {
            let top = level + 1 == self.levels.len();
            match (top, self.levels[level].as_slice()) {
                (true, []) => return Err(DagError::BadParams { reason: "a file has at least one leaf".into() }),
                (true, [root]) => return Ok((out, *root)),
                _ => {}
            }
            let node = self.close(level, &mut out)?;
            if top {
                return Ok((out, node));
            }
            level += 1;
            self.insert(level, node, &mut out)?;
        }
    }

    /// Turns all that waits on a level into one node.
    fn close(&mut self, level: usize, out: &mut Vec<OutBlock>) -> Result<FileRoot, DagError> {
        let children = std::mem::take(&mut self.levels[level]);
        let mut message = UnixFs::new(Kind::File);
        message.blocksizes = children.iter().map(|child| child.size).collect();
        let size = message.blocksizes.iter().sum();
        message.filesize = Some(size);
        let links: Vec<Cid> = children.iter().map(|child| child.cid).collect();
        let below: u64 = children.iter().map(|child| child.tsize).sum();
        let pb_links = children.into_iter().map(|c| PbLink { cid: c.cid, name: Vec::new(), tsize: c.tsize }).collect();
        let node = PbNode { links: pb_links, data: Some(message.encode().into()) };
        let block = self.params.pb_block(node.encode())?;
        let root = FileRoot { cid: *block.cid(), tsize: block.data().len() as u64 + below, size };
        out.push(OutBlock { block, links });
        Ok(root)
    }
}

/// Hashes chunks and joins them, all on the calling thread.
#[derive(Debug)]
pub struct FileBuilder {
    tree: TreeBuilder,
    any: bool,
}

impl FileBuilder {
    /// An empty file. Errors when the parameters make no sense.
    pub fn new(params: ImportParams) -> Result<Self, DagError> {
        Ok(FileBuilder { tree: TreeBuilder::new(params)?, any: false })
    }

    /// Adds the next chunk (cut by [`super::chunk::Chunker`]); the leaf and complete inner nodes come out.
    pub fn push(&mut self, chunk: Bytes) -> Result<Vec<OutBlock>, DagError> {
        self.any = true;
        let (block, root) = leaf(&self.tree.params, chunk)?;
        let mut out = vec![block];
        out.extend(self.tree.push(root)?);
        Ok(out)
    }

    /// The remaining nodes and the root. Without any chunk the file is one empty leaf.
    pub fn finish(mut self) -> Result<(Vec<OutBlock>, FileRoot), DagError> {
        let mut out = if self.any { Vec::new() } else { self.push(Bytes::new())? };
        let (rest, root) = self.tree.finish()?;
        out.extend(rest);
        Ok((out, root))
    }
}
