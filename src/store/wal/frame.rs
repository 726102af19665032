//! Sans-IO: what the log's files hold: a head, then frames that are valid or torn as a whole.
//!
//! A frame is what one write put down and one sync made durable, and the next is not written before; so at most the
//! last frame can be torn, and anything bad before a good frame is damage.

use bytes::Bytes;

use crate::store::words::{salted_crc, u32_at, u64_at};

/// First bytes of a segment file.
pub(super) const FILE_MAGIC: [u8; 8] = *b"ipfskitw";
/// Layout of the files.
pub(super) const FORMAT: u32 = 1;
/// Bytes of a segment's head: magic, format, segment number, salt, checksum.
pub(super) const HEAD_BYTES: usize = 8 + 4 + 8 + 8 + 4;
/// First bytes of a frame.
pub(super) const FRAME_MAGIC: [u8; 4] = *b"WFR1";
/// Bytes before a frame's body: magic, checksum, number, length.
pub(super) const FRAME_HEAD_BYTES: usize = 4 + 4 + 8 + 4;
/// Bytes before a record's payload: kind, index, checksum, length.
pub(super) const RECORD_HEAD_BYTES: usize = 1 + 8 + 4 + 4;
/// Longest frame body, in bytes; a single entry must fit.
pub(super) const MAX_BODY_BYTES: usize = 96 << 20;

/// A segment's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The segment's number, counted from 1.
    pub segment: u64,
    /// Random, mixed into every checksum of the file: bytes of another log can never pass for this one's.
    pub salt: u64,
}

impl Head {
    pub(super) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[..8].copy_from_slice(&FILE_MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        out[12..20].copy_from_slice(&self.segment.to_le_bytes());
        out[20..28].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Head> {
        let bytes = bytes.get(..HEAD_BYTES)?;
        let fine = bytes[..8] == FILE_MAGIC
            && u32_at(bytes, 8) == FORMAT
            && crc32fast::hash(&bytes[..28]) == u32_at(bytes, 28);
        fine.then(|| Head { segment: u64_at(bytes, 12), salt: u64_at(bytes, 20) })
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An entry of the log.
    Entry = 1,
    /// The vote.
    Vote = 2,
    /// The committed position.
    Committed = 3,
    /// Entries after this index are gone.
    Truncate = 4,
    /// Entries after nothing are gone: all of them.
    TruncateAll = 5,
    /// Entries up to this index are gone.
    Purge = 6,
    /// First in every segment: the index of the last entry before it, in a log that has one.
    Begin = 7,
}

impl Kind {
    fn from_u8(n: u8) -> Option<Kind> {
        use Kind::*;
        [Entry, Vote, Committed, Truncate, TruncateAll, Purge, Begin].into_iter().find(|k| *k as u8 == n)
    }
}

/// A record of a frame, as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub kind: Kind,
    pub index: u64,
    pub payload: &'a [u8],
    /// Where the record begins in the frame's body.
    pub at: usize,
}

/// Builds one frame.
#[derive(Debug, Default)]
pub(super) struct FrameBuilder {
    bytes: Vec<u8>,
}

impl FrameBuilder {
    /// An empty frame, in a buffer that is used again.
    pub(super) fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(FRAME_HEAD_BYTES, 0);
        FrameBuilder { bytes: buffer }
    }

    /// Adds a record; returns where it begins in the frame.
    pub(super) fn push(&mut self, kind: Kind, index: u64, payload: &[u8]) -> usize {
        let at = self.bytes.len();
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(&index.to_le_bytes());
        self.bytes.extend_from_slice(&record_crc(index, payload).to_le_bytes());
        self.bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(payload);
        at
    }

    /// Bytes of the frame so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The finished frame, the `number`th of its log.
    pub(super) fn finish(mut self, number: u64, salt: u64) -> Vec<u8> {
        let body = (self.bytes.len() - FRAME_HEAD_BYTES) as u32;
        self.bytes[..4].copy_from_slice(&FRAME_MAGIC);
        self.bytes[8..16].copy_from_slice(&number.to_le_bytes());
        self.bytes[16..20].copy_from_slice(&body.to_le_bytes());
        let crc = salted_crc(&self.bytes[8..], salt);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

fn record_crc(index: u64, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&index.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// The valid frame at the start of `bytes`: its number, and its body.
pub(super) fn frame(bytes: &[u8], salt: u64) -> Option<(u64, &[u8])> {
    let head = bytes.get(..FRAME_HEAD_BYTES)?;
    if head[..4] != FRAME_MAGIC {
        return None;
    }
    let len = u32_at(head, 16) as usize;
    if len > MAX_BODY_BYTES {
        return None;
    }
    let whole = bytes.get(..FRAME_HEAD_BYTES + len)?;
    (salted_crc(&whole[8..], salt) == u32_at(head, 4)).then(|| (u64_at(head, 8), &whole[FRAME_HEAD_BYTES..]))
}

/// The records of a frame's body; `None` when they do not fill it exactly.
pub(super) fn records(body: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let head = body.get(at..at + RECORD_HEAD_BYTES)?;
        let kind = Kind::from_u8(head[0])?;
        let len = u32_at(head, 13) as usize;
        let payload = body.get(at + RECORD_HEAD_BYTES..)?.get(..len)?;
        out.push(Record { kind, index: u64_at(head, 1), payload, at });
        at += RECORD_HEAD_BYTES + len;
    }
    Some(out)
}

/// The payload of the entry `index` in the bytes of its record, if they are unharmed.
pub(super) fn entry(record: &Bytes, index: u64) -> Option<Bytes> {
    let head = record.get(..RECORD_HEAD_BYTES)?;
    let payload = record.slice(RECORD_HEAD_BYTES..);
    let fine = head[0] == Kind::Entry as u8
        && u64_at(head, 1) == index
        && u32_at(head, 13) as usize == payload.len()
        && u32_at(head, 9) == record_crc(index, &payload);
    fine.then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_frames_come_back_and_no_flipped_bit_passes() {
        let head = Head { segment: 3, salt: 9 };
        assert_eq!(Head::decode(&head.encode()), Some(head));
        let mut builder = FrameBuilder::new(vec![1, 2, 3]);
        let at = builder.push(Kind::Entry, 7, b"seven");
        builder.push(Kind::Vote, 0, b"");
        let bytes = builder.finish(1, 9);
        let (number, body) = frame(&bytes, 9).unwrap();
        assert_eq!(number, 1);
        let found = records(body).unwrap();
        assert_eq!((found[0].kind, found[0].index, found[0].payload), (Kind::Entry, 7, &b"seven"[..]));
        assert_eq!(found[0].at + FRAME_HEAD_BYTES, at);
        assert_eq!(found[1].kind, Kind::Vote);
        assert_eq!(frame(&bytes, 10), None);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(frame(&bad, 9), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(frame(&bytes[..len], 9), None);
        }
        let record = Bytes::from(bytes).slice(at..at + RECORD_HEAD_BYTES + 5);
        assert_eq!(entry(&record, 7).unwrap(), &b"seven"[..]);
        assert_eq!(entry(&record, 8), None);
    }
}
