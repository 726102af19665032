//! Sans-IO: everything that decides which CIDs bytes and directories get, as one plain struct.

use std::fmt;

use super::{
    DagError,
    pb::MAX_LINKS,
    unixfs::{Attributes, Kind, UnixFs},
    wire::varint_len,
};
use crate::base::{Block, Cid, Codec, Hash, cid::MAX_IDENTITY_BYTES};

/// Largest chunk a file may be cut into, in bytes: a block less room for the UnixFS wrapping, as Kubo has it.
pub const MAX_CHUNK_BYTES: usize = 2 * 1024 * 1024 - 256;
/// Bytes in a chunk when nothing else is said, as Kubo's default.
pub const DEFAULT_CHUNK_BYTES: usize = 262_144;
/// Smallest least chunk of the Rabin chunker, in bytes: its window.
const MIN_RABIN_BYTES: usize = 16;
/// Largest chunk of the buzhash chunker, in bytes.
const MAX_BUZHASH_BYTES: usize = 512 * 1024;

/// How a file is cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunking {
    /// Every so many bytes, 1 to [`MAX_CHUNK_BYTES`].
    Size(usize),
    /// Where a Rabin fingerprint says so, in bytes.
    Rabin {
        /// No chunk but the last is shorter.
        min: usize,
        /// What chunks come to on average.
        avg: usize,
        /// No chunk is longer.
        max: usize,
    },
    /// Where a cyclic polynomial says so: 128 to 512 KiB.
    Buzhash,
}

impl Chunking {
    /// Reads Kubo's notation: `size-N`, `rabin`, `rabin-AVG`, `rabin-MIN-AVG-MAX`, `buzhash`; nothing or `default` stands for
    /// the default size.
    pub fn parse(text: &str) -> Result<Self, DagError> {
        let bad = |reason: &str| DagError::BadParams { reason: format!("chunker '{text}': {reason}") };
        let number = |part: &str, label: &str| -> Result<usize, DagError> {
            let digits = part.strip_prefix(label).and_then(|rest| rest.strip_prefix(':')).unwrap_or(part);
            digits.parse().map_err(|_| bad(&format!("'{part}' is not a number of bytes")))
        };
        let parts: Vec<&str> = text.split('-').collect();
        let chunking = match parts.as_slice() {
            ["" | "default"] => Chunking::Size(DEFAULT_CHUNK_BYTES),
            ["size", size] => Chunking::Size(number(size, "size")?),
            ["buzhash", ..] => Chunking::Buzhash,
            ["rabin"] => Chunking::rabin(DEFAULT_CHUNK_BYTES),
            ["rabin", avg] => Chunking::rabin(number(avg, "avg")?.min(MAX_CHUNK_BYTES + 1)),
            ["rabin", min, avg, max] => {
                Chunking::Rabin { min: number(min, "min")?, avg: number(avg, "avg")?, max: number(max, "max")? }
            }
            _ => return Err(bad("use size-BYTES, rabin-MIN-AVG-MAX or buzhash")),
        };
        chunking.validate()?;
        Ok(chunking)
    }

    /// The Rabin chunker with its bounds drawn from the average, as Kubo draws them.
    pub fn rabin(avg: usize) -> Self {
        Chunking::Rabin { min: avg / 3, avg, max: avg + avg / 2 }
    }

    /// The longest chunk that can come, in bytes.
    pub fn max_bytes(&self) -> usize {
        match *self {
            Chunking::Size(size) => size,
            Chunking::Rabin { max, .. } => max,
            Chunking::Buzhash => MAX_BUZHASH_BYTES,
        }
    }

    fn validate(&self) -> Result<(), DagError> {
        let bad = |reason: String| Err(DagError::BadParams { reason });
        if !(1..=MAX_CHUNK_BYTES).contains(&self.max_bytes()) {
            return bad(format!("chunks of {} bytes; use 1 to {MAX_CHUNK_BYTES}", self.max_bytes()));
        }
        match *self {
            Chunking::Rabin { min, .. } if min < MIN_RABIN_BYTES => {
                bad(format!("rabin chunks of at least {min} bytes; use {MIN_RABIN_BYTES} or more"))
            }
            Chunking::Rabin { min, avg, max } if min >= avg || avg >= max => {
                bad(format!("rabin-{min}-{avg}-{max}; the three must grow"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Chunking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Chunking::Size(size) => write!(f, "size-{size}"),
            Chunking::Rabin { min, avg, max } => write!(f, "rabin-{min}-{avg}-{max}"),
            Chunking::Buzhash => write!(f, "buzhash"),
        }
    }
}

/// The shape of a file's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// All leaves at the same depth.
    #[default]
    Balanced,
    /// Leaves first, then ever deeper trees: for reading from the front.
    Trickle,
}

/// How a directory's size is told when it is decided whether it must be sharded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SizeEstimation {
    /// Bytes of names and CIDs: Kubo's default.
    #[default]
    Links,
    /// Bytes of the block it would be: `unixfs-v1-2025`.
    Block,
    /// Not at all: only the number of entries counts.
    Disabled,
}

/// How files and directories are turned into blocks. The default is Kubo's default, `unixfs-v0-2015`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportParams {
    /// Where files are cut.
    pub chunker: Chunking,
    /// The shape of a file's tree.
    pub layout: Layout,
    /// Most children of an inner file node, 2 to 65,536.
    pub max_file_links: usize,
    /// Whether leaves are raw blocks rather than UnixFS nodes.
    pub raw_leaves: bool,
    /// 0 or 1; version 0 needs SHA2-256.
    pub cid_version: u8,
    /// The hash function.
    pub hash: Hash,
    /// Blocks of at most so many bytes (0 to 128) stand in their CIDs themselves; `None`: none do.
    pub inline: Option<usize>,
    /// Most entries of a directory that is not sharded; 0: as many as its size allows.
    pub max_directory_links: usize,
    /// Slots of a shard: a power of two, 8 to 1,024.
    pub hamt_fanout: usize,
    /// A directory whose size, told by [`Self::size_estimation`], is more bytes than this is sharded; 0: size is no reason.
    pub hamt_threshold_bytes: u64,
    /// How a directory's size is told.
    pub size_estimation: SizeEstimation,
}

impl Default for ImportParams {
    fn default() -> Self {
        ImportParams {
            chunker: Chunking::Size(DEFAULT_CHUNK_BYTES),
            layout: Layout::Balanced,
            max_file_links: 174,
            raw_leaves: false,
            cid_version: 0,
            hash: Hash::Sha2_256,
            inline: None,
            max_directory_links: 0,
            hamt_fanout: 256,
            hamt_threshold_bytes: 256 * 1024,
            size_estimation: SizeEstimation::Links,
        }
    }
}

impl ImportParams {
    /// The parameters of IPIP-499's `unixfs-v1-2025`: CIDv1, raw leaves, 1 MiB chunks, 1,024 links, directories sharded
    /// by the size of their block.
    pub fn v1_2025() -> Self {
        ImportParams {
            chunker: Chunking::Size(1_048_576),
            max_file_links: 1024,
            cid_version: 1,
            raw_leaves: true,
            size_estimation: SizeEstimation::Block,
            ..ImportParams::default()
        }
    }

    /// The parameters of a profile of IPIP-499, by its name.
    pub fn profile(name: &str) -> Result<Self, DagError> {
        match name {
            "unixfs-v0-2015" | "legacy-cid-v0" => Ok(ImportParams::default()),
            "unixfs-v1-2025" => Ok(ImportParams::v1_2025()),
            other => Err(DagError::BadParams {
                reason: format!("profile '{other}' is not known; use unixfs-v0-2015 or unixfs-v1-2025"),
            }),
        }
    }

    /// Checks bounds and combinations.
    pub fn validate(&self) -> Result<(), DagError> {
        let bad = |reason: String| Err(DagError::BadParams { reason });
        self.chunker.validate()?;
        if !(2..=MAX_LINKS).contains(&self.max_file_links) {
            return bad(format!("{} links in a file's node; use 2 to {MAX_LINKS}", self.max_file_links));
        }
        if self.cid_version > 1 {
            return bad(format!("CID version {}; use 0 or 1", self.cid_version));
        }
        if self.cid_version == 0 && self.hash != Hash::Sha2_256 {
            return bad("CID version 0 has only sha2-256; use CID version 1".into());
        }
        if let Some(limit) = self.inline.filter(|limit| *limit > MAX_IDENTITY_BYTES) {
            return bad(format!("blocks of {limit} bytes inline; use at most {MAX_IDENTITY_BYTES}"));
        }
        if !(8..=1024).contains(&self.hamt_fanout) || !self.hamt_fanout.is_power_of_two() {
            return bad(format!("shards with {} slots; use a power of two from 8 to 1024", self.hamt_fanout));
        }
        Ok(())
    }

    /// Makes a block of a leaf's bytes, or of any others that are not DAG-PB.
    pub fn raw_block(&self, data: impl Into<bytes::Bytes>) -> Result<Block, DagError> {
        let data = data.into();
        let hash = if self.inlines(data.len()) { Hash::Identity } else { self.hash };
        Ok(Block::new(Codec::Raw, hash, data)?)
    }

    /// Makes a DAG-PB block of these bytes.
    pub fn pb_block(&self, data: Vec<u8>) -> Result<Block, DagError> {
        Ok(match self.cid_version {
            _ if self.inlines(data.len()) => Block::new(Codec::DagPb, Hash::Identity, data)?,
            0 => Block::new_v0(data)?,
            _ => Block::new(Codec::DagPb, self.hash, data)?,
        })
    }

    fn inlines(&self, bytes: usize) -> bool {
        self.inline.is_some_and(|limit| bytes <= limit)
    }

    /// What an empty directory with these attributes counts towards [`Self::must_shard`], in bytes.
    pub fn directory_bytes(&self, attributes: &Attributes) -> u64 {
        match self.size_estimation {
            SizeEstimation::Block => {
                let data = UnixFs::with_attributes(Kind::Directory, attributes).encode().len() as u64;
                1 + varint_len(data) as u64 + data
            }
            SizeEstimation::Links | SizeEstimation::Disabled => 0,
        }
    }

    /// What an entry adds to a directory's size, in bytes.
    pub fn entry_bytes(&self, name: &[u8], cid: &Cid, tsize: u64) -> u64 {
        let (cid, name) = (cid.encoded_len() as u64, name.len() as u64);
        match self.size_estimation {
            SizeEstimation::Links => name + cid,
            SizeEstimation::Block => {
                let field = |len: u64| 1 + varint_len(len) as u64 + len;
                field(field(cid) + field(name) + 1 + varint_len(tsize) as u64)
            }
            SizeEstimation::Disabled => 0,
        }
    }

    /// Whether a directory of this size ([`Self::directory_bytes`] and [`Self::entry_bytes`] added up) and so many entries
    /// is sharded.
    pub fn must_shard(&self, bytes: u64, entries: usize) -> bool {
        let by_size = self.hamt_threshold_bytes > 0 && bytes > self.hamt_threshold_bytes;
        by_size || (self.max_directory_links > 0 && entries > self.max_directory_links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunkers_are_read_as_kubo_writes_them() {
        for (text, chunking) in [
            ("", Chunking::Size(262_144)),
            ("default", Chunking::Size(262_144)),
            ("size-1", Chunking::Size(1)),
            ("size-2096896", Chunking::Size(MAX_CHUNK_BYTES)),
            ("rabin", Chunking::Rabin { min: 87_381, avg: 262_144, max: 393_216 }),
            ("rabin-300", Chunking::Rabin { min: 100, avg: 300, max: 450 }),
            ("rabin-16-32-64", Chunking::Rabin { min: 16, avg: 32, max: 64 }),
            ("rabin-min:16-avg:32-max:64", Chunking::Rabin { min: 16, avg: 32, max: 64 }),
            ("buzhash", Chunking::Buzhash),
        ] {
            assert_eq!(Chunking::parse(text).unwrap(), chunking, "{text}");
            assert_eq!(Chunking::parse(&chunking.to_string()).unwrap(), chunking);
        }
        for text in [
            "size",
            "size-0",
            "size-",
            "size--1",
            "size-2096897",
            "size-1-2",
            "rabin-15-32-64",
            "rabin-32-32-64",
            "rabin-16-64-64",
            "rabin-16-32",
            "rabin-16-32-2096897",
            "rabin-1397932",
            "rabin-99999999999999999999",
            "fixed-3",
        ] {
            assert!(Chunking::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parameters_have_bounds() {
        let base = ImportParams::default();
        for bad in [
            ImportParams { chunker: Chunking::Size(0), ..base.clone() },
            ImportParams { chunker: Chunking::Size(MAX_CHUNK_BYTES + 1), ..base.clone() },
            ImportParams { max_file_links: 1, ..base.clone() },
            ImportParams { cid_version: 2, ..base.clone() },
            ImportParams { hash: Hash::Blake3, ..base.clone() },
            ImportParams { inline: Some(129), ..base.clone() },
            ImportParams { hamt_fanout: 4, ..base.clone() },
            ImportParams { hamt_fanout: 100, ..base.clone() },
            ImportParams { hamt_fanout: 2048, ..base.clone() },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
        ImportParams { chunker: Chunking::Size(MAX_CHUNK_BYTES), hamt_fanout: 1024, ..base }.validate().unwrap();
        ImportParams::v1_2025().validate().unwrap();
    }

    #[test]
    fn the_estimate_by_block_is_the_blocks_size() {
        use crate::dag::{dir::DirBuilder, file};
        let params = ImportParams { size_estimation: SizeEstimation::Block, ..ImportParams::v1_2025() };
        let cid = file::leaf(&params, bytes::Bytes::from_static(b"x")).unwrap().1.cid;
        for attributes in [
            Attributes::default(),
            Attributes { mode: Some(0o755), mtime: Some((-1, 5)) },
            Attributes { mode: None, mtime: Some((1 << 40, 0)) },
        ] {
            let mut dir = DirBuilder::new().with_attributes(attributes);
            let mut bytes = params.directory_bytes(&attributes);
            for (n, tsize) in [1, 127, 128, 1 << 40, u64::MAX].into_iter().enumerate() {
                let name = vec![b'a' + n as u8; [1, 127, 128, 200, 255][n]];
                bytes += params.entry_bytes(&name, &cid, tsize);
                dir.add(name, cid, tsize).unwrap();
            }
            assert_eq!(bytes, dir.build(&params).unwrap().0.block.data().len() as u64);
        }
    }
}
