//! Writing a tree to disk without ever leaving the output folder.
//!
//! Every folder is opened by name relative to its parent's descriptor and never through a symbolic link, so neither the
//! tree's own links nor ones that lie there already lead anywhere. A folder that is not there is written under another name
//! beside its place and gets its own when it is whole; what goes into a folder that is there is written file by file beside
//! its place and renamed.

use std::{
    fs::File,
    io::Write,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use rustix::{
    fs::{self as rfs, AtFlags, FileType, Mode, OFlags, RenameFlags},
    io::Errno,
};
use tokio::sync::mpsc;

use super::{ContentError, TreeEvent, Written, tar::TarReader, tree::MAX_DEPTH};
use crate::{
    base::random,
    dag::{DagError, dir::check_name},
};

/// Parts on their way to the writing thread.
const QUEUE: usize = 16;

/// Writes a tree. A root that is a file goes to `out`, or under `name` into it when `out` is a folder; a root that is a
/// directory becomes `out`, or its content is added to it. An `out` that was not there is there as a whole or not at all.
///
/// Errors with [`ContentError::Unsafe`] before anything would be written through a symbolic link or outside `out`.
pub async fn extract(
    events: impl Stream<Item = Result<TreeEvent, ContentError>> + Send,
    out: &Path,
    name: PathBuf,
) -> Result<Written, ContentError> {
    write_all(events, Writer::new(out.to_owned(), name), |writer, event| match event {
        Some(event) => writer.write(event),
        None => Ok(()),
    })
    .await
}

/// Writes a tar stream as [`extract`] does; the archive may come from anywhere.
pub async fn extract_tar(
    pieces: impl Stream<Item = std::io::Result<Bytes>> + Send,
    out: &Path,
    name: PathBuf,
) -> Result<Written, ContentError> {
    let pieces = pieces.map(|piece| piece.map_err(ContentError::Input));
    let mut tar = TarReader::new();
    write_all(pieces, Writer::new(out.to_owned(), name), move |writer, piece| {
        let Some(piece) = piece else { return tar.check_end() };
        tar.push(&piece);
        while let Some(event) = tar.next_event()? {
            writer.write(event)?;
        }
        Ok(())
    })
    .await
}

/// Has `each` write every item, and the end, on a thread that may wait for the disk.
async fn write_all<T: Send + 'static>(
    items: impl Stream<Item = Result<T, ContentError>> + Send,
    mut writer: Writer,
    mut each: impl FnMut(&mut Writer, Option<T>) -> Result<(), ContentError> + Send + 'static,
) -> Result<Written, ContentError> {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(item) = receiver.blocking_recv() {
            let last = Option::is_none(&item);
            each(&mut writer, item)?;
            if last {
                return writer.finish();
            }
        }
        // The other end has gone before the end: what is half written is removed.
        Ok(Written::default())
    });
    let mut items = std::pin::pin!(items);
    let mut failed = None;
    loop {
        let item = match items.next().await {
            Some(Ok(item)) => Some(item),
            Some(Err(error)) => {
                failed = Some(error);
                break;
            }
            None => None,
        };
        let last = item.is_none();
        if sender.send(item).await.is_err() || last {
            break;
        }
    }
    drop(sender);
    let written = writing.await.map_err(ContentError::joined)?;
    match failed {
        Some(error) => Err(error),
        None => written,
    }
}

struct Open {
    file: File,
    dir: Arc<OwnedFd>,
    /// What the file is called until it is whole; `None` when it has its own name already.
    temp: Option<String>,
    path: Vec<Vec<u8>>,
    left: u64,
}

/// An output folder that was not there: what it is called until it is whole, and below what.
struct Fresh {
    parent: OwnedFd,
    temp: String,
    name: Vec<u8>,
}

struct Writer {
    out: PathBuf,
    name: PathBuf,
    /// The output folder, when the root is a directory.
    base: Option<Arc<OwnedFd>>,
    /// It was not there, and is not finished.
    fresh: Option<Fresh>,
    /// The folder written to last.
    last: Option<(Vec<Vec<u8>>, Arc<OwnedFd>)>,
    open: Option<Open>,
    done: Written,
    began: bool,
}

const DIR: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

impl Writer {
    fn new(out: PathBuf, name: PathBuf) -> Self {
        let done = Written::default();
        Writer { out, name, base: None, fresh: None, last: None, open: None, done, began: false }
    }

    /// How a place in the output is called to people.
    fn shown(&self, path: &[Vec<u8>]) -> PathBuf {
        let root = match (&self.base, path) {
            (None, [_]) if self.out.is_dir() => return self.out.join(&self.name),
            _ => self.out.clone(),
        };
        let below = if self.base.is_some() { path } else { &[] };
        below.iter().fold(root, |shown, name| shown.join(&*String::from_utf8_lossy(name)))
    }

    fn fail(&self, path: &[Vec<u8>]) -> impl Fn(Errno) -> ContentError + '_ {
        let path = path.to_vec();
        move |error| ContentError::io(self.shown(&path), error)
    }

    fn write(&mut self, event: TreeEvent) -> Result<(), ContentError> {
        match event {
            TreeEvent::Data(bytes) => return self.data(&bytes),
            TreeEvent::Attributes(_) => return Ok(()),
            _ => {}
        }
        self.close_file()?;
        let first = !std::mem::replace(&mut self.began, true);
        let path = match &event {
            TreeEvent::Dir { path } | TreeEvent::File { path, .. } | TreeEvent::Symlink { path, .. } => path,
            TreeEvent::Attributes(_) | TreeEvent::Data(_) => return Ok(()),
        };
        if path.len() > MAX_DEPTH {
            let (count, limit) = (path.len() as u64, MAX_DEPTH as u64);
            return Err(DagError::TooLarge { what: "levels of folders", count, limit }.into());
        }
        path.iter().try_for_each(|name| check_name(name))?;
        if path.is_empty() {
            return match event {
                _ if !first => Err(ContentError::Tar { reason: "it has two roots".into() }),
                TreeEvent::Dir { .. } => self.root_dir(),
                event => {
                    let (dir, name) = self.root_file()?;
                    self.leaf(dir, vec![name], event)
                }
            };
        }
        match event {
            TreeEvent::Dir { path } => {
                self.dir(&path, true)?;
                self.done.directories += 1;
                Ok(())
            }
            TreeEvent::File { path, size } => {
                let dir = self.dir(&path[..path.len() - 1], false)?;
                self.leaf(dir, path, TreeEvent::File { path: Vec::new(), size })
            }
            TreeEvent::Symlink { path, target } => {
                let dir = self.dir(&path[..path.len() - 1], false)?;
                self.leaf(dir, path, TreeEvent::Symlink { path: Vec::new(), target })
            }
            TreeEvent::Attributes(_) | TreeEvent::Data(_) => Ok(()),
        }
    }

    /// The folder the output lies in.
    fn parent(&self) -> Result<OwnedFd, ContentError> {
        let parent = match self.out.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        rfs::open(parent, DIR, Mode::empty()).map_err(|e| ContentError::io(parent, e))
    }

    fn root_dir(&mut self) -> Result<(), ContentError> {
        let fail = |error: Errno| ContentError::io(&self.out, error);
        let missing = rfs::lstat(&self.out).is_err_and(|error| error == Errno::NOENT);
        let base = match self.out.file_name().filter(|_| missing) {
            Some(name) => {
                let (parent, name) = (self.parent()?, name.as_bytes().to_vec());
                let temp = temporary();
                rfs::mkdirat(&parent, temp.as_str(), Mode::from_raw_mode(0o777)).map_err(fail)?;
                let base = rfs::openat(&parent, temp.as_str(), DIR.union(OFlags::NOFOLLOW), Mode::empty());
                self.fresh = Some(Fresh { parent, temp, name });
                base.map_err(fail)?
            }
            None => match rfs::open(&self.out, DIR, Mode::empty()) {
                Ok(base) => base,
                Err(Errno::NOTDIR) => {
                    return Err(ContentError::Exists { path: self.out.clone(), found: "not a folder" });
                }
                Err(error) => return Err(fail(error)),
            },
        };
        self.base = Some(Arc::new(base));
        self.done.directories += 1;
        Ok(())
    }

    /// Where a root that is no directory goes.
    fn root_file(&self) -> Result<(Arc<OwnedFd>, Vec<u8>), ContentError> {
        let inside = self.out.is_dir();
        let name = if inside { Some(self.name.as_os_str()) } else { self.out.file_name() };
        let name = name.map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        check_name(&name)?;
        let dir = match inside {
            true => rfs::open(&self.out, DIR, Mode::empty()).map_err(|e| ContentError::io(&self.out, e))?,
            false => self.parent()?,
        };
        Ok((Arc::new(dir), name))
    }

    /// The folder with these names below the output, made if need be when `make`; its parents must be there.
    fn dir(&mut self, path: &[Vec<u8>], make: bool) -> Result<Arc<OwnedFd>, ContentError> {
        let Some(base) = &self.base else {
            return Err(ContentError::Tar { reason: "an item lies in a root that is no folder".into() });
        };
        if let Some((last, dir)) = &self.last
            && last == path
        {
            return Ok(Arc::clone(dir));
        }
        let mut at = Arc::clone(base);
        for (depth, name) in path.iter().enumerate() {
            let here = &path[..=depth];
            if make && depth + 1 == path.len() {
                match rfs::mkdirat(&at, name.as_slice(), Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(self.fail(here)(error)),
                }
            }
            at = match rfs::openat(&at, name.as_slice(), DIR.union(OFlags::NOFOLLOW), Mode::empty()) {
                Ok(dir) => Arc::new(dir),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    let path = self.shown(here);
                    return Err(match kind_at(&at, name) {
                        Some(FileType::Symlink) => {
                            ContentError::Unsafe { path, reason: "a symbolic link stands in the way" }
                        }
                        _ => ContentError::Exists { path, found: "not a folder" },
                    });
                }
                Err(error) => return Err(self.fail(here)(error)),
            };
        }
        self.last = Some((path.to_vec(), Arc::clone(&at)));
        Ok(at)
    }

    fn leaf(&mut self, dir: Arc<OwnedFd>, path: Vec<Vec<u8>>, event: TreeEvent) -> Result<(), ContentError> {
        let name = path.last().map(Vec::as_slice).unwrap_or_default();
        match event {
            TreeEvent::Symlink { target, .. } => {
                let link = rfs::symlinkat(target.as_slice(), &dir, name);
                match link {
                    Ok(()) => {}
                    Err(Errno::EXIST) => {
                        let same = rfs::readlinkat(&dir, name, Vec::new());
                        if same.is_err() || same.is_ok_and(|there| there.as_bytes() != target) {
                            return Err(ContentError::Exists { path: self.shown(&path), found: "something else" });
                        }
                    }
                    Err(error) => return Err(self.fail(&path)(error)),
                }
                self.done.symlinks += 1;
                Ok(())
            }
            TreeEvent::File { size, .. } => {
                let temp = match self.fresh {
                    Some(_) => None,
                    None => {
                        self.check_place(&dir, &path)?;
                        Some(temporary())
                    }
                };
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let called = temp.as_ref().map_or(name, |temp| temp.as_bytes());
                let file = match rfs::openat(&dir, called, flags, Mode::from_raw_mode(0o666)) {
                    Ok(file) => File::from(file),
                    Err(Errno::EXIST) => {
                        return Err(ContentError::Exists { path: self.shown(&path), found: "something of this name" });
                    }
                    Err(error) => return Err(self.fail(&path)(error)),
                };
                self.open = Some(Open { file, dir, temp, path, left: size });
                Ok(())
            }
            TreeEvent::Attributes(_) | TreeEvent::Dir { .. } | TreeEvent::Data(_) => Ok(()),
        }
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        let stray = || ContentError::Tar { reason: "data that belongs to no file".into() };
        let open = self.open.as_mut().ok_or_else(stray)?;
        open.left = open.left.checked_sub(bytes.len() as u64).ok_or_else(stray)?;
        if let Err(error) = open.file.write_all(bytes) {
            let path = open.path.clone();
            return Err(ContentError::io(self.shown(&path), error));
        }
        self.done.bytes += bytes.len() as u64;
        Ok(())
    }

    fn close_file(&mut self) -> Result<(), ContentError> {
        let Some(open) = &self.open else { return Ok(()) };
        if open.left > 0 {
            return Err(ContentError::Tar { reason: format!("{} bytes of a file are missing", open.left) });
        }
        if let Some(temp) = &open.temp {
            let name = open.path.last().map(Vec::as_slice).unwrap_or_default();
            self.check_place(&open.dir, &open.path)?;
            rfs::renameat(&open.dir, temp.as_str(), &open.dir, name).map_err(self.fail(&open.path))?;
        }
        self.open = None;
        self.done.files += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<Written, ContentError> {
        self.close_file()?;
        if !self.began {
            return Err(ContentError::Tar { reason: "it is empty".into() });
        }
        if let Some(Fresh { parent, temp, name }) = &self.fresh {
            let moved = rfs::renameat_with(parent, temp.as_str(), parent, name.as_slice(), RenameFlags::NOREPLACE);
            let moved = match moved {
                // A file system that cannot promise not to replace: an empty folder made meanwhile goes unseen.
                Err(Errno::INVAL | Errno::NOSYS) if kind_at(parent, name).is_none() => {
                    rfs::renameat(parent, temp.as_str(), parent, name.as_slice())
                }
                moved => moved,
            };
            match moved {
                Ok(()) => self.fresh = None,
                Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS) => {
                    let found = "something that was not there when this began";
                    return Err(ContentError::Exists { path: self.out.clone(), found });
                }
                Err(error) => return Err(ContentError::io(&self.out, error)),
            }
        }
        Ok(self.done)
    }

    /// A file may take the place of nothing or of a plain file.
    fn check_place(&self, dir: &OwnedFd, path: &[Vec<u8>]) -> Result<(), ContentError> {
        let found = kind_at(dir, path.last().map(Vec::as_slice).unwrap_or_default());
        let shown = || self.shown(path);
        match found {
            None | Some(FileType::RegularFile) => Ok(()),
            Some(FileType::Symlink) => {
                let reason = "a symbolic link stands there; remove it first";
                Err(ContentError::Unsafe { path: shown(), reason })
            }
            Some(FileType::Directory) => Err(ContentError::Exists { path: shown(), found: "a folder" }),
            Some(_) => Err(ContentError::Exists { path: shown(), found: "a device or socket" }),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(Open { dir, temp: Some(temp), .. }) = &self.open {
            let _ = rfs::unlinkat(dir, temp.as_str(), AtFlags::empty());
        }
        if let Some(Fresh { temp, .. }) = &self.fresh {
            let _ = std::fs::remove_dir_all(self.out.with_file_name(temp));
        }
    }
}

/// What something is called that is not whole yet.
fn temporary() -> String {
    format!(".ipfs-kit-{:016x}.part", random::u64())
}

fn kind_at(dir: &OwnedFd, name: &[u8]) -> Option<FileType> {
    let stat = rfs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}
