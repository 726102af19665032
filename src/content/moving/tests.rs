//! Moving between repos of this process, and what a damaged or hostile one may bring.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{
    FutureExt, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use super::{CarryOut, ExportFolder, ExportWriter, Exported, Got, MoveEvent, Moved, Origin, TakeFiles};
use crate::{
    base::{Cid, Codec, Hash, MAX_BLOCK_BYTES},
    content::{AddOptions, BlockFormat, Content, ContentError, mfs::FilesPath},
    store::{Pin, PinKind, Repo, StoreOptions},
};

fn content(dir: &Path) -> Content {
    Content::new(Repo::open(dir, StoreOptions::default()).unwrap(), None, None)
}

/// Folders, a large file, named and direct pins, blocks that nothing keeps, a files tree.
async fn filled(dir: &Path) -> Content {
    let content = content(&dir.join("repo"));
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    for n in 0..40 {
        fs::write(tree.join(format!("deep/er/{n}")), format!("file {n}")).unwrap();
    }
    fs::write(tree.join("large"), vec![7u8; 700_000]).unwrap();
    let options = AddOptions { pin_name: Some("the tree".into()), ..AddOptions::default() };
    content.add_path(&tree, true, options).await.unwrap();
    let direct = content.block_put("direct", BlockFormat::default(), false).await.unwrap();
    content.pin(&direct, PinKind::Direct, Some("näme".into())).await.unwrap();
    content.block_put("nothing keeps this", BlockFormat::default(), false).await.unwrap();
    let file = content.block_put("in the files tree", BlockFormat::default(), false).await.unwrap();
    let at = FilesPath::parse("/kept/file").unwrap();
    let made = crate::content::mfs::CpOptions { parents: true, ..Default::default() };
    content.files().cp(&format!("/ipfs/{file}"), &at, &made, true).await.unwrap();
    content
}

async fn blocks(content: &Content) -> BTreeSet<Cid> {
    content.local_refs().try_collect().await.unwrap()
}

fn pins(content: &Content) -> Vec<Pin> {
    content.repo().pins().list(None, usize::MAX).unwrap()
}

async fn export(content: &Content, to: &Path) -> Exported {
    let mut writer = ExportWriter::begin(to).unwrap();
    let mut pieces = content.carry_out();
    while let Some(piece) = pieces.try_next().await.unwrap() {
        match piece {
            CarryOut::Car(bytes) => writer.car(&bytes).unwrap(),
            CarryOut::Pins(rows) => writer.pins(&rows).unwrap(),
            CarryOut::Again => writer.again().unwrap(),
            CarryOut::Done(done) => {
                writer.finish(&content.repo().peer_id(), &done).unwrap();
                return done;
            }
        }
    }
    panic!("no end");
}

/// The end, and what was left behind.
async fn bring(to: &Content, origin: Arc<dyn Origin>, files: TakeFiles) -> Result<(Moved, Vec<String>), ContentError> {
    let (mut done, mut left) = (None, Vec::new());
    let mut events = to.bring(origin, files);
    while let Some(event) = events.try_next().await? {
        match event {
            MoveEvent::LeftBehind(one) => left.push(format!("{} {}: {}", one.what, one.name, one.reason)),
            MoveEvent::Done(moved) => done = Some(moved),
            MoveEvent::Progress(_) => {}
        }
    }
    Ok((done.unwrap(), left))
}

#[tokio::test]
async fn an_export_brings_everything_and_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(dir.path()).await;
    let out = dir.path().join("export");
    let done = export(&from, &out).await;
    assert_eq!((done.blocks, done.pins, done.damaged), (blocks(&from).await.len() as u64, 2, 0));
    assert!(!dir.path().join("export.partial").exists());
    let to = content(&dir.path().join("to"));
    let folder = || Arc::new(ExportFolder::open(&out).unwrap());
    let (moved, left) = bring(&to, folder(), TakeFiles::AsRoot).await.unwrap();
    assert_eq!((moved.blocks, moved.pins_brought, left.len()), (done.blocks, 2, 0));
    assert_eq!(blocks(&to).await, blocks(&from).await);
    assert_eq!(pins(&to), pins(&from));
    assert_eq!(to.files().root().unwrap(), from.files().root().unwrap());
    let (again, _) = bring(&to, folder(), TakeFiles::AsRoot).await.unwrap();
    assert_eq!((again.blocks, again.pins_brought, again.pins_here), (0, 0, 2));
    // What was there is not written over.
    assert!(ExportWriter::begin(&out).is_err());
}

#[tokio::test]
async fn a_damaged_export_gives_no_root() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(dir.path()).await;
    let out = dir.path().join("export");
    export(&from, &out).await;
    let car = out.join("blocks.car");
    let whole = fs::read(&car).unwrap();
    let mut bent = whole.clone();
    let at = bent.len() / 2;
    bent[at] ^= 1;
    let few = whole[..whole.len() / 3].to_vec();
    let pins_path = out.join("pins.jsonl");
    let rows = fs::read(&pins_path).unwrap();
    let cases: [(&str, Vec<u8>, Vec<u8>); 4] = [
        ("a bit flipped", bent, rows.clone()),
        ("cut off", few, rows.clone()),
        ("a pin missing", whole.clone(), rows[..rows.iter().position(|b| *b == b'\n').unwrap() + 1].to_vec()),
        ("an endless line", whole.clone(), vec![b'x'; 10_000]),
    ];
    for (n, (what, car_bytes, pin_bytes)) in cases.into_iter().enumerate() {
        fs::write(&car, car_bytes).unwrap();
        fs::write(&pins_path, pin_bytes).unwrap();
        let to = content(&dir.path().join(format!("to-{n}")));
        let error = bring(&to, Arc::new(ExportFolder::open(&out).unwrap()), TakeFiles::AsRoot).await;
        assert!(error.is_err(), "{what}");
        assert!(pins(&to).is_empty() && to.repo().files_root().unwrap().is_none(), "{what}");
    }
    fs::write(&car, whole).unwrap();
    fs::write(&pins_path, rows).unwrap();
    let to = content(&dir.path().join("to-0"));
    let (moved, _) = bring(&to, Arc::new(ExportFolder::open(&out).unwrap()), TakeFiles::AsRoot).await.unwrap();
    assert_eq!((moved.pins_brought, pins(&to)), (2, pins(&from)));
    fs::write(out.join("repo.json"), "{").unwrap();
    assert!(ExportFolder::open(&out).is_err());
    assert!(ExportFolder::open(dir.path()).err().unwrap().to_string().contains("repo export"));
}

#[tokio::test]
async fn files_trees_here_are_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(dir.path()).await;
    let out = dir.path().join("export");
    export(&from, &out).await;
    let to = content(&dir.path().join("to"));
    to.files().mkdir(&FilesPath::parse("/mine").unwrap(), &Default::default(), true).await.unwrap();
    let folder = || Arc::new(ExportFolder::open(&out).unwrap());
    let error = bring(&to, folder(), TakeFiles::AsRoot).await.unwrap_err().to_string();
    assert!(error.contains("--files-to"), "{error}");
    // It was refused before anything was done.
    assert!(pins(&to).is_empty());
    let (moved, _) = bring(&to, folder(), TakeFiles::No).await.unwrap();
    assert_eq!((moved.pins_brought, moved.files_root), (2, None));
    let path = FilesPath::parse("/theirs").unwrap();
    for _ in 0..2 {
        bring(&to, folder(), TakeFiles::Into(path.clone())).await.unwrap();
        let stat = to.files().stat("/theirs", false).await.unwrap();
        assert_eq!(stat.cid, from.files().root().unwrap());
        to.files().stat("/mine", false).await.unwrap();
    }
}

/// A repo that gives blocks by their CID, and lies as told.
struct Fake {
    from: Content,
    pins: Vec<Pin>,
    files: Option<Cid>,
    /// What is said of these instead.
    lies: Vec<(Cid, Got)>,
    asked: Mutex<Vec<Cid>>,
    /// After so many blocks it breaks.
    breaks_after: AtomicUsize,
}

impl Fake {
    fn of(from: &Content) -> Fake {
        let files = Some(from.files().root().unwrap());
        let (lies, breaks_after) = (Vec::new(), AtomicUsize::new(usize::MAX));
        Fake { from: from.clone(), pins: pins(from), files, lies, asked: Mutex::default(), breaks_after }
    }
}

impl Origin for Fake {
    fn name(&self) -> String {
        "a fake".into()
    }

    fn pins(&self) -> BoxStream<'_, Result<Pin, ContentError>> {
        stream::iter(self.pins.iter().cloned().map(Ok)).boxed()
    }

    fn files_root(&self) -> BoxFuture<'_, Result<Option<Cid>, ContentError>> {
        async { Ok(self.files) }.boxed()
    }

    fn block(&self, cid: Cid) -> BoxFuture<'_, Result<Got, ContentError>> {
        async move {
            self.asked.lock().unwrap().push(cid);
            if self.breaks_after.fetch_sub(1, Ordering::Relaxed) == 0 {
                return Err(super::MoveError::origin("a fake", "it broke").into());
            }
            if let Some((_, lie)) = self.lies.iter().find(|(lied, _)| *lied == cid) {
                return Ok(lie.clone());
            }
            Ok(self.from.repo().blocks().get(&cid).await?.map_or(Got::Missing, Got::Bytes))
        }
        .boxed()
    }
}

#[tokio::test]
async fn what_breaks_goes_on_at_the_block() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(dir.path()).await;
    let to = content(&dir.path().join("to"));
    let whole = Fake::of(&from);
    whole.breaks_after.store(40, Ordering::Relaxed);
    let error = bring(&to, Arc::new(whole), TakeFiles::AsRoot).await.unwrap_err().to_string();
    assert!(error.contains("run the same again"), "{error}");
    assert!(pins(&to).is_empty());
    let had = blocks(&to).await;
    // At the 41st question at most 32 are on their way.
    assert!(had.len() >= 9, "{}", had.len());
    let rest = Arc::new(Fake::of(&from));
    let (moved, left) = bring(&to, rest.clone(), TakeFiles::AsRoot).await.unwrap();
    assert!(left.is_empty());
    assert!(rest.asked.lock().unwrap().iter().all(|cid| !had.contains(cid)));
    assert_eq!((moved.pins_brought, pins(&to)), (2, pins(&from)));
    assert_eq!(to.files().root().unwrap(), from.files().root().unwrap());
    // What no root leads to does not come from a repo that is asked block by block.
    assert_eq!(blocks(&to).await.len() + 1, blocks(&from).await.len());
    assert!(to.check_pins().try_collect::<Vec<_>>().await.unwrap().iter().all(|check| check.ok));
}

#[tokio::test]
async fn roots_without_their_blocks_stay_behind() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(dir.path()).await;
    let all = pins(&from);
    let tree = all.iter().find(|pin| pin.kind == PinKind::Recursive).unwrap().clone();
    let below: Vec<Cid> = from
        .offline()
        .refs(vec![tree.cid], crate::content::RefsOptions { unique: true, ..Default::default() })
        .map_ok(|found| found.to)
        .try_collect()
        .await
        .unwrap();
    let leaf = *below.last().unwrap();
    let lies = [
        Got::Missing,
        Got::Bytes("other bytes".into()),
        Got::Bytes(vec![0; MAX_BLOCK_BYTES + 1].into()),
        Got::Bad("it cannot be read".into()),
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let to = content(&dir.path().join(format!("to-{n}")));
        // Shares all of the tree but its root, and comes after it.
        let other = from.block_put(format!("shares nothing {n}"), BlockFormat::default(), true).await.unwrap();
        let mut fake = Fake { lies: vec![(leaf, lie)], ..Fake::of(&from) };
        fake.pins.push(Pin { cid: other, kind: PinKind::Recursive, name: None });
        fake.pins.push(Pin { cid: below[0], kind: PinKind::Direct, name: None });
        let count = fake.pins.len() as u64;
        let (moved, left) = bring(&to, Arc::new(fake), TakeFiles::AsRoot).await.unwrap();
        assert_eq!((moved.pins, moved.left_behind), (count, 1), "{left:?}");
        assert!(left[0].contains(&tree.cid.to_string()) && left[0].contains(&leaf.to_string()), "{left:?}");
        assert!(to.repo().pins().get(&tree.cid).unwrap().is_none());
        assert!(to.repo().pins().get(&other).unwrap().is_some());
        assert!(to.check_pins().try_collect::<Vec<_>>().await.unwrap().iter().all(|check| check.ok));
    }
}

#[tokio::test]
async fn what_is_pinned_here_keeps_its_name_and_kind() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(dir.path()).await;
    let to = content(&dir.path().join("to"));
    let cid = from.block_put("both", BlockFormat::default(), false).await.unwrap();
    to.block_put("both", BlockFormat::default(), false).await.unwrap();
    to.pin(&cid, PinKind::Recursive, Some("mine".into())).await.unwrap();
    let pin = |kind, name: &str| Pin { cid, kind, name: Some(name.into()) };
    let fake =
        Fake { pins: vec![pin(PinKind::Direct, "theirs"), pin(PinKind::Recursive, "theirs")], ..Fake::of(&from) };
    let (moved, _) = bring(&to, Arc::new(fake), TakeFiles::No).await.unwrap();
    assert_eq!((moved.pins_here, pins(&to)), (2, vec![pin(PinKind::Recursive, "mine")]));
    // A codec nobody knows the links of can be pinned alone.
    let odd = from.block_put("{", BlockFormat { codec: Codec::DagCbor, hash: Hash::Sha2_256, version: 1 }, false).await;
    let odd = odd.unwrap();
    let rows = |kind| vec![Pin { cid: odd, kind, name: None }];
    let (_, left) =
        bring(&to, Arc::new(Fake { pins: rows(PinKind::Recursive), ..Fake::of(&from) }), TakeFiles::No).await.unwrap();
    assert_eq!(left.len(), 1);
    let (moved, _) =
        bring(&to, Arc::new(Fake { pins: rows(PinKind::Direct), ..Fake::of(&from) }), TakeFiles::No).await.unwrap();
    assert_eq!(moved.pins_brought, 1);
}

#[tokio::test]
async fn blocks_removed_while_it_goes_out_take_no_root_with_them() {
    for _ in 0..100 {
        match removed_while_it_goes_out().await {
            // It was told all before the block went.
            (0, 2, 2) => {}
            seen => return assert_eq!(seen, (1, 1, 1)),
        }
    }
    panic!("a block was never removed in time");
}

/// How often an export began again, the pins it gave in the end, and how many it says there are.
async fn removed_while_it_goes_out() -> (u32, usize, u64) {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(dir.path()).await;
    let mut pieces = from.carry_out();
    let (mut again, mut rows, mut done, mut disturbed) = (0, Vec::new(), None, false);
    while let Some(piece) = pieces.try_next().await.unwrap() {
        match piece {
            CarryOut::Pins(some) => {
                rows.extend(some);
                // Between the roots and what came since.
                if !disturbed {
                    disturbed = true;
                    let direct = pins(&from).into_iter().find(|pin| pin.kind == PinKind::Direct).unwrap();
                    from.unpin(&direct.cid, None).await.unwrap();
                    from.block_remove(&[direct.cid], false).await.unwrap();
                }
            }
            CarryOut::Again => {
                again += 1;
                rows.clear();
            }
            CarryOut::Car(_) => {}
            CarryOut::Done(exported) => done = Some(exported),
        }
    }
    (again, rows.len(), done.unwrap().pins)
}

#[tokio::test]
async fn damaged_blocks_are_named_and_the_rest_goes_out() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(dir.path()).await;
    let victim = from.block_put("a bit of this flips", BlockFormat::default(), true).await.unwrap();
    from.repo().close().await;
    drop(from);
    let files = fs::read_dir(dir.path().join("repo/blocks")).unwrap().map(|file| file.unwrap().path());
    let segment = files.into_iter().find(|file| file.extension().is_some_and(|ending| ending == "seg")).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(19).position(|some| some == b"a bit of this flips").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let from = content(&dir.path().join("repo"));
    let done = export(&from, &dir.path().join("out")).await;
    assert_eq!((done.damaged, done.left_out), (1, vec![victim.to_string()]));
    let to = content(&dir.path().join("to"));
    let folder = Arc::new(ExportFolder::open(&dir.path().join("out")).unwrap());
    let (moved, left) = bring(&to, folder, TakeFiles::AsRoot).await.unwrap();
    assert_eq!((moved.pins_brought, left.len()), (2, 1));
    assert!(left[0].contains(&victim.to_string()));
}
