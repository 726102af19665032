//! Sans-IO: the UnixFS message inside a DAG-PB node's data (<https://specs.ipfs.tech/unixfs/>).

use bytes::Bytes;

use super::{
    DagError,
    pb::MAX_LINKS,
    wire::{self, Reader, Value},
};

const CODEC: &str = "unixfs";

/// What a UnixFS node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes of a file, as some writers mark leaves.
    Raw,
    /// A directory in one node.
    Directory,
    /// A file or a part of one.
    File,
    /// Obsolete; never written.
    Metadata,
    /// A symbolic link; its target stands in the data.
    Symlink,
    /// A part of a sharded directory.
    HamtShard,
}

impl Kind {
    fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Kind::Raw,
            1 => Kind::Directory,
            2 => Kind::File,
            3 => Kind::Metadata,
            4 => Kind::Symlink,
            5 => Kind::HamtShard,
            _ => return None,
        })
    }

    /// The kind's word in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Raw => "raw leaf",
            Kind::Directory => "directory",
            Kind::File => "file",
            Kind::Metadata => "metadata node",
            Kind::Symlink => "symbolic link",
            Kind::HamtShard => "sharded directory",
        }
    }
}

/// What a file, directory or symbolic link may say of itself beside its content (UnixFS 1.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Unix permission bits.
    pub mode: Option<u32>,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: Option<(i64, u32)>,
}

impl Attributes {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A UnixFS message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixFs {
    /// What the node is.
    pub kind: Kind,
    /// A leaf's bytes, a symbolic link's target, a shard's bit field.
    pub data: Option<Bytes>,
    /// Bytes of the file below this node, its own data included.
    pub filesize: Option<u64>,
    /// Bytes of the file below each link, in the links' order.
    pub blocksizes: Vec<u64>,
    /// A shard's hash function.
    pub hash_type: Option<u64>,
    /// A shard's width.
    pub fanout: Option<u64>,
    /// Unix permission bits.
    pub mode: Option<u32>,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: Option<(i64, u32)>,
}

impl UnixFs {
    /// A message of this kind with nothing else in it.
    pub fn new(kind: Kind) -> Self {
        let (data, filesize, blocksizes) = (None, None, Vec::new());
        UnixFs { kind, data, filesize, blocksizes, hash_type: None, fanout: None, mode: None, mtime: None }
    }

    /// A message of this kind with these attributes.
    pub fn with_attributes(kind: Kind, attributes: &Attributes) -> Self {
        UnixFs { mode: attributes.mode, mtime: attributes.mtime, ..UnixFs::new(kind) }
    }

    /// What it says of itself.
    pub fn attributes(&self) -> Attributes {
        Attributes { mode: self.mode, mtime: self.mtime }
    }

    /// The bytes, fields in the order Kubo writes them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.data.as_ref().map_or(0, Bytes::len) + 24 + self.blocksizes.len() * 5);
        wire::put_number(&mut out, 1, self.kind as u64);
        if let Some(data) = &self.data {
            wire::put_bytes(&mut out, 2, data);
        }
        if let Some(filesize) = self.filesize {
            wire::put_number(&mut out, 3, filesize);
        }
        for size in &self.blocksizes {
            wire::put_number(&mut out, 4, *size);
        }
        for (field, value) in [(5, self.hash_type), (6, self.fanout), (7, self.mode.map(u64::from))] {
            if let Some(value) = value {
                wire::put_number(&mut out, field, value);
            }
        }
        if let Some((seconds, nanos)) = self.mtime {
            let mut time = Vec::new();
            wire::put_number(&mut time, 1, seconds as u64);
            if nanos != 0 {
                wire::put_varint(&mut time, 2 << 3 | 5);
                time.extend_from_slice(&nanos.to_le_bytes());
            }
            wire::put_bytes(&mut out, 8, &time);
        }
        out
    }

    /// Reads a message; its data is a slice of `bytes`. Unknown fields are skipped; repeated or mistyped ones and more
    /// block sizes than a node may have links are refused, since readers would disagree about what they mean.
    pub fn decode(bytes: &Bytes) -> Result<Self, DagError> {
        let mut reader = Reader::new(CODEC, bytes);
        let mut kind = None;
        let mut out = UnixFs::new(Kind::Raw);
        let mut seen = 0u16;
        while let Some((field, value)) = reader.next()? {
            if !(1..=8).contains(&field) {
                continue;
            }
            if field != 4 {
                if seen >> field & 1 == 1 {
                    return Err(reader.err(format!("field {field} stands twice")));
                }
                seen |= 1 << field;
            }
            match (field, value) {
                (1, Value::Varint(number)) => {
                    kind = Some(Kind::from_number(number).ok_or_else(|| reader.err(format!("node type {number}")))?);
                }
                (2, Value::Bytes(data)) => out.data = Some(bytes.slice_ref(data)),
                (3, Value::Varint(size)) => out.filesize = Some(size),
                (4, Value::Varint(size)) => out.blocksizes.push(size),
                (4, Value::Bytes(packed)) => unpack(packed, &mut out.blocksizes)?,
                (5, Value::Varint(number)) => out.hash_type = Some(number),
                (6, Value::Varint(number)) => out.fanout = Some(number),
                (7, Value::Varint(number)) => out.mode = Some(number as u32),
                (8, Value::Bytes(time)) => out.mtime = Some(mtime(time)?),
                _ => return Err(reader.err(format!("field {field} has the wrong type"))),
            }
            if out.blocksizes.len() > MAX_LINKS {
                let (count, limit) = (out.blocksizes.len() as u64, MAX_LINKS as u64);
                return Err(DagError::TooLarge { what: "block sizes in a unixfs node", count, limit });
            }
        }
        out.kind = kind.ok_or_else(|| reader.err("the node type is missing"))?;
        Ok(out)
    }
}

/// Numbers in one packed field, as newer protobuf writers put them.
fn unpack(packed: &[u8], into: &mut Vec<u64>) -> Result<(), DagError> {
    let mut rest = packed;
    while !rest.is_empty() {
        let (number, left) =
            unsigned_varint::decode::u64(rest).map_err(|e| DagError::malformed(CODEC, e.to_string()))?;
        into.push(number);
        rest = left;
        if into.len() > MAX_LINKS {
            break;
        }
    }
    Ok(())
}

fn mtime(bytes: &[u8]) -> Result<(i64, u32), DagError> {
    let mut reader = Reader::new(CODEC, bytes);
    let (mut seconds, mut nanos) = (None, 0u32);
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Value::Varint(number)) => seconds = Some(number as i64),
            (2, Value::Fixed(number)) => nanos = number as u32,
            _ => {}
        }
    }
    match seconds {
        Some(seconds) if nanos < 1_000_000_000 => Ok((seconds, nanos)),
        _ => Err(reader.err("the time is not one")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            number in 0u64..6,
            data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            filesize: Option<u64>,
            blocksizes in proptest::collection::vec(any::<u64>(), 0..10),
            mode: Option<u32>,
            mtime in proptest::option::of((any::<i64>(), 0u32..1_000_000_000)),
        ) {
            let kind = Kind::from_number(number).unwrap();
            let data = data.map(Bytes::from);
            let node = UnixFs { kind, data, filesize, blocksizes, hash_type: Some(0x22), fanout: Some(256), mode, mtime };
            prop_assert_eq!(UnixFs::decode(&node.encode().into()).unwrap(), node);
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = UnixFs::decode(&bytes.into());
        }
    }

    /// The message as compiled from `proto/unixfs.proto`.
    mod oracle {
        #![allow(missing_docs, clippy::all, clippy::pedantic)]
        include!(concat!(env!("OUT_DIR"), "/ipfs_kit.unixfs.rs"));
    }

    #[test]
    fn the_compiled_proto_agrees() {
        use prost::Message;
        let mut node = UnixFs::new(Kind::File);
        node.data = Some(Bytes::from_static(b"abc"));
        node.filesize = Some(303);
        node.blocksizes = vec![100, 200];
        node.mode = Some(0o644);
        node.mtime = Some((-1, 5));
        let other = oracle::Data::decode(node.encode().as_slice()).unwrap();
        assert_eq!(other.encode_to_vec(), node.encode());
        assert_eq!(other.blocksizes, node.blocksizes);
        assert_eq!(other.mtime.unwrap().seconds, -1);
    }

    #[test]
    fn contradictions_are_refused() {
        for bytes in [
            &[][..],
            &[0x18, 0x00],
            &[0x08, 0x09],
            &[0x08, 0x02, 0x08, 0x01],
            &[0x08, 0x02, 0x18, 0x00, 0x18, 0x01],
            &[0x08, 0x02, 0x12, 0x05, b'x'],
            &[0x0a, 0x00],
        ] {
            assert!(UnixFs::decode(&Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
        }
        let unknown = Bytes::from_static(&[0x08, 0x02, 0x18, 0x00, 0x78, 0x01]);
        assert_eq!(UnixFs::decode(&unknown).unwrap().kind, Kind::File);
    }
}
