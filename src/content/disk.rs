//! Adding files and folders of this machine: one thread reads, the rest of the pipeline hashes and stores.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::stream;
use tokio::sync::mpsc;

use super::{AddOptions, Added, Content, ContentError, tree::MAX_DEPTH};
use crate::dag::{Chunking, DagError, chunk::Chunker};

/// What the reading thread says.
enum Found {
    Dir(Vec<u8>),
    DirEnd(Vec<u8>),
    Symlink(Vec<u8>, Vec<u8>),
    File(Vec<u8>),
    Chunk(Bytes),
    FileEnd,
    Failed(ContentError),
}

/// Bytes read at a time when a chunker decides where to cut.
const PIECE_BYTES: usize = 1 << 20;
/// Chunks read ahead of the hashing.
const READ_AHEAD: usize = 8;

pub(super) async fn add_path(
    content: &Content,
    path: &Path,
    recursive: bool,
    options: AddOptions,
) -> Result<Added, ContentError> {
    let name = root_name(path)?;
    let mut tree = content.add_tree(options.clone())?;
    let (sender, mut found) = mpsc::channel(READ_AHEAD);
    let mut reader = Reader { sender, chunking: options.params.chunker, hidden: options.hidden, recursive };
    let root = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        if let Err(Stop::Error(error)) = reader.item(&root, name, 0) {
            let _ = reader.sender.blocking_send(Found::Failed(error));
        }
    });
    while let Some(next) = found.recv().await {
        match next {
            Found::Dir(path) => tree.dir(&path)?,
            Found::DirEnd(path) => {
                tree.close(&path).await?;
            }
            Found::Symlink(path, target) => {
                tree.symlink(&path, &target).await?;
            }
            Found::File(path) => {
                let chunks = stream::unfold((&mut found, false), |(found, ended)| async move {
                    if ended {
                        return None;
                    }
                    match found.recv().await {
                        Some(Found::Chunk(chunk)) => Some((Ok(chunk), (found, false))),
                        Some(Found::FileEnd) => None,
                        Some(Found::Failed(error)) => Some((Err(error), (found, true))),
                        _ => Some((
                            Err(ContentError::Internal { what: "the reading thread ended".into() }),
                            (found, true),
                        )),
                    }
                });
                tree.chunks(&path, chunks).await?;
            }
            Found::Failed(error) => return Err(error),
            Found::Chunk(_) | Found::FileEnd => {}
        }
    }
    reading.await.map_err(ContentError::joined)?;
    let mut roots = tree.finish(false).await?;
    roots.pop().ok_or_else(|| ContentError::Internal { what: "nothing was read".into() })
}

/// The name a path's last part has, also when it is written as "." or with "..".
fn root_name(path: &Path) -> Result<Vec<u8>, ContentError> {
    if let Some(name) = path.file_name() {
        return Ok(name.as_bytes().to_vec());
    }
    let whole = path.canonicalize().map_err(|e| ContentError::io(path, e))?;
    Ok(whole.file_name().map_or_else(|| b"root".to_vec(), |name| name.as_bytes().to_vec()))
}

enum Stop {
    Error(ContentError),
    /// The other end is gone.
    Gone,
}

impl From<ContentError> for Stop {
    fn from(error: ContentError) -> Self {
        Stop::Error(error)
    }
}

struct Reader {
    sender: mpsc::Sender<Found>,
    chunking: Chunking,
    hidden: bool,
    recursive: bool,
}

impl Reader {
    fn say(&self, found: Found) -> Result<(), Stop> {
        self.sender.blocking_send(found).map_err(|_| Stop::Gone)
    }

    fn item(&mut self, path: &Path, name: Vec<u8>, depth: usize) -> Result<(), Stop> {
        let fail = |error| ContentError::io(path, error);
        let meta = fs::symlink_metadata(path).map_err(fail)?;
        let kind = meta.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(path).map_err(fail)?;
            self.say(Found::Symlink(name, target.into_os_string().into_vec()))
        } else if kind.is_file() {
            self.file(path, name, meta.len())
        } else if kind.is_dir() {
            if !self.recursive {
                return Err(ContentError::NeedsRecursive { path: path.to_owned() }.into());
            }
            self.dir(path, name, depth)
        } else {
            Err(ContentError::UnsupportedFile { path: path.to_owned() }.into())
        }
    }

    fn dir(&mut self, path: &Path, name: Vec<u8>, depth: usize) -> Result<(), Stop> {
        if depth + 1 >= MAX_DEPTH {
            let (count, limit) = (depth as u64 + 2, MAX_DEPTH as u64);
            return Err(ContentError::from(DagError::TooLarge { what: "levels of folders", count, limit }).into());
        }
        let fail = |error| ContentError::io(path, error);
        self.say(Found::Dir(name.clone()))?;
        let mut inner: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if self.hidden || !entry.file_name().as_bytes().starts_with(b".") {
                inner.push(entry.path());
            }
        }
        // The order of the directory is the file system's whim.
        inner.sort();
        for child in inner {
            let own = child.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
            self.item(&child, [&name[..], b"/", own].concat(), depth + 1)?;
        }
        self.say(Found::DirEnd(name))
    }

    fn file(&mut self, path: &Path, name: Vec<u8>, size: u64) -> Result<(), Stop> {
        let fail = |error| ContentError::io(path, error);
        // No following, should it have become a link since it was looked at.
        let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let mut file = File::options().read(true).custom_flags(flags).open(path).map_err(fail)?;
        self.say(Found::File(name))?;
        // A fixed size is read as such, so that nothing is copied; other chunkers cut what is read.
        let (piece_bytes, mut chunker) = match self.chunking {
            Chunking::Size(size) => (size, None),
            other => (PIECE_BYTES, Some(Chunker::new(other))),
        };
        let mut left = size;
        loop {
            // One byte more than is said to be left tells the end without another buffer.
            let room = left.saturating_add(1).clamp(4096, piece_bytes.max(4096) as u64) as usize;
            let mut piece = Vec::with_capacity(room.min(piece_bytes));
            (&mut file).take(piece_bytes as u64).read_to_end(&mut piece).map_err(fail)?;
            let read = piece.len();
            left = left.saturating_sub(read as u64);
            match &mut chunker {
                None if read > 0 => self.say(Found::Chunk(piece.into()))?,
                None => {}
                Some(chunker) => {
                    chunker.push(piece.into());
                    while let Some(chunk) = chunker.next_chunk() {
                        self.say(Found::Chunk(chunk))?;
                    }
                }
            }
            if read < piece_bytes {
                if let Some(last) = chunker.and_then(Chunker::finish) {
                    self.say(Found::Chunk(last))?;
                }
                return self.say(Found::FileEnd);
            }
        }
    }
}
