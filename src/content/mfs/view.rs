//! Looking at the tree: stat, ls, read. Nothing here waits for a change.

use std::collections::HashMap;

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::{
    Mfs, MfsError,
    change::Change,
    node::{FsNode, MODE_BITS},
    ops::content_path,
    path::FilesPath,
};
use crate::{
    base::{Cid, HasKind, Kind as ErrorKind},
    content::{
        Content, ContentError, EntryKind,
        pins::key,
        read::{list, send_file},
        source::{Source, driven, gone},
    },
    dag::{
        DagError,
        read::{DEFAULT_WINDOW_BYTES, Entry},
        unixfs::{Attributes, Kind},
    },
};

/// Children looked at at a time.
const LANES: usize = 32;
/// Most different blocks that are walked to say how much of a DAG is here.
const MAX_WALKED: usize = 4_000_000;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesStat {
    /// Its CID.
    pub cid: Cid,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file; of a symbolic link's target; 0 for directories.
    pub size: u64,
    /// Bytes of the whole DAG, as its links say.
    pub cumulative_size: u64,
    /// Links of its own node.
    pub links: usize,
    /// What it says of itself; the mode's permission bits alone.
    pub attributes: Attributes,
    /// Whether all of it is here and how many bytes are, when that was asked for.
    pub local: Option<(bool, u64)>,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesEntry {
    /// Its name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Its CID.
    pub cid: Cid,
    /// What it is, when that was asked for.
    pub kind: EntryKind,
    /// Bytes of a file, when that was asked for.
    pub size: u64,
}

fn kind_of(kind: Kind) -> EntryKind {
    match kind {
        Kind::Directory | Kind::HamtShard => EntryKind::Directory,
        Kind::Symlink => EntryKind::Symlink,
        Kind::File | Kind::Raw | Kind::Metadata => EntryKind::File,
    }
}

impl Content {
    /// What this node is; with `local` also how much of the DAG is here.
    pub async fn stat_node(&self, cid: &Cid, local: bool) -> Result<FilesStat, ContentError> {
        let source = self.source(*cid);
        let bytes = source.get(cid).await?;
        let node = FsNode::decode(cid, &bytes)?;
        let mut attributes = node.attributes();
        attributes.mode = attributes.mode.map(|mode| mode & MODE_BITS).filter(|mode| *mode != 0);
        let cumulative = node.links().iter().fold(bytes.len() as u64, |sum, link| sum.saturating_add(link.tsize));
        let local = if local { Some(held(&source.offline(), *cid).await?) } else { None };
        Ok(FilesStat {
            cid: *cid,
            kind: kind_of(node.kind()),
            size: node.size(),
            cumulative_size: cumulative,
            links: node.links().len(),
            attributes,
            local,
        })
    }
}

impl Mfs {
    /// What stands at a path of the tree or what content (`/ipfs/…`) a path leads to.
    pub async fn stat(&self, path: &str, local: bool) -> Result<FilesStat, ContentError> {
        let cid = match content_path(path) {
            Some(path) => self.content.resolve(&path).await?,
            None => self.view()?.at(FilesPath::parse(path)?.names()).await?,
        };
        self.content.stat_node(&cid, local).await
    }

    /// A directory's entries in its own order; a file is its only entry. Without `long` kinds and sizes are not looked
    /// up.
    pub async fn ls(
        &self,
        path: &FilesPath,
        long: bool,
    ) -> Result<impl Stream<Item = Result<FilesEntry, ContentError>> + Send + Unpin + 'static, ContentError> {
        let view = self.view()?;
        let cid = view.at(path.names()).await?;
        let is_dir = view.node(&cid).await?.is_dir();
        let source = self.content.source(cid);
        let own = path.name().unwrap_or_default().as_bytes().to_vec();
        Ok(driven(LANES, move |sender| async move {
            let entries = if is_dir {
                list(&source, cid)
            } else {
                futures::stream::iter([Ok(Entry { name: own, cid, tsize: 0 })]).boxed()
            };
            let look = |entry: Result<Entry, ContentError>| look(&source, entry, long);
            let mut entries = entries.map(look).buffered(LANES);
            while let Some(entry) = entries.next().await {
                sender.send(Ok(entry?)).await.map_err(gone)?;
            }
            Ok(())
        }))
    }

    /// The bytes of a file from `offset` on, `count` at most, in order.
    pub async fn read(
        &self,
        path: &FilesPath,
        offset: u64,
        count: Option<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, ContentError>> + Send + Unpin + 'static, ContentError> {
        let view: Change = self.view()?;
        let cid = view.at(path.names()).await?;
        let node = view.node(&cid).await?;
        if !node.is_file() || path.names_directory() {
            return Err(MfsError::NotAFile { path: path.to_string() }.into());
        }
        let size = node.size();
        if offset > size {
            return Err(MfsError::PastEnd { offset, size }.into());
        }
        let end = count.map_or(u64::MAX, |count| offset.saturating_add(count));
        let source = self.content.source(cid);
        Ok(driven(4, move |sender| async move {
            send_file(&source, cid, None, offset..end, DEFAULT_WINDOW_BYTES, &sender, |bytes| bytes).await
        }))
    }
}

async fn look(source: &Source, entry: Result<Entry, ContentError>, long: bool) -> Result<FilesEntry, ContentError> {
    let entry = entry?;
    let name = String::from_utf8_lossy(&entry.name).into_owned();
    let mut out = FilesEntry { name, cid: entry.cid, kind: EntryKind::Unknown, size: 0 };
    if long {
        let node = FsNode::decode(&entry.cid, &source.get(&entry.cid).await?)?;
        (out.kind, out.size) = (kind_of(node.kind()), node.size());
    }
    Ok(out)
}

/// Whether a whole DAG is here, and how many bytes of it, blocks that stand in many places counted at each, as Kubo
/// counts.
async fn held(source: &Source, root: Cid) -> Result<(bool, u64), ContentError> {
    enum Step {
        Enter(Cid),
        Leave(Cid, u64, Vec<Cid>),
    }
    // A block's answer is found once, wherever it stands, so that repetition costs nothing.
    let mut known: HashMap<[u8; 16], (bool, u64)> = HashMap::new();
    let mut open = vec![Step::Enter(root)];
    while let Some(step) = open.pop() {
        match step {
            Step::Enter(cid) if known.contains_key(&key(&cid)) => {}
            Step::Enter(cid) => {
                let links = match source.links(&cid).await {
                    Ok(links) => links,
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        known.insert(key(&cid), (false, 0));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let size = source.blocks.size(&cid).await?.map_or(0, u64::from);
                if known.len() + open.len() > MAX_WALKED {
                    let (count, limit) = ((known.len() + open.len()) as u64, MAX_WALKED as u64);
                    return Err(DagError::TooLarge { what: "blocks of a DAG to be counted", count, limit }.into());
                }
                let below: Vec<Step> = links.iter().map(|cid| Step::Enter(*cid)).collect();
                open.push(Step::Leave(cid, size, links));
                open.extend(below);
            }
            Step::Leave(cid, size, links) => {
                let whole = links.iter().fold((true, size), |(all, sum), link| {
                    let (here, bytes) = known.get(&key(link)).copied().unwrap_or((false, 0));
                    (all && here, sum.saturating_add(bytes))
                });
                known.insert(key(&cid), whole);
            }
        }
    }
    Ok(known.get(&key(&root)).copied().unwrap_or((false, 0)))
}
