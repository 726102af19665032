//! Sans-IO: sharded directories (HAMT): building them from entries in any order, and reading one shard at a time.
//!
//! A name's murmur3 hash is cut into pieces of a few bits, one for each level; a shard has one slot for each value of a
//! piece: with 256 slots a piece is a byte. The shape follows from the set of names alone, so the CID does not depend on the order in which entries came.

use bytes::Bytes;

use super::{
    DagError, ImportParams, OutBlock,
    dir::{check_name, printable},
    pb::{PbLink, PbNode},
    read::Entry,
    unixfs::{Attributes, Kind, UnixFs},
};
use crate::base::Cid;

/// The multihash number of murmur3-x64-64, the only hash function in use for shards.
pub const MURMUR3_X64_64: u64 = 0x22;
/// Widest shard read; the specification asks readers to stop here.
const MAX_FANOUT: u64 = 1024;

/// A name's hash: the first half of murmur3-x64-128; levels consume it from the highest bit on.
pub fn hash_name(name: &[u8]) -> u64 {
    let mut reader = name;
    // Reading from memory cannot fail; a zero hash would only place the name oddly.
    murmur3::murmur3_x64_128(&mut reader, 0).unwrap_or_default() as u64
}

/// The slot a hash names at a level of shards of this width; `None` when its bits are used up.
pub fn slot_at(hash: u64, fanout: usize, level: usize) -> Option<usize> {
    let bits = fanout.trailing_zeros() as usize;
    let start = level.checked_mul(bits).filter(|start| start + bits <= 64)?;
    Some((hash >> (64 - start - bits)) as usize & (fanout - 1))
}

/// Digits of a slot's number before a name, in shards of this width.
pub fn slot_digits(fanout: usize) -> usize {
    (fanout - 1).checked_ilog(16).map_or(1, |log| log as usize + 1)
}

/// Collects a sharded directory's entries in any order.
#[derive(Debug, Default)]
pub struct HamtBuilder {
    entries: Vec<Placed>,
    attributes: Attributes,
}

#[derive(Debug)]
struct Placed {
    hash: u64,
    entry: Entry,
}

impl HamtBuilder {
    /// No entries yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same directory, saying this of itself.
    pub fn with_attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Adds an entry. `tsize` is the size of the whole DAG below it, in bytes.
    pub fn add(&mut self, name: impl Into<Vec<u8>>, cid: Cid, tsize: u64) -> Result<(), DagError> {
        let name = name.into();
        check_name(&name)?;
        self.entries.push(Placed { hash: hash_name(&name), entry: Entry { name, cid, tsize } });
        Ok(())
    }

    /// Builds every shard, the deepest first, and hands each to `out`; gives the root's CID and the size of the whole
    /// DAG. Errors when two entries have the same name.
    pub fn build(
        mut self,
        params: &ImportParams,
        out: &mut dyn FnMut(OutBlock) -> Result<(), DagError>,
    ) -> Result<(Cid, u64), DagError> {
        params.validate()?;
        self.entries.sort_by(|a, b| (a.hash, &a.entry.name).cmp(&(b.hash, &b.entry.name)));
        if let Some(pair) = self.entries.windows(2).find(|pair| pair[0].entry.name == pair[1].entry.name) {
            return Err(DagError::BadName { name: printable(&pair[0].entry.name), reason: "two entries have it" });
        }
        shard(params, &self.entries, 0, &self.attributes, out)
    }
}

/// Builds the shard of entries whose hashes agree in all that levels above `level` consume.
fn shard(
    params: &ImportParams,
    entries: &[Placed],
    level: usize,
    attributes: &Attributes,
    out: &mut dyn FnMut(OutBlock) -> Result<(), DagError>,
) -> Result<(Cid, u64), DagError> {
    let fanout = params.hamt_fanout;
    let mut out_shard = Shard::empty(fanout, *attributes);
    for group in entries.chunk_by(|a, b| slot_at(a.hash, fanout, level) == slot_at(b.hash, fanout, level)) {
        let Some(slot) = group.first().and_then(|placed| slot_at(placed.hash, fanout, level)) else {
            let name = group.first().map(|placed| printable(&placed.entry.name)).unwrap_or_default();
            return Err(DagError::BadName { name, reason: "its hash is another name's in every bit" });
        };
        let stands = match group {
            [Placed { entry, .. }] => Slot::Entry(entry.clone()),
            more => {
                let (cid, tsize) = shard(params, more, level + 1, &Attributes::default(), out)?;
                Slot::Shard { slot, cid, tsize }
            }
        };
        out_shard.numbers.push(slot);
        out_shard.slots.push(stands);
    }
    let (block, tsize) = out_shard.encode(params)?;
    let cid = *block.block.cid();
    out(block)?;
    Ok((cid, tsize))
}

/// Builds the shard of these entries, whose hashes agree in all that levels above `level` consume.
pub(super) fn shard_of(
    params: &ImportParams,
    entries: Vec<Entry>,
    level: usize,
    out: &mut dyn FnMut(OutBlock) -> Result<(), DagError>,
) -> Result<(Cid, u64), DagError> {
    let mut placed: Vec<Placed> =
        entries.into_iter().map(|entry| Placed { hash: hash_name(&entry.name), entry }).collect();
    placed.sort_by_key(|placed| placed.hash);
    shard(params, &placed, level, &Attributes::default(), out)
}

/// What stands in one slot of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// An entry of the directory.
    Entry(Entry),
    /// A further shard, for names whose hashes agree so far.
    Shard {
        /// Which slot it stands in.
        slot: usize,
        /// The shard.
        cid: Cid,
        /// Bytes of the whole DAG below, as its author says.
        tsize: u64,
    },
}

/// One shard of a sharded directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its slots that hold something, in order.
    pub slots: Vec<Slot>,
    /// What the directory says of itself, in its topmost shard.
    pub attributes: Attributes,
    /// Which slots they are.
    numbers: Vec<usize>,
    fanout: usize,
}

impl Shard {
    fn empty(fanout: usize, attributes: Attributes) -> Self {
        Shard { slots: Vec::new(), attributes, numbers: Vec::new(), fanout }
    }

    /// How many slots it has, empty ones counted.
    pub fn fanout(&self) -> usize {
        self.fanout
    }

    /// What stands in a slot.
    pub fn get(&self, slot: usize) -> Option<&Slot> {
        self.numbers.binary_search(&slot).ok().and_then(|at| self.slots.get(at))
    }

    /// Puts something into a slot, or empties it.
    pub(super) fn set(&mut self, slot: usize, stands: Option<Slot>) {
        match (self.numbers.binary_search(&slot), stands) {
            (Ok(at), Some(stands)) => self.slots[at] = stands,
            (Ok(at), None) => {
                self.numbers.remove(at);
                self.slots.remove(at);
            }
            (Err(at), Some(stands)) => {
                self.numbers.insert(at, slot);
                self.slots.insert(at, stands);
            }
            (Err(_), None) => {}
        }
    }

    /// Checks that every name stands where its hash says, below the slots that lead to this shard. So no name can stand
    /// in a directory twice, and no shard at two places with anything in it.
    pub fn check_places(&self, cid: &Cid, way: &[usize]) -> Result<(), DagError> {
        let bad = |why| Err(DagError::malformed("unixfs shard", format!("{cid}: {why}")));
        if self.slots.is_empty() && !way.is_empty() {
            return bad("nothing is in it");
        }
        for (slot, number) in self.slots.iter().zip(&self.numbers) {
            let Slot::Entry(entry) = slot else { continue };
            let hash = hash_name(&entry.name);
            let mut places = way.iter().chain([number]).enumerate();
            if places.any(|(level, slot)| slot_at(hash, self.fanout, level) != Some(*slot)) {
                return bad("a name stands where its hash does not lead");
            }
        }
        Ok(())
    }

    /// Its slots with their numbers.
    pub fn numbered(self) -> impl Iterator<Item = (usize, Slot)> {
        self.numbers.into_iter().zip(self.slots)
    }

    /// Its block, and the size of the whole DAG. Of `params` CID version and hash function count.
    pub fn encode(&self, params: &ImportParams) -> Result<(OutBlock, u64), DagError> {
        let digits = slot_digits(self.fanout);
        let mut field = vec![0u8; self.fanout / 8];
        let mut links = Vec::with_capacity(self.slots.len());
        for (slot, number) in self.slots.iter().zip(&self.numbers) {
            let at = field.len() - 1 - number / 8;
            field[at] |= 1 << (number % 8);
            let mut name = format!("{number:0digits$X}").into_bytes();
            let (cid, tsize) = match slot {
                Slot::Entry(entry) => {
                    name.extend_from_slice(&entry.name);
                    (entry.cid, entry.tsize)
                }
                Slot::Shard { cid, tsize, .. } => (*cid, *tsize),
            };
            links.push(PbLink { cid, name, tsize });
        }
        let mut message = UnixFs::with_attributes(Kind::HamtShard, &self.attributes);
        // Leading zero bytes are left out.
        let first = field.iter().position(|byte| *byte != 0).unwrap_or(field.len());
        message.data = Some(Bytes::copy_from_slice(&field[first..]));
        message.hash_type = Some(MURMUR3_X64_64);
        message.fanout = Some(self.fanout as u64);
        PbNode { links, data: Some(message.encode().into()) }.into_block(params)
    }

    /// Reads a shard. Errors when its width, its bit field and its links contradict each other, and on names that could
    /// lead anywhere but into the directory.
    pub fn decode(cid: &Cid, bytes: &Bytes) -> Result<Self, DagError> {
        let node = PbNode::decode_shared(bytes)?;
        let bad = |why: String| DagError::malformed("unixfs shard", format!("{cid}: {why}"));
        let data = node.data.as_ref().ok_or_else(|| bad("it has no unixfs data".into()))?;
        let message = UnixFs::decode(data)?;
        if message.kind != Kind::HamtShard {
            return Err(DagError::NotADirectory { cid: Box::new(*cid), found: message.kind.as_str() });
        }
        let fanout = message.fanout.unwrap_or(0);
        if !(8..=MAX_FANOUT).contains(&fanout) || !fanout.is_power_of_two() {
            return Err(bad(format!("a width of {fanout}; powers of two from 8 to {MAX_FANOUT} are read")));
        }
        if message.hash_type.is_some_and(|hash| hash != MURMUR3_X64_64) {
            return Err(bad(format!(
                "hash function 0x{:x}; only murmur3-x64-64 is known",
                message.hash_type.unwrap_or(0)
            )));
        }
        let fanout = fanout as usize;
        let attributes = message.attributes();
        let field = message.data.unwrap_or_default();
        let set: u32 = field.iter().map(|byte| byte.count_ones()).sum();
        if field.len() > fanout.div_ceil(8) || set as usize != node.links.len() {
            return Err(bad(format!(
                "a bit field of {} bytes with {set} bits for {} links",
                field.len(),
                node.links.len()
            )));
        }
        let digits = slot_digits(fanout);
        let mut slots = Vec::with_capacity(node.links.len());
        let mut numbers: Vec<usize> = Vec::with_capacity(node.links.len());
        for link in node.links {
            let (number, name) =
                link.name.split_at_checked(digits).ok_or_else(|| bad("a link without a slot".into()))?;
            let slot = std::str::from_utf8(number)
                .ok()
                .filter(|n| !n.bytes().any(|b| b.is_ascii_lowercase() || b == b'+'))
                .and_then(|n| usize::from_str_radix(n, 16).ok())
                .filter(|slot| *slot < fanout && numbers.last().is_none_or(|last| last < slot))
                .ok_or_else(|| bad(format!("slot '{}' out of order or range", printable(number))))?;
            let byte = field.len().checked_sub(1 + slot / 8).and_then(|at| field.get(at)).copied().unwrap_or(0);
            if byte >> (slot % 8) & 1 == 0 {
                return Err(bad(format!("slot {slot} is not in the bit field")));
            }
            numbers.push(slot);
            if name.is_empty() {
                slots.push(Slot::Shard { slot, cid: link.cid, tsize: link.tsize });
            } else {
                check_name(name)?;
                slots.push(Slot::Entry(Entry { name: name.to_vec(), cid: link.cid, tsize: link.tsize }));
            }
        }
        Ok(Shard { slots, attributes, numbers, fanout })
    }

    /// Where `name` must stand if it is in this shard, which lies `level` levels below the root: the entry, or the
    /// shard to look in next. `None` when the directory has no such entry.
    pub fn find(&self, name: &[u8], level: usize) -> Option<&Slot> {
        let wanted = self.slot_of(name, level)?;
        self.slots.iter().find(|slot| match slot {
            Slot::Entry(entry) => entry.name == name,
            Slot::Shard { slot, .. } => *slot == wanted,
        })
    }

    /// The slot that a name's hash names at this level; `None` when its bits are used up.
    pub fn slot_of(&self, name: &[u8], level: usize) -> Option<usize> {
        slot_at(hash_name(name), self.fanout, level)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use chacha20::cipher::{KeyIvInit, StreamCipher};
    use sha2::Digest;

    use super::*;
    use crate::{
        base::{Block, Codec, Hash},
        dag::file,
    };

    fn keystream(seed: &str, bytes: usize) -> Vec<u8> {
        let key: [u8; 32] = sha2::Sha256::digest(seed.as_bytes()).into();
        let mut out = vec![0; bytes];
        chacha20::ChaCha20::new(&key.into(), &[0; 12].into()).apply_keystream(&mut out);
        out
    }

    /// IPIP-499's directories: names cut one after another from a key stream, each file holding "x".
    fn names(seed: &str, count: usize, length: usize, last: usize) -> Vec<Vec<u8>> {
        const LETTERS: &[u8; 38] = b"abcdefghijklmnopqrstuvwxyz01234567890-";
        let stream = keystream(seed, count * length + last);
        let letter = |byte: &u8| match *byte % 39 {
            38 => b'_',
            at => LETTERS[usize::from(at)],
        };
        (0..count)
            .map(|n| {
                let len = if n + 1 == count { last } else { length };
                stream[n * length..n * length + len].iter().map(letter).collect()
            })
            .collect()
    }

    fn build(params: &ImportParams, names: &[Vec<u8>]) -> (Cid, HashMap<Cid, Bytes>) {
        let (leaf, root) = file::leaf(params, Bytes::from_static(b"x")).unwrap();
        let mut blocks = HashMap::from([(*leaf.block.cid(), leaf.block.data().clone())]);
        let mut builder = HamtBuilder::new();
        for name in names {
            builder.add(name.clone(), root.cid, root.tsize).unwrap();
        }
        let (cid, _) = builder
            .build(params, &mut |b| {
                blocks.insert(*b.block.cid(), b.block.data().clone());
                Ok(())
            })
            .unwrap();
        (cid, blocks)
    }

    #[test]
    fn ipip_499_sharded_directories() {
        let v0 = names("hamt-unixfs-v0-2015", 4033, 31, 31);
        let (cid, _) = build(&ImportParams::default(), &v0);
        assert_eq!(cid.to_string(), "QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP");
        let v1 = names("hamt-unixfs-v1-2025", 4766, 11, 22);
        let (cid, _) = build(&ImportParams::v1_2025(), &v1);
        assert_eq!(cid.to_string(), "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu");
    }

    #[test]
    fn every_name_is_found_and_no_other() {
        let names = names("any", 3000, 9, 9);
        let (root, blocks) = build(&ImportParams::default(), &names);
        let find = |name: &[u8]| {
            let mut at = root;
            for level in 0.. {
                let shard = Shard::decode(&at, &blocks[&at]).unwrap();
                match shard.find(name, level) {
                    Some(Slot::Entry(entry)) => return Some(entry.cid),
                    Some(Slot::Shard { cid, .. }) => at = *cid,
                    None => return None,
                }
            }
            None
        };
        assert!(names.iter().all(|name| find(name).is_some()));
        assert!(find(b"absent").is_none());
        let mut listed = Vec::new();
        let mut todo = vec![root];
        while let Some(cid) = todo.pop() {
            for slot in Shard::decode(&cid, &blocks[&cid]).unwrap().slots {
                match slot {
                    Slot::Entry(entry) => listed.push(entry.name),
                    Slot::Shard { cid, .. } => todo.push(cid),
                }
            }
        }
        let mut expected = names.clone();
        expected.sort();
        listed.sort();
        assert_eq!(listed, expected);
    }

    #[test]
    fn contradictory_shards_are_refused() {
        let names = names("bad", 300, 9, 9);
        let (root, blocks) = build(&ImportParams::default(), &names);
        let node = PbNode::decode(&blocks[&root]).unwrap();
        let changes: Vec<fn(&mut PbNode, &mut UnixFs)> = vec![
            |_, fs| fs.fanout = Some(255),
            |_, fs| fs.fanout = Some(1 << 20),
            |_, fs| fs.fanout = None,
            |_, fs| fs.hash_type = Some(0x12),
            |_, fs| fs.data = Some(Bytes::from_static(&[1])),
            |_, fs| fs.data = Some(vec![255; 64].into()),
            |node, _| drop(node.links.pop()),
            |node, _| node.links[0].name = b"zz".to_vec(),
            |node, _| node.links[0].name = b"A".to_vec(),
            |node, _| node.links.swap(0, 1),
            |node, _| node.links[3].name.extend_from_slice(b"/../up"),
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut node = node.clone();
            let mut fs = UnixFs::decode(node.data.as_ref().unwrap()).unwrap();
            change(&mut node, &mut fs);
            node.data = Some(fs.encode().into());
            let block = Block::new(Codec::DagPb, Hash::Sha2_256, node.encode()).unwrap();
            // The encoder sorts links by name, which undoes the swap; every other change must be refused.
            let refused = Shard::decode(block.cid(), block.data()).is_err();
            assert!(refused || block.data() == &blocks[&root], "change {i}");
        }
    }
}
