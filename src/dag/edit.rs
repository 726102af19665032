//! Sans-IO: one entry put into a directory or taken out of it, whatever the directory's size. One that outgrows its node
//! is sharded, one that shrinks becomes one node again, where Kubo does either.
//!
//! Of a sharded directory the shards on the way to the name are read and written; when it shrank, others too, until they
//! show that it stays too large for one node. The CID follows from the entries alone, not from the order of changes.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    DagError, ImportParams, OutBlock, SizeEstimation,
    dir::{DirBuilder, check_name, printable},
    hamt::{self, HamtBuilder, Shard, Slot},
    pb::{PbLink, PbNode},
    read::Entry,
    unixfs::{Attributes, Kind, UnixFs},
};
use crate::base::{Cid, Hash, cid::MAX_IDENTITY_BYTES};

/// Shards asked for at a time while a directory is measured.
const MEASURE_AHEAD: usize = 32;
/// Most shards read while a directory is measured; honest ones hold two entries or more each.
const MAX_MEASURED: usize = 65_536;

/// A directory after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// Its CID.
    pub cid: Cid,
    /// Bytes of the whole DAG.
    pub tsize: u64,
    /// The blocks that are new, the deepest first, the directory's root last.
    pub blocks: Vec<OutBlock>,
    /// The entry that had the name before.
    pub old: Option<Entry>,
    /// When it is sharded and was measured: at least so many bytes of entries are in it. Given to the next
    /// [`Edit::knowing`], it spares measuring again.
    pub at_least: Option<u64>,
}

/// One change of one directory: say what it [`needs`](Edit::needs), [`feed`](Edit::feed) it, until it gives
/// [`Edited`].
#[derive(Debug)]
pub struct Edit {
    params: ImportParams,
    name: Vec<u8>,
    put: Option<(Cid, u64)>,
    at_least: u64,
    root: Cid,
    way: Vec<Opened>,
    stage: Stage,
}

/// A shard on the way to the name.
#[derive(Debug)]
struct Opened {
    cid: Cid,
    shard: Shard,
}

#[derive(Debug)]
enum Stage {
    /// The next node on the way is wanted.
    Way(Cid),
    /// The way is known; other shards are read until it is clear how large the directory is.
    Measure(Measure),
    Done(Box<Edited>),
}

#[derive(Debug)]
struct Measure {
    old: Option<Entry>,
    /// What the change adds to the directory's size.
    delta: i64,
    bytes: u64,
    entries: Vec<Entry>,
    asked: Vec<Cid>,
    /// The widest first: those nearest to the root hold the most.
    waiting: VecDeque<Cid>,
    seen: usize,
}

/// The same parameters with the CID version and hash function of this node, which what replaces it keeps.
pub fn like(params: &ImportParams, cid: &Cid) -> Result<ImportParams, DagError> {
    let cid_version = u8::from(cid.version() != cid::Version::V0);
    // Data that stood in the CID itself stays there while it fits.
    let (hash, inline) = match Hash::from_code(cid.hash().code())? {
        Hash::Identity => (Hash::Sha2_256, Some(MAX_IDENTITY_BYTES)),
        hash => (hash, None),
    };
    Ok(ImportParams { cid_version, hash, inline, ..params.clone() })
}

impl Edit {
    /// Puts an entry into the directory `root`, in the place of one of that name if there is one. `tsize` is the size of
    /// the whole DAG below it. Of `params` what concerns directories counts; CID version and hash function are the
    /// directory's own.
    pub fn put(params: ImportParams, root: Cid, name: &[u8], cid: Cid, tsize: u64) -> Result<Self, DagError> {
        Self::new(params, root, name, Some((cid, tsize)))
    }

    /// Takes an entry out; an error when there is none of that name.
    pub fn remove(params: ImportParams, root: Cid, name: &[u8]) -> Result<Self, DagError> {
        Self::new(params, root, name, None)
    }

    fn new(params: ImportParams, root: Cid, name: &[u8], put: Option<(Cid, u64)>) -> Result<Self, DagError> {
        check_name(name)?;
        params.validate()?;
        Ok(Edit { params, name: name.to_vec(), put, at_least: 0, root, way: Vec::new(), stage: Stage::Way(root) })
    }

    /// The directory is known to hold at least so many bytes of entries, as [`Edited::at_least`] said.
    pub fn knowing(mut self, at_least: u64) -> Self {
        self.at_least = at_least;
        self
    }

    /// The blocks to feed next, in any order; empty when it is done.
    pub fn needs(&mut self) -> Vec<Cid> {
        match &mut self.stage {
            Stage::Way(cid) => vec![*cid],
            Stage::Measure(measure) => {
                while measure.asked.len() < MEASURE_AHEAD {
                    let Some(cid) = measure.waiting.pop_front() else { break };
                    measure.asked.push(cid);
                }
                measure.asked.clone()
            }
            Stage::Done(_) => Vec::new(),
        }
    }

    /// What became of the directory, once nothing is needed any more.
    pub fn finish(self) -> Option<Edited> {
        match self.stage {
            Stage::Done(edited) => Some(*edited),
            _ => None,
        }
    }

    /// Takes a block that was asked for; others are ignored.
    pub fn feed(&mut self, cid: &Cid, bytes: &Bytes) -> Result<(), DagError> {
        match &mut self.stage {
            Stage::Way(wanted) if wanted == cid => self.step(*cid, bytes),
            Stage::Measure(measure) => {
                let Some(at) = measure.asked.iter().position(|asked| asked == cid) else { return Ok(()) };
                measure.asked.swap_remove(at);
                measure.count(&self.params, Shard::decode(cid, bytes)?, None)?;
                self.decide()
            }
            Stage::Way(_) | Stage::Done(_) => Ok(()),
        }
    }

    /// Reads a node on the way.
    fn step(&mut self, cid: Cid, bytes: &Bytes) -> Result<(), DagError> {
        if self.way.is_empty() {
            let node = PbNode::decode_shared(bytes)?;
            let none = || DagError::malformed("unixfs", format!("{cid} is a dag-pb node without unixfs data"));
            let message = UnixFs::decode(node.data.as_ref().ok_or_else(none)?)?;
            match message.kind {
                Kind::Directory => return self.plain(node, message.attributes()),
                Kind::HamtShard => {}
                other => return Err(DagError::NotADirectory { cid: Box::new(cid), found: other.as_str() }),
            }
        }
        let shard = Shard::decode(&cid, bytes)?;
        shard.check_places(&cid, &self.places())?;
        if let Some(above) = self.way.last()
            && above.shard.fanout() != shard.fanout()
        {
            return Err(DagError::malformed("unixfs shard", format!("{cid} is not as wide as the one above it")));
        }
        let level = self.way.len();
        let slot = shard.slot_of(&self.name, level).ok_or_else(|| self.hashes_run_out())?;
        let found = shard.get(slot).cloned();
        self.way.push(Opened { cid, shard });
        match found {
            Some(Slot::Shard { cid, .. }) => {
                self.stage = Stage::Way(cid);
                Ok(())
            }
            Some(Slot::Entry(entry)) if entry.name == self.name => self.measure(Some(entry)),
            _ if self.put.is_none() => Err(self.no_entry()),
            _ => self.measure(None),
        }
    }

    /// The slots that lead to the node wanted next.
    fn places(&self) -> Vec<usize> {
        let slot = |(level, opened): (usize, &Opened)| opened.shard.slot_of(&self.name, level);
        self.way.iter().enumerate().filter_map(slot).collect()
    }

    /// Changes a directory that is one node.
    fn plain(&mut self, mut node: PbNode, attributes: Attributes) -> Result<(), DagError> {
        let old = node.links.iter().find(|link| link.name == self.name).cloned();
        let old = old.map(|PbLink { name, cid, tsize }| Entry { name, cid, tsize });
        if old.is_none() && self.put.is_none() {
            return Err(self.no_entry());
        }
        node.links.retain(|link| link.name != self.name);
        let params = like(&self.params, &self.root)?;
        let mut blocks = Vec::new();
        if let Some((cid, tsize)) = self.put {
            node.links.push(PbLink { cid, name: self.name.clone(), tsize });
            let count = if old.is_none() { node.links.len() } else { 0 };
            let bytes = node.links.iter().fold(params.directory_bytes(&attributes), |sum, link| {
                sum.saturating_add(params.entry_bytes(&link.name, &link.cid, link.tsize))
            });
            if params.must_shard(bytes, count) {
                let mut builder = HamtBuilder::new().with_attributes(attributes);
                node.links.into_iter().try_for_each(|link| builder.add(link.name, link.cid, link.tsize))?;
                let (cid, tsize) = builder.build(&params, &mut |block| {
                    blocks.push(block);
                    Ok(())
                })?;
                return self.done(Edited { cid, tsize, blocks, old, at_least: Some(bytes) });
            }
        }
        node.links.sort_by(|a, b| a.name.cmp(&b.name));
        let (block, tsize) = node.into_block(&params)?;
        let cid = *block.block.cid();
        blocks.push(block);
        self.done(Edited { cid, tsize, blocks, old, at_least: None })
    }

    /// The way is known. Decides whether the directory may now fit one node.
    fn measure(&mut self, old: Option<Entry>) -> Result<(), DagError> {
        let bytes = |entry: &Entry| self.params.entry_bytes(&entry.name, &entry.cid, entry.tsize) as i64;
        let added = self.put.map_or(0, |(cid, tsize)| self.params.entry_bytes(&self.name, &cid, tsize) as i64);
        let delta = added - old.as_ref().map_or(0, bytes);
        let known = self.at_least.saturating_add_signed(delta);
        let limit = self.params.hamt_threshold_bytes;
        let may_fit = match self.params.size_estimation {
            SizeEstimation::Disabled => self.params.max_directory_links > 0,
            // As Kubo has it: what grows is not measured, so a directory somebody sharded early stays so while it grows.
            _ => limit > 0 && delta < 0 && known <= limit,
        };
        if !may_fit {
            let at_least = (self.at_least > 0).then_some(known);
            return self.write(old, at_least);
        }
        let base = self.way.first().map_or(0, |root| self.params.directory_bytes(&root.shard.attributes));
        let mut measure = Measure {
            old,
            delta,
            bytes: base,
            entries: Vec::new(),
            asked: Vec::new(),
            waiting: VecDeque::new(),
            seen: 0,
        };
        for (at, opened) in self.way.iter().enumerate() {
            let next = self.way.get(at + 1).map(|below| below.cid);
            measure.count(&self.params, opened.shard.clone(), next)?;
        }
        self.stage = Stage::Measure(measure);
        self.decide()
    }

    /// Ends measuring as soon as it can be said whether the directory fits one node.
    fn decide(&mut self) -> Result<(), DagError> {
        let Stage::Measure(measure) = &mut self.stage else { return Ok(()) };
        let bytes = measure.bytes.saturating_add_signed(measure.delta);
        let entries = measure.entries.len() + usize::from(self.put.is_some()) - usize::from(measure.old.is_some());
        // Reading on to twice the limit spares measuring at each of many removals that follow.
        let limit = self.params.hamt_threshold_bytes;
        let enough = match self.params.size_estimation {
            SizeEstimation::Disabled => self.params.must_shard(0, entries),
            _ => bytes > limit.saturating_mul(2),
        };
        let whole = measure.asked.is_empty() && measure.waiting.is_empty();
        if !enough && !whole {
            return Ok(());
        }
        let mut measure = match std::mem::replace(&mut self.stage, Stage::Way(self.root)) {
            Stage::Measure(measure) => measure,
            _ => return Ok(()),
        };
        let old = measure.old.take();
        if self.params.must_shard(bytes, entries) {
            return self.write(old, Some(bytes));
        }
        self.flatten(old, measure.entries)
    }

    /// Writes all entries into one node.
    fn flatten(&mut self, old: Option<Entry>, entries: Vec<Entry>) -> Result<(), DagError> {
        let attributes = self.way.first().map(|root| root.shard.attributes).unwrap_or_default();
        let params = like(&self.params, &self.root)?;
        let mut dir = DirBuilder::new().with_attributes(attributes);
        let put = self.put.map(|(cid, tsize)| Entry { name: self.name.clone(), cid, tsize });
        for entry in entries.into_iter().filter(|entry| entry.name != self.name).chain(put) {
            dir.add(entry.name, entry.cid, entry.tsize)?;
        }
        let (block, tsize) = dir.build(&params)?;
        self.done(Edited { cid: *block.block.cid(), tsize, blocks: vec![block], old, at_least: None })
    }

    /// Writes the shards on the way.
    fn write(&mut self, old: Option<Entry>, at_least: Option<u64>) -> Result<(), DagError> {
        let mut blocks = Vec::new();
        let mut way = std::mem::take(&mut self.way);
        // What is to stand in the slot of the level above.
        let mut replace = self.put.map(|(cid, tsize)| Slot::Entry(Entry { name: self.name.clone(), cid, tsize }));
        let mut root = None;
        for level in (0..way.len()).rev() {
            let Some(Opened { cid, mut shard }) = way.pop() else { break };
            let slot = shard.slot_of(&self.name, level).ok_or_else(|| self.hashes_run_out())?;
            let mut params = like(&self.params, &cid)?;
            params.hamt_fanout = shard.fanout();
            replace = match (shard.get(slot), replace) {
                // Another name has the same slot: both go one level down.
                (Some(Slot::Entry(other)), Some(Slot::Entry(entry))) if other.name != entry.name => {
                    let both = vec![other.clone(), entry];
                    let (cid, tsize) = hamt::shard_of(&params, both, level + 1, &mut |block| {
                        blocks.push(block);
                        Ok(())
                    })?;
                    Some(Slot::Shard { slot, cid, tsize })
                }
                (_, replace) => replace,
            };
            shard.set(slot, replace.take());
            // A shard below the root that has one entry left, or none, gives it to the one above.
            match (level, shard.slots.as_slice()) {
                (1.., []) => continue,
                (1.., [Slot::Entry(entry)]) => {
                    replace = Some(Slot::Entry(entry.clone()));
                    continue;
                }
                _ => {}
            }
            let (block, tsize) = shard.encode(&params)?;
            let cid = *block.block.cid();
            blocks.push(block);
            root = Some((cid, tsize));
            if level > 0 {
                let above = way.last().and_then(|above| above.shard.slot_of(&self.name, level - 1));
                let slot = above.ok_or_else(|| self.hashes_run_out())?;
                replace = Some(Slot::Shard { slot, cid, tsize });
            }
        }
        let (cid, tsize) = root.ok_or_else(|| self.hashes_run_out())?;
        self.done(Edited { cid, tsize, blocks, old, at_least })
    }

    fn done(&mut self, edited: Edited) -> Result<(), DagError> {
        self.stage = Stage::Done(Box::new(edited));
        Ok(())
    }

    fn no_entry(&self) -> DagError {
        let name = String::from_utf8_lossy(&self.name).into_owned();
        DagError::NoEntry { cid: Box::new(self.root), name }
    }

    fn hashes_run_out(&self) -> DagError {
        DagError::BadName { name: printable(&self.name), reason: "its hash is another name's in every bit" }
    }
}

impl Measure {
    /// Counts a shard's entries; `counted` is the one below that is counted by itself.
    fn count(&mut self, params: &ImportParams, shard: Shard, counted: Option<Cid>) -> Result<(), DagError> {
        self.seen += 1;
        if self.seen + self.waiting.len() > MAX_MEASURED {
            let (count, limit) = ((self.seen + self.waiting.len()) as u64, MAX_MEASURED as u64);
            return Err(DagError::TooLarge { what: "shards of a directory that is measured", count, limit });
        }
        let mut skip = counted;
        for slot in shard.slots {
            match slot {
                Slot::Entry(entry) => {
                    let bytes = params.entry_bytes(&entry.name, &entry.cid, entry.tsize);
                    self.bytes = self.bytes.saturating_add(bytes);
                    self.entries.push(entry);
                }
                Slot::Shard { cid, .. } if skip == Some(cid) => skip = None,
                Slot::Shard { cid, .. } => self.waiting.push_back(cid),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;

    use super::*;
    use crate::base::{Block, Codec};

    type Store = HashMap<Cid, Bytes>;

    fn cid(number: u64, raw: bool) -> Cid {
        let data = number.to_le_bytes().to_vec();
        if raw {
            *Block::new(Codec::Raw, Hash::Sha2_256, data).unwrap().cid()
        } else {
            *Block::new_v0(data).unwrap().cid()
        }
    }

    /// The directory of these entries, built at once.
    fn built(params: &ImportParams, entries: &BTreeMap<Vec<u8>, (Cid, u64)>, store: &mut Store) -> Cid {
        let bytes = entries.iter().fold(params.directory_bytes(&Attributes::default()), |sum, (name, (cid, tsize))| {
            sum + params.entry_bytes(name, cid, *tsize)
        });
        let mut put = |block: OutBlock| {
            store.insert(*block.block.cid(), block.block.data().clone());
            Ok(())
        };
        if params.must_shard(bytes, entries.len()) {
            let mut builder = HamtBuilder::new();
            entries.iter().for_each(|(name, (cid, tsize))| builder.add(name.clone(), *cid, *tsize).unwrap());
            return builder.build(params, &mut put).unwrap().0;
        }
        let mut builder = DirBuilder::new();
        entries.iter().for_each(|(name, (cid, tsize))| builder.add(name.clone(), *cid, *tsize).unwrap());
        let (block, _) = builder.build(params).unwrap();
        put(block.clone()).unwrap();
        *block.block.cid()
    }

    /// Runs an edit; gives what came of it and how many blocks it read.
    fn run(mut edit: Edit, store: &mut Store) -> Result<(Edited, usize), DagError> {
        let mut read = 0;
        loop {
            let needs = edit.needs();
            if needs.is_empty() {
                break;
            }
            for cid in needs {
                read += 1;
                edit.feed(&cid, &store[&cid].clone())?;
            }
        }
        let edited = edit.finish().unwrap();
        for block in &edited.blocks {
            store.insert(*block.block.cid(), block.block.data().clone());
            assert_eq!(block.links, crate::dag::links(block.block.cid(), block.block.data()).unwrap());
        }
        Ok((edited, read))
    }

    fn params() -> impl Strategy<Value = ImportParams> {
        let estimation =
            prop_oneof![Just(SizeEstimation::Links), Just(SizeEstimation::Block), Just(SizeEstimation::Disabled)];
        (estimation, 0u8..2, prop::sample::select(vec![8usize, 16, 256, 1024]), 60u64..2500, 0usize..30).prop_map(
            |(size_estimation, cid_version, hamt_fanout, hamt_threshold_bytes, max_directory_links)| ImportParams {
                size_estimation,
                cid_version,
                hamt_fanout,
                hamt_threshold_bytes,
                max_directory_links,
                ..ImportParams::default()
            },
        )
    }

    proptest! {
        /// Whatever the order of puts and removals, the CID is that of the directory built at once.
        #[test]
        fn any_order_of_changes_gives_the_same_directory(
            params in params(),
            changes in proptest::collection::vec((0u16..120, any::<bool>(), any::<bool>(), any::<bool>()), 1..150),
        ) {
            let (mut store, mut model) = (Store::new(), BTreeMap::new());
            let mut root = built(&params, &model, &mut store);
            let mut at_least = 0;
            for (number, (key, put, raw, long)) in changes.into_iter().enumerate() {
                let name = if long { format!("{key}-{}", "n".repeat(40)) } else { key.to_string() }.into_bytes();
                let value = (cid(number as u64, raw), number as u64 * 1000);
                let edit = if put {
                    Edit::put(params.clone(), root, &name, value.0, value.1).unwrap()
                } else {
                    Edit::remove(params.clone(), root, &name).unwrap()
                };
                let old = if put { model.insert(name.clone(), value) } else { model.remove(&name) };
                match run(edit.knowing(at_least), &mut store) {
                    Ok((edited, _)) => {
                        prop_assert_eq!(edited.old.map(|e| (e.cid, e.tsize)), old);
                        prop_assert_eq!(edited.blocks.last().map(|b| *b.block.cid()), Some(edited.cid));
                        root = edited.cid;
                        at_least = edited.at_least.unwrap_or(0);
                    }
                    Err(DagError::NoEntry { .. }) => prop_assert!(!put && old.is_none()),
                    Err(error) => panic!("{error}"),
                }
                prop_assert_eq!(root, built(&params, &model, &mut Store::new()), "after change {}", number);
            }
        }

        #[test]
        fn damaged_directories_never_panic(at: prop::sample::Index, to: u8, name in 0u16..300, put: bool) {
            let params = ImportParams { hamt_threshold_bytes: 500, ..ImportParams::default() };
            let (mut store, mut model) = (Store::new(), BTreeMap::new());
            for n in 0..300u64 {
                model.insert(n.to_string().into_bytes(), (cid(n, true), n));
            }
            let root = built(&params, &model, &mut store);
            let mut damaged = store[&root].to_vec();
            let at = at.index(damaged.len());
            damaged[at] = to;
            store.insert(root, damaged.into());
            let name = name.to_string().into_bytes();
            let mut edit = if put { Edit::put(params, root, &name, cid(1, true), 1) } else { Edit::remove(params, root, &name) }.unwrap();
            'run: loop {
                let needs = edit.needs();
                if needs.is_empty() { break }
                for cid in needs {
                    let Some(bytes) = store.get(&cid) else { break 'run };
                    if edit.feed(&cid, bytes).is_err() { break 'run }
                }
            }
        }
    }

    #[test]
    fn a_change_of_a_large_directory_reads_only_its_way() {
        let params = ImportParams::default();
        let (mut store, mut model) = (Store::new(), BTreeMap::new());
        for n in 0..50_000u64 {
            model.insert(format!("file-{n}").into_bytes(), (cid(n, true), n));
        }
        let mut root = built(&params, &model, &mut store);
        let edit = Edit::put(params.clone(), root, b"new", cid(1, true), 1).unwrap();
        let (edited, read) = run(edit, &mut store).unwrap();
        assert!(read <= 5 && edited.blocks.len() <= 5, "{read} blocks read");
        // The first removal measures, those that follow need not.
        let mut at_least = 0;
        for n in 0..1000 {
            let edit = Edit::remove(params.clone(), root, format!("file-{n}").as_bytes()).unwrap().knowing(at_least);
            let (edited, read) = run(edit, &mut store).unwrap();
            (root, at_least) = (edited.cid, edited.at_least.unwrap());
            model.remove(format!("file-{n}").as_bytes());
            assert!(if n == 0 { read < 150 } else { read <= 5 }, "removal {n} read {read} blocks");
        }
        assert_eq!(root, built(&params, &model, &mut store));
    }

    #[test]
    fn a_directory_keeps_what_it_says_of_itself_through_both_changes() {
        let params = ImportParams { hamt_threshold_bytes: 100, cid_version: 1, ..ImportParams::default() };
        let attributes = Attributes { mode: Some(0o750), mtime: Some((1_700_000_000, 5)) };
        let (empty, _) = DirBuilder::new().with_attributes(attributes).build(&params).unwrap();
        let first = *empty.block.cid();
        let mut store = Store::from([(first, empty.block.data().clone())]);
        let mut root = first;
        for n in 0..10u64 {
            let name = n.to_string();
            root = run(Edit::put(params.clone(), root, name.as_bytes(), cid(n, true), n).unwrap(), &mut store)
                .unwrap()
                .0
                .cid;
        }
        assert_eq!(Shard::decode(&root, &store[&root]).unwrap().attributes, attributes);
        for n in 0..10u64 {
            root =
                run(Edit::remove(params.clone(), root, n.to_string().as_bytes()).unwrap(), &mut store).unwrap().0.cid;
        }
        assert_eq!(root, first);
    }
}
