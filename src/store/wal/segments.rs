//! The log's segment files: made full of zeros, named when they are needed, listed, removed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use super::frame::{HEAD_BYTES, Head};
use crate::{base::random, store::files::sync_dir};

/// A segment file ready for use, under a name of its own.
#[derive(Debug)]
pub(super) struct Spare {
    path: PathBuf,
    pub head: Head,
    pub bytes: u64,
    pub file: File,
}

impl Spare {
    /// Makes the file for segment `segment`, `bytes` long, durable before it returns.
    pub(super) fn make(dir: &Path, segment: u64, bytes: u64) -> io::Result<Spare> {
        let path = dir.join(format!("{segment:010}.tmp"));
        let _ = fs::remove_file(&path);
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let head = Head { segment, salt: random::u64() };
        file.write_all(&head.encode())?;
        // Real zeros: blocks that are only reserved change state, and so metadata, at their first write.
        let zeros = vec![0; 1 << 20];
        let mut left = bytes.saturating_sub(HEAD_BYTES as u64);
        while left > 0 {
            let n = left.min(zeros.len() as u64);
            file.write_all(&zeros[..n as usize])?;
            left -= n;
        }
        file.sync_all()?;
        Ok(Spare { path, head, bytes: bytes.max(HEAD_BYTES as u64), file })
    }

    /// The same on another thread, so that the log need not wait for it.
    pub(super) fn make_aside(dir: &Path, segment: u64, bytes: u64) -> Option<JoinHandle<io::Result<Spare>>> {
        let dir = dir.to_owned();
        thread::Builder::new().name("wal-spare".into()).spawn(move || Spare::make(&dir, segment, bytes)).ok()
    }

    /// Gives the file its place in the log.
    pub(super) fn place(self, dir: &Path) -> io::Result<(Head, u64, File)> {
        fs::rename(&self.path, path(dir, self.head.segment))?;
        sync_dir(dir)?;
        Ok((self.head, self.bytes, self.file))
    }
}

/// Where a segment lies.
pub(super) fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:010}.wal"))
}

/// The numbers of the segments in `dir`, ascending, and what was being made when the last process ended.
pub(super) fn list(dir: &Path) -> io::Result<(Vec<u64>, Vec<PathBuf>)> {
    let (mut segments, mut leftovers) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
        match (number, path.extension().and_then(|e| e.to_str())) {
            (Some(number), Some("wal")) => segments.push(number),
            (Some(_), Some("tmp")) => leftovers.push(path),
            _ => {}
        }
    }
    segments.sort_unstable();
    Ok((segments, leftovers))
}
