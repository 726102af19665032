//! Sans-IO: the replicated state machine: what every master agrees on.
//!
//! For [`raft`](super::raft), which feeds it the log, and for everyone who reads the cluster's state. What always
//! holds: applying the same entries to the same tables gives the same bytes, replies and events on every node; nothing
//! reads a clock or draws a random number; a number or fence is a log index and so never given twice; a completion
//! and the pin of its result are one step. Start with [`command`], then [`apply`](mod@apply).

pub mod apply;
pub mod command;
mod dedup;
mod error;
mod members;
mod pins;
pub mod reader;
pub mod records;
pub mod tables;
mod tasks;
#[cfg(test)]
mod tests;
pub mod view;

pub use apply::{Applied, apply};
pub use command::{Command, Entry, Event, PinChange, Reply, Request};
pub use error::StateError;
pub use reader::StateReader;
pub use records::{Meta, PinId, STATE_TABLES, SettingRecord};
pub use tables::KvTables;
pub use view::{Change, Overlay, Row, StateRead};

use crate::base::NodeId;

/// The number of the first member of every cluster.
pub const FOUNDER: NodeId = NodeId(1 << 48);
/// The epoch of a cluster that was never recovered from lost quorum.
pub const FIRST_EPOCH: u16 = 1;

/// Most tasks that have not ended; beyond it submissions are refused as busy.
pub const MAX_LIVE_TASKS: u64 = 100_000;
/// Most tasks remembered, ended ones included.
pub const MAX_TASKS: u64 = 1_000_000;
/// Most pins.
pub const MAX_PINS: u64 = 10_000_000;
/// Most members.
pub const MAX_MEMBERS: u64 = 10_000;
/// Most settings.
pub const MAX_SETTINGS: usize = 1_000;
/// Most answers kept for deduplication.
pub const MAX_REPLIES: u64 = 100_000;
/// An answer is kept at least this long, in milliseconds.
pub const REPLY_KEPT_MS: u64 = 600_000;
/// An ended task is remembered this much longer than its spec can be valid, in milliseconds.
pub const TASK_KEPT_MS: u64 = 3_600_000;
/// Attempts at a task before it fails for good.
pub const MAX_ATTEMPTS: u32 = 5;
/// Most nodes remembered as having failed at a task.
pub const MAX_TRIED: usize = 5;
/// Most holders of one pin.
pub const MAX_HOLDERS: usize = 64;
/// Most records forgotten by one command.
pub const FORGET_BATCH: usize = 1_000;
