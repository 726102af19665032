//! Reading: resolve, cat, stat, and what lies in a directory.

use std::ops::Range;

use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt, stream,
    stream::{BoxStream, FuturesUnordered},
};

use super::{
    Content, ContentError, EntryKind, Stat,
    dagnode::resolve,
    source::{Sender, Source, driven, gone},
};
use crate::{
    base::{Cid, HasKind, Kind},
    dag::{
        DagError, DagPath,
        hamt::{Shard, Slot},
        read::{Entry, FileReader, Node, entries},
    },
};

/// Shards of a directory that are fetched ahead on each of its levels.
const SHARD_LANES: usize = 16;

/// Most entries of a sharded directory that are read at once; more would fill the memory.
pub(super) const MAX_ENTRIES: usize = 1_000_000;
/// Deepest a sharded directory can be: 64 bits of hash, at least three a level.
const MAX_SHARD_LEVELS: u64 = 22;

/// Sends a file's bytes, or those of a range, in order, asking for `window` bytes ahead. `bytes` is the root's block when
/// it is at hand.
pub(super) async fn send_file<T>(
    source: &Source,
    root: Cid,
    bytes: Option<Bytes>,
    range: Range<u64>,
    window: u64,
    sender: &Sender<T>,
    wrap: impl Fn(Bytes) -> T,
) -> Result<(), ContentError> {
    let mut reader = FileReader::with_range(root, range);
    reader.set_window(window);
    let mut coming = FuturesUnordered::new();
    let get = |cid: Cid| async move { (cid, source.get(&cid).await) };
    let ask = |reader: &mut FileReader, coming: &FuturesUnordered<_>| {
        reader.needs().into_iter().for_each(|cid| coming.push(get(cid)));
    };
    if let Some(bytes) = bytes {
        reader.needs();
        reader.feed(&root, &bytes)?;
    }
    // A block that cannot be had is an error when its turn comes: what stands before it is given out first.
    let mut failed: Vec<(Cid, ContentError)> = Vec::new();
    loop {
        ask(&mut reader, &coming);
        while let Some(bytes) = reader.next_bytes() {
            sender.send(Ok(wrap(bytes))).await.map_err(gone)?;
        }
        let Some(next) = reader.next_wanted() else { return Ok(()) };
        if let Some(at) = failed.iter().position(|(cid, _)| *cid == next) {
            return Err(failed.swap_remove(at).1);
        }
        // Handing out bytes may have made room in the window.
        ask(&mut reader, &coming);
        match coming.next().await {
            Some((cid, Ok(bytes))) => reader.feed(&cid, &bytes)?,
            Some((cid, Err(error))) => failed.push((cid, error)),
            None => return Err(ContentError::Internal { what: format!("nothing is asked for of {root}") }),
        }
    }
}

impl Content {
    /// A file's bytes, or those of a range of it, in order; of a symbolic link its target, as in Kubo. The first item is an
    /// error when `path` leads to neither.
    pub fn cat(
        &self,
        path: impl Into<DagPath>,
        range: Option<Range<u64>>,
    ) -> BoxStream<'static, Result<Bytes, ContentError>> {
        let (path, content) = (path.into(), self.clone());
        driven(
            4,
            move |sender| async move { content.open(path).await?.send(range.unwrap_or(0..u64::MAX), &sender).await },
        )
    }

    /// A whole small file. Errors when it is longer than `limit` bytes.
    pub async fn cat_all(&self, path: impl Into<DagPath>, limit: u64) -> Result<Bytes, ContentError> {
        let mut stream = std::pin::pin!(self.cat(path, None));
        let mut out = Vec::new();
        while let Some(bytes) = stream.try_next().await? {
            out.extend_from_slice(&bytes);
            if out.len() as u64 > limit {
                let count = out.len() as u64;
                return Err(DagError::TooLarge { what: "bytes of a file to read at once", count, limit }.into());
            }
        }
        Ok(out.into())
    }

    /// Whether a path leads to a block that can be had: here or, with a network, within the time limit. What is above it
    /// is fetched on the way, and so is the block itself.
    ///
    /// Errors other than that something was not found are passed on.
    pub async fn exists(&self, path: impl Into<DagPath>) -> Result<bool, ContentError> {
        let path = path.into();
        let source = self.source(path.root);
        let found = async { source.get(&resolve(&source, &path).await?).await };
        match found.await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What a path leads to.
    pub async fn resolve(&self, path: &DagPath) -> Result<Cid, ContentError> {
        resolve(&self.source(path.root), path).await
    }

    /// What a path leads to, and what that is.
    pub async fn stat(&self, path: &DagPath) -> Result<Stat, ContentError> {
        let source = self.source(path.root);
        let cid = resolve(&source, path).await?;
        Ok(match node(&source, &cid, &source.get(&cid).await?).await? {
            Node::File(file) => Stat { cid, kind: EntryKind::File, size: file.size, links: file.children.len() },
            Node::Directory(entries) => Stat { cid, kind: EntryKind::Directory, size: 0, links: entries.len() },
            Node::Symlink(_) => Stat { cid, kind: EntryKind::Symlink, size: 0, links: 0 },
        })
    }
}

/// Reads a node; a sharded directory is put together from its shards, its entries sorted by name. Names stand where their
/// hashes lead or it is refused, so no shard counts twice and no name can.
pub(super) async fn node(source: &Source, cid: &Cid, bytes: &Bytes) -> Result<Node, ContentError> {
    match Node::decode(cid, bytes) {
        Err(DagError::Sharded { .. }) => {}
        decoded => return Ok(decoded?),
    }
    let mut list = Vec::new();
    let mut found = below(source, *cid, Shard::decode(cid, bytes)?, Vec::new())?;
    while let Some(entry) = found.try_next().await? {
        if list.len() == MAX_ENTRIES {
            let (count, limit) = (list.len() as u64 + 1, MAX_ENTRIES as u64);
            return Err(DagError::TooLarge { what: "entries of a sharded directory", count, limit }.into());
        }
        list.push(entry);
    }
    list.sort_by(|a: &Entry, b| a.name.cmp(&b.name));
    Ok(Node::Directory(list))
}

/// A directory's entries, a sharded one's in the order of its shards, as they come.
pub(super) fn list(source: &Source, dir: Cid) -> BoxStream<'_, Result<Entry, ContentError>> {
    let opened = async move {
        let bytes = source.get(&dir).await?;
        Ok::<_, ContentError>(match entries(&dir, &bytes) {
            Err(DagError::Sharded { .. }) => below(source, dir, Shard::decode(&dir, &bytes)?, Vec::new())?,
            listed => stream::iter(listed?.into_iter().map(Ok)).boxed(),
        })
    };
    stream::once(opened).try_flatten().boxed()
}

/// The entries of a shard and all shards below it; `way` are the slots that lead to it.
fn below(
    source: &Source,
    cid: Cid,
    shard: Shard,
    way: Vec<usize>,
) -> Result<BoxStream<'_, Result<Entry, ContentError>>, ContentError> {
    if way.len() as u64 >= MAX_SHARD_LEVELS {
        let (count, limit) = (way.len() as u64 + 1, MAX_SHARD_LEVELS);
        return Err(DagError::TooLarge { what: "levels of a sharded directory", count, limit }.into());
    }
    shard.check_places(&cid, &way)?;
    let fanout = shard.fanout();
    let open = move |(number, slot): (usize, Slot)| {
        let mut way = way.clone();
        async move {
            let cid = match slot {
                Slot::Entry(entry) => return Ok(stream::iter([Ok(entry)]).boxed()),
                Slot::Shard { cid, .. } => cid,
            };
            let shard = Shard::decode(&cid, &source.get(&cid).await?)?;
            if shard.fanout() != fanout {
                let why = format!("{cid} is not as wide as the one above it");
                return Err(DagError::malformed("unixfs shard", why).into());
            }
            way.push(number);
            below(source, cid, shard, way)
        }
    };
    Ok(stream::iter(shard.numbered()).map(open).buffered(SHARD_LANES).try_flatten().boxed())
}

/// The entry of this name; in a sharded directory only the shards on its way are read.
pub(super) async fn find(source: &Source, dir: &Cid, name: &[u8]) -> Result<Option<Cid>, ContentError> {
    let bytes = source.get(dir).await?;
    let mut shard = match entries(dir, &bytes) {
        Ok(list) => return Ok(list.into_iter().find(|entry| entry.name == name).map(|entry| entry.cid)),
        Err(DagError::Sharded { .. }) => Shard::decode(dir, &bytes)?,
        Err(error) => return Err(error.into()),
    };
    // The name's hash has bits for at most so many levels, so this ends.
    for level in 0.. {
        match shard.find(name, level) {
            None => break,
            Some(Slot::Entry(entry)) => return Ok(Some(entry.cid)),
            Some(Slot::Shard { cid, .. }) => {
                let cid = *cid;
                shard = Shard::decode(&cid, &source.get(&cid).await?)?;
            }
        }
    }
    Ok(None)
}
