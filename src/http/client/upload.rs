//! A file or folder as the multipart form Kubo's `add` takes, streamed while it is read.

use std::{
    collections::VecDeque,
    fs::{self, Metadata},
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::{AddOptions, ClientError};
use crate::base::{Kind, random};

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces read ahead of the connection.
const AHEAD: usize = 4;

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
    pub name: String,
}

type Piece = Result<Bytes, std::io::Error>;

/// Begins to read `path`; nothing is read before the body is polled.
pub(super) fn start(path: &Path, options: &AddOptions) -> Result<Upload, ClientError> {
    let boundary = boundary();
    let (pieces, queue) = mpsc::channel(AHEAD);
    let (count, counted) = watch::channel(Counted::default());
    let failure = Arc::new(Mutex::new(None));
    let stdin = path.as_os_str() == "-";
    let name = if stdin { String::new() } else { name_of(path)? };
    if !stdin {
        let kind = fs::symlink_metadata(path).map_err(|e| ClientError::file(path, &e))?;
        if kind.is_dir() && !options.recursive {
            return Err(refused(path, "is a folder; add it with all below it by -r"));
        }
    }
    let mut reader =
        Reader { pieces, count, counted: Counted::default(), boundary: boundary.clone(), hidden: options.hidden };
    let (path, root, slot) = (path.to_owned(), name.clone(), failure.clone());
    // Reading files blocks; the thread ends with the files or with the receiver of its pieces.
    tokio::task::spawn_blocking(move || {
        let read = if stdin { reader.stdin() } else { reader.tree(&path, &root) };
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
    let mut form = head(&boundary, "", "application/octet-stream", true);
    form.extend_from_slice(data);
    form.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (boundary, form)
}

pub(super) fn boundary() -> String {
    format!("ipfs-kit-{}", data_encoding::HEXLOWER.encode(&random::bytes::<16>()))
}

pub(super) fn head(boundary: &str, escaped_name: &str, kind: &str, first: bool) -> Vec<u8> {
    let lead = if first { "" } else { "\r\n" };
    format!(
        "{lead}--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{escaped_name}\"\r\n\
         Content-Type: {kind}\r\n\r\n"
    )
    .into_bytes()
}

/// Why reading ends early: a failure here, or nobody listens any more.
enum Stop {
    Failed(ClientError),
    Gone,
}

struct Reader {
    pieces: mpsc::Sender<Piece>,
    count: watch::Sender<Counted>,
    counted: Counted,
    boundary: String,
    hidden: bool,
}

impl Reader {
    fn send(&self, bytes: impl Into<Bytes>) -> Result<(), Stop> {
        self.pieces.blocking_send(Ok(bytes.into())).map_err(|_| Stop::Gone)
    }

    fn finish(&self) -> Result<(), Stop> {
        self.count.send_replace(self.counted);
        self.send(format!("\r\n--{}--\r\n", self.boundary).into_bytes())
    }

    fn stdin(&mut self) -> Result<(), Stop> {
        self.send(head(&self.boundary, "", "application/octet-stream", true))?;
        self.counted.files = 1;
        self.copy(Path::new("standard input"), std::io::stdin().lock())
    }

    fn tree(&mut self, root: &Path, name: &str) -> Result<(), Stop> {
        let mut waiting = VecDeque::from([(root.to_owned(), escape_bytes(name.as_bytes()))]);
        let mut first = true;
        while let Some((path, escaped)) = waiting.pop_front() {
            let fail = |e: std::io::Error| Stop::Failed(ClientError::file(&path, &e));
            let kind: Metadata = fs::symlink_metadata(&path).map_err(fail)?;
            let mut part = |kind: &str, reader: &Reader| {
                let bytes = head(&reader.boundary, &escaped, kind, std::mem::take(&mut first));
                reader.send(bytes)
            };
            if kind.is_dir() {
                part("application/x-directory", self)?;
                // Depth first, in the order of names, as Kubo sends them.
                for (i, child) in self.children(&path)?.into_iter().enumerate() {
                    let below = child.file_name().map(|n| escape_bytes(n.as_bytes())).unwrap_or_default();
                    waiting.insert(i, (child, format!("{escaped}%2F{below}")));
                }
            } else if kind.is_symlink() {
                part("application/symlink", self)?;
                let target = fs::read_link(&path).map_err(fail)?;
                self.send(target.as_os_str().as_bytes().to_vec())?;
                self.counted.files += 1;
            } else if kind.is_file() {
                let file = fs::File::open(&path).map_err(fail)?;
                part("application/octet-stream", self)?;
                self.counted.files += 1;
                self.copy(&path, file)?;
            } else {
                return Err(Stop::Failed(refused(&path, "is neither file, folder nor symlink; leave it out")));
            }
        }
        Ok(())
    }

    fn children(&self, folder: &Path) -> Result<Vec<PathBuf>, Stop> {
        let fail = |e: std::io::Error| Stop::Failed(ClientError::file(folder, &e));
        let mut out = Vec::new();
        for entry in fs::read_dir(folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if self.hidden || !entry.file_name().as_bytes().starts_with(b".") {
                out.push(entry.path());
            }
        }
        out.sort();
        Ok(out)
    }

    fn copy(&mut self, path: &Path, mut from: impl Read) -> Result<(), Stop> {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let n = match from.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Stop::Failed(ClientError::file(path, &e))),
            };
            piece.truncate(n);
            self.send(piece)?;
            self.counted.bytes += n as u64;
            self.count.send_replace(self.counted);
        }
    }
}

fn name_of(path: &Path) -> Result<String, ClientError> {
    let whole = fs::symlink_metadata(path)
        .and_then(|_| if path.file_name().is_some() { Ok(path.to_owned()) } else { path.canonicalize() })
        .map_err(|e| ClientError::file(path, &e))?;
    Ok(whole.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default())
}

fn refused(path: &Path, why: &str) -> ClientError {
    ClientError::File { path: path.display().to_string(), kind: Kind::Invalid, reason: why.into() }
}

/// Percent-encodes a name's bytes, whatever they are.
fn escape_bytes(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for &byte in name {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
