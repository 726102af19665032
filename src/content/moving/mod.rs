//! Moving whole repos: one goes out as a folder of documented files, and comes in from such a folder, from the folder
//! of a Kubo repo, or from a Kubo that runs.
//!
//! For `repo export` and `repo import`. What always holds: a root (a pin, the files tree) is written down only when the
//! blocks below it are here and durable; every block that comes is hashed; nothing of the other repo is ever written;
//! nothing that is here is replaced; whatever was interrupted goes on when it is run again, for the store remembers what
//! has come. Memory grows by 16 bytes for each block of a repo that is walked, and by nothing else. Start with
//! [`Content::bring`] and [`Content::carry_out`](crate::content::Content::carry_out).

mod bring;
mod error;
mod export;
mod flatfs;
mod folder;
mod kubo;
mod leveldb;
mod spool;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::BoxFuture,
    stream::{BoxStream, StreamExt},
};
use serde::{Deserialize, Serialize};

pub use error::MoveError;
pub use export::{CarryOut, Exported};
pub use folder::{ExportFolder, ExportWriter, Manifest, PinRow};
pub use kubo::{KuboFolder, KuboKeys, NamedKey};

use super::{Content, ContentError, mfs::FilesPath, source::driven};
use crate::{base::Cid, store::Pin};

/// A block, as another repo has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    /// Its bytes, not hashed yet.
    Bytes(Bytes),
    /// It is not there.
    Missing,
    /// It is there, and of no use.
    Bad(String),
}

/// Another repo, to be read. An error ends the import; what is wrong with one block is [`Got::Bad`].
pub trait Origin: Send + Sync {
    /// Its name in messages.
    fn name(&self) -> String;

    /// What is pinned there, recursively or directly.
    fn pins(&self) -> BoxStream<'_, Result<Pin, ContentError>>;

    /// The root of its files tree.
    fn files_root(&self) -> BoxFuture<'_, Result<Option<Cid>, ContentError>>;

    /// One block.
    fn block(&self, cid: Cid) -> BoxFuture<'_, Result<Got, ContentError>>;

    /// Stores whatever it has without being asked for single blocks.
    fn pour<'a>(&'a self, content: &'a Content, counts: &'a Counts) -> BoxFuture<'a, Result<(), ContentError>> {
        let _ = (content, counts);
        async { Ok(()) }.boxed()
    }

    /// Things of it that this way of reading does not bring, in words.
    fn left(&self) -> BoxFuture<'_, Result<Vec<LeftBehind>, ContentError>> {
        async { Ok(Vec::new()) }.boxed()
    }
}

/// What becomes of the files tree that comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TakeFiles {
    /// It becomes the tree here, which must be empty or the same.
    #[default]
    AsRoot,
    /// It becomes a directory of the tree here.
    Into(FilesPath),
    /// It is left out.
    No,
}

/// Something that was not brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// `pin`, `files`, `key` or `identity`.
    pub what: String,
    /// Its CID or name.
    pub name: String,
    /// Why, and what to do.
    pub reason: String,
}

/// Keys that nobody asked for.
fn left_keys(names: Vec<String>) -> Vec<LeftBehind> {
    let left = |name| LeftBehind { what: "key".into(), name, reason: "take it too with --with-keys".into() };
    names.into_iter().map(left).collect()
}

/// How far it is, and at the end how far it came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Pins of the other repo.
    pub pins: u64,
    /// Of them, those that were brought now.
    pub pins_brought: u64,
    /// Of them, those that were here already.
    pub pins_here: u64,
    /// Blocks that were brought now.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks that were here already, as often as something led to them.
    pub blocks_here: u64,
    /// The root of the files tree that came, when one did.
    pub files_root: Option<String>,
    /// Blocks below it that the other repo did not have either.
    pub files_missing: u64,
    /// Things that were not brought.
    pub left_behind: u64,
}

/// News of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveEvent {
    /// How far it is; about once a second.
    Progress(Moved),
    /// Something was not brought.
    LeftBehind(LeftBehind),
    /// The end.
    Done(Moved),
}

/// Counts while it goes on. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    pins: AtomicU64,
    pins_brought: AtomicU64,
    pins_here: AtomicU64,
    blocks: AtomicU64,
    bytes: AtomicU64,
    blocks_here: AtomicU64,
    files_missing: AtomicU64,
    left_behind: AtomicU64,
}

impl Counts {
    fn brought(&self, bytes: u64) {
        self.0.blocks.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn now(&self, files_root: Option<&Cid>) -> Moved {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Moved {
            pins: get(&self.0.pins),
            pins_brought: get(&self.0.pins_brought),
            pins_here: get(&self.0.pins_here),
            blocks: get(&self.0.blocks),
            bytes: get(&self.0.bytes),
            blocks_here: get(&self.0.blocks_here),
            files_root: files_root.map(Cid::to_string),
            files_missing: get(&self.0.files_missing),
            left_behind: get(&self.0.left_behind),
        }
    }
}

impl Content {
    /// Brings another repo's pins, and its files tree, with all blocks below them. Each batch of pins is written down
    /// when its blocks are durable. What cannot be brought whole is left behind and named.
    pub fn bring(
        &self,
        origin: Arc<dyn Origin>,
        files: TakeFiles,
    ) -> BoxStream<'static, Result<MoveEvent, ContentError>> {
        let content = self.clone();
        driven(64, move |sender| bring::run(content, origin, files, sender)).boxed()
    }
}
