//! Adding files and folders of this machine: one thread reads, the rest of the pipeline hashes and stores.

use std::{fs::File, io::Read, path::Path};

use bytes::Bytes;
use futures::stream;
use tokio::sync::mpsc;

use super::{
    AddOptions, Added, Content, ContentError,
    walker::{self, Found, WalkOptions, Walker},
};
use crate::dag::{Chunking, chunk::Chunker, unixfs::Attributes};

/// What the reading thread says.
enum News {
    Dir(Vec<u8>, Attributes),
    DirEnd(Vec<u8>),
    Symlink(Vec<u8>, Attributes, Vec<u8>),
    File(Vec<u8>, Attributes),
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
    let (root, name) = walker::root_of(path, options.dereference)?;
    let mut tree = content.add_tree(options.clone())?;
    let (sender, mut news) = mpsc::channel(READ_AHEAD);
    let walker = Walker::new(&root, &name, WalkOptions::new(&options, recursive));
    let reader = Reader { sender, chunking: options.params.chunker };
    let reading = tokio::task::spawn_blocking(move || {
        if let Err(Stop::Error(error)) = reader.read(walker) {
            let _ = reader.sender.blocking_send(News::Failed(error));
        }
    });
    while let Some(next) = news.recv().await {
        match next {
            News::Dir(path, found) => tree.dir(&path, found).await?,
            News::DirEnd(path) => tree.close(&path).await?,
            News::Symlink(path, found, target) => {
                tree.symlink(&path, found, &target).await?;
            }
            News::File(path, found) => {
                let chunks = stream::unfold((&mut news, false), |(news, ended)| async move {
                    if ended {
                        return None;
                    }
                    match news.recv().await {
                        Some(News::Chunk(chunk)) => Some((Ok(chunk), (news, false))),
                        Some(News::FileEnd) => None,
                        Some(News::Failed(error)) => Some((Err(error), (news, true))),
                        _ => Some((
                            Err(ContentError::Internal { what: "the reading thread ended".into() }),
                            (news, true),
                        )),
                    }
                });
                tree.chunks(&path, found, chunks).await?;
            }
            News::Failed(error) => return Err(error),
            News::Chunk(_) | News::FileEnd => {}
        }
    }
    reading.await.map_err(ContentError::joined)?;
    let mut roots = tree.finish().await?;
    roots.pop().ok_or_else(|| ContentError::Internal { what: "nothing was read".into() })
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
    sender: mpsc::Sender<News>,
    chunking: Chunking,
}

impl Reader {
    fn say(&self, news: News) -> Result<(), Stop> {
        self.sender.blocking_send(news).map_err(|_| Stop::Gone)
    }

    fn read(&self, mut walker: Walker) -> Result<(), Stop> {
        while let Some(found) = walker.step()? {
            match found {
                Found::Dir(name, found) => self.say(News::Dir(name, found))?,
                Found::DirEnd(name) => self.say(News::DirEnd(name))?,
                Found::Symlink(name, found, target) => self.say(News::Symlink(name, found, target))?,
                Found::File(name, found, path, size) => {
                    let file = walker.open(&path)?;
                    self.say(News::File(name, found))?;
                    self.file(file, &path, size)?;
                }
            }
        }
        Ok(())
    }

    fn file(&self, mut file: File, path: &Path, size: u64) -> Result<(), Stop> {
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
            let reading = (&mut file).take(piece_bytes as u64).read_to_end(&mut piece);
            let read = reading.map_err(|error| ContentError::io(path, error))?;
            left = left.saturating_sub(read as u64);
            match &mut chunker {
                None if read > 0 => self.say(News::Chunk(piece.into()))?,
                None => {}
                Some(chunker) => {
                    chunker.push(piece.into());
                    while let Some(chunk) = chunker.next_chunk() {
                        self.say(News::Chunk(chunk))?;
                    }
                }
            }
            if read < piece_bytes {
                if let Some(last) = chunker.and_then(Chunker::finish) {
                    self.say(News::Chunk(last))?;
                }
                return self.say(News::FileEnd);
            }
        }
    }
}
