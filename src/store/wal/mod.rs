//! The write-ahead log under Raft: entries and vote, durable before anything that rests on them leaves this machine.

use std::io;

use bytes::Bytes;

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

/// An open log. Cheap to clone.
#[derive(Clone)]
pub struct Wal;

impl Wal {
    /// Appends entries of consecutive indexes. They can be read at once; `done` runs on the log's thread when they are
    /// durable, so it must be short. Blocks while more than 64 MiB wait to be written.
    pub fn append(&self, _entries: Vec<(u64, Bytes)>, _done: AppendDone) {
        todo!()
    }

    /// Saves the vote; durable on return.
    pub async fn save_vote(&self, _vote: Vec<u8>) -> io::Result<()> {
        todo!()
    }

    /// Saves what is known to be committed; durable with the next write, or soon.
    pub async fn save_committed(&self, _committed: Vec<u8>) -> io::Result<()> {
        todo!()
    }

    /// Drops every entry after `index`, or all of them; durable on return.
    pub async fn truncate_after(&self, _index: Option<u64>) -> io::Result<()> {
        todo!()
    }

    /// Drops every entry up to `index`, which may lie beyond the last one, and remembers `meta`; durable on return.
    pub async fn purge_upto(&self, _index: u64, _meta: Vec<u8>) -> io::Result<()> {
        todo!()
    }

    /// Entries `from..to_excl` as far as they fit in `max_bytes`, but at least one if there is any.
    pub async fn read(&self, _from: u64, _to_excl: u64, _max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        todo!()
    }
}
