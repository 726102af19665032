//! Roots of what is being fetched or added: kept in memory, from the first block to the pin.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::base::Cid;

/// The roots under way, each with how many want it.
#[derive(Default)]
pub(super) struct Roots {
    wanted: Mutex<HashMap<Cid, usize>>,
}

impl Roots {
    pub(super) fn enter(self: &Arc<Self>, cid: Cid) -> UnderWay {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner).entry(cid).or_default() += 1;
        UnderWay { roots: Arc::clone(self), cid }
    }

    pub(super) fn all(&self) -> Vec<Cid> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

/// A root under way; no longer when this is dropped.
#[must_use]
pub struct UnderWay {
    roots: Arc<Roots>,
    cid: Cid,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut wanted = self.roots.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = wanted.get_mut(&self.cid) {
            *count -= 1;
            if *count == 0 {
                wanted.remove(&self.cid);
            }
        }
    }
}
