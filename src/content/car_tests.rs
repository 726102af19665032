//! Tests of archives over repos without a network.

use bytes::Bytes;
use futures::{TryStreamExt, stream};

use super::{tests::NOTHING, *};
use crate::{
    base::{Block, Codec, HasKind, Hash, Kind},
    dag::{
        car::{self, CarReader, Item},
        pb::{PbLink, PbNode},
    },
    store::{NewBlock, PinKind, Repo, StoreOptions},
};

struct Place {
    _dir: tempfile::TempDir,
    content: Content,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::open(&dir.path().join("repo"), StoreOptions::default()).unwrap();
    Place { content: Content::new(repo, None, None), _dir: dir }
}

fn raw(text: &str) -> Block {
    Block::new(Codec::Raw, Hash::Sha2_256, text.as_bytes().to_vec()).unwrap()
}

fn node(links: &[&Block]) -> Block {
    let links = links.iter().map(|b| PbLink { cid: *b.cid(), name: Vec::new(), tsize: 0 }).collect();
    Block::new(Codec::DagPb, Hash::Sha2_256, PbNode { links, data: None }.encode()).unwrap()
}

async fn put(content: &Content, blocks: &[&Block]) {
    let new = |b: &&Block| NewBlock { block: (*b).clone(), links: crate::dag::links(b.cid(), b.data()).unwrap() };
    content.repo.blocks().put(blocks.iter().map(new).collect()).await.unwrap();
}

async fn export(content: &Content, root: &Block, partial: bool) -> Result<Vec<u8>, ContentError> {
    let mut pieces = content.export(*root.cid(), ExportOptions { partial });
    let mut out = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        out.extend_from_slice(&piece);
    }
    Ok(out)
}

fn order(archive: &[u8]) -> Vec<Cid> {
    let mut reader = CarReader::new();
    reader.feed(archive).unwrap();
    reader.finish().unwrap();
    let mut out = Vec::new();
    while let Some(item) = reader.next_item() {
        if let Item::Section(section) = item {
            out.push(*section.verify().unwrap().cid());
        }
    }
    out
}

fn write(roots: &[Cid], blocks: &[&Block]) -> Vec<u8> {
    let mut out = car::header(roots);
    for block in blocks {
        out.extend(car::section_head(block.cid(), block.data().len()));
        out.extend_from_slice(block.data());
    }
    out
}

async fn import(content: &Content, archives: &[&[u8]]) -> Result<(Vec<Cid>, ImportStats), ContentError> {
    let mut import = content.import();
    for archive in archives {
        let pieces: Vec<_> = archive.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        import.archive(stream::iter(pieces)).await?;
    }
    let stats = import.stats();
    Ok((import.finish().await?.0, stats))
}

/// What is linked twice goes out where a depth-first walk meets it first, even when its other mention was read before.
#[tokio::test]
async fn an_export_is_depth_first_and_each_block_once() {
    let place = place();
    let [d, e] = ["d", "e"].map(raw);
    let c = node(&[&d]);
    let a = node(&[&c, &e]);
    let root = node(&[&a, &d, &c, &e, &a]);
    put(&place.content, &[&root, &a, &c, &d, &e]).await;
    let archive = export(&place.content, &root, false).await.unwrap();
    assert_eq!(order(&archive), [&root, &a, &c, &d, &e].map(|b| *b.cid()));
    assert_eq!(archive, write(&[*root.cid()], &[&root, &a, &c, &d, &e]));
}

#[tokio::test]
async fn a_part_that_is_missing_fails_the_export_or_is_left_out() {
    let place = place();
    let [d, e] = ["d", "e"].map(raw);
    let a = node(&[&d]);
    let root = node(&[&a, &e]);
    put(&place.content, &[&root, &d, &e]).await;
    let error = export(&place.content, &root, false).await.unwrap_err();
    assert!(error.to_string().contains(&a.cid().to_string()), "{error}");
    assert_eq!(order(&export(&place.content, &root, true).await.unwrap()), [*root.cid(), *e.cid()]);
}

#[tokio::test]
async fn a_folder_travels_and_its_root_is_pinned() {
    let (from, to) = (place(), place());
    let big = vec![7; 3_000_000];
    let options = || AddOptions { pin: false, ..AddOptions::default() };
    let mut tree = from.content.add_tree(options()).unwrap();
    for n in 0..2000 {
        let bytes = format!("file {n}").into_bytes();
        tree.file(format!("all/{n}").as_bytes(), NOTHING, stream::iter([Ok(Bytes::from(bytes))])).await.unwrap();
    }
    tree.file(b"all/big", NOTHING, stream::iter([Ok(Bytes::from(big.clone()))])).await.unwrap();
    let root = tree.finish().await.unwrap().last().unwrap().cid;
    let block = Block::verify(root, from.content.block_get(&root).await.unwrap()).unwrap();
    let archive = export(&from.content, &block, false).await.unwrap();

    let (roots, stats) = import(&to.content, &[&archive]).await.unwrap();
    assert_eq!(roots, [root]);
    assert_eq!(stats.blocks, order(&archive).len() as u64);
    to.content.pin_local(&root).await.unwrap();
    assert!(to.content.holds(&root).await.unwrap());
    let path = format!("{root}/big").parse::<crate::dag::DagPath>().unwrap();
    assert_eq!(to.content.cat_all(path, u64::MAX).await.unwrap(), big);
}

#[tokio::test]
async fn a_dag_may_be_spread_over_archives_and_roots_may_be_absent() {
    let place = place();
    let leaf = raw("leaf");
    let root = node(&[&leaf]);
    let absent = node(&[&raw("nowhere")]);
    let first = write(&[*root.cid(), *absent.cid()], &[&root]);
    let second = write(&[*root.cid()], &[&leaf, &leaf]);
    let (roots, stats) = import(&place.content, &[&first, &second]).await.unwrap();
    assert_eq!(roots, [*root.cid(), *absent.cid()]);
    assert_eq!((stats.blocks, stats.bytes), (3, root.data().len() as u64 + 8));
    place.content.pin_local(root.cid()).await.unwrap();
    let error = place.content.pin_local(absent.cid()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let pins = place.content.repo.pins();
    assert_eq!(pins.get(root.cid()).unwrap().unwrap().kind, PinKind::Recursive);
    assert!(pins.get(absent.cid()).unwrap().is_none());
}

#[tokio::test]
async fn hostile_archives_are_refused_and_say_where() {
    let place = place();
    let [a, b] = ["a", "b"].map(raw);
    let good = write(&[*a.cid()], &[&a, &b]);
    let mut lying = good.clone();
    *lying.last_mut().unwrap() ^= 1;
    let malformed = Block::new(Codec::DagPb, Hash::Sha2_256, &b"\x1a\x00"[..]).unwrap();
    let malformed = write(&[*a.cid()], &[&a, &malformed]);
    for (archive, kind) in
        [(&lying[..], Kind::Invalid), (&good[..good.len() - 1], Kind::Corrupt), (&malformed, Kind::Corrupt)]
    {
        let error = import(&place.content, &[archive]).await.unwrap_err();
        assert!(error.to_string().contains(&format!("after block {}", a.cid())), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
    }
    let error = import(&place.content, &[b"no archive at all"]).await.unwrap_err();
    assert!(error.to_string().contains("at the beginning"), "{error}");
}
