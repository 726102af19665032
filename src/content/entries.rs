//! A folder's entries while it is open: packed in memory, in a file without a name beyond a budget, so that memory does not
//! grow with the folder. They come back in the order of their names' hashes, in which shards are built.

use std::{cmp::Ordering, collections::BinaryHeap, fs::File, io, os::unix::fs::FileExt, path::Path, sync::Arc};

use crate::{
    base::Cid,
    dag::{hamt::hash_name, read::Entry},
};

/// Bytes a run is read back in at a time.
const READ_BYTES: usize = 32 * 1024;
/// Bytes in front of a record's CID and name: hash, size of the DAG, lengths of CID and name.
const HEAD_BYTES: usize = 8 + 8 + 1 + 2;
/// Longest record, in bytes: a CID of a 128-byte digest and a name of 255 bytes.
const MAX_RECORD_BYTES: usize = HEAD_BYTES + 160 + 255;

/// The file runs are written to. It has no name, so nothing of it stays when the process ends.
#[derive(Debug)]
pub(super) struct Spill {
    file: Arc<File>,
    end: u64,
}

impl Spill {
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        Ok(Spill { file: Arc::new(tempfile::tempfile_in(dir)?), end: 0 })
    }
}

/// Entries in any order.
#[derive(Debug, Default)]
pub(super) struct Entries {
    records: Vec<u8>,
    starts: Vec<u32>,
    runs: Vec<(u64, u64)>,
    payload: u64,
}

impl Entries {
    /// Adds an entry and tells how many bytes of memory that took.
    pub(super) fn push(&mut self, name: &[u8], cid: &Cid, tsize: u64) -> usize {
        let start = self.records.len();
        self.payload += (cid.encoded_len() + name.len()) as u64;
        self.starts.push(start as u32);
        self.records.extend_from_slice(&hash_name(name).to_be_bytes());
        self.records.extend_from_slice(&tsize.to_le_bytes());
        self.records.push(cid.encoded_len() as u8);
        self.records.extend_from_slice(&(name.len() as u16).to_le_bytes());
        // Writing to memory cannot fail.
        let _ = cid.write_bytes(&mut self.records);
        self.records.extend_from_slice(name);
        self.records.len() - start + size_of::<u32>()
    }

    /// Bytes of memory they take now.
    pub(super) fn memory(&self) -> usize {
        self.records.len() + self.starts.len() * size_of::<u32>()
    }

    /// Bytes of all names and CIDs.
    pub(super) fn payload(&self) -> u64 {
        self.payload
    }

    fn sort(&mut self) {
        let records = &self.records;
        let key = |start: &u32| Record::at(records, *start as usize).map(|record| record.key());
        self.starts.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    }

    /// Moves what is in memory to the file, as one run in order.
    pub(super) fn spill(&mut self, to: &mut Spill) -> io::Result<()> {
        if self.starts.is_empty() {
            return Ok(());
        }
        self.sort();
        let begin = to.end;
        let mut out = Vec::with_capacity(READ_BYTES + MAX_RECORD_BYTES);
        for start in &self.starts {
            if let Some(record) = Record::at(&self.records, *start as usize) {
                out.extend_from_slice(record.bytes);
            }
            if out.len() >= READ_BYTES {
                to.file.write_all_at(&out, to.end)?;
                to.end += out.len() as u64;
                out.clear();
            }
        }
        to.file.write_all_at(&out, to.end)?;
        to.end += out.len() as u64;
        self.runs.push((begin, to.end));
        (self.records, self.starts) = (Vec::new(), Vec::new());
        Ok(())
    }

    /// All of them, in the order of hashes and then of names.
    pub(super) fn sorted(mut self, from: Option<&Spill>) -> io::Result<Sorted> {
        self.sort();
        let mut sources = vec![Source::Memory { records: self.records, starts: self.starts.into_iter() }];
        if let Some(spill) = from {
            let runs = self.runs.into_iter();
            sources.extend(runs.map(|(at, end)| Source::Run {
                file: spill.file.clone(),
                at,
                end,
                buffer: Vec::new(),
                seen: 0,
            }));
        }
        let mut sorted = Sorted { sources, heads: BinaryHeap::new() };
        for source in 0..sorted.sources.len() {
            sorted.refill(source)?;
        }
        Ok(sorted)
    }
}

/// A record in its packed form.
struct Record<'a> {
    bytes: &'a [u8],
    cid: &'a [u8],
    name: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record that begins there; `None` when not all of it is there.
    fn at(bytes: &'a [u8], start: usize) -> Option<Self> {
        let rest = bytes.get(start..)?;
        let cid_len = usize::from(*rest.get(16)?);
        let name_len = usize::from(u16::from_le_bytes(rest.get(17..HEAD_BYTES)?.try_into().ok()?));
        let (name_at, end) = (HEAD_BYTES + cid_len, HEAD_BYTES + cid_len + name_len);
        Some(Record { bytes: rest.get(..end)?, cid: &rest[HEAD_BYTES..name_at], name: &rest[name_at..end] })
    }

    fn key(&self) -> (&'a [u8], &'a [u8]) {
        (&self.bytes[..8], self.name)
    }

    fn tsize(&self) -> u64 {
        self.bytes[8..16].try_into().map_or(0, u64::from_le_bytes)
    }
}

enum Source {
    Memory { records: Vec<u8>, starts: std::vec::IntoIter<u32> },
    Run { file: Arc<File>, at: u64, end: u64, buffer: Vec<u8>, seen: usize },
}

impl Source {
    fn next(&mut self) -> io::Result<Option<Head>> {
        let head = |record: Record<'_>| {
            let cid = Cid::try_from(record.cid).map_err(|e| io::Error::other(format!("the spill file: {e}")))?;
            let hash = record.bytes[..8].try_into().map_or(0, u64::from_be_bytes);
            Ok(Head { hash, entry: Entry { name: record.name.to_vec(), cid, tsize: record.tsize() }, source: 0 })
        };
        match self {
            Source::Memory { records, starts } => {
                starts.next().and_then(|start| Record::at(records, start as usize)).map(head).transpose()
            }
            Source::Run { file, at, end, buffer, seen } => {
                if Record::at(buffer, *seen).is_none() && *at < *end {
                    buffer.drain(..*seen);
                    *seen = 0;
                    let (kept, more) = (buffer.len(), READ_BYTES.min((*end - *at) as usize));
                    buffer.resize(kept + more, 0);
                    file.read_exact_at(&mut buffer[kept..], *at)?;
                    *at += more as u64;
                }
                match Record::at(buffer, *seen) {
                    Some(record) => {
                        *seen += record.bytes.len();
                        head(record).map(Some)
                    }
                    None if *seen == buffer.len() => Ok(None),
                    None => Err(io::Error::other("the spill file ends within a record")),
                }
            }
        }
    }
}

struct Head {
    hash: u64,
    entry: Entry,
    source: usize,
}

impl Ord for Head {
    // The smallest comes out of the heap first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.hash, &other.entry.name).cmp(&(self.hash, &self.entry.name))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// Entries in order, merged from memory and from the file.
pub(super) struct Sorted {
    sources: Vec<Source>,
    heads: BinaryHeap<Head>,
}

impl Sorted {
    fn refill(&mut self, source: usize) -> io::Result<()> {
        if let Some(head) = self.sources[source].next()? {
            self.heads.push(Head { source, ..head });
        }
        Ok(())
    }
}

impl Iterator for Sorted {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.heads.pop()?;
        Some(self.refill(head.source).map(|()| head.entry))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::{Block, Codec, Hash};

    proptest! {
        /// Whatever is spilled when, all entries come back once, in order.
        #[test]
        fn spilled_or_not_all_come_back_in_order(
            names in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..40), any::<bool>()), 0..200),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut spill = Spill::new(dir.path()).unwrap();
            let mut entries = Entries::default();
            let mut expected = Vec::new();
            for (i, (name, flush)) in names.into_iter().enumerate() {
                let hash = if i % 2 == 0 { Hash::Sha2_256 } else { Hash::Identity };
                let cid = *Block::new(Codec::Raw, hash, name.clone()).unwrap().cid();
                let before = entries.memory();
                prop_assert_eq!(entries.push(&name, &cid, i as u64), entries.memory() - before);
                expected.push((hash_name(&name), name, i as u64, cid));
                if flush {
                    entries.spill(&mut spill).unwrap();
                    prop_assert_eq!(entries.memory(), 0);
                }
            }
            expected.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
            let sorted: Vec<Entry> = entries.sorted(Some(&spill)).unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(sorted.len(), expected.len());
            for (entry, (_, name, ..)) in sorted.iter().zip(&expected) {
                prop_assert_eq!(&entry.name, name);
            }
            let mut got: Vec<_> = sorted.into_iter().map(|e| (e.tsize, e.cid, e.name)).collect();
            let mut wanted: Vec<_> = expected.into_iter().map(|(_, name, tsize, cid)| (tsize, cid, name)).collect();
            got.sort_by_key(|e| e.0);
            wanted.sort_by_key(|e| e.0);
            prop_assert_eq!(got, wanted);
        }
    }
}
