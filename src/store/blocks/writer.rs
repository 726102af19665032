//! The two threads that change the block store: one appends, one syncs, so that appending goes on during a sync.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, IoSlice},
    path::Path,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use bytes::Bytes;
use rustix::io::{Errno, pwritev};
use tokio::sync::{mpsc, oneshot};

use super::{
    NewBlock,
    checkpoint::{self, Checkpoint},
    collect::{Dead, Gone},
    core::{Core, checkpoint_path},
    index::SegmentInfo,
    marks::Young,
    open,
    places::{Key, Place},
    record::{self, HEAD_BYTES, Kind, RECORD_BYTES},
    scan::Found,
};
use crate::{
    base::Cid,
    store::{
        StoreError,
        files::{Asks, leave_room},
    },
};

/// How much is gathered before it goes out, in bytes.
const GROUP_BYTES: usize = 4 << 20;
/// Blocks up to this size are copied beside their heads; larger ones are written from where they are.
const COPY_BYTES: usize = 16 << 10;
/// A chunk of the checkpoint is written when this much waits, in bytes.
const CHECKPOINT_BYTES: usize = 64 << 10;
/// Bytes of one call of the system. It becomes page cache in pieces as large as this, and where memory is fragmented the kernel
/// would rather move pages about than make larger ones of smaller.
const CALL_BYTES: usize = 256 << 10;
/// Most buffers one call of the system takes.
const MAX_SLICES: usize = 1000;

pub(super) type Reply = oneshot::Sender<Result<(), StoreError>>;

/// Work for the appending thread.
pub(super) enum Job {
    Put(Vec<NewBlock>, Reply),
    Remove(Vec<Cid>, Reply),
    /// Removes those that nobody wants again meanwhile.
    Collect(Vec<Dead>, Young, Gone, Reply),
    /// Copies what still lies in a segment that is compacted.
    Move(Vec<Moved>, Reply),
    /// Begins a new segment, so that this one can be compacted.
    Rotate(Reply),
    /// Syncs, and brings the checkpoint up to date.
    Flush(Reply),
}

/// A record of a segment that is compacted.
pub(super) enum Moved {
    /// A block that lies at `from`.
    Block { hash: Vec<u8>, from: Place, meta: Vec<u8>, data: Bytes },
    /// The removal of a block that an older segment may still hold.
    Grave { hash: Vec<u8> },
}

/// Makes everything appended so far durable, if it is not.
fn sync(core: &Core) -> Result<(), StoreError> {
    core.healthy()?;
    let target = core.written.load(Ordering::Acquire);
    if core.synced.load(Ordering::Acquire) >= target {
        return Ok(());
    }
    // Older segments were synced before this one became the one being written.
    let (segment, end, file) = {
        let active = core.active();
        (active.segment, active.end, Arc::clone(&active.file))
    };
    if let Err(e) = open::sync_file(&file) {
        core.poison(&e);
        return Err(StoreError::io("syncing the block store")(e));
    }
    core.synced.fetch_max(target, Ordering::AcqRel);
    let mut at = core.synced_at.lock().unwrap_or_else(PoisonError::into_inner);
    *at = (*at).max((segment, end));
    Ok(())
}

/// The syncing thread: whoever waits when it is free shares one sync.
pub(super) fn run_syncer(core: &Core, mut waiting: mpsc::Receiver<Reply>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut all = vec![first];
        while let Ok(next) = waiting.try_recv() {
            all.push(next);
        }
        let result = sync(core);
        for reply in all {
            let _ = reply.send(again(&result));
        }
    }
}

/// The same outcome for one more caller.
fn again(result: &Result<(), StoreError>) -> Result<(), StoreError> {
    result.as_ref().map_err(StoreError::again).copied()
}

/// A piece of what is written.
enum Part {
    /// Bytes of the scratch buffer up to here, from where the last such piece ended.
    Scratch(usize),
    Data(Bytes),
}

/// A change of the index that a record makes once it is written.
struct Change {
    key: Key,
    found: Found,
    what: What,
}

/// Why a record is written.
enum What {
    New(Cid),
    Moved(Place),
    Removal,
}

/// The appending thread.
pub(super) struct Writer {
    core: Arc<Core>,
    checkpoint: Checkpoint,
    salt: u64,
    // What is gathered for the next write.
    scratch: Vec<u8>,
    parts: Vec<Part>,
    changes: Vec<Change>,
    bytes: usize,
    /// Which blocks will be there once the gathered changes are made.
    overlay: HashMap<Key, bool>,
}

impl Writer {
    pub(super) fn new(core: Arc<Core>, checkpoint: Checkpoint) -> Self {
        let segment = core.active().segment;
        let salt = core.index().segments.get(&segment).map_or(0, |info| info.salt);
        Writer {
            core,
            checkpoint,
            salt,
            scratch: Vec::new(),
            parts: Vec::new(),
            changes: Vec::new(),
            bytes: 0,
            overlay: HashMap::new(),
        }
    }

    /// Works until nobody can send jobs any more, then writes the checkpoint.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut replies = Vec::new();
            let mut next = Some(first);
            let mut result = Ok(());
            while let Some(job) = next {
                let (outcome, reply, last) = match job {
                    Job::Put(blocks, reply) => (self.put(blocks), reply, false),
                    Job::Remove(cids, reply) => {
                        self.core.removing.fetch_add(1, Ordering::AcqRel);
                        (self.remove(&cids), reply, false)
                    }
                    Job::Collect(dead, young, gone, reply) => {
                        self.core.removing.fetch_add(1, Ordering::AcqRel);
                        (self.collect(dead, young, &gone), reply, false)
                    }
                    Job::Move(moved, reply) => (self.relocate(moved), reply, false),
                    Job::Rotate(reply) => (self.write().and_then(|()| self.rotate()), reply, true),
                    Job::Flush(reply) => (self.flush(), reply, true),
                };
                match outcome {
                    Ok(()) => replies.push(reply),
                    // Bad input is its sender's affair alone.
                    Err(e @ StoreError::Invalid { .. }) => drop(reply.send(Err(e))),
                    Err(e) => {
                        result = Err(e);
                        replies.push(reply);
                        break;
                    }
                }
                if last || self.bytes >= GROUP_BYTES || replies.len() >= MAX_SLICES {
                    break;
                }
                next = jobs.try_recv().ok();
            }
            if result.is_ok() {
                result = self.write();
            }
            self.clear();
            self.core.removed.store(self.core.removing.load(Ordering::Acquire), Ordering::Release);
            for reply in replies {
                let _ = reply.send(again(&result));
            }
        }
        if let Err(e) = self.flush() {
            tracing::warn!(error = %e, "the block store could not be flushed at its end");
        }
    }

    fn present(&self, key: &Key) -> bool {
        self.overlay.get(key).copied().unwrap_or_else(|| self.core.index().get(key).is_some())
    }

    /// Gathers records of blocks that are not there.
    fn put(&mut self, blocks: Vec<NewBlock>) -> Result<(), StoreError> {
        self.core.healthy()?;
        for NewBlock { block, links } in blocks {
            let cid = *block.cid();
            let hash = cid.hash().to_bytes();
            let key = self.core.index().key(&hash);
            if self.overlay.get(&key).copied().unwrap_or_else(|| self.core.claim(&key).is_some()) {
                continue;
            }
            if self.bytes >= GROUP_BYTES {
                self.write()?;
            }
            self.room(block.data().len())?;
            let data = block.into_data();
            let meta_len = record::push_put(&mut self.scratch, self.salt, &cid, &links, &data).ok_or_else(|| {
                StoreError::Invalid {
                    what: format!("the {} links of {cid}", links.len()),
                    reason: format!("the limit is {} bytes", record::MAX_META_BYTES),
                }
            })?;
            self.gather(What::New(cid), key, hash, meta_len, data);
        }
        Ok(())
    }

    /// Gathers copies of blocks that still lie where they did, and of removals of blocks that are not there.
    fn relocate(&mut self, moved: Vec<Moved>) -> Result<(), StoreError> {
        self.core.healthy()?;
        for record in moved {
            if self.bytes >= GROUP_BYTES {
                self.write()?;
            }
            match record {
                Moved::Block { hash, from, meta, data } => {
                    let key = self.core.index().key(&hash);
                    if self.overlay.contains_key(&key) || self.core.index().get(&key) != Some(from) {
                        continue;
                    }
                    self.room(data.len())?;
                    // It was within its limit when it was written first.
                    let meta_len =
                        record::push_copy(&mut self.scratch, self.salt, &meta, &data).unwrap_or(from.meta_len);
                    self.gather(What::Moved(from), key, hash, meta_len, data);
                }
                Moved::Grave { hash } => {
                    let key = self.core.index().key(&hash);
                    if !self.present(&key) {
                        self.bury(key, hash)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn bury(&mut self, key: Key, hash: Vec<u8>) -> Result<(), StoreError> {
        self.room(0)?;
        // A multihash is far below the limit of a meta part.
        let meta_len = record::push_delete(&mut self.scratch, self.salt, &hash).unwrap_or_default();
        self.gather(What::Removal, key, hash, meta_len, Bytes::new());
        Ok(())
    }

    /// Gathers records of removals. A block is not to be found from before its record is written on: whoever put it
    /// once more meanwhile would rely on what is about to go.
    fn remove(&mut self, cids: &[Cid]) -> Result<(), StoreError> {
        self.core.healthy()?;
        for cid in cids {
            let hash = cid.hash().to_bytes();
            let key = self.core.index().key(&hash);
            if !self.present(&key) {
                continue;
            }
            if self.bytes >= GROUP_BYTES {
                self.write()?;
            }
            self.core.index_mut().remove(&key);
            self.bury(key, hash)?;
        }
        Ok(())
    }

    /// As [`Writer::remove`], for blocks that are where they were and that nothing spares.
    fn collect(&mut self, mut dead: Vec<Dead>, young: Young, gone: &Gone) -> Result<(), StoreError> {
        self.core.healthy()?;
        if self.bytes >= GROUP_BYTES {
            self.write()?;
        }
        {
            let mut index = self.core.index_mut();
            // One in the overlay was put or removed a moment ago.
            dead.retain(|d| !self.overlay.contains_key(&d.key) && index.remove_dead(&d.key, d.place, young));
        }
        for Dead { key, hash, cid, .. } in dead {
            self.bury(key, hash)?;
            gone.lock().unwrap_or_else(PoisonError::into_inner).push(cid);
        }
        Ok(())
    }

    /// Begins a new segment when this one is full; only between writes, for the salt is part of every record.
    fn room(&mut self, more: usize) -> Result<(), StoreError> {
        if self.bytes > 0 {
            return Ok(());
        }
        let end = self.core.active().end;
        if end > HEAD_BYTES as u64 && end + more as u64 > self.core.segment_bytes { self.rotate() } else { Ok(()) }
    }

    fn gather(&mut self, what: What, key: Key, hash: Vec<u8>, meta_len: u32, data: Bytes) {
        let kind = if matches!(what, What::Removal) { Kind::Delete } else { Kind::Put };
        let data_len = data.len() as u32;
        // The offset is counted from the start of this write, and shifted once that is known.
        let found = Found { kind, offset: self.bytes as u32, meta_len, data_len, hash };
        self.bytes += RECORD_BYTES + meta_len as usize + data_len as usize;
        if data.len() <= COPY_BYTES {
            self.scratch.extend_from_slice(&data);
        } else {
            self.parts.push(Part::Scratch(self.scratch.len()));
            self.parts.push(Part::Data(data));
        }
        self.overlay.insert(key, kind == Kind::Put);
        self.changes.push(Change { key, found, what });
    }

    /// Writes what is gathered and makes it visible.
    fn write(&mut self) -> Result<(), StoreError> {
        if self.bytes == 0 {
            return Ok(());
        }
        let (segment, start, file) = {
            let active = self.core.active();
            (active.segment, active.end, Arc::clone(&active.file))
        };
        self.parts.push(Part::Scratch(self.scratch.len()));
        // Removals always find room.
        let asks = |what: fn(&What) -> bool| self.changes.iter().any(|change| what(&change.what));
        let asks = match (asks(|w| matches!(w, What::New(_))), asks(|w| matches!(w, What::Moved(_)))) {
            (true, _) => Some(Asks::Blocks),
            (false, true) => Some(Asks::Compaction),
            (false, false) => None,
        };
        if let Some(asks) = asks {
            leave_room(&file, self.bytes as u64, asks).map_err(StoreError::io("storing blocks"))?;
        }
        if let Err(e) = write_parts(&file, start, &self.scratch, &self.parts) {
            // What is half there must not lie before what comes next.
            if let Err(e) = file.set_len(start) {
                self.core.poison(&e);
            }
            return Err(StoreError::io("storing blocks")(e));
        }
        let end = start + self.bytes as u64;
        self.core.active().end = end;
        self.core.written.fetch_add(self.bytes as u64, Ordering::AcqRel);
        let removed = self.changes.iter().filter(|change| matches!(change.what, What::Removal));
        self.core.cache.remove(removed.map(|change| &change.key));
        let news = self.core.news.receiver_count() > 0;
        let mut index = self.core.index_mut();
        let now = self.core.generations().name();
        if let Some(info) = index.segments.get_mut(&segment) {
            info.len = end;
        }
        for Change { key, found, what } in &mut self.changes {
            found.offset += start as u32;
            let Found { offset, meta_len, data_len, .. } = *found;
            let place = Place { segment, offset, meta_len, data_len };
            match what {
                What::New(_) => index.put(*key, place, now),
                What::Moved(from) => index.relocate(*key, *from, place),
                What::Removal => {
                    index.remove(key);
                    index.buried(segment, place.total());
                }
            }
            self.checkpoint.push(found);
        }
        drop(index);
        if news {
            for change in &self.changes {
                if let What::New(cid) = change.what {
                    let _ = self.core.news.send(cid);
                }
            }
        }
        self.clear();
        if self.checkpoint.waiting() >= CHECKPOINT_BYTES {
            let (at, synced) = *self.core.synced_at.lock().unwrap_or_else(PoisonError::into_inner);
            if at == segment {
                self.write_checkpoint(synced);
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.scratch.clear();
        self.scratch.shrink_to(COPY_BYTES);
        self.parts.clear();
        self.changes.clear();
        self.overlay.clear();
        self.bytes = 0;
    }

    /// Checkpoints only save time; one that cannot be written is no reason to stop.
    fn write_checkpoint(&mut self, synced: u64) {
        if let Err(e) = self.checkpoint.write(u32::try_from(synced).unwrap_or(u32::MAX)) {
            tracing::debug!(error = %e, "a checkpoint could not be written");
        }
    }

    /// Writes what is gathered, syncs, and brings the checkpoint up to date.
    fn flush(&mut self) -> Result<(), StoreError> {
        self.write()?;
        sync(&self.core)?;
        let end = self.core.active().end;
        self.write_checkpoint(end);
        Ok(())
    }

    /// Begins a new segment; the old one is durable before.
    fn rotate(&mut self) -> Result<(), StoreError> {
        let doing = "beginning a new block segment";
        self.flush()?;
        let segment = self.core.active().segment + 1;
        let (salt, active) = open::create(&self.core.dir, segment).map_err(|e| {
            // The file may be there already; the next try needs the name.
            let _ = std::fs::remove_file(super::core::segment_path(&self.core.dir, segment));
            StoreError::io(doing)(e)
        })?;
        let path = checkpoint_path(&self.core.dir, segment);
        let _ = std::fs::remove_file(&path);
        let loaded = checkpoint::load(Path::new(""), None);
        self.checkpoint = Checkpoint::open(&path, salt, &loaded).map_err(StoreError::io(doing))?;
        self.salt = salt;
        self.core
            .index_mut()
            .segments
            .insert(segment, SegmentInfo { salt, len: HEAD_BYTES as u64, ..SegmentInfo::default() });
        *self.core.active() = active;
        Ok(())
    }
}

/// Writes all parts at `at`.
fn write_parts(file: &File, mut at: u64, scratch: &[u8], parts: &[Part]) -> io::Result<()> {
    let mut from = 0;
    let mut slices: Vec<&[u8]> = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::Scratch(to) => {
                slices.push(&scratch[from..*to]);
                from = *to;
            }
            Part::Data(data) => slices.push(data),
        }
    }
    let mut rest: &mut [&[u8]] = &mut slices;
    while !rest.is_empty() {
        let mut room = CALL_BYTES;
        let within = rest.iter().take(MAX_SLICES).map_while(|slice| {
            let part = &slice[..slice.len().min(room)];
            (room > 0).then(|| IoSlice::new(part)).inspect(|_| room -= part.len())
        });
        let bufs: Vec<IoSlice<'_>> = within.collect();
        let mut n = match pwritev(file, &bufs, at) {
            Ok(n) => n,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        if n == 0 && bufs.iter().any(|b| !b.is_empty()) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        at += n as u64;
        while let Some(first) = rest.first_mut() {
            if n < first.len() {
                *first = &first[n..];
                break;
            }
            n -= first.len();
            rest = &mut rest[1..];
        }
    }
    Ok(())
}
