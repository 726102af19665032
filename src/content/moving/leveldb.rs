//! Kubo's small datastore, a LevelDB: its pins and the root of its files tree.
//!
//! Opening a LevelDB writes to its folder, so that a copy is opened, never Kubo's own. The library reads on past blocks
//! whose checksum is wrong, and panics at some that are malformed; so every table is checked first, pins are counted
//! against Kubo's index of them, and all of it runs on a thread whose end is looked at.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusty_leveldb::{DB, LdbIterator, Options};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{MoveError, tables};
use crate::{
    base::{Cid, cbor, cid},
    content::ContentError,
    store::{Pin, PinKind, pins::check_name},
};

const PINS: &[u8] = b"/pins/pin/";
const RECURSIVE_INDEX: &[u8] = b"/pins/index/cidRindex/";
const DIRECT_INDEX: &[u8] = b"/pins/index/cidDindex/";
const DIRTY: &[u8] = b"/pins/state/dirty";
const FILES_ROOT: &[u8] = b"/local/filesroot";
/// Longest record of a pin, in bytes.
const MAX_RECORD_BYTES: usize = 64 * 1024;
/// Longest file of a LevelDB, in bytes; Kubo's tables have about 2 MiB.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Files of a LevelDB that hold what is in it.
const ENDINGS: [&str; 3] = ["ldb", "sst", "log"];

/// A copy of the datastore, gone when this is dropped.
pub(super) struct Datastore {
    shown: PathBuf,
    copy: tempfile::TempDir,
}

/// A pin as Kubo writes it down.
#[derive(Deserialize)]
struct Record {
    #[serde(with = "serde_bytes")]
    cid: Vec<u8>,
    mode: u64,
    #[serde(default)]
    name: Option<String>,
}

impl Datastore {
    /// Copies the datastore in `dir` to a new folder in `scratch`; blocks.
    pub fn copy(dir: &Path, scratch: &Path) -> Result<Datastore, ContentError> {
        let copy = tempfile::Builder::new().prefix("import-").tempdir_in(scratch);
        let copy = copy.map_err(|e| ContentError::io(scratch, e))?;
        let entries = fs::read_dir(dir).map_err(|e| ContentError::io(dir, e))?;
        let mut current = false;
        for entry in entries {
            let path = entry.map_err(|e| ContentError::io(dir, e))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            current |= name == "CURRENT";
            if name != "CURRENT" && !name.starts_with("MANIFEST-") && !ENDINGS.contains(&ending) {
                continue;
            }
            let (error, to) = (|e| ContentError::io(&path, e), copy.path().join(name));
            if fs::copy(&path, &to).map_err(error)? > MAX_FILE_BYTES {
                return Err(Self::damaged(&path, format!("it is longer than {MAX_FILE_BYTES} bytes")));
            }
            if ending == "ldb" || ending == "sst" {
                let table = fs::read(&to).map_err(error)?;
                tables::check(&table).map_err(|reason| Self::damaged(&path, reason))?;
            }
        }
        if !current {
            let reason = "it has no file CURRENT, so that it is no LevelDB".into();
            return Err(MoveError::NotOne { dir: dir.into(), reason }.into());
        }
        Ok(Datastore { shown: dir.into(), copy })
    }

    fn damaged(shown: &Path, reason: impl ToString) -> ContentError {
        let reason = format!("{}; start Kubo on it, which repairs what can be, then import again", reason.to_string());
        MoveError::NotOne { dir: shown.into(), reason }.into()
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DB, &Path) -> Result<T, ContentError> + Send + 'static,
    ) -> Result<T, ContentError> {
        let (copy, shown) = (self.copy.path().to_owned(), self.shown.clone());
        let told = shown.clone();
        let task = tokio::task::spawn_blocking(move || {
            let options = Options { create_if_missing: false, ..Options::default() };
            let mut db = DB::open(&copy, options).map_err(|e| Self::damaged(&shown, e))?;
            work(&mut db, &shown)
        });
        match task.await {
            Ok(done) => done,
            Err(_) => Err(Self::damaged(&told, "it is malformed")),
        }
    }

    /// The root of the files tree.
    pub async fn files_root(&self) -> Result<Option<Cid>, ContentError> {
        self.on_thread(|db, shown| {
            let Some(bytes) = db.get(FILES_ROOT) else { return Ok(None) };
            cid::from_bytes(&bytes).map(Some).map_err(|e| Self::damaged(shown, format!("the files tree's root: {e}")))
        })
        .await
    }

    /// Sends every pin.
    pub async fn pins(&self, sender: mpsc::Sender<Result<Pin, ContentError>>) -> Result<(), ContentError> {
        self.on_thread(move |db, shown| {
            let broken = |e: rusty_leveldb::Status| Self::damaged(shown, e);
            let (mut recursive, mut direct) = (0u64, 0u64);
            let mut rows = db.new_iter().map_err(broken)?;
            each(&mut rows, PINS, |_, value| {
                let Some(pin) = read(value).map_err(|reason| Self::damaged(shown, reason))? else { return Ok(true) };
                match pin.kind {
                    PinKind::Recursive => recursive += 1,
                    PinKind::Direct => direct += 1,
                }
                // Who does not want them any more has said why.
                Ok(sender.blocking_send(Ok(pin)).is_ok())
            })?;
            // A Kubo that was killed mends its index when it starts; until then it says nothing.
            if db.get(DIRTY).is_some_and(|flag| flag.first() == Some(&1)) {
                return Ok(());
            }
            for (index, found) in [(RECURSIVE_INDEX, recursive), (DIRECT_INDEX, direct)] {
                let mut listed = 0u64;
                let mut rows = db.new_iter().map_err(broken)?;
                each(&mut rows, index, |_, _| {
                    listed += 1;
                    Ok(true)
                })?;
                if listed != found {
                    return Err(Self::damaged(shown, format!("{found} pins can be read, and its index has {listed}")));
                }
            }
            Ok(())
        })
        .await
    }
}

/// Every row whose key begins with `prefix`, until `row` says no.
fn each(
    rows: &mut impl LdbIterator,
    prefix: &[u8],
    mut row: impl FnMut(&[u8], &[u8]) -> Result<bool, ContentError>,
) -> Result<(), ContentError> {
    rows.seek(prefix);
    while rows.valid() {
        let Some((key, value)) = rows.current() else { break };
        if !key.starts_with(prefix) || !row(&key, &value)? {
            break;
        }
        rows.advance();
    }
    Ok(())
}

/// A pin's record; `None` for kinds that keep nothing by themselves.
fn read(bytes: &[u8]) -> Result<Option<Pin>, String> {
    let record: Record = cbor::from_slice(bytes, MAX_RECORD_BYTES).map_err(|e| format!("the record of a pin: {e}"))?;
    let cid = cid::from_bytes(&record.cid).map_err(|e| format!("the record of a pin: {e}"))?;
    let kind = match record.mode {
        0 => PinKind::Recursive,
        1 => PinKind::Direct,
        _ => return Ok(None),
    };
    let name = record.name.filter(|name| !name.is_empty());
    check_name(name.as_deref()).map_err(|e| e.to_string())?;
    Ok(Some(Pin { cid, kind, name }))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn unpacked() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kubo-repo.tar.gz");
        let status = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(dir.path()).status().unwrap();
        assert!(status.success());
        dir
    }

    async fn pins(dir: &Path) -> Result<usize, ContentError> {
        let datastore = Datastore::copy(&dir.join("kubo/datastore"), dir)?;
        let (sender, mut found) = mpsc::channel(100);
        datastore.pins(sender).await?;
        let mut count = 0;
        while let Some(pin) = found.recv().await {
            pin?;
            count += 1;
        }
        datastore.files_root().await?;
        Ok(count)
    }

    #[tokio::test]
    async fn no_damaged_table_loses_a_pin_silently() {
        let dir = unpacked();
        assert_eq!(pins(dir.path()).await.unwrap(), 5);
        let (mut noticed, mut tried) = (0, 0);
        for entry in fs::read_dir(dir.path().join("kubo/datastore")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "ldb") {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            for at in (0..bytes.len()).step_by(23) {
                let mut bent = bytes.clone();
                bent[at] ^= 0x55;
                fs::write(&path, bent).unwrap();
                tried += 1;
                match pins(dir.path()).await {
                    Ok(count) => assert_eq!(count, 5, "{} at {at}", path.display()),
                    Err(_) => noticed += 1,
                }
            }
            fs::write(&path, bytes).unwrap();
        }
        assert!(noticed * 5 > tried * 3, "{noticed} of {tried}");
        assert_eq!(pins(dir.path()).await.unwrap(), 5);
    }

    #[test]
    fn records_of_pins_have_limits() {
        // {"cid": h'..', "mode": 0} of the empty directory, and what is none.
        let mut record = vec![0xa2, 0x63, b'c', b'i', b'd', 0x58, 34];
        record.extend(cid::parse("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn").unwrap().to_bytes());
        record.extend([0x64, b'm', b'o', b'd', b'e', 0]);
        assert_eq!(read(&record).unwrap().unwrap().kind, PinKind::Recursive);
        *record.last_mut().unwrap() = 1;
        assert_eq!(read(&record).unwrap().unwrap().kind, PinKind::Direct);
        *record.last_mut().unwrap() = 3;
        assert!(read(&record).unwrap().is_none());
        assert!(read(&record[..20]).is_err());
        assert!(read(&vec![0; MAX_RECORD_BYTES + 1]).is_err());
    }
}
