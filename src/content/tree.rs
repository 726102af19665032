//! Adding a tree whose items come one by one, in any order.

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;
use futures::Stream;

use super::{
    AddOptions, Added, Content, ContentError,
    add::{Sink, cut, import, tell, tell_progress},
};
use crate::{
    base::Cid,
    dag::{
        DagError, ImportParams, OutBlock,
        dir::{DirBuilder, check_name, printable, symlink},
        hamt::HamtBuilder,
        unixfs::Attributes,
    },
};

/// Deepest nesting of folders added.
pub(super) const MAX_DEPTH: usize = 128;
/// Most items one tree may have while its folders are open.
const MAX_ITEMS: usize = 1_000_000;

#[derive(Debug, Clone, Copy)]
struct Leaf {
    cid: Cid,
    tsize: u64,
    size: u64,
    blocks: u64,
}

#[derive(Debug)]
enum Item {
    Leaf(Leaf),
    Dir(BTreeMap<Vec<u8>, Item>),
}

/// Adds files, folders and symbolic links by path; [`TreeAdder::finish`] builds the folders, syncs and pins.
pub struct TreeAdder {
    content: Content,
    options: AddOptions,
    params: Arc<ImportParams>,
    sink: Sink,
    root: BTreeMap<Vec<u8>, Item>,
    items: usize,
}

impl TreeAdder {
    pub(super) fn new(content: &Content, options: AddOptions) -> Result<Self, ContentError> {
        options.params.validate()?;
        let sink = Sink::new(content, &options);
        let params = Arc::new(options.params.clone());
        Ok(TreeAdder { content: content.clone(), options, params, sink, root: BTreeMap::new(), items: 0 })
    }

    /// Adds a file at `path` (names separated by slashes) from pieces of any size.
    pub async fn file(
        &mut self,
        path: &[u8],
        source: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<Added, ContentError> {
        let chunks = cut(source, self.params.chunker);
        self.chunks(path, chunks).await
    }

    /// Adds a file from chunks that are cut already.
    pub(super) async fn chunks(
        &mut self,
        path: &[u8],
        chunks: impl Stream<Item = Result<Bytes, ContentError>> + Send,
    ) -> Result<Added, ContentError> {
        let names = split(path)?;
        let shown = String::from_utf8_lossy(path).into_owned();
        let before = self.sink.count;
        let events = self.options.events.clone();
        let progress = |bytes| tell_progress(&events, &shown, bytes);
        let root = import(&self.params, &Attributes::default(), chunks, &mut self.sink, progress).await?;
        let blocks = self.sink.count - before;
        let leaf = Leaf { cid: root.cid, tsize: root.tsize, size: root.size, blocks };
        self.place(&names, leaf).await
    }

    /// Adds a symbolic link at `path` that leads to `target`.
    pub async fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<Added, ContentError> {
        let names = split(path)?;
        let out = symlink(&self.params, target, &Attributes::default())?;
        let (cid, tsize) = (*out.block.cid(), out.block.data().len() as u64);
        self.sink.put(out).await?;
        self.place(&names, Leaf { cid, tsize, size: 0, blocks: 1 }).await
    }

    /// Adds a folder at `path`, which may stay empty. Folders that files lie in need not be added.
    pub fn dir(&mut self, path: &[u8]) -> Result<(), ContentError> {
        let names = split(path)?;
        self.count()?;
        open(&mut self.root, &names)?;
        Ok(())
    }

    fn count(&mut self) -> Result<(), ContentError> {
        self.items += 1;
        if self.items > MAX_ITEMS {
            let (count, limit) = (self.items as u64, MAX_ITEMS as u64);
            return Err(DagError::TooLarge { what: "items in one tree", count, limit }.into());
        }
        Ok(())
    }

    async fn place(&mut self, names: &[Vec<u8>], leaf: Leaf) -> Result<Added, ContentError> {
        self.count()?;
        let (last, parents) = names.split_last().expect("a path has a name");
        let dir = open(&mut self.root, parents)?;
        if dir.contains_key(last) {
            return Err(clash(names));
        }
        dir.insert(last.clone(), Item::Leaf(leaf));
        let added = leaf.added(shown(names));
        tell(&self.options.events, added.clone()).await;
        Ok(added)
    }

    /// Builds a folder that is complete, so that its items take no more memory.
    pub(super) async fn close(&mut self, path: &[u8]) -> Result<Added, ContentError> {
        let names = split(path)?;
        let (last, parents) = names.split_last().expect("a path has a name");
        let dir = open(&mut self.root, parents)?;
        let items = match dir.remove(last) {
            Some(Item::Dir(items)) => items,
            _ => return Err(clash(&names)),
        };
        self.items = self.items.saturating_sub(items.len());
        let mut out = Vec::new();
        let leaf = build(&self.params, items, &shown(&names), &mut out)?;
        let dir = open(&mut self.root, parents)?;
        dir.insert(last.clone(), Item::Leaf(leaf));
        let mut own = None;
        for (added, block) in out {
            self.sink.put(block).await?;
            if let Some(added) = added {
                tell(&self.options.events, added.clone()).await;
                own = Some(added);
            }
        }
        own.ok_or_else(|| clash(&names))
    }

    /// Builds the folders and makes everything durable; then the roots are pinned and announced. With `wrap` there is one
    /// root, a folder without a name around everything; else each item on the first level is one.
    pub async fn finish(mut self, wrap: bool) -> Result<Vec<Added>, ContentError> {
        let mut out = Vec::new();
        let roots = if wrap {
            let root = build(&self.params, std::mem::take(&mut self.root), "", &mut out)?;
            vec![root.added(String::new())]
        } else {
            let mut roots = Vec::new();
            for (name, item) in std::mem::take(&mut self.root) {
                let path = String::from_utf8_lossy(&name).into_owned();
                let leaf = match item {
                    Item::Leaf(leaf) => leaf,
                    Item::Dir(items) => build(&self.params, items, &path, &mut out)?,
                };
                roots.push(leaf.added(path));
            }
            roots
        };
        let mut news = Vec::new();
        for (added, block) in out {
            self.sink.put(block).await?;
            news.extend(added);
        }
        self.sink.finish().await?;
        for root in &roots {
            self.content.keep(&root.cid, &self.options).await?;
        }
        for added in news {
            tell(&self.options.events, added).await;
        }
        Ok(roots)
    }
}

impl Leaf {
    fn added(self, path: String) -> Added {
        Added { path, cid: self.cid, size: self.size, tsize: self.tsize, blocks: self.blocks }
    }
}

fn split(path: &[u8]) -> Result<Vec<Vec<u8>>, ContentError> {
    let names: Vec<Vec<u8>> = path.split(|b| *b == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
    if names.is_empty() {
        return Err(DagError::BadName { name: printable(path), reason: "it is empty" }.into());
    }
    if names.len() > MAX_DEPTH {
        let (count, limit) = (names.len() as u64, MAX_DEPTH as u64);
        return Err(DagError::TooLarge { what: "levels of folders", count, limit }.into());
    }
    names.iter().try_for_each(|name| check_name(name))?;
    Ok(names)
}

fn shown(names: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&names.join(&b'/')).into_owned()
}

fn clash(names: &[Vec<u8>]) -> ContentError {
    ContentError::Clash { path: shown(names) }
}

/// The folder with these names, made if need be.
fn open<'a>(
    mut dir: &'a mut BTreeMap<Vec<u8>, Item>,
    names: &[Vec<u8>],
) -> Result<&'a mut BTreeMap<Vec<u8>, Item>, ContentError> {
    for (depth, name) in names.iter().enumerate() {
        match dir.entry(name.clone()).or_insert_with(|| Item::Dir(BTreeMap::new())) {
            Item::Dir(inner) => dir = inner,
            Item::Leaf(_) => return Err(clash(&names[..=depth])),
        }
    }
    Ok(dir)
}

/// Blocks to put, each with what it completes.
type Built = Vec<(Option<Added>, OutBlock)>;

/// Builds a folder and all folders in it, innermost first. Paths are at most [`MAX_DEPTH`] deep, so recursion is.
fn build(
    params: &ImportParams,
    items: BTreeMap<Vec<u8>, Item>,
    path: &str,
    out: &mut Built,
) -> Result<Leaf, ContentError> {
    let mut entries = Vec::with_capacity(items.len());
    let (mut size, mut blocks) = (0, 0);
    for (name, item) in items {
        let leaf = match item {
            Item::Leaf(leaf) => leaf,
            Item::Dir(inner) => {
                let name = String::from_utf8_lossy(&name);
                let below = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
                build(params, inner, &below, out)?
            }
        };
        size += leaf.size;
        blocks += leaf.blocks;
        entries.push((name, leaf));
    }
    let before = out.len();
    let (cid, tsize) = if would_shard(params, &entries) {
        let mut dir = HamtBuilder::new();
        entries.into_iter().try_for_each(|(name, leaf)| dir.add(name, leaf.cid, leaf.tsize))?;
        dir.build(params, &mut |block| {
            out.push((None, block));
            Ok(())
        })?
    } else {
        let mut dir = DirBuilder::new();
        entries.into_iter().try_for_each(|(name, leaf)| dir.add(name, leaf.cid, leaf.tsize))?;
        let (block, tsize) = dir.build(params)?;
        let cid = *block.block.cid();
        out.push((None, block));
        (cid, tsize)
    };
    blocks += (out.len() - before) as u64;
    let leaf = Leaf { cid, tsize, size, blocks };
    if let Some(root) = out.last_mut() {
        root.0 = Some(leaf.added(path.to_owned()));
    }
    Ok(leaf)
}

/// Whether Kubo would shard a directory of these entries.
fn would_shard(params: &ImportParams, entries: &[(Vec<u8>, Leaf)]) -> bool {
    let bytes = params.directory_bytes(&Attributes::default());
    let bytes = entries.iter().fold(bytes, |sum, (name, leaf)| sum + params.entry_bytes(name, &leaf.cid, leaf.tsize));
    params.must_shard(bytes, entries.len())
}
