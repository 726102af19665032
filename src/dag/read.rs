//! Sans-IO: reads nodes, directories and files. A [`FileReader`] says which blocks it needs next, takes them in any
//! order, and gives the file's bytes in order, never holding more than its window.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use super::{
    DagError,
    dir::{check_name, printable},
    pb::{PbLink, PbNode},
    unixfs::{Kind, UnixFs},
};
use crate::base::{Cid, Codec};

/// Bytes a reader asks for ahead of what was taken, unless told otherwise.
pub const DEFAULT_WINDOW_BYTES: u64 = 16 * 1024 * 1024;
/// Most blocks a reader has asked for and not handed on.
const MAX_AHEAD_BLOCKS: usize = 512;
/// Deepest file tree read; Kubo's parameters reach 2^64 bytes at depth 7.
const MAX_DEPTH: u8 = 32;
/// Most links a reader keeps at once, so that deep and wide trees cannot fill the memory.
const MAX_SLOTS: usize = 200_000;

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name; checked: one file name that leads nowhere else.
    pub name: Vec<u8>,
    /// What it names.
    pub cid: Cid,
    /// Bytes of the whole DAG below, as the directory's author says.
    pub tsize: u64,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A file or a part of one.
    File(FileNode),
    /// A directory.
    Directory(Vec<Entry>),
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
}

/// A node of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileNode {
    /// Bytes that stand in the node itself, before its children's.
    pub data: Bytes,
    /// The children and how many bytes of the file each holds.
    pub children: Vec<(Cid, u64)>,
    /// Bytes of all of it.
    pub size: u64,
    /// Unix permission bits, when the author recorded them.
    pub mode: Option<u32>,
}

impl Node {
    /// Reads a node. Errors on sharded directories, on codecs without files and on contradictory sizes.
    pub fn decode(cid: &Cid, bytes: &Bytes) -> Result<Self, DagError> {
        match Codec::from(cid.codec()) {
            Codec::Raw => {
                let size = bytes.len() as u64;
                return Ok(Node::File(FileNode { data: bytes.clone(), size, ..FileNode::default() }));
            }
            Codec::DagPb => {}
            other => return Err(DagError::NotUnixFs { cid: Box::new(*cid), codec: other.code() }),
        }
        let node = PbNode::decode_shared(bytes)?;
        let Some(data) = &node.data else {
            return Err(DagError::malformed("unixfs", format!("{cid} is a dag-pb node without unixfs data")));
        };
        let message = UnixFs::decode(data)?;
        match message.kind {
            Kind::Raw | Kind::File => Ok(Node::File(file(cid, message, node.links)?)),
            Kind::Directory => directory(node.links).map(Node::Directory),
            Kind::Symlink => Ok(Node::Symlink(message.data.unwrap_or_default().to_vec())),
            Kind::HamtShard => Err(DagError::Sharded { cid: Box::new(*cid) }),
            Kind::Metadata => Err(DagError::NotAFile { cid: Box::new(*cid), found: Kind::Metadata.as_str() }),
        }
    }

    /// The node's kind in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::File(_) => "file",
            Node::Directory(_) => "directory",
            Node::Symlink(_) => "symbolic link",
        }
    }
}

fn file(cid: &Cid, message: UnixFs, links: Vec<PbLink>) -> Result<FileNode, DagError> {
    let mismatch = |declared, actual| DagError::SizeMismatch { cid: Box::new(*cid), declared, actual };
    if message.blocksizes.len() != links.len() {
        return Err(DagError::malformed(
            "unixfs",
            format!("{cid} has {} links and the sizes of {}", links.len(), message.blocksizes.len()),
        ));
    }
    let data = message.data.unwrap_or_default();
    let sum = message.blocksizes.iter().try_fold(data.len() as u64, |sum, size| sum.checked_add(*size));
    let size = sum.ok_or_else(|| mismatch(message.filesize.unwrap_or(u64::MAX), u64::MAX))?;
    if let Some(declared) = message.filesize.filter(|declared| *declared != size) {
        return Err(mismatch(declared, size));
    }
    let children = links.into_iter().map(|link| link.cid).zip(message.blocksizes).collect();
    Ok(FileNode { data, children, size, mode: message.mode })
}

fn directory(links: Vec<PbLink>) -> Result<Vec<Entry>, DagError> {
    let entries: Vec<Entry> = links.into_iter().map(|PbLink { name, cid, tsize }| Entry { name, cid, tsize }).collect();
    let mut names: Vec<&[u8]> = entries.iter().map(|entry| entry.name.as_slice()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(DagError::BadName { name: printable(pair[0]), reason: "two entries have it" });
    }
    names.into_iter().try_for_each(check_name)?;
    Ok(entries)
}

/// A directory's entries, in the order they stand in. Errors when it is none, or has an entry whose name could lead
/// anywhere but into it.
pub fn entries(cid: &Cid, bytes: &Bytes) -> Result<Vec<Entry>, DagError> {
    match Node::decode(cid, bytes)? {
        Node::Directory(entries) => Ok(entries),
        other => Err(DagError::NotADirectory { cid: Box::new(*cid), found: other.kind() }),
    }
}

#[derive(Debug)]
enum Slot {
    /// A child to come: its CID, how many bytes the parent says it has (unknown for the root), where it starts.
    Wanted { cid: Cid, size: Option<u64>, offset: u64, depth: u8, asked: bool },
    /// Bytes of the file, cut to the range.
    Ready(Bytes),
}

/// Reads one file, or a range of it, from blocks given in any order.
#[derive(Debug)]
pub struct FileReader {
    slots: VecDeque<Slot>,
    range: Range<u64>,
    window_bytes: u64,
    size: Option<u64>,
    /// How many slots have been asked for and not been fed.
    outstanding: usize,
}

impl FileReader {
    /// A reader of the whole file with this root.
    pub fn new(root: Cid) -> Self {
        Self::with_range(root, 0..u64::MAX)
    }

    /// A reader of these bytes of the file; what lies beyond its end is left out.
    pub fn with_range(root: Cid, range: Range<u64>) -> Self {
        let slots = VecDeque::from([Slot::Wanted { cid: root, size: None, offset: 0, depth: 0, asked: false }]);
        FileReader { slots, range, window_bytes: DEFAULT_WINDOW_BYTES, size: None, outstanding: 0 }
    }

    /// Sets how many bytes it asks for ahead of what was taken.
    pub fn set_window(&mut self, bytes: u64) {
        self.window_bytes = bytes.max(1);
    }

    /// The whole file's size, known once the root was fed.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The block that the next bytes lie in or below, when they are not there yet.
    pub fn next_wanted(&self) -> Option<Cid> {
        match self.slots.front() {
            Some(Slot::Wanted { cid, .. }) => Some(*cid),
            _ => None,
        }
    }

    /// Whether every byte has been given out.
    pub fn is_done(&self) -> bool {
        self.slots.is_empty()
    }

    /// The blocks to fetch now; each is named once until it has been fed.
    pub fn needs(&mut self) -> Vec<Cid> {
        let mut out: Vec<Cid> = Vec::new();
        let mut pending: Vec<Cid> = Vec::new();
        let (mut ahead, mut blocks) = (0u64, 0);
        for slot in &mut self.slots {
            if ahead >= self.window_bytes || blocks >= MAX_AHEAD_BLOCKS {
                break;
            }
            blocks += 1;
            match slot {
                Slot::Ready(bytes) => ahead += bytes.len() as u64,
                Slot::Wanted { cid, size, asked, .. } => {
                    ahead = ahead.saturating_add(size.unwrap_or(0));
                    // The same block may stand at many places of a file; one fetch serves all that are in the window.
                    if !*asked && !pending.contains(cid) && !out.contains(cid) {
                        out.push(*cid);
                    } else if *asked {
                        pending.push(*cid);
                    }
                    if !*asked {
                        *asked = true;
                        self.outstanding += 1;
                    }
                }
            }
        }
        out
    }

    /// Takes a block. One that was not asked for, or is no longer needed, is ignored.
    ///
    /// Errors when the block is no part of a file or its size is not what its parent says; the reader is then useless.
    pub fn feed(&mut self, cid: &Cid, bytes: &Bytes) -> Result<(), DagError> {
        let mut at = 0;
        let mut left = self.outstanding;
        let mut decoded = None;
        while left > 0 && at < self.slots.len() {
            let Slot::Wanted { cid: wanted, size, offset, depth, asked: true } = &self.slots[at] else {
                at += 1;
                continue;
            };
            left -= 1;
            if wanted != cid {
                at += 1;
                continue;
            }
            let (size, offset, depth) = (*size, *offset, *depth);
            let node = match &decoded {
                Some(node) => node,
                None => decoded.insert(file_node(cid, bytes)?),
            };
            self.outstanding -= 1;
            at += self.expand(at, cid, node.clone(), size, offset, depth)?;
        }
        Ok(())
    }

    /// Replaces a slot by what its block says; returns how many slots stand there now.
    fn expand(
        &mut self,
        at: usize,
        cid: &Cid,
        node: FileNode,
        expected: Option<u64>,
        offset: u64,
        depth: u8,
    ) -> Result<usize, DagError> {
        match expected {
            Some(declared) if declared != node.size => {
                return Err(DagError::SizeMismatch { cid: Box::new(*cid), declared, actual: node.size });
            }
            Some(_) => {}
            None => {
                self.size = Some(node.size);
                self.range.end = self.range.end.min(node.size);
            }
        }
        if depth >= MAX_DEPTH && !node.children.is_empty() {
            let limit = u64::from(MAX_DEPTH);
            return Err(DagError::TooLarge { what: "levels of a file", count: limit + 1, limit });
        }
        let mut new = Vec::new();
        let data_end = offset + node.data.len() as u64;
        let cut = self.overlap(offset, data_end);
        if !cut.is_empty() {
            let data = node.data.slice((cut.start - offset) as usize..(cut.end - offset) as usize);
            new.push(Slot::Ready(data));
        }
        let mut start = data_end;
        for (child, size) in node.children {
            // Sums were checked when the node was decoded and against its parent, so this cannot overflow. A child
            // outside the range, and one of no bytes, is not fetched: work stays bounded by what is given out.
            let end = start + size;
            if !self.overlap(start, end).is_empty() {
                let depth = depth + 1;
                new.push(Slot::Wanted { cid: child, size: Some(size), offset: start, depth, asked: false });
            }
            start = end;
        }
        if self.slots.len() + new.len() > MAX_SLOTS {
            let count = (self.slots.len() + new.len()) as u64;
            return Err(DagError::TooLarge { what: "links of a file waiting", count, limit: MAX_SLOTS as u64 });
        }
        let added = new.len();
        if let [_] = new.as_slice() {
            // By far the commonest, a leaf: no need to move what stands behind it.
            self.slots[at] = new.pop().expect("there is one");
            return Ok(added);
        }
        let after = self.slots.split_off(at + 1);
        self.slots.pop_back();
        self.slots.extend(new);
        self.slots.extend(after);
        Ok(added)
    }

    fn overlap(&self, start: u64, end: u64) -> Range<u64> {
        start.max(self.range.start)..end.min(self.range.end)
    }

    /// The file's next bytes, when they are there.
    pub fn next_bytes(&mut self) -> Option<Bytes> {
        match self.slots.front() {
            Some(Slot::Ready(_)) => match self.slots.pop_front() {
                Some(Slot::Ready(bytes)) => Some(bytes),
                _ => None,
            },
            _ => None,
        }
    }
}

fn file_node(cid: &Cid, bytes: &Bytes) -> Result<FileNode, DagError> {
    let decoded = match Node::decode(cid, bytes) {
        Err(DagError::Sharded { cid }) => return Err(DagError::NotAFile { cid, found: "directory" }),
        decoded => decoded?,
    };
    match decoded {
        Node::File(node) => Ok(node),
        other => Err(DagError::NotAFile { cid: Box::new(*cid), found: other.kind() }),
    }
}
