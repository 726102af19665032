//! Checking everything in a repo but the blocks' bytes, which [`super::Blocks::verify`] hashes: small files, key-value
//! files, logs, checkpoints.

use std::{fs, io, path::Path};

use super::{
    Repo, StoreError,
    repo::{ID_FILE, KEY_FILE, VERSION_FILE, check_version, decode_id, read_key},
    wal,
};
use crate::{base::Cid, store::files::read_small};

/// Something of a repo that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, from the repo's folder on.
    pub file: String,
    /// Where in it, in bytes; `None` where it is the whole.
    pub offset: Option<u64>,
    /// Which block it is about, where it is about one and that can be told.
    pub cid: Option<Cid>,
    /// What is wrong, and what to do.
    pub reason: String,
    /// Whether it was built anew and is whole now.
    pub mended: bool,
}

impl Fault {
    /// A fault of a whole file.
    pub fn of(file: impl Into<String>, reason: impl ToString) -> Self {
        Fault { file: file.into(), offset: None, cid: None, reason: reason.to_string(), mended: false }
    }
}

impl Repo {
    /// Checks all files but the blocks' own, and builds anew what can be; blocks. An error only where nothing can be told.
    pub fn check_files(&self) -> Result<Vec<Fault>, StoreError> {
        let mut out = Vec::new();
        let dir = self.dir();
        let mut note = |file: &str, checked: Result<(), StoreError>| {
            if let Err(error) = checked {
                out.push(fault(file, &error));
            }
        };
        note(VERSION_FILE, check_version(dir));
        note(ID_FILE, check_id(self));
        note(KEY_FILE, check_key(self));
        note("repo.redb", self.check_tables());
        for name in names(dir, ".redb")? {
            let checked = self.open_kv(&name).and_then(|kv| kv.check());
            note(&format!("{name}.redb"), checked);
        }
        for name in names(&dir.join("raft"), "")? {
            let log = dir.join("raft").join(&name);
            if log.is_dir() {
                note(&format!("raft/{name}"), wal::check(&log));
            }
        }
        out.extend(self.blocks().check_checkpoints()?);
        Ok(out)
    }

    /// Whether every row of pins, holds and roots is one.
    fn check_tables(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.pins().list(after.as_ref(), 4096)?;
            let Some(last) = page.last() else { break };
            after = Some(last.cid);
        }
        self.pins().holds("")?;
        self.files_root().map(drop)
    }
}

fn check_id(repo: &Repo) -> Result<(), StoreError> {
    let text = read_small(&repo.dir().join(ID_FILE)).map_err(StoreError::io("reading the storage id"))?;
    match text.as_deref().and_then(decode_id) {
        Some(id) if id == repo.storage_id() => Ok(()),
        _ => Err(other(ID_FILE, "it is not what it was when the repo was opened; restore it from a backup")),
    }
}

fn check_key(repo: &Repo) -> Result<(), StoreError> {
    match read_key(repo.dir())? {
        Some(key) if key.public() == repo.keypair().public() => Ok(()),
        _ => Err(other(KEY_FILE, "it is not the key the repo was opened with; restore it from a backup")),
    }
}

fn other(what: &str, reason: &str) -> StoreError {
    StoreError::Damaged { what: what.into(), offset: 0, reason: reason.into() }
}

/// The names in a folder that end so, without the ending; none when it is not there.
fn names(dir: &Path, ending: &str) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::io("listing the repo")(e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        let name = entry.map_err(StoreError::io("listing the repo"))?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(ending)) {
            out.push(name.to_owned());
        }
    }
    out.sort_unstable();
    Ok(out)
}

/// The fault in an error; what is damaged says itself which file and where.
fn fault(file: &str, error: &StoreError) -> Fault {
    match error {
        StoreError::Damaged { what, offset, reason } => {
            // A path, or words such as "the table of pins".
            let name = what.rsplit_once('/').map(|(_, name)| name).filter(|name| !file.ends_with(name));
            let file = name.map_or_else(|| file.to_owned(), |name| format!("{file}/{name}"));
            Fault { file, offset: Some(*offset), cid: None, reason: reason.clone(), mended: false }
        }
        other => Fault::of(file, other),
    }
}
