//! The repo: one folder, opened by one process, holding everything a node keeps.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Blocks, Kv, Pins, Recovered, StoreError, Wal};
use crate::base::{Keypair, PeerId};

/// How a repo is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Size at which a block segment file is closed and the next begun, in bytes.
    pub segment_bytes: u32,
    /// Page cache of each redb file, in bytes.
    pub kv_cache_bytes: usize,
    /// Cache of the sled folder, in bytes.
    pub soft_cache_bytes: u64,
    /// Size of a write-ahead log segment, in bytes; each is written full of zeros before use.
    pub wal_segment_bytes: u32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            segment_bytes: 256 << 20,
            kv_cache_bytes: 16 << 20,
            soft_cache_bytes: 16 << 20,
            wal_segment_bytes: 16 << 20,
        }
    }
}

/// What `init` found or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitReport {
    /// The repo's identity.
    pub peer_id: PeerId,
    /// False when the repo was there already.
    pub created: bool,
}

/// An open repo. Cheap to clone; the folder is released when the last clone and everything got from it are dropped.
#[derive(Clone)]
pub struct Repo {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    keypair: Keypair,
    storage_id: [u8; 16],
    blocks: Blocks,
    pins: Pins,
    state: Arc<dyn Kv>,
    soft: Arc<dyn Kv>,
}

impl Repo {
    /// Opens the repo in `dir`, making a missing one.
    pub fn open(_dir: &Path, _options: StoreOptions) -> Result<Repo, StoreError> {
        todo!()
    }

    /// Makes a repo in `dir`; one that is there already is left as it is, even while a daemon runs on it.
    pub fn init(_dir: &Path) -> Result<InitReport, StoreError> {
        todo!()
    }

    /// The repo's folder.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// The node's identity key.
    pub fn keypair(&self) -> &Keypair {
        &self.inner.keypair
    }

    /// The node's identity.
    pub fn peer_id(&self) -> PeerId {
        self.inner.keypair.public().to_peer_id()
    }

    /// A random number drawn when the folder was made: a copied key in another folder does not have it.
    pub fn storage_id(&self) -> [u8; 16] {
        self.inner.storage_id
    }

    /// The blocks.
    pub fn blocks(&self) -> &Blocks {
        &self.inner.blocks
    }

    /// The pins.
    pub fn pins(&self) -> &Pins {
        &self.inner.pins
    }

    /// What must last: pins, roots, outboxes.
    pub fn state(&self) -> &Arc<dyn Kv> {
        &self.inner.state
    }

    /// What can be relearnt: address books, reputation, DHT records. May be found empty after a crash.
    pub fn soft(&self) -> &Arc<dyn Kv> {
        &self.inner.soft
    }

    /// Opens the write-ahead log `raft/NAME`; one log can be open once at a time.
    pub fn open_wal(&self, _name: &str) -> Result<(Wal, Recovered), StoreError> {
        todo!()
    }

    /// Opens the redb file `NAME.redb`, making a missing one; one file can be open once at a time.
    pub fn open_kv(&self, _name: &str) -> Result<Arc<dyn Kv>, StoreError> {
        todo!()
    }

    /// Makes everything durable. The repo stays usable; the folder is released by dropping it.
    pub async fn close(&self) {
        todo!()
    }
}
