//! Entry points of fuzz targets: every decoder of this folder, and what always holds of what it reads.

use std::collections::HashMap;

use bytes::Bytes;

use super::{
    DagError, DagPath, ImportParams,
    car::{self, CarReader, Item},
    cids::{self, CidText, Rewrite},
    codec::{self, Ipld},
    hamt::{Shard, Slot, slot_digits},
    pb::{self, PbLink, PbNode},
    read::FileReader,
    unixfs::{Kind, UnixFs},
};
use crate::base::{Block, Cid, Codec, Hash, cid, fuzz::Input};

/// An archive reads alike in whatever pieces it comes, and what was read is read again when it is written.
pub fn car(data: &[u8]) {
    let read = |bytes: &[u8], piece: usize| -> Result<Vec<Item>, DagError> {
        let (mut reader, mut items) = (CarReader::new(), Vec::new());
        for part in bytes.chunks(piece) {
            reader.feed(part)?;
            items.extend(std::iter::from_fn(|| reader.next_item()));
        }
        reader.finish().map(|()| items)
    };
    let whole = read(data, data.len().max(1));
    for piece in [1, 13] {
        let parts = read(data, piece);
        assert_eq!(parts.as_ref().ok(), whole.as_ref().ok(), "in pieces of {piece}");
    }
    let Ok(items) = whole else { return };
    let mut again = Vec::new();
    for item in &items {
        match item {
            Item::Roots(roots) => again.extend(car::header(roots)),
            Item::Section(section) => {
                again.extend(car::section_head(&section.cid, section.data.len()));
                again.extend_from_slice(&section.data);
                if let Ok(block) = section.clone().verify() {
                    assert_eq!(block.cid(), &section.cid);
                }
            }
        }
    }
    assert_eq!(read(&again, again.len()).expect("what was written is read"), items);
}

/// The three readers of nodes agree, and what is written is read.
pub fn dag_pb(data: &[u8]) {
    let node = PbNode::decode(data);
    let (cids, value) = (pb::link_cids(data), codec::decode(Codec::DagPb, data));
    assert_eq!((node.is_ok(), node.is_ok()), (cids.is_ok(), value.is_ok()));
    let (Ok(node), Ok(cids), Ok(value)) = (node, cids, value) else { return };
    assert_eq!(cids, node.links.iter().map(|link| link.cid).collect::<Vec<_>>());
    assert_eq!(PbNode::decode(&node.encode()).expect("what was written is read"), node);
    let canonical = codec::encode(Codec::DagPb, &value).expect("what was read can be written");
    let again = codec::decode(Codec::DagPb, &canonical).expect("what was written is read");
    assert_eq!(codec::encode(Codec::DagPb, &again).expect("again"), canonical);
}

/// What is written is read.
pub fn unixfs(data: &[u8]) {
    if let Ok(message) = UnixFs::decode(&Bytes::copy_from_slice(data)) {
        assert_eq!(UnixFs::decode(&message.encode().into()).expect("what was written is read"), message);
    }
}

/// A shard's slots are within its width, its names lead nowhere else, it is read again when it is written, and whatever
/// stands where its hash says is found. The input is a block, or what a block is made of.
pub fn hamt(data: &[u8]) {
    let mut input = Input(data);
    let bytes = if input.byte() & 1 == 0 { Bytes::copy_from_slice(input.0) } else { shard(&mut input) };
    let Ok(block) = Block::new(Codec::DagPb, Hash::Sha2_256, bytes.clone()) else { return };
    let Ok(shard) = Shard::decode(block.cid(), &bytes) else { return };
    assert!(shard.slots.len() <= shard.fanout());
    let (again, _) = shard.encode(&ImportParams::v1_2025()).expect("what was read can be written");
    assert_eq!(Shard::decode(again.block.cid(), again.block.data()).expect("what was written is read"), shard);
    if shard.check_places(block.cid(), &[]).is_err() {
        return;
    }
    for slot in &shard.slots {
        if let Slot::Entry(entry) = slot {
            assert!(!entry.name.contains(&b'/') && !entry.name.contains(&0) && entry.name != b"..");
            assert_eq!(shard.find(&entry.name, 0), Some(slot));
        }
    }
}

fn shard(input: &mut Input<'_>) -> Bytes {
    let mut message = UnixFs::new(Kind::HamtShard);
    message.fanout = Some(1 << (input.byte() % 12));
    message.hash_type = Some(u64::from(input.byte()));
    message.data = Some(Bytes::copy_from_slice(input.counted()));
    let digits = slot_digits(message.fanout.unwrap_or(1).max(2) as usize);
    let mut links = Vec::new();
    while !input.is_empty() && links.len() < 64 {
        let slot = usize::from(input.short());
        let mut name = format!("{slot:0digits$X}").into_bytes();
        name.extend_from_slice(input.counted());
        links.push(PbLink { cid: leaf(b"leaf"), name, tsize: 1 });
    }
    PbNode { links, data: Some(message.encode().into()) }.encode().into()
}

fn leaf(data: &[u8]) -> Cid {
    *Block::new(Codec::Raw, Hash::Sha2_256, data.to_vec()).expect("it is small").cid()
}

/// A file made of a few blocks that link to each other as the input says, with sizes that may be lies: the reader ends,
/// and gives the bytes that honest sizes promise.
pub fn file(data: &[u8]) {
    const MOST_BYTES: usize = 64 * 1024;
    let mut input = Input(data);
    let (from, to, window) = (u64::from(input.short()), u64::from(input.short()), u64::from(input.short()));
    let mut blocks: Vec<(Cid, Bytes)> = Vec::new();
    // What each is as a file, when it is an honest one and not too long.
    let mut files: Vec<Option<Vec<u8>>> = Vec::new();
    while !input.is_empty() && blocks.len() < 24 {
        let kind = input.byte();
        let own = input.counted();
        let (codec, bytes, honest) = if kind & 3 == 0 {
            (Codec::Raw, Bytes::copy_from_slice(own), Some(own.to_vec()))
        } else {
            let mut message = UnixFs::new(if kind & 4 == 0 { Kind::File } else { Kind::Raw });
            let mut honest = Some(own.to_vec());
            message.data = (!own.is_empty()).then(|| Bytes::copy_from_slice(own));
            let mut size = own.len() as u64;
            let mut links = Vec::new();
            for _ in 0..input.byte() % 32 {
                let Some(at) = usize::from(input.byte()).checked_rem(blocks.len()) else { break };
                let (cid, lie) = (blocks[at].0, kind & 8 != 0);
                let said = match &files[at] {
                    Some(file) if !lie => file.len() as u64,
                    _ => u64::from(input.short()) << (input.byte() % 48),
                };
                honest = honest.zip(files[at].as_ref()).filter(|(_, child)| child.len() as u64 == said).map(
                    |(mut bytes, child)| {
                        bytes.extend_from_slice(child);
                        bytes
                    },
                );
                honest = honest.filter(|bytes| bytes.len() <= MOST_BYTES);
                size = size.saturating_add(said);
                message.blocksizes.push(said);
                links.push(PbLink { cid, name: Vec::new(), tsize: said });
            }
            message.filesize = Some(size);
            let node = PbNode { links, data: Some(message.encode().into()) };
            (Codec::DagPb, node.encode().into(), honest)
        };
        let Ok(block) = Block::new(codec, Hash::Sha2_256, bytes) else { return };
        blocks.push((*block.cid(), block.data().clone()));
        files.push(honest);
    }
    let (Some((root, _)), Some(file)) = (blocks.last(), files.last()) else { return };
    let stored: HashMap<Cid, Bytes> = blocks.iter().cloned().collect();
    let mut reader = FileReader::with_range(*root, from..if to == 0 { u64::MAX } else { to });
    reader.set_window(window);
    let mut out = Vec::new();
    let read = loop {
        while let Some(bytes) = reader.next_bytes() {
            out.extend_from_slice(&bytes);
        }
        if reader.is_done() {
            break Ok(());
        }
        if out.len() > MOST_BYTES {
            return;
        }
        let needs = reader.needs();
        assert!(!needs.is_empty(), "it waits for nothing");
        if let Some(error) = needs.iter().find_map(|cid| reader.feed(cid, &stored[cid]).err()) {
            break Err(error);
        }
    };
    let Some(file) = file else { return };
    read.expect("an honest file is read");
    let end = if to == 0 { file.len() } else { file.len().min(to as usize) };
    assert_eq!(out, file.get((from as usize).min(end)..end).unwrap_or_default());
}

/// What is read is read again when it is written, in the one form there is; other codecs keep it too.
fn value(codec: Codec, data: &[u8]) {
    let Ok(value) = codec::decode(codec, data) else { return };
    for by in [Codec::DagCbor, Codec::DagJson, Codec::Cbor, Codec::Json] {
        let text = matches!(by, Codec::DagJson | Codec::Json);
        if text && wide(&value) {
            continue;
        }
        let bytes = match codec::encode(by, &value) {
            Ok(bytes) if bytes.len() <= codec::MAX_INPUT_BYTES => bytes,
            Err(error) if by == codec => panic!("what was read cannot be written: {error}"),
            _ => continue,
        };
        let again = codec::decode(by, &bytes).expect("what was written is read");
        assert!(same(&plain(again.clone()), &plain(value.clone()), text), "by {by:?}: {again:?} for {value:?}");
        if !text {
            assert_eq!(codec::encode(by, &again).expect("again"), bytes);
        }
    }
}

/// Whether it holds a float that JSON writes like a whole number, of more than 64 bits. Such a number is not read: in this
/// Kubo's JSON is no different.
fn wide(value: &Ipld) -> bool {
    match value {
        Ipld::Float(n) => n.fract() == 0.0 && n.abs() >= 18_446_744_073_709_551_616.0,
        Ipld::List(items) => items.iter().any(wide),
        Ipld::Map(entries) => entries.iter().any(|(_, item)| wide(item)),
        _ => false,
    }
}

/// With the entries of maps in the order of their names.
fn plain(value: Ipld) -> Ipld {
    match value {
        Ipld::List(items) => Ipld::List(items.into_iter().map(plain).collect()),
        Ipld::Map(entries) => {
            let mut entries: Vec<_> = entries.into_iter().map(|(key, item)| (key, plain(item))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Ipld::Map(entries)
        }
        other => other,
    }
}

/// Whether what was read again is what was written. In text a float without a fraction looks like a whole number, whose last
/// digits are zeros when the float does not need them.
fn same(again: &Ipld, value: &Ipld, text: bool) -> bool {
    match (again, value) {
        (Ipld::Int(n), Ipld::Float(float)) if text && float.fract() == 0.0 => *n as f64 == *float,
        (Ipld::List(a), Ipld::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, text)),
        (Ipld::Map(a), Ipld::Map(b)) => {
            let mut pairs = a.iter().zip(b);
            a.len() == b.len() && pairs.all(|((key, a), (other, b))| key == other && same(a, b, text))
        }
        _ => again == value,
    }
}

/// DAG-CBOR: as [`value`]; no other length of the same value is read, and its links are those of the value.
pub fn dag_cbor(data: &[u8]) {
    value(Codec::DagCbor, data);
    let links = super::cbor::link_cids(data);
    let Ok(value) = codec::decode(Codec::DagCbor, data) else { return };
    assert_eq!(codec::encode(Codec::DagCbor, &value).expect("it was read").len(), data.len());
    let mut expected = Vec::new();
    codec::collect(&value, &mut expected);
    assert_eq!(links.expect("a value's links are found"), expected);
}

/// CBOR: as [`value`].
pub fn cbor(data: &[u8]) {
    value(Codec::Cbor, data);
}

/// DAG-JSON: as [`value`].
pub fn dag_json(data: &[u8]) {
    value(Codec::DagJson, data);
}

/// JSON: as [`value`].
pub fn json(data: &[u8]) {
    value(Codec::Json, data);
}

/// CIDs in bytes have one form; in text, whatever is read is written so that it is read again.
pub fn cid(data: &[u8]) {
    if let Ok(cid) = cid::from_bytes(data) {
        assert_eq!(cid.to_bytes(), data, "one form");
        assert_eq!(cid::parse(&cid.to_string()), Ok(cid));
    }
    let text = String::from_utf8_lossy(data);
    let (text, format) = text.split_once('\n').unwrap_or((&text, "%s %b %B %v %c %h %m %M %d %D %S %P"));
    if let Ok(cid) = cid::parse(text) {
        assert_eq!(cid::parse(&cid.to_string()), Ok(cid));
    }
    let Ok(cid) = cids::parse(text) else { return };
    let parts = cids::inspect(text).expect("what is a CID can be taken apart");
    assert_eq!(cids::parse(&parts.v1).expect("its version 1 is one").hash(), cid.hash());
    assert_eq!(cids::parse(&CidText::like(text).of(&cid)).expect("it is written as it came").hash(), cid.hash());
    // A format string may be wrong; what it writes is not looked at.
    let _ = Rewrite::default().apply(text, format);
}

/// A path that is read is written so that it is read again, and never leads upwards.
pub fn path(data: &[u8]) {
    let Ok(path) = DagPath::parse(&String::from_utf8_lossy(data)) else { return };
    assert!(path.segments.iter().all(|name| !name.is_empty() && name != "." && name != ".." && !name.contains('\0')));
    assert_eq!(path.to_string().parse::<DagPath>().expect("what was written is read"), path);
}
