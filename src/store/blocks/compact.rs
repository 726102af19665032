//! Compaction: what is left of a segment with much garbage is written anew at the end of the log, and the file goes.
//!
//! The order is what makes it safe to be stopped anywhere: copies are appended, the copies are synced, the old file is
//! unlinked. A stop in between leaves blocks twice, and the later place counts. The record of a removal is copied as well
//! as long as an older segment may hold what it is about.

use std::{
    fs, io,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{
    core::{Core, checkpoint_path, segment_path},
    index::SegmentInfo,
    places::Place,
    record::{self, HEAD_BYTES, Kind, RECORD_BYTES, RecordHead},
    scan::{self, Window},
    writer::{Job, Moved, Reply},
};
use crate::store::{StoreError, files::sync_dir};

/// Wishes that may wait; whoever has one more waits as well.
pub(super) const WISHES: usize = 4;
/// The share of garbage at which a segment is compacted in the background, in percent: at most twice the room of what is
/// there is taken then, and every byte is written again at most once for each that was removed.
pub const TIDY_PERCENT: u8 = 50;

/// How much is copied at a time: a put that comes between waits for no more than that, in bytes.
const BATCH_BYTES: usize = 1 << 20;
/// How much is copied between two syncs: whoever syncs meanwhile waits for no more than that, in bytes.
const SYNC_BYTES: u64 = 16 << 20;
/// How much is read at once, in bytes.
const READ_BYTES: usize = 256 << 10;

/// What compaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Numbers of the segment files removed, in that order.
    pub segments: Vec<u32>,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Bytes that were written anew.
    pub moved_bytes: u64,
}

/// Somebody's wish to have segments of at least `least` percent garbage compacted.
pub(super) struct Wish {
    pub least: u8,
    pub reply: Option<oneshot::Sender<Result<Compacted, StoreError>>>,
}

/// Why a segment was not done to the end.
enum Stop {
    Failed(StoreError),
    /// Nobody waits for it any more, or the store is being closed.
    Unwanted,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Failed(error)
    }
}

impl Core {
    /// Whether compaction in the background has something to do.
    pub(super) fn worth_tidying(&self) -> bool {
        let active = self.active().segment;
        self.index().worst(active, TIDY_PERCENT).is_some()
    }
}

/// The compacting thread.
pub(super) struct Compactor {
    core: Arc<Core>,
    jobs: mpsc::Sender<Job>,
    syncs: mpsc::Sender<Reply>,
}

impl Compactor {
    pub(super) fn new(core: Arc<Core>, jobs: mpsc::Sender<Job>, syncs: mpsc::Sender<Reply>) -> Self {
        Compactor { core, jobs, syncs }
    }

    /// Works until nobody can have wishes any more.
    pub(super) fn run(self, mut wishes: mpsc::Receiver<Wish>) {
        while let Some(wish) = wishes.blocking_recv() {
            let mut done = Compacted::default();
            let outcome = self.all(&wish, &mut done);
            match (outcome, wish.reply) {
                (Ok(()) | Err(Stop::Unwanted), Some(reply)) => drop(reply.send(Ok(done))),
                (Err(Stop::Failed(e)), Some(reply)) => drop(reply.send(Err(e))),
                (Err(Stop::Failed(e)), None) => tracing::warn!(error = %e, "segments could not be compacted"),
                (_, None) => {}
            }
        }
    }

    fn wanted(&self, wish: &Wish) -> Result<(), Stop> {
        let gone = wish.reply.as_ref().is_some_and(oneshot::Sender::is_closed);
        if gone || self.core.closing.load(Ordering::Acquire) { Err(Stop::Unwanted) } else { Ok(()) }
    }

    fn all(&self, wish: &Wish, done: &mut Compacted) -> Result<(), Stop> {
        self.core.healthy()?;
        if wish.reply.is_some() {
            self.close_active(wish.least)?;
        }
        loop {
            self.wanted(wish)?;
            let active = self.core.active().segment;
            let Some(segment) = self.core.index().worst(active, wish.least) else { return Ok(()) };
            let before = self.core.index().segments.get(&segment).copied().unwrap_or_default();
            let moved_bytes = self.segment(segment, before, wish)?;
            done.segments.push(segment);
            done.removed_bytes += before.len;
            done.moved_bytes += moved_bytes;
            tracing::debug!(segment, bytes = before.len, moved_bytes, "a segment was compacted");
        }
    }

    /// Begins a new segment when the one being written has garbage that is worth it.
    fn close_active(&self, least: u8) -> Result<(), StoreError> {
        let active = self.core.active().segment;
        let (garbage, enough) = self.core.index().garbage(active, least);
        if enough && garbage > self.core.segment_bytes / 256 {
            self.job(Job::Rotate)?;
        }
        Ok(())
    }

    fn job(&self, job: impl FnOnce(Reply) -> Job) -> Result<(), StoreError> {
        let (reply, wait) = oneshot::channel();
        self.jobs.blocking_send(job(reply)).map_err(|_| StoreError::Closed)?;
        wait.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    fn sync(&self) -> Result<(), StoreError> {
        let (reply, wait) = oneshot::channel();
        self.syncs.blocking_send(reply).map_err(|_| StoreError::Closed)?;
        wait.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    /// Compacts one segment; gives the bytes that were written anew.
    fn segment(&self, segment: u32, info: SegmentInfo, wish: &Wish) -> Result<u64, Stop> {
        let moved_bytes = self.relocate(segment, info, wish)?;
        self.discard(segment)?;
        Ok(moved_bytes)
    }

    /// Copies what is needed of a segment, durably.
    fn relocate(&self, segment: u32, info: SegmentInfo, wish: &Wish) -> Result<u64, Stop> {
        let graves_needed = info.graves > 0 && self.core.index().graves_needed(segment);
        if info.live == 0 && !graves_needed {
            return Ok(0);
        }
        let io = StoreError::io("compacting a block segment");
        let Some(file) = self.core.file(segment).map_err(&io)? else { return Ok(0) };
        let mut window = Window::new(&file, READ_BYTES);
        let (mut batch, mut batch_bytes, mut moved_bytes, mut unsynced) = (Vec::new(), 0, 0, 0);
        let mut at = HEAD_BYTES as u64;
        while at < info.len {
            let Some((head, meta)) = head(&mut window, at, info.salt).map_err(&io)? else {
                // Damage. What lies there counts as missing when the segment has been gone through.
                at = scan::resync(&mut window, at + 1, info.len, info.salt).map_err(&io)?;
                continue;
            };
            let place = Place { segment, offset: at as u32, meta_len: head.meta_len, data_len: head.data_len };
            at += head.total() as u64;
            let Some(hash) = record::meta_hash(head.kind, &meta) else { continue };
            if head.kind == Kind::Delete {
                if graves_needed {
                    batch.push(Moved::Grave { hash });
                    batch_bytes += head.total();
                }
            } else {
                let key = self.core.index().key(&hash);
                if self.core.index().get(&key) != Some(place) {
                    continue;
                }
                let data_at = u64::from(place.offset) + (RECORD_BYTES + meta.len()) as u64;
                let data = window.get(data_at, place.data_len as usize).map_err(&io)?;
                if !head.data_fine(data) {
                    self.core.drop_damaged(&key, place, "the block's bytes are not what was written");
                    continue;
                }
                let data = Bytes::copy_from_slice(data);
                batch.push(Moved::Block { hash, from: place, meta, data });
                batch_bytes += head.total();
            }
            if batch_bytes >= BATCH_BYTES {
                self.wanted(wish)?;
                let bytes = std::mem::take(&mut batch_bytes) as u64;
                self.job(|reply| Job::Move(std::mem::take(&mut batch), reply))?;
                moved_bytes += bytes;
                unsynced += bytes;
                if unsynced >= SYNC_BYTES {
                    self.sync()?;
                    unsynced = 0;
                }
            }
        }
        moved_bytes += batch_bytes as u64;
        self.job(|reply| Job::Move(batch, reply))?;
        self.sync()?;
        Ok(moved_bytes)
    }

    /// Removes a segment of which nothing is needed any more.
    fn discard(&self, segment: u32) -> Result<(), StoreError> {
        // Only damage can have kept a block there.
        let alive = self.core.index().segments.get(&segment).is_some_and(|info| info.live > 0);
        let left = if alive { self.core.index().within(segment) } else { Vec::new() };
        for (key, place) in left {
            self.core.drop_damaged(&key, place, "its record could not be read when its segment was compacted");
        }
        let remove = || -> io::Result<()> {
            fs::remove_file(segment_path(&self.core.dir, segment))?;
            let _ = fs::remove_file(checkpoint_path(&self.core.dir, segment));
            sync_dir(&self.core.dir)
        };
        remove().map_err(StoreError::io("removing a compacted block segment"))?;
        self.core.forget(segment);
        Ok(())
    }
}

/// The fixed part and the meta part of the record at `at`, if they are what was written.
fn head(window: &mut Window<'_>, at: u64, salt: u64) -> io::Result<Option<(RecordHead, Vec<u8>)>> {
    let Some(head) = RecordHead::decode(window.get(at, RECORD_BYTES)?) else { return Ok(None) };
    let bytes = window.get(at, RECORD_BYTES + head.meta_len as usize)?;
    Ok(head.head_fine(bytes, salt).then(|| (head, bytes[RECORD_BYTES..].to_vec())))
}
