//! The write-ahead log under Raft: entries and vote, durable before anything that rests on them leaves this machine.
//!
//! One thread writes; whatever waits when it is free goes out as one frame with one fdatasync. Segment files are
//! written full of zeros before use, so that an append changes no file metadata. A failed write or sync ends the log's
//! life in this process: what the disk holds then is known only after the next start.

use std::{
    io,
    path::Path,
    sync::{Arc, PoisonError, Weak},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{StoreError, files::Lock};

mod frame;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod replay;
mod segments;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use frame::Kind;
use state::{Item, Shared};

/// Reads the log in `dir` and errors when it is damaged; changes nothing, and somebody may be writing it; blocks.
pub(crate) fn check(dir: &Path) -> Result<(), StoreError> {
    // What is written while it is read may look torn; what is damaged stays so.
    let mut outcome = Ok(());
    for _ in 0..3 {
        outcome = writer::read(dir).map(drop);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// What a log held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The last vote saved.
    pub vote: Option<Vec<u8>>,
    /// The last committed position saved.
    pub committed: Option<Vec<u8>>,
    /// Up to where the log was purged, with what was saved about it.
    pub purged: Option<(u64, Vec<u8>)>,
    /// Index of the last entry.
    pub last: Option<u64>,
    /// Index of the first entry.
    pub first: Option<u64>,
}

/// Called when an append is durable, or has failed.
pub type AppendDone = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Bytes that may wait to be written before [`Wal::append`] blocks.
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Longest entry, vote or note, in bytes.
pub const MAX_ENTRY_BYTES: usize = 64 << 20;

/// An open log. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Wal {
    inner: Arc<Inner>,
}

/// Tells whether a log is still open.
pub(crate) struct WeakWal(Weak<Inner>);

impl WeakWal {
    pub(crate) fn is_open(&self) -> bool {
        self.0.strong_count() > 0
    }
}

struct Inner {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        // A callback may hold the last clone; the thread cannot wait for itself.
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != thread::current().id()
        {
            let _ = writer.join();
        }
    }
}

impl Wal {
    /// Opens the log in the folder `dir`, making a missing one. A torn tail is cut; anything worse is
    /// [`StoreError::Damaged`], and the files are left as they are.
    pub(crate) fn open(
        dir: &Path,
        segment_bytes: u32,
        lock: Option<Arc<Lock>>,
    ) -> Result<(Wal, Recovered), StoreError> {
        let (writer, entries, files) = writer::Writer::open(dir, segment_bytes)?;
        let recovered = Recovered {
            vote: writer.carried().vote.clone(),
            committed: writer.carried().committed.clone(),
            purged: writer.carried().purged.clone(),
            last: entries.last(),
            first: entries.last().map(|_| entries.first),
        };
        let shared = Arc::new(Shared::new(entries, recovered.purged.as_ref().map(|p| p.0), files));
        let thread = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("wal".into()).spawn(move || {
                writer.run(&shared);
                drop(lock);
            })
        };
        let writer = thread.map_err(StoreError::io("starting the log's thread"))?;
        Ok((Wal { inner: Arc::new(Inner { shared, writer: Some(writer) }) }, recovered))
    }

    pub(crate) fn downgrade(&self) -> WeakWal {
        WeakWal(Arc::downgrade(&self.inner))
    }

    /// Appends entries of consecutive indexes. They can be read at once; `done` runs on the log's thread when they are
    /// durable, so it must be short. Blocks while more than 64 MiB wait to be written.
    pub fn append(&self, entries: Vec<(u64, Bytes)>, done: AppendDone) {
        let shared = &self.inner.shared;
        let mut state = shared.lock();
        while state.queued_bytes > MAX_QUEUED_BYTES && state.poison.is_none() {
            state = shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let refused = match state.check(&entries) {
            Ok(()) => {
                state.append(entries, done);
                drop(state);
                shared.wake.notify_one();
                return;
            }
            Err(e) => e,
        };
        drop(state);
        done(Err(refused));
    }

    /// Saves the vote; durable on return.
    pub async fn save_vote(&self, vote: Vec<u8>) -> io::Result<()> {
        self.note(Kind::Vote, 0, vote).await
    }

    /// Saves what is known to be committed; durable with the next write, or soon.
    pub async fn save_committed(&self, committed: Vec<u8>) -> io::Result<()> {
        check_len(committed.len())?;
        let mut state = self.inner.shared.lock();
        state.healthy()?;
        let first = state.committed.replace(committed).is_none();
        drop(state);
        if first {
            self.inner.shared.wake.notify_one();
        }
        Ok(())
    }

    /// Drops every entry after `index`, or all of them; durable on return.
    pub async fn truncate_after(&self, index: Option<u64>) -> io::Result<()> {
        match index {
            Some(index) => self.note(Kind::Truncate, index, Vec::new()).await,
            None => self.note(Kind::TruncateAll, 0, Vec::new()).await,
        }
    }

    /// Drops every entry up to `index`, which may lie beyond the last one, and remembers `meta`; durable on return.
    /// Purging less than before changes nothing.
    pub async fn purge_upto(&self, index: u64, meta: Vec<u8>) -> io::Result<()> {
        if self.inner.shared.lock().purged.is_some_and(|purged| index < purged) {
            return Ok(());
        }
        self.note(Kind::Purge, index, meta).await
    }

    /// Entries `from..to_excl` as far as they fit in `max_bytes`, but at least one if there is any.
    pub async fn read(&self, from: u64, to_excl: u64, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let plan = self.inner.shared.lock().plan(from, to_excl, max_bytes)?;
        if plan.on_disk.is_empty() {
            return Ok(plan.recent);
        }
        let task = tokio::task::spawn_blocking(move || plan.read());
        task.await.map_err(io::Error::other)?
    }

    /// Queues a record other than an entry and waits until it is durable.
    async fn note(&self, kind: Kind, index: u64, payload: Vec<u8>) -> io::Result<()> {
        check_len(payload.len())?;
        let (done, wait) = oneshot::channel();
        {
            let mut state = self.inner.shared.lock();
            state.healthy()?;
            state.note(kind, index);
            state.push(Item::Note { kind, index, payload, done });
        }
        self.inner.shared.wake.notify_one();
        wait.await.unwrap_or_else(|_| Err(io::Error::other("the log is closed")))
    }
}

fn check_len(bytes: usize) -> io::Result<()> {
    if bytes <= MAX_ENTRY_BYTES {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("a log entry of {bytes} bytes is over the limit of {MAX_ENTRY_BYTES} bytes"),
    ))
}
