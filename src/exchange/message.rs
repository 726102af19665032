//! Sans-IO: Bitswap messages, versions 1.2.0 down to the unversioned one (IPFS specifications, `bitswap-protocol.md`).
//!
//! Encoding gives segments: block bytes are passed on as they are, everything small is put together around them.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;

use crate::base::{Block, BlockError, Cid, CidError, Codec, Hash, MAX_BLOCK_BYTES, cid};

/// The generated protobuf types.
#[allow(missing_docs, clippy::all)]
mod pb {
    include!(concat!(env!("OUT_DIR"), "/ipfs_kit.bitswap.rs"));
}

/// Largest message admitted, in bytes (the specification's limit).
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Entries in one message that are looked at; what is behind them is ignored.
pub const MAX_ENTRIES: usize = 16_384;

/// Data below this is copied next to its header; larger data becomes a segment of its own.
const INLINE_BYTES: usize = 4 * 1024;
/// A received block below this is copied out of a message much larger than it, so as not to keep the whole alive.
const DETACH_BYTES: usize = 64 * 1024;

/// A version of the protocol, the newest the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `/ipfs/bitswap` and `/ipfs/bitswap/1.0.0`: bare blocks, hashed with SHA2-256.
    V1_0,
    /// `/ipfs/bitswap/1.1.0`: blocks with their CID's prefix.
    V1_1,
    /// `/ipfs/bitswap/1.2.0`: HAVE and DONT_HAVE besides.
    V1_2,
}

/// The protocol names, the preferred one first.
pub const PROTOCOLS: &[&str] = &["/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.0.0", "/ipfs/bitswap"];

impl Version {
    /// The version that a protocol name stands for; unknown names count as the oldest.
    pub fn of(protocol: &str) -> Self {
        match protocol {
            "/ipfs/bitswap/1.2.0" => Version::V1_2,
            "/ipfs/bitswap/1.1.0" => Version::V1_1,
            _ => Version::V1_0,
        }
    }

    /// Whether HAVE and DONT_HAVE exist in it.
    pub fn has_presences(self) -> bool {
        self >= Version::V1_2
    }
}

/// What an entry of a wantlist asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WantKind {
    /// The block itself.
    Block,
    /// Whether it is there.
    Have,
}

/// One entry of a wantlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is wanted.
    pub cid: Cid,
    /// Greater is sooner.
    pub priority: i32,
    /// Block or presence.
    pub kind: WantKind,
    /// Takes an earlier entry back.
    pub cancel: bool,
    /// Asks for an explicit DONT_HAVE.
    pub send_dont_have: bool,
}

/// A block as it arrived: its CID is not known before hashing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawBlock {
    /// Version, codec, hash function and digest length; `None` in 1.0.0 messages.
    pub prefix: Option<Bytes>,
    /// The bytes.
    pub data: Bytes,
}

impl RawBlock {
    /// Hashes the bytes as the prefix says.
    pub fn hash(self) -> Result<Block, BlockError> {
        let Some(prefix) = self.prefix else { return Block::new_v0(self.data) };
        let malformed = || {
            BlockError::Cid(CidError::Malformed {
                text: "<prefix>".into(),
                reason: "not four varints (version, codec, hash function, digest length)".into(),
            })
        };
        let mut rest: &[u8] = &prefix;
        let mut next = || -> Result<u64, BlockError> {
            let (value, tail) = unsigned_varint::decode::u64(rest).map_err(|_| malformed())?;
            rest = tail;
            Ok(value)
        };
        let (version, codec, function, length) = (next()?, next()?, next()?, next()?);
        if version == 0 {
            if (codec, function, length) != (0x70, 0x12, 32) {
                return Err(malformed());
            }
            return Block::new_v0(self.data);
        }
        if version != 1 {
            return Err(malformed());
        }
        let block = Block::new(Codec::from(codec), Hash::from_code(function)?, self.data)?;
        let digest = block.cid().hash().digest();
        if length as usize == digest.len() {
            return Ok(block);
        }
        // A truncated digest: legal, and verified as such.
        let short = digest.get(..length as usize).ok_or_else(malformed)?;
        let hash = cid::Multihash::wrap(function, short).map_err(|_| malformed())?;
        Block::verify(Cid::new_v1(codec, hash), block.into_data())
    }
}

/// A message that arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// Entries of the wantlist, cancels among them.
    pub entries: Vec<Entry>,
    /// The entries are the whole wantlist, not a change to it.
    pub full: bool,
    /// Blocks.
    pub blocks: Vec<RawBlock>,
    /// What the sender has (true) and has not.
    pub presences: Vec<(Cid, bool)>,
    /// Bytes of blocks over the size limit, dropped.
    pub oversized_bytes: u64,
    /// Entries and presences that named no CID.
    pub malformed: usize,
}

/// Decodes a message's body (without the length before it). Malformed CIDs inside are skipped and counted.
pub fn decode(body: Bytes) -> Result<Incoming, prost::DecodeError> {
    let whole = body.len();
    let message = pb::Message::decode(body)?;
    let mut out = Incoming::default();
    if let Some(list) = message.wantlist {
        out.full = list.full;
        for entry in list.entries.into_iter().take(MAX_ENTRIES) {
            let Ok(cid) = cid::decode(&entry.block) else {
                out.malformed += 1;
                continue;
            };
            let kind = if entry.want_type() == pb::message::wantlist::WantType::Have {
                WantKind::Have
            } else {
                WantKind::Block
            };
            out.entries.push(Entry {
                cid,
                priority: entry.priority,
                kind,
                cancel: entry.cancel,
                send_dont_have: entry.send_dont_have,
            });
        }
    }
    let with_prefix = message.payload.into_iter().map(|b| (Some(b.prefix), b.data));
    for (prefix, data) in message.blocks.into_iter().map(|data| (None, data)).chain(with_prefix) {
        if data.len() > MAX_BLOCK_BYTES {
            out.oversized_bytes += data.len() as u64;
            continue;
        }
        let small = data.len() < DETACH_BYTES && data.len() * 2 < whole;
        let data = if small { Bytes::copy_from_slice(&data) } else { data };
        out.blocks.push(RawBlock { prefix, data });
    }
    for presence in message.block_presences.into_iter().take(MAX_ENTRIES) {
        match cid::decode(&presence.cid) {
            Ok(cid) => out.presences.push((cid, presence.r#type() == pb::message::BlockPresenceType::PresenceHave)),
            Err(_) => out.malformed += 1,
        }
    }
    Ok(out)
}

/// Encodes a wantlist with the length before it. To peers before 1.2.0 every want is one for the block.
pub fn encode_wants(entries: &[Entry], full: bool, version: Version) -> Bytes {
    let presences = version.has_presences();
    let entries = entries
        .iter()
        .map(|e| pb::message::wantlist::Entry {
            block: e.cid.to_bytes().into(),
            priority: e.priority,
            cancel: e.cancel,
            want_type: i32::from(presences && e.kind == WantKind::Have),
            send_dont_have: presences && e.send_dont_have,
        })
        .collect();
    let message = pb::Message { wantlist: Some(pb::message::Wantlist { entries, full }), ..Default::default() };
    let body = message.encoded_len();
    let mut out = BytesMut::with_capacity(body + 5);
    put_varint(&mut out, body as u64);
    message.encode(&mut out).expect("the buffer grows as needed");
    out.freeze()
}

/// An answer to somebody's wantlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Blocks, each with the CID it was asked by.
    pub blocks: Vec<(Cid, Bytes)>,
    /// What is here (true) and what is not.
    pub presences: Vec<(Cid, bool)>,
    /// Bytes still queued for the peer.
    pub pending_bytes: i32,
}

impl Reply {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.presences.is_empty()
    }

    /// Encodes it with the length before it, in segments to be written one after another. What a version cannot say is
    /// left out: presences before 1.2.0; blocks then travel as that version carries them.
    pub fn encode(&self, version: Version) -> Vec<Bytes> {
        let presences = if version.has_presences() { &self.presences[..] } else { &[] };
        let head = pb::Message {
            // Old Go nodes expect a wantlist in every message.
            wantlist: Some(pb::message::Wantlist::default()),
            block_presences: presences
                .iter()
                .map(|(cid, have)| pb::message::BlockPresence { cid: cid.to_bytes().into(), r#type: i32::from(!have) })
                .collect(),
            pending_bytes: if version.has_presences() { self.pending_bytes } else { 0 },
            ..Default::default()
        };
        let prefixes: Vec<Vec<u8>> = self.blocks.iter().map(|(cid, _)| prefix_of(cid)).collect();
        let body: usize = head.encoded_len()
            + self
                .blocks
                .iter()
                .zip(&prefixes)
                .map(|((_, data), prefix)| match version {
                    Version::V1_0 => field_len(data.len()),
                    _ => field_len(field_len(prefix.len()) + field_len(data.len())),
                })
                .sum::<usize>();
        let mut out = Vec::new();
        let mut small = BytesMut::with_capacity(head.encoded_len() + 64 * self.blocks.len().min(64) + 16);
        put_varint(&mut small, body as u64);
        head.encode(&mut small).expect("the buffer grows as needed");
        for ((_, data), prefix) in self.blocks.iter().zip(&prefixes) {
            if version == Version::V1_0 {
                small.put_u8(2 << 3 | 2);
            } else {
                small.put_u8(3 << 3 | 2);
                put_varint(&mut small, (field_len(prefix.len()) + field_len(data.len())) as u64);
                small.put_u8(1 << 3 | 2);
                put_varint(&mut small, prefix.len() as u64);
                small.put_slice(prefix);
                small.put_u8(2 << 3 | 2);
            }
            put_varint(&mut small, data.len() as u64);
            if data.len() < INLINE_BYTES {
                small.put_slice(data);
            } else {
                out.push(small.split().freeze());
                out.push(data.clone());
            }
        }
        if !small.is_empty() {
            out.push(small.freeze());
        }
        out
    }
}

/// The bytes a block adds to a message at most, besides its data.
pub const BLOCK_OVERHEAD: usize = 64;

fn prefix_of(cid: &Cid) -> Vec<u8> {
    let mut out = BytesMut::with_capacity(16);
    let version = if cid.version() == ::cid::Version::V0 { 0 } else { 1 };
    for value in [version, cid.codec(), cid.hash().code(), cid.hash().digest().len() as u64] {
        put_varint(&mut out, value);
    }
    out.to_vec()
}

/// Length of a length-delimited field with a one-byte tag.
fn field_len(bytes: usize) -> usize {
    1 + prost::length_delimiter_len(bytes) + bytes
}

fn put_varint(out: &mut BytesMut, value: u64) {
    let mut buffer = unsigned_varint::encode::u64_buffer();
    out.put_slice(unsigned_varint::encode::u64(value, &mut buffer));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(n: u8, len: usize) -> Block {
        Block::new(Codec::Raw, Hash::Sha2_256, vec![n; len]).unwrap()
    }

    fn body(segments: &[Bytes]) -> Bytes {
        let whole = segments.concat();
        let (len, rest) = unsigned_varint::decode::usize(&whole).unwrap();
        assert_eq!(len, rest.len());
        Bytes::copy_from_slice(rest)
    }

    #[test]
    fn replies_round_trip_in_every_version() {
        let v0 = Block::new_v0(&b"dag"[..]).unwrap();
        let (a, b) = (block(1, 10), block(2, 300_000));
        let reply = Reply {
            blocks: [&v0, &a, &b].into_iter().map(|b| (*b.cid(), b.data().clone())).collect(),
            presences: vec![(*a.cid(), true), (*b.cid(), false)],
            pending_bytes: 7,
        };
        for version in [Version::V1_2, Version::V1_1] {
            let got = decode(body(&reply.encode(version))).unwrap();
            let cids: Vec<Cid> = got.blocks.into_iter().map(|b| *b.hash().unwrap().cid()).collect();
            assert_eq!(cids, [*v0.cid(), *a.cid(), *b.cid()]);
            assert_eq!(got.presences.len(), if version == Version::V1_2 { 2 } else { 0 });
        }
        let got = decode(body(&reply.encode(Version::V1_0))).unwrap();
        assert!(got.blocks.iter().all(|b| b.prefix.is_none()));
        assert_eq!(got.blocks[0].clone().hash().unwrap().cid(), v0.cid());
        assert_eq!(got.blocks[2].data, b.data());
    }

    #[test]
    fn wants_round_trip_and_old_versions_ask_for_blocks() {
        let entry =
            Entry { cid: *block(1, 3).cid(), priority: -5, kind: WantKind::Have, cancel: false, send_dont_have: true };
        let got = decode(body(&[encode_wants(&[entry], true, Version::V1_2)])).unwrap();
        assert_eq!((got.entries, got.full), (vec![entry], true));
        let got = decode(body(&[encode_wants(&[entry], false, Version::V1_1)])).unwrap();
        assert_eq!(got.entries, [Entry { kind: WantKind::Block, send_dont_have: false, ..entry }]);
    }

    #[test]
    fn the_bytes_are_those_of_other_implementations() {
        // As go-bitswap and js-bitswap write a want for `bafkqaaa`-like short CIDs: field 1, entry, CID, priority 1.
        let cid = *Block::new(Codec::Raw, Hash::Sha2_256, &b"hello world"[..]).unwrap().cid();
        let entry = Entry { cid, priority: 1, kind: WantKind::Block, cancel: false, send_dont_have: true };
        let bytes = encode_wants(&[entry], false, Version::V1_2);
        let mut expected = vec![46u8, 0x0a, 44, 0x0a, 42, 0x0a, 36];
        expected.extend(cid.to_bytes());
        expected.extend([0x10, 1, 0x28, 1]);
        assert_eq!(bytes, expected);
        assert_eq!(prefix_of(&cid), [1, 0x55, 0x12, 0x20]);
        assert_eq!(prefix_of(Block::new_v0(&b"x"[..]).unwrap().cid()), [0, 0x70, 0x12, 0x20]);
    }

    #[test]
    fn truncated_digests_and_bad_prefixes() {
        let data = Bytes::from_static(b"hello world");
        let raw = |prefix: &'static [u8]| RawBlock { prefix: Some(Bytes::from_static(prefix)), data: data.clone() };
        let short = raw(&[1, 0x55, 0x12, 20]).hash().unwrap();
        assert_eq!(short.cid().hash().digest().len(), 20);
        for bad in [
            &[][..],
            &[1],
            &[2, 0x55, 0x12, 0x20],
            &[0, 0x55, 0x12, 0x20],
            &[1, 0x55, 0x12, 33],
            &[1, 0x55, 0x12, 4],
            &[1, 0x55, 0xd5, 1, 16],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(raw(bad).hash().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn oversized_blocks_are_dropped_and_malformed_cids_skipped() {
        let message = pb::Message {
            wantlist: Some(pb::message::Wantlist {
                entries: vec![pb::message::wantlist::Entry {
                    block: Bytes::from_static(b"\x09junk"),
                    ..Default::default()
                }],
                full: false,
            }),
            payload: vec![pb::message::Block {
                prefix: Bytes::from_static(&[1, 0x55, 0x12, 0x20]),
                data: vec![0; MAX_BLOCK_BYTES + 1].into(),
            }],
            ..Default::default()
        };
        let got = decode(message.encode_to_vec().into()).unwrap();
        assert!(got.blocks.is_empty() && got.entries.is_empty());
        assert_eq!((got.oversized_bytes, got.malformed), (MAX_BLOCK_BYTES as u64 + 1, 1));
    }

    proptest! {
        #[test]
        fn junk_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            if let Ok(incoming) = decode(bytes.into()) {
                for block in incoming.blocks {
                    let _ = block.hash();
                }
            }
        }

        #[test]
        fn any_reply_round_trips(blocks in proptest::collection::vec((any::<u8>(), 0usize..9000), 0..20)) {
            let blocks: Vec<Block> = blocks.into_iter().map(|(n, len)| block(n, len)).collect();
            let reply = Reply {
                blocks: blocks.iter().map(|b| (*b.cid(), b.data().clone())).collect(),
                ..Default::default()
            };
            let got = decode(body(&reply.encode(Version::V1_2))).unwrap();
            prop_assert_eq!(got.blocks.len(), blocks.len());
            for (got, block) in got.blocks.into_iter().zip(blocks) {
                prop_assert_eq!(got.hash().unwrap(), block);
            }
        }
    }
}
