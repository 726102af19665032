//! Walking a segment file: record after record, over damage to the next good one, to the end of what is whole.

use std::{fs::File, io};

use rustix::io::{Errno, pread};

use super::{
    Damage,
    record::{self, Kind, MAGIC, MAX_RECORD_BYTES, RECORD_BYTES, RecordHead},
};

/// How much is read at once, in bytes.
const READ_BYTES: usize = 4 << 20;

/// A record found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub kind: Kind,
    pub offset: u32,
    pub meta_len: u32,
    pub data_len: u32,
    /// The multihash it is about.
    pub hash: Vec<u8>,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub found: Vec<Found>,
    pub damage: Vec<Damage>,
    /// Where the last whole record ends.
    pub end: u64,
}

/// A part of a file in memory that follows the reader.
pub(super) struct Window<'a> {
    file: &'a File,
    start: u64,
    buffer: Vec<u8>,
    read_bytes: usize,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a File, read_bytes: usize) -> Self {
        Window { file, start: 0, buffer: Vec::new(), read_bytes }
    }

    /// The bytes from `at` on, `len` of them or as many as there are.
    pub(super) fn get(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let inside = at >= self.start && at + len as u64 <= self.start + self.buffer.len() as u64;
        if !inside {
            self.buffer.resize(len.max(self.read_bytes), 0);
            let n = read_at(self.file, &mut self.buffer, at)?;
            self.buffer.truncate(n);
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(&self.buffer[from..self.buffer.len().min(from + len)])
    }
}

/// Reads until `buffer` is full or the file ends; blocks.
pub(super) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match pread(file, &mut buffer[have..], at + have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(have)
}

/// Walks `file`, the segment `segment`, from `from` to its end.
pub(super) fn walk(file: &File, segment: u32, salt: u64, from: u64) -> io::Result<Walk> {
    let len = file.metadata()?.len();
    let mut window = Window::new(file, READ_BYTES);
    let mut out = Walk { end: from, ..Walk::default() };
    // Damage counts only when something good follows; at the end it is a torn write.
    let mut doubtful = Vec::new();
    let mut at = from;
    while at < len {
        let Some(head) = RecordHead::decode(window.get(at, RECORD_BYTES)?) else {
            let next = resync(&mut window, at + 1, len, salt)?;
            doubtful.push(Damage::new(segment, at, None, "no record begins here"));
            at = next;
            continue;
        };
        let bytes = window.get(at, head.total())?;
        let whole = bytes.len() == head.total();
        if !whole || !head.head_fine(bytes, salt) {
            let next = resync(&mut window, at + 1, len, salt)?;
            doubtful.push(Damage::new(segment, at, None, "the record's head is not what was written"));
            at = next;
            continue;
        }
        let (meta, data) = bytes[RECORD_BYTES..].split_at(head.meta_len as usize);
        match record::meta_hash(head.kind, meta).filter(|_| head.data_fine(data)) {
            Some(hash) => {
                let (meta_len, data_len) = (head.meta_len, head.data_len);
                out.found.push(Found { kind: head.kind, offset: at as u32, meta_len, data_len, hash });
                out.damage.append(&mut doubtful);
                out.end = at + head.total() as u64;
            }
            None => {
                let reason = "the block's bytes are not what was written";
                doubtful.push(Damage::new(segment, at, record::meta_cid(meta), reason));
            }
        }
        at += head.total() as u64;
    }
    Ok(out)
}

/// The next place at or after `at` where a whole record begins, or the end.
pub(super) fn resync(window: &mut Window<'_>, mut at: u64, len: u64, salt: u64) -> io::Result<u64> {
    while at < len {
        let bytes = window.get(at, READ_BYTES.min((len - at) as usize))?;
        let Some(found) = bytes.windows(MAGIC.len()).position(|w| w == MAGIC) else {
            // A magic may lie across the border.
            at += (bytes.len().max(MAGIC.len()) - MAGIC.len() + 1) as u64;
            continue;
        };
        at += found as u64;
        if let Some(head) = RecordHead::decode(window.get(at, RECORD_BYTES)?) {
            debug_assert!(head.total() <= MAX_RECORD_BYTES);
            let meta_end = RECORD_BYTES + head.meta_len as usize;
            if head.head_fine(window.get(at, meta_end)?, salt) {
                return Ok(at);
            }
        }
        at += 1;
    }
    Ok(len)
}
