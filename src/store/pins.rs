//! Pins: which content must stay, and who says so.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Kv, StoreError};
use crate::base::Cid;

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

/// The pins of a repo. Every change is durable when it returns.
#[derive(Clone)]
pub struct Pins {
    state: Arc<dyn Kv>,
}

impl Pins {
    /// The pins kept in `state`.
    pub fn new(state: Arc<dyn Kv>) -> Self {
        Pins { state }
    }

    /// Pins `cid`; false when nothing changed. A recursive pin replaces a direct one; the reverse is refused.
    pub async fn add(&self, _cid: &Cid, _kind: PinKind, _name: Option<String>) -> Result<bool, StoreError> {
        todo!()
    }

    /// Removes the pin of `cid`, of that kind if one is given; false when there was none.
    pub async fn remove(&self, _cid: &Cid, _kind: Option<PinKind>) -> Result<bool, StoreError> {
        todo!()
    }

    /// The pin of `cid`.
    pub fn get(&self, _cid: &Cid) -> Result<Option<Pin>, StoreError> {
        todo!()
    }

    /// At most `limit` pins, ordered by content id, after `after`.
    pub fn list(&self, _after: Option<&Cid>, _limit: usize) -> Result<Vec<Pin>, StoreError> {
        todo!()
    }

    /// Keeps `cid` and everything it links to for `owner`, a short text such as `task:<id>:<fence>`.
    pub async fn hold(&self, _owner: &str, _cid: &Cid) -> Result<(), StoreError> {
        todo!()
    }

    /// Ends every hold of `owner`; no error when there is none.
    pub async fn release(&self, _owner: &str) -> Result<(), StoreError> {
        todo!()
    }

    /// The holds whose owner begins with `prefix`, ordered by owner.
    pub fn holds(&self, _prefix: &str) -> Result<Vec<(String, Cid)>, StoreError> {
        todo!()
    }
}
