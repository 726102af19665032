//! Collecting garbage: blocks that no walk from a root has met, and that nobody put or asked for meanwhile, are removed.
//!
//! Everything here blocks, in slices: between two of them whoever else wants the index or the writing thread has it. Marks
//! lie in the index itself, so collecting takes memory for what is being walked and for places of the dead alone.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use cid::Version;
use tokio::sync::{mpsc, oneshot};

use super::{
    Blocks,
    core::Core,
    index::{Index, SHARDS},
    marks::{self, Sort, Young},
    places::{Key, Place},
    record::{self, Kind, RECORD_BYTES, RecordHead},
    scan::{Window, read_at},
    writer::Job,
};
use crate::{
    base::{Cid, Codec},
    store::StoreError,
};

/// Dead blocks that the writing thread gets at a time: a put that comes between waits for no more.
pub const SLICE: usize = 512;
/// How much is read at once while dead blocks are named, in bytes.
const READ_BYTES: usize = 16 << 10;
/// Length of the meta part of a block of version 0 that links nowhere: nothing has to be read to know that.
const BARE_V0: u32 = 2 + 34 + 4;

/// Holds what is put, or asked for by [`Blocks::claim`], from collections until it is dropped.
#[must_use]
pub struct Adding {
    core: Arc<Core>,
    began: u64,
}

impl Drop for Adding {
    fn drop(&mut self) {
        self.core.generations().leave(self.began);
    }
}

/// A dead block, as the writing thread is told of it.
pub(super) struct Dead {
    pub key: Key,
    pub place: Place,
    pub hash: Vec<u8>,
    pub cid: Cid,
}

/// Where those that were really removed are gathered.
pub(super) type Gone = Arc<Mutex<Vec<Cid>>>;

/// What a walk has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Walked {
    /// All is walked.
    End,
    /// There is more; go on.
    More,
    /// What this block links to is for the caller to read, and to keep: it is stored under another codec, or not at all
    /// because its CID holds its bytes.
    Unread(Cid),
    /// This block, which may link to others, is missing or damaged.
    Missing(Cid),
}

impl Blocks {
    /// Until what is given is dropped, blocks that are put or claimed are not collected. To be held from before the first
    /// block of whatever is kept in the end until it is kept.
    pub fn adding(&self) -> Adding {
        let core = Arc::clone(&self.inner.core);
        let began = core.generations().enter();
        Adding { core, began }
    }

    /// The size in bytes of a block that is here, and that is spared by collections from now on, as if it had been put.
    pub fn claim(&self, cid: &Cid) -> Option<u32> {
        if cid.hash().code() == 0 {
            return Some(cid.hash().digest().len() as u32);
        }
        let key = self.inner.core.index().key(&cid.hash().to_bytes());
        self.inner.core.claim(&key).map(|place| place.data_len)
    }

    /// Begins to collect; an error while somebody else does. From here on blocks that are put or claimed are spared.
    pub fn collect(&self) -> Result<Collection, StoreError> {
        let core = Arc::clone(&self.inner.core);
        core.healthy()?;
        let jobs = self.inner.jobs.clone().ok_or(StoreError::Closed)?;
        if core.collecting.swap(true, Ordering::SeqCst) {
            return Err(StoreError::Invalid {
                what: "collecting".into(),
                reason: "it is under way already; wait for its end".into(),
            });
        }
        let young = {
            // Nobody marks a block of this generation before it counts.
            let _still = core.index_mut();
            core.generations().advance()
        };
        for shard in 0..SHARDS {
            core.index().clear_marks(shard, young);
        }
        Ok(Collection { keeper: Keeper::new(Arc::clone(&core), false), core, jobs, young })
    }

    /// Whoever makes a root out of what was here before lets it be kept by a collection that is under way; `None` when
    /// none is. The root must be in its place before this is called.
    pub fn keeper(&self) -> Option<Keeper> {
        let core = &self.inner.core;
        let late = || {
            *lock(&core.walking.0) += 1;
            Keeper::new(Arc::clone(core), true)
        };
        core.collecting.load(Ordering::SeqCst).then(late)
    }
}

/// A block whose links are to be followed.
struct Open {
    key: Key,
    cid: Cid,
}

/// Walks from roots and keeps what it meets.
pub struct Keeper {
    core: Arc<Core>,
    open: Vec<Open>,
    news: Vec<Walked>,
    /// Those that are stored under another codec, and those of codecs that marks do not tell apart.
    walked: HashSet<Cid>,
    /// Whether it walks beside the collection.
    late: bool,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.late {
            *lock(&self.core.walking.0) -= 1;
            self.core.walking.1.notify_all();
        }
    }
}

impl AsMut<Keeper> for Keeper {
    fn as_mut(&mut self) -> &mut Keeper {
        self
    }
}

impl Keeper {
    fn new(core: Arc<Core>, late: bool) -> Self {
        Keeper { core, open: Vec::new(), news: Vec::new(), walked: HashSet::new(), late }
    }

    /// Keeps a block and nothing below it.
    pub fn keep_alone(&mut self, cid: &Cid) {
        let index = self.core.index();
        let _ = index.mark(&index.key(&cid.hash().to_bytes()), marks::kept);
    }

    /// Keeps a block; what lies below is kept by [`Keeper::walk`].
    pub fn keep(&mut self, cid: &Cid) {
        let core = Arc::clone(&self.core);
        self.meet(&core.index(), cid);
    }

    /// Goes on for about `blocks` blocks.
    pub fn walk(&mut self, blocks: usize) -> Result<Walked, StoreError> {
        for _ in 0..blocks {
            if let Some(news) = self.news.pop() {
                return Ok(news);
            }
            let Some(open) = self.open.pop() else { return Ok(Walked::End) };
            self.follow(open)?;
        }
        Ok(Walked::More)
    }

    fn meet(&mut self, index: &Index, cid: &Cid) {
        let raw = Codec::from(cid.codec()) == Codec::Raw;
        if cid.hash().code() == 0 {
            if !raw {
                self.news.push(Walked::Unread(*cid));
            }
            return;
        }
        let key = index.key(&cid.hash().to_bytes());
        match index.mark(&key, marks::kept) {
            _ if raw => {}
            None => self.news.push(Walked::Missing(*cid)),
            Some((place, _)) if cid.version() == Version::V0 && place.meta_len == BARE_V0 => {}
            Some((_, word)) if marks::was_walked(word, sort(cid)) => {}
            Some(_) => self.open.push(Open { key, cid: *cid }),
        }
    }

    /// Reads what a block links to and meets that.
    fn follow(&mut self, Open { key, cid }: Open) -> Result<(), StoreError> {
        let core = Arc::clone(&self.core);
        let Some((found, place)) = head(&core, &key, &cid)? else {
            self.news.push(Walked::Missing(cid));
            return Ok(());
        };
        if found.cid.codec() != cid.codec() {
            if self.walked.insert(cid) {
                self.news.push(Walked::Unread(cid));
            }
            return Ok(());
        }
        let sort = sort(&cid);
        let before = core.index().mark(&key, |word| marks::walked(word, sort));
        let again = match sort {
            Sort::Other => !self.walked.insert(cid),
            _ => before.is_some_and(|(_, word)| marks::was_walked(word, sort)),
        };
        if again {
            return Ok(());
        }
        let Some(links) = record::meta_links(&found.meta) else {
            core.drop_damaged(&key, place, "its links cannot be read");
            self.news.push(Walked::Missing(cid));
            return Ok(());
        };
        let index = core.index();
        links.iter().for_each(|link| self.meet(&index, link));
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sort(cid: &Cid) -> Sort {
    match Codec::from(cid.codec()) {
        Codec::DagPb => Sort::DagPb,
        Codec::DagCbor => Sort::DagCbor,
        _ => Sort::Other,
    }
}

/// A block's record without its bytes; `None` when it is missing or damaged.
fn head(core: &Core, key: &Key, cid: &Cid) -> Result<Option<(record::Checked, Place)>, StoreError> {
    let io = StoreError::io("following the links of blocks");
    // A block moves when its segment is compacted; it cannot move this often meanwhile.
    for _ in 0..8 {
        let (place, salt) = {
            let index = core.index();
            let Some(place) = index.get(key) else { return Ok(None) };
            let Some(info) = index.segments.get(&place.segment) else { return Ok(None) };
            (place, info.salt)
        };
        let Some(file) = core.file(place.segment).map_err(&io)? else {
            if core.index().get(key) == Some(place) {
                core.drop_damaged(key, place, "its segment file is missing");
            }
            continue;
        };
        let mut bytes = vec![0; RECORD_BYTES + place.meta_len as usize];
        let n = read_at(&file, &mut bytes, u64::from(place.offset)).map_err(&io)?;
        bytes.truncate(n);
        match core.checked(bytes.into(), place, salt, &cid.hash().to_bytes(), false) {
            Ok(found) => return Ok(Some((found, place))),
            Err(reason) => core.drop_damaged(key, place, reason),
        }
    }
    Ok(None)
}

/// A collection under way: roots are kept first, then what is dead is removed. Over when it is dropped.
pub struct Collection {
    core: Arc<Core>,
    jobs: mpsc::Sender<Job>,
    young: Young,
    keeper: Keeper,
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.core.collecting.store(false, Ordering::SeqCst);
    }
}

impl Collection {
    /// Walks from roots.
    pub fn keeper(&mut self) -> &mut Keeper {
        &mut self.keeper
    }

    /// Where the blocks lie that nothing keeps, in the order of the files; only to be asked for when all roots are walked.
    pub fn dead(&self) -> Vec<u64> {
        let (walking, ended) = &self.core.walking;
        let mut left = lock(walking);
        // What a walk beside this one has met may not be marked yet.
        while *left > 0 {
            left = ended.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
        drop(left);
        let mut out = Vec::new();
        for shard in 0..SHARDS {
            let index = self.core.index();
            out.extend(
                index.dead(shard, self.young).map(|(segment, offset)| (u64::from(segment) << 32) | u64::from(offset)),
            );
        }
        out.sort_unstable();
        out
    }

    /// Removes the blocks at these places, about [`SLICE`] of them, unless they are wanted again; gives those that are
    /// gone, as raw ones, for blocks are kept by their hash. Durable after [`Blocks::sync`].
    pub fn remove(&self, places: &[u64]) -> Result<Vec<Cid>, StoreError> {
        let mut dead = Vec::with_capacity(places.len());
        let mut at = 0;
        while at < places.len() {
            let segment = (places[at] >> 32) as u32;
            let end = at + places[at..].iter().take_while(|place| (**place >> 32) as u32 == segment).count();
            self.name(segment, &places[at..end], &mut dead)?;
            at = end;
        }
        if dead.is_empty() {
            return Ok(Vec::new());
        }
        let gone = Gone::default();
        let (reply, wait) = oneshot::channel();
        let job = Job::Collect(dead, self.young, Arc::clone(&gone), reply);
        self.jobs.blocking_send(job).map_err(|_| StoreError::Closed)?;
        wait.blocking_recv().map_err(|_| StoreError::Closed)??;
        Ok(mem::take(&mut *lock(&gone)))
    }

    /// Reads which blocks lie at these places of a segment. What has moved or cannot be read is left out.
    fn name(&self, segment: u32, places: &[u64], out: &mut Vec<Dead>) -> Result<(), StoreError> {
        let io = StoreError::io("reading which blocks are to be removed");
        let info = self.core.index().segments.get(&segment).copied();
        let (Some(info), Some(file)) = (info, self.core.file(segment).map_err(&io)?) else { return Ok(()) };
        let mut window = Window::new(&file, READ_BYTES);
        for place in places {
            let offset = *place as u32;
            let Some(head) = RecordHead::decode(window.get(u64::from(offset), RECORD_BYTES).map_err(&io)?) else {
                continue;
            };
            let (meta_len, data_len) = (head.meta_len, head.data_len);
            let bytes = window.get(u64::from(offset), RECORD_BYTES + meta_len as usize).map_err(&io)?;
            let meta = bytes.get(RECORD_BYTES..).unwrap_or_default();
            let cid = record::meta_cid(meta).filter(|_| head.kind == Kind::Put && head.head_fine(bytes, info.salt));
            let Some(cid) = cid else { continue };
            let hash = cid.hash().to_bytes();
            let key = self.core.index().key(&hash);
            let cid = Cid::new_v1(Codec::Raw.code(), *cid.hash());
            out.push(Dead { key, place: Place { segment, offset, meta_len, data_len }, hash, cid });
        }
        Ok(())
    }
}
