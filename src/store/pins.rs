//! Pins: which content must stay, and who says so.

use std::{
    ops::Bound,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{Batch, Durability, Kv, StoreError};
use crate::base::{Cid, cbor};

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

/// The pins of a repo. Every change is durable when it returns. Cheap to clone.
#[derive(Clone)]
pub struct Pins {
    state: Arc<dyn Kv>,
    // A change reads before it writes; two at once must not both read first.
    turn: Arc<Mutex<()>>,
}

impl Pins {
    /// The pins kept in `state`.
    pub fn new(state: Arc<dyn Kv>) -> Self {
        Pins { state, turn: Arc::default() }
    }

    /// Pins `cid`; false when nothing changed. A recursive pin replaces a direct one; the reverse is refused.
    pub async fn add(&self, cid: &Cid, kind: PinKind, name: Option<String>) -> Result<bool, StoreError> {
        if let Some(name) = &name
            && name.len() > MAX_NAME_BYTES
        {
            return Err(StoreError::Invalid {
                what: format!("a pin name of {} bytes", name.len()),
                reason: format!("the limit is {MAX_NAME_BYTES} bytes"),
            });
        }
        let cid = *cid;
        self.change(move |pins| {
            if let Some(old) = pins.get(&cid)? {
                if old.kind == PinKind::Recursive && kind == PinKind::Direct {
                    return Err(StoreError::PinnedRecursively { cid: cid.to_string() });
                }
                // Pinning again without a name keeps the name.
                if old.kind == kind && (name.is_none() || old.name == name) {
                    return Ok(false);
                }
            }
            let mut batch = Batch::new();
            batch.put(PINS, cid.to_bytes(), cbor::to_vec(&Record { kind, name }));
            pins.state.commit(batch, Durability::Immediate)?;
            Ok(true)
        })
        .await
    }

    /// Removes the pin of `cid`, of that kind if one is given; false when there was none.
    pub async fn remove(&self, cid: &Cid, kind: Option<PinKind>) -> Result<bool, StoreError> {
        let cid = *cid;
        self.change(move |pins| {
            let Some(old) = pins.get(&cid)? else { return Ok(false) };
            if kind.is_some_and(|kind| kind != old.kind) {
                return Ok(false);
            }
            let mut batch = Batch::new();
            batch.delete(PINS, cid.to_bytes());
            pins.state.commit(batch, Durability::Immediate)?;
            Ok(true)
        })
        .await
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
        self.change(move |pins| {
            if pins.state.get(HOLDS, &key)?.is_some() {
                return Ok(());
            }
            let mut batch = Batch::new();
            batch.put(HOLDS, key, Vec::new());
            pins.state.commit(batch, Durability::Immediate)
        })
        .await
    }

    /// Ends every hold of `owner`; no error when there is none.
    pub async fn release(&self, owner: &str) -> Result<(), StoreError> {
        let from = hold_key(owner, b"");
        let mut to = owner.as_bytes().to_vec();
        to.push(1);
        self.change(move |pins| {
            let rows = pins.state.scan(HOLDS, Bound::Included(&from), Bound::Excluded(&to), usize::MAX)?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            rows.into_iter().for_each(|(key, _)| batch.delete(HOLDS, key));
            pins.state.commit(batch, Durability::Immediate)
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

    /// Runs a change on a thread that may wait for the disk.
    async fn change<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Pins) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let pins = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _turn = pins.turn.lock().unwrap_or_else(PoisonError::into_inner);
            run(&pins)
        });
        task.await.map_err(|_| StoreError::Closed)?
    }
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
    Cid::try_from(bytes).map_err(damaged)
}

fn damaged(reason: impl ToString) -> StoreError {
    StoreError::Damaged { what: "the table of pins".into(), offset: 0, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Block, Codec, Hash},
        store::MemoryKv,
    };

    fn cid(n: u8) -> Cid {
        *Block::new(Codec::Raw, Hash::Sha2_256, vec![n]).unwrap().cid()
    }

    fn pins() -> Pins {
        Pins::new(Arc::new(MemoryKv::new()))
    }

    #[tokio::test]
    async fn pins_are_added_replaced_listed_and_removed() {
        let pins = pins();
        assert!(pins.add(&cid(1), PinKind::Direct, Some("one".into())).await.unwrap());
        assert!(!pins.add(&cid(1), PinKind::Direct, None).await.unwrap());
        assert_eq!(pins.get(&cid(1)).unwrap().unwrap().name.as_deref(), Some("one"));
        assert!(pins.add(&cid(1), PinKind::Recursive, None).await.unwrap());
        assert!(matches!(pins.add(&cid(1), PinKind::Direct, None).await, Err(StoreError::PinnedRecursively { .. })));
        assert!(!pins.remove(&cid(1), Some(PinKind::Direct)).await.unwrap());
        for n in 2..10 {
            pins.add(&cid(n), PinKind::Recursive, None).await.unwrap();
        }
        let mut all = Vec::new();
        loop {
            let page = pins.list(all.last().map(|p: &Pin| &p.cid), 4).unwrap();
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        assert_eq!(all.len(), 9);
        assert!(pins.remove(&cid(1), None).await.unwrap());
        assert!(!pins.remove(&cid(1), None).await.unwrap());
        assert_eq!(pins.get(&cid(1)).unwrap(), None);
    }

    #[tokio::test]
    async fn holds_belong_to_their_owner_alone() {
        let pins = pins();
        for (owner, n) in [("task:1:1", 1), ("task:1:1", 2), ("task:1:10", 1), ("cluster:x", 1), ("task:1:1", 1)] {
            pins.hold(owner, &cid(n)).await.unwrap();
        }
        assert_eq!(pins.holds("task:").unwrap().len(), 3);
        pins.release("task:1:1").await.unwrap();
        pins.release("task:1:1").await.unwrap();
        assert_eq!(pins.holds("task:").unwrap(), [("task:1:10".to_owned(), cid(1))]);
        assert_eq!(pins.holds("").unwrap().len(), 2);
        assert!(pins.hold("", &cid(1)).await.is_err());
    }

    #[tokio::test]
    async fn long_names_are_refused() {
        assert!(pins().add(&cid(1), PinKind::Direct, Some("x".repeat(256))).await.is_err());
    }
}
