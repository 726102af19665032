//! The part of the writer that does what people do: four adds under way at any moment, pins that come, move and go, and a
//! files tree that changes, while segments are compacted. What stands in the tree after each change can be computed again, so
//! that a check knows every byte. Shared by the writer of the power cuts and by the tests that kill.
#![allow(clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use ipfs_kit::{
    base::{Block, Cid, Codec, Hash},
    content::{
        AddOptions, Content, TreeEvent,
        mfs::{CpOptions, DirOptions, FilesPath, WriteOptions},
    },
    dag::unixfs::Attributes,
    store::{NewBlock, PinKind, Repo, StoreError, StoreOptions},
};
use tokio::task::JoinSet;

pub type Fail = Box<dyn Error + Send + Sync>;

/// Adds under way at any moment.
const ADDERS: u64 = 4;
/// Runs whose folders stand in the files tree.
const RUNS_KEPT: u64 = 2;

/// Bytes of a segment: small, so that there are many to compact.
const SEGMENT_BYTES: u32 = 4 << 20;

/// A tree: bytes of files by their paths; none for folders.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// One acknowledgement, one line, at once.
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(format!("{line}\n").as_bytes());
    let _ = out.flush();
}

/// Bytes that differ for every seed and position, without a random source.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(2_685_821_657_736_338_717).to_le_bytes());
    }
    out.truncate(length);
    out
}

/// The repo in this folder.
pub fn open(dir: &Path) -> Result<Repo, StoreError> {
    Repo::open(dir, StoreOptions { segment_bytes: SEGMENT_BYTES, ..StoreOptions::default() })
}

/// Adds, pins, changes and compacts until something fails. No two runs of one repo have the same number.
pub async fn write(repo: Repo, run: u64) -> Result<(), Fail> {
    let content = Content::new(repo, None, None);
    let mut tasks: JoinSet<Result<(), Fail>> = JoinSet::new();
    for adder in 0..ADDERS {
        let content = content.clone();
        tasks.spawn(async move { adds(&content, (run * 10 + adder) * 1_000_000).await });
    }
    let pinned = content.clone();
    tasks.spawn(async move { pins(&pinned, (run * 10 + 8) * 1_000_000).await });
    let tidied = content.clone();
    tasks.spawn(async move { compactions(tidied.repo(), (run * 10 + 9) * 1_000_000).await });
    tasks.spawn(async move { changes(&content, run).await });
    match tasks.join_next().await {
        Some(ended) => ended?,
        None => Err("nothing ran".into()),
    }
}

/// What the add of this number adds: one file, or a folder of them.
fn added(seed: u64) -> Tree {
    if seed.is_multiple_of(2) {
        return Tree::from([(String::new(), Some(noise(seed, 1 + (seed * 7919 % 900_000) as usize)))]);
    }
    let mut out = Tree::from([(String::new(), None)]);
    for n in 0..1 + seed % 60 {
        let folder = format!("f{}", n % 3);
        let bytes = noise(seed ^ n << 32, (n * 977 % 4_000) as usize);
        out.insert(format!("{folder}/{n}"), Some(bytes));
        out.insert(folder, None);
    }
    // One of several blocks among the many of one.
    out.insert("big".into(), Some(noise(seed, 600_000)));
    out
}

fn pieces(bytes: &[u8]) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let pieces: Vec<_> = bytes.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

async fn adds(content: &Content, first: u64) -> Result<(), Fail> {
    for seed in first.. {
        let tree = added(seed);
        let cid = match tree.get("") {
            Some(Some(bytes)) => content.add_stream(pieces(bytes), AddOptions::default()).await?.cid,
            _ => {
                let mut adder = content.add_tree(AddOptions::default())?;
                for (path, bytes) in &tree {
                    if let Some(bytes) = bytes {
                        adder.file(format!("top/{path}").as_bytes(), Attributes::default(), pieces(bytes)).await?;
                    }
                }
                adder.finish().await?.last().ok_or("a folder has a root")?.cid
            }
        };
        say(&format!("add {cid} {seed}"));
    }
    Ok(())
}

/// Pins that are made, moved to another root and taken away.
async fn pins(content: &Content, first: u64) -> Result<(), Fail> {
    let mut pinned: Vec<Cid> = Vec::new();
    for seed in first.. {
        let options = AddOptions { pin: false, ..AddOptions::default() };
        let cid = content.add_bytes(noise(seed, 1 + (seed * 7919 % 400_000) as usize), options).await?.cid;
        match pinned.first().copied().filter(|_| pinned.len() > 8) {
            Some(old) if seed.is_multiple_of(2) => {
                say(&format!("begin-update {old} {cid}"));
                content.update_pin(&old, &cid, true).await?;
                say(&format!("update {old} {cid}"));
                pinned.remove(0);
            }
            old => {
                if let Some(old) = old {
                    say(&format!("begin-unpin {old}"));
                    content.unpin(&old, None).await?;
                    say(&format!("unpin {old}"));
                    pinned.remove(0);
                }
                content.pin(&cid, PinKind::Recursive, Some(format!("pin {seed}"))).await?;
                say(&format!("pin {cid}"));
            }
        }
        pinned.push(cid);
    }
    Ok(())
}

/// Blocks that come and go, and segments that are made anew without them.
async fn compactions(repo: &Repo, first: u64) -> Result<(), Fail> {
    for round in 0.. {
        let mut batch = Vec::new();
        for n in 0..40 {
            let block = Block::new(Codec::Raw, Hash::Sha2_256, noise(first + round * 40 + n, 8_000))?;
            batch.push(NewBlock { block, links: Vec::new() });
        }
        let cids: Vec<Cid> = batch.iter().map(|new| *new.block.cid()).collect();
        repo.blocks().put(batch).await?;
        repo.blocks().remove(cids.clone()).await?;
        repo.blocks().sync().await?;
        // One is enough: they went in one piece.
        say(&format!("removed {}", cids[0]));
        repo.blocks().compact(1).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// One change of the files tree.
enum Change {
    Write { path: String, offset: u64, bytes: Vec<u8> },
    Mkdir(String),
    Cp(String, String),
    Mv(String, String),
    Rm(String),
}

/// The change that comes at this number, in a folder that holds `tree`; the same whenever it is asked for.
fn change(tree: &Tree, folder: &str, number: u64) -> Change {
    let files: Vec<&String> = tree.iter().filter(|(_, bytes)| bytes.is_some()).map(|(path, _)| path).collect();
    let picked = |at: u64| files.get(at as usize % files.len().max(1)).map(|path| (*path).clone());
    let bytes = noise(number, 1 + (number * 7919 % 90_000) as usize);
    let fresh = Change::Write { path: format!("{folder}/d{}/f{}", number % 4, number % 10), offset: 0, bytes };
    match (number % 6, picked(number / 3)) {
        (1, Some(path)) => Change::Write { path, offset: number * 31 % 50_000, bytes: noise(number, 3_000) },
        (2, _) => Change::Mkdir(format!("{folder}/e{}/{number}", number % 5)),
        (3, Some(path)) => Change::Cp(path, format!("{folder}/c{number}")),
        (4, Some(path)) => Change::Mv(path, format!("{folder}/m{number}")),
        (5, Some(path)) => Change::Rm(path),
        _ => fresh,
    }
}

/// What the change makes of the tree.
fn apply(tree: &mut Tree, change: Change) {
    match change {
        Change::Write { path, offset, bytes } => {
            let file = tree.entry(path.clone()).or_insert(None).get_or_insert_default();
            // A write at the beginning replaces the file.
            let mut new = if offset == 0 { Vec::new() } else { std::mem::take(file) };
            let (start, end) = (offset as usize, offset as usize + bytes.len());
            new.resize(new.len().max(end), 0);
            new[start..end].copy_from_slice(&bytes);
            *file = new;
            folders_above(tree, &path);
        }
        Change::Mkdir(path) => {
            folders_above(tree, &path);
            tree.insert(path, None);
        }
        Change::Cp(from, to) => _ = tree.insert(to, tree[&from].clone()),
        Change::Mv(from, to) => {
            let file = tree.remove(&from).flatten();
            tree.insert(to, file);
        }
        Change::Rm(path) => _ = tree.remove(&path),
    }
}

fn folders_above(tree: &mut Tree, path: &str) {
    for (at, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
        tree.insert(path[..at].to_owned(), None);
    }
}

fn folder_of(run: u64) -> String {
    format!("/run-{run}")
}

async fn changes(content: &Content, run: u64) -> Result<(), Fail> {
    let files = content.files();
    let path = |text: &str| FilesPath::parse(text);
    if let Some(old) = run.checked_sub(RUNS_KEPT).filter(|old| *old > 0) {
        say(&format!("begin-gone {old}"));
        files.rm(&[folder_of(old)], true, true).await?;
        say(&format!("gone {old}"));
    }
    let (folder, mut tree) = (folder_of(run), Tree::new());
    for number in 0.. {
        say(&format!("begin-change {run} {number}"));
        let change = change(&tree, &folder, number);
        match &change {
            Change::Write { path: to, offset, bytes } => {
                let (offset, truncate) = (*offset, *offset == 0);
                let options = WriteOptions { offset, truncate, create: true, parents: true, ..WriteOptions::default() };
                files.write(&path(to)?, &options, pieces(bytes), true).await?;
            }
            Change::Mkdir(to) => {
                files.mkdir(&path(to)?, &DirOptions { parents: true, ..DirOptions::default() }, true).await?;
            }
            Change::Cp(from, to) => files.cp(from, &path(to)?, &CpOptions::default(), true).await?,
            Change::Mv(from, to) => files.mv(&path(from)?, &path(to)?, true).await?,
            Change::Rm(from) => {
                let failures = files.rm(std::slice::from_ref(from), false, false).await?;
                if let Some(failure) = failures.first() {
                    return Err(failure.as_str().into());
                }
            }
        }
        apply(&mut tree, change);
        say(&format!("change {run} {number}"));
    }
    Ok(())
}

/// What was acknowledged of all this.
#[derive(Default)]
pub struct Known {
    adds: BTreeMap<String, u64>,
    /// Changes acknowledged in each run, and whether one more was under way.
    runs: BTreeMap<u64, (u64, bool)>,
    going: BTreeSet<u64>,
    gone: BTreeSet<u64>,
    removed: BTreeSet<String>,
    /// Whether roots are pinned; those of which it is not known are absent.
    pins: BTreeMap<String, bool>,
    update: Option<(String, String)>,
}

impl Known {
    /// Takes note of a line; false when it is about something else.
    pub fn read(&mut self, words: &[&str]) -> bool {
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        match words {
            ["add", cid, _] => {
                self.adds.insert((*cid).to_owned(), number(2));
                self.pins.insert((*cid).to_owned(), true);
            }
            ["pin", cid] => _ = self.pins.insert((*cid).to_owned(), true),
            // Between the two lines it may stand either way.
            ["begin-unpin", cid] => _ = self.pins.remove(*cid),
            ["unpin", cid] => _ = self.pins.insert((*cid).to_owned(), false),
            ["begin-update", from, to] => {
                self.pins.remove(*from);
                self.update = Some(((*from).to_owned(), (*to).to_owned()));
            }
            ["update", from, to] => {
                self.pins.extend([((*from).to_owned(), false), ((*to).to_owned(), true)]);
                self.update = None;
            }
            ["begin-change", ..] => self.runs.entry(number(1)).or_default().1 = true,
            ["change", ..] => _ = self.runs.insert(number(1), (number(2) + 1, false)),
            ["begin-gone", _] => _ = self.going.insert(number(1)),
            ["gone", _] => _ = self.gone.insert(number(1)),
            ["removed", cid] => _ = self.removed.insert((*cid).to_owned()),
            _ => return false,
        }
        true
    }

    /// In words.
    pub fn summary(&self) -> String {
        let changes: u64 = self.runs.values().map(|(acknowledged, _)| acknowledged).sum();
        format!("{} adds, {} pins, {changes} changes of files", self.adds.len(), self.pins.len())
    }

    /// What is not as it was acknowledged.
    pub async fn lost(&self, repo: &Repo) -> Result<Vec<String>, Fail> {
        let content = Content::new(repo.clone(), None, None);
        let mut lost = Vec::new();
        for (text, seed) in &self.adds {
            match read(&content, text.parse()?).await {
                Ok(tree) if tree == added(*seed) => {}
                Ok(tree) => lost.push(format!("add {text}: {} entries, or other bytes than were added", tree.len())),
                Err(error) => lost.push(format!("add {text}: {error}")),
            }
        }
        for (text, there) in &self.pins {
            if repo.pins().get(&text.parse()?)?.is_some() != *there {
                lost.push(format!("pin {text}: should {}be there", if *there { "" } else { "not " }));
            }
        }
        // A pin that was being moved stands at one of the two roots. A later run knows nothing of it any more.
        if let Some((from, to)) = &self.update {
            let at = |text: &String| -> Result<bool, Fail> { Ok(repo.pins().get(&text.parse()?)?.is_some()) };
            let (from, to) = (at(from)?, at(to)?);
            if from == to {
                lost.push(format!(
                    "a pin that was being moved stands at {}",
                    if to { "both roots" } else { "neither" }
                ));
            }
        }
        for text in &self.removed {
            if repo.blocks().has(&text.parse()?).await? {
                lost.push(format!("block {text}: it was removed and is there"));
            }
        }
        lost.extend(repo.blocks().damage().iter().map(|damage| format!("{damage:?}")));
        if self.runs.is_empty() {
            return Ok(lost);
        }
        let now = read(&content, content.files().root()?).await?;
        for (run, (acknowledged, more)) in &self.runs {
            let folder = folder_of(*run);
            let below = format!("{folder}/");
            let here: Tree = now
                .iter()
                .map(|(path, bytes)| (format!("/{path}"), bytes))
                .filter(|(path, _)| *path == folder || path.starts_with(&below))
                .map(|(path, bytes)| (path, bytes.clone()))
                .collect();
            let mut tree = Tree::new();
            for number in 0..*acknowledged {
                let change = change(&tree, &folder, number);
                apply(&mut tree, change);
            }
            let mut fine = here == tree && !self.gone.contains(run);
            fine |= here.is_empty() && self.going.contains(run);
            if *more && !fine && !self.gone.contains(run) {
                let change = change(&tree, &folder, *acknowledged);
                apply(&mut tree, change);
                fine = here == tree;
            }
            if !fine {
                lost.push(format!("files of run {run}: {} entries, neither before nor after a change", here.len()));
            }
        }
        Ok(lost)
    }
}

/// All that lies below a root.
async fn read(content: &Content, root: Cid) -> Result<Tree, Fail> {
    let mut out = Tree::new();
    let mut file = String::new();
    let mut events = content.walk(root);
    let name = |path: Vec<Vec<u8>>| String::from_utf8_lossy(&path.join(&b'/')).into_owned();
    while let Some(event) = events.try_next().await? {
        match event {
            TreeEvent::Attributes(_) => {}
            TreeEvent::Dir { path } => _ = out.insert(name(path), None),
            TreeEvent::File { path, .. } => {
                file = name(path);
                out.insert(file.clone(), Some(Vec::new()));
            }
            TreeEvent::Data(bytes) => {
                let all = out.get_mut(&file).and_then(Option::as_mut).ok_or("bytes without a file")?;
                all.extend_from_slice(&bytes);
            }
            TreeEvent::Symlink { .. } => return Err("nobody made a symbolic link".into()),
        }
    }
    Ok(out)
}
