//! Sans-IO: content archives: CARv1 written, CARv1 and CARv2 read from bytes that arrive in any pieces.
//!
//! Sources: <https://ipld.io/specs/transport/car/carv1/> and `/carv2/`. A section becomes a block only by being hashed; an
//! archive's index is never believed, it is skipped.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::DagError;
use crate::base::{Block, Cid, MAX_BLOCK_BYTES, cid};

/// Most roots an archive may name.
pub const MAX_ROOTS: usize = 65_536;
/// Longest header read, in bytes.
const MAX_HEADER_BYTES: usize = 8 * 1024 * 1024;
/// Longest CID in a section, in bytes.
const MAX_CID_BYTES: usize = 168;
/// A CARv2 begins with these bytes: a CARv1 header that says `{version: 2}`.
const PRAGMA_V2: &[u8] = &[0x0a, 0xa1, 0x67, b'v', b'e', b'r', b's', b'i', b'o', b'n', 0x02];
/// Bytes of the fixed header behind the pragma.
const HEADER_V2_BYTES: usize = 40;

/// The bytes of a CARv1 header.
pub fn header(roots: &[Cid]) -> Vec<u8> {
    // {"roots": [..], "version": 1}, keys in DAG-CBOR's order.
    let mut body = vec![0xa2, 0x65];
    body.extend_from_slice(b"roots");
    put_head(&mut body, 4, roots.len() as u64);
    for root in roots {
        body.extend_from_slice(&[0xd8, 0x2a]);
        let bytes = root.to_bytes();
        put_head(&mut body, 2, bytes.len() as u64 + 1);
        body.push(0);
        body.extend_from_slice(&bytes);
    }
    body.push(0x67);
    body.extend_from_slice(b"version\x01");
    let mut out = Vec::with_capacity(body.len() + 4);
    put_varint(&mut out, body.len() as u64);
    out.extend_from_slice(&body);
    out
}

/// The bytes that stand before a block's data in an archive.
pub fn section_head(cid: &Cid, data_bytes: usize) -> Vec<u8> {
    let bytes = cid.to_bytes();
    let mut out = Vec::with_capacity(bytes.len() + 5);
    put_varint(&mut out, (bytes.len() + data_bytes) as u64);
    out.extend_from_slice(&bytes);
    out
}

fn put_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    match argument {
        0..=23 => out.push(major | argument as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        _ => {
            out.push(major | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// What an archive holds, in the order it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The roots it names; always the first item. There need not be any.
    Roots(Vec<Cid>),
    /// What is said to be a block.
    Section(Section),
}

/// A CID and the bytes it is said to name, not hashed yet, so that the hashing can be done elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What the bytes are said to be; its hash function is admitted.
    pub cid: Cid,
    /// The bytes.
    pub data: Bytes,
}

impl Section {
    /// Hashes the bytes. Errors when they are not what the archive says.
    pub fn verify(self) -> Result<Block, DagError> {
        Ok(Block::verify(self.cid, self.data)?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was read yet.
    Start,
    /// Behind a CARv2's pragma.
    HeaderV2,
    /// A CARv2's padding before its data.
    Skip { bytes: u64 },
    /// Before the CARv1 header.
    Header,
    /// Between sections.
    Sections,
    /// Everything of interest was read.
    Done,
}

/// Reads an archive from bytes that arrive in any pieces.
#[derive(Debug)]
pub struct CarReader {
    state: State,
    buffer: BytesMut,
    /// Bytes of a CARv2's data not yet taken; unlimited for CARv1.
    left: u64,
    items: VecDeque<Item>,
    /// Bytes taken so far, for messages.
    offset: u64,
    data_bytes: u64,
}

impl Default for CarReader {
    fn default() -> Self {
        let (items, buffer) = (VecDeque::new(), BytesMut::new());
        CarReader { state: State::Start, buffer, left: u64::MAX, items, offset: 0, data_bytes: 0 }
    }
}

impl CarReader {
    /// A reader that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes. Errors on what is malformed; the reader is of no use afterwards.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), DagError> {
        if self.state != State::Done {
            self.buffer.extend_from_slice(bytes);
            while self.step()? {}
        }
        Ok(())
    }

    /// The next item that is complete.
    pub fn next_item(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// Checks that the archive was complete when its bytes ended.
    pub fn finish(&self) -> Result<(), DagError> {
        match self.state {
            State::Done => Ok(()),
            State::Sections if self.buffer.is_empty() && (self.left == u64::MAX || self.left == 0) => Ok(()),
            _ => Err(self.bad("the archive is cut off")),
        }
    }

    fn bad(&self, why: impl std::fmt::Display) -> DagError {
        DagError::malformed("CAR", format!("at byte {}: {why}", self.offset))
    }

    fn take(&mut self, bytes: usize) -> Bytes {
        self.offset += bytes as u64;
        if matches!(self.state, State::Header | State::Sections) && self.left != u64::MAX {
            self.left -= bytes as u64;
        }
        self.buffer.split_to(bytes).freeze()
    }

    /// One step; false when more bytes are needed.
    fn step(&mut self) -> Result<bool, DagError> {
        match self.state {
            State::Start => {
                if PRAGMA_V2.starts_with(&self.buffer[..self.buffer.len().min(PRAGMA_V2.len())]) {
                    if self.buffer.len() < PRAGMA_V2.len() {
                        return Ok(false);
                    }
                    self.take(PRAGMA_V2.len());
                    self.state = State::HeaderV2;
                } else {
                    self.state = State::Header;
                }
                Ok(true)
            }
            State::HeaderV2 => {
                if self.buffer.len() < HEADER_V2_BYTES {
                    return Ok(false);
                }
                let mut head = self.take(HEADER_V2_BYTES);
                head.advance(16);
                let (data_offset, data_bytes) = (head.get_u64_le(), head.get_u64_le());
                let skip = data_offset.checked_sub(self.offset).ok_or_else(|| {
                    self.bad(format!("the data is said to begin inside the header, at {data_offset}"))
                })?;
                self.data_bytes = data_bytes;
                self.state = State::Skip { bytes: skip };
                Ok(true)
            }
            State::Skip { bytes: 0 } => {
                self.left = self.data_bytes;
                self.state = State::Header;
                Ok(true)
            }
            State::Skip { bytes } => {
                let now = bytes.min(self.buffer.len() as u64);
                self.take(now as usize);
                self.state = State::Skip { bytes: bytes - now };
                Ok(now > 0)
            }
            State::Header => self.read_header(),
            State::Sections => self.read_section(),
            State::Done => {
                self.buffer.clear();
                Ok(false)
            }
        }
    }

    /// The length that stands at the start of the buffer and the bytes it takes; None when it is not all there.
    fn length(&self, limit: usize) -> Result<Option<(usize, usize)>, DagError> {
        let mut value = 0u64;
        for (i, byte) in self.buffer.iter().take(5).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                if i > 0 && *byte == 0 {
                    return Err(self.bad("a section's length is longer than it has to be"));
                }
                return match usize::try_from(value) {
                    Ok(0) => Err(self.bad("a section of no bytes")),
                    Ok(len) if len <= limit => Ok(Some((len, i + 1))),
                    _ => Err(self.bad(format!("a section of {value} bytes, at most {limit} are read"))),
                };
            }
        }
        if self.buffer.len() >= 5 { Err(self.bad("a section's length has no end")) } else { Ok(None) }
    }

    fn read_header(&mut self) -> Result<bool, DagError> {
        let Some((len, head)) = self.length(MAX_HEADER_BYTES)? else { return Ok(false) };
        if ((head + len) as u64) > self.left {
            return Err(self.bad("the header is longer than the data"));
        }
        if self.buffer.len() < head + len {
            return Ok(false);
        }
        self.take(head);
        let body = self.take(len);
        let roots = roots(&body).map_err(|why| self.bad(why))?;
        self.items.push_back(Item::Roots(roots));
        self.state = State::Sections;
        Ok(true)
    }

    fn read_section(&mut self) -> Result<bool, DagError> {
        if self.left == 0 {
            self.state = State::Done;
            return Ok(true);
        }
        if self.buffer.is_empty() {
            return Ok(false);
        }
        let Some((len, head)) = self.length(MAX_BLOCK_BYTES + MAX_CID_BYTES)? else { return Ok(false) };
        if ((head + len) as u64) > self.left {
            return Err(self.bad("a section is longer than the data"));
        }
        if self.buffer.len() < head + len {
            // Room for all of it at once, but no more than one section.
            self.buffer.reserve(head + len - self.buffer.len());
            return Ok(false);
        }
        self.take(head);
        let section = self.take(len);
        let mut rest = &section[..];
        let cid = cid::read(&mut rest).map_err(|e| self.bad(format!("a section without a CID: {e}")))?;
        cid::admit(&cid).map_err(|e| self.bad(e))?;
        let data = section.slice(len - rest.len()..);
        self.items.push_back(Item::Section(Section { cid, data }));
        Ok(true)
    }
}

/// Reads a CARv1 header's body.
fn roots(body: &[u8]) -> Result<Vec<Cid>, String> {
    use ciborium::Value;
    let mut rest = body;
    let value: Value =
        ciborium::de::from_reader_with_recursion_limit(&mut rest, 16).map_err(|e| format!("the header: {e}"))?;
    if !rest.is_empty() {
        return Err("the header has bytes left over".into());
    }
    let fields = value.into_map().map_err(|_| "the header is no map")?;
    let (mut version, mut roots) = (None, Vec::new());
    for (key, value) in fields {
        match (key.as_text(), value) {
            (Some("version"), Value::Integer(number)) => version = Some(i128::from(number)),
            (Some("roots"), Value::Array(list)) => {
                if list.len() > MAX_ROOTS {
                    return Err(format!("{} roots, at most {MAX_ROOTS} are read", list.len()));
                }
                for root in list {
                    let Value::Tag(42, link) = root else { return Err("a root that is no link".into()) };
                    let cid = link
                        .as_bytes()
                        .and_then(|bytes| bytes.strip_prefix(&[0]))
                        .and_then(|bytes| cid::decode(bytes).ok())
                        .ok_or("a root that is no CID")?;
                    roots.push(cid);
                }
            }
            (Some("roots"), Value::Null) => {}
            (name, _) => return Err(format!("the header has an unknown field '{}'", name.unwrap_or("?"))),
        }
    }
    match version {
        Some(1) => Ok(roots),
        Some(other) => Err(format!("version {other}; versions 1 and 2 are read")),
        None => Err("the header names no version".into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::{Codec, Hash};

    fn read(bytes: &[u8], piece: usize) -> Result<(Vec<Cid>, Vec<Block>), DagError> {
        let mut reader = CarReader::new();
        let (mut roots, mut blocks) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            reader.feed(piece)?;
            while let Some(item) = reader.next_item() {
                match item {
                    Item::Roots(r) => roots = r,
                    Item::Section(s) => blocks.push(s.verify()?),
                }
            }
        }
        reader.finish()?;
        Ok((roots, blocks))
    }

    fn write(roots: &[Cid], blocks: &[Block]) -> Vec<u8> {
        let mut out = header(roots);
        for block in blocks {
            out.extend(section_head(block.cid(), block.data().len()));
            out.extend_from_slice(block.data());
        }
        out
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_in_any_pieces(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            piece in 1usize..200,
        ) {
            let blocks: Vec<Block> =
                contents.into_iter().map(|c| Block::new(Codec::Raw, Hash::Sha2_256, c).unwrap()).collect();
            let roots: Vec<Cid> = blocks.iter().take(3).map(|b| *b.cid()).collect();
            let bytes = write(&roots, &blocks);
            prop_assert_eq!(read(&bytes, piece).unwrap(), (roots, blocks));
            for cut in 1..bytes.len().min(40) {
                let _ = read(&bytes[..bytes.len() - cut], piece);
            }
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, 7);
        }
    }

    #[test]
    fn a_changed_byte_of_a_block_is_found() {
        let block = Block::new(Codec::Raw, Hash::Sha2_256, &b"content"[..]).unwrap();
        let mut bytes = write(&[*block.cid()], &[block]);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(matches!(read(&bytes, 1000), Err(DagError::Block(_))));
        assert!(read(&bytes[..last], 1000).is_err(), "cut off");
    }

    #[test]
    fn published_archives() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/car");
        if !folder.is_dir() {
            eprintln!("SKIPPED: the published CAR vectors are absent");
            return;
        }
        let load = |name: &str| read(&std::fs::read(folder.join(name)).unwrap(), 4096);
        for good in ["sample-v1.car", "sample-wrapped-v2.car", "sample-v2-indexless.car", "simple-unixfs.car"] {
            let (roots, blocks) = load(good).unwrap_or_else(|e| panic!("{good}: {e}"));
            assert!(!roots.is_empty() && !blocks.is_empty(), "{good}");
        }
        let (v1, v2) = (load("sample-v1.car").unwrap(), load("sample-wrapped-v2.car").unwrap());
        assert_eq!(v1, v2, "a wrapped archive holds the same");
        for bad in [
            "badheaderlength.car",
            "badsectionlength.car",
            "sample-corrupt-pragma.car",
            "sample-rootless-v42.car",
            "sample-v1-tailing-corrupt-section.car",
            "sample-v1-with-zero-len-section2.car",
            "sample-v2-corrupt-data-and-index.car",
        ] {
            assert!(load(bad).is_err(), "{bad} must be refused");
        }
    }
}
