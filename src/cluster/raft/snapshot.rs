//! Snapshots as files of checksummed frames: written from one read view, read back only whole.
//!
//! A file is the magic, then frames of (u32 length, u32 CRC-32, body), big-endian. The first body is the metadata, the
//! last the SHA2-256 of all rows; between them rows of (u8 length, table, u32 length, u32 length, key, value).

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use crate::{
    base::cbor,
    cluster::state::{STATE_TABLES, reader::hash_row},
    store::{Batch, Durability, Kv},
};

use super::{
    machine::{APPLIED, Applied, RAFT_TABLE},
    types::{MAX_RECORD_BYTES, SnapshotMetaOf, decode_small},
};

const MAGIC: &[u8; 8] = b"IPKSNAP1";
const META: u8 = 0;
const ROWS: u8 = 1;
const END: u8 = 2;
/// A frame of rows is closed at this size, in bytes.
const FRAME_BYTES: usize = 256 * 1024;
/// Largest frame read, in bytes: a frame is closed after the row that fills it.
const MAX_FRAME_BYTES: usize = FRAME_BYTES + MAX_RECORD_BYTES + 1024 * 1024;

/// A snapshot's file; the handle stays readable when a newer snapshot replaces it.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    pub path: PathBuf,
    pub file: Arc<File>,
    pub bytes: u64,
}

impl SnapshotFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(SnapshotFile { path: path.into(), file: Arc::new(file), bytes })
    }
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged snapshot: {}", what.into()))
}

fn write_frame(out: &mut impl Write, kind: u8, body: &[u8]) -> io::Result<()> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind]);
    crc.update(body);
    let len = u32::try_from(body.len() + 1).map_err(|_| bad("a frame over 4 GiB"))?;
    out.write_all(&len.to_be_bytes())?;
    out.write_all(&crc.finalize().to_be_bytes())?;
    out.write_all(&[kind])?;
    out.write_all(body)
}

fn read_frame(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 8];
    from.read_exact(&mut head)?;
    let [a, b, c, d, e, f, g, h] = head;
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if len == 0 || len > MAX_FRAME_BYTES {
        return Err(bad(format!("a frame of {len} bytes")));
    }
    let mut body = vec![0; len];
    from.read_exact(&mut body)?;
    if crc32fast::hash(&body) != u32::from_be_bytes([e, f, g, h]) {
        return Err(bad("a checksum does not match"));
    }
    let kind = body.remove(0);
    Ok((kind, body))
}

/// Writes the state of `kv` to `path`, durably. Blocks.
pub(crate) fn write(kv: &dyn Kv, path: &Path) -> io::Result<SnapshotMetaOf> {
    let mut out = BufWriter::with_capacity(FRAME_BYTES, File::create(path)?);
    out.write_all(MAGIC)?;
    let mut meta: Option<SnapshotMetaOf> = None;
    let mut rows = Vec::with_capacity(FRAME_BYTES + 4096);
    let mut hash = Sha256::new();
    let mut tables = STATE_TABLES.into_iter();
    let mut current = "";
    let mut all = vec![RAFT_TABLE];
    all.extend(STATE_TABLES);
    kv.dump(&all, &mut |table, key, value| {
        // The record of what is applied comes first; rows of the state are never without it.
        if table == RAFT_TABLE {
            if key == APPLIED {
                let applied: Applied = decode_small(value)?;
                let found = SnapshotMetaOf { last_log_id: applied.last, last_membership: applied.membership };
                write_frame(&mut out, META, &cbor::to_vec(&found))?;
                meta = Some(found);
            }
            return Ok(());
        }
        // Empty tables count too, so that the hash is that of the state.
        while current != table {
            current = tables.next().ok_or_else(|| bad("the store gave its tables out of order"))?;
            hash_row(&mut hash, current.as_bytes(), &[]);
        }
        hash_row(&mut hash, key, value);
        rows.push(table.len() as u8);
        rows.extend_from_slice(table.as_bytes());
        rows.extend_from_slice(&(key.len() as u32).to_be_bytes());
        rows.extend_from_slice(&(value.len() as u32).to_be_bytes());
        rows.extend_from_slice(key);
        rows.extend_from_slice(value);
        if rows.len() >= FRAME_BYTES {
            write_frame(&mut out, ROWS, &rows)?;
            rows.clear();
        }
        Ok(())
    })
    .map_err(io::Error::other)?;
    let meta = match meta {
        Some(meta) => meta,
        None if current.is_empty() => {
            let nothing = SnapshotMetaOf::default();
            write_frame(&mut out, META, &cbor::to_vec(&nothing))?;
            nothing
        }
        None => return Err(bad("the state does not say what is applied")),
    };
    for table in tables {
        hash_row(&mut hash, table.as_bytes(), &[]);
    }
    if !rows.is_empty() {
        write_frame(&mut out, ROWS, &rows)?;
    }
    write_frame(&mut out, END, &hash.finalize())?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(meta)
}

/// Puts a complete file in its place, durably, unless what is there covers as much. Blocks.
pub(crate) fn place(from: &Path, to: &Path) -> io::Result<()> {
    if to.try_exists()? && meta(to)?.last_log_id >= meta(from)?.last_log_id {
        return fs::remove_file(from);
    }
    fs::rename(from, to)?;
    match to.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a snapshot's metadata.
pub(crate) fn meta(path: &Path) -> io::Result<SnapshotMetaOf> {
    let mut from = BufReader::new(File::open(path)?);
    open_frames(&mut from)
}

fn open_frames(from: &mut impl Read) -> io::Result<SnapshotMetaOf> {
    let mut magic = [0; 8];
    from.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(bad("not a snapshot of this version"));
    }
    match read_frame(from)? {
        (META, body) => decode_small(&body),
        _ => Err(bad("no metadata")),
    }
}

/// Checks the whole file. Blocks.
pub(crate) fn check(path: &Path) -> io::Result<SnapshotMetaOf> {
    read(path, |_, _, _| {})
}

/// Checks the whole file and replaces the state of `kv` by it, in one durable commit. Blocks.
pub(crate) fn install(path: &Path, kv: &dyn Kv) -> io::Result<SnapshotMetaOf> {
    let mut batch = Batch::new();
    for table in STATE_TABLES {
        batch.clear(table);
    }
    let meta = read(path, |table, key, value| batch.put(table, key, value))?;
    let applied = Applied { last: meta.last_log_id, membership: meta.last_membership.clone() };
    batch.put(RAFT_TABLE, APPLIED, cbor::to_vec(&applied));
    kv.commit(batch, Durability::Immediate).map_err(io::Error::other)?;
    Ok(meta)
}

fn read(path: &Path, each: impl FnMut(&'static str, &[u8], &[u8])) -> io::Result<SnapshotMetaOf> {
    read_from(&mut BufReader::with_capacity(FRAME_BYTES, File::open(path)?), each)
}

fn read_from(from: &mut impl Read, mut each: impl FnMut(&'static str, &[u8], &[u8])) -> io::Result<SnapshotMetaOf> {
    let meta = open_frames(from)?;
    let mut hash = Sha256::new();
    let mut tables = STATE_TABLES.into_iter();
    let mut current = "";
    loop {
        let (kind, body) = read_frame(from)?;
        match kind {
            ROWS => {
                let mut rest = &body[..];
                while !rest.is_empty() {
                    let (name, key, value) = take_row(&mut rest).ok_or_else(|| bad("a row is cut"))?;
                    while current.as_bytes() != name {
                        current = tables.next().ok_or_else(|| bad("a table this version does not know"))?;
                        hash_row(&mut hash, current.as_bytes(), &[]);
                    }
                    hash_row(&mut hash, key, value);
                    each(current, key, value);
                }
            }
            END => {
                for table in tables {
                    hash_row(&mut hash, table.as_bytes(), &[]);
                }
                if hash.finalize()[..] != body[..] {
                    return Err(bad("the hash of the state does not match"));
                }
                return Ok(meta);
            }
            _ => return Err(bad("a frame of an unknown kind")),
        }
    }
}

fn take_row<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
    let (&len, tail) = rest.split_first()?;
    let (name, tail) = tail.split_at_checked(usize::from(len))?;
    let (lens, tail) = tail.split_at_checked(8)?;
    let key_len = u32::from_be_bytes(lens[..4].try_into().ok()?) as usize;
    let value_len = u32::from_be_bytes(lens[4..].try_into().ok()?) as usize;
    let (key, tail) = tail.split_at_checked(key_len)?;
    let (value, tail) = tail.split_at_checked(value_len)?;
    *rest = tail;
    Some((name, key, value))
}

/// Entry point of a fuzz target: whatever a file of frames holds, reading it ends; one whose rows stand in the order of
/// their tables gives these rows.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz(data: &[u8]) {
    use crate::base::fuzz::Input;

    let frame = |kind, body: &[u8]| {
        let mut out = Vec::new();
        write_frame(&mut out, kind, body).expect("memory takes bytes");
        out
    };
    let _ = read_from(&mut &data[..], |_, _, _| {});
    let mut input = Input(data);
    let meta = match input.byte() {
        0 => input.counted().to_vec(),
        _ => cbor::to_vec(&SnapshotMetaOf::default()),
    };
    let start = [&MAGIC[..], &frame(META, &meta)].concat();
    // Frames of any kind with any body.
    let mut any = start.clone();
    let mut pieces = Input(input.0);
    while !pieces.is_empty() {
        let kind = pieces.byte() % 4;
        any.extend(frame(kind, pieces.counted()));
    }
    let _ = read_from(&mut &any[..], |_, _, _| {});
    // Rows.
    let (mut rows, mut expected, mut hash, mut at) = (Vec::new(), Vec::new(), Sha256::new(), 0);
    let mut begun = 0;
    while !input.is_empty() {
        at = (at + usize::from(input.byte() % 3)).min(STATE_TABLES.len() - 1);
        let (name, key, value) = (STATE_TABLES[at], input.counted(), input.counted());
        for table in &STATE_TABLES[begun.min(at + 1)..=at] {
            hash_row(&mut hash, table.as_bytes(), &[]);
        }
        begun = at + 1;
        hash_row(&mut hash, key, value);
        rows.push(name.len() as u8);
        rows.extend_from_slice(name.as_bytes());
        rows.extend_from_slice(&(key.len() as u32).to_be_bytes());
        rows.extend_from_slice(&(value.len() as u32).to_be_bytes());
        rows.extend_from_slice(key);
        rows.extend_from_slice(value);
        expected.push((name, key.to_vec(), value.to_vec()));
    }
    for table in &STATE_TABLES[begun..] {
        hash_row(&mut hash, table.as_bytes(), &[]);
    }
    let file = [start, frame(ROWS, &rows), frame(END, &hash.finalize())].concat();
    let mut found = Vec::new();
    let read = read_from(&mut &file[..], |table, key, value| found.push((table, key.to_vec(), value.to_vec())));
    if decode_small::<SnapshotMetaOf>(&meta).is_ok() {
        read.expect("a whole file is read");
        assert_eq!(found, expected);
    }
}
