//! Bytes at rest: blocks, key-value engines, pins, keys, the write-ahead log.
#![allow(unused, missing_docs)]

use std::{io, ops::Bound, path::Path, sync::Arc};

use bytes::Bytes;

use crate::base::{Block, Cid, HasKind, Keypair, Kind, PeerId};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("damaged: {what}")]
    Damaged { what: String },
}
impl HasKind for StoreError {
    fn kind(&self) -> Kind {
        Kind::Bug
    }
}
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {}
#[derive(Clone, Debug)]
pub struct InitReport {
    pub peer_id: PeerId,
    pub created: bool,
}
#[derive(Clone)]
pub struct Repo {}
impl Repo {
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Repo, StoreError> {
        todo!()
    }
    pub fn init(dir: &Path) -> Result<InitReport, StoreError> {
        todo!()
    }
    pub fn dir(&self) -> &Path {
        todo!()
    }
    pub fn keypair(&self) -> &Keypair {
        todo!()
    }
    pub fn storage_id(&self) -> [u8; 16] {
        todo!()
    }
    pub fn blocks(&self) -> &Blocks {
        todo!()
    }
    pub fn pins(&self) -> &Pins {
        todo!()
    }
    pub fn state(&self) -> &Arc<dyn Kv> {
        todo!()
    }
    pub fn soft(&self) -> &Arc<dyn Kv> {
        todo!()
    }
    pub fn open_wal(&self, name: &str) -> Result<(Wal, Recovered), StoreError> {
        todo!()
    }
    pub fn open_kv(&self, name: &str) -> Result<Arc<dyn Kv>, StoreError> {
        todo!()
    }
    pub async fn close(&self) {}
}
#[derive(Clone)]
pub struct Blocks {}
#[derive(Clone, Debug)]
pub struct NewBlock {
    pub block: Block,
    pub links: Vec<Cid>,
}
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockStat {
    pub blocks: u64,
    pub bytes: u64,
}
impl Blocks {
    pub async fn put(&self, blocks: Vec<NewBlock>) -> Result<(), StoreError> {
        todo!()
    }
    pub async fn sync(&self) -> Result<(), StoreError> {
        todo!()
    }
    pub async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        todo!()
    }
    pub async fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        todo!()
    }
    pub async fn size(&self, cid: &Cid) -> Result<Option<u32>, StoreError> {
        todo!()
    }
    pub async fn links(&self, cid: &Cid) -> Result<Option<Vec<Cid>>, StoreError> {
        todo!()
    }
    pub async fn remove(&self, cids: Vec<Cid>) -> Result<(), StoreError> {
        todo!()
    }
    pub fn stat(&self) -> BlockStat {
        todo!()
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Immediate,
    Lazy,
}
#[derive(Clone, Debug, Default)]
pub struct Batch {}
impl Batch {
    pub fn new() -> Batch {
        todo!()
    }
    pub fn put(&mut self, table: &str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {}
    pub fn delete(&mut self, table: &str, key: impl Into<Vec<u8>>) {}
    pub fn clear(&mut self, table: &str) {}
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}
pub type KvPair = (Vec<u8>, Vec<u8>);
pub trait Kv: Send + Sync + 'static {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    fn scan(&self, table: &str, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<KvPair>, StoreError>;
    fn last(&self, table: &str) -> Result<Option<KvPair>, StoreError>;
    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StoreError>;
    fn sync(&self) -> Result<(), StoreError>;
    /// Calls `row` with (table, key, value) for every row of `tables`, in the order given and ascending keys, all in
    /// one read view: commits made meanwhile are not seen. Stops at the first error of `row`.
    fn dump(
        &self,
        tables: &[&str],
        row: &mut dyn FnMut(&str, &[u8], &[u8]) -> io::Result<()>,
    ) -> Result<(), StoreError>;
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinKind {
    Recursive,
    Direct,
}
#[derive(Clone, Debug)]
pub struct Pin {
    pub cid: Cid,
    pub kind: PinKind,
    pub name: Option<String>,
}
#[derive(Clone)]
pub struct Pins {}
impl Pins {
    pub async fn add(&self, cid: &Cid, kind: PinKind, name: Option<String>) -> Result<bool, StoreError> {
        todo!()
    }
    pub async fn remove(&self, cid: &Cid, kind: Option<PinKind>) -> Result<bool, StoreError> {
        todo!()
    }
    pub fn get(&self, cid: &Cid) -> Result<Option<Pin>, StoreError> {
        todo!()
    }
    pub fn list(&self, after: Option<&Cid>, limit: usize) -> Result<Vec<Pin>, StoreError> {
        todo!()
    }
    pub async fn hold(&self, owner: &str, cid: &Cid) -> Result<(), StoreError> {
        todo!()
    }
    pub async fn release(&self, owner: &str) -> Result<(), StoreError> {
        todo!()
    }
    pub fn holds(&self, prefix: &str) -> Result<Vec<(String, Cid)>, StoreError> {
        todo!()
    }
}
pub struct Wal {}
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    pub vote: Option<Vec<u8>>,
    pub committed: Option<Vec<u8>>,
    pub purged: Option<(u64, Vec<u8>)>,
    pub first: Option<u64>,
    pub last: Option<u64>,
}
pub type AppendDone = Box<dyn FnOnce(io::Result<()>) + Send>;
impl Wal {
    pub fn append(&self, entries: Vec<(u64, Bytes)>, done: AppendDone) {}
    pub async fn save_vote(&self, vote: Vec<u8>) -> io::Result<()> {
        todo!()
    }
    pub async fn save_committed(&self, committed: Vec<u8>) -> io::Result<()> {
        todo!()
    }
    pub async fn truncate_after(&self, index: Option<u64>) -> io::Result<()> {
        todo!()
    }
    pub async fn purge_upto(&self, index: u64, meta: Vec<u8>) -> io::Result<()> {
        todo!()
    }
    pub async fn read(&self, from: u64, to_excl: u64, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        todo!()
    }
}
