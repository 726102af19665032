//! Sans-IO: the cluster's pins.

use crate::{
    base::{Cid, Kind, NodeId},
    cluster::model::{MemberState, PinRecord},
};

use super::{
    MAX_HOLDERS, MAX_PINS,
    apply::Step,
    command::{Event, MAX_PIN_CHANGES, PinChange, Reply},
    error::StateError,
    reader::{get, member_row},
    records::{self, PIN_CIDS, PINS, PinId},
};

/// What the keys of a content id's pins start with; the length first, so that no id is the start of another.
pub(super) fn cid_prefix(cid: &Cid) -> Vec<u8> {
    let bytes = cid.to_bytes();
    let mut out = (bytes.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(&bytes);
    out
}

fn cid_key(cid: &Cid, id: &PinId) -> Vec<u8> {
    [&cid_prefix(cid)[..], &id.0].concat()
}

impl Step<'_, '_> {
    /// The current members among `holders`, ascending, each once.
    pub(super) fn known_holders(&self, holders: &[NodeId]) -> Result<Vec<NodeId>, StateError> {
        let mut out = Vec::new();
        for node in holders.iter().take(MAX_HOLDERS) {
            if member_row(self.view, *node)?.is_some_and(|row| row.member.state != MemberState::Removed) {
                out.push(*node);
            }
        }
        out.sort_unstable();
        out.dedup();
        Ok(out)
    }

    pub(super) fn put_pin(&mut self, id: PinId, pin: PinRecord) -> Result<(), StateError> {
        match get::<PinRecord>(self.view, PINS, &id.0)? {
            Some(old) => self.view.delete(PIN_CIDS, cid_key(&old.cid, &id)),
            None => self.meta.pins += 1,
        }
        self.view.put(PIN_CIDS, cid_key(&pin.cid, &id), Vec::new());
        self.view.put(PINS, id.0, records::encode(&pin));
        self.events.push(Event::PinChanged { id, cid: pin.cid });
        Ok(())
    }

    fn remove_pin(&mut self, id: PinId, pin: &PinRecord) {
        self.view.delete(PIN_CIDS, cid_key(&pin.cid, &id));
        self.view.delete(PINS, id.0);
        self.meta.pins = self.meta.pins.saturating_sub(1);
        self.events.push(Event::PinChanged { id, cid: pin.cid });
    }

    pub(super) fn pin_batch(&mut self, changes: &[PinChange]) -> Result<Reply, StateError> {
        if changes.len() > MAX_PIN_CHANGES {
            return Ok(Reply::refused(Kind::Invalid, format!("at most {MAX_PIN_CHANGES} pins change at once")));
        }
        // All or none: every refusal is found before the first write. A pin may change once in a batch.
        let mut seen = std::collections::BTreeSet::new();
        let mut more = 0;
        for change in changes {
            let (PinChange::Put { id, .. } | PinChange::Holders { id, .. } | PinChange::Remove { id }) = change;
            if !seen.insert(*id) {
                return Ok(Reply::refused(Kind::Invalid, format!("pin {id} is changed twice in one batch")));
            }
            let known = get::<PinRecord>(self.view, PINS, &id.0)?.is_some();
            match change {
                PinChange::Put { .. } => more += u64::from(!known),
                PinChange::Holders { .. } if !known => {
                    return Ok(Reply::refused(Kind::NotFound, format!("there is no pin {id}")));
                }
                _ => {}
            }
        }
        if self.meta.pins + more > MAX_PINS {
            return Ok(Reply::refused(Kind::Busy, format!("the cluster has room for {MAX_PINS} pins")));
        }
        for change in changes {
            let (PinChange::Put { id, .. } | PinChange::Holders { id, .. } | PinChange::Remove { id }) = change;
            let old: Option<PinRecord> = get(self.view, PINS, &id.0)?;
            let (index, time_ms) = (self.index, self.meta.time_ms);
            match (change, old) {
                (PinChange::Put { cid, holders, .. }, _) => {
                    let holders = self.known_holders(holders)?;
                    self.put_pin(*id, PinRecord { cid: *cid, holders, task: None, index, time_ms })?;
                }
                (PinChange::Holders { holders, .. }, Some(old)) => {
                    let holders = self.known_holders(holders)?;
                    self.put_pin(*id, PinRecord { holders, index, time_ms, ..old })?;
                }
                (PinChange::Remove { .. }, Some(old)) => self.remove_pin(*id, &old),
                (_, None) => {}
            }
        }
        Ok(self.done())
    }
}
