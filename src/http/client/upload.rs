//! Files and folders as the multipart form Kubo's `add` takes, streamed while they are read.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::{AddOptions, ClientError};
use crate::{
    base::random,
    content::{ContentError, Found, Walker, root_of},
    dag::unixfs::Attributes,
    http::rpc::go_mode,
};

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces read ahead of the connection.
const AHEAD: usize = 4;
/// Files smaller than this share pieces with their heads and with each other.
const SMALL_BYTES: u64 = 64 * 1024;

/// What has been read so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub bytes: u64,
    pub files: u64,
}

pub(super) struct Upload {
    pub body: Body,
    pub boundary: String,
    pub counted: watch::Receiver<Counted>,
    pub failure: Arc<Mutex<Option<ClientError>>>,
    /// What the last item is called.
    pub name: String,
}

type Piece = Result<Bytes, std::io::Error>;

/// Where an item comes from.
enum Source {
    Stdin,
    Path(PathBuf),
}

fn source(path: &Path, options: &AddOptions) -> Result<(Source, Vec<u8>), ClientError> {
    if path.as_os_str() == "-" {
        let name = options.stdin_name.clone().unwrap_or_default();
        return Ok((Source::Stdin, name.into_bytes()));
    }
    let (path, name) = root_of(path, options.dereference_args || options.walk.dereference)?;
    if !options.walk.recursive && path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(ContentError::NeedsRecursive { path }.into());
    }
    Ok((Source::Path(path), name))
}

/// Bytes of all files below these paths; `None` when that cannot be told beforehand.
pub(super) fn total(paths: &[PathBuf], options: &AddOptions) -> Option<u64> {
    paths.iter().try_fold(0u64, |sum, path| match source(path, options).ok()? {
        (Source::Stdin, _) => None,
        (Source::Path(path), name) => Some(sum + Walker::new(&path, &name, options.walk.clone()).total().ok()?),
    })
}

/// Begins to read `paths`; nothing is read before the body is polled.
pub(super) fn start(paths: &[PathBuf], options: &AddOptions) -> Result<Upload, ClientError> {
    let boundary = boundary();
    let (pieces, queue) = mpsc::channel(AHEAD);
    let (count, counted) = watch::channel(Counted::default());
    let failure = Arc::new(Mutex::new(None));
    let sources = paths.iter().map(|path| source(path, options)).collect::<Result<Vec<_>, _>>()?;
    let name = sources.last().map(|(_, name)| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
    let walk = options.walk.clone();
    let mut reader = Reader {
        pieces,
        count,
        counted: Counted::default(),
        boundary: boundary.clone(),
        piece: Vec::new(),
        first: true,
    };
    let slot = failure.clone();
    // Reading files blocks; the thread ends with the files or with the receiver of its pieces.
    tokio::task::spawn_blocking(move || {
        let read = sources.into_iter().try_for_each(|(source, name)| match source {
            Source::Stdin => reader.stdin(&name),
            Source::Path(path) => reader.tree(Walker::new(&path, &name, walk.clone())),
        });
        let end = match read.and_then(|()| reader.finish()) {
            Ok(()) | Err(Stop::Gone) => return,
            Err(Stop::Failed(error)) => error,
        };
        let text = end.to_string();
        *slot.lock().unwrap_or_else(|e| e.into_inner()) = Some(end);
        let _ = reader.pieces.blocking_send(Err(std::io::Error::other(text)));
    });
    let body = Body::from_stream(ReceiverStream::<Piece>::new(queue));
    Ok(Upload { body, boundary, counted, failure, name })
}

/// One part of raw bytes: the boundary and the form.
pub(super) fn single(data: &[u8]) -> (String, Vec<u8>) {
    let boundary = boundary();
    let mut form = head(&boundary, b"", &Attributes::default(), "application/octet-stream", true);
    form.extend_from_slice(data);
    form.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (boundary, form)
}

pub(super) fn boundary() -> String {
    format!("ipfs-kit-{}", data_encoding::HEXLOWER.encode(&random::bytes::<16>()))
}

pub(super) fn head(boundary: &str, name: &[u8], found: &Attributes, kind: &str, first: bool) -> Vec<u8> {
    let lead = if first { "" } else { "\r\n" };
    let mut form = String::from("file");
    let mut said = '?';
    if let Some(mode) = found.mode {
        form.push_str(&format!("{said}mode=0{:o}", go_mode(mode)));
        said = '&';
    }
    if let Some((seconds, nanos)) = found.mtime {
        form.push_str(&format!("{said}mtime={seconds}"));
        if nanos > 0 {
            form.push_str(&format!("&mtime-nsecs={nanos}"));
        }
    }
    let name = escape(name);
    format!(
        "{lead}--{boundary}\r\nContent-Disposition: form-data; name=\"{form}\"; filename=\"{name}\"\r\n\
         Content-Type: {kind}\r\n\r\n"
    )
    .into_bytes()
}

/// Why reading ends early: a failure here, or nobody listens any more.
enum Stop {
    Failed(ClientError),
    Gone,
}

impl From<ContentError> for Stop {
    fn from(error: ContentError) -> Self {
        Stop::Failed(error.into())
    }
}

struct Reader {
    pieces: mpsc::Sender<Piece>,
    count: watch::Sender<Counted>,
    counted: Counted,
    boundary: String,
    /// What is not sent yet.
    piece: Vec<u8>,
    first: bool,
}

impl Reader {
    fn flush(&mut self) -> Result<(), Stop> {
        self.count.send_replace(self.counted);
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        self.pieces.blocking_send(Ok(piece.into())).map_err(|_| Stop::Gone)
    }

    fn head(&mut self, name: &[u8], found: &Attributes, kind: &str) -> Result<(), Stop> {
        let head = head(&self.boundary, name, found, kind, std::mem::take(&mut self.first));
        self.append(&head)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if self.piece.len() + bytes.len() > PIECE_BYTES {
            self.flush()?;
        }
        self.piece.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Stop> {
        self.piece.extend_from_slice(format!("\r\n--{}--\r\n", self.boundary).as_bytes());
        self.flush()
    }

    fn stdin(&mut self, name: &[u8]) -> Result<(), Stop> {
        self.head(name, &Attributes::default(), "application/octet-stream")?;
        self.flush()?;
        self.counted.files += 1;
        self.copy(Path::new("standard input"), std::io::stdin().lock(), u64::MAX)
    }

    fn tree(&mut self, mut walker: Walker) -> Result<(), Stop> {
        while let Some(found) = walker.step()? {
            match found {
                Found::Dir(name, found) => self.head(&name, &found, "application/x-directory")?,
                Found::DirEnd(_) => {}
                Found::Symlink(name, found, target) => {
                    self.head(&name, &found, "application/symlink")?;
                    self.append(&target)?;
                    self.counted.files += 1;
                }
                Found::File(name, found, path, size) => {
                    let file = walker.open(&path)?;
                    self.head(&name, &found, "application/octet-stream")?;
                    self.counted.files += 1;
                    self.copy(&path, file, size)?;
                }
            }
        }
        Ok(())
    }

    fn copy(&mut self, path: &Path, mut from: impl Read, size: u64) -> Result<(), Stop> {
        if size >= SMALL_BYTES {
            self.flush()?;
        }
        let mut done = 0;
        loop {
            // One byte more than a small file should have tells its end without another buffer.
            let room = if size < SMALL_BYTES { size as usize + 1 } else { PIECE_BYTES };
            if self.piece.len() + room > PIECE_BYTES {
                self.flush()?;
            }
            if self.piece.capacity() == 0 {
                self.piece.reserve_exact(PIECE_BYTES);
            }
            let start = self.piece.len();
            self.piece.resize(start + room, 0);
            let read = loop {
                match from.read(&mut self.piece[start..]) {
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    read => break read,
                }
            };
            let n = *read.as_ref().unwrap_or(&0);
            self.piece.truncate(start + n);
            if let Err(error) = read {
                return Err(Stop::Failed(ClientError::file(path, &error)));
            }
            (self.counted.bytes, done) = (self.counted.bytes + n as u64, done + n as u64);
            // A short read at the size that was found is the end; any other may be a pipe that has no more yet.
            if n == 0 || (n < room && done == size) {
                return if size >= SMALL_BYTES { self.flush() } else { Ok(()) };
            }
            if size >= SMALL_BYTES {
                self.flush()?;
            }
        }
    }
}

/// Percent-encodes a path's bytes, whatever they are, as the value of a form has it.
fn escape(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
