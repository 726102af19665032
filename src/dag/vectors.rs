//! Tests against CIDs and blocks that others published (IPIP-499, the codec fixtures), and round trips.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use bytes::Bytes;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use proptest::prelude::*;
use sha2::Digest;

use super::{
    chunk::Chunker,
    dir::{DirBuilder, symlink},
    file::{FileBuilder, FileRoot, NONE, TreeBuilder, leaf},
    pb::PbNode,
    read::{self, FileReader, Node},
    unixfs::Attributes,
    *,
};
use crate::base::Hash;

/// The input bytes of IPIP-499: a ChaCha20 keystream.
struct Keystream(chacha20::ChaCha20);

impl Keystream {
    fn new(seed: &str) -> Self {
        let key: [u8; 32] = sha2::Sha256::digest(seed).into();
        Keystream(chacha20::ChaCha20::new(&key.into(), &[0; 12].into()))
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.0.apply_keystream(&mut out);
        out
    }
}

type Store = HashMap<Cid, Bytes>;

fn keep(store: &mut Store, blocks: Vec<OutBlock>) {
    for out in blocks {
        assert_eq!(links(out.block.cid(), out.block.data()).unwrap(), out.links);
        store.insert(*out.block.cid(), out.block.into_data());
    }
}

fn import(params: &ImportParams, pieces: impl Iterator<Item = Vec<u8>>, store: Option<&mut Store>) -> FileRoot {
    let mut builder = FileBuilder::new(params.clone()).unwrap();
    let mut chunker = Chunker::new(params.chunker);
    let mut blocks = Vec::new();
    let keeps = store.is_some();
    let mut put = |new: Vec<OutBlock>| {
        if keeps {
            blocks.extend(new)
        }
    };
    for piece in pieces {
        chunker.push(piece.into());
        while let Some(chunk) = chunker.next_chunk() {
            put(builder.push(chunk).unwrap());
        }
    }
    if let Some(chunk) = chunker.finish() {
        put(builder.push(chunk).unwrap());
    }
    let (rest, root) = builder.finish().unwrap();
    put(rest);
    if let Some(store) = store {
        keep(store, blocks);
    }
    root
}

fn import_stream(params: &ImportParams, seed: &str, mut len: usize) -> String {
    let mut stream = Keystream::new(seed);
    let pieces = std::iter::from_fn(|| {
        let now = len.min(1 << 20);
        len -= now;
        (now > 0).then(|| stream.take(now))
    });
    import(params, pieces, None).cid.to_string()
}

#[test]
fn ipip_499_files_v0_2015() {
    let params = ImportParams::default();
    let hello = import(&params, std::iter::once(b"hello world".to_vec()), None);
    assert_eq!(hello.cid.to_string(), "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD");
    assert_eq!((hello.size, hello.tsize), (11, 19));
    for (len, cid) in [
        (262_144, "QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE"),
        (262_145, "QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ"),
    ] {
        assert_eq!(import_stream(&params, "chunk-v0-seed", len), cid, "{len} bytes");
    }
}

/// A full node of leaves, and one leaf more: the same leaves, hashed once.
#[test]
fn ipip_499_full_nodes_v0_2015() {
    let params = ImportParams::default();
    let mut stream = Keystream::new("v0-seed");
    let (mut full, mut over) = (TreeBuilder::new(params.clone()).unwrap(), TreeBuilder::new(params.clone()).unwrap());
    for _ in 0..174 {
        let (_, root) = leaf(&params, stream.take(262_144).into()).unwrap();
        assert!(full.push(root).unwrap().is_empty());
        over.push(root).unwrap();
    }
    over.push(leaf(&params, stream.take(1).into()).unwrap().1).unwrap();
    let (full, over) = (full.finish(NONE).unwrap().1, over.finish(NONE).unwrap().1);
    assert_eq!(full.cid.to_string(), "QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2");
    assert_eq!(over.cid.to_string(), "QmV81WL765sC8DXsRhE5fJv2rwhS4icHRaf3J9Zk5FdRnW");
    assert_eq!((full.size, over.size), (174 * 262_144, 174 * 262_144 + 1));
}

#[test]
fn ipip_499_files_v1_2025() {
    let params = ImportParams::v1_2025();
    let hello = import(&params, std::iter::once(b"hello world".to_vec()), None);
    assert_eq!(hello.cid.to_string(), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    for (len, cid) in [
        (1_048_576, "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta"),
        (1_048_577, "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64"),
    ] {
        assert_eq!(import_stream(&params, "chunk-v1-seed", len), cid, "{len} bytes");
    }
}

const ALPHABET: &[u8; 39] = b"abcdefghijklmnopqrstuvwxyz01234567890-_";

/// The directories of IPIP-499: `count` files holding "x"; the last name has its own length.
fn ipip_499_dir(params: &ImportParams, seed: &str, count: usize, name_len: usize) -> Result<String, DagError> {
    let mut stream = Keystream::new(seed);
    let file = import(params, std::iter::once(b"x".to_vec()), None);
    let mut dir = DirBuilder::new();
    for _ in 0..count {
        let name: Vec<u8> = stream.take(name_len).iter().map(|b| ALPHABET[usize::from(*b) % 39]).collect();
        dir.add(name, file.cid, file.tsize)?;
    }
    Ok(dir.build(params)?.0.block.cid().to_string())
}

#[test]
fn ipip_499_directories_v0_2015() {
    let params = ImportParams::default();
    assert_eq!(
        ipip_499_dir(&params, "hamt-unixfs-v0-2015", 4096, 30).unwrap(),
        "QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN"
    );
    assert!(matches!(
        ipip_499_dir(&params, "hamt-unixfs-v0-2015", 4033, 31),
        Err(DagError::WouldShard { bytes: 262_145, limit: 262_144 })
    ));
}

#[test]
fn ipip_499_directories_v1_2025() {
    let dir = |last: usize| {
        let params = ImportParams::v1_2025();
        let mut stream = Keystream::new("hamt-unixfs-v1-2025");
        let file = import(&params, std::iter::once(b"x".to_vec()), None);
        let mut dir = DirBuilder::new();
        for n in 0..4766 {
            let len = if n == 4765 { last } else { 11 };
            let name: Vec<u8> = stream.take(len).iter().map(|b| ALPHABET[usize::from(*b) % 39]).collect();
            dir.add(name, file.cid, file.tsize).unwrap();
        }
        dir.build(&params)
    };
    let (out, _) = dir(21).unwrap();
    assert_eq!(out.block.cid().to_string(), "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4");
    assert_eq!(out.block.data().len(), 262_144);
    assert!(matches!(dir(22), Err(DagError::WouldShard { bytes: 262_145, limit: 262_144 })));
}

#[test]
fn well_known_empty_things() {
    let params = ImportParams::default();
    let (dir, tsize) = DirBuilder::new().build(&params).unwrap();
    assert_eq!(dir.block.cid().to_string(), "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn");
    assert_eq!(tsize, 4);
    let file = import(&params, std::iter::empty(), None);
    assert_eq!(file.cid.to_string(), "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH");
    let raw = ImportParams { cid_version: 1, raw_leaves: true, ..params };
    assert_eq!(
        import(&raw, std::iter::empty(), None).cid.to_string(),
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    );
}

#[test]
fn symbolic_links_are_their_targets_in_a_node() {
    let out = symlink(&ImportParams::default(), b"../target", &Attributes::default()).unwrap();
    assert_eq!(out.block.data().as_ref(), b"\x0a\x0d\x08\x04\x12\x09../target");
    assert_eq!(Node::decode(out.block.cid(), out.block.data()).unwrap(), Node::Symlink(b"../target".to_vec()));
    for bad in [&b""[..], b"a\0b", &[b'a'; 5000]] {
        assert!(symlink(&ImportParams::default(), bad, &Attributes::default()).is_err());
    }
}

#[test]
fn impossible_names_are_refused_in_both_directions() {
    let file = import(&ImportParams::default(), std::iter::empty(), None);
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &[b'x'; 256]] {
        assert!(DirBuilder::new().add(name, file.cid, 1).is_err(), "{name:?}");
        let links = vec![pb::PbLink { cid: file.cid, name: name.to_vec(), tsize: 1 }];
        let node = PbNode { links, data: Some(Bytes::from_static(&[8, 1])) }.encode();
        let block = Block::new_v0(node).unwrap();
        assert!(matches!(read::entries(block.cid(), block.data()), Err(DagError::BadName { .. })), "{name:?}");
    }
    let mut dir = DirBuilder::new();
    dir.add("a", file.cid, 1).unwrap();
    dir.add("a", file.cid, 1).unwrap();
    assert!(dir.build(&ImportParams::default()).is_err());
}

/// Reads a range, feeding blocks in an order drawn from `order`; checks that the window holds.
fn read_back(store: &Store, root: Cid, range: std::ops::Range<u64>, window: u64, order: &mut u64) -> Vec<u8> {
    let mut reader = FileReader::with_range(root, range);
    reader.set_window(window);
    let mut open: Vec<Cid> = Vec::new();
    let mut out = Vec::new();
    while !reader.is_done() {
        open.extend(reader.needs());
        assert!(!open.is_empty(), "stuck");
        *order = order.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let cid = open.swap_remove((*order >> 33) as usize % open.len());
        reader.feed(&cid, &store[&cid]).unwrap();
        while let Some(bytes) = reader.next_bytes() {
            out.extend_from_slice(&bytes);
        }
    }
    out
}

proptest! {
    #[test]
    fn files_come_back(
        len in 0usize..700,
        repeat: bool,
        chunk_bytes in 1usize..20,
        max_file_links in 2usize..6,
        raw_leaves: bool,
        cid_version in 0u8..2,
        range in (0u64..800, 0u64..800),
        window in 1u64..100,
        mut order: u64,
    ) {
        let chunker = Chunking::Size(chunk_bytes);
        let params = ImportParams { chunker, max_file_links, raw_leaves, cid_version, ..ImportParams::default() };
        let data: Vec<u8> = (0..len).map(|i| if repeat { 7 } else { ((i * 31) >> 3) as u8 }).collect();
        let mut store = Store::new();
        let root = import(&params, data.chunks(13).map(<[u8]>::to_vec), Some(&mut store));
        prop_assert_eq!(root.size, len as u64);
        prop_assert_eq!(&read_back(&store, root.cid, 0..u64::MAX, window, &mut order), &data);
        let range = range.0.min(range.1)..range.0.max(range.1);
        let (from, to) = (range.start.min(len as u64) as usize, range.end.min(len as u64) as usize);
        prop_assert_eq!(read_back(&store, root.cid, range, window, &mut order), &data[from..to]);
    }

    #[test]
    fn directories_come_back(names in proptest::collection::btree_set("[a-zA-Zäß .-]{1,12}", 0..30)) {
        let names: BTreeMap<Vec<u8>, u64> =
            names.into_iter().filter(|n| n != "." && n != "..").zip(1..).map(|(n, i)| (n.into_bytes(), i)).collect();
        let cid = import(&ImportParams::default(), std::iter::empty(), None).cid;
        let mut dir = DirBuilder::new();
        for (name, tsize) in names.iter().rev() {
            dir.add(name.clone(), cid, *tsize).unwrap();
        }
        let (out, _) = dir.build(&ImportParams::default()).unwrap();
        let entries = read::entries(out.block.cid(), out.block.data()).unwrap();
        prop_assert_eq!(entries.into_iter().map(|e| (e.name, e.tsize)).collect::<Vec<_>>(), names.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn damaged_files_never_panic(at: prop::sample::Index, to: u8) {
        let params = ImportParams { chunker: Chunking::Size(7), max_file_links: 3, ..ImportParams::default() };
        let mut store = Store::new();
        let root = import(&params, std::iter::once((0..100).collect()), Some(&mut store));
        let mut bytes = store[&root.cid].to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let mut reader = FileReader::new(root.cid);
        reader.needs();
        if reader.feed(&root.cid, &bytes.into()).is_ok() {
            while let Some(cid) = reader.needs().first().copied() {
                let Some(bytes) = store.get(&cid) else { break };
                if reader.feed(&cid, bytes).is_err() {
                    break;
                }
            }
        }
    }
}

fn file_block(children: &[(Cid, u64)], filesize: u64) -> Block {
    let mut message = unixfs::UnixFs::new(unixfs::Kind::File);
    message.filesize = Some(filesize);
    message.blocksizes = children.iter().map(|c| c.1).collect();
    let links = children.iter().map(|c| pb::PbLink { cid: c.0, name: Vec::new(), tsize: 0 }).collect();
    Block::new_v0(PbNode { links, data: Some(message.encode().into()) }.encode()).unwrap()
}

#[test]
fn lying_sizes_are_found() {
    let leaf = Block::new(Codec::Raw, Hash::Sha2_256, &b"abc"[..]).unwrap();
    let feed = |root: &Block| {
        let mut reader = FileReader::new(*root.cid());
        reader.needs();
        reader.feed(root.cid(), root.data())?;
        reader.needs();
        reader.feed(leaf.cid(), leaf.data())
    };
    feed(&file_block(&[(*leaf.cid(), 3)], 3)).unwrap();
    for (children, filesize) in
        [(vec![(*leaf.cid(), 4)], 4), (vec![(*leaf.cid(), 3)], 4), (vec![(*leaf.cid(), u64::MAX), (*leaf.cid(), 2)], 1)]
    {
        let root = file_block(&children, filesize);
        assert!(matches!(feed(&root), Err(DagError::SizeMismatch { .. })), "{children:?} {filesize}");
    }
}

#[test]
fn trees_that_lead_nowhere_end() {
    // Children of no bytes, a thousand a level: nothing of it is fetched.
    let empty = Block::new(Codec::Raw, Hash::Sha2_256, &b""[..]).unwrap();
    let mut node = file_block(&vec![(*empty.cid(), 0); 1000], 0);
    for _ in 0..10 {
        node = file_block(&vec![(*node.cid(), 0); 1000], 0);
    }
    let mut reader = FileReader::new(*node.cid());
    reader.needs();
    reader.feed(node.cid(), node.data()).unwrap();
    assert!(reader.is_done());
    // A chain deeper than any file.
    let leaf = Block::new(Codec::Raw, Hash::Sha2_256, &b"x"[..]).unwrap();
    let mut chain = vec![leaf];
    for _ in 0..40 {
        let below = *chain.last().unwrap().cid();
        chain.push(file_block(&[(below, 1)], 1));
    }
    let mut reader = FileReader::new(*chain.last().unwrap().cid());
    let ended = chain.iter().rev().try_for_each(|block| {
        reader.needs();
        reader.feed(block.cid(), block.data())
    });
    assert!(matches!(ended, Err(DagError::TooLarge { .. })));
}

#[test]
fn the_window_bounds_what_is_asked_for() {
    let params = ImportParams { chunker: Chunking::Size(1000), max_file_links: 50, ..ImportParams::default() };
    let mut store = Store::new();
    let data = Keystream::new("window").take(1_000_000);
    let root = import(&params, std::iter::once(data), Some(&mut store));
    let mut reader = FileReader::new(root.cid);
    reader.set_window(10_000);
    let mut fed = 0;
    loop {
        let needs = reader.needs();
        if needs.is_empty() {
            break;
        }
        for cid in needs {
            fed += 1;
            reader.feed(&cid, &store[&cid]).unwrap();
        }
    }
    assert_eq!(fed, 1 + 1 + 10, "the root, the first node, the window's leaves");
    assert_eq!(reader.size(), Some(1_000_000));
}

#[test]
fn other_things_than_files_are_named() {
    let (dir, _) = DirBuilder::new().build(&ImportParams::default()).unwrap();
    let mut reader = FileReader::new(*dir.block.cid());
    reader.needs();
    let err = reader.feed(dir.block.cid(), dir.block.data()).unwrap_err();
    assert!(err.to_string().contains("is a directory, not a file"), "{err}");
    let shard = PbNode { links: vec![], data: Some(Bytes::from_static(&[8, 5, 0x28, 0x22, 0x30, 0x80, 2])) };
    let shard = Block::new_v0(shard.encode()).unwrap();
    assert!(matches!(Node::decode(shard.cid(), shard.data()), Err(DagError::Sharded { .. })));
    let cbor = Block::new(Codec::DagCbor, Hash::Sha2_256, vec![0xa0]).unwrap();
    assert!(matches!(Node::decode(cbor.cid(), cbor.data()), Err(DagError::NotUnixFs { codec: 0x71, .. })));
}

/// The folder of published codec fixtures, or None, said loudly.
fn fixtures() -> Option<PathBuf> {
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/vectors/codec"));
    if dir.is_dir() {
        return Some(dir);
    }
    loudly(&format!("SKIPPED: codec fixtures absent at {}", dir.display()));
    None
}

fn loudly(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "\n{text}\n");
}

#[test]
fn published_blocks_are_read_and_written_alike() {
    let Some(dir) = fixtures() else { return };
    let (mut pb_blocks, mut rewritten, mut cbor_links) = (0, 0, 0);
    let cases = std::fs::read_dir(dir.join("fixtures")).unwrap().map(|case| case.unwrap().path());
    for case in cases.filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(case).unwrap() {
            let path = file.unwrap().path();
            let cid = crate::base::cid::parse(path.file_stem().unwrap().to_str().unwrap()).unwrap();
            let block = Block::verify(cid, std::fs::read(&path).unwrap()).unwrap();
            match path.extension().and_then(|e| e.to_str()) {
                Some("dag-pb") => {
                    let node = PbNode::decode(block.data()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                    let again = node.encode();
                    assert_eq!(PbNode::decode(&again).unwrap(), node);
                    assert_eq!(links(&cid, block.data()).unwrap().len(), node.links.len());
                    pb_blocks += 1;
                    rewritten += usize::from(again == *block.data());
                }
                Some("dag-cbor") => cbor_links += links(&cid, block.data()).unwrap().len(),
                _ => {}
            }
        }
    }
    assert_eq!(pb_blocks, 17);
    assert!(rewritten >= 8, "only {rewritten} were written as they were read");
    assert!(cbor_links > 20, "only {cbor_links} links in dag-cbor");
}

#[test]
fn published_malformed_blocks_are_refused() {
    let Some(dir) = fixtures() else { return };
    let text = std::fs::read_to_string(dir.join("negative-fixtures/dag-pb/decode/edges.json")).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() > 5);
    for case in cases {
        let bytes = data_encoding::HEXLOWER.decode(case["hex"].as_str().unwrap().as_bytes()).unwrap();
        assert!(PbNode::decode(&bytes).is_err(), "{}", case["name"]);
    }
}
