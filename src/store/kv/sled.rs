//! The sled engine: what can be relearnt. A damaged folder is moved aside and begun anew; while there is none that works
//! (a full disk, say), everything is found empty and nothing is kept. Neither is an error to anyone.
//!
//! sled's flush survives the end of the process but not a power cut, and its data is a cache of the network's anyway;
//! so nothing here is promised beyond "what is read back was written".

use std::{
    fs, io,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use super::{Batch, Durability, Kv, KvPair, Op, check_table, is_empty_range};
use crate::{
    base::time,
    store::{StoreError, files::Lock},
};

/// How often written data is flushed in the background, in milliseconds.
const FLUSH_EVERY_MS: u64 = 1_000;
/// How often, and after which wait, the lock of an engine that is being closed is tried again.
const LOCK_TRIES: u32 = 100;
/// See [`LOCK_TRIES`].
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// How long a folder that did not work is left alone before it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A sled folder.
pub(crate) struct SledKv {
    dir: PathBuf,
    cache_bytes: u64,
    state: RwLock<State>,
    // The folder must not be given away while it is open.
    _lock: Option<Arc<Lock>>,
}

enum State {
    Open(sled::Db),
    /// It did not work, last at this time.
    Away(Instant),
}

/// Why an operation did not work out.
#[derive(Debug)]
enum Trouble {
    /// The folder's content cannot be used any more.
    Damaged(String),
    /// The system refused.
    Io(io::Error),
}

fn guard<T>(run: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, Trouble> {
    // Many of sled's checks of what it reads are assertions.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(e))) if !suspicious(&e) => Err(Trouble::Io(e)),
        Ok(Err(e)) => Err(Trouble::Damaged(e.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Err(Trouble::Damaged(text.unwrap_or_else(|| "it panicked".into())))
        }
    }
}

/// Errors that sled reports as the system's but that come from files which are not what it wrote.
fn suspicious(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotFound
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::Other
    )
}

/// Opens the engine. One that this process has just let go of gives its file's lock back from a thread of its own, so
/// that is waited for.
fn open_db(dir: &Path, cache_bytes: u64) -> Result<sled::Db, Trouble> {
    for _ in 0..LOCK_TRIES {
        match try_open(dir, cache_bytes) {
            Err(Trouble::Damaged(reason)) if reason.contains("could not acquire lock") => {
                // There is no event to wait on.
                #[allow(clippy::disallowed_methods)]
                std::thread::sleep(LOCK_WAIT);
            }
            outcome => return outcome,
        }
    }
    Err(Trouble::Io(io::Error::new(io::ErrorKind::WouldBlock, "the engine's files are still in use")))
}

fn try_open(dir: &Path, cache_bytes: u64) -> Result<sled::Db, Trouble> {
    guard(|| {
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .mode(sled::Mode::LowSpace)
            .open()?;
        // Read a little, so that damage shows here and not at the first caller.
        db.iter().take(16).try_for_each(|row| row.map(drop))?;
        Ok(db)
    })
}

/// A table's name and a key, as one key of sled's single tree: one tree is what it can change atomically.
fn full_key(table: &str, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(table.len() + 1 + key.len());
    out.extend_from_slice(table.as_bytes());
    out.push(0);
    out.extend_from_slice(key);
    out
}

/// The first key after every key of `table`.
fn table_end(table: &str) -> Vec<u8> {
    let mut out = table.as_bytes().to_vec();
    out.push(1);
    out
}

impl SledKv {
    /// Opens the folder `dir`. One that cannot be used is moved aside (one such copy is kept) and begun anew; when that
    /// does not work either, it is tried again later.
    pub(crate) fn open(dir: &Path, cache_bytes: u64, lock: Option<Arc<Lock>>) -> Self {
        // Left behind when opening took the whole process down; without it every start would end the same way.
        let marker = dir.with_extension("opening");
        let mut opened = Ok(());
        if marker.exists() {
            tracing::warn!(dir = %dir.display(), "the sled folder could not be opened last time; it is rebuilt");
            opened = set_aside(dir).map_err(Trouble::Io);
        }
        let opened = opened.and_then(|()| {
            fs::write(&marker, b"").map_err(Trouble::Io)?;
            match open_db(dir, cache_bytes) {
                Err(Trouble::Damaged(reason)) => rebuild(dir, cache_bytes, &reason),
                opened => opened,
            }
        });
        let _ = fs::remove_file(&marker);
        let state = match opened {
            Ok(db) => State::Open(db),
            Err(trouble) => without(dir, &trouble),
        };
        SledKv { dir: dir.into(), cache_bytes, state: RwLock::new(state), _lock: lock }
    }

    /// Runs `run`; damage found on the way empties the store, and `run` sees it empty.
    fn with<T: Default>(&self, run: impl Fn(&sled::Db) -> Result<T, sled::Error>) -> Result<T, StoreError> {
        let trouble = match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(db) => match guard(|| run(db)) {
                Ok(value) => return Ok(value),
                Err(trouble) => Some(trouble),
            },
            State::Away(since) if time::now().saturating_duration_since(*since) < RETRY_AFTER => {
                return Ok(T::default());
            }
            State::Away(_) => None,
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *state, State::Away(time::now()));
        // sled flushes when it is dropped, which fails as well and may panic.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(old)));
        let opened = match trouble {
            Some(Trouble::Damaged(reason)) => rebuild(&self.dir, self.cache_bytes, &reason),
            Some(trouble) => Err(trouble),
            None => open_db(&self.dir, self.cache_bytes),
        };
        let outcome = opened.and_then(|db| {
            let value = guard(|| run(&db))?;
            *state = State::Open(db);
            Ok(value)
        });
        Ok(outcome.unwrap_or_else(|trouble| {
            *state = without(&self.dir, &trouble);
            T::default()
        }))
    }
}

#[cfg(test)]
impl SledKv {
    /// Forgets that it did not work.
    pub(super) fn try_now(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::Away(since) = &mut *state {
            *since = since.checked_sub(RETRY_AFTER).unwrap_or(*since);
        }
    }
}

fn rebuild(dir: &Path, cache_bytes: u64, reason: &str) -> Result<sled::Db, Trouble> {
    tracing::warn!(dir = %dir.display(), reason, "the sled folder is damaged; it is moved aside and rebuilt");
    set_aside(dir).map_err(Trouble::Io)?;
    open_db(dir, cache_bytes)
}

fn without(dir: &Path, trouble: &Trouble) -> State {
    let reason = match trouble {
        Trouble::Damaged(reason) => reason.clone(),
        Trouble::Io(e) => e.to_string(),
    };
    tracing::warn!(dir = %dir.display(), reason, "the sled folder cannot be used; what is learnt is not kept until it can");
    State::Away(time::now())
}

/// Moves a folder out of the way; the copy of an earlier time is given up.
fn set_aside(dir: &Path) -> io::Result<()> {
    let aside = dir.with_extension("damaged");
    let remove = |path: &Path| match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    remove(&aside)?;
    match fs::rename(dir, &aside) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Kv for SledKv {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let key = full_key(table, key);
        self.with(|db| Ok(db.get(&key)?.map(|v| v.to_vec())))
    }

    fn scan(&self, table: &str, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<KvPair>, StoreError> {
        check_table(table)?;
        if is_empty_range(from, to) {
            return Ok(Vec::new());
        }
        let skip = table.len() + 1;
        let from = match from {
            Bound::Unbounded => Bound::Included(full_key(table, b"")),
            bound => bound.map(|key| full_key(table, key)),
        };
        let to = match to {
            Bound::Unbounded => Bound::Excluded(table_end(table)),
            bound => bound.map(|key| full_key(table, key)),
        };
        self.with(|db| {
            let rows = db.range((from.clone(), to.clone())).take(limit);
            rows.map(|row| row.map(|(k, v)| (k[skip..].to_vec(), v.to_vec()))).collect()
        })
    }

    fn last(&self, table: &str) -> Result<Option<KvPair>, StoreError> {
        check_table(table)?;
        let skip = table.len() + 1;
        self.with(|db| {
            let row = db.range(full_key(table, b"")..table_end(table)).next_back().transpose()?;
            Ok(row.map(|(k, v)| (k[skip..].to_vec(), v.to_vec())))
        })
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        let ops = batch.checked()?;
        self.with(|db| {
            let mut changes = sled::Batch::default();
            for op in &ops {
                match op {
                    Op::Put { table, key, value } => changes.insert(full_key(table, key), &value[..]),
                    Op::Delete { table, key } => changes.remove(full_key(table, key)),
                    Op::Clear { table } => {
                        // Keys put earlier in this batch are not in the tree yet but must go too.
                        for earlier in &ops {
                            match earlier {
                                Op::Put { table: t, key, .. } if t == table => changes.remove(full_key(t, key)),
                                _ => {}
                            }
                            if std::ptr::eq(earlier, op) {
                                break;
                            }
                        }
                        for row in db.range(full_key(table, b"")..table_end(table)) {
                            changes.remove(row?.0);
                        }
                    }
                }
            }
            db.apply_batch(changes)?;
            if durability == Durability::Immediate {
                db.flush()?;
            }
            Ok(())
        })
    }

    fn dump(
        &self,
        tables: &[&str],
        row: &mut dyn FnMut(&str, &[u8], &[u8]) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        // sled has no read views, so the rows are copied first; this engine holds small things only.
        let rows = tables.iter().map(|t| self.scan(t, Bound::Unbounded, Bound::Unbounded, usize::MAX));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        for (table, rows) in tables.iter().zip(rows) {
            for (key, value) in rows {
                row(table, &key, &value)?;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.with(|db| db.flush().map(drop))
    }
}
