//! Tests of the files tree over a repo without a network.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::*;
use crate::{
    base::{HasKind, Hash, Kind},
    content::AddOptions,
    dag::{Chunking, ImportParams, unixfs::Attributes},
    store::{Repo, StoreOptions},
};

struct Place {
    dir: tempfile::TempDir,
    content: Content,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    Place { content: open(&dir), dir }
}

fn open(dir: &tempfile::TempDir) -> Content {
    Content::new(Repo::open(&dir.path().join("repo"), StoreOptions::default()).unwrap(), None, None)
}

impl Place {
    fn files(&self) -> Mfs {
        self.content.files()
    }

    /// The same after the process ended without a word.
    async fn reopen(self) -> Place {
        let Place { dir, content } = self;
        drop(content);
        Place { content: open(&dir), dir }
    }
}

fn path(text: &str) -> FilesPath {
    FilesPath::parse(text).unwrap()
}

/// The bytes the oracle makes of a seed.
fn noise(seed: u64, size: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect::<Vec<u8>>().into()
}

fn pieces(bytes: impl Into<Bytes>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let bytes = bytes.into();
    let pieces: Vec<_> = bytes.chunks(70_001).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

async fn put(files: &Mfs, at: &str, bytes: &'static str) {
    let options = WriteOptions { create: true, parents: true, truncate: true, ..WriteOptions::default() };
    files.write(&path(at), &options, pieces(bytes), true).await.unwrap();
}

async fn get(files: &Mfs, at: &str) -> Vec<u8> {
    let stream = files.read(&path(at), 0, None).await.unwrap();
    stream.try_collect::<Vec<_>>().await.unwrap().concat()
}

async fn names(files: &Mfs, at: &str) -> Vec<String> {
    let stream = files.ls(&path(at), true).await.unwrap();
    let mut names: Vec<String> = stream.map_ok(|entry| entry.name).try_collect().await.unwrap();
    names.sort();
    names
}

fn style(version: &str, hash: &str) -> NodeStyle {
    let hash = match hash {
        "-" => Hash::Sha2_256,
        "sha2-512" => Hash::Sha2_512,
        "blake2b-256" => Hash::Blake2b(0xb220),
        other => panic!("{other}"),
    };
    NodeStyle { cid_version: version.parse().unwrap(), hash }
}

/// Runs an operation as it stands in the oracle's notation.
async fn run(content: &Content, line: &str) -> Result<(), ContentError> {
    let files = content.files();
    let f: Vec<&str> = line.split_whitespace().collect();
    match f.as_slice() {
        ["mkdir", at, version, hash] => {
            let options = DirOptions { parents: true, style: style(version, hash), attributes: Attributes::default() };
            files.mkdir(&path(at), &options, true).await
        }
        ["write", at, offset, truncate, raw, version, hash, seed, size] => {
            let options = WriteOptions {
                offset: offset.parse().unwrap(),
                create: true,
                parents: true,
                truncate: *truncate == "true",
                raw_leaves: raw.parse().ok(),
                style: style(version, hash),
                ..WriteOptions::default()
            };
            files.write(&path(at), &options, pieces(noise(seed.parse().unwrap(), size.parse().unwrap())), true).await
        }
        ["add", at, version, raw, links, chunk, seed, size] => {
            let params = ImportParams {
                cid_version: version.parse().unwrap(),
                raw_leaves: raw.parse().unwrap(),
                max_file_links: links.parse().unwrap(),
                chunker: Chunking::Size(chunk.parse().unwrap()),
                ..ImportParams::default()
            };
            let bytes = noise(seed.parse().unwrap(), size.parse().unwrap());
            let options = AddOptions { params, pin: false, ..AddOptions::default() };
            let added = content.add_bytes(bytes, options).await?;
            files.cp(&format!("/ipfs/{}", added.cid), &path(at), &CpOptions::default(), true).await
        }
        ["cp", from, to] => files.cp(from, &path(to), &CpOptions::default(), true).await,
        ["mv", from, to] => files.mv(&path(from), &path(to), true).await,
        ["rm", at] => files.rm(&[at.to_string()], true, false).await.map(|failures| assert!(failures.is_empty())),
        ["chcid", at, version, hash] => files.chcid(&path(at), Some(style(version, hash)), true).await,
        ["chmod", at, mode] => files.chmod(&path(at), u32::from_str_radix(mode, 8).unwrap(), true).await,
        ["touch", at, seconds, nanos] => {
            files.touch(&path(at), (seconds.parse().unwrap(), nanos.parse().unwrap()), true).await
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn changes_last_and_flushing_decides_when() {
    let place = place();
    let files = place.files();
    assert_eq!(files.root().unwrap().to_string(), "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn");
    assert!(names(&files, "/").await.is_empty());
    put(&files, "/a/kept", "kept").await;
    let durable = files.root().unwrap();
    let lazy = DirOptions::default();
    files.mkdir(&path("/later"), &lazy, false).await.unwrap();
    assert_eq!(names(&files, "/").await, ["a", "later"], "it is seen at once");
    assert_eq!(place.content.repo().files_root().unwrap(), Some(durable), "and not yet durable");
    drop(files);
    let place = place.reopen().await;
    let files = place.files();
    assert_eq!(files.root().unwrap(), durable);
    assert_eq!(get(&files, "/a/kept").await, b"kept");
    // One that is flushed takes those before it along.
    files.mkdir(&path("/later"), &lazy, false).await.unwrap();
    put(&files, "/now", "now").await;
    files.mkdir(&path("/latest"), &lazy, false).await.unwrap();
    let cid = files.flush(&path("/now")).await.unwrap();
    assert_eq!(cid, files.stat("/now", false).await.unwrap().cid);
    drop(files);
    let place = place.reopen().await;
    assert_eq!(names(&place.files(), "/").await, ["a", "later", "latest", "now"]);
    for n in 0..MAX_UNFLUSHED {
        place
            .files()
            .mkdir(&path(&format!("/many/{n}")), &DirOptions { parents: true, ..lazy.clone() }, false)
            .await
            .unwrap();
    }
    let refused = place.files().mkdir(&path("/one-more"), &lazy, false).await.unwrap_err();
    assert!(matches!(refused, ContentError::Mfs(MfsError::Unflushed { .. })), "{refused}");
    place.files().mkdir(&path("/one-more"), &lazy, true).await.unwrap();
    place.files().mkdir(&path("/and-on"), &lazy, false).await.unwrap();
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let place = place();
    let files = place.files();
    put(&files, "/d/f", "content").await;
    put(&files, "/other", "other").await;
    let (root, p) = (files.root().unwrap(), path);
    let (dir, cp) = (DirOptions::default(), CpOptions::default());
    let missing = "/ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn/nothing";
    let write = |create| WriteOptions { create, ..WriteOptions::default() };
    let broken = || stream::iter([Ok(Bytes::from_static(b"half")), Err(io::Error::other("it broke off"))]);
    let refused = [
        ("a directory above is missing", files.mkdir(&p("/x/y"), &dir, true).await, Kind::NotFound),
        ("it is there", files.mkdir(&p("/d"), &dir, true).await, Kind::Conflict),
        (
            "a file is there",
            files.mkdir(&p("/d/f"), &DirOptions { parents: true, ..dir.clone() }, true).await,
            Kind::Conflict,
        ),
        ("a file is no directory", files.mkdir(&p("/d/f/g"), &dir, true).await, Kind::Invalid),
        ("it is there", files.cp("/other", &p("/d/f"), &cp, true).await, Kind::Conflict),
        (
            "a directory is not replaced",
            files.cp("/other", &p("/d"), &CpOptions { force: true, ..cp.clone() }, true).await,
            Kind::Invalid,
        ),
        ("the source is missing", files.cp("/nothing", &p("/n"), &cp, true).await, Kind::NotFound),
        ("the source is missing", files.cp(missing, &p("/n"), &cp, true).await, Kind::NotFound),
        ("into itself", files.mv(&p("/d"), &p("/d/e"), true).await, Kind::Invalid),
        (
            "into itself",
            files.mv(&p("/d"), &p("/d"), true).await.and(Err(MfsError::IntoItself { path: "as it was".into() }.into())),
            Kind::Invalid,
        ),
        ("the root", files.mv(&p("/"), &p("/d/e"), true).await, Kind::Invalid),
        ("nothing to write", files.write(&p("/nothing"), &write(false), pieces("x"), true).await, Kind::NotFound),
        ("a directory", files.write(&p("/d"), &write(true), pieces("x"), true).await, Kind::Invalid),
        ("the input broke", files.write(&p("/d/f"), &write(true), broken(), true).await, Kind::Bug),
        ("the root", files.chcid(&p("/"), None, true).await, Kind::Invalid),
        ("a file", files.chcid(&p("/d/f"), Some(style("1", "-")), true).await, Kind::Invalid),
        ("nothing there", files.chmod(&p("/nothing"), 0o644, true).await, Kind::NotFound),
        ("a file", files.chroot(Some(files.stat("/d/f", false).await.unwrap().cid)).await.map(drop), Kind::Invalid),
    ];
    for (why, outcome, kind) in refused {
        assert_eq!(outcome.expect_err(why).kind(), kind, "{why}");
        assert_eq!(files.root().unwrap(), root, "{why}");
    }
    assert_eq!(files.read(&p("/d/f"), 8, None).await.err().unwrap().to_string(), "offset was past end of file (8 > 7)");
    assert_eq!(files.read(&p("/d"), 0, None).await.err().unwrap().kind(), Kind::Invalid);
    let failures = files.rm(&["/d".into(), "/nothing".into(), "/".into(), "d".into()], false, false).await.unwrap();
    assert_eq!(failures.len(), 4, "{failures:?}");
    assert_eq!(files.root().unwrap(), root);
    // What can be removed is, beside what cannot.
    let failures = files.rm(&["/d".into(), "/other".into()], false, false).await.unwrap();
    assert!(failures.len() == 1 && failures[0].contains("use -r to remove directories"), "{failures:?}");
    assert_eq!(names(&files, "/").await, ["d"]);
    assert!(files.rm(&["/d/f/x".into(), "/nothing".into(), "/d".into()], false, true).await.unwrap().is_empty());
    assert!(names(&files, "/").await.is_empty());
}

#[tokio::test]
async fn files_are_read_and_written_in_parts() {
    let place = place();
    let files = place.files();
    let model = |at: usize, len: usize| noise(7, 3_000_000).slice(at..at + len).to_vec();
    let create = WriteOptions { create: true, count: Some(2_500_000), ..WriteOptions::default() };
    files.write(&path("/f"), &create, pieces(noise(7, 3_000_000)), true).await.unwrap();
    assert_eq!(get(&files, "/f").await, model(0, 2_500_000), "no more than was asked for");
    let part = files.read(&path("/f"), 262_140, Some(10)).await.unwrap();
    assert_eq!(part.try_collect::<Vec<_>>().await.unwrap().concat(), model(262_140, 10));
    let over = WriteOptions { offset: 1_000_000, ..WriteOptions::default() };
    files.write(&path("/f"), &over, pieces(&b"over"[..]), true).await.unwrap();
    let mut want = model(0, 2_500_000);
    want[1_000_000..1_000_004].copy_from_slice(b"over");
    assert_eq!(get(&files, "/f").await, want);
    // A small file as `add` makes it holds its bytes in its root; what is appended stands below, and both are written.
    put(&files, "/g", "").await;
    let added =
        place.content.add_bytes(&b"hello"[..], AddOptions { pin: false, ..AddOptions::default() }).await.unwrap();
    files.cp(&format!("/ipfs/{}", added.cid), &path("/h"), &CpOptions::default(), true).await.unwrap();
    for (offset, bytes, after) in [(5, " world", "hello world"), (7, "X", "hello wXrld"), (3, "p me", "help meXrld")] {
        let options = WriteOptions { offset, ..WriteOptions::default() };
        files.write(&path("/h"), &options, pieces(bytes), true).await.unwrap();
        assert_eq!(get(&files, "/h").await, after.as_bytes());
    }
    let options = WriteOptions { offset: 10_000, create: true, ..WriteOptions::default() };
    files.write(&path("/sparse"), &options, pieces("end"), true).await.unwrap();
    assert_eq!(get(&files, "/sparse").await, [&[0; 10_000][..], b"end"].concat());
    let far = WriteOptions { offset: u64::MAX - 1, create: true, ..WriteOptions::default() };
    let refused = files.write(&path("/far"), &far, pieces("end"), true).await.unwrap_err();
    assert!(matches!(refused, ContentError::Mfs(MfsError::Gap { .. })), "{refused}");
}

/// Writers of one file take turns, writers of others do not wait for them, and readers see whole trees.
#[tokio::test]
async fn many_at_once_lose_nothing() {
    let place = place();
    let files = place.files();
    put(&files, "/log", "").await;
    let (slow, held) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(1);
    let writer = {
        let files = files.clone();
        let body = tokio_stream::wrappers::ReceiverStream::new(held);
        let options = WriteOptions { create: true, ..WriteOptions::default() };
        async move { files.write(&path("/slow"), &options, body, true).await }
    };
    let others = async {
        slow.send(Ok(Bytes::from_static(b"one"))).await.unwrap();
        let appends = (0..20u64).map(|n| {
            let files = files.clone();
            async move {
                let options = WriteOptions { offset: n * 4, ..WriteOptions::default() };
                files.write(&path("/log"), &options, pieces(format!("{n:>4}")), true).await.unwrap();
                put(&files, &format!("/dir/{n}"), "x").await;
                names(&files, "/dir").await.len()
            }
        });
        let seen: Vec<usize> = stream::iter(appends).buffer_unordered(20).collect().await;
        assert!(seen.iter().all(|n| (1..=20).contains(n)));
        assert!(!names(&files, "/").await.contains(&"slow".to_string()), "half a file is not seen");
        slow.send(Ok(Bytes::from_static(b"two"))).await.unwrap();
        drop(slow);
    };
    let (written, ()) = tokio::join!(writer, others);
    written.unwrap();
    assert_eq!(get(&files, "/slow").await, b"onetwo");
    assert_eq!(names(&files, "/dir").await.len(), 20);
    let log = get(&files, "/log").await;
    for n in 0..20u64 {
        assert_eq!(log[n as usize * 4..][..4], *format!("{n:>4}").as_bytes());
    }
    // A file that was replaced while it was written is not overwritten.
    let (body, held) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(1);
    let options = WriteOptions::default();
    let body_stream = tokio_stream::wrappers::ReceiverStream::new(held);
    let here = path("/slow");
    let writer = files.write(&here, &options, body_stream, true);
    let replacing = async {
        body.send(Ok(Bytes::from_static(b"late"))).await.unwrap();
        body.send(Ok(Bytes::new())).await.unwrap();
        assert!(files.rm(&["/slow".into()], false, false).await.unwrap().is_empty());
        drop(body);
    };
    let (written, ()) = tokio::join!(writer, replacing);
    assert!(matches!(written, Err(ContentError::Mfs(MfsError::Changed { .. }))));
}

#[tokio::test]
async fn stat_says_what_is_there_and_how_much_of_it() {
    let place = place();
    let files = place.files();
    put(&files, "/d/f", "content").await;
    let stat = files.stat("/d", true).await.unwrap();
    assert_eq!((stat.kind, stat.size, stat.links), (crate::content::EntryKind::Directory, 0, 1));
    let bytes = stat.cumulative_size;
    assert_eq!(stat.local, Some((true, bytes)));
    let leaf = files.stat("/d/f", false).await.unwrap();
    let below = crate::dag::links(&leaf.cid, &place.content.block_get(&leaf.cid).await.unwrap()).unwrap()[0];
    place.content.repo().blocks().remove(vec![below]).await.unwrap();
    let stat = files.stat("/d", true).await.unwrap();
    assert!(stat.local.is_some_and(|(all, here)| !all && here > 0 && here < bytes), "{stat:?}");
    assert_eq!(files.stat(&format!("/ipfs/{}/f", stat.cid), false).await.unwrap(), leaf);
}

/// Every operation gives the root that boxo's MFS gives: bounds of chunks, trickle trees, CID versions, attributes.
#[tokio::test]
async fn every_root_is_boxos() {
    let place = place();
    for line in include_str!("vectors.txt").lines().filter(|line| !line.starts_with('#')) {
        let (cid, operation) = line.split_once(' ').unwrap();
        run(&place.content, operation).await.unwrap_or_else(|error| panic!("{operation}: {error}"));
        assert_eq!(place.files().root().unwrap().to_string(), cid, "{operation}");
    }
    let stat = place.files().stat("/deep", false).await.unwrap();
    assert_eq!(stat.size, 67_000_000);
    assert_eq!(place.content.repo().blocks().verify().await.unwrap().damaged, []);
}
