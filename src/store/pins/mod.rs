//! Pins: which content must stay, and who says so.

mod group;
#[cfg(test)]
mod tests;
mod under_way;

use std::{ops::Bound, sync::Arc};

use serde::{Deserialize, Serialize};

pub use self::under_way::UnderWay;
use self::{
    group::{Draft, Group},
    under_way::Roots,
};
use super::{Kv, StoreError};
use crate::base::{Cid, cbor, cid};

/// How much a pin keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinKind {
    /// The block and everything it links to.
    Recursive,
    /// The block alone.
    Direct,
}

/// A pin made by the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The root.
    pub cid: Cid,
    /// How much it keeps.
    pub kind: PinKind,
    /// A label, at most [`MAX_NAME_BYTES`] long.
    pub name: Option<String>,
}

/// Longest name of a pin, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// Longest owner of a hold, in bytes.
pub const MAX_OWNER_BYTES: usize = 255;

const PINS: &str = "pins";
const HOLDS: &str = "holds";

/// What is stored under a pinned content id.
#[derive(Serialize, Deserialize)]
struct Record {
    kind: PinKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// The pins of a repo. Every change is durable when it returns; changes made at a time share one sync. Cheap to clone.
#[derive(Clone)]
pub struct Pins {
    state: Arc<dyn Kv>,
    group: Arc<Group>,
    under_way: Arc<Roots>,
}

impl Pins {
    /// The pins kept in `state`.
    pub fn new(state: Arc<dyn Kv>) -> Self {
        Pins { group: Arc::new(Group::new(Arc::clone(&state))), state, under_way: Arc::default() }
    }

    /// Pins `cid`; false when nothing changed. A recursive pin replaces a direct one; the reverse is refused. Pinning
    /// again without a name keeps the name.
    pub async fn add(&self, cid: &Cid, kind: PinKind, name: Option<String>) -> Result<bool, StoreError> {
        check_name(name.as_deref())?;
        let cid = *cid;
        self.group
            .change(move |draft| {
                let old = drafted(draft, &cid)?;
                if let Some(old) = &old {
                    if old.kind == PinKind::Recursive && kind == PinKind::Direct {
                        return Err(StoreError::PinnedRecursively { cid: cid.to_string() });
                    }
                    if old.kind == kind && (name.is_none() || old.name == name) {
                        return Ok(false);
                    }
                }
                let name = name.or_else(|| old.and_then(|old| old.name));
                draft.put(PINS, cid.to_bytes(), cbor::to_vec(&Record { kind, name }));
                Ok(true)
            })
            .await
    }

    /// Removes the pin of `cid`, of that kind if one is given; false when there was none.
    pub async fn remove(&self, cid: &Cid, kind: Option<PinKind>) -> Result<bool, StoreError> {
        Ok(self.remove_all(vec![*cid], kind).await?.is_none())
    }

    /// Removes all these pins, or none of them: gives the first that is not pinned, or not in that way.
    pub async fn remove_all(&self, cids: Vec<Cid>, kind: Option<PinKind>) -> Result<Option<Cid>, StoreError> {
        self.group
            .change(move |draft| {
                for cid in &cids {
                    let old = drafted(draft, cid)?;
                    if old.is_none_or(|old| kind.is_some_and(|kind| kind != old.kind)) {
                        return Ok(Some(*cid));
                    }
                }
                cids.iter().for_each(|cid| draft.delete(PINS, cid.to_bytes()));
                Ok(None)
            })
            .await
    }

    /// Gives the recursive pin of `from`, with its name, to `to`, which must not be pinned recursively; the old one goes
    /// if `unpin`. Nothing changes when both are the same.
    pub async fn update(&self, from: &Cid, to: &Cid, unpin: bool) -> Result<(), StoreError> {
        let (from, to) = (*from, *to);
        self.group
            .change(move |draft| {
                let recursive = |cid: &Cid| -> Result<Option<Pin>, StoreError> {
                    Ok(drafted(draft, cid)?.filter(|pin| pin.kind == PinKind::Recursive))
                };
                let Some(old) = recursive(&from)? else {
                    return Err(StoreError::UpdateFrom { cid: from.to_string() });
                };
                if from == to {
                    return Ok(());
                }
                if recursive(&to)?.is_some() {
                    return Err(StoreError::UpdateTo { cid: to.to_string() });
                }
                draft.put(PINS, to.to_bytes(), cbor::to_vec(&Record { kind: PinKind::Recursive, name: old.name }));
                if unpin {
                    draft.delete(PINS, from.to_bytes());
                }
                Ok(())
            })
            .await
    }

    /// Keeps `cid`, and everything below it that is here, from being collected until the guard is dropped. In memory
    /// alone: for what is being fetched or added and pinned in a moment.
    pub fn under_way(&self, cid: &Cid) -> UnderWay {
        self.under_way.enter(*cid)
    }

    /// The roots under way at this moment.
    pub fn roots_under_way(&self) -> Vec<Cid> {
        self.under_way.all()
    }

    /// The pin of `cid`.
    pub fn get(&self, cid: &Cid) -> Result<Option<Pin>, StoreError> {
        let Some(bytes) = self.state.get(PINS, &cid.to_bytes())? else { return Ok(None) };
        pin(*cid, &bytes).map(Some)
    }

    /// At most `limit` pins, ordered by the bytes of their content ids, after `after`.
    pub fn list(&self, after: Option<&Cid>, limit: usize) -> Result<Vec<Pin>, StoreError> {
        let after = after.map(Cid::to_bytes);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.state.scan(PINS, from, Bound::Unbounded, limit)?;
        rows.into_iter().map(|(key, value)| pin(read_cid(&key)?, &value)).collect()
    }

    /// Keeps `cid` and everything it links to for `owner`, a short text such as `task:<id>:<fence>`. An owner may hold
    /// several roots.
    pub async fn hold(&self, owner: &str, cid: &Cid) -> Result<(), StoreError> {
        if owner.is_empty() || owner.len() > MAX_OWNER_BYTES || owner.contains('\0') {
            return Err(StoreError::Invalid {
                what: format!("the owner {owner:?} of a hold"),
                reason: format!("use 1 to {MAX_OWNER_BYTES} bytes without NUL"),
            });
        }
        let key = hold_key(owner, &cid.to_bytes());
        self.group
            .change(move |draft| {
                if draft.get(HOLDS, &key)?.is_none() {
                    draft.put(HOLDS, key, Vec::new());
                }
                Ok(())
            })
            .await
    }

    /// Ends every hold of `owner`; no error when there is none.
    pub async fn release(&self, owner: &str) -> Result<(), StoreError> {
        let from = hold_key(owner, b"");
        let mut to = owner.as_bytes().to_vec();
        to.push(1);
        self.group
            .change(move |draft| {
                for key in draft.keys(HOLDS, &from, &to)? {
                    draft.delete(HOLDS, key);
                }
                Ok(())
            })
            .await
    }

    /// The holds whose owner begins with `prefix`, ordered by owner.
    pub fn holds(&self, prefix: &str) -> Result<Vec<(String, Cid)>, StoreError> {
        let mut to = prefix.as_bytes().to_vec();
        // No byte of UTF-8 is 0xff.
        to.push(0xff);
        let rows = self.state.scan(HOLDS, Bound::Included(prefix.as_bytes()), Bound::Excluded(&to), usize::MAX)?;
        rows.into_iter()
            .map(|(key, _)| {
                let at = key.iter().position(|&b| b == 0).ok_or_else(|| damaged("a hold without an owner"))?;
                let owner = String::from_utf8(key[..at].to_vec()).map_err(damaged)?;
                Ok((owner, read_cid(&key[at + 1..])?))
            })
            .collect()
    }
}

/// Whether a pin may be called so.
pub fn check_name(name: Option<&str>) -> Result<(), StoreError> {
    match name {
        Some(name) if name.len() > MAX_NAME_BYTES => Err(StoreError::Invalid {
            what: format!("a pin name of {} bytes", name.len()),
            reason: format!("the limit is {MAX_NAME_BYTES} bytes"),
        }),
        _ => Ok(()),
    }
}

fn drafted(draft: &Draft<'_>, cid: &Cid) -> Result<Option<Pin>, StoreError> {
    draft.get(PINS, &cid.to_bytes())?.map(|bytes| pin(*cid, &bytes)).transpose()
}

/// Owner, NUL, content id: one owner's holds lie together, and owners are listed in order.
fn hold_key(owner: &str, cid: &[u8]) -> Vec<u8> {
    [owner.as_bytes(), &[0], cid].concat()
}

fn pin(cid: Cid, bytes: &[u8]) -> Result<Pin, StoreError> {
    let record: Record = cbor::from_slice(bytes, 4096).map_err(damaged)?;
    Ok(Pin { cid, kind: record.kind, name: record.name })
}

fn read_cid(bytes: &[u8]) -> Result<Cid, StoreError> {
    cid::decode(bytes).map_err(damaged)
}

fn damaged(reason: impl ToString) -> StoreError {
    StoreError::Damaged { what: "the table of pins".into(), offset: 0, reason: reason.to_string() }
}
