//! Bytes at rest: blocks, key-value engines, pins, keys, the write-ahead log.
//!
//! [`Repo`] is the folder that holds everything; one process opens it at a time. [`Blocks`] keeps blocks in append-only
//! segment files, [`Kv`] is the face of the key-value engines (redb for what must last, sled for what can be
//! relearnt), [`Pins`] says what must stay, [`Wal`] is the log under Raft. What is durable when is written in
//! `docs/storage.md`.

pub mod blocks;
mod cache;
pub mod error;
mod files;
pub mod keys;
pub mod kv;
mod migrate;
pub mod pins;
pub mod repo;
mod verify;
pub mod wal;
mod words;

pub use blocks::{BlockStat, Blocks, Compacted, Cursor, Damage, Moment, NewBlock, VerifyReport};
pub use cache::CacheStat;
pub use error::StoreError;
pub(crate) use files::sync_dir;
pub use keys::Keys;
pub use kv::{Batch, Durability, Kv, KvPair, MemoryKv};
pub use migrate::Migration;
pub use pins::{Pin, PinKind, Pins, UnderWay};
pub use repo::{InitReport, Repo, StoreOptions};
pub use verify::Fault;
pub use wal::{AppendDone, Recovered, Wal};
