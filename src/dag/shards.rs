//! Sans-IO: builds a sharded directory from entries that come in the order of their names' hashes, holding one shard a level
//! and no more, however many entries there are.

use bytes::Bytes;

use super::{
    DagError, ImportParams, OutBlock,
    dir::{check_name, printable},
    hamt::{MURMUR3_X64_64, hash_name, slot_at, slot_digits},
    pb::{PbLink, PbNode},
    read::Entry,
    unixfs::{Attributes, Kind, UnixFs},
};
use crate::base::Cid;

/// A sharded directory under construction. The shape follows from the set of names alone.
#[derive(Debug)]
pub struct ShardBuilder {
    params: ImportParams,
    attributes: Attributes,
    /// The shards on the way to the last entry, the root first.
    open: Vec<Open>,
    /// The last entry, whose place depends on the next one's hash.
    last: Option<(u64, Entry)>,
}

#[derive(Debug)]
struct Open {
    field: Vec<u8>,
    links: Vec<PbLink>,
}

impl ShardBuilder {
    /// An empty directory that says this of itself. Errors when the parameters make no sense.
    pub fn new(params: ImportParams, attributes: Attributes) -> Result<Self, DagError> {
        params.validate()?;
        let root = Open::new(params.hamt_fanout);
        Ok(ShardBuilder { params, attributes, open: vec![root], last: None })
    }

    /// Adds the next entry, in the order of [`hash_name`] and then of the names' bytes; shards that are complete come out,
    /// the deepest first. Errors when the order is another one and when two entries have the same name.
    pub fn push(&mut self, entry: Entry, out: &mut Vec<OutBlock>) -> Result<(), DagError> {
        check_name(&entry.name)?;
        let hash = hash_name(&entry.name);
        let Some((last_hash, last)) = self.last.take() else {
            self.last = Some((hash, entry));
            return Ok(());
        };
        let bad = |name: &[u8], reason| Err(DagError::BadName { name: printable(name), reason });
        match (last_hash, &last.name).cmp(&(hash, &entry.name)) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return bad(&last.name, "two entries have it"),
            std::cmp::Ordering::Greater => return bad(&entry.name, "it came out of the order of hashes"),
        }
        let Some(shared) = self.levels_shared(last_hash, hash) else {
            return bad(&last.name, "its hash is another name's in every bit");
        };
        self.place(last_hash, last, shared);
        while self.open.len() > shared + 1 {
            self.close(last_hash, out)?;
        }
        self.last = Some((hash, entry));
        Ok(())
    }

    /// The remaining shards; the root's CID and the size of the whole DAG.
    pub fn finish(mut self, out: &mut Vec<OutBlock>) -> Result<(Cid, u64), DagError> {
        if let Some((hash, entry)) = self.last.take() {
            self.place(hash, entry, 0);
            while self.open.len() > 1 {
                self.close(hash, out)?;
            }
        }
        let root = self.open.pop().unwrap_or_else(|| Open::new(self.params.hamt_fanout));
        root.seal(&self.params, &self.attributes, out)
    }

    /// How many levels name the same slot for both; `None` when all of them do.
    fn levels_shared(&self, one: u64, other: u64) -> Option<usize> {
        let fanout = self.params.hamt_fanout;
        let mut level = 0;
        loop {
            let (one, other) = (slot_at(one, fanout, level)?, slot_at(other, fanout, level)?);
            if one != other {
                return Some(level);
            }
            level += 1;
        }
    }

    /// Puts an entry into the shallowest shard where no other entry stands in its slot: at least at this level.
    fn place(&mut self, hash: u64, entry: Entry, level: usize) {
        let fanout = self.params.hamt_fanout;
        while self.open.len() <= level {
            self.open.push(Open::new(fanout));
        }
        let level = self.open.len() - 1;
        let Entry { name, cid, tsize } = entry;
        // The hash has bits for every level that was opened.
        if let (Some(slot), Some(shard)) = (slot_at(hash, fanout, level), self.open.last_mut()) {
            shard.add(slot, &name, cid, tsize);
        }
    }

    /// Makes a block of the deepest shard, which holds `hash`, and links it from the one above.
    fn close(&mut self, hash: u64, out: &mut Vec<OutBlock>) -> Result<(), DagError> {
        let Some(shard) = self.open.pop() else { return Ok(()) };
        let (cid, tsize) = shard.seal(&self.params, &Attributes::default(), out)?;
        let level = self.open.len().saturating_sub(1);
        if let (Some(slot), Some(above)) = (slot_at(hash, self.params.hamt_fanout, level), self.open.last_mut()) {
            above.add(slot, b"", cid, tsize);
        }
        Ok(())
    }
}

impl Open {
    fn new(fanout: usize) -> Self {
        Open { field: vec![0; fanout / 8], links: Vec::new() }
    }

    fn add(&mut self, slot: usize, name: &[u8], cid: Cid, tsize: u64) {
        let bytes = self.field.len();
        self.field[bytes - 1 - slot / 8] |= 1 << (slot % 8);
        let digits = slot_digits(bytes * 8);
        let mut prefixed = format!("{slot:0digits$X}").into_bytes();
        prefixed.extend_from_slice(name);
        self.links.push(PbLink { cid, name: prefixed, tsize });
    }

    fn seal(
        self,
        params: &ImportParams,
        attributes: &Attributes,
        out: &mut Vec<OutBlock>,
    ) -> Result<(Cid, u64), DagError> {
        let cids = self.links.iter().map(|link| link.cid).collect();
        let below = self.links.iter().fold(0u64, |sum, link| sum.saturating_add(link.tsize));
        let mut message = UnixFs::with_attributes(Kind::HamtShard, attributes);
        // Leading zero bytes are left out.
        let first = self.field.iter().position(|byte| *byte != 0).unwrap_or(self.field.len());
        message.data = Some(Bytes::copy_from_slice(&self.field[first..]));
        message.hash_type = Some(MURMUR3_X64_64);
        message.fanout = Some(params.hamt_fanout as u64);
        let node = PbNode { links: self.links, data: Some(message.encode().into()) };
        let block = params.pb_block(node.encode())?;
        let (cid, tsize) = (*block.cid(), below.saturating_add(block.data().len() as u64));
        out.push(OutBlock { block, links: cids });
        Ok((cid, tsize))
    }
}
