//! Sans-IO: reading the cluster's state.

use sha2::{Digest, Sha256};

use crate::{
    base::{Cid, NodeId, PeerId},
    cluster::model::{ClusterId, Member, MemberState, PinRecord, TaskId, TaskRecord, TaskState},
};

use super::{
    error::StateError,
    records::{
        self, MEMBER_PEERS, MEMBERS, META, META_KEY, MemberRow, Meta, PIN_CIDS, PINS, PinId, SETTINGS, STATE_TABLES,
        SettingRecord, TASK_STATES, TASKS, TaskRow, node_key,
    },
    tasks::{state_key, state_prefix},
    view::StateRead,
};

/// Rows read at once while walking a table.
const PAGE: usize = 1_000;

/// Typed reads of the state. Each call reads for itself; two calls may see different moments.
#[derive(Clone, Debug)]
pub struct StateReader<R> {
    tables: R,
}

impl<R: StateRead> StateReader<R> {
    /// Reads from `tables`.
    pub fn new(tables: R) -> Self {
        StateReader { tables }
    }

    /// Counts, epoch and time.
    pub fn meta(&self) -> Result<Meta, StateError> {
        meta(&self.tables)
    }

    /// The cluster, once founded.
    pub fn cluster(&self) -> Result<Option<ClusterId>, StateError> {
        Ok(self.meta()?.cluster)
    }

    /// The current members by number.
    pub fn members(&self) -> Result<Vec<Member>, StateError> {
        let mut out = Vec::new();
        walk(&self.tables, MEMBERS, &[], |_, value| {
            let row: MemberRow = records::decode(MEMBERS, value)?;
            if row.member.state != MemberState::Removed {
                out.push(row.member);
            }
            Ok(true)
        })?;
        Ok(out)
    }

    /// A member by number; an ended membership has [`MemberState::Removed`].
    pub fn member(&self, node: NodeId) -> Result<Option<Member>, StateError> {
        Ok(member_row(&self.tables, node)?.map(|row| row.member))
    }

    /// A current member by its network identity.
    pub fn member_by_peer(&self, peer: &PeerId) -> Result<Option<Member>, StateError> {
        match node_of_peer(&self.tables, peer)? {
            Some(node) => self.member(node),
            None => Ok(None),
        }
    }

    /// Whether the number was given and its membership has ended.
    pub fn is_removed(&self, node: NodeId) -> Result<bool, StateError> {
        Ok(self.member(node)?.is_some_and(|m| m.state == MemberState::Removed))
    }

    /// A task.
    pub fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, StateError> {
        Ok(task_row(&self.tables, id)?.map(|row| row.record))
    }

    /// The nodes that failed at a task or lost it, oldest first.
    pub fn task_tried(&self, id: &TaskId) -> Result<Vec<NodeId>, StateError> {
        Ok(task_row(&self.tables, id)?.map(|row| row.tried).unwrap_or_default())
    }

    /// At most `limit` tasks after `after`: those in `state` in the order of their acceptance, or all by id.
    pub fn tasks(
        &self,
        state: Option<TaskState>,
        after: Option<&TaskId>,
        limit: usize,
    ) -> Result<Vec<TaskRecord>, StateError> {
        let Some(state) = state else {
            let from = after.map(|id| next_key(&id.0)).unwrap_or_default();
            let rows = self.tables.range(TASKS, &from, None, limit)?;
            return rows.iter().map(|(_, v)| Ok(records::decode::<TaskRow>(TASKS, v)?.record)).collect();
        };
        let from = match after {
            Some(id) => match self.task(id)? {
                Some(record) => next_key(&state_key(state, record.accepted_index, id)),
                None => state_prefix(state).to_vec(),
            },
            None => state_prefix(state).to_vec(),
        };
        let to = [state_prefix(state)[0] + 1];
        let mut out = Vec::new();
        for (key, _) in self.tables.range(TASK_STATES, &from, Some(&to), limit)? {
            let id = id_of(TASK_STATES, key.get(9..).unwrap_or_default())?;
            let row = task_row(&self.tables, &TaskId(id))?;
            out.push(row.ok_or_else(|| damaged(TASK_STATES, "names a task that is not there"))?.record);
        }
        Ok(out)
    }

    /// A pin by its number.
    pub fn pin(&self, id: &PinId) -> Result<Option<PinRecord>, StateError> {
        get(&self.tables, PINS, &id.0)
    }

    /// At most `limit` pins after `after`, by number.
    pub fn pins(&self, after: Option<&PinId>, limit: usize) -> Result<Vec<(PinId, PinRecord)>, StateError> {
        let from = after.map(|id| next_key(&id.0)).unwrap_or_default();
        let rows = self.tables.range(PINS, &from, None, limit)?;
        rows.iter().map(|(key, value)| Ok((PinId(id_of(PINS, key)?), records::decode(PINS, value)?))).collect()
    }

    /// At most `limit` pins of `cid`.
    pub fn pins_of(&self, cid: &Cid, limit: usize) -> Result<Vec<(PinId, PinRecord)>, StateError> {
        let prefix = super::pins::cid_prefix(cid);
        let mut out = Vec::new();
        walk(&self.tables, PIN_CIDS, &prefix, |key, _| {
            if !key.starts_with(&prefix) || out.len() >= limit {
                return Ok(false);
            }
            let id = PinId(id_of(PIN_CIDS, &key[prefix.len()..])?);
            let pin = self.pin(&id)?.ok_or_else(|| damaged(PIN_CIDS, "names a pin that is not there"))?;
            out.push((id, pin));
            Ok(true)
        })?;
        Ok(out)
    }

    /// A setting.
    pub fn setting(&self, key: &str) -> Result<Option<SettingRecord>, StateError> {
        get(&self.tables, SETTINGS, key.as_bytes())
    }

    /// All settings by key.
    pub fn settings(&self) -> Result<Vec<(String, SettingRecord)>, StateError> {
        let mut out = Vec::new();
        walk(&self.tables, SETTINGS, &[], |key, value| {
            out.push((String::from_utf8_lossy(key).into_owned(), records::decode(SETTINGS, value)?));
            Ok(true)
        })?;
        Ok(out)
    }

    /// The SHA2-256 of every table: equal on all nodes that have applied the same index. Reads everything.
    pub fn state_hash(&self) -> Result<[u8; 32], StateError> {
        let mut hash = Sha256::new();
        for table in STATE_TABLES {
            hash_row(&mut hash, table.as_bytes(), &[]);
            walk(&self.tables, table, &[], |key, value| {
                hash_row(&mut hash, key, value);
                Ok(true)
            })?;
        }
        Ok(hash.finalize().into())
    }
}

/// Adds a row to a hash, lengths first, so that no two sequences of rows look alike.
pub(crate) fn hash_row(hash: &mut Sha256, key: &[u8], value: &[u8]) {
    hash.update((key.len() as u64).to_be_bytes());
    hash.update((value.len() as u64).to_be_bytes());
    hash.update(key);
    hash.update(value);
}

fn damaged(table: &'static str, reason: &str) -> StateError {
    StateError::Damaged { table, reason: reason.into() }
}

fn id_of(table: &'static str, bytes: &[u8]) -> Result<[u8; 32], StateError> {
    bytes.try_into().map_err(|_| damaged(table, "a key that is no id"))
}

/// The smallest key greater than `key`.
pub(super) fn next_key(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Calls `each` for every row from `from` on, until it says false.
fn walk(
    tables: &dyn StateRead,
    table: &'static str,
    from: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, StateError>,
) -> Result<(), StateError> {
    let mut from = from.to_vec();
    loop {
        let rows = tables.range(table, &from, None, PAGE)?;
        for (key, value) in &rows {
            if !each(key, value)? {
                return Ok(());
            }
        }
        match rows.last() {
            Some((key, _)) if rows.len() == PAGE => from = next_key(key),
            _ => return Ok(()),
        }
    }
}

pub(super) fn get<T: serde::de::DeserializeOwned>(
    tables: &dyn StateRead,
    table: &'static str,
    key: &[u8],
) -> Result<Option<T>, StateError> {
    tables.get(table, key)?.map(|bytes| records::decode(table, &bytes)).transpose()
}

pub(super) fn meta(tables: &dyn StateRead) -> Result<Meta, StateError> {
    Ok(get(tables, META, META_KEY)?.unwrap_or_default())
}

pub(super) fn member_row(tables: &dyn StateRead, node: NodeId) -> Result<Option<MemberRow>, StateError> {
    get(tables, MEMBERS, &node_key(node))
}

pub(super) fn node_of_peer(tables: &dyn StateRead, peer: &PeerId) -> Result<Option<NodeId>, StateError> {
    get(tables, MEMBER_PEERS, &peer.to_bytes())
}

pub(super) fn task_row(tables: &dyn StateRead, id: &TaskId) -> Result<Option<TaskRow>, StateError> {
    get(tables, TASKS, &id.0)
}
