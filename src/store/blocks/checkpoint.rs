//! What lies where in a segment, written beside it so that opening need not read the segment itself.
//!
//! The file is a copy of the segment's head and chunks, each with a checksum that holds the segment's salt. It is never
//! synced and never needed: what it does not cover, or covers wrongly, is read from the segment.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use super::{
    record::{self, HEAD_BYTES, Kind},
    scan::Found,
};
use crate::store::words::{salted_crc, u32_at};

/// Bytes of a chunk before its entries: magic, checksum, where what it covers begins and ends, length.
const CHUNK_BYTES: usize = 4 + 4 + 4 + 4 + 4;
const MAGIC: [u8; 4] = *b"IKX1";
/// Bytes of an entry before its multihash.
const ENTRY_BYTES: usize = 1 + 4 + 4 + 4 + 1;

/// What a checkpoint says.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The salt in its copy of the segment's head.
    pub salt: Option<u64>,
    pub found: Vec<Found>,
    /// Up to where it covers the segment.
    pub covered: u64,
    /// Up to where the file itself is whole.
    pub end: u64,
}

/// Reads the checkpoint at `path`; one that is missing or damaged covers less.
pub(super) fn load(path: &Path, segment_salt: Option<u64>) -> Loaded {
    read(&fs::read(path).unwrap_or_default(), segment_salt)
}

/// Reads a checkpoint's bytes.
pub(super) fn read(bytes: &[u8], segment_salt: Option<u64>) -> Loaded {
    let mut out = Loaded { salt: record::decode_head(bytes), covered: HEAD_BYTES as u64, ..Loaded::default() };
    let Some(salt) = out.salt.filter(|salt| segment_salt.is_none_or(|s| s == *salt)) else {
        return Loaded { covered: HEAD_BYTES as u64, ..Loaded::default() };
    };
    out.end = HEAD_BYTES as u64;
    while let Some((from, to, body)) = chunk(&bytes[out.end as usize..], salt) {
        if u64::from(from) != out.covered || !entries(body, &mut out.found) {
            break;
        }
        out.covered = u64::from(to);
        out.end += (CHUNK_BYTES + body.len()) as u64;
    }
    out
}

fn chunk(bytes: &[u8], salt: u64) -> Option<(u32, u32, &[u8])> {
    let head = bytes.get(..CHUNK_BYTES)?;
    let len = u32_at(head, 16) as usize;
    let whole = bytes.get(..CHUNK_BYTES.checked_add(len)?)?;
    let fine = head[..4] == MAGIC && salted_crc(&whole[8..], salt) == u32_at(head, 4);
    fine.then(|| (u32_at(head, 8), u32_at(head, 12), &whole[CHUNK_BYTES..]))
}

/// A chunk that says what lies in the segment from `from` to `to`.
pub(super) fn chunk_of(from: u32, to: u32, body: &[u8], salt: u64) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + body.len());
    chunk.extend_from_slice(&MAGIC);
    chunk.extend_from_slice(&[0; 4]);
    for n in [from, to, body.len() as u32] {
        chunk.extend_from_slice(&n.to_le_bytes());
    }
    chunk.extend_from_slice(body);
    let crc = salted_crc(&chunk[8..], salt);
    chunk[4..8].copy_from_slice(&crc.to_le_bytes());
    chunk
}

fn entries(mut body: &[u8], out: &mut Vec<Found>) -> bool {
    while let Some((head, rest)) = body.split_at_checked(ENTRY_BYTES) {
        let Some((hash, rest)) = rest.split_at_checked(head[13] as usize) else { return false };
        let kind = if head[0] == Kind::Put as u8 { Kind::Put } else { Kind::Delete };
        let (offset, meta_len, data_len) = (u32_at(head, 1), u32_at(head, 5), u32_at(head, 9));
        out.push(Found { kind, offset, meta_len, data_len, hash: hash.to_vec() });
        body = rest;
    }
    body.is_empty()
}

/// A checkpoint being written beside its segment.
pub(super) struct Checkpoint {
    file: File,
    salt: u64,
    end: u64,
    covered: u32,
    body: Vec<u8>,
    /// For each entry not written yet, where its record ends and where its bytes in `body` end.
    ends: Vec<(u32, usize)>,
}

impl Checkpoint {
    /// Goes on with the file at `path`, of which `loaded` was whole, or begins it.
    pub(super) fn open(path: &Path, salt: u64, loaded: &Loaded) -> io::Result<Checkpoint> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut out =
            Checkpoint { file, salt, end: loaded.end, covered: loaded.covered as u32, body: vec![], ends: vec![] };
        file_len(&out.file, loaded.end)?;
        if out.end == 0 {
            out.file.write_all_at(&record::encode_head(salt), 0)?;
            out.end = HEAD_BYTES as u64;
        }
        Ok(out)
    }

    /// Takes note of a record.
    pub(super) fn push(&mut self, found: &Found) {
        self.body.push(found.kind as u8);
        for n in [found.offset, found.meta_len, found.data_len] {
            self.body.extend_from_slice(&n.to_le_bytes());
        }
        self.body.push(found.hash.len() as u8);
        self.body.extend_from_slice(&found.hash);
        let end = found.offset + (record::RECORD_BYTES as u32) + found.meta_len + found.data_len;
        self.ends.push((end, self.body.len()));
    }

    /// Bytes of entries that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.body.len()
    }

    /// Writes what is known about the segment up to `synced`, which must be durable.
    pub(super) fn write(&mut self, synced: u32) -> io::Result<()> {
        let count = self.ends.partition_point(|(end, _)| *end <= synced);
        let Some(&(covered, len)) = self.ends[..count].last() else { return Ok(()) };
        let chunk = chunk_of(self.covered, covered, &self.body[..len], self.salt);
        self.file.write_all_at(&chunk, self.end)?;
        self.end += chunk.len() as u64;
        self.covered = covered;
        self.body.drain(..len);
        self.ends.drain(..count);
        self.ends.iter_mut().for_each(|(_, end)| *end -= len);
        Ok(())
    }
}

/// Writes a checkpoint of `found`, all that is in a segment up to `end`, in the place of the one at `path`.
pub(super) fn rewrite(path: &Path, salt: u64, found: &[Found], end: u64) -> io::Result<()> {
    let made = path.with_extension("idx.tmp");
    let _ = fs::remove_file(&made);
    let mut checkpoint = Checkpoint::open(&made, salt, &load(Path::new(""), None))?;
    found.iter().for_each(|found| checkpoint.push(found));
    checkpoint.write(u32::try_from(end).unwrap_or(u32::MAX))?;
    fs::rename(&made, path)
}

fn file_len(file: &File, len: u64) -> io::Result<()> {
    if file.metadata()?.len() == len { Ok(()) } else { file.set_len(len) }
}
