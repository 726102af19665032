//! Entry points of fuzz targets: segments and their checkpoints, as written and then damaged.

use std::{fs::File, io::Write, ops::Range};

use bytes::Bytes;

use super::{
    checkpoint,
    record::{self, HEAD_BYTES, Kind, RECORD_BYTES, RecordHead},
    scan::{self, Found},
};
use crate::base::{Block, Codec, Hash, fuzz::Input};

const SALT: u64 = 7;

/// Records that nothing has happened to are found, whatever has happened around them; no other is.
pub fn segment(data: &[u8]) {
    raw(data);
    let mut input = Input(data);
    let mut bytes = record::encode_head(SALT).to_vec();
    let mut written: Vec<(Range<usize>, Found)> = Vec::new();
    for _ in 0..input.byte() % 16 {
        let start = bytes.len();
        let kind = input.byte();
        let block = Block::new(Codec::Raw, Hash::Sha2_256, input.counted().to_vec()).expect("it is small");
        let hash = block.cid().hash().to_bytes();
        let (kind, meta_len, data_len) = if kind & 3 == 3 {
            (Kind::Delete, record::push_delete(&mut bytes, SALT, &hash), 0)
        } else {
            let links = vec![*block.cid(); usize::from(kind >> 4)];
            let meta = record::push_put(&mut bytes, SALT, block.cid(), &links, block.data());
            bytes.extend_from_slice(block.data());
            (Kind::Put, meta, block.data().len() as u32)
        };
        let meta_len = meta_len.expect("it is small");
        written.push((start..bytes.len(), Found { kind, offset: start as u32, meta_len, data_len, hash }));
    }
    // Few enough that no checksum fits by chance.
    let mut touched = Vec::new();
    for _ in 0..input.byte() % 4 {
        let (at, to) = (HEAD_BYTES + usize::from(input.short()), input.byte());
        if let Some(byte) = bytes.get_mut(at).filter(|byte| **byte != to) {
            *byte = to;
            touched.push(at);
        }
    }
    let cut = usize::from(input.byte()).min(bytes.len() - HEAD_BYTES);
    bytes.truncate(bytes.len() - cut);
    let walk = scan::walk(&memory(&bytes), 1, SALT, HEAD_BYTES as u64).expect("memory can be read");
    let whole = |range: &Range<usize>| range.end <= bytes.len() && !touched.iter().any(|at| range.contains(at));
    let expected: Vec<Found> =
        written.iter().filter(|(range, _)| whole(range)).map(|(_, found)| found.clone()).collect();
    assert_eq!(walk.found, expected);
    let end = expected.last().map_or(HEAD_BYTES, |last| {
        last.offset as usize + RECORD_BYTES + last.meta_len as usize + last.data_len as usize
    });
    assert_eq!(walk.end, end as u64);
    let harmed = written.iter().any(|(range, _)| range.end <= end && !whole(range));
    assert_eq!(harmed, !walk.damage.is_empty(), "what lies before a good record and is not good is told");
}

/// Bytes of which nothing is known.
fn raw(data: &[u8]) {
    let _ = record::decode_head(data);
    let _ = (record::meta_cid(data), record::meta_links(data));
    let _ = (record::meta_hash(Kind::Put, data), record::meta_hash(Kind::Delete, data));
    if let Some(head) = RecordHead::decode(data) {
        assert!(head.total() <= record::MAX_RECORD_BYTES);
        let _ = record::check(&Bytes::copy_from_slice(data), SALT, true);
    }
}

fn memory(bytes: &[u8]) -> File {
    let fd = rustix::fs::memfd_create("segment", rustix::fs::MemfdFlags::CLOEXEC).expect("memory is there");
    let mut file = File::from(fd);
    file.write_all(bytes).expect("memory takes bytes");
    file
}

/// A checkpoint whose chunks hold whatever the input says, each with its checksum, and one that is nothing but the input:
/// what it covers only grows, and lies within the file.
pub fn checkpoint(data: &[u8]) {
    let mut input = Input(data);
    let mut bytes = record::encode_head(SALT).to_vec();
    let mut at = HEAD_BYTES as u32;
    for _ in 0..input.byte() % 8 {
        let to = at.wrapping_add(u32::from(input.short()));
        let from = if input.byte() == 0 { input.short().into() } else { at };
        bytes.extend(checkpoint::chunk_of(from, to, input.counted(), SALT));
        at = to;
    }
    bytes.extend_from_slice(input.0);
    for bytes in [&bytes[..], data] {
        let loaded = checkpoint::read(bytes, Some(SALT));
        assert!(loaded.covered >= HEAD_BYTES as u64);
        assert!(loaded.end <= bytes.len() as u64);
        assert!(loaded.salt.is_none() || loaded.end >= HEAD_BYTES as u64);
        assert!(loaded.found.iter().all(|found| found.hash.len() <= usize::from(u8::MAX)));
    }
}
