//! What users do with content: add, cat, get, ls, pin, blocks.
//!
//! For the faces and for tasks. What always holds: nothing is acknowledged before it is synced; reading never writes
//! outside the folder it was given; without a network, what is not here is said to be not here; memory stays bounded by
//! windows, not by the size of files. Start with [`Content`].

mod add;
mod blocks;
mod car;
#[cfg(test)]
mod car_tests;
mod dagnode;
mod disk;
mod entries;
mod error;
mod extract;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod gc;
#[cfg(test)]
mod hostile_tests;
mod list;
pub mod mfs;
pub mod moving;
mod open;
mod options;
mod pins;
mod pins_check;
#[cfg(test)]
mod pins_tests;
mod read;
mod refs;
mod rules;
mod source;
mod stat;
pub mod tar;
#[cfg(test)]
mod tests;
mod tree;
mod verify;
mod walk;
mod walker;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use blocks::BlockFormat;
pub use car::{CarImport, ExportOptions, ImportStats};
pub use dagnode::{DagStat, DagStats, Resolved};
pub use error::ContentError;
pub use extract::{extract, extract_tar};
pub use list::{LsEntry, LsOptions};
pub use open::ContentFile;
pub use options::{
    AddEvent, AddOptions, Added, EntryKind, MAX_BAD_BLOCKS, News, PinCheck, PinEntry, PinFilter, PinType, Stat,
    TreeEvent, Written,
};
pub use pins::PinProgress;
pub use refs::{Reference, RefsOptions};
pub use rules::Rules;
pub use stat::NodeStat;
pub use tree::TreeAdder;
pub use verify::{Mend, Verified};
pub use walker::{Found, WalkOptions, Walker, root_of};

use crate::{base::Cid, exchange::Exchange, routing::Routing, store::Repo};

/// How long one block is waited for, unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Content of this node. Cheap to clone; all clones work on the same repo.
#[derive(Clone)]
pub struct Content {
    repo: Repo,
    exchange: Option<Exchange>,
    routing: Option<Routing>,
    timeout: Duration,
    files: Arc<mfs::Owner>,
    collecting: gc::Turn,
}

impl Content {
    /// Content over a repo. Without an exchange it works offline, without routing nothing is announced.
    pub fn new(repo: Repo, exchange: Option<Exchange>, routing: Option<Routing>) -> Self {
        let (files, collecting) = (Arc::new(mfs::Owner::new()), gc::Turn::default());
        Content { repo, exchange, routing, timeout: DEFAULT_TIMEOUT, files, collecting }
    }

    /// The same content, waiting this long for any one block before it gives up with the reason.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Content { timeout, ..self.clone() }
    }

    /// The same content, never asking the network.
    pub fn offline(&self) -> Self {
        Content { exchange: None, routing: None, ..self.clone() }
    }

    /// The repo below.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    fn source(&self, root: Cid) -> source::Source {
        source::Source::new(self.repo.blocks().clone(), self.exchange.clone(), root, self.timeout)
    }

    /// Adds a file, a symbolic link or, when `recursive`, a whole folder of this machine. Pins and syncs once at the
    /// end; when it fails, nothing is pinned. Symbolic links are kept as links. The same tree gives the same CID.
    pub async fn add_path(&self, path: &Path, recursive: bool, options: AddOptions) -> Result<Added, ContentError> {
        disk::add_path(self, path, recursive, options).await
    }

    /// Begins adding a tree whose items the caller brings one by one, in any order.
    pub fn add_tree(&self, options: AddOptions) -> Result<TreeAdder, ContentError> {
        TreeAdder::new(self, options)
    }

    /// Writes what `path` leads to: a file to `out` (into it under the CID's name, when `out` is a folder), a directory
    /// as `out`. Files that are there are replaced; nothing is ever written through a symbolic link or outside `out`.
    pub async fn get_to(&self, path: &crate::dag::DagPath, out: &Path) -> Result<Written, ContentError> {
        let root = self.resolve(path).await?;
        let name = path.segments.last().cloned().unwrap_or_else(|| root.to_string());
        extract::extract(self.walk(root), out, PathBuf::from(name)).await
    }
}
