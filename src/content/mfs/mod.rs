//! The files tree (MFS): one directory that changes, kept under a root whose move is the only thing that is ever
//! written over.
//!
//! For `files` verbs and `add --to-files`. What always holds: a change makes new blocks, syncs them, and then moves the
//! root in one durable transaction, so that a crash leaves the tree before or after it; changes take turns, reads never
//! wait and see one whole tree. Start with [`Mfs`].

mod batch;
mod change;
mod error;
mod modify;
mod node;
mod ops;
mod path;
#[cfg(test)]
mod tests;
mod view;
mod write;

use std::{
    collections::HashSet,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;
use tokio::sync::{Notify, OwnedMutexGuard, oneshot};

pub use error::MfsError;
pub use ops::{CpOptions, DirOptions, NodeStyle};
pub use path::FilesPath;
pub use view::{FilesEntry, FilesStat};
pub use write::WriteOptions;

use super::{Content, ContentError, source::empty_dir};
use crate::{
    base::{Cid, Tasks},
    dag::ImportParams,
    store::blocks::Adding,
};
use change::Change;

/// Most changes that may wait for being made durable, as Kubo's default.
pub const MAX_UNFLUSHED: u32 = 256;
/// Directories whose size is remembered, so that it need not be measured at every removal.
const MEASURED: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");

/// The one owner of the tree's root.
pub(super) struct Owner {
    turn: Arc<tokio::sync::Mutex<()>>,
    roots: Mutex<Option<Roots>>,
    measured: Mutex<LruCache<Cid, u64>>,
    /// Files that are being written; another write of the same waits.
    writing: Mutex<HashSet<FilesPath>>,
    written: Notify,
    tasks: Tasks,
}

#[derive(Clone, Copy)]
struct Roots {
    /// What is seen.
    current: Cid,
    /// What a crash leaves; `None` before anything was kept.
    durable: Option<Cid>,
    /// Changes between the two.
    unflushed: u32,
}

impl Owner {
    pub(super) fn new() -> Self {
        Owner {
            turn: Arc::default(),
            roots: Mutex::default(),
            measured: Mutex::new(LruCache::new(MEASURED)),
            writing: Mutex::default(),
            written: Notify::new(),
            tasks: Tasks::new(),
        }
    }

    fn set(&self, roots: Roots) {
        *self.roots.lock().unwrap_or_else(PoisonError::into_inner) = Some(roots);
    }
}

/// The files tree of a node. Cheap to clone; all clones work on the same tree.
#[derive(Clone)]
pub struct Mfs {
    content: Content,
}

/// A change that has its turn.
struct Turn {
    change: Change,
    roots: Roots,
    flush: bool,
    turn: OwnedMutexGuard<()>,
    /// Until the root has moved, nothing that it is to reach is collected.
    adding: Adding,
}

impl Content {
    /// The files tree.
    pub fn files(&self) -> Mfs {
        Mfs { content: self.clone() }
    }
}

impl Mfs {
    /// The tree's root as it is now; changes that are not flushed are in it.
    pub fn root(&self) -> Result<Cid, ContentError> {
        Ok(self.roots()?.current)
    }

    fn owner(&self) -> &Arc<Owner> {
        &self.content.files
    }

    fn roots(&self) -> Result<Roots, ContentError> {
        let mut roots = self.owner().roots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(roots) = *roots {
            return Ok(roots);
        }
        let durable = self.content.repo.files_root()?;
        let current = durable.unwrap_or(*empty_dir().cid());
        Ok(*roots.insert(Roots { current, durable, unflushed: 0 }))
    }

    /// The tree as it is now, to be read.
    fn view(&self) -> Result<Change, ContentError> {
        let root = self.root()?;
        Ok(Change::new(self.content.source(root), ImportParams::default(), root))
    }

    /// Waits for its turn and begins a change.
    async fn begin(&self, flush: bool) -> Result<Turn, ContentError> {
        let turn = self.owner().turn.clone().lock_owned().await;
        let roots = self.roots()?;
        if !flush && roots.unflushed >= MAX_UNFLUSHED {
            return Err(MfsError::Unflushed { limit: MAX_UNFLUSHED }.into());
        }
        let mut change = self.view()?;
        let measured = self.owner().measured.lock().unwrap_or_else(PoisonError::into_inner);
        change.measured.extend(measured.iter().map(|(cid, bytes)| (*cid, *bytes)));
        drop(measured);
        Ok(Turn { change, roots, flush, turn, adding: self.content.repo.blocks().adding() })
    }

    /// Stores what a change made and moves the root: in memory, or, when it is flushed, durably.
    async fn commit(&self, turn: Turn) -> Result<Cid, ContentError> {
        let Turn { mut change, roots, flush, turn, adding } = turn;
        let root = change.root();
        let measured = std::mem::take(&mut change.measured);
        let blocks = self.content.repo.blocks();
        // However full it is: else nothing could be removed.
        blocks.put_needed(change.blocks()).await?;
        let owner = self.owner().clone();
        {
            let mut known = owner.measured.lock().unwrap_or_else(PoisonError::into_inner);
            for (cid, bytes) in measured {
                known.put(cid, bytes);
            }
        }
        if !flush {
            let unflushed = roots.unflushed + u32::from(root != roots.current);
            owner.set(Roots { current: root, unflushed, ..roots });
            self.content.protect(root).await?;
            return Ok(root);
        }
        if roots.durable == Some(root) {
            owner.set(Roots { current: root, unflushed: 0, ..roots });
            self.content.protect(root).await?;
            return Ok(root);
        }
        blocks.sync().await?;
        // In a task of its own: whoever asked may go away in the middle, and then the root in memory must follow all the same.
        let (done, outcome) = oneshot::channel();
        let content = self.content.clone();
        let tasks = owner.tasks.clone();
        tasks.spawn_graceful("files root", async move {
            let mut moved = content.repo.set_files_root(root).await.map_err(ContentError::from);
            if moved.is_ok() {
                owner.set(Roots { current: root, durable: Some(root), unflushed: 0 });
                moved = content.protect(root).await;
            }
            drop((turn, adding));
            let _ = done.send(moved);
        });
        outcome
            .await
            .map_err(|_| ContentError::Internal { what: "the files root's move ended without an answer".into() })??;
        Ok(root)
    }

    /// Makes changes durable that wait for it; nothing is done when none do.
    pub async fn settle(&self) -> Result<(), ContentError> {
        let waiting =
            self.owner().roots.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|r| r.unflushed > 0);
        if waiting {
            let turn = self.begin(true).await?;
            self.commit(turn).await?;
        }
        Ok(())
    }

    /// Makes all changes durable; gives the CID of what stands at the path.
    pub async fn flush(&self, path: &FilesPath) -> Result<Cid, ContentError> {
        let turn = self.begin(true).await?;
        let at = turn.change.at(path.names()).await?;
        self.commit(turn).await?;
        Ok(at)
    }
}
