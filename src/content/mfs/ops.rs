//! What changes the tree at a stroke: mkdir, cp, mv, rm, chcid, touch, chmod, chroot.

use super::{
    Mfs, MfsError, Turn,
    change::not_a_dir,
    node::{FsNode, with_permissions},
    path::{FilesPath, shown},
};
use crate::{
    base::{Cid, Hash},
    content::ContentError,
    dag::{
        DagPath, ImportParams,
        unixfs::{Attributes, Kind},
    },
};

/// How a new node is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeStyle {
    /// 0 or 1.
    pub cid_version: u8,
    /// The hash function.
    pub hash: Hash,
}

impl Default for NodeStyle {
    fn default() -> Self {
        NodeStyle { cid_version: 0, hash: Hash::Sha2_256 }
    }
}

impl NodeStyle {
    pub(super) fn params(self) -> Result<ImportParams, ContentError> {
        let params = ImportParams { cid_version: self.cid_version, hash: self.hash, ..ImportParams::default() };
        params.validate()?;
        Ok(params)
    }
}

/// How a directory is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirOptions {
    /// Make the directories above it too, and be content when it is there.
    pub parents: bool,
    /// How it is written.
    pub style: NodeStyle,
    /// What it says of itself.
    pub attributes: Attributes,
}

/// How something is copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpOptions {
    /// Make the directories above the destination.
    pub parents: bool,
    /// Replace a file that is there.
    pub force: bool,
    /// How directories made on the way are written.
    pub style: NodeStyle,
}

/// Whether a text names content (`/ipfs/…`, `ipfs://…`) rather than a place in the tree. A text that begins so and is no
/// content path names a place, as in Kubo.
pub(super) fn content_path(text: &str) -> Option<DagPath> {
    let prefixed = text.starts_with("/ipfs/") || text.starts_with("ipfs://");
    prefixed.then(|| DagPath::parse(text).ok()).flatten()
}

impl Mfs {
    /// Makes a directory.
    pub async fn mkdir(&self, path: &FilesPath, options: &DirOptions, flush: bool) -> Result<(), ContentError> {
        let mut turn = self.begin(flush).await?;
        if path.is_root() {
            if options.parents {
                return Ok(());
            }
            return Err(MfsError::Exists { path: "/".into(), force: false }.into());
        }
        if options.parents {
            turn.make_dirs(path.parent(), options.style).await?;
        } else {
            turn.change.dir(path.parent()).await?;
        }
        match turn.change.lookup(path.names()).await? {
            Some(cid) if options.parents && turn.change.node(&cid).await?.is_dir() => {}
            Some(_) => return Err(MfsError::Exists { path: path.to_string(), force: false }.into()),
            None => turn.make_dir(path.names(), options.style, options.attributes).await?,
        }
        self.commit(turn).await?;
        Ok(())
    }

    /// Copies content (`/ipfs/…`) or what stands in the tree to `to`; only the root is read, the rest comes when it is
    /// needed. A `to` that ends with a slash names the directory to copy into.
    pub async fn cp(&self, from: &str, to: &FilesPath, options: &CpOptions, flush: bool) -> Result<(), ContentError> {
        let (name, cid) = match content_path(from) {
            Some(path) => {
                let name = path.segments.last().cloned().unwrap_or_else(|| path.root.to_string());
                (Some(name), Some(self.content.resolve(&path).await?))
            }
            None => (FilesPath::parse(from)?.name().map(str::to_owned), None),
        };
        if let Some(cid) = &cid {
            // Fetched before others have to wait for it.
            FsNode::decode(cid, &self.content.block_get(cid).await?)?;
        }
        let mut turn = self.begin(flush).await?;
        let cid = match cid {
            Some(cid) => cid,
            None => turn.change.at(FilesPath::parse(from)?.names()).await?,
        };
        turn.put_new(to, name.as_deref(), cid, options).await?;
        self.commit(turn).await?;
        Ok(())
    }

    /// Moves a file or directory. Into a directory that is there it moves under its own name; a file that is there is
    /// replaced.
    pub async fn mv(&self, from: &FilesPath, to: &FilesPath, flush: bool) -> Result<(), ContentError> {
        let mut turn = self.begin(flush).await?;
        let Some(name) = from.name() else {
            return Err(MfsError::Root { what: "moving", hint: "" }.into());
        };
        let mut target = if to.names_directory() { to.join(name) } else { to.clone() };
        turn.change.dir(target.parent()).await?;
        let cid = turn.change.at(from.names()).await?;
        if target == *from {
            return Ok(());
        }
        if let Some(there) = turn.change.lookup(target.names()).await?
            && turn.change.node(&there).await?.is_dir()
        {
            target = target.join(name);
            if target == *from {
                return Ok(());
            }
            if turn.change.lookup(target.names()).await?.is_some() {
                return Err(MfsError::Exists { path: target.to_string(), force: false }.into());
            }
        }
        if target.names().starts_with(from.names()) {
            return Err(MfsError::IntoItself { path: from.to_string() }.into());
        }
        turn.change.put(target.names(), cid).await?;
        turn.change.remove(from.names()).await?;
        self.commit(turn).await?;
        Ok(())
    }

    /// Removes what stands at these paths, all that can be removed at one stroke; gives why the others cannot. With
    /// `force` what is not there is no error, and directories go with all below them.
    pub async fn rm(&self, paths: &[String], recursive: bool, force: bool) -> Result<Vec<String>, ContentError> {
        let mut turn = self.begin(true).await?;
        let mut failures = Vec::new();
        for text in paths {
            let removed = match FilesPath::parse(text) {
                Ok(path) => turn.remove(&path, recursive, force).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = removed {
                failures.push(format!("{text}: {error}"));
            }
        }
        self.commit(turn).await?;
        Ok(failures)
    }

    /// Writes a directory's own node anew with another CID version or hash function; what lies below it stays as it is.
    pub async fn chcid(&self, path: &FilesPath, style: Option<NodeStyle>, flush: bool) -> Result<(), ContentError> {
        if path.is_root() {
            let hint = "; choose a directory below it";
            return Err(MfsError::Root { what: "changing the CID of", hint }.into());
        }
        let mut turn = self.begin(flush).await?;
        let cid = turn.change.dir(path.names()).await?;
        if let Some(style) = style {
            let mut node = turn.change.node(&cid).await?;
            node.params = style.params()?;
            turn.replace(path.names(), &node).await?;
        }
        self.commit(turn).await?;
        Ok(())
    }

    /// Sets the permission bits of a file or directory; 0 takes them away.
    pub async fn chmod(&self, path: &FilesPath, mode: u32, flush: bool) -> Result<(), ContentError> {
        // Kubo takes no more than these over.
        let permissions = mode & 0o777;
        self.restat(path, flush, |old| Attributes { mode: with_permissions(old.mode, permissions), ..old }).await
    }

    /// Sets the modification time: seconds since 1970 and nanoseconds.
    pub async fn touch(&self, path: &FilesPath, mtime: (i64, u32), flush: bool) -> Result<(), ContentError> {
        self.restat(path, flush, |old| Attributes { mtime: Some(mtime), ..old }).await
    }

    async fn restat(
        &self,
        path: &FilesPath,
        flush: bool,
        change: impl FnOnce(Attributes) -> Attributes,
    ) -> Result<(), ContentError> {
        let mut turn = self.begin(flush).await?;
        let cid = turn.change.at(path.names()).await?;
        let node = turn.change.node(&cid).await?;
        let attributes = change(node.attributes());
        turn.replace(path.names(), &node.with_attributes(attributes)).await?;
        self.commit(turn).await?;
        Ok(())
    }

    /// Makes another directory the tree's root; gives the old root. What only the old one held is free to be collected.
    pub async fn chroot(&self, root: Option<Cid>) -> Result<Cid, ContentError> {
        let root = root.unwrap_or(*crate::content::source::empty_dir().cid());
        let mut turn = self.begin(true).await?;
        let node = FsNode::decode(&root, &self.content.offline().block_get(&root).await?)?;
        if !node.is_dir() {
            return Err(not_a_dir(&[]));
        }
        turn.change.make(node.encode()?.0);
        turn.change.set_root(root);
        let old = turn.roots.current;
        self.commit(turn).await?;
        Ok(old)
    }

    /// Makes `root` the tree's root when nothing is in the tree yet, or the same; else gives what is there.
    pub async fn adopt(&self, root: Cid) -> Result<Option<Cid>, ContentError> {
        let mut turn = self.begin(true).await?;
        let here = turn.roots.current;
        if here != root && here != *crate::content::source::empty_dir().cid() {
            return Ok(Some(here));
        }
        if !FsNode::decode(&root, &self.content.offline().block_get(&root).await?)?.is_dir() {
            return Err(not_a_dir(&[]));
        }
        turn.change.set_root(root);
        self.commit(turn).await?;
        Ok(None)
    }
}

impl Turn {
    async fn make_dir(
        &mut self,
        names: &[String],
        style: NodeStyle,
        attributes: Attributes,
    ) -> Result<(), ContentError> {
        let node = FsNode::empty(style.params()?, Kind::Directory, attributes);
        self.replace(names, &node).await
    }

    /// Makes the directories of a path that are not there.
    pub(super) async fn make_dirs(&mut self, names: &[String], style: NodeStyle) -> Result<(), ContentError> {
        for depth in 1..=names.len() {
            let names = &names[..depth];
            match self.change.lookup(names).await? {
                None => self.make_dir(names, style, Attributes::default()).await?,
                Some(cid) if !self.change.node(&cid).await?.is_dir() => return Err(not_a_dir(names)),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Puts a node where another or nothing stands; at no names it becomes the root.
    pub(super) async fn replace(&mut self, names: &[String], node: &FsNode) -> Result<(), ContentError> {
        let (block, _) = node.encode()?;
        let cid = *block.block.cid();
        self.change.make(block);
        if names.is_empty() {
            self.change.set_root(cid);
            return Ok(());
        }
        self.change.put(names, cid).await
    }

    /// Puts what is new to the tree at `to`, or, when that names a directory, into it as `name`.
    pub(super) async fn put_new(
        &mut self,
        to: &FilesPath,
        name: Option<&str>,
        cid: Cid,
        options: &CpOptions,
    ) -> Result<(), ContentError> {
        let to = match (to.names_directory(), name) {
            (true, Some(name)) => to.join(name),
            (true, None) => return Err(MfsError::Root { what: "replacing", hint: "; name the copy" }.into()),
            (false, _) => to.clone(),
        };
        if options.parents {
            self.make_dirs(to.parent(), options.style).await?;
        } else {
            self.change.dir(to.parent()).await?;
        }
        if let Some(there) = self.change.lookup(to.names()).await? {
            let path = to.to_string();
            if !options.force {
                return Err(MfsError::Exists { path, force: true }.into());
            }
            if self.change.node(&there).await?.is_dir() {
                return Err(MfsError::NotAFile { path }.into());
            }
        }
        self.change.put(to.names(), cid).await
    }

    async fn remove(&mut self, path: &FilesPath, recursive: bool, force: bool) -> Result<(), ContentError> {
        if path.is_root() {
            return Err(MfsError::Root { what: "removing", hint: "; remove what lies in it" }.into());
        }
        let found = match self.change.lookup(path.names()).await {
            Err(ContentError::Mfs(MfsError::NotADirectory { .. })) if force => None,
            found => found?,
        };
        let Some(cid) = found else {
            let missing = MfsError::NotFound { path: shown(path.names()) };
            return if force { Ok(()) } else { Err(missing.into()) };
        };
        // What cannot be read can still be removed by force.
        if !force && !recursive && self.change.node(&cid).await?.is_dir() {
            return Err(MfsError::NeedsRecursive { path: path.to_string() }.into());
        }
        self.change.remove(path.names()).await
    }
}
