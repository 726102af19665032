//! Sans-IO: reading tables, and the overlay that commands are applied to before anything is written.

use std::collections::BTreeMap;

use super::error::StateError;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Tables that can be read: a store, a map in a test, or an [`Overlay`].
pub trait StateRead {
    /// The value of a key.
    fn get(&self, table: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;
    /// At most `limit` rows with `from <= key < to` in ascending order; `None` has no end.
    fn range(&self, table: &'static str, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StateError>;
}

impl<T: StateRead + ?Sized> StateRead for &T {
    fn get(&self, table: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        (**self).get(table, key)
    }

    fn range(&self, table: &'static str, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StateError> {
        (**self).range(table, from, to, limit)
    }
}

/// A write: the table, the key, and the new value or `None` to delete.
pub type Change = (&'static str, Vec<u8>, Option<Vec<u8>>);

type Changes = BTreeMap<&'static str, BTreeMap<Vec<u8>, Option<Vec<u8>>>>;

/// Uncommitted changes over a base. Lives for one batch of entries.
pub struct Overlay<'a> {
    base: &'a dyn StateRead,
    changes: Changes,
}

impl<'a> Overlay<'a> {
    /// An overlay without changes.
    pub fn new(base: &'a dyn StateRead) -> Self {
        Overlay { base, changes: BTreeMap::new() }
    }

    /// Sets a key.
    pub fn put(&mut self, table: &'static str, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.changes.entry(table).or_default().insert(key.into(), Some(value));
    }

    /// Deletes a key.
    pub fn delete(&mut self, table: &'static str, key: impl Into<Vec<u8>>) {
        self.changes.entry(table).or_default().insert(key.into(), None);
    }

    /// How many keys were changed.
    pub fn len(&self) -> usize {
        self.changes.values().map(BTreeMap::len).sum()
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The changes by table and key, to be committed at once.
    pub fn into_changes(self) -> Vec<Change> {
        let flat = |(table, keys): (&'static str, BTreeMap<_, _>)| keys.into_iter().map(move |(k, v)| (table, k, v));
        self.changes.into_iter().flat_map(flat).collect()
    }
}

impl StateRead for Overlay<'_> {
    fn get(&self, table: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        match self.changes.get(table).and_then(|keys| keys.get(key)) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(table, key),
        }
    }

    fn range(&self, table: &'static str, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StateError> {
        let Some(keys) = self.changes.get(table) else { return self.base.range(table, from, to, limit) };
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new());
        }
        let end = to.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let bounds = (std::ops::Bound::Included(from), end);
        // Deleted keys may hide as many rows of the base, so that many more are read.
        let hidden = keys.range::<[u8], _>(bounds).filter(|(_, v)| v.is_none()).count();
        let mut rows: BTreeMap<_, _> =
            self.base.range(table, from, to, limit.saturating_add(hidden))?.into_iter().collect();
        for (key, value) in keys.range::<[u8], _>(bounds) {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(rows.into_iter().take(limit).collect())
    }
}
