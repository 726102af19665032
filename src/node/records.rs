//! Keeps DHT records in the repo's soft store.

use std::{ops::Bound, sync::Arc};

use crate::{
    net::{DhtStore, StoreChange},
    store::{Batch, Durability, Kv},
};

/// The table of DHT records.
const TABLE: &str = "dht";

/// DHT records in a key-value store.
pub struct Records(Arc<dyn Kv>);

impl Records {
    /// Records kept in `soft`.
    pub fn new(soft: Arc<dyn Kv>) -> Self {
        Records(soft)
    }
}

impl DhtStore for Records {
    fn load(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, String> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.scan(TABLE, from, Bound::Unbounded, limit).map_err(|e| e.to_string())
    }

    fn write(&self, changes: Vec<StoreChange>) -> Result<(), String> {
        let mut batch = Batch::new();
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(TABLE, key, value),
                None => batch.delete(TABLE, key),
            }
        }
        self.0.commit(batch, Durability::Lazy).map_err(|e| e.to_string())
    }
}
