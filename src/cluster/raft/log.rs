//! openraft's log over the store's write-ahead log.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures::{Stream, stream};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};

use crate::{
    base::cbor,
    store::{Recovered, Wal},
};

use super::types::{EntryOf, LogIdOf, TypeConfig, VoteOf, decode_entry, decode_small, encode_entry};

/// Bytes of entries read at once for replication and for applying.
const READ_BYTES: usize = 1024 * 1024;

/// The Raft log. Cheap to clone; clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    wal: Arc<Wal>,
    known: Arc<Mutex<Known>>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    vote: Option<VoteOf>,
    committed: Option<LogIdOf>,
    purged: Option<LogIdOf>,
    last: Option<LogIdOf>,
    /// The index of the first entry, if there is one.
    first: Option<u64>,
}

impl LogStore {
    /// Takes over what the write-ahead log has recovered.
    pub async fn open(wal: Wal, recovered: Recovered) -> io::Result<Self> {
        let read = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(decode_small::<LogIdOf>).transpose();
        let vote = recovered.vote.as_deref().map(decode_small::<VoteOf>).transpose()?;
        let committed = read(&recovered.committed)?;
        let purged = recovered.purged.as_ref().map(|(_, meta)| decode_small::<LogIdOf>(meta)).transpose()?;
        let store = LogStore { wal: Arc::new(wal), known: Arc::default() };
        let last = match recovered.last {
            Some(last) => store.read(last, last + 1, 1).await?.pop().map(|entry| entry.log_id),
            None => None,
        };
        *store.known() = Known { vote, committed, purged, last: last.max(purged), first: recovered.first };
        Ok(store)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The last entry's id, or the last purged one's.
    pub fn last(&self) -> Option<LogIdOf> {
        self.known().last
    }

    /// Whether nothing was ever written: no vote, no entry.
    pub fn is_pristine(&self) -> bool {
        let known = self.known();
        known.vote.is_none() && known.last.is_none()
    }

    /// The id up to which entries were purged.
    pub fn purged(&self) -> Option<LogIdOf> {
        self.known().purged
    }

    /// The entries in `[from, to)`, at least one if there is any, about `max_bytes` at most.
    async fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<EntryOf>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.wal.read(from, to, max_bytes).await?;
        rows.into_iter().map(|(_, bytes)| Ok(decode_entry(bytes)?)).collect()
    }

    /// The part of `range` that the log holds.
    fn held(&self, range: impl RangeBounds<u64>) -> (u64, u64) {
        let known = self.known();
        let from = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(at) => at + 1,
            Bound::Excluded(at) => *at,
            Bound::Unbounded => u64::MAX,
        };
        let first = known.first.unwrap_or(u64::MAX);
        let end = known.last.map_or(0, |id| id.index + 1);
        (from.max(first), to.min(end))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<EntryOf>> {
        let (mut from, to) = self.held(range);
        let mut out = Vec::new();
        while from < to {
            let part = self.read(from, to, READ_BYTES).await?;
            let Some(last) = part.last() else { break };
            from = last.log_id.index + 1;
            out.extend(part);
        }
        Ok(out)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<EntryOf>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = self.held(range);
        let log = self.clone();
        let pages = stream::try_unfold((log, from), move |(log, from)| async move {
            let part = log.read(from, to, READ_BYTES).await?;
            let next = part.last().map(|last| last.log_id.index + 1);
            Ok::<_, io::Error>(next.map(|next| (stream::iter(part.into_iter().map(Ok)), (log, next))))
        });
        Box::pin(futures::TryStreamExt::try_flatten(pages))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<EntryOf>> {
        self.read(start, end, READ_BYTES).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf>> {
        Ok(self.known().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let known = self.known();
        Ok(LogState { last_purged_log_id: known.purged, last_log_id: known.last })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf) -> io::Result<()> {
        self.wal.save_vote(cbor::to_vec(vote)).await?;
        self.known().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf>) -> io::Result<()> {
        if let Some(id) = committed {
            self.wal.save_committed(cbor::to_vec(&id)).await?;
        }
        self.known().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf>> {
        Ok(self.known().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut last = None;
        let rows: Vec<(u64, Bytes)> = entries
            .into_iter()
            .map(|entry| {
                last = Some(entry.log_id);
                (entry.log_id.index, encode_entry(&entry))
            })
            .collect();
        let Some(first) = rows.first().map(|(index, _)| *index) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        self.wal.append(rows, Box::new(move |result| callback.io_completed(result)));
        // Readable from now on, durable when the callback runs.
        let mut known = self.known();
        known.last = last;
        known.first.get_or_insert(first);
        drop(known);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf>) -> io::Result<()> {
        self.wal.truncate_after(last.map(|id| id.index)).await?;
        let mut known = self.known();
        // A cut beyond the end cuts nothing.
        known.last = last.min(known.last).max(known.purged);
        known.first = known.first.filter(|first| last.is_some_and(|last| last.index >= *first));
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf) -> io::Result<()> {
        self.wal.purge_upto(upto.index, cbor::to_vec(&upto)).await?;
        let mut known = self.known();
        known.purged = known.purged.max(Some(upto));
        let behind = known.last.is_some_and(|last| last.index > upto.index);
        known.first = if behind { known.first.map(|first| first.max(upto.index + 1)) } else { None };
        known.last = known.last.max(Some(upto));
        Ok(())
    }
}
