//! What readers and the writing threads share: the index, the open files, and how a record is read.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSliceMut},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use lru::LruCache;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::sync::{Notify, broadcast};

use super::{
    Damage,
    index::Index,
    marks::{self, Generations},
    places::{Key, Place},
    record::{self, Checked, RECORD_BYTES},
    scan::read_at,
};
use crate::{
    base::Cid,
    store::{StoreError, cache::Cache, files::Lock},
};

/// Segment files kept open for reading.
const OPEN_FILES: NonZeroUsize = NonZeroUsize::new(128).expect("128 is not 0");
/// Blocks up to so many bytes are kept in memory when they are read: nodes and shards, which lead to all others. Larger
/// ones come from the page cache as fast, and would push these out.
const CACHED_BYTES: u32 = 64 << 10;
/// Announcements of new blocks that a slow listener may lag behind.
const NEWS: usize = 1024;

/// The segment being written.
pub(super) struct Active {
    pub segment: u32,
    pub end: u64,
    pub file: Arc<File>,
}

pub(super) struct Core {
    pub dir: PathBuf,
    pub segment_bytes: u64,
    /// Small blocks that were read lately.
    pub cache: Cache<Key, Arc<Checked>>,
    index: RwLock<Index>,
    files: Mutex<LruCache<u32, Arc<File>>>,
    pub active: Mutex<Active>,
    /// Bytes ever appended in this process, and up to where of them all is durable.
    pub written: AtomicU64,
    pub synced: AtomicU64,
    /// Up to where in which segment all is durable.
    pub synced_at: Mutex<(u32, u64)>,
    poison: OnceLock<String>,
    /// Most bytes of segment files, and beyond how many somebody wants to know; the greatest number for none.
    pub limit: AtomicU64,
    /// Removals that were begun, and those of them that have taken effect. Every job that takes blocks away counts
    /// itself first: an export relies on it.
    pub removing: AtomicU64,
    pub removed: AtomicU64,
    pub watermark: AtomicU64,
    pub crossed: Notify,
    /// Bytes that there would be after the put that passed it.
    pub demand: AtomicU64,
    /// The store is being closed: what can be left for later is.
    pub closing: AtomicBool,
    generations: Mutex<Generations>,
    /// Garbage is being collected.
    pub collecting: AtomicBool,
    /// How many walk for a collection from roots that came later, and whoever waits for them.
    pub walking: (Mutex<usize>, Condvar),
    pub news: broadcast::Sender<Cid>,
    pub damage: Vec<Damage>,
    // Whether preadv2 knows RWF_NOWAIT on this filesystem.
    nowait: AtomicBool,
    // The folder must not be given away while it is open.
    _lock: Option<Arc<Lock>>,
}

/// Where a segment lies.
pub(super) fn segment_path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{segment:08}.seg"))
}

/// Where its checkpoint lies.
pub(super) fn checkpoint_path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{segment:08}.idx"))
}

impl Core {
    pub(super) fn new(
        dir: &Path,
        segment_bytes: u64,
        cache_bytes: u64,
        index: Index,
        active: Active,
        damage: Vec<Damage>,
        lock: Option<Arc<Lock>>,
    ) -> Core {
        Core {
            dir: dir.into(),
            segment_bytes,
            cache: Cache::new(cache_bytes),
            index: RwLock::new(index),
            files: Mutex::new(LruCache::new(OPEN_FILES)),
            synced_at: Mutex::new((active.segment, active.end)),
            active: Mutex::new(active),
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            poison: OnceLock::new(),
            limit: AtomicU64::new(u64::MAX),
            removing: AtomicU64::new(0),
            removed: AtomicU64::new(0),
            watermark: AtomicU64::new(u64::MAX),
            crossed: Notify::new(),
            demand: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            generations: Mutex::default(),
            collecting: AtomicBool::new(false),
            walking: Default::default(),
            news: broadcast::channel(NEWS).0,
            damage,
            nowait: AtomicBool::new(true),
            _lock: lock,
        }
    }

    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn active(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which generation it is. To mark a block with it, take the index first.
    pub(super) fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the block is there, and spared by collections from now on.
    pub(super) fn claim(&self, key: &Key) -> Option<Place> {
        let index = self.index();
        let now = self.generations().name();
        index.mark(key, |word| marks::touched(word, now)).map(|(place, _)| place)
    }

    /// Whether `more` bytes of new blocks may come.
    pub(super) fn admit(&self, more: u64) -> Result<(), StoreError> {
        let (limit, watermark) = (self.limit.load(Ordering::Relaxed), self.watermark.load(Ordering::Relaxed));
        if limit.min(watermark) == u64::MAX {
            return Ok(());
        }
        let used = self.index().disk_bytes();
        if used.saturating_add(more) > watermark {
            self.demand.store(used.saturating_add(more), Ordering::Relaxed);
            self.crossed.notify_one();
        }
        if used.saturating_add(more) > limit { Err(StoreError::Limit { used, more, limit }) } else { Ok(()) }
    }

    /// Stops writing for good; the first reason stays.
    pub(super) fn poison(&self, reason: &dyn std::fmt::Display) {
        tracing::error!(%reason, "the block store cannot be written any more; reading goes on");
        let _ = self.poison.set(reason.to_string());
    }

    pub(super) fn healthy(&self) -> Result<(), StoreError> {
        match self.poison.get() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
        }
    }

    /// The file of a segment; `None` when it has been removed.
    pub(super) fn file(&self, segment: u32) -> io::Result<Option<Arc<File>>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&segment) {
            return Ok(Some(Arc::clone(file)));
        }
        match OpenOptions::new().read(true).open(segment_path(&self.dir, segment)) {
            Ok(file) => {
                let file = Arc::new(file);
                files.put(segment, Arc::clone(&file));
                Ok(Some(file))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Lets go of a segment whose file is gone; its space is free when nobody reads it any more.
    pub(super) fn forget(&self, segment: u32) {
        self.index_mut().segments.remove(&segment);
        self.files.lock().unwrap_or_else(PoisonError::into_inner).pop(&segment);
    }

    /// What was found damaged at the opening and has not been compacted away.
    pub(super) fn damage_left(&self) -> Vec<Damage> {
        let index = self.index();
        // Heads of segments that are in use are looked at by themselves; one without a copy keeps its segment out of use.
        let left = |d: &&Damage| match index.segments.contains_key(&d.segment) {
            true => d.offset > 0,
            false => segment_path(&self.dir, d.segment).exists(),
        };
        self.damage.iter().filter(left).cloned().collect()
    }

    /// Reads what is in the page cache of `len` bytes at `at`; true when that was all of it.
    pub(super) fn read_cached(&self, file: &File, buffer: &mut [u8], at: u64) -> io::Result<bool> {
        if !self.nowait.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let len = buffer.len();
        match preadv2(file, &mut [IoSliceMut::new(buffer)], at, ReadWriteFlags::NOWAIT) {
            Ok(n) => Ok(n == len),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.nowait.store(false, Ordering::Relaxed);
                Ok(false)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Finds a block's record and reads it. One that is damaged is dropped from the index and counts as missing.
    ///
    /// What is in the page cache is read at once (about 30 µs for 256 KiB, less than the way to another thread and
    /// back); only what must come from the disk goes to a thread that may wait.
    pub(super) async fn read(
        self: &Arc<Self>,
        hash: &[u8],
        with_data: bool,
    ) -> Result<Option<(Arc<Checked>, Place)>, StoreError> {
        let io = StoreError::io("reading a block");
        // A block moves when its segment is compacted; it cannot move this often meanwhile.
        for _ in 0..8 {
            let (key, place, salt) = {
                let index = self.index();
                let key = index.key(hash);
                let Some(place) = index.get(&key) else { return Ok(None) };
                let Some(info) = index.segments.get(&place.segment) else { return Ok(None) };
                (key, place, info.salt)
            };
            // The index was asked first: what was removed is not served from here.
            let cached = with_data && place.data_len <= CACHED_BYTES;
            if cached && let Some(found) = self.cache.get(&key).filter(|found| found.cid.hash().to_bytes() == hash) {
                return Ok(Some((found, place)));
            }
            let Some(file) = self.file(place.segment).map_err(&io)? else {
                if self.index().get(&key) == Some(place) {
                    self.drop_damaged(&key, place, "its segment file is missing");
                }
                continue;
            };
            let len = if with_data { place.total() as usize } else { RECORD_BYTES + place.meta_len as usize };
            let mut record = vec![0; len];
            if !self.read_cached(&file, &mut record, u64::from(place.offset)).map_err(&io)? {
                let task = tokio::task::spawn_blocking(move || {
                    let n = read_at(&file, &mut record, u64::from(place.offset))?;
                    record.truncate(n);
                    Ok(record)
                });
                record = task.await.map_err(|_| StoreError::Closed)?.map_err(&io)?;
            }
            match self.checked(record.into(), place, salt, hash, with_data) {
                Ok(checked) => {
                    let checked = Arc::new(checked);
                    if cached {
                        self.cache.put(key, Arc::clone(&checked), len);
                    }
                    return Ok(Some((checked, place)));
                }
                Err(reason) => self.drop_damaged(&key, place, reason),
            }
        }
        Ok(None)
    }

    /// Checks that a record is whole and about `hash`.
    pub(super) fn checked(
        &self,
        record: Bytes,
        place: Place,
        salt: u64,
        hash: &[u8],
        with_data: bool,
    ) -> Result<Checked, &'static str> {
        let checked = record::check(&record, salt, with_data)?;
        let fine = checked.cid.hash().to_bytes() == hash && checked.meta.len() == place.meta_len as usize;
        if fine { Ok(checked) } else { Err("another block lies there") }
    }

    /// Lets a block that cannot be read count as missing, so that it can be fetched and stored again.
    pub(super) fn drop_damaged(&self, key: &Key, place: Place, reason: &str) {
        if self.index_mut().remove_at(key, place) {
            tracing::warn!(segment = place.segment, offset = place.offset, reason, "a stored block is damaged");
        }
    }
}
