//! Trees made to do harm: what a few blocks say must cost no more than a few blocks, whatever they promise.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::{
    tests::{NOTHING, place},
    *,
};
use crate::{
    base::{Block, Codec, HasKind, Hash, Kind},
    dag::{
        self, DagError, DagPath,
        hamt::{hash_name, slot_at, slot_digits},
        pb::{PbLink, PbNode},
        unixfs::{self, UnixFs},
    },
    store::{NewBlock, PinKind},
};

/// Far more than any of these may take, even on a machine that does much else.
const SOON: Duration = Duration::from_secs(60);

async fn put(content: &Content, block: Block) -> Cid {
    let links = dag::links(block.cid(), block.data()).unwrap();
    let cid = *block.cid();
    content.repo().blocks().put(vec![NewBlock { block, links }]).await.unwrap();
    cid
}

async fn node(content: &Content, message: UnixFs, links: Vec<PbLink>) -> Cid {
    let node = PbNode { links, data: Some(message.encode().into()) };
    put(content, Block::new(Codec::DagPb, Hash::Sha2_256, node.encode()).unwrap()).await
}

fn link(cid: Cid, name: impl Into<Vec<u8>>, tsize: u64) -> PbLink {
    PbLink { cid, name: name.into(), tsize }
}

async fn directory(content: &Content, links: Vec<PbLink>) -> Cid {
    node(content, UnixFs::new(unixfs::Kind::Directory), links).await
}

async fn raw(content: &Content, bytes: &[u8]) -> Cid {
    put(content, Block::new(Codec::Raw, Hash::Sha2_256, bytes.to_vec()).unwrap()).await
}

/// A file of these parts with the sizes said of them.
async fn file(content: &Content, parts: &[(Cid, u64)]) -> Cid {
    let mut message = UnixFs::new(unixfs::Kind::File);
    message.filesize = parts.iter().try_fold(0u64, |sum, (_, size)| sum.checked_add(*size));
    message.blocksizes = parts.iter().map(|(_, size)| *size).collect();
    node(content, message, parts.iter().map(|(cid, size)| link(*cid, "", *size)).collect()).await
}

/// What has to come soon.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// Ten levels of folders, each a thousand times the one below: 10^30 files in 12 blocks.
async fn folder_bomb(content: &Content) -> Cid {
    let mut below = raw(content, b"boom").await;
    for _ in 0..10 {
        let links = (0..1000).map(|n| link(below, format!("{n:03}"), u64::MAX)).collect();
        below = directory(content, links).await;
    }
    below
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_unfold_without_end_cost_what_their_blocks_cost() {
    let place = place();
    let content = &place.content;
    let bomb = folder_bomb(content).await;
    let path = DagPath::from(bomb);
    assert_eq!(soon("ls", content.ls(&path)).await.unwrap().len(), 1000);
    let deep = DagPath { root: bomb, segments: vec!["007".into(); 10] };
    assert_eq!(soon("cat", content.cat_all(deep, 100)).await.unwrap(), "boom");
    let stats: Vec<DagStats> = soon("dag stat", content.dag_stat(vec![bomb]).try_collect()).await.unwrap();
    assert_eq!(stats.last().unwrap().roots[0].blocks, 11);
    soon("pin", content.pin(&bomb, PinKind::Recursive, None)).await.unwrap();
    assert!(soon("holds", content.holds(&bomb)).await.unwrap());
    assert_eq!(soon("pin ls", content.list_pins(PinFilter::All)).await.unwrap().len(), 11);
    let archive: Vec<Bytes> =
        soon("dag export", content.export(bomb, ExportOptions::default()).try_collect()).await.unwrap();
    assert!(archive.concat().len() < 1_000_000);
    let unique = RefsOptions { unique: true, ..RefsOptions::default() };
    let refs: Vec<Reference> = soon("refs", content.refs(vec![bomb], unique).try_collect()).await.unwrap();
    assert_eq!(refs.len(), 10);
    // What has no end comes piece by piece, and stops when nobody listens.
    let all = content.refs(vec![bomb], RefsOptions::default()).take(20_000).try_collect::<Vec<_>>();
    assert_eq!(soon("refs without end", all).await.unwrap().len(), 20_000);
    let events = content.walk(bomb).take(5_000).try_collect::<Vec<_>>();
    assert_eq!(soon("get without end", events).await.unwrap().len(), 5_000);
    let tar = content.tar(bomb, "root", false).take(5_000).try_collect::<Vec<_>>();
    assert_eq!(soon("get --archive without end", tar).await.unwrap().len(), 5_000);
    let stat = content.stat_node(&bomb, false);
    soon("files stat", stat).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_unfold_without_end_are_read_where_one_asks() {
    let place = place();
    let content = &place.content;
    let (mut below, mut size) = (raw(content, b"0123456789").await, 10u64);
    // Almost three exabytes in nine blocks.
    for wide in [174, 174, 174, 174, 174, 174, 174, 60] {
        below = file(content, &vec![(below, size); wide]).await;
        size *= wide as u64;
    }
    assert!(size > 1 << 60);
    let stat = soon("stat", content.stat(&below.into())).await.unwrap();
    assert_eq!((stat.size, stat.links), (size, 60));
    for from in [0, 1_000_003, size / 2 + 7, size - 15] {
        let bytes = content.cat(below, Some(from..from + 15)).try_collect::<Vec<_>>();
        let expected: Vec<u8> = (from..from + 15).map(|at| b'0' + (at % 10) as u8).collect();
        assert_eq!(soon("cat of a part", bytes).await.unwrap().concat(), expected, "from {from}");
    }
    let first = content.cat(below, None).take(10_000).try_collect::<Vec<_>>();
    assert_eq!(soon("cat without end", first).await.unwrap().concat().len(), 100_000);
    let stats: Vec<DagStats> = soon("dag stat", content.dag_stat(vec![below]).try_collect()).await.unwrap();
    assert_eq!(stats.last().unwrap().unique_blocks, 9);
    soon("pin", content.pin(&below, PinKind::Recursive, None)).await.unwrap();
    // One more level, and the sizes do not add up to any number.
    let more = file(content, &vec![(below, size); 100]).await;
    assert!(matches!(content.stat(&more.into()).await.unwrap_err(), ContentError::Dag(DagError::SizeMismatch { .. })));
}

/// A file whose parts are empty, however many there are, is none of them.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_no_bytes_are_not_looked_at() {
    let place = place();
    let content = &place.content;
    let mut below = raw(content, b"").await;
    for _ in 0..30 {
        below = file(content, &vec![(below, 0); 1000]).await;
    }
    assert!(soon("cat", content.cat_all(below, 10)).await.unwrap().is_empty());
}

/// A shard of the widest kind, whose every slot holds what `slot` says.
async fn shard(content: &Content, slots: Vec<(usize, Vec<u8>, Cid)>) -> Cid {
    const WIDE: usize = 1024;
    let mut field = vec![0u8; WIDE / 8];
    let mut links = Vec::new();
    for (slot, name, cid) in slots {
        field[WIDE / 8 - 1 - slot / 8] |= 1 << (slot % 8);
        let digits = slot_digits(WIDE);
        let mut text = format!("{slot:0digits$X}").into_bytes();
        text.extend_from_slice(&name);
        links.push(link(cid, text, 1));
    }
    let mut message = UnixFs::new(unixfs::Kind::HamtShard);
    message.data = Some(field.into());
    message.hash_type = Some(dag::hamt::MURMUR3_X64_64);
    message.fanout = Some(WIDE as u64);
    node(content, message, links).await
}

fn malformed(error: &ContentError) -> bool {
    error.kind() == Kind::Corrupt
}

/// A million entries in two blocks: each slot of the root leads to the same shard. None of them stands where its hash says.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_stands_everywhere_is_refused_at_its_first_place() {
    let place = place();
    let content = &place.content;
    let leaf = raw(content, b"x").await;
    let names = (0..1024).map(|slot| (slot, format!("{slot:0200}").into_bytes(), leaf)).collect();
    let inner = shard(content, names).await;
    let root = shard(content, (0..1024).map(|slot| (slot, Vec::new(), inner)).collect()).await;
    let out = tempfile::tempdir().unwrap();
    let refused = [
        soon("ls", content.ls(&root.into())).await.map(drop).unwrap_err(),
        soon("stat", content.stat(&root.into())).await.map(drop).unwrap_err(),
        soon("get", content.get_to(&root.into(), &out.path().join("out"))).await.map(drop).unwrap_err(),
        soon("tar", content.tar(root, "r", false).try_collect::<Vec<_>>()).await.map(drop).unwrap_err(),
    ];
    for error in refused {
        assert!(malformed(&error) && error.to_string().contains("hash"), "{error}");
    }
}

/// Shards that go deeper than there are bits of a hash, and one with the same name in two of its slots.
#[tokio::test(flavor = "multi_thread")]
async fn shards_too_deep_or_with_a_name_twice_are_refused() {
    let place = place();
    let content = &place.content;
    let leaf = raw(content, b"x").await;
    let hash = hash_name(b"name");
    let slot = |level| slot_at(hash, 1024, level);
    // Six levels use up the hash; below, there is no place for the name.
    let mut below = shard(content, vec![(5, b"name".to_vec(), leaf)]).await;
    for level in (0..6).rev() {
        below = shard(content, vec![(slot(level).unwrap(), Vec::new(), below)]).await;
    }
    assert_eq!(slot(6), None);
    assert!(malformed(&soon("ls", content.ls(&below.into())).await.unwrap_err()));
    assert!(content.resolve(&format!("{below}/name").parse().unwrap()).await.is_err());
    let empty = shard(content, Vec::new()).await;
    let hollow = shard(content, vec![(3, Vec::new(), empty)]).await;
    assert!(malformed(&content.ls(&hollow.into()).await.unwrap_err()), "a shard with nothing in it");
    let first = slot(0).unwrap();
    let other = (first + 1) % 1024;
    let mut twice = vec![(first, b"name".to_vec(), leaf), (other, b"name".to_vec(), leaf)];
    twice.sort();
    let twice = shard(content, twice).await;
    assert!(malformed(&content.ls(&twice.into()).await.unwrap_err()));
    // A true one is read.
    let fine = shard(content, vec![(first, b"name".to_vec(), leaf)]).await;
    assert_eq!(content.ls(&fine.into()).await.unwrap()[0].name, "name");
    assert_eq!(content.resolve(&format!("{fine}/name").parse().unwrap()).await.unwrap(), leaf);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_stands_twice_is_refused_by_all_that_read_folders() {
    let place = place();
    let content = &place.content;
    let (file, away) = (raw(content, b"x").await, directory(content, vec![]).await);
    let target = node(
        content,
        UnixFs { data: Some(Bytes::from_static(b"/etc")), ..UnixFs::new(unixfs::Kind::Symlink) },
        Vec::new(),
    )
    .await;
    // First a link that leads away, then a folder of the same name to be filled: the oldest trick.
    let inner = directory(content, vec![link(file, "passwd", 1)]).await;
    for second in [inner, away, file, target] {
        let twice = directory(content, vec![link(target, "a", 1), link(second, "a", 1)]).await;
        let out = tempfile::tempdir().unwrap();
        for error in [
            content.ls(&twice.into()).await.map(drop).unwrap_err(),
            content.get_to(&twice.into(), &out.path().join("out")).await.map(drop).unwrap_err(),
            content.tar(twice, "r", false).try_collect::<Vec<_>>().await.map(drop).unwrap_err(),
            content.resolve(&format!("{twice}/a").parse().unwrap()).await.map(drop).unwrap_err(),
        ] {
            assert!(matches!(error, ContentError::Dag(DagError::BadName { .. })), "{error}");
        }
        assert!(!out.path().join("out").exists());
    }
}

/// A symbolic link that leads away is made as it is, and nothing is ever written through it.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leads_away_is_only_a_link() {
    let place = place();
    let content = &place.content;
    let mut adder = content.add_tree(AddOptions::default()).unwrap();
    adder.symlink(b"top/a-link", NOTHING, b"/etc").await.unwrap();
    adder.symlink(b"top/up", NOTHING, b"../../../../..").await.unwrap();
    let root = adder.finish().await.unwrap().last().unwrap().cid;
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    content.get_to(&root.into(), &out).await.unwrap();
    assert_eq!(std::fs::read_link(out.join("a-link")).unwrap(), Path::new("/etc"));
    // Again over what is there: the links stand in the way of nothing but themselves.
    content.get_to(&root.into(), &out).await.unwrap();
    let mut adder = content.add_tree(AddOptions::default()).unwrap();
    let pieces = futures::stream::iter([Ok(Bytes::from_static(b"x"))]);
    adder.file(b"top/a-link/ipfs-kit-was-here", NOTHING, pieces).await.unwrap();
    let through = adder.finish().await.unwrap().last().unwrap().cid;
    assert!(content.get_to(&through.into(), &out).await.is_err());
    assert!(!Path::new("/etc/ipfs-kit-was-here").exists());
    // A path of content does not follow it either.
    assert!(content.resolve(&format!("{root}/a-link/passwd").parse().unwrap()).await.is_err());
}

/// Sizes that parts do not have: found before a wrong byte is given out, and no file is left.
#[tokio::test(flavor = "multi_thread")]
async fn sizes_that_are_lies_are_found() {
    let place = place();
    let content = &place.content;
    let (ten, five) = (raw(content, b"0123456789").await, raw(content, b"abcde").await);
    let honest = file(content, &[(ten, 10), (five, 5)]).await;
    for (case, parts) in [
        ("longer", vec![(ten, 11), (five, 5)]),
        ("shorter", vec![(ten, 9), (five, 5)]),
        ("a lie below", vec![(ten, 10), (honest, 14)]),
        ("no bytes", vec![(ten, 10), (five, 0), (five, 6)]),
    ] {
        let lie = file(content, &parts).await;
        let error = content.cat_all(lie, 1000).await.unwrap_err();
        assert!(matches!(error, ContentError::Dag(DagError::SizeMismatch { .. })), "{case}: {error}");
        let dir = tempfile::tempdir().unwrap();
        assert!(content.get_to(&lie.into(), &dir.path().join("out")).await.is_err(), "{case}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{case} left something behind");
    }
    // One size too few, and one too many.
    for sizes in [vec![10], vec![10, 5, 1]] {
        let mut message = UnixFs::new(unixfs::Kind::File);
        message.blocksizes = sizes;
        let lie = node(content, message, vec![link(ten, "", 1), link(five, "", 1)]).await;
        assert!(content.cat_all(lie, 1000).await.is_err());
    }
    // Sizes of links are hearsay: whatever they say, nothing overflows.
    let dir = directory(content, vec![link(ten, "a", u64::MAX), link(five, "b", u64::MAX)]).await;
    let stat = content.stat_node(&dir, false).await.unwrap();
    assert_eq!(stat.cumulative_size, u64::MAX);
}

/// A CID that holds its block, and the same bytes under other codecs: each is read as its own codec says, or refused.
#[tokio::test(flavor = "multi_thread")]
async fn inline_blocks_and_mistaken_codecs_lead_nowhere() {
    let place = place();
    let content = &place.content;
    let inline = |codec: Codec, bytes: &[u8]| *Block::new(codec, Hash::Identity, bytes.to_vec()).unwrap().cid();
    let leaf = inline(Codec::Raw, b"inline");
    let folder =
        PbNode { links: vec![link(leaf, "f", 6)], data: Some(UnixFs::new(unixfs::Kind::Directory).encode().into()) };
    let folder = inline(Codec::DagPb, &folder.encode());
    let as_raw = Cid::new_v1(Codec::Raw.code(), *folder.hash());
    let as_cbor = Cid::new_v1(Codec::DagCbor.code(), *folder.hash());
    let unknown = Cid::new_v1(0x1234, *folder.hash());
    let root = directory(
        content,
        vec![link(folder, "a", 1), link(as_raw, "b", 1), link(as_cbor, "c", 1), link(unknown, "d", 1)],
    )
    .await;
    let cat = |path: &str| content.cat_all(format!("{root}/{path}").parse::<DagPath>().unwrap(), 1000);
    assert_eq!(cat("a/f").await.unwrap(), "inline");
    assert_eq!(&cat("b").await.unwrap()[..], folder.hash().digest());
    for path in ["a", "a/f/x", "b/f", "c", "c/f", "d", "d/f"] {
        assert!(cat(path).await.is_err(), "{path}");
    }
    assert_eq!(soon("ls", content.ls(&root.into())).await.unwrap().len(), 4);
    // What its codec does not say has no known links, so nobody may take it for whole.
    assert!(content.pin(&root, PinKind::Recursive, None).await.is_err());
    let good = directory(content, vec![link(folder, "a", 1), link(as_raw, "b", 1)]).await;
    content.pin(&good, PinKind::Recursive, None).await.unwrap();
}

/// Folders one in the other, deeper than any path may be.
#[tokio::test(flavor = "multi_thread")]
async fn folders_too_deep_are_refused_where_paths_are_made() {
    let place = place();
    let content = &place.content;
    let mut below = raw(content, b"x").await;
    for _ in 0..1_000 {
        below = directory(content, vec![link(below, "d", 1)]).await;
    }
    soon("pin", content.pin(&below, PinKind::Recursive, None)).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let error = soon("get", content.get_to(&below.into(), &dir.path().join("out"))).await.unwrap_err();
    assert!(matches!(error, ContentError::Dag(DagError::TooLarge { .. })), "{error}");
    assert_eq!(soon("refs", content.refs(vec![below], RefsOptions::default()).count()).await, 1_000);
}
