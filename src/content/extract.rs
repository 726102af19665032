//! Writing a tree to disk without ever leaving the output folder.
//!
//! Every folder is opened by name relative to its parent's descriptor and never through a symbolic link, so neither the
//! tree's own links nor ones that lie there already lead anywhere. Files are written beside their place and renamed.

use std::{
    fs::File,
    io::Write,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use rustix::{
    fs::{self as rfs, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};
use tokio::sync::mpsc;

use super::{ContentError, TreeEvent, Written, tar, tree::MAX_DEPTH};
use crate::{
    base::random,
    dag::{DagError, dir::check_name},
};

/// Parts on their way to the writing thread.
const QUEUE: usize = 16;

/// Writes a tree. A root that is a file goes to `out`, or under `name` into it when `out` is a folder; a root that is a
/// directory becomes `out`, or its content is added to it.
///
/// Errors with [`ContentError::Unsafe`] before anything would be written through a symbolic link or outside `out`.
pub async fn extract(
    events: impl Stream<Item = Result<TreeEvent, ContentError>> + Send,
    out: &Path,
    name: PathBuf,
) -> Result<Written, ContentError> {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let mut writer = Writer::new(out.to_owned(), name);
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(event) = receiver.blocking_recv() {
            match event {
                Some(event) => writer.write(event)?,
                None => return writer.finish(),
            }
        }
        // The other end has gone before the end: what is half written is removed.
        Ok(Written::default())
    });
    let mut events = std::pin::pin!(events);
    let mut failed = None;
    loop {
        let event = match events.next().await {
            Some(Ok(event)) => Some(event),
            Some(Err(error)) => {
                failed = Some(error);
                break;
            }
            None => None,
        };
        let last = event.is_none();
        if sender.send(event).await.is_err() || last {
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

/// Writes a tar stream as [`extract`] does; the archive may come from anywhere.
pub async fn extract_tar(
    pieces: impl Stream<Item = std::io::Result<Bytes>> + Send,
    out: &Path,
    name: PathBuf,
) -> Result<Written, ContentError> {
    extract(tar::events(pieces), out, name).await
}

struct Open {
    file: File,
    dir: OwnedFd,
    temp: String,
    name: Vec<u8>,
    shown: PathBuf,
    left: u64,
}

struct Writer {
    out: PathBuf,
    name: PathBuf,
    /// The output folder, when the root is a directory.
    base: Option<OwnedFd>,
    /// The folder written to last.
    last: Option<(Vec<Vec<u8>>, OwnedFd)>,
    open: Option<Open>,
    done: Written,
    began: bool,
}

const DIR: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

impl Writer {
    fn new(out: PathBuf, name: PathBuf) -> Self {
        Writer { out, name, base: None, last: None, open: None, done: Written::default(), began: false }
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
            TreeEvent::Dir { path } | TreeEvent::File { path, .. } | TreeEvent::Symlink { path, .. } => path.clone(),
            TreeEvent::Attributes(_) | TreeEvent::Data(_) => Vec::new(),
        };
        if path.len() > MAX_DEPTH {
            let (count, limit) = (path.len() as u64, MAX_DEPTH as u64);
            return Err(DagError::TooLarge { what: "levels of folders", count, limit }.into());
        }
        path.iter().try_for_each(|name| check_name(name))?;
        let shown = path.iter().fold(self.out.clone(), |shown, name| shown.join(&*String::from_utf8_lossy(name)));
        match (path.split_last(), event) {
            (None, _) if !first => Err(ContentError::Tar { reason: "it has two roots".into() }),
            (None, TreeEvent::Dir { .. }) => self.root_dir(),
            (None, event) => {
                let (dir, name, shown) = self.root_file()?;
                self.leaf(dir, name, shown, event)
            }
            (Some(_), TreeEvent::Dir { .. }) => {
                self.dir(&path, true)?;
                self.done.directories += 1;
                Ok(())
            }
            (Some((name, parents)), event) => {
                let dir = self.dir(parents, false)?;
                self.leaf(dir, name.clone(), shown, event)
            }
        }
    }

    fn root_dir(&mut self) -> Result<(), ContentError> {
        let fail = |error: Errno| ContentError::io(&self.out, error);
        match rfs::mkdir(&self.out, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(fail(error)),
        }
        let base = match rfs::open(&self.out, DIR, Mode::empty()) {
            Ok(base) => base,
            Err(Errno::NOTDIR) => {
                return Err(ContentError::Exists { path: self.out.clone(), found: "not a folder" });
            }
            Err(error) => return Err(fail(error)),
        };
        self.base = Some(base);
        self.done.directories += 1;
        Ok(())
    }

    /// Where a root that is no directory goes.
    fn root_file(&self) -> Result<(OwnedFd, Vec<u8>, PathBuf), ContentError> {
        use std::os::unix::ffi::OsStrExt;
        let inside = self.out.is_dir();
        let shown = if inside { self.out.join(&self.name) } else { self.out.clone() };
        let name = if inside { Some(self.name.as_os_str()) } else { self.out.file_name() };
        let name = name.map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        check_name(&name)?;
        let parent = match (inside, self.out.parent()) {
            (true, _) => self.out.as_path(),
            (false, Some(parent)) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let dir = rfs::open(parent, DIR, Mode::empty()).map_err(|e| ContentError::io(parent, e))?;
        Ok((dir, name, shown))
    }

    /// The folder with these names below the output, made if need be when `make`; its parents must be there.
    fn dir(&mut self, path: &[Vec<u8>], make: bool) -> Result<OwnedFd, ContentError> {
        let Some(base) = &self.base else {
            return Err(ContentError::Tar { reason: "an item lies in a root that is no folder".into() });
        };
        if let Some((last, dir)) = &self.last
            && last == path
        {
            return dir.try_clone().map_err(|e| ContentError::io(&self.out, e));
        }
        let mut shown = self.out.clone();
        let mut at = base.try_clone().map_err(|e| ContentError::io(&shown, e))?;
        for (depth, name) in path.iter().enumerate() {
            shown.push(&*String::from_utf8_lossy(name));
            if make && depth + 1 == path.len() {
                match rfs::mkdirat(&at, name.as_slice(), Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(ContentError::io(shown, error)),
                }
            }
            at = match rfs::openat(&at, name.as_slice(), DIR.union(OFlags::NOFOLLOW), Mode::empty()) {
                Ok(dir) => dir,
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(match kind_at(&at, name) {
                        Some(FileType::Symlink) => {
                            ContentError::Unsafe { path: shown, reason: "a symbolic link stands in the way" }
                        }
                        _ => ContentError::Exists { path: shown, found: "not a folder" },
                    });
                }
                Err(error) => return Err(ContentError::io(shown, error)),
            };
        }
        let copy = at.try_clone().map_err(|e| ContentError::io(&shown, e))?;
        self.last = Some((path.to_vec(), copy));
        Ok(at)
    }

    fn leaf(&mut self, dir: OwnedFd, name: Vec<u8>, shown: PathBuf, event: TreeEvent) -> Result<(), ContentError> {
        match event {
            TreeEvent::Symlink { target, .. } => {
                let link = rfs::symlinkat(target.as_slice(), &dir, name.as_slice());
                match link {
                    Ok(()) => {}
                    Err(Errno::EXIST) => {
                        let same = rfs::readlinkat(&dir, name.as_slice(), Vec::new());
                        if same.is_err() || same.is_ok_and(|there| there.as_bytes() != target) {
                            return Err(ContentError::Exists { path: shown, found: "something else" });
                        }
                    }
                    Err(error) => return Err(ContentError::io(shown, error)),
                }
                self.done.symlinks += 1;
                Ok(())
            }
            TreeEvent::File { size, .. } => {
                check_place(&dir, &name, &shown)?;
                let temp = format!(".ipfs-kit-{:016x}.part", random::u64());
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rfs::openat(&dir, temp.as_str(), flags, Mode::from_raw_mode(0o666));
                let file = File::from(file.map_err(|e| ContentError::io(&shown, e))?);
                self.open = Some(Open { file, dir, temp, name, shown, left: size });
                Ok(())
            }
            TreeEvent::Attributes(_) | TreeEvent::Dir { .. } | TreeEvent::Data(_) => Ok(()),
        }
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        let stray = || ContentError::Tar { reason: "data that belongs to no file".into() };
        let open = self.open.as_mut().ok_or_else(stray)?;
        open.left = open.left.checked_sub(bytes.len() as u64).ok_or_else(stray)?;
        open.file.write_all(bytes).map_err(|e| ContentError::io(&open.shown, e))?;
        self.done.bytes += bytes.len() as u64;
        Ok(())
    }

    fn close_file(&mut self) -> Result<(), ContentError> {
        let Some(open) = &self.open else { return Ok(()) };
        if open.left > 0 {
            return Err(ContentError::Tar { reason: format!("{} bytes of a file are missing", open.left) });
        }
        check_place(&open.dir, &open.name, &open.shown)?;
        rfs::renameat(&open.dir, open.temp.as_str(), &open.dir, open.name.as_slice())
            .map_err(|e| ContentError::io(&open.shown, e))?;
        self.open = None;
        self.done.files += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<Written, ContentError> {
        self.close_file()?;
        if self.began { Ok(self.done) } else { Err(ContentError::Tar { reason: "it is empty".into() }) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            let _ = rfs::unlinkat(&open.dir, open.temp.as_str(), AtFlags::empty());
        }
    }
}

fn kind_at(dir: &OwnedFd, name: &[u8]) -> Option<FileType> {
    let stat = rfs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// A file may take the place of nothing or of a plain file.
fn check_place(dir: &OwnedFd, name: &[u8], shown: &Path) -> Result<(), ContentError> {
    let path = shown.to_owned();
    match kind_at(dir, name) {
        None | Some(FileType::RegularFile) => Ok(()),
        Some(FileType::Symlink) => {
            Err(ContentError::Unsafe { path, reason: "a symbolic link stands there; remove it first" })
        }
        Some(FileType::Directory) => Err(ContentError::Exists { path, found: "a folder" }),
        Some(_) => Err(ContentError::Exists { path, found: "a device or socket" }),
    }
}
