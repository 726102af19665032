//! Sans-IO: applying one log entry to the state.

use crate::base::Kind;

use super::{
    MAX_SETTINGS,
    command::{Command, Entry, Event, MAX_ENTRY_REQUESTS, MAX_NOOP_BYTES, MAX_TEXT_BYTES, Reply, Request},
    dedup,
    error::StateError,
    reader::{self, get},
    records::{self, META, META_KEY, Meta, SETTINGS, SettingRecord},
    view::{Overlay, StateRead},
};

/// What an entry did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One reply for each request, in order.
    pub replies: Vec<Reply>,
    /// What changed, in order.
    pub events: Vec<Event>,
}

/// One entry being applied: the tables as they are so far, and what the commands may know.
pub(super) struct Step<'s, 'o> {
    pub view: &'s mut Overlay<'o>,
    pub meta: Meta,
    pub index: u64,
    pub events: Vec<Event>,
}

/// The greatest index a number can carry.
const MAX_INDEX: u64 = (1 << 48) - 1;
/// Longest key of a setting, in bytes.
const MAX_KEY_BYTES: usize = 128;

/// Applies `entry`, which stands at `index`, to `view`.
///
/// # Errors
/// Only what must stop the node, see [`StateError`]; a command that cannot be done is answered with
/// [`Reply::Refused`] and changes nothing.
pub fn apply(view: &mut Overlay<'_>, index: u64, entry: &Entry) -> Result<Applied, StateError> {
    if index > MAX_INDEX {
        return Err(StateError::IndexOverflow(index));
    }
    if let Some(at) = entry.requests.iter().position(|r| matches!(r.command, Command::Unknown(_))) {
        return Err(StateError::Newer { index, reason: format!("request {at} is a command this version lacks") });
    }
    let before = reader::meta(view)?;
    let mut meta = before.clone();
    meta.time_ms = meta.time_ms.max(entry.time_ms);
    let mut step = Step { view, meta, index, events: Vec::new() };
    let mut replies = Vec::with_capacity(entry.requests.len());
    for (at, request) in entry.requests.iter().enumerate() {
        replies.push(if at < MAX_ENTRY_REQUESTS {
            dedup::once(&mut step, request, Step::run)?
        } else {
            Reply::refused(Kind::Busy, "too many requests in one entry")
        });
    }
    let Step { meta, events, .. } = step;
    if meta != before {
        view.put(META, META_KEY, records::encode(&meta));
    }
    Ok(Applied { replies, events })
}

impl Step<'_, '_> {
    fn run(&mut self, request: &Request) -> Result<Reply, StateError> {
        match &request.command {
            Command::Found { cluster, founder } => self.found(cluster, founder),
            Command::Noop { payload } if payload.len() > MAX_NOOP_BYTES => {
                Ok(Reply::refused(Kind::Invalid, format!("a payload may have {MAX_NOOP_BYTES} bytes")))
            }
            Command::Noop { .. } => Ok(self.done()),
            _ if self.meta.cluster.is_none() => Ok(Reply::refused(Kind::Conflict, "no cluster is founded here yet")),
            Command::Admit { member, .. } => self.admit(member),
            Command::SetRole { node, role } => self.set_role(*node, *role),
            Command::Drain { node } => self.set_draining(*node, true),
            Command::Undrain { node } => self.set_draining(*node, false),
            Command::Lost { node } => self.set_lost(*node, true),
            Command::Back { node } => self.set_lost(*node, false),
            Command::Remove { node } => self.remove(*node),
            Command::SetSetting { key, value, expect } => self.set_setting(key, value, *expect),
            Command::Submit { task, spec } => self.submit(task, spec),
            Command::Assign { task, node, attempt } => self.assign(task, *node, *attempt),
            Command::Complete { task, fence, node, outcome, holders } => {
                self.complete(task, *fence, *node, outcome, holders)
            }
            Command::Cancel { task } => self.cancel(task),
            Command::Expire { leases, tasks } => self.expire(leases, tasks),
            Command::ForgetTasks { before_ms } => self.forget_tasks(*before_ms),
            Command::ForgetReplies { before_ms } => dedup::forget(self, *before_ms),
            Command::PinBatch { changes } => self.pin_batch(changes),
            // Refused for the whole entry before its first request ran.
            Command::Unknown(_) => Err(StateError::Newer { index: self.index, reason: "an unknown command".into() }),
        }
    }

    pub(super) fn done(&self) -> Reply {
        Reply::Done { index: self.index }
    }

    fn set_setting(&mut self, key: &str, value: &str, expect: Option<u64>) -> Result<Reply, StateError> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES || value.len() > MAX_TEXT_BYTES {
            let limits = format!("a key has 1 to {MAX_KEY_BYTES} bytes, a value at most {MAX_TEXT_BYTES}");
            return Ok(Reply::refused(Kind::Invalid, limits));
        }
        let old: Option<SettingRecord> = get(self.view, SETTINGS, key.as_bytes())?;
        let revision = old.as_ref().map_or(0, |s| s.revision);
        if let Some(expected) = expect.filter(|e| *e != revision) {
            let why = format!("setting '{key}' is at revision {revision}, not {expected}; read it again");
            return Ok(Reply::refused(Kind::Conflict, why));
        }
        if old.is_none() && self.view.range(SETTINGS, &[], None, MAX_SETTINGS)?.len() >= MAX_SETTINGS {
            return Ok(Reply::refused(Kind::Busy, format!("there are {MAX_SETTINGS} settings already")));
        }
        let record = SettingRecord { value: value.into(), revision: self.index };
        self.view.put(SETTINGS, key.as_bytes(), records::encode(&record));
        self.events.push(Event::SettingChanged { key: key.into(), revision: self.index });
        Ok(Reply::Setting { revision: self.index })
    }
}
