//! The redb engine: everything that must survive a power cut.

use std::{
    fs, io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::{Batch, Durability, Kv, KvPair, Op, is_empty_range};
use crate::store::{
    StoreError,
    files::{Lock, sync_dir},
};

type Table<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;
type OpenTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A redb file.
pub(crate) struct RedbKv {
    db: Database,
    path: PathBuf,
    // The folder must not be given away while the file is open.
    _lock: Option<Arc<Lock>>,
}

fn failed(e: impl Into<redb::Error>) -> StoreError {
    match e.into() {
        redb::Error::Io(source) => StoreError::io("using a redb file")(source),
        redb::Error::Corrupted(reason) => StoreError::Damaged { what: "a redb file".into(), offset: 0, reason },
        redb::Error::PreviousIo => StoreError::Poisoned { reason: "an earlier write to a redb file failed".into() },
        other => StoreError::Engine { engine: "redb", reason: other.to_string() },
    }
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> StoreError {
    let reason = format!("{reason}; restore it from a backup");
    StoreError::Damaged { what: path.display().to_string(), offset: 0, reason }
}

impl RedbKv {
    /// Opens the file at `path`, making a missing one, with a page cache of `cache_bytes`.
    pub(crate) fn open(path: &Path, cache_bytes: usize, lock: Option<Arc<Lock>>) -> Result<Self, StoreError> {
        // redb gives a new file its length before its first bytes, and refuses one that has the first alone; so it gets
        // its name when it is whole. An empty one is from before that.
        let fresh = fs::metadata(path).map_or(true, |found| found.len() == 0);
        let made = path.with_extension("redb.tmp");
        let _ = fs::remove_file(&made);
        let place = if fresh { &made } else { path };
        let db = Database::builder().set_cache_size(cache_bytes).create(place).map_err(|e| match e.into() {
            redb::Error::Corrupted(reason) => damaged(path, &reason),
            redb::Error::Io(e) if e.kind() == io::ErrorKind::InvalidData => damaged(path, &e),
            other => failed(other),
        })?;
        if fresh {
            let io = StoreError::io("making a redb file");
            fs::rename(&made, path).map_err(&io)?;
            path.parent().map_or(Ok(()), sync_dir).map_err(&io)?;
        }
        Ok(RedbKv { db, path: path.into(), _lock: lock })
    }

    fn table(&self, view: &ReadTransaction, name: &str) -> Result<Option<OpenTable>, StoreError> {
        match view.open_table(Table::new(name)) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }
}

impl Kv for RedbKv {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let view = self.db.begin_read().map_err(failed)?;
        let Some(rows) = self.table(&view, table)? else { return Ok(None) };
        Ok(rows.get(key).map_err(failed)?.map(|v| v.value().to_vec()))
    }

    fn scan(&self, table: &str, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<KvPair>, StoreError> {
        if is_empty_range(from, to) {
            return Ok(Vec::new());
        }
        let view = self.db.begin_read().map_err(failed)?;
        let Some(rows) = self.table(&view, table)? else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        for row in rows.range::<&[u8]>((from, to)).map_err(failed)?.take(limit) {
            let (key, value) = row.map_err(failed)?;
            out.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(out)
    }

    fn last(&self, table: &str) -> Result<Option<KvPair>, StoreError> {
        let view = self.db.begin_read().map_err(failed)?;
        let Some(rows) = self.table(&view, table)? else { return Ok(None) };
        Ok(rows.last().map_err(failed)?.map(|(k, v)| (k.value().to_vec(), v.value().to_vec())))
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        let ops = batch.checked()?;
        let mut txn = self.db.begin_write().map_err(failed)?;
        let level = match durability {
            Durability::Immediate => redb::Durability::Immediate,
            Durability::Lazy => redb::Durability::None,
        };
        txn.set_durability(level).map_err(failed)?;
        let mut ops = ops.into_iter().peekable();
        while let Some(op) = ops.next() {
            if let Op::Clear { table } = &op {
                txn.delete_table(Table::new(table)).map_err(failed)?;
                continue;
            }
            // Neighbouring changes of one table share its opening, which costs more than a change.
            let name = op.table().to_owned();
            let mut rows = txn.open_table(Table::new(&name)).map_err(failed)?;
            let mut next = Some(op);
            while let Some(op) = next {
                match op {
                    Op::Put { key, value, .. } => drop(rows.insert(&key[..], &value[..]).map_err(failed)?),
                    Op::Delete { key, .. } => drop(rows.remove(&key[..]).map_err(failed)?),
                    Op::Clear { .. } => {}
                }
                next = ops.next_if(|op| op.table() == name && !matches!(op, Op::Clear { .. }));
            }
        }
        txn.commit().map_err(failed)
    }

    fn dump(
        &self,
        tables: &[&str],
        row: &mut dyn FnMut(&str, &[u8], &[u8]) -> std::io::Result<()>,
    ) -> Result<(), StoreError> {
        let view = self.db.begin_read().map_err(failed)?;
        for &table in tables {
            let Some(rows) = self.table(&view, table)? else { continue };
            for pair in rows.iter().map_err(failed)? {
                let (key, value) = pair.map_err(failed)?;
                row(table, key.value(), value.value())?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), StoreError> {
        // Twice, so that both of redb's roots lead to the same pages.
        self.sync()?;
        self.sync()?;
        let copy = self.path.with_extension("redb.check");
        let io = StoreError::io("copying a redb file to check it");
        let checked = || -> Result<(), StoreError> {
            {
                // redb checks only a file that nobody uses; nobody commits while it is copied.
                let _still = self.db.begin_write().map_err(failed)?;
                fs::copy(&self.path, &copy).map_err(&io)?;
            }
            let opened = Database::builder().set_cache_size(1 << 20).open(&copy);
            let mut db = opened.map_err(|e| damaged(&self.path, &e))?;
            match db.check_integrity() {
                Ok(true) => Ok(()),
                Ok(false) => Err(damaged(&self.path, &"its checksums are not those of what it holds")),
                Err(e) => Err(damaged(&self.path, &e)),
            }
        };
        let outcome = checked();
        let _ = fs::remove_file(&copy);
        outcome
    }

    fn sync(&self) -> Result<(), StoreError> {
        // An immediate commit, empty though it is, makes the lazy ones before it durable.
        self.commit(Batch::new(), Durability::Immediate)
    }
}
