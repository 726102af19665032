//! Writing into a file that is there, as boxo's DAG modifier does it: what is overwritten keeps its blocks' bounds, what
//! is appended grows a trickle tree on the right edge. Only touched blocks are read; memory holds one buffer and one
//! node a level.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};

use super::{
    MfsError,
    batch::Batch,
    node::{Body, FsNode},
};
use crate::{
    base::{Block, Cid, time},
    content::ContentError,
    dag::{
        DagError, ImportParams, OutBlock,
        pb::PbLink,
        unixfs::{Attributes, Kind, UnixFs},
    },
};

/// Bytes gathered before they are written: where Kubo's buffer of 2 MiB is found full when it is filled by 32 KiB.
const BUFFER_BYTES: usize = 65 * 32 * 1024;
/// Bytes of a chunk of appended content.
const CHUNK_BYTES: usize = 262_144;
/// Bytes of a chunk of the zeros between a file's end and what is written behind it.
const ZEROS_BYTES: u64 = 4096;
/// Most zeros filled in before what is written.
const MAX_GAP_BYTES: u64 = 1 << 40;
/// Leaves of a node before its subtrees, and most links of a node that is written.
const MAX_LINKS: usize = 174;
/// Subtrees of the same depth in a row.
const REPEAT: usize = 4;
/// Deepest file tree that is written into.
const MAX_DEPTH: usize = 32;

/// What a link needs to know of the node it leads to.
#[derive(Debug, Clone, Copy)]
struct Child {
    cid: Cid,
    tsize: u64,
    size: u64,
}

/// A file being written.
pub(super) struct Modifier<'a> {
    batch: &'a mut Batch,
    root: FsNode,
    /// How new nodes are written: as the file was when writing began.
    params: ImportParams,
    raw_leaves: bool,
    /// Where the next byte goes.
    at: u64,
    buffer: BytesMut,
    touched: bool,
}

/// Leaves to append, in order.
enum Leaves {
    Made(VecDeque<Child>),
    Zeros { leaf: Box<Child>, count: u64, last: Option<Box<Child>> },
}

impl Leaves {
    fn done(&self) -> bool {
        match self {
            Leaves::Made(made) => made.is_empty(),
            Leaves::Zeros { count, last, .. } => *count == 0 && last.is_none(),
        }
    }

    fn next(&mut self) -> Option<Child> {
        match self {
            Leaves::Made(made) => made.pop_front(),
            Leaves::Zeros { count: 0, last, .. } => last.take().map(|last| *last),
            Leaves::Zeros { leaf, count, .. } => {
                *count -= 1;
                Some(**leaf)
            }
        }
    }
}

impl<'a> Modifier<'a> {
    /// Begins to write into a file. Without `raw_leaves` new leaves are raw when the file's CID is of version 1.
    pub(super) fn new(batch: &'a mut Batch, root: FsNode, raw_leaves: Option<bool>) -> Self {
        let params = root.params.clone();
        let raw_leaves = raw_leaves.unwrap_or(params.cid_version > 0);
        Modifier { batch, root, params, raw_leaves, at: 0, buffer: BytesMut::new(), touched: false }
    }

    /// Empties the file.
    pub(super) async fn truncate(&mut self) -> Result<(), ContentError> {
        if self.root.size() > 0 {
            self.touched = true;
            let root = self.root.clone();
            self.root = self.cut(root, 0).await?;
        }
        Ok(())
    }

    /// Goes to where the first byte is to be written; zeros fill what lies between the file's end and there.
    pub(super) async fn seek(&mut self, offset: u64) -> Result<(), ContentError> {
        let size = self.root.size();
        if let Some(gap) = offset.checked_sub(size).filter(|gap| *gap > 0) {
            if gap > MAX_GAP_BYTES {
                return Err(MfsError::Gap { offset, gap, limit: MAX_GAP_BYTES }.into());
            }
            self.touched = true;
            let zeros = Bytes::from_static(&[0; ZEROS_BYTES as usize]);
            let rest = (gap % ZEROS_BYTES) as usize;
            let made = self.leaves(vec![zeros.clone(), zeros.slice(..rest)]).await?;
            if let (Some(leaf), Some(last)) = (made.front(), made.back()) {
                let last = (rest > 0).then(|| Box::new(*last));
                self.append(Leaves::Zeros { leaf: Box::new(*leaf), count: gap / ZEROS_BYTES, last }).await?;
            }
        }
        self.at = offset;
        Ok(())
    }

    /// Writes the next bytes.
    pub(super) async fn write(&mut self, mut bytes: Bytes) -> Result<(), ContentError> {
        while !bytes.is_empty() {
            let room = BUFFER_BYTES - self.buffer.len();
            self.buffer.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.buffer.len() == BUFFER_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// The file's root, once all that it is made of went to the sink. `attributes` are set when they are given; a file
    /// that has a modification time gets a new one when its content changed.
    pub(super) async fn finish(mut self, attributes: Option<Attributes>) -> Result<OutBlock, ContentError> {
        self.flush().await?;
        let mut own = attributes.unwrap_or(self.root.attributes());
        if self.touched && attributes.is_none() && own.mtime.is_some() {
            let now = time::unix_ms();
            own.mtime = Some(((now / 1000) as i64, (now % 1000) as u32 * 1_000_000));
        }
        if own != self.root.attributes() {
            self.root = self.root.with_attributes(own);
        }
        // One raw leaf alone is the file, as when it is added.
        if let (true, Body::Pb { message, links }) = (self.raw_leaves, &self.root.body)
            && let [only] = links.as_slice()
            && message.attributes().is_empty()
            && only.cid.codec() == crate::base::Codec::Raw.code()
            && message.data.as_ref().is_none_or(Bytes::is_empty)
        {
            let block = Block::verify(only.cid, self.batch.get(&only.cid).await?)?;
            return Ok(OutBlock { block, links: Vec::new() });
        }
        Ok(self.root.encode()?.0)
    }

    async fn node(&self, cid: &Cid) -> Result<FsNode, ContentError> {
        let node = FsNode::decode(cid, &self.batch.get(cid).await?)?;
        let found = node.kind().as_str();
        if node.is_file() { Ok(node) } else { Err(DagError::NotAFile { cid: Box::new(*cid), found }.into()) }
    }

    /// Writes what is gathered: over what is there, then behind it.
    async fn flush(&mut self) -> Result<(), ContentError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.touched = true;
        let mut data = self.buffer.split().freeze();
        let written = data.len() as u64;
        if self.at < self.root.size() {
            let mut root = self.root.clone();
            self.overwrite(&mut root, self.at, &mut data, 0).await?;
            self.root = root;
        }
        if !data.is_empty() {
            let mut chunks = Vec::new();
            while !data.is_empty() {
                chunks.push(data.split_to(CHUNK_BYTES.min(data.len())));
            }
            let made = self.leaves(chunks).await?;
            self.append(Leaves::Made(made)).await?;
        }
        self.at += written;
        Ok(())
    }

    /// Hashes chunks, several at a time, and stores them.
    async fn leaves(&mut self, chunks: Vec<Bytes>) -> Result<VecDeque<Child>, ContentError> {
        let params = self.params.clone();
        // A raw file that grows gets raw leaves beside its own bytes, whatever was asked for.
        let raw = self.raw_leaves || matches!(self.root.body, Body::Raw(_));
        let hash = |chunk: Bytes| {
            let params = params.clone();
            async move {
                let hashed = tokio::task::spawn_blocking(move || leaf(&params, raw, chunk));
                hashed.await.map_err(ContentError::joined)?.map_err(ContentError::from)
            }
        };
        let made: Vec<(OutBlock, Child)> = stream::iter(chunks).map(hash).buffered(4).try_collect().await?;
        let mut out = VecDeque::with_capacity(made.len());
        for (block, child) in made {
            self.batch.put(block).await?;
            out.push_back(child);
        }
        Ok(out)
    }

    /// Writes `data` over the bytes of `node` from `offset` on, as far as the node reaches. Nodes below are stored.
    fn overwrite<'b>(
        &'b mut self,
        node: &'b mut FsNode,
        offset: u64,
        data: &'b mut Bytes,
        depth: usize,
    ) -> BoxFuture<'b, Result<(), ContentError>> {
        Box::pin(async move {
            check_depth(depth)?;
            let (message, links) = match &mut node.body {
                Body::Raw(bytes) => {
                    *bytes = over(bytes, offset, data);
                    return Ok(());
                }
                Body::Pb { message, links } => (message, links),
            };
            let own = message.data.as_ref().map_or(0, |own| own.len() as u64);
            if let Some(bytes) = message.data.as_mut().filter(|_| offset < own) {
                *bytes = over(bytes, offset, data);
            }
            let (mut start, mut offset) = (own, offset.max(own));
            for (link, size) in links.iter_mut().zip(&message.blocksizes) {
                let end = start.saturating_add(*size);
                if data.is_empty() {
                    break;
                }
                if end > offset {
                    let mut below = self.node(&link.cid).await?;
                    if below.size() != *size {
                        let (cid, declared, actual) = (Box::new(link.cid), *size, below.size());
                        return Err(DagError::SizeMismatch { cid, declared, actual }.into());
                    }
                    self.overwrite(&mut below, offset - start, data, depth + 1).await?;
                    let (block, _) = below.encode()?;
                    link.cid = *block.block.cid();
                    self.batch.put(block).await?;
                    offset = end;
                }
                start = end;
            }
            Ok(())
        })
    }

    /// Cuts a file off at its beginning, as the DAG modifier truncates: the first leaf that holds anything stays, empty.
    fn cut<'b>(&'b mut self, node: FsNode, depth: usize) -> BoxFuture<'b, Result<FsNode, ContentError>> {
        Box::pin(async move {
            check_depth(depth)?;
            let (mut message, mut links) = match node.body {
                Body::Raw(_) => return Ok(FsNode { body: Body::Raw(Bytes::new()), ..node }),
                Body::Pb { message, links } => (message, links),
            };
            message.data = message.data.map(|_| Bytes::new());
            message.filesize = Some(0);
            if links.is_empty() {
                // Such a node is written anew, by default parameters.
                return Ok(FsNode::new(ImportParams::default(), message, links));
            }
            links.truncate(1 + message.blocksizes.iter().position(|size| *size > 0).unwrap_or(0));
            if let Some(last) = links.last_mut() {
                let below = self.node(&last.cid).await?;
                let (block, tsize) = self.cut(below, depth + 1).await?.encode()?;
                (last.cid, last.tsize) = (*block.block.cid(), tsize);
                self.batch.put(block).await?;
            }
            message.blocksizes = vec![0; links.len()];
            Ok(FsNode::new(node.params, message, links))
        })
    }

    /// Appends leaves to the root.
    async fn append(&mut self, mut leaves: Leaves) -> Result<(), ContentError> {
        let mut root = match std::mem::replace(&mut self.root.body, Body::Raw(Bytes::new())) {
            Body::Pb { message, links } => Inner { params: self.root.params.clone(), message, links },
            Body::Raw(bytes) => {
                // A raw block cannot grow; it becomes the first leaf.
                let (size, block) = (bytes.len() as u64, self.root.params.raw_block(bytes)?);
                let mut inner = Inner::new(&self.params);
                inner.add(Child { cid: *block.cid(), tsize: size, size });
                self.batch.put(OutBlock { block, links: Vec::new() }).await?;
                inner
            }
        };
        self.grow(&mut root, &mut leaves).await?;
        self.root = FsNode::new(root.params, root.message, root.links);
        Ok(())
    }

    /// Goes on with a trickle tree at its root.
    async fn grow(&mut self, root: &mut Inner, leaves: &mut Leaves) -> Result<(), ContentError> {
        let (mut depth, repeat) = root.reached();
        if depth == 0 {
            root.fill(leaves);
            if leaves.done() {
                return Ok(());
            }
            depth = 1;
        }
        self.fill_last(root, depth - 1, repeat, leaves, 0).await?;
        depth += i64::from(!leaves.done());
        self.subtrees(root, depth, i64::MAX, leaves).await
    }

    /// Adds subtrees of growing depth, four of each, until the leaves or the depths are used up.
    async fn subtrees(
        &mut self,
        node: &mut Inner,
        from: i64,
        to: i64,
        leaves: &mut Leaves,
    ) -> Result<(), ContentError> {
        for depth in from..to {
            for _ in 0..REPEAT {
                if leaves.done() {
                    return Ok(());
                }
                let child = self.subtree(depth, leaves).await?;
                node.add(child);
            }
        }
        Ok(())
    }

    /// A new subtree.
    fn subtree<'b>(&'b mut self, depth: i64, leaves: &'b mut Leaves) -> BoxFuture<'b, Result<Child, ContentError>> {
        Box::pin(async move {
            let mut node = Inner::new(&self.params);
            node.fill(leaves);
            self.subtrees(&mut node, 1, depth, leaves).await?;
            self.commit(node).await
        })
    }

    async fn commit(&mut self, node: Inner) -> Result<Child, ContentError> {
        let node = FsNode::new(node.params, node.message, node.links);
        let (block, tsize) = node.encode()?;
        let child = Child { cid: *block.block.cid(), tsize, size: node.size() };
        self.batch.put(block).await?;
        Ok(child)
    }

    /// Fills the last subtree, which may not be whole, and then its row.
    fn fill_last<'b>(
        &'b mut self,
        node: &'b mut Inner,
        depth: i64,
        repeat: usize,
        leaves: &'b mut Leaves,
        level: usize,
    ) -> BoxFuture<'b, Result<(), ContentError>> {
        Box::pin(async move {
            check_depth(level)?;
            if node.links.len() <= MAX_LINKS {
                return Ok(());
            }
            if let Some(last) = node.links.last().map(|link| link.cid) {
                let FsNode { params, body, .. } = self.node(&last).await?;
                if let Body::Pb { message, links } = body {
                    let mut below = Inner { params, message, links };
                    self.fill_below(&mut below, depth - 1, leaves, level + 1).await?;
                    node.remove_last();
                    let child = self.commit(below).await?;
                    node.add(child);
                }
            }
            if repeat != 0 {
                for _ in repeat..REPEAT {
                    if leaves.done() {
                        break;
                    }
                    let child = self.subtree(depth, leaves).await?;
                    node.add(child);
                }
            }
            Ok(())
        })
    }

    async fn fill_below(
        &mut self,
        node: &mut Inner,
        most: i64,
        leaves: &mut Leaves,
        level: usize,
    ) -> Result<(), ContentError> {
        if most == 0 || leaves.done() {
            return Ok(());
        }
        let (mut depth, repeat) = node.reached();
        if depth == 0 {
            node.fill(leaves);
            depth = 1;
        }
        if depth == most {
            return Ok(());
        }
        self.fill_last(node, depth, repeat, leaves, level).await?;
        depth += i64::from(!leaves.done());
        self.subtrees(node, depth, most, leaves).await
    }
}

/// An inner node under construction.
struct Inner {
    params: ImportParams,
    message: UnixFs,
    links: Vec<PbLink>,
}

impl Inner {
    fn new(params: &ImportParams) -> Self {
        let mut message = UnixFs::new(Kind::File);
        message.filesize = Some(0);
        Inner { params: params.clone(), message, links: Vec::new() }
    }

    fn add(&mut self, child: Child) {
        self.links.push(PbLink { cid: child.cid, name: Vec::new(), tsize: child.tsize });
        self.message.blocksizes.push(child.size);
        self.message.filesize = Some(self.message.filesize.unwrap_or(0).saturating_add(child.size));
    }

    fn remove_last(&mut self) {
        self.links.pop();
        let size = self.message.blocksizes.pop().unwrap_or(0);
        self.message.filesize = Some(self.message.filesize.unwrap_or(0).saturating_sub(size));
    }

    /// Adds leaves until the node's own are all there.
    fn fill(&mut self, leaves: &mut Leaves) {
        while self.links.len() < MAX_LINKS {
            let Some(leaf) = leaves.next() else { break };
            self.add(leaf);
        }
    }

    /// Which depth of subtrees it has come to, and how many of that depth it has.
    fn reached(&self) -> (i64, usize) {
        match self.links.len().checked_sub(MAX_LINKS) {
            None => (0, 0),
            Some(trees) => ((trees / REPEAT + 1) as i64, trees % REPEAT),
        }
    }
}

fn check_depth(depth: usize) -> Result<(), DagError> {
    let limit = MAX_DEPTH as u64;
    if depth > MAX_DEPTH {
        Err(DagError::TooLarge { what: "levels of a file", count: depth as u64, limit })
    } else {
        Ok(())
    }
}

/// The leaf of one chunk as trickle trees have it: a raw block, or a node of the kind Raw.
fn leaf(params: &ImportParams, raw: bool, chunk: Bytes) -> Result<(OutBlock, Child), DagError> {
    let size = chunk.len() as u64;
    let (block, tsize) = if raw {
        (OutBlock { block: params.raw_block(chunk)?, links: Vec::new() }, size)
    } else {
        let mut message = UnixFs::new(Kind::Raw);
        (message.data, message.filesize) = (Some(chunk), Some(size));
        FsNode::new(params.clone(), message, Vec::new()).encode()?
    };
    let child = Child { cid: *block.block.cid(), tsize, size };
    Ok((block, child))
}

/// `bytes` with as much of `data` over them, from `offset` on, as they have room for.
fn over(bytes: &Bytes, offset: u64, data: &mut Bytes) -> Bytes {
    let offset = (offset as usize).min(bytes.len());
    let mut out = BytesMut::from(&bytes[..]);
    let new = data.split_to(data.len().min(bytes.len() - offset));
    out[offset..offset + new.len()].copy_from_slice(&new);
    out.freeze()
}
