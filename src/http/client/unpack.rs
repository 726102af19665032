//! Writes a tar stream to disk without ever leaving the output folder: names may hold no `..`, no existing symlink is
//! followed, and a file appears under its name only when it is whole.

use std::{
    collections::HashSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use bytes::{Buf, BytesMut};
use tokio::{fs, io::AsyncWriteExt};

use super::{ClientError, Reply};
use crate::base::{Kind, random};

const RECORD_BYTES: usize = 512;
/// Longest name or symlink target.
const NAME_LIMIT_BYTES: u64 = 16 * 1024;
/// Bytes handed to the disk at a time, at most.
const PIECE_BYTES: usize = 1024 * 1024;

pub(super) struct Unpacker {
    reply: Reply,
    buffer: BytesMut,
    out: PathBuf,
    folders: HashSet<PathBuf>,
    bytes: u64,
    files: u64,
}

/// A record's header, as far as it matters.
struct Header {
    kind: u8,
    size: u64,
    name: Vec<u8>,
    target: Vec<u8>,
}

impl Unpacker {
    pub fn new(reply: Reply, out: &Path) -> Self {
        Unpacker { reply, buffer: BytesMut::new(), out: out.to_owned(), folders: HashSet::new(), bytes: 0, files: 0 }
    }

    /// Writes everything; gives where the root is, the bytes and the files.
    pub async fn run(mut self, progress: &mut impl FnMut(u64)) -> Result<(PathBuf, u64, u64), ClientError> {
        let (mut long_name, mut long_target) = (None, None);
        let mut root: Option<PathBuf> = None;
        loop {
            let Some(mut header) = self.header().await? else { break };
            match header.kind {
                b'L' => long_name = Some(self.text(header.size).await?),
                b'K' => long_target = Some(self.text(header.size).await?),
                b'x' => {
                    for (key, value) in pax(&self.text(header.size).await?)? {
                        match key.as_slice() {
                            b"path" => long_name = Some(value),
                            b"linkpath" => long_target = Some(value),
                            _ => {}
                        }
                    }
                }
                b'g' => drop(self.text(header.size).await?),
                _ => {
                    header.name = long_name.take().unwrap_or(header.name);
                    header.target = long_target.take().unwrap_or(header.target);
                    let name = std::mem::take(&mut header.name);
                    let parts = parts(&name)?;
                    let base = match &root {
                        Some(base) => base.clone(),
                        None => {
                            let base = self.root(&header, parts[0]).await?;
                            root.insert(base).clone()
                        }
                    };
                    self.entry(&base, &parts[1..], header, progress).await?;
                }
            }
        }
        // What follows the end mark must still be read, for an error may stand at the very end.
        while self.reply.next().await?.is_some() {}
        let root = root.ok_or_else(|| malformed("an empty archive"))?;
        Ok((root, self.bytes, self.files))
    }

    /// Where the root goes: `out` itself, or into it when it is a folder and the root is none.
    async fn root(&mut self, header: &Header, name: &[u8]) -> Result<PathBuf, ClientError> {
        let there = fs::metadata(&self.out).await.is_ok_and(|m| m.is_dir());
        if there {
            // Given by the caller, who may well mean a symlink to a folder.
            self.folders.insert(self.out.clone());
        }
        Ok(if there && header.kind != b'5' { self.out.join(OsStr::from_bytes(name)) } else { self.out.clone() })
    }

    async fn entry(
        &mut self,
        base: &Path,
        below: &[&[u8]],
        header: Header,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), ClientError> {
        let mut path = base.to_owned();
        if !below.is_empty() {
            self.folder(&path).await?;
        }
        for (i, part) in below.iter().enumerate() {
            path.push(OsStr::from_bytes(part));
            if i + 1 < below.len() {
                self.folder(&path).await?;
            }
        }
        match header.kind {
            b'5' => self.folder(&path).await,
            b'2' => self.symlink(&path, &header.target).await,
            b'0' | 0 => self.file(&path, header.size, progress).await,
            other => Err(malformed(&format!("an entry of kind {:?}", other as char))),
        }
    }

    /// Makes sure that `path` is a real folder.
    async fn folder(&mut self, path: &Path) -> Result<(), ClientError> {
        if self.folders.contains(path) {
            return Ok(());
        }
        match fs::create_dir(path).await {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                let kind = fs::symlink_metadata(path).await;
                if !kind.map_err(|e| ClientError::file(path, &e))?.is_dir() {
                    return Err(refused(path, "is in the way and no folder; nothing is written through it"));
                }
            }
            Err(e) => return Err(ClientError::file(path, &e)),
        }
        self.folders.insert(path.to_owned());
        Ok(())
    }

    async fn symlink(&mut self, path: &Path, target: &[u8]) -> Result<(), ClientError> {
        let part = beside(path);
        fs::symlink(OsStr::from_bytes(target), &part).await.map_err(|e| ClientError::file(path, &e))?;
        self.put_in_place(&part, path).await?;
        self.files += 1;
        Ok(())
    }

    async fn file(&mut self, path: &Path, size: u64, progress: &mut impl FnMut(u64)) -> Result<(), ClientError> {
        let part = beside(path);
        let written = self.write(&part, path, size, progress).await;
        if let Err(error) = written {
            let _ = fs::remove_file(&part).await;
            return Err(error);
        }
        self.put_in_place(&part, path).await?;
        self.files += 1;
        Ok(())
    }

    async fn write(
        &mut self,
        part: &Path,
        path: &Path,
        size: u64,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), ClientError> {
        let fail = |e: std::io::Error| ClientError::file(path, &e);
        let mut file = fs::File::create_new(part).await.map_err(fail)?;
        let mut left = size;
        while left > 0 {
            self.fill(1).await?;
            let n = self.buffer.len().min(PIECE_BYTES).min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&self.buffer[..n]).await.map_err(fail)?;
            self.buffer.advance(n);
            left -= n as u64;
            self.bytes += n as u64;
            progress(self.bytes);
        }
        file.flush().await.map_err(fail)?;
        self.skip_padding(size).await
    }

    /// Renaming replaces a symlink instead of following it.
    async fn put_in_place(&self, part: &Path, path: &Path) -> Result<(), ClientError> {
        match fs::rename(part, path).await {
            Ok(()) => Ok(()),
            Err(e) => {
                let _ = fs::remove_file(part).await;
                Err(ClientError::file(path, &e))
            }
        }
    }

    /// The next header; `None` at the end mark.
    async fn header(&mut self) -> Result<Option<Header>, ClientError> {
        self.fill(RECORD_BYTES).await?;
        let record = self.buffer.split_to(RECORD_BYTES);
        if record.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        let stated = octal(&record[148..156])?;
        let sum: u64 =
            record.iter().enumerate().map(|(i, &b)| if (148..156).contains(&i) { 32 } else { u64::from(b) }).sum();
        if sum != stated {
            return Err(malformed("a header whose checksum is wrong"));
        }
        let until_zero = |bytes: &[u8]| bytes.split(|&b| b == 0).next().unwrap_or_default().to_vec();
        let mut name = until_zero(&record[0..100]);
        if &record[257..262] == b"ustar" && record[345] != 0 && record[263..265] == *b"00" {
            let mut whole = until_zero(&record[345..500]);
            whole.push(b'/');
            whole.append(&mut name);
            name = whole;
        }
        let size = if record[124] & 0x80 != 0 {
            record[128..136].iter().fold(0u64, |n, &b| n << 8 | u64::from(b))
        } else {
            octal(&record[124..136])?
        };
        Ok(Some(Header { kind: record[156], size, name, target: until_zero(&record[157..257]) }))
    }

    /// A record's content as text, without the zero at its end.
    async fn text(&mut self, size: u64) -> Result<Vec<u8>, ClientError> {
        if size > NAME_LIMIT_BYTES {
            return Err(malformed("a name of over 16 KiB"));
        }
        let n = size as usize;
        self.fill(n).await?;
        let mut text = self.buffer.split_to(n).to_vec();
        while text.last() == Some(&0) {
            text.pop();
        }
        self.skip_padding(size).await?;
        Ok(text)
    }

    async fn skip_padding(&mut self, size: u64) -> Result<(), ClientError> {
        let odd = (size % RECORD_BYTES as u64) as usize;
        if odd > 0 {
            self.fill(RECORD_BYTES - odd).await?;
            self.buffer.advance(RECORD_BYTES - odd);
        }
        Ok(())
    }

    async fn fill(&mut self, bytes: usize) -> Result<(), ClientError> {
        while self.buffer.len() < bytes {
            match self.reply.next().await? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => return Err(ClientError::Broken { reason: "the archive ends in the middle".into() }),
            }
        }
        Ok(())
    }
}

/// The parts of a name; at least one, none of which leads elsewhere.
fn parts(name: &[u8]) -> Result<Vec<&[u8]>, ClientError> {
    let trimmed = name.strip_suffix(b"/").unwrap_or(name);
    let parts: Vec<&[u8]> = trimmed.split(|&b| b == b'/').collect();
    if parts.iter().any(|p| p.is_empty() || *p == b"." || *p == b".." || p.contains(&0)) {
        let shown = String::from_utf8_lossy(name).into_owned();
        return Err(refused(Path::new(&shown), "would be written outside the output folder; it is refused"));
    }
    Ok(parts)
}

fn pax(text: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, ClientError> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let record = std::str::from_utf8(rest.split(|&b| b == b' ').next().unwrap_or_default())
            .ok()
            .and_then(|n| n.parse::<usize>().ok())
            .and_then(|n| rest.get(..n))
            .ok_or_else(|| malformed("a broken extended header"))?;
        let (_, pair) = split_once(record, b' ').ok_or_else(|| malformed("a broken extended header"))?;
        let (key, value) = split_once(pair, b'=').ok_or_else(|| malformed("a broken extended header"))?;
        out.push((key.to_vec(), value.strip_suffix(b"\n").unwrap_or(value).to_vec()));
        rest = &rest[record.len()..];
    }
    Ok(out)
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let i = bytes.iter().position(|&b| b == at)?;
    Some((&bytes[..i], &bytes[i + 1..]))
}

fn octal(field: &[u8]) -> Result<u64, ClientError> {
    let text = std::str::from_utf8(field).map_err(|_| malformed("a number that is none"))?;
    let text = text.trim_matches(|c| c == ' ' || c == '\0');
    if text.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(text, 8).map_err(|_| malformed("a number that is none"))
}

/// A name beside `path` for a file that is not whole yet.
fn beside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.part", data_encoding::HEXLOWER.encode(&random::bytes::<8>())))
}

fn malformed(what: &str) -> ClientError {
    ClientError::Malformed { reason: format!("its archive holds {what}") }
}

fn refused(path: &Path, why: &str) -> ClientError {
    ClientError::File { path: path.display().to_string(), kind: Kind::Denied, reason: why.into() }
}
