//! Sans-IO: the face of every key-value engine: tables of ordered byte keys, atomic batches, two durabilities.

use std::ops::Bound;

use super::error::StoreError;

mod memory;
mod redb;
mod sled;
#[cfg(test)]
mod tests;

pub(crate) use self::redb::RedbKv;
pub(crate) use self::sled::SledKv;
pub use memory::MemoryKv;

/// Longest table name, in bytes.
pub const MAX_TABLE_BYTES: usize = 64;
/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 4 * 1024;
/// Longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024 * 1024;

/// A key and its value.
pub type KvPair = (Vec<u8>, Vec<u8>);

/// A key-value engine. Calls block; callers on the async runtime use `spawn_blocking` for commits and long scans.
pub trait Kv: Send + Sync + 'static {
    /// The value of `key`; a table never written to is empty.
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// At most `limit` rows between the bounds, in ascending order of keys.
    fn scan(&self, table: &str, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<KvPair>, StoreError>;
    /// The row with the greatest key.
    fn last(&self, table: &str) -> Result<Option<KvPair>, StoreError>;
    /// Applies all of `batch` or nothing, in its order. Visible to every reader on return; durable at once or at the
    /// next [`Kv::sync`], as `durability` says.
    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StoreError>;
    /// Calls `row` with (table, key, value) for every row of `tables`, in the order given and ascending keys, all in
    /// one read view: commits made meanwhile are not seen. Stops at the first error of `row`.
    #[allow(clippy::type_complexity)]
    fn dump(
        &self,
        tables: &[&str],
        row: &mut dyn FnMut(&str, &[u8], &[u8]) -> std::io::Result<()>,
    ) -> Result<(), StoreError>;
    /// Checks that the bytes on the disk are what was written, where the engine can tell; commits wait meanwhile.
    fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
    /// Makes everything committed before durable.
    fn sync(&self) -> Result<(), StoreError>;
}

/// When a commit survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the commit returns.
    Immediate,
    /// After the next sync or immediate commit; a crash before may undo it, but never a part of it.
    Lazy,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Put { table: String, key: Vec<u8>, value: Vec<u8> },
    Delete { table: String, key: Vec<u8> },
    Clear { table: String },
}

impl Op {
    /// The table it changes.
    pub(crate) fn table(&self) -> &str {
        match self {
            Op::Put { table, .. } | Op::Delete { table, .. } | Op::Clear { table } => table,
        }
    }
}

/// Changes that are applied together, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    ops: Vec<Op>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, table: &str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push(Op::Put { table: table.into(), key: key.into(), value: value.into() });
    }

    /// Removes `key`; no error when it is not there.
    pub fn delete(&mut self, table: &str, key: impl Into<Vec<u8>>) {
        self.ops.push(Op::Delete { table: table.into(), key: key.into() });
    }

    /// Removes every row of `table`.
    pub fn clear(&mut self, table: &str) {
        self.ops.push(Op::Clear { table: table.into() });
    }

    /// How many changes it holds.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The changes, after checking names and sizes.
    pub(crate) fn checked(self) -> Result<Vec<Op>, StoreError> {
        for op in &self.ops {
            match op {
                Op::Put { table, key, value } => {
                    check_table(table)?;
                    check_key(key)?;
                    if value.len() > MAX_VALUE_BYTES {
                        return Err(too_long("a value", value.len(), MAX_VALUE_BYTES));
                    }
                }
                Op::Delete { table, key } => {
                    check_table(table)?;
                    check_key(key)?;
                }
                Op::Clear { table } => check_table(table)?,
            }
        }
        Ok(self.ops)
    }
}

/// Whether the bounds can hold no key; engines differ in what they do with such bounds.
pub(crate) fn is_empty_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Excluded(b)) | (Bound::Excluded(a), Bound::Included(b)) => {
            a >= b
        }
        _ => false,
    }
}

/// Table names are short, printable ASCII, so that every engine can hold them.
pub(crate) fn check_table(table: &str) -> Result<(), StoreError> {
    if table.is_empty() || table.len() > MAX_TABLE_BYTES || !table.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(StoreError::Invalid {
            what: format!("table name {table:?}"),
            reason: format!("use 1 to {MAX_TABLE_BYTES} printable ASCII characters"),
        });
    }
    Ok(())
}

fn check_key(key: &[u8]) -> Result<(), StoreError> {
    if key.len() > MAX_KEY_BYTES { Err(too_long("a key", key.len(), MAX_KEY_BYTES)) } else { Ok(()) }
}

fn too_long(what: &str, bytes: usize, limit: usize) -> StoreError {
    StoreError::Invalid { what: format!("{what} of {bytes} bytes"), reason: format!("the limit is {limit} bytes") }
}
