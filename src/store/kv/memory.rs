//! Sans-IO: an engine in memory, for tests and as the model the real engines are checked against.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Batch, Durability, Kv, KvPair, Op, is_empty_range};
use crate::store::StoreError;

type Tables = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// A [`Kv`] that forgets everything when it is dropped.
#[derive(Default, Debug)]
pub struct MemoryKv {
    tables: Mutex<Tables>,
}

impl MemoryKv {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kv for MemoryKv {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.tables().get(table).and_then(|t| t.get(key)).cloned())
    }

    fn scan(&self, table: &str, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<KvPair>, StoreError> {
        if is_empty_range(from, to) {
            return Ok(Vec::new());
        }
        let tables = self.tables();
        let Some(rows) = tables.get(table) else { return Ok(Vec::new()) };
        Ok(rows.range::<[u8], _>((from, to)).take(limit).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn last(&self, table: &str) -> Result<Option<KvPair>, StoreError> {
        Ok(self.tables().get(table).and_then(|t| t.last_key_value()).map(|(k, v)| (k.clone(), v.clone())))
    }

    fn commit(&self, batch: Batch, _durability: Durability) -> Result<(), StoreError> {
        let ops = batch.checked()?;
        let mut tables = self.tables();
        for op in ops {
            match op {
                Op::Put { table, key, value } => {
                    tables.entry(table).or_default().insert(key, value);
                }
                Op::Delete { table, key } => {
                    if let Some(rows) = tables.get_mut(&table) {
                        rows.remove(&key);
                    }
                }
                Op::Clear { table } => {
                    tables.remove(&table);
                }
            }
        }
        Ok(())
    }

    fn dump(
        &self,
        tables: &[&str],
        row: &mut dyn FnMut(&str, &[u8], &[u8]) -> std::io::Result<()>,
    ) -> Result<(), StoreError> {
        let view = self.tables().clone();
        for &table in tables {
            for (key, value) in view.get(table).into_iter().flatten() {
                row(table, key, value)?;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
