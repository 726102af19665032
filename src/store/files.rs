//! Files that appear whole or not at all, and the lock that keeps a second process out.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{FlockOperation, flock, fstatvfs};

use super::StoreError;

/// Longest small file read whole (keys, ids, versions), in bytes.
const MAX_SMALL_BYTES: u64 = 64 * 1024;

/// Makes `dir` and its parents, for the owner alone, durable in its parent.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes a file for the owner alone so that after a crash it is there whole, or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    let _ = fs::remove_file(&tmp);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&tmp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&tmp, path)?;
    match path.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Reads a small file; `None` when it does not exist.
pub(crate) fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut out = Vec::new();
    file.take(MAX_SMALL_BYTES).read_to_end(&mut out)?;
    Ok(Some(out))
}

/// Bytes of a disk that blocks leave free: a full disk must not stop pins, logs and the next start.
const KEPT_BYTES: u64 = 64 << 20;

/// How much of a disk of `total` bytes is left to everything but blocks.
fn kept(total: u64) -> u64 {
    KEPT_BYTES.min(total / 16)
}

/// Who asks for room on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// New blocks.
    Blocks,
    /// Compaction: it gives back more than it takes, so it may use some of what is kept.
    Compaction,
}

/// Errors when `more` bytes in `file` would take what is kept free.
pub(crate) fn leave_room(file: &File, more: u64, asks: Asks) -> io::Result<()> {
    let disk = fstatvfs(file)?;
    let (total, free) = (disk.f_blocks.saturating_mul(disk.f_frsize), disk.f_bavail.saturating_mul(disk.f_frsize));
    let kept = match asks {
        Asks::Blocks => kept(total),
        Asks::Compaction => kept(total) / 4,
    };
    // Some file systems do not say.
    if total == 0 || free >= more.saturating_add(kept) {
        return Ok(());
    }
    let text = format!("{} MiB are free, of which {} MiB are kept for pins and logs", free >> 20, kept >> 20);
    Err(io::Error::new(io::ErrorKind::StorageFull, text))
}

/// A name that becomes a file: short, and without anything a path could misread.
pub(crate) fn check_name(name: &str) -> Result<(), StoreError> {
    let fine = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if fine {
        return Ok(());
    }
    Err(StoreError::Invalid {
        what: format!("the name {name:?}"),
        reason: "use 1 to 64 of a-z, 0-9, '-' and '_'".into(),
    })
}

/// The repo's lock. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    // Held open for the lock alone.
    _file: File,
}

impl Lock {
    /// Takes the lock of `dir`, or names the process that has it.
    pub(crate) fn take(dir: &Path) -> Result<Lock, StoreError> {
        let doing = "locking the repo";
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("lock"))
            .map_err(StoreError::io(doing))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(e) if e == rustix::io::Errno::WOULDBLOCK => {
                let mut text = String::new();
                let _ = file.take(20).read_to_string(&mut text);
                let pid = match text.trim() {
                    "" => "unknown".to_owned(),
                    pid => pid.to_owned(),
                };
                return Err(StoreError::Locked { dir: dir.into(), pid });
            }
            Err(e) => return Err(StoreError::io(doing)(e.into())),
        }
        // The number is for people only; the lock itself is the system's.
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(StoreError::io(doing))?;
        Ok(Lock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_opener_learns_who_was_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        match Lock::take(dir.path()) {
            Err(StoreError::Locked { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
            other => panic!("{other:?}"),
        }
        drop(first);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn whole_files_replace_and_leave_no_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert_eq!(read_small(&path).unwrap(), None);
        fs::write(dir.path().join("key.tmp"), b"left by a crash").unwrap();
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(read_small(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_last_of_a_disk_is_not_for_blocks() {
        assert_eq!((kept(1 << 40), kept(32 << 20), kept(0)), (64 << 20, 2 << 20, 0));
        let file = tempfile::tempfile().unwrap();
        leave_room(&file, 1, Asks::Blocks).unwrap();
        let full = leave_room(&file, u64::MAX, Asks::Compaction).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(full.to_string().contains("kept for pins"), "{full}");
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        for bad in ["", "..", "a/b", "A", "x.redb"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        check_name("cluster-1").unwrap();
    }
}
