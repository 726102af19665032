//! Sans-IO: reading a log back: which entries there are and where, and whether what is bad is a torn tail or damage.

use std::collections::VecDeque;

use super::frame::{self, FRAME_HEAD_BYTES, FRAME_MAGIC, HEAD_BYTES, Head, Kind, RECORD_HEAD_BYTES, Record};

/// Where an entry's record lies. Segment 0 stands for "not written yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loc {
    pub segment: u32,
    pub offset: u32,
    pub len: u32,
}

/// What every segment repeats at its start, so that older ones can go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub vote: Option<Vec<u8>>,
    pub committed: Option<Vec<u8>>,
    pub purged: Option<(u64, Vec<u8>)>,
}

/// The entries a log has: consecutive indexes from `first` on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    pub first: u64,
    pub locs: VecDeque<Loc>,
}

impl Entries {
    /// One more than the last index; of no meaning while there are no entries.
    pub(super) fn next(&self) -> u64 {
        self.first + self.locs.len() as u64
    }

    pub(super) fn last(&self) -> Option<u64> {
        (!self.locs.is_empty()).then(|| self.next() - 1)
    }

    pub(super) fn get(&self, index: u64) -> Option<Loc> {
        self.locs.get(usize::try_from(index.checked_sub(self.first)?).ok()?).copied()
    }

    pub(super) fn push(&mut self, index: u64, loc: Loc) {
        if self.locs.is_empty() {
            self.first = index;
        }
        self.locs.push_back(loc);
    }

    /// Keeps entries before `next`.
    pub(super) fn truncate(&mut self, next: u64) {
        self.locs.truncate(usize::try_from(next.saturating_sub(self.first)).unwrap_or(usize::MAX));
    }

    /// Drops entries up to `index`; returns how many.
    pub(super) fn purge(&mut self, index: u64) -> usize {
        let gone = (index + 1).saturating_sub(self.first).min(self.locs.len() as u64) as usize;
        self.locs.drain(..gone);
        self.first += gone as u64;
        gone
    }
}

/// Bad bytes before good ones.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub offset: u64,
    pub reason: String,
}

/// How a segment ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    pub head: Head,
    /// Where the valid frames end.
    pub end: usize,
    /// How many there are.
    pub frames: u64,
    /// Whether what follows them is not empty: a write that a crash cut off.
    pub torn: bool,
    /// The greatest index of an entry ever put there.
    pub greatest: Option<u64>,
}

/// A log being read back, segment by segment.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub carried: Carried,
    pub entries: Entries,
    pub next_frame: Option<u64>,
    started: bool,
    /// Whether there were entries before the first segment left: then an empty log may have a last index.
    cut_off: bool,
}

impl Replay {
    /// Reads the segment file `bytes`, the `segment`th.
    pub(super) fn segment(&mut self, segment: u64, bytes: &[u8]) -> Result<Scanned, Bad> {
        let bad = |offset: usize, reason: &str| Bad { offset: offset as u64, reason: reason.into() };
        let head = Head::decode(bytes).ok_or_else(|| bad(0, "its head is not what was written"))?;
        if head.segment != segment {
            return Err(bad(0, "it is another segment under this name"));
        }
        let mut out = Scanned { head, end: HEAD_BYTES, frames: 0, torn: false, greatest: None };
        while let Some((number, body)) = frame::frame(&bytes[out.end..], head.salt) {
            if self.next_frame.is_some_and(|next| next != number) {
                return Err(bad(out.end, "a write before this one is missing"));
            }
            let records = frame::records(body).ok_or_else(|| bad(out.end, "a frame does not hold whole records"))?;
            for record in records {
                if record.kind == Kind::Entry {
                    out.greatest = out.greatest.max(Some(record.index));
                }
                let loc = Loc {
                    segment: segment as u32,
                    offset: (out.end + FRAME_HEAD_BYTES + record.at) as u32,
                    len: (RECORD_HEAD_BYTES + record.payload.len()) as u32,
                };
                self.record(record, loc).map_err(|reason| bad(out.end, reason))?;
            }
            self.next_frame = Some(number.saturating_add(1));
            out.end += FRAME_HEAD_BYTES + body.len();
            out.frames += 1;
        }
        let rest = &bytes[out.end..];
        out.torn = rest.iter().any(|&b| b != 0);
        if out.torn && later_frame(rest, head.salt) {
            return Err(bad(out.end, "a bad record lies before good ones"));
        }
        self.started = true;
        Ok(out)
    }

    fn record(&mut self, record: Record<'_>, loc: Loc) -> Result<(), &'static str> {
        let payload = || record.payload.to_vec();
        if record.index == u64::MAX && matches!(record.kind, Kind::Entry | Kind::Purge) {
            return Err("an index has none after it");
        }
        match record.kind {
            Kind::Entry => {
                if !self.entries.locs.is_empty() && self.entries.next() != record.index {
                    return Err("an entry before this one is missing");
                }
                self.entries.push(record.index, loc);
            }
            Kind::Vote => self.carried.vote = Some(payload()),
            Kind::Committed => self.carried.committed = Some(payload()),
            Kind::Truncate => self.entries.truncate(record.index.saturating_add(1)),
            Kind::TruncateAll => self.entries.truncate(0),
            Kind::Purge => {
                self.carried.purged = Some((record.index, payload()));
                self.entries.purge(record.index);
            }
            Kind::Begin => {
                // Of the first segment left, what lies before is gone on purpose.
                let had = self.entries.last();
                let says = (!record.payload.is_empty()).then_some(record.index);
                self.cut_off |= !self.started && says.is_some();
                let unknown = had.is_none() && self.cut_off;
                if self.started && had != says && !unknown {
                    return Err("entries at the end of the segment before are missing");
                }
            }
        }
        Ok(())
    }

    /// Whether the entries begin where the purge ended.
    pub(super) fn check_start(&self, first_segment: u64) -> Result<(), Bad> {
        let bad = |reason: &str| Err(Bad { offset: 0, reason: reason.into() });
        match (&self.carried.purged, self.entries.last()) {
            (None, _) if first_segment != 1 => bad("the first segments are missing"),
            (Some((purged, _)), Some(_)) if self.entries.first != purged + 1 => {
                bad("entries after the purged ones are missing")
            }
            _ => Ok(()),
        }
    }
}

/// Whether a valid frame begins anywhere in `bytes` after its start.
fn later_frame(bytes: &[u8], salt: u64) -> bool {
    let mut from = 1;
    while let Some(found) = bytes.get(from..).and_then(|rest| rest.windows(4).position(|w| w == FRAME_MAGIC)) {
        if frame::frame(&bytes[from + found..], salt).is_some() {
            return true;
        }
        from += found + 1;
    }
    false
}
