//! A repo as a folder of documented files: written whole or not at all, and read back.
//!
//! `repo.json` says what it is and how much; `pins.jsonl` has one pin a line; `blocks.car` is one CARv1 of every block;
//! `keys/` and `identity.key` are there when they were asked for. See `docs/repo-export.md`.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use bytes::Bytes;
use futures::{
    FutureExt, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use serde::{Deserialize, Serialize};

use super::{Counts, Exported, Got, LeftBehind, MoveError, Origin, left_keys, spool::Rows};
use crate::{
    base::{Cid, Keypair, PeerId, cid, time},
    content::{
        Content, ContentError,
        car::{LANES, batches, check},
    },
    store::{
        Keys, Pin, PinKind,
        pins::check_name,
        repo::{own_key, own_key_if_any, write_own_key},
        sync_dir,
    },
};

/// What the folder says it is.
const FORMAT: &str = "ipfs-kit-repo";
/// The newest version of the shape that is written and read.
const VERSION: u32 = 1;
/// Longest `repo.json` read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// Bytes of the archive read at a time.
const PIECE_BYTES: usize = 1 << 20;
/// Pins read at a time.
const PAGE: usize = 256;

const MANIFEST: &str = "repo.json";
const PINS: &str = "pins.jsonl";
const BLOCKS: &str = "blocks.car";
const KEYS: &str = "keys";
const IDENTITY: &str = "identity.key";

/// `repo.json`: what the export is of, and how much it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `ipfs-kit-repo`.
    pub format: String,
    /// Of this shape: 1.
    pub version: u32,
    /// Whose repo it was.
    pub peer_id: String,
    /// When the export was finished, in milliseconds since 1970.
    pub made_unix_ms: u64,
    /// The root of the files tree; null when it was empty.
    pub files_root: Option<String>,
    /// Lines of `pins.jsonl`.
    pub pins: u64,
    /// Sections of `blocks.car`.
    pub blocks: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Blocks that were damaged and so are not in it; the first thousand.
    pub left_out: Vec<String>,
}

/// A line of `pins.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRow {
    /// The root.
    pub cid: String,
    /// `recursive` or `direct`.
    pub kind: PinKind,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl From<&Pin> for PinRow {
    fn from(pin: &Pin) -> Self {
        PinRow { cid: pin.cid.to_string(), kind: pin.kind, name: pin.name.clone() }
    }
}

impl TryFrom<PinRow> for Pin {
    type Error = String;

    fn try_from(row: PinRow) -> Result<Pin, String> {
        let cid = cid::parse(&row.cid).map_err(|e| e.to_string())?;
        check_name(row.name.as_deref()).map_err(|e| e.to_string())?;
        Ok(Pin { cid, kind: row.kind, name: row.name })
    }
}

/// An export that is being written. Nothing stands at its place before [`ExportWriter::finish`].
pub struct ExportWriter {
    to: PathBuf,
    partial: PathBuf,
    car: File,
    pins: io::BufWriter<File>,
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> ContentError + use<> {
    let path = path.to_owned();
    move |e| ContentError::io(path.clone(), e)
}

impl ExportWriter {
    /// Begins an export to the folder `to`, which must not be there, or be empty.
    pub fn begin(to: &Path) -> Result<ExportWriter, ContentError> {
        let name = to.file_name().ok_or_else(|| MoveError::NotOne {
            dir: to.into(),
            reason: "it has no name of its own; name a new folder".into(),
        })?;
        if to.symlink_metadata().is_ok() {
            let empty = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none());
            if !empty {
                return Err(ContentError::Exists { path: to.into(), found: "not an empty folder" });
            }
        }
        let mut partial = name.to_owned();
        partial.push(".partial");
        let partial = to.with_file_name(partial);
        clear(&partial)?;
        let error = file_error(&partial);
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700).create(&partial).map_err(&error)?;
        let car = File::create_new(partial.join(BLOCKS)).map_err(&error)?;
        let pins = File::create_new(partial.join(PINS)).map_err(&error)?;
        Ok(ExportWriter { to: to.into(), partial, car, pins: io::BufWriter::new(pins) })
    }

    /// More of the archive.
    pub fn car(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        self.car.write_all(bytes).map_err(file_error(&self.partial.join(BLOCKS)))
    }

    /// More pins.
    pub fn pins(&mut self, rows: &[PinRow]) -> Result<(), ContentError> {
        let error = file_error(&self.partial.join(PINS));
        for row in rows {
            let mut line = serde_json::to_vec(row).expect("plain data becomes JSON");
            line.push(b'\n');
            self.pins.write_all(&line).map_err(&error)?;
        }
        Ok(())
    }

    /// The pins come anew.
    pub fn again(&mut self) -> Result<(), ContentError> {
        let error = file_error(&self.partial.join(PINS));
        self.pins.flush().map_err(&error)?;
        self.pins.get_ref().set_len(0).map_err(&error)?;
        self.pins.get_mut().rewind().map_err(&error)
    }

    /// Adds the keys of the repo in `repo`: its own and the named ones; gives the names.
    pub fn keys(&mut self, repo: &Path) -> Result<Vec<String>, ContentError> {
        let (from, to) = (Keys::of(repo), Keys::at(&self.partial.join(KEYS)));
        let names = from.names()?;
        for name in &names {
            if let Some(key) = from.encoded(name)? {
                to.put(name, &key)?;
            }
        }
        write_own_key(&self.partial, &own_key(repo)?)?;
        Ok(names)
    }

    /// Makes it durable, and puts it where it was to be.
    pub fn finish(mut self, peer: &PeerId, done: &Exported) -> Result<Manifest, ContentError> {
        let manifest = Manifest {
            format: FORMAT.into(),
            version: VERSION,
            peer_id: peer.to_string(),
            made_unix_ms: time::unix_ms(),
            files_root: done.files_root.clone(),
            pins: done.pins,
            blocks: done.blocks,
            bytes: done.bytes,
            left_out: done.left_out.clone(),
        };
        let error = file_error(&self.partial);
        self.pins.flush().and_then(|()| self.pins.get_ref().sync_all()).map_err(&error)?;
        self.car.sync_all().map_err(&error)?;
        let mut text = serde_json::to_vec_pretty(&manifest).expect("plain data becomes JSON");
        text.push(b'\n');
        let mut file = File::create_new(self.partial.join(MANIFEST)).map_err(&error)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(&error)?;
        sync_dir(&self.partial).map_err(&error)?;
        fs::rename(&self.partial, &self.to).map_err(file_error(&self.to))?;
        let above = self.to.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_dir(above).map_err(file_error(above))?;
        Ok(manifest)
    }
}

/// Removes what an interrupted export left; a folder with anything else in it is left alone.
fn clear(partial: &Path) -> Result<(), ContentError> {
    let entries = match fs::read_dir(partial) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(ContentError::io(partial, e)),
    };
    for entry in entries {
        let name = entry.map_err(file_error(partial))?.file_name();
        if ![MANIFEST, PINS, BLOCKS, KEYS, IDENTITY].iter().any(|ours| name == *ours) && name != "identity.tmp" {
            return Err(ContentError::Exists { path: partial.into(), found: "no export that was interrupted" });
        }
    }
    fs::remove_dir_all(partial).map_err(file_error(partial))
}

/// An export, to be imported.
pub struct ExportFolder {
    dir: PathBuf,
    manifest: Manifest,
    keys_taken: bool,
}

impl ExportFolder {
    /// Opens the export in `dir`.
    pub fn open(dir: &Path) -> Result<ExportFolder, ContentError> {
        let path = dir.join(MANIFEST);
        let not_one = |reason: String| ContentError::from(MoveError::NotOne { dir: dir.into(), reason });
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound && dir.join("datastore_spec").exists() => {
                return Err(not_one("it is a Kubo repo; import it with --from-kubo".into()));
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(not_one(format!("it has no {MANIFEST}; name a folder that 'repo export' made")));
            }
            Err(e) => return Err(ContentError::io(path, e)),
        };
        let mut text = Vec::new();
        file.take(MAX_MANIFEST_BYTES).read_to_end(&mut text).map_err(file_error(&path))?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|e| MoveError::Damaged { what: MANIFEST.into(), reason: e.to_string() })?;
        if manifest.format != FORMAT || manifest.version != VERSION {
            return Err(not_one(format!(
                "it is a {:?} of version {}, and this program reads {FORMAT:?} of version {VERSION}; use the program that made it",
                manifest.format, manifest.version
            )));
        }
        Ok(ExportFolder { dir: dir.into(), manifest, keys_taken: false })
    }

    /// Says whether somebody else takes its keys, so that they are not left behind.
    pub fn keys_taken(self, keys_taken: bool) -> ExportFolder {
        ExportFolder { keys_taken, ..self }
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The named keys in it.
    pub fn keys(&self) -> Keys {
        Keys::at(&self.dir.join(KEYS))
    }

    /// The identity in it, when it has one.
    pub fn identity(&self) -> Result<Option<Keypair>, ContentError> {
        Ok(own_key_if_any(&self.dir)?)
    }

    fn open_file(&self, name: &'static str) -> Result<File, ContentError> {
        let path = self.dir.join(name);
        File::open(&path).map_err(|e| ContentError::io(path, e))
    }

    fn damaged(&self, what: &str, reason: String) -> ContentError {
        MoveError::Damaged { what: self.dir.join(what).display().to_string(), reason }.into()
    }

    async fn pour(&self, content: &Content, counts: &Counts) -> Result<(), ContentError> {
        let file = self.open_file(BLOCKS)?;
        let blocks = content.repo().blocks();
        let sections = batches(pieces(file)).map_ok(|batch| async move {
            let mut new = Vec::with_capacity(batch.sections.len());
            let count = batch.sections.len() as u64;
            // What came before an interruption is not hashed again.
            for section in batch.sections {
                if blocks.claim(&section.cid).is_none() {
                    new.push(section);
                }
            }
            let here = count - new.len() as u64;
            let bytes = new.iter().map(|section| section.data.len() as u64).sum::<u64>();
            let brought = new.len() as u64;
            let checked = tokio::task::spawn_blocking(move || check(new, batch.after));
            blocks.put(checked.await.map_err(ContentError::joined)??).await?;
            counts.0.blocks_here.fetch_add(here, Ordering::Relaxed);
            counts.0.blocks.fetch_add(brought, Ordering::Relaxed);
            counts.0.bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok::<_, ContentError>(count)
        });
        let mut sections = std::pin::pin!(sections.try_buffered(LANES));
        let mut count = 0;
        while let Some(some) = sections.try_next().await? {
            count += some;
        }
        if count != self.manifest.blocks {
            let reason = format!("it has {count} blocks, and {MANIFEST} says {}", self.manifest.blocks);
            return Err(self.damaged(BLOCKS, reason));
        }
        blocks.sync().await?;
        Ok(())
    }
}

/// A file's bytes, read on threads that may wait.
fn pieces(file: File) -> BoxStream<'static, io::Result<Bytes>> {
    stream::try_unfold(file, |mut file| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE_BYTES];
            let n = loop {
                match file.read(&mut piece) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    read => break read?,
                }
            };
            piece.truncate(n);
            Ok::<_, io::Error>((piece, file))
        });
        let (piece, file) = read.await.map_err(io::Error::other)??;
        Ok((!piece.is_empty()).then(|| (Bytes::from(piece), file)))
    })
    .boxed()
}

impl Origin for ExportFolder {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    fn pins(&self) -> BoxStream<'_, Result<Pin, ContentError>> {
        let rows = self.open_file(PINS).map(|file| (Rows::new(file, self.dir.join(PINS).display().to_string()), 0));
        let (rows, error) = match rows {
            Ok(rows) => (Some(rows), None),
            Err(error) => (None, Some(Err(error))),
        };
        let pages = stream::iter(rows).flat_map(move |state| {
            stream::try_unfold(state, move |(mut rows, mut count)| async move {
                let page = rows.page(PAGE)?;
                count += page.len() as u64;
                if page.is_empty() {
                    if count != self.manifest.pins {
                        let reason = format!("it has {count} pins, and {MANIFEST} says {}", self.manifest.pins);
                        return Err(self.damaged(PINS, reason));
                    }
                    return Ok(None);
                }
                Ok(Some((stream::iter(page).map(Ok), (rows, count))))
            })
            .try_flatten()
        });
        stream::iter(error).chain(pages).boxed()
    }

    fn files_root(&self) -> BoxFuture<'_, Result<Option<Cid>, ContentError>> {
        async {
            let root = self.manifest.files_root.as_deref().map(cid::parse).transpose();
            root.map_err(|e| self.damaged(MANIFEST, format!("files_root: {e}")))
        }
        .boxed()
    }

    /// Whatever it has was poured.
    fn block(&self, _: Cid) -> BoxFuture<'_, Result<Got, ContentError>> {
        async { Ok(Got::Missing) }.boxed()
    }

    fn left(&self) -> BoxFuture<'_, Result<Vec<LeftBehind>, ContentError>> {
        async { if self.keys_taken { Ok(Vec::new()) } else { Ok(left_keys(self.keys().names()?)) } }.boxed()
    }

    fn pour<'a>(&'a self, content: &'a Content, counts: &'a Counts) -> BoxFuture<'a, Result<(), ContentError>> {
        ExportFolder::pour(self, content, counts).boxed()
    }
}
