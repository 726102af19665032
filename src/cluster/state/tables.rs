//! Sans-IO: the state's tables in a key-value store.

use std::{fmt, ops::Bound, sync::Arc};

use crate::store::{Batch, Kv};

use super::{
    error::StateError,
    view::{Change, Row, StateRead},
};

/// [`StateRead`] over a store's file. Cheap to clone.
#[derive(Clone)]
pub struct KvTables(pub Arc<dyn Kv>);

impl fmt::Debug for KvTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KvTables")
    }
}

impl StateRead for KvTables {
    fn get(&self, table: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.0.get(table, key).map_err(|e| StateError::Storage(e.to_string()))
    }

    fn range(&self, table: &'static str, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StateError> {
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.scan(table, Bound::Included(from), end, limit).map_err(|e| StateError::Storage(e.to_string()))
    }
}

/// Adds the changes of an overlay to a batch.
pub fn fill(batch: &mut Batch, changes: Vec<Change>) {
    for (table, key, value) in changes {
        match value {
            Some(value) => batch.put(table, key, value),
            None => batch.delete(table, key),
        }
    }
}
