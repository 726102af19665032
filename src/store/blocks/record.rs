//! Sans-IO: what a block segment holds: a head, then records of blocks and of removals.

use bytes::Bytes;

use crate::{
    base::{Cid, MAX_BLOCK_BYTES, cid, cid::Multihash},
    store::words::{salted_crc, u32_at, u64_at},
};

/// Bytes of a segment's head: magic, format, salt, checksum.
pub(super) const HEAD_BYTES: usize = 8 + 4 + 8 + 4;
/// Bytes of a record before its meta part: magic, head checksum, data checksum, kind, two lengths.
pub(super) const RECORD_BYTES: usize = 4 + 4 + 4 + 4 + 4 + 4;
/// First bytes of a record.
pub(super) const MAGIC: [u8; 4] = *b"IKB1";
/// Longest meta part (content id and links), in bytes.
pub(super) const MAX_META_BYTES: usize = 8 << 20;
/// Longest record, in bytes.
pub(super) const MAX_RECORD_BYTES: usize = RECORD_BYTES + MAX_META_BYTES + MAX_BLOCK_BYTES;

const FILE_MAGIC: [u8; 8] = *b"ipfskits";
const FORMAT: u32 = 1;

/// A segment's head. The salt is random and part of every checksum, so that the bytes of a stored block can never pass
/// for a record.
pub(super) fn encode_head(salt: u64) -> [u8; HEAD_BYTES] {
    let mut out = [0; HEAD_BYTES];
    out[..8].copy_from_slice(&FILE_MAGIC);
    out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    out[12..20].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32fast::hash(&out[..20]);
    out[20..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The salt of a segment's head, if it is whole.
pub(super) fn decode_head(bytes: &[u8]) -> Option<u64> {
    let bytes = bytes.get(..HEAD_BYTES)?;
    let fine =
        bytes[..8] == FILE_MAGIC && u32_at(bytes, 8) == FORMAT && crc32fast::hash(&bytes[..20]) == u32_at(bytes, 20);
    fine.then(|| u64_at(bytes, 12))
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A block is here.
    Put = 1,
    /// The block is gone.
    Delete = 2,
}

/// The fixed part of a record. Its lengths are within limits, but nothing is checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub kind: Kind,
    pub meta_len: u32,
    pub data_len: u32,
    head_crc: u32,
    data_crc: u32,
}

impl RecordHead {
    pub(super) fn decode(bytes: &[u8]) -> Option<RecordHead> {
        let bytes = bytes.get(..RECORD_BYTES)?;
        let kind = match u32_at(bytes, 12) {
            1 => Kind::Put,
            2 => Kind::Delete,
            _ => return None,
        };
        let (meta_len, data_len) = (u32_at(bytes, 16), u32_at(bytes, 20));
        let fine = bytes[..4] == MAGIC && meta_len as usize <= MAX_META_BYTES && data_len as usize <= MAX_BLOCK_BYTES;
        fine.then(|| RecordHead { kind, meta_len, data_len, head_crc: u32_at(bytes, 4), data_crc: u32_at(bytes, 8) })
    }

    /// Bytes of the whole record.
    pub(super) fn total(&self) -> usize {
        RECORD_BYTES + self.meta_len as usize + self.data_len as usize
    }

    /// Whether fixed part and meta part, which `bytes` begins with, are what was written.
    pub(super) fn head_fine(&self, bytes: &[u8], salt: u64) -> bool {
        bytes.get(8..RECORD_BYTES + self.meta_len as usize).is_some_and(|head| salted_crc(head, salt) == self.head_crc)
    }

    /// Whether `data` is what was written.
    pub(super) fn data_fine(&self, data: &[u8]) -> bool {
        data.len() == self.data_len as usize && crc32fast::hash(data) == self.data_crc
    }
}

/// Appends everything of a record but its data to `out`; returns the length of the meta part. `None` when the links
/// are too many.
pub(super) fn push_put(out: &mut Vec<u8>, salt: u64, cid: &Cid, links: &[Cid], data: &[u8]) -> Option<u32> {
    push(out, salt, Kind::Put, data, |out| {
        push_cid(out, cid);
        out.extend_from_slice(&(links.len() as u32).to_le_bytes());
        links.iter().for_each(|link| push_cid(out, link));
    })
}

/// Appends everything of a record but its data to `out`, with a meta part that was taken from another record.
pub(super) fn push_copy(out: &mut Vec<u8>, salt: u64, meta: &[u8], data: &[u8]) -> Option<u32> {
    push(out, salt, Kind::Put, data, |out| out.extend_from_slice(meta))
}

/// Appends the record of a removal to `out`.
pub(super) fn push_delete(out: &mut Vec<u8>, salt: u64, hash: &[u8]) -> Option<u32> {
    push(out, salt, Kind::Delete, &[], |out| out.extend_from_slice(hash))
}

fn push(out: &mut Vec<u8>, salt: u64, kind: Kind, data: &[u8], meta: impl FnOnce(&mut Vec<u8>)) -> Option<u32> {
    let start = out.len();
    out.resize(start + RECORD_BYTES, 0);
    meta(out);
    let meta_len = out.len() - start - RECORD_BYTES;
    if meta_len > MAX_META_BYTES {
        out.truncate(start);
        return None;
    }
    let record = &mut out[start..];
    record[..4].copy_from_slice(&MAGIC);
    record[8..12].copy_from_slice(&crc32fast::hash(data).to_le_bytes());
    record[12..16].copy_from_slice(&(kind as u32).to_le_bytes());
    record[16..20].copy_from_slice(&(meta_len as u32).to_le_bytes());
    record[20..24].copy_from_slice(&(data.len() as u32).to_le_bytes());
    let crc = salted_crc(&record[8..], salt);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
    Some(meta_len as u32)
}

fn push_cid(out: &mut Vec<u8>, cid: &Cid) {
    let at = out.len();
    out.extend_from_slice(&[0, 0]);
    // Writing to a vector cannot fail.
    let len = cid.write_bytes(&mut *out).unwrap_or_default() as u16;
    out[at..at + 2].copy_from_slice(&len.to_le_bytes());
}

fn take_cid(bytes: &[u8]) -> Option<(Cid, &[u8])> {
    let (len, rest) = bytes.split_at_checked(2)?;
    let (bytes, rest) = rest.split_at_checked(u16::from_le_bytes([len[0], len[1]]) as usize)?;
    Some((cid::decode(bytes).ok()?, rest))
}

/// The content id in the meta part of a block's record.
pub(super) fn meta_cid(meta: &[u8]) -> Option<Cid> {
    take_cid(meta).map(|(cid, _)| cid)
}

/// The links in the meta part of a block's record.
pub(super) fn meta_links(meta: &[u8]) -> Option<Vec<Cid>> {
    let (_, rest) = take_cid(meta)?;
    let (count, mut rest) = rest.split_at_checked(4)?;
    let count = u32_at(count, 0) as usize;
    // Every link takes more than one byte, so what is there bounds the count.
    let mut out = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        let (cid, after) = take_cid(rest)?;
        out.push(cid);
        rest = after;
    }
    Some(out)
}

/// The multihash a record is about, as bytes.
pub(super) fn meta_hash(kind: Kind, meta: &[u8]) -> Option<Vec<u8>> {
    match kind {
        Kind::Put => Some(meta_cid(meta)?.hash().to_bytes()),
        Kind::Delete => Multihash::from_bytes(meta).ok().map(|_| meta.to_vec()),
    }
}

/// A record read whole and found to be what was written.
pub(super) struct Checked {
    pub cid: Cid,
    pub meta: Bytes,
    pub data: Bytes,
}

/// Checks a block's record.
pub(super) fn check(record: &Bytes, salt: u64, with_data: bool) -> Result<Checked, &'static str> {
    let head = RecordHead::decode(record).ok_or("no record begins here")?;
    if !head.head_fine(record, salt) {
        return Err("the record's head is not what was written");
    }
    let data_at = RECORD_BYTES + head.meta_len as usize;
    let meta = record.slice(RECORD_BYTES..data_at);
    let data = if with_data { record.slice(data_at..) } else { Bytes::new() };
    if with_data && !head.data_fine(&data) {
        return Err("the block's bytes are not what was written");
    }
    let cid = meta_cid(&meta).filter(|_| head.kind == Kind::Put).ok_or("the record holds no block")?;
    Ok(Checked { cid, meta, data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Block, Codec, Hash};

    #[test]
    fn records_come_back_and_no_flipped_bit_passes() {
        let link = *Block::new(Codec::Raw, Hash::Blake3, &b"link"[..]).unwrap().cid();
        let block = Block::new_v0(&b"data"[..]).unwrap();
        let mut bytes = Vec::new();
        push_put(&mut bytes, 5, block.cid(), &[link, link], block.data()).unwrap();
        bytes.extend_from_slice(block.data());
        let found = check(&bytes.clone().into(), 5, true).ok().unwrap();
        assert_eq!((found.cid, &found.data), (*block.cid(), block.data()));
        assert_eq!(meta_links(&found.meta).unwrap(), [link, link]);
        assert!(check(&bytes.clone().into(), 6, true).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bad.into(), 5, true).is_err(), "bit {bit}");
        }
        assert_eq!(decode_head(&encode_head(7)), Some(7));
    }
}
