//! The log's own thread: opens the files, writes frames, syncs, begins new segments, removes old ones.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::{
    frame::{FRAME_HEAD_BYTES, FrameBuilder, HEAD_BYTES, Head, Kind},
    replay::{Bad, Carried, Entries, Loc, Replay, Scanned},
    segments::{self, Spare},
    state::{Item, Shared},
};
use crate::store::{StoreError, files::make_dir};

/// How much is put into one frame, if more than one item waits; in bytes.
const GROUP_BYTES: usize = 8 << 20;
/// How long a committed position may wait for company.
const COMMITTED_WAIT: Duration = Duration::from_secs(1);
/// A frame's buffer is kept for the next up to this size, in bytes.
const KEEP_BUFFER_BYTES: usize = 1 << 20;

/// An older segment.
struct Old {
    segment: u64,
    greatest: Option<u64>,
}

/// Owner of the log's files.
pub(super) struct Writer {
    dir: PathBuf,
    segment_bytes: u64,
    carried: Carried,
    next_frame: u64,
    /// First and last index of the entries written, as a reader of the files would see them.
    range: Option<(u64, u64)>,
    old: VecDeque<Old>,
    head: Head,
    file: Arc<File>,
    bytes: u64,
    end: u64,
    greatest: Option<u64>,
    spare: Option<JoinHandle<io::Result<Spare>>>,
    buffer: Vec<u8>,
}

/// A log as its files have it.
pub(super) struct Read {
    replay: Replay,
    /// Of each segment that counts its number, what is in it, and its bytes.
    segments: Vec<(u64, Scanned, u64)>,
    /// The newest one's bytes.
    newest: Vec<u8>,
    /// Segments that do not count any more.
    stale: Vec<u64>,
    /// What was being made when the last process ended.
    leftovers: Vec<PathBuf>,
}

/// Reads the log in `dir`, and errors when it is damaged; changes nothing.
pub(super) fn read(dir: &Path) -> Result<Read, StoreError> {
    let io = StoreError::io("reading the log");
    let (mut numbers, leftovers) = segments::list(dir).map_err(&io)?;
    // Old segments may be removed in any order by a crash; what counts is unbroken up to the newest.
    let unbroken = numbers.windows(2).rposition(|w| w[0] + 1 != w[1]).map_or(0, |at| at + 1);
    let stale: Vec<u64> = numbers.drain(..unbroken).collect();
    let (mut replay, mut found, mut newest) = (Replay::default(), Vec::new(), Vec::new());
    for &segment in &numbers {
        let path = segments::path(dir, segment);
        let damaged = |bad: Bad| StoreError::Damaged {
            what: path.display().to_string(),
            offset: bad.offset,
            reason: format!(
                "{}; this node must not vote with it: remove it from its cluster and join anew",
                bad.reason
            ),
        };
        newest = fs::read(&path).map_err(&io)?;
        let scanned = replay.segment(segment, &newest).map_err(damaged)?;
        if scanned.torn && numbers.last() != Some(&segment) {
            let reason = "a bad record lies before a later segment".into();
            return Err(damaged(Bad { offset: scanned.end as u64, reason }));
        }
        found.push((segment, scanned, newest.len() as u64));
    }
    if let Some(&first) = numbers.first() {
        replay.check_start(first).map_err(|bad| StoreError::Damaged {
            what: dir.display().to_string(),
            offset: bad.offset,
            reason: format!("{}; remove this node from its cluster and join anew", bad.reason),
        })?;
    }
    Ok(Read { replay, segments: found, newest, stale, leftovers })
}

/// What [`Writer::open`] gives: the writer, the entries found, and the files to read them from.
pub(super) type Opened = (Writer, Entries, BTreeMap<u32, Arc<File>>);

impl Writer {
    /// Reads the log back and makes it ready for writing.
    pub(super) fn open(dir: &Path, segment_bytes: u32) -> Result<Opened, StoreError> {
        let io = StoreError::io("opening the log");
        make_dir(dir).map_err(&io)?;
        let Read { replay, segments: found, newest, stale, leftovers } = read(dir)?;
        for path in leftovers {
            fs::remove_file(path).map_err(&io)?;
        }
        let last = found.last().map(|(segment, ..)| *segment);
        let mut old = VecDeque::new();
        let mut files = BTreeMap::new();
        let mut current = None;
        for (segment, scanned, bytes) in found {
            let path = segments::path(dir, segment);
            let file = OpenOptions::new().read(true).write(true).open(&path).map_err(&io)?;
            if scanned.torn {
                tracing::warn!(segment, offset = scanned.end, "the log ends in a torn write; it is cut off");
                cut(&file, &newest, scanned.end).map_err(&io)?;
            }
            let file = Arc::new(file);
            files.insert(segment as u32, Arc::clone(&file));
            if last == Some(segment) {
                current = Some((scanned, file, bytes));
            } else {
                old.push_back(Old { segment, greatest: scanned.greatest });
            }
        }
        let segment_bytes = u64::from(segment_bytes).max(4096);
        let (head, file, bytes, end, frames, greatest) = match current {
            Some((scanned, file, bytes)) => {
                (scanned.head, file, bytes, scanned.end as u64, scanned.frames, scanned.greatest)
            }
            None => {
                let spare = Spare::make(dir, 1, segment_bytes).map_err(&io)?;
                let (head, bytes, file) = spare.place(dir).map_err(&io)?;
                let file = Arc::new(file);
                files.insert(1, Arc::clone(&file));
                (head, file, bytes, HEAD_BYTES as u64, 0, None)
            }
        };
        for segment in stale {
            fs::remove_file(segments::path(dir, segment)).map_err(&io)?;
        }
        let Replay { carried, entries, next_frame, .. } = replay;
        let mut writer = Writer {
            dir: dir.into(),
            segment_bytes,
            carried,
            next_frame: next_frame.unwrap_or(1),
            range: entries.last().map(|last| (entries.first, last)),
            old,
            head,
            file,
            bytes,
            end,
            greatest,
            spare: None,
            buffer: Vec::new(),
        };
        if frames == 0 {
            writer.begin().map_err(&io)?;
        } else {
            // What was read may not have reached the disk yet, and is relied on from here.
            writer.file.sync_all().map_err(&io)?;
        }
        Ok((writer, entries, files))
    }

    pub(super) fn carried(&self) -> &Carried {
        &self.carried
    }

    /// Writes until the log is closed.
    pub(super) fn run(mut self, shared: &Shared) {
        loop {
            let mut state = shared.lock();
            let mut waited = false;
            let items = loop {
                let items = state.take(GROUP_BYTES);
                if !items.is_empty() || state.committed.is_some() && (waited || state.closed) {
                    break items;
                }
                if state.closed {
                    return;
                }
                state = if state.committed.is_some() {
                    let (state, late) =
                        shared.wake.wait_timeout(state, COMMITTED_WAIT).unwrap_or_else(PoisonError::into_inner);
                    waited = late.timed_out();
                    state
                } else {
                    shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner)
                };
            };
            let committed = state.committed.take();
            drop(state);
            shared.room.notify_all();
            match self.write(&items, committed, shared) {
                Ok(locs) => {
                    shared.lock().written(locs.into_iter());
                    let purged = self.remove_old(shared);
                    items.into_iter().for_each(|item| item.finish(Ok(())));
                    if let Err(e) = purged {
                        tracing::warn!(error = %e, "a log segment that is not needed any more could not be removed");
                    }
                }
                Err(e) => {
                    tracing::error!(error = %e, "the log cannot be written; it stops");
                    let text =
                        format!("the log cannot be written ({e}): check its disk and the space there, then restart");
                    let mut state = shared.lock();
                    state.poison = Some(text.clone());
                    let waiting = state.take_all();
                    drop(state);
                    shared.room.notify_all();
                    for item in items.into_iter().chain(waiting) {
                        item.finish(Err(io::Error::new(e.kind(), text.clone())));
                    }
                    return;
                }
            }
        }
    }

    /// Writes one frame and syncs it; returns where its entries lie, each with its item's limit of validity.
    fn write(
        &mut self,
        items: &[Item],
        committed: Option<Vec<u8>>,
        shared: &Shared,
    ) -> io::Result<Vec<(u64, u64, Loc)>> {
        let mut frame = FrameBuilder::new(std::mem::take(&mut self.buffer));
        let mut locs = Vec::new();
        for item in items {
            match item {
                Item::Append { entries, valid, .. } => {
                    for (index, entry) in entries {
                        let at = frame.push(Kind::Entry, *index, entry);
                        let loc = Loc { segment: 0, offset: at as u32, len: (frame.len() - at) as u32 };
                        locs.push((*index, *valid, loc));
                    }
                }
                Item::Note { kind, index, payload, .. } => {
                    frame.push(*kind, *index, payload);
                }
            }
        }
        if let Some(committed) = &committed {
            frame.push(Kind::Committed, 0, committed);
        }
        if self.end + frame.len() as u64 > self.bytes {
            self.rotate(frame.len() as u64, shared)?;
        }
        let start = self.end;
        self.put(frame)?;
        for (_, _, loc) in &mut locs {
            loc.segment = self.head.segment as u32;
            loc.offset += start as u32;
        }
        for item in items {
            self.take_note(item);
        }
        if committed.is_some() {
            self.carried.committed = committed;
        }
        if self.spare.is_none() && self.end > self.bytes / 2 {
            self.spare = Spare::make_aside(&self.dir, self.head.segment + 1, self.segment_bytes);
        }
        Ok(locs)
    }

    /// Keeps what the next segment must repeat.
    fn take_note(&mut self, item: &Item) {
        match item {
            Item::Append { entries, .. } => {
                if let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) {
                    self.range = Some((self.range.map_or(*first, |range| range.0), *last));
                    self.greatest = self.greatest.max(Some(*last));
                }
            }
            Item::Note { kind, index, payload, .. } => match kind {
                Kind::Vote => self.carried.vote = Some(payload.clone()),
                Kind::Truncate => {
                    let kept = self.range.filter(|(first, _)| first <= index);
                    self.range = kept.map(|(first, last)| (first, last.min(*index)));
                }
                Kind::TruncateAll => self.range = None,
                Kind::Purge => {
                    self.carried.purged = Some((*index, payload.clone()));
                    let kept = self.range.filter(|(_, last)| last > index);
                    self.range = kept.map(|(first, last)| (first.max(index + 1), last));
                }
                _ => {}
            },
        }
    }

    /// Writes a frame at the end and syncs.
    fn put(&mut self, frame: FrameBuilder) -> io::Result<()> {
        let bytes = frame.finish(self.next_frame, self.head.salt);
        self.file.write_all_at(&bytes, self.end)?;
        self.file.sync_data()?;
        self.end += bytes.len() as u64;
        self.next_frame += 1;
        if bytes.capacity() <= KEEP_BUFFER_BYTES {
            self.buffer = bytes;
        }
        Ok(())
    }

    /// Writes a segment's first frame: what older ones said that still holds.
    fn begin(&mut self) -> io::Result<()> {
        let frame = self.first_frame();
        self.put(frame)
    }

    fn first_frame(&self) -> FrameBuilder {
        let mut frame = FrameBuilder::new(Vec::new());
        match self.range {
            Some((_, last)) => frame.push(Kind::Begin, last, &[1]),
            None => frame.push(Kind::Begin, 0, &[]),
        };
        if let Some(vote) = &self.carried.vote {
            frame.push(Kind::Vote, 0, vote);
        }
        if let Some(committed) = &self.carried.committed {
            frame.push(Kind::Committed, 0, committed);
        }
        if let Some((index, meta)) = &self.carried.purged {
            frame.push(Kind::Purge, *index, meta);
        }
        frame
    }

    /// Begins the next segment, with room for `needed` bytes after its first frame.
    fn rotate(&mut self, needed: u64, shared: &Shared) -> io::Result<()> {
        let needed = needed + HEAD_BYTES as u64 + self.first_frame().len() as u64 + FRAME_HEAD_BYTES as u64;
        let segment = self.head.segment + 1;
        let made = match self.spare.take() {
            Some(thread) => thread.join().map_err(|_| io::Error::other("the thread making a segment died"))?.ok(),
            None => None,
        };
        let spare = match made {
            Some(spare) if spare.bytes >= needed => spare,
            _ => Spare::make(&self.dir, segment, needed.max(self.segment_bytes))?,
        };
        let (head, bytes, file) = spare.place(&self.dir)?;
        let file = Arc::new(file);
        self.old.push_back(Old { segment: self.head.segment, greatest: self.greatest.take() });
        shared.lock().files.insert(segment as u32, Arc::clone(&file));
        (self.head, self.bytes, self.file, self.end) = (head, bytes, file, HEAD_BYTES as u64);
        self.begin()
    }

    /// Removes segments all of whose entries are purged, oldest first.
    fn remove_old(&mut self, shared: &Shared) -> io::Result<()> {
        let Some(purged) = self.carried.purged.as_ref().map(|p| p.0) else { return Ok(()) };
        while self.old.front().is_some_and(|old| old.greatest.is_none_or(|greatest| greatest <= purged)) {
            let Some(old) = self.old.pop_front() else { break };
            shared.lock().files.remove(&(old.segment as u32));
            fs::remove_file(segments::path(&self.dir, old.segment))?;
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The folder may be opened again as soon as this is gone; nothing may be written to it by then.
        if let Some(spare) = self.spare.take() {
            let _ = spare.join();
        }
    }
}

/// Fills what follows `end` with zeros again.
fn cut(file: &File, bytes: &[u8], end: usize) -> io::Result<()> {
    let last = bytes.iter().rposition(|&b| b != 0).map_or(end, |at| at + 1);
    file.write_all_at(&vec![0; last.saturating_sub(end)], end as u64)?;
    file.sync_all()
}
