//! Blocks in append-only segment files, found through an index in memory that the segments can rebuild.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{CacheStat, Fault, StoreError, files::Lock};
use crate::base::{Block, Cid, Codec};

mod checkpoint;
mod collect;
mod compact;
mod core;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod index;
mod marks;
mod open;
mod places;
mod record;
mod scan;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_compact;
mod visit;
mod writer;

pub use self::{
    collect::{Adding, Collection, Keeper, SLICE, Walked},
    compact::{Compacted, TIDY_PERCENT},
};
use self::{
    compact::Compactor,
    core::Core,
    writer::{Job, Moved, Reply, Writer},
};

/// Calls that may wait for a writing thread before callers have to wait.
const QUEUE: usize = 64;

/// A block to be stored, with the content ids it links to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBlock {
    /// The block.
    pub block: Block,
    /// What it links to; kept beside the block, so that nobody has to parse it again.
    pub links: Vec<Cid>,
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockStat {
    /// Blocks.
    pub blocks: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Bytes of the segment files, including records of removed blocks.
    pub disk_bytes: u64,
    /// Of these, bytes of records of blocks that are there.
    pub live_bytes: u64,
}

/// A stored block that cannot be read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's number.
    pub segment: u32,
    /// Where in the segment file, in bytes.
    pub offset: u64,
    /// Which block, where that can still be told.
    pub cid: Option<Cid>,
    /// What is wrong.
    pub reason: String,
}

impl Damage {
    fn new(segment: u32, offset: u64, cid: Option<Cid>, reason: &str) -> Self {
        Damage { segment, offset, cid, reason: reason.into() }
    }
}

/// What a check of every block found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blocks read and hashed.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that are damaged.
    pub damaged: Vec<Damage>,
}

/// A place in a listing of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cursor {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// A moment in the life of a store: how many removals were over then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64);

/// The block store. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Blocks {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    // All are gone only while this is dropped: the threads end when nobody can send to them.
    jobs: Option<mpsc::Sender<Job>>,
    syncs: Option<mpsc::Sender<Reply>>,
    compacts: Option<mpsc::Sender<compact::Wish>>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The compacting thread sends to the others, and ends first.
        self.core.closing.store(true, Ordering::Release);
        self.compacts = None;
        self.syncs = None;
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Blocks {
    /// Opens the store in the folder `dir`, making a missing one, with segments of about `segment_bytes` and with
    /// `cache_bytes` of memory for what was read lately.
    pub(crate) fn open(
        dir: &Path,
        segment_bytes: u32,
        cache_bytes: u64,
        lock: Option<Arc<Lock>>,
    ) -> Result<Blocks, StoreError> {
        let (core, checkpoint) = open::open(dir, segment_bytes, cache_bytes, lock)?;
        let core = Arc::new(core);
        let (jobs, job_queue) = mpsc::channel(QUEUE);
        let (syncs, sync_queue) = mpsc::channel(QUEUE);
        let start = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.into()).spawn(run).map_err(StoreError::io("starting a block store thread"))
        };
        let writer = Writer::new(Arc::clone(&core), checkpoint);
        let syncer = Arc::clone(&core);
        let (compacts, wishes) = mpsc::channel(compact::WISHES);
        let compactor = Compactor::new(Arc::clone(&core), jobs.clone(), syncs.clone());
        let mut inner =
            Inner { core, jobs: Some(jobs), syncs: Some(syncs), compacts: Some(compacts), threads: Vec::new() };
        inner.threads.push(start("blocks-write", Box::new(move || writer.run(job_queue)))?);
        inner.threads.push(start("blocks-sync", Box::new(move || writer::run_syncer(&syncer, sync_queue)))?);
        inner.threads.push(start("blocks-compact", Box::new(move || compactor.run(wishes)))?);
        let blocks = Blocks { inner: Arc::new(inner) };
        blocks.tidy();
        Ok(blocks)
    }

    /// Stores blocks. Readable by everyone on return; durable only after [`Blocks::sync`]. A block that is there
    /// already costs a look-up; identity blocks are not stored. When there is no room left, some of the blocks may
    /// have been stored; when the limit would be passed, none.
    pub async fn put(&self, blocks: Vec<NewBlock>) -> Result<(), StoreError> {
        let blocks = self.new_ones(blocks);
        self.inner.core.admit(blocks.iter().map(room).sum())?;
        self.put_new(blocks).await
    }

    /// As [`Blocks::put`], whatever the limit: for the few blocks without which nothing could be removed any more.
    pub async fn put_needed(&self, blocks: Vec<NewBlock>) -> Result<(), StoreError> {
        let blocks = self.new_ones(blocks);
        self.put_new(blocks).await
    }

    /// Those that are not there.
    fn new_ones(&self, mut blocks: Vec<NewBlock>) -> Vec<NewBlock> {
        {
            // Whoever puts what is there already relies on it from now on.
            let index = self.inner.core.index();
            let now = self.inner.core.generations().name();
            blocks.retain(|new| {
                let hash = new.block.cid().hash();
                let claimed = || index.mark(&index.key(&hash.to_bytes()), |word| marks::touched(word, now));
                hash.code() != 0 && claimed().is_none()
            });
        }
        blocks
    }

    async fn put_new(&self, blocks: Vec<NewBlock>) -> Result<(), StoreError> {
        if blocks.is_empty() {
            return self.inner.core.healthy();
        }
        self.job(|reply| Job::Put(blocks, reply)).await
    }

    /// Makes everything put or removed before this call durable. Concurrent callers share one sync.
    pub async fn sync(&self) -> Result<(), StoreError> {
        let (reply, wait) = oneshot::channel();
        let syncs = self.inner.syncs.as_ref().ok_or(StoreError::Closed)?;
        syncs.send(reply).await.map_err(|_| StoreError::Closed)?;
        wait.await.map_err(|_| StoreError::Closed)?
    }

    /// The block's bytes, checked against their checksum. A damaged block counts as missing.
    pub async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        if let Some(data) = identity(cid) {
            return Ok(Some(Bytes::copy_from_slice(data)));
        }
        let found = self.inner.core.read(&cid.hash().to_bytes(), true).await?;
        Ok(found.map(|(record, _)| record.data.clone()))
    }

    /// Whether the block is there.
    pub async fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.size(cid).await?.is_some())
    }

    /// The block's size, in bytes.
    pub async fn size(&self, cid: &Cid) -> Result<Option<u32>, StoreError> {
        if let Some(data) = identity(cid) {
            return Ok(Some(data.len() as u32));
        }
        let index = self.inner.core.index();
        Ok(index.get(&index.key(&cid.hash().to_bytes())).map(|place| place.data_len))
    }

    /// What the block links to, as given when it was put. `None` when it is not there, and when it was put under
    /// another codec than this one: what its bytes link to is then for the caller to read. Raw blocks link nowhere.
    pub async fn links(&self, cid: &Cid) -> Result<Option<Vec<Cid>>, StoreError> {
        if Codec::from(cid.codec()) == Codec::Raw {
            return Ok(self.has(cid).await?.then(Vec::new));
        }
        if identity(cid).is_some() {
            return Ok(None);
        }
        let found = self.inner.core.read(&cid.hash().to_bytes(), false).await?;
        let found = found.filter(|(record, _)| record.cid.codec() == cid.codec());
        Ok(found.and_then(|(record, _)| record::meta_links(&record.meta)))
    }

    /// Removes blocks; no error for those that are not there. Durable after [`Blocks::sync`].
    pub async fn remove(&self, cids: Vec<Cid>) -> Result<(), StoreError> {
        self.job(|reply| Job::Remove(cids, reply)).await
    }

    /// A mark of this moment, for [`Blocks::removed_since`].
    pub fn moment(&self) -> Moment {
        Moment(self.inner.core.removed.load(Ordering::Acquire))
    }

    /// Whether anything was removed since that moment, or is being removed now.
    pub fn removed_since(&self, moment: Moment) -> bool {
        self.inner.core.removing.load(Ordering::Acquire) != moment.0
    }

    /// Gives the disk back what removed blocks take, of segments of which that is at least `least` percent: what is
    /// left of each is written anew and made durable before it goes. Reading and writing go on meanwhile; dropping the
    /// future stops it.
    pub async fn compact(&self, least: u8) -> Result<Compacted, StoreError> {
        let (reply, wait) = oneshot::channel();
        let compacts = self.inner.compacts.as_ref().ok_or(StoreError::Closed)?;
        let wish = compact::Wish { least, reply: Some(reply) };
        compacts.send(wish).await.map_err(|_| StoreError::Closed)?;
        wait.await.map_err(|_| StoreError::Closed)?
    }

    /// Has segments compacted in the background that are [`TIDY_PERCENT`] garbage. To be called after removals; done by
    /// itself when the store is opened.
    pub fn tidy(&self) {
        if self.inner.core.worth_tidying()
            && let Some(compacts) = &self.inner.compacts
        {
            // When there is no place, it is under way already.
            let _ = compacts.try_send(compact::Wish { least: TIDY_PERCENT, reply: None });
        }
    }

    /// How much is stored.
    pub fn stat(&self) -> BlockStat {
        self.inner.core.index().stat()
    }

    /// Most bytes that blocks may take on the disk; `None` when nothing limits them.
    pub fn limit(&self) -> Option<u64> {
        Some(self.inner.core.limit.load(Ordering::Relaxed)).filter(|limit| *limit < u64::MAX)
    }

    /// Limits what blocks may take on the disk: a put beyond it is refused, and from the watermark on
    /// [`Blocks::crossed`] is told. `None` lifts it.
    pub fn set_limit(&self, limit: Option<u64>, watermark_percent: u8) {
        let watermark = limit.map(|limit| (u128::from(limit) * u128::from(watermark_percent) / 100) as u64);
        self.inner.core.limit.store(limit.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.inner.core.watermark.store(watermark.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Bytes from which on it is time to collect garbage.
    pub fn watermark(&self) -> u64 {
        self.inner.core.watermark.load(Ordering::Relaxed)
    }

    /// Waits until a put passes the watermark, or would if it were not refused; gives the bytes there would be then.
    pub async fn crossed(&self) -> u64 {
        self.inner.core.crossed.notified().await;
        self.inner.core.demand.load(Ordering::Relaxed)
    }

    /// How the memory for what was read lately does.
    pub fn cache_stat(&self) -> CacheStat {
        self.inner.core.cache.stat()
    }

    /// About `limit` content ids from `from` on, and where to go on (`None` at the end); a page may be empty before
    /// the end. Blocks put or removed meanwhile may or may not be listed.
    pub async fn list(&self, from: Option<Cursor>, limit: usize) -> Result<(Vec<Cid>, Option<Cursor>), StoreError> {
        let core = Arc::clone(&self.inner.core);
        let task = tokio::task::spawn_blocking(move || visit::list(&core, from.unwrap_or_default(), limit));
        task.await.map_err(|_| StoreError::Closed)?.map_err(StoreError::io("listing blocks"))
    }

    /// The content ids of blocks as they are stored. A receiver that lags loses the oldest ones and is told so.
    pub fn subscribe(&self) -> broadcast::Receiver<Cid> {
        self.inner.core.news.subscribe()
    }

    /// Reads and hashes every block. Those found damaged count as missing from then on.
    pub async fn verify(&self) -> Result<VerifyReport, StoreError> {
        self.verify_counted(Arc::default()).await
    }

    /// As [`Blocks::verify`], counting in `counted`.
    pub async fn verify_counted(&self, counted: Arc<AtomicU64>) -> Result<VerifyReport, StoreError> {
        let core = Arc::clone(&self.inner.core);
        let task = tokio::task::spawn_blocking(move || visit::verify(&core, &counted));
        task.await.map_err(|_| StoreError::Closed)?.map_err(StoreError::io("verifying blocks"))
    }

    /// Checks heads and checkpoints of segments, and writes checkpoints anew that are not what they were; blocks.
    pub(crate) fn check_checkpoints(&self) -> Result<Vec<Fault>, StoreError> {
        let found = visit::check_checkpoints(&self.inner.core).map_err(StoreError::io("checking the block files"))?;
        let fault = |(path, offset, reason, mended): (PathBuf, u64, &str, bool)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Fault { offset: Some(offset), mended, ..Fault::of(format!("blocks/{name}"), reason) }
        };
        Ok(found.into_iter().map(fault).collect())
    }

    /// Writes down that blocks are gone that count as missing because they are damaged. Durable after [`Blocks::sync`].
    pub async fn forget(&self, cids: Vec<Cid>) -> Result<(), StoreError> {
        let graves = cids.iter().map(|cid| Moved::Grave { hash: cid.hash().to_bytes() }).collect();
        self.job(|reply| Job::Move(graves, reply)).await
    }

    /// What was found damaged when the store was opened.
    pub fn damage(&self) -> &[Damage] {
        &self.inner.core.damage
    }

    /// Makes everything durable and brings the checkpoint up to date, so that the next opening is quick.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        self.job(Job::Flush).await
    }

    async fn job(&self, job: impl FnOnce(Reply) -> Job) -> Result<(), StoreError> {
        let (reply, wait) = oneshot::channel();
        let jobs = self.inner.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job(reply)).await.map_err(|_| StoreError::Closed)?;
        wait.await.map_err(|_| StoreError::Closed)?
    }
}

/// Bytes that a block takes on the disk, about.
fn room(new: &NewBlock) -> u64 {
    (record::RECORD_BYTES + new.block.data().len() + 44 * (new.links.len() + 1)) as u64
}

/// The data of a content id that carries it.
fn identity(cid: &Cid) -> Option<&[u8]> {
    (cid.hash().code() == 0).then(|| cid.hash().digest())
}
