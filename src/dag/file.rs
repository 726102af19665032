//! Sans-IO: builds UnixFS files, leaf by leaf, holding one node's links per level and no data.
//!
//! [`leaf`] is pure and may run on any thread; the [`TreeBuilder`] takes its results in order. [`FileBuilder`] joins the
//! two for callers that need no parallel hashing.

use bytes::Bytes;

use super::{
    DagError, ImportParams, Layout, OutBlock,
    pb::{PbLink, PbNode},
    trickle::Trickle,
    unixfs::{Attributes, Kind, UnixFs},
};
use crate::base::Cid;

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
    leaf_with(params, chunk, NONE)
}

/// Makes the leaf of a chunk that is the whole file, saying this of the file. Raw leaves can say nothing.
pub fn leaf_with(
    params: &ImportParams,
    chunk: Bytes,
    attributes: &Attributes,
) -> Result<(OutBlock, FileRoot), DagError> {
    let size = chunk.len() as u64;
    let block = if params.raw_leaves {
        params.raw_block(chunk)?
    } else {
        params.pb_block(wrap_leaf(params, &chunk, attributes))?
    };
    let root = FileRoot { cid: *block.cid(), tsize: block.data().len() as u64, size };
    Ok((OutBlock { block, links: Vec::new() }, root))
}

/// A DAG-PB node with a UnixFS message with this data, written at once so that the data is copied only once.
fn wrap_leaf(params: &ImportParams, chunk: &[u8], attributes: &Attributes) -> Vec<u8> {
    use super::wire;
    let kind = match params.layout {
        Layout::Balanced => Kind::File,
        Layout::Trickle => Kind::Raw,
    };
    // The attributes stand last, so that what an attributeless message has is a prefix of the whole.
    let tail = match attributes.is_empty() {
        true => Vec::new(),
        false => UnixFs::with_attributes(kind, attributes).encode().split_off(2),
    };
    let len = chunk.len() as u64;
    let data_field = if chunk.is_empty() { 0 } else { 1 + wire::varint_len(len) + chunk.len() };
    let message = 2 + data_field + 1 + wire::varint_len(len) + tail.len();
    let mut out = Vec::with_capacity(message + 8);
    wire::put_varint(&mut out, 1 << 3 | 2);
    wire::put_varint(&mut out, message as u64);
    wire::put_number(&mut out, 1, kind as u64);
    if !chunk.is_empty() {
        wire::put_bytes(&mut out, 2, chunk);
    }
    wire::put_number(&mut out, 3, len);
    out.extend_from_slice(&tail);
    out
}

/// Joins leaves into a tree of the layout the parameters name.
#[derive(Debug)]
pub struct TreeBuilder {
    params: ImportParams,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// What waits on each level, the leaves' first.
    Balanced(Vec<Vec<FileRoot>>),
    Trickle(Trickle),
}

impl TreeBuilder {
    /// An empty tree. Errors when the parameters make no sense.
    pub fn new(params: ImportParams) -> Result<Self, DagError> {
        params.validate()?;
        let shape = match params.layout {
            Layout::Balanced => Shape::Balanced(vec![Vec::new()]),
            Layout::Trickle => Shape::Trickle(Trickle::new()),
        };
        Ok(TreeBuilder { params, shape })
    }

    /// Adds the next leaf; inner nodes that are complete come out.
    pub fn push(&mut self, leaf: FileRoot) -> Result<Vec<OutBlock>, DagError> {
        let mut out = Vec::new();
        match &mut self.shape {
            Shape::Balanced(levels) => insert(&self.params, levels, 0, leaf, &mut out)?,
            Shape::Trickle(trickle) => trickle.push(&self.params, leaf, &mut out)?,
        }
        Ok(out)
    }

    /// The remaining inner nodes and the root, which says these attributes of the file if it is an inner node; a root that
    /// is a leaf is made by [`leaf_with`]. A balanced tree without leaves is an error: an empty file has one empty leaf.
    pub fn finish(self, attributes: &Attributes) -> Result<(Vec<OutBlock>, FileRoot), DagError> {
        let mut out = Vec::new();
        let root = match self.shape {
            Shape::Balanced(levels) => finish(&self.params, levels, attributes, &mut out)?,
            Shape::Trickle(trickle) => trickle.finish(&self.params, attributes, &mut out)?,
        };
        Ok((out, root))
    }
}

/// Puts a node on a level; a full level becomes a node of the next, only now that more follows.
fn insert(
    params: &ImportParams,
    levels: &mut Vec<Vec<FileRoot>>,
    mut level: usize,
    mut item: FileRoot,
    out: &mut Vec<OutBlock>,
) -> Result<(), DagError> {
    loop {
        if level == levels.len() {
            levels.push(Vec::new());
        }
        let full = levels[level].len() == params.max_file_links;
        let node = if full { Some(join(params, std::mem::take(&mut levels[level]), NONE, out)?) } else { None };
        levels[level].push(item);
        match node {
            Some(node) => (item, level) = (node, level + 1),
            None => return Ok(()),
        }
    }
}

fn finish(
    params: &ImportParams,
    mut levels: Vec<Vec<FileRoot>>,
    attributes: &Attributes,
    out: &mut Vec<OutBlock>,
) -> Result<FileRoot, DagError> {
    let mut level = 0;
    loop {
        let top = level + 1 == levels.len();
        match (top, levels[level].as_slice()) {
            (true, []) => return Err(DagError::BadParams { reason: "a file has at least one leaf".into() }),
            (true, [root]) => return Ok(*root),
            _ => {}
        }
        let node = join(params, std::mem::take(&mut levels[level]), if top { attributes } else { NONE }, out)?;
        if top {
            return Ok(node);
        }
        level += 1;
        insert(params, &mut levels, level, node, out)?;
    }
}

/// What nodes that are no roots say of themselves.
pub(super) const NONE: &Attributes = &Attributes { mode: None, mtime: None };

/// Makes one node of these children.
pub(super) fn join(
    params: &ImportParams,
    children: Vec<FileRoot>,
    attributes: &Attributes,
    out: &mut Vec<OutBlock>,
) -> Result<FileRoot, DagError> {
    let mut message = UnixFs::with_attributes(Kind::File, attributes);
    message.blocksizes = children.iter().map(|child| child.size).collect();
    let size = message.blocksizes.iter().sum();
    message.filesize = Some(size);
    let links: Vec<Cid> = children.iter().map(|child| child.cid).collect();
    let below: u64 = children.iter().map(|child| child.tsize).sum();
    let pb_links = children.into_iter().map(|c| PbLink { cid: c.cid, name: Vec::new(), tsize: c.tsize }).collect();
    let node = PbNode { links: pb_links, data: Some(message.encode().into()) };
    let block = params.pb_block(node.encode())?;
    let root = FileRoot { cid: *block.cid(), tsize: block.data().len() as u64 + below, size };
    out.push(OutBlock { block, links });
    Ok(root)
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

    /// The remaining nodes and the root. Without any chunk a balanced file is one empty leaf.
    pub fn finish(mut self) -> Result<(Vec<OutBlock>, FileRoot), DagError> {
        // A trickle tree's root is never a leaf.
        let leafless = self.any || self.tree.params.layout == Layout::Trickle;
        let mut out = if leafless { Vec::new() } else { self.push(Bytes::new())? };
        let (rest, root) = self.tree.finish(NONE)?;
        out.extend(rest);
        Ok((out, root))
    }
}
