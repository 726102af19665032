//! Adding a tree whose items come one by one, in any order.

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;
use futures::{Stream, future::BoxFuture};
use tokio::sync::mpsc;

use super::{
    AddOptions, Added, Content, ContentError,
    add::{Sink, cut, import, tell, tell_progress},
    entries::{Entries, Spill},
};
use crate::{
    base::{Cid, MAX_BLOCK_BYTES},
    dag::{
        DagError, ImportParams, OutBlock,
        dir::{DirBuilder, check_name, printable, symlink},
        shards::ShardBuilder,
        unixfs::Attributes,
    },
};

/// Deepest nesting of folders added.
pub(super) const MAX_DEPTH: usize = 128;
/// Most folders that are kept open. Beyond, those that the last item does not lie in are built, and nothing can be added to
/// them any more.
const MAX_OPEN: usize = 65_536;
/// Most items on the first level when there is no folder around them.
const MAX_ROOTS: usize = 65_536;
/// Bytes of entries kept in memory; beyond, they go to a file.
const MEMORY_BYTES: usize = 8 * 1024 * 1024;
/// Directories of at most so many bytes of entries are built where they are.
const INLINE_BUILD_BYTES: u64 = 64 * 1024;
/// Shards on their way from the thread that builds them.
const SHARDS_AHEAD: usize = 64;

/// Something that is complete.
#[derive(Debug, Clone, Copy)]
struct Leaf {
    cid: Cid,
    tsize: u64,
    size: u64,
    blocks: u64,
    /// What its source said of it.
    attributes: Attributes,
    folder: bool,
}

/// A folder that more may come into.
#[derive(Debug, Default)]
struct Folder {
    dirs: BTreeMap<Vec<u8>, Folder>,
    entries: Entries,
    /// How many entries there are, and what they come to as [`ImportParams::must_shard`] wants it.
    count: usize,
    bytes: u64,
    /// Content and blocks of all that is complete in it.
    size: u64,
    blocks: u64,
    /// What is said of it; `None` when only things in it were given.
    found: Option<Attributes>,
    /// Whether anything lies in it, be it an empty folder that is left out.
    used: bool,
}

/// Adds files, folders and symbolic links by path; [`TreeAdder::finish`] builds the folders, syncs and pins. What memory it
/// takes depends on how many folders are open, not on how much lies in them.
pub struct TreeAdder {
    content: Content,
    options: AddOptions,
    params: Arc<ImportParams>,
    sink: Sink,
    root: Folder,
    /// What is complete on the first level, when there is no folder around it.
    roots: BTreeMap<Vec<u8>, Leaf>,
    open: usize,
    memory: usize,
    spill: Option<Spill>,
}

impl TreeAdder {
    pub(super) fn new(content: &Content, options: AddOptions) -> Result<Self, ContentError> {
        options.params.validate()?;
        let sink = Sink::new(content, &options);
        let params = Arc::new(options.params.clone());
        let (root, roots, content) = (Folder::default(), BTreeMap::new(), content.clone());
        Ok(TreeAdder { content, options, params, sink, root, roots, open: 0, memory: 0, spill: None })
    }

    /// Adds a file at `path` (names separated by slashes) from pieces of any size. `found` is what its source says of it;
    /// the options decide whether it is kept.
    pub async fn file(
        &mut self,
        path: &[u8],
        found: Attributes,
        source: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<Added, ContentError> {
        let chunks = cut(source, self.params.chunker);
        self.chunks(path, found, chunks).await
    }

    /// Adds a file whose name is its CID, as whatever comes without a name is called in a folder.
    pub async fn nameless(
        &mut self,
        found: Attributes,
        source: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<Added, ContentError> {
        let chunks = cut(source, self.params.chunker);
        let leaf = self.import("", found, chunks).await?;
        self.place(&[leaf.cid.to_string().into_bytes()], leaf).await
    }

    /// Adds a file from chunks that are cut already.
    pub(super) async fn chunks(
        &mut self,
        path: &[u8],
        found: Attributes,
        chunks: impl Stream<Item = Result<Bytes, ContentError>> + Send,
    ) -> Result<Added, ContentError> {
        let names = split(path)?;
        let leaf = self.import(&String::from_utf8_lossy(path), found, chunks).await?;
        self.place(&names, leaf).await
    }

    async fn import(
        &mut self,
        shown: &str,
        found: Attributes,
        chunks: impl Stream<Item = Result<Bytes, ContentError>> + Send,
    ) -> Result<Leaf, ContentError> {
        let before = self.sink.count;
        let TreeAdder { options, sink, params, .. } = self;
        let progress = |bytes| tell_progress(options, shown, bytes);
        let kept = options.attributes(&found);
        let root = import(params, &kept, chunks, sink, progress).await?;
        let blocks = self.sink.count - before;
        Ok(Leaf { cid: root.cid, tsize: root.tsize, size: root.size, blocks, attributes: found, folder: false })
    }

    /// Adds a symbolic link at `path` that leads to `target`.
    pub async fn symlink(&mut self, path: &[u8], found: Attributes, target: &[u8]) -> Result<Added, ContentError> {
        let names = split(path)?;
        // Kubo gives links a time and no mode.
        let kept = Attributes { mode: None, ..self.options.attributes(&found) };
        let out = symlink(&self.params, target, &kept)?;
        let (cid, tsize) = (*out.block.cid(), out.block.data().len() as u64);
        self.sink.put(out).await?;
        self.place(&names, Leaf { cid, tsize, size: 0, blocks: 1, attributes: found, folder: false }).await
    }

    /// Adds a folder at `path`, which may stay empty. Folders that files lie in need not be added.
    pub async fn dir(&mut self, path: &[u8], found: Attributes) -> Result<(), ContentError> {
        let names = split(path)?;
        let (folder, new) = open(&mut self.root, &names);
        folder.found.get_or_insert(found);
        self.opened(new, &names).await
    }

    async fn place(&mut self, names: &[Vec<u8>], leaf: Leaf) -> Result<Added, ContentError> {
        let new = self.put(names, &leaf)?;
        self.opened(new, &names[..names.len() - 1]).await?;
        let added = leaf.added(shown(names));
        tell(&self.options, &added).await;
        Ok(added)
    }

    /// Puts something complete where it belongs, and tells how many folders that opened.
    fn put(&mut self, names: &[Vec<u8>], leaf: &Leaf) -> Result<usize, ContentError> {
        let (last, parents) = names.split_last().expect("a path has a name");
        let (folder, new) = open(&mut self.root, parents);
        if folder.dirs.contains_key(last) {
            return Err(clash(names));
        }
        if parents.is_empty() && !self.options.wrap {
            if self.roots.insert(last.clone(), *leaf).is_some() {
                return Err(clash(names));
            }
            if self.roots.len() > MAX_ROOTS {
                let (count, limit) = (self.roots.len() as u64, MAX_ROOTS as u64);
                return Err(DagError::TooLarge { what: "items with no folder around them", count, limit }.into());
            }
            return Ok(new);
        }
        self.memory += folder.put(&self.params, last, leaf);
        if self.memory > MEMORY_BYTES {
            self.spill()?;
        }
        Ok(new)
    }

    /// Moves all entries to the file.
    fn spill(&mut self) -> Result<(), ContentError> {
        let dir = self.content.repo.dir();
        let fail = |error| ContentError::io(dir, error);
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert(Spill::new(dir).map_err(fail)?),
        };
        self.root.spill(spill).map_err(fail)?;
        self.memory = 0;
        Ok(())
    }

    /// Counts folders that were opened, and closes others when they are too many.
    async fn opened(&mut self, new: usize, path: &[Vec<u8>]) -> Result<(), ContentError> {
        self.open += new;
        if self.open <= MAX_OPEN {
            return Ok(());
        }
        for depth in 0..=path.len() {
            let (folder, _) = open(&mut self.root, &path[..depth]);
            let mut rest = std::mem::take(&mut folder.dirs);
            if let Some((name, kept)) = path.get(depth).and_then(|name| rest.remove_entry(name)) {
                folder.dirs.insert(name, kept);
            }
            for (name, inner) in rest {
                let names: Vec<Vec<u8>> = path[..depth].iter().cloned().chain([name]).collect();
                self.settle(&names, inner).await?;
            }
        }
        self.open = path.len();
        Ok(())
    }

    /// Builds a folder that is complete and puts it into the one above.
    async fn settle(&mut self, names: &[Vec<u8>], folder: Folder) -> Result<(), ContentError> {
        let inner = names.len() > 1 || self.options.wrap;
        if let Some(leaf) = self.build(folder, shown(names), inner).await? {
            self.put(names, &leaf)?;
        }
        Ok(())
    }

    /// Builds a folder that is complete, so that nothing more can come into it.
    pub(super) async fn close(&mut self, path: &[u8]) -> Result<(), ContentError> {
        let names = split(path)?;
        let (last, parents) = names.split_last().expect("a path has a name");
        let (above, _) = open(&mut self.root, parents);
        let folder = above.dirs.remove(last).ok_or_else(|| clash(&names))?;
        self.open = self.open.saturating_sub(1);
        self.settle(&names, folder).await
    }

    /// Builds a folder and all folders in it, innermost first; roots are told when they are pinned. `None` for an empty one
    /// that is left out. Paths are at most [`MAX_DEPTH`] long, so recursion is.
    fn build(
        &mut self,
        mut folder: Folder,
        path: String,
        inner: bool,
    ) -> BoxFuture<'_, Result<Option<Leaf>, ContentError>> {
        Box::pin(async move {
            if inner && !self.options.empty_dirs && !folder.used {
                return Ok(None);
            }
            for (name, inner) in std::mem::take(&mut folder.dirs) {
                let shown = String::from_utf8_lossy(&name);
                let below = if path.is_empty() { shown.into_owned() } else { format!("{path}/{shown}") };
                if let Some(leaf) = self.build(inner, below, true).await? {
                    self.memory += folder.put(&self.params, &name, &leaf);
                }
            }
            self.memory = self.memory.saturating_sub(folder.entries.memory());
            let found = folder.found.unwrap_or_default();
            let kept = if folder.found.is_some() { self.options.attributes(&found) } else { found };
            let before = self.sink.count;
            let (cid, tsize) = self.node(folder.entries, folder.count, folder.bytes, kept).await?;
            let blocks = folder.blocks + self.sink.count - before;
            let leaf = Leaf { cid, tsize, size: folder.size, blocks, attributes: found, folder: true };
            if inner {
                tell(&self.options, &leaf.added(path)).await;
            }
            Ok(Some(leaf))
        })
    }

    /// Makes the node or the shards of a directory.
    async fn node(
        &mut self,
        entries: Entries,
        count: usize,
        bytes: u64,
        kept: Attributes,
    ) -> Result<(Cid, u64), ContentError> {
        let repo = self.content.repo.dir();
        let fail = move |error| ContentError::io(repo, error);
        let params = self.params.clone();
        let sharded = params.must_shard(params.directory_bytes(&kept).saturating_add(bytes), count);
        let (entries_bytes, small) = (entries.payload(), entries.payload() <= INLINE_BUILD_BYTES);
        let sorted = entries.sorted(self.spill.as_ref()).map_err(fail)?;
        if !sharded {
            let (size, limit) = (entries_bytes, MAX_BLOCK_BYTES as u64);
            if size > limit {
                return Err(DagError::TooLarge {
                    what: "bytes in a directory that is not sharded",
                    count: size,
                    limit,
                }
                .into());
            }
            let mut dir = DirBuilder::new().with_attributes(kept);
            for entry in sorted {
                let entry = entry.map_err(fail)?;
                dir.add(entry.name, entry.cid, entry.tsize)?;
            }
            let (block, tsize) = dir.build(&params)?;
            let cid = *block.block.cid();
            self.sink.put(block).await?;
            return Ok((cid, tsize));
        }
        let mut builder = ShardBuilder::new((*params).clone(), kept)?;
        if small {
            let mut out = Vec::new();
            for entry in sorted {
                builder.push(entry.map_err(fail)?, &mut out)?;
            }
            let root = builder.finish(&mut out)?;
            for block in out {
                self.sink.put(block).await?;
            }
            return Ok(root);
        }
        // Reading runs and hashing shards blocks; they come over as they are complete.
        let (sender, mut shards) = mpsc::channel::<OutBlock>(SHARDS_AHEAD);
        let dir = repo.to_owned();
        let building = tokio::task::spawn_blocking(move || {
            let mut out = Vec::new();
            // Whoever waits no longer hears of no failure either.
            let gone = |_| ContentError::Internal { what: "nobody takes the shards".into() };
            for entry in sorted {
                builder.push(entry.map_err(|e| ContentError::io(&dir, e))?, &mut out)?;
                for block in out.drain(..) {
                    sender.blocking_send(block).map_err(gone)?;
                }
            }
            let root = builder.finish(&mut out)?;
            for block in out {
                sender.blocking_send(block).map_err(gone)?;
            }
            Ok(root)
        });
        while let Some(block) = shards.recv().await {
            self.sink.put(block).await?;
        }
        building.await.map_err(ContentError::joined)?
    }

    /// Builds the folders and makes everything durable; then the roots are pinned and announced. When the options want one
    /// root, it is a folder without a name around everything; else each item on the first level is one.
    pub async fn finish(mut self) -> Result<Vec<Added>, ContentError> {
        let mut top = std::mem::take(&mut self.root);
        let mut roots = Vec::new();
        if self.options.wrap {
            // What is said of everything holds for the folder around it, too.
            top.found = Some(Attributes::default());
            let root = self.build(top, String::new(), false).await?;
            roots.extend(root.map(|root| (root.added(String::new()), true)));
        } else {
            for (name, folder) in top.dirs {
                if self.roots.contains_key(&name) {
                    return Err(clash(&[name]));
                }
                if let Some(leaf) = self.build(folder, shown(std::slice::from_ref(&name)), false).await? {
                    self.roots.insert(name, leaf);
                }
            }
            for (name, leaf) in std::mem::take(&mut self.roots) {
                roots.push((leaf.added(shown(std::slice::from_ref(&name))), leaf.folder));
            }
        }
        self.sink.finish().await?;
        for (root, _) in &roots {
            self.content.keep(&root.cid, &self.options).await?;
        }
        for (root, _) in roots.iter().filter(|(_, folder)| *folder) {
            tell(&self.options, root).await;
        }
        Ok(roots.into_iter().map(|(root, _)| root).collect())
    }
}

impl Folder {
    /// Adds an entry and tells how many bytes of memory that took.
    fn put(&mut self, params: &ImportParams, name: &[u8], leaf: &Leaf) -> usize {
        self.used = true;
        self.count += 1;
        self.bytes = self.bytes.saturating_add(params.entry_bytes(name, &leaf.cid, leaf.tsize));
        self.size = self.size.saturating_add(leaf.size);
        self.blocks += leaf.blocks;
        self.entries.push(name, &leaf.cid, leaf.tsize)
    }

    fn spill(&mut self, to: &mut Spill) -> io::Result<()> {
        self.entries.spill(to)?;
        self.dirs.values_mut().try_for_each(|folder| folder.spill(to))
    }
}

impl Leaf {
    fn added(self, path: String) -> Added {
        let Leaf { cid, tsize, size, blocks, attributes, .. } = self;
        Added { path, cid, size, tsize, blocks, attributes }
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

/// The folder with these names, and how many had to be made.
fn open<'a>(mut folder: &'a mut Folder, names: &[Vec<u8>]) -> (&'a mut Folder, usize) {
    let mut new = 0;
    for name in names {
        folder.used = true;
        folder = folder.dirs.entry(name.clone()).or_insert_with(|| {
            new += 1;
            Folder::default()
        });
    }
    (folder, new)
}
