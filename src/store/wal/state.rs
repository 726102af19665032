//! What the log's callers and its thread share: which entries there are, the newest of them, and what waits to be
//! written.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rustix::io::{Errno, pread};
use tokio::sync::oneshot;

use super::{
    AppendDone, check_len,
    frame::{self, Kind},
    replay::{Entries, Loc},
};

/// Bytes of the newest entries kept in memory, so that followers and the state machine rarely read the disk.
const RECENT_BYTES: usize = 4 << 20;

/// Something to be written.
pub(super) enum Item {
    /// Entries; those from `valid` on were truncated while they waited.
    Append { entries: Vec<(u64, Bytes)>, valid: u64, done: AppendDone },
    /// Anything else.
    Note { kind: Kind, index: u64, payload: Vec<u8>, done: oneshot::Sender<io::Result<()>> },
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Item::Append { entries, .. } => entries.iter().map(|(_, e)| e.len() + 64).sum(),
            Item::Note { payload, .. } => payload.len() + 64,
        }
    }

    pub(super) fn finish(self, result: io::Result<()>) {
        match self {
            Item::Append { done, .. } => done(result),
            Item::Note { done, .. } => drop(done.send(result)),
        }
    }
}

pub(super) struct Shared {
    state: Mutex<State>,
    /// Something waits to be written.
    pub wake: Condvar,
    /// There is room in the queue again.
    pub room: Condvar,
}

impl Shared {
    pub(super) fn new(entries: Entries, purged: Option<u64>, files: BTreeMap<u32, Arc<File>>) -> Self {
        let state = State {
            entries,
            purged,
            files,
            recent: VecDeque::new(),
            recent_bytes: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            in_flight_valid: u64::MAX,
            committed: None,
            poison: None,
            closed: false,
        };
        Shared { state: Mutex::new(state), wake: Condvar::new(), room: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct State {
    pub entries: Entries,
    pub purged: Option<u64>,
    /// Open segment files, for reading.
    pub files: BTreeMap<u32, Arc<File>>,
    /// The last entries, all of those among them that are not written yet.
    recent: VecDeque<Bytes>,
    recent_bytes: usize,
    queue: VecDeque<Item>,
    pub queued_bytes: usize,
    /// Of the entries being written, those from here on were truncated meanwhile.
    in_flight_valid: u64,
    /// A committed position not written yet.
    pub committed: Option<Vec<u8>>,
    /// Why nothing more is written.
    pub poison: Option<String>,
    pub closed: bool,
}

impl State {
    pub(super) fn healthy(&self) -> io::Result<()> {
        match &self.poison {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(reason.clone())),
        }
    }

    /// Whether `entries` may follow what is there.
    pub(super) fn check(&self, entries: &[(u64, Bytes)]) -> io::Result<()> {
        self.healthy()?;
        let mut next = match (self.entries.last(), self.purged) {
            (Some(last), _) => Some(last + 1),
            (None, Some(purged)) => Some(purged + 1),
            (None, None) => None,
        };
        for (index, entry) in entries {
            check_len(entry.len())?;
            if next.is_some_and(|next| next != *index) {
                let text = format!("log entry {index} does not follow the one before it");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            next = Some(index + 1);
        }
        Ok(())
    }

    pub(super) fn append(&mut self, entries: Vec<(u64, Bytes)>, done: AppendDone) {
        for (index, entry) in &entries {
            self.entries.push(*index, Loc::default());
            self.recent_bytes += entry.len();
            self.recent.push_back(entry.clone());
        }
        self.push(Item::Append { entries, valid: u64::MAX, done });
    }

    /// Takes note of a truncation or purge at once; it is written in its turn.
    pub(super) fn note(&mut self, kind: Kind, index: u64) {
        match kind {
            Kind::Truncate => self.truncate(index.saturating_add(1)),
            Kind::TruncateAll => self.truncate(0),
            Kind::Purge => {
                self.purged = Some(index);
                self.entries.purge(index);
                self.fit_recent();
            }
            _ => {}
        }
    }

    fn truncate(&mut self, next: u64) {
        let before = self.entries.locs.len();
        self.entries.truncate(next);
        for _ in self.entries.locs.len()..before {
            if let Some(entry) = self.recent.pop_back() {
                self.recent_bytes -= entry.len();
            }
        }
        self.in_flight_valid = self.in_flight_valid.min(next);
        for item in &mut self.queue {
            if let Item::Append { valid, .. } = item {
                *valid = (*valid).min(next);
            }
        }
    }

    /// Lets go of entries in memory that are purged, or old and on disk.
    fn fit_recent(&mut self) {
        let locs = &self.entries.locs;
        while let Some(oldest) = self.recent.front() {
            let purged = self.recent.len() > locs.len();
            let on_disk = || locs.get(locs.len() - self.recent.len()).is_some_and(|loc| loc.segment != 0);
            if !(purged || self.recent_bytes > RECENT_BYTES && on_disk()) {
                break;
            }
            self.recent_bytes -= oldest.len();
            self.recent.pop_front();
        }
    }

    pub(super) fn push(&mut self, item: Item) {
        self.queued_bytes += item.bytes();
        self.queue.push_back(item);
    }

    /// What goes out next: whatever waits, up to about `max_bytes`.
    pub(super) fn take(&mut self, max_bytes: usize) -> Vec<Item> {
        let mut out = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.queue.front() {
            let more = item.bytes();
            if !out.is_empty() && bytes + more > max_bytes {
                break;
            }
            bytes += more;
            out.extend(self.queue.pop_front());
        }
        self.queued_bytes -= bytes;
        self.in_flight_valid = u64::MAX;
        out
    }

    /// Everything that waits, when nothing can be written any more.
    pub(super) fn take_all(&mut self) -> Vec<Item> {
        self.queued_bytes = 0;
        self.queue.drain(..).collect()
    }

    /// Takes note of where entries lie now; `valid` is that of their item.
    pub(super) fn written(&mut self, locs: impl Iterator<Item = (u64, u64, Loc)>) {
        for (index, valid, loc) in locs {
            if index >= valid.min(self.in_flight_valid) || index < self.entries.first {
                continue;
            }
            let at = (index - self.entries.first) as usize;
            if let Some(slot) = self.entries.locs.get_mut(at) {
                *slot = loc;
            }
        }
        self.fit_recent();
    }

    /// How to read entries.
    pub(super) fn plan(&self, from: u64, to_excl: u64, max_bytes: usize) -> io::Result<Plan> {
        let mut plan = Plan { on_disk: Vec::new(), recent: Vec::new() };
        let recent_from = self.entries.next() - self.recent.len() as u64;
        let mut bytes = 0;
        for index in from..to_excl {
            let Some(loc) = self.entries.get(index) else { break };
            let recent = index.checked_sub(recent_from).and_then(|at| self.recent.get(at as usize));
            bytes += recent.map_or(loc.len as usize, Bytes::len);
            if bytes > max_bytes && index != from {
                break;
            }
            match recent {
                Some(entry) => plan.recent.push((index, entry.clone())),
                None => {
                    let file = self.files.get(&loc.segment);
                    let file = file.ok_or_else(|| io::Error::other("a log segment in use was removed"))?;
                    plan.on_disk.push((index, loc, Arc::clone(file)));
                }
            }
        }
        Ok(plan)
    }
}

/// Entries to be read: the older ones from disk, then those in memory.
pub(super) struct Plan {
    pub on_disk: Vec<(u64, Loc, Arc<File>)>,
    pub recent: Vec<(u64, Bytes)>,
}

impl Plan {
    /// Reads what is on disk; blocks.
    pub(super) fn read(self) -> io::Result<Vec<(u64, Bytes)>> {
        let mut out = Vec::with_capacity(self.on_disk.len() + self.recent.len());
        for (index, loc, file) in self.on_disk {
            let mut record = vec![0; loc.len as usize];
            let mut have = 0;
            while have < record.len() {
                match pread(&*file, &mut record[have..], u64::from(loc.offset) + have as u64) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(n) => have += n,
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            let entry = frame::entry(&record.into(), index).ok_or_else(|| {
                let text = format!("log entry {index} is damaged in segment {} at {}", loc.segment, loc.offset);
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
            out.push((index, entry));
        }
        out.extend(self.recent);
        Ok(out)
    }
}
