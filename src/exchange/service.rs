//! The exchange service: handles for fetching, and the tasks around the cores.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

use super::ExchangeError;
use crate::base::Cid;

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExchangeStat {
    /// Wanted blocks received.
    pub blocks_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Blocks received that were already here or no longer wanted.
    pub duplicate_blocks: u64,
    /// Their bytes.
    pub duplicate_bytes: u64,
    /// Blocks received that were never asked for, dropped.
    pub unasked_blocks: u64,
    /// Blocks sent to others.
    pub blocks_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Blocks wanted here now.
    pub wants: u64,
    /// Peers with a wantlist here now.
    pub partners: u64,
}

/// Fetching and serving. Cheap to clone; all clones are the same service.
#[derive(Clone)]
#[allow(unused)]
pub struct Exchange;

/// A group of related fetches that share what is learnt about who has them.
#[derive(Clone)]
#[allow(unused)]
pub struct Session;

#[allow(unused, missing_docs)]
impl Exchange {
    pub fn session(&self, root: &Cid) -> Session {
        todo!()
    }
    pub async fn fetch(&self, cid: &Cid, timeout: Duration) -> Result<Bytes, ExchangeError> {
        todo!()
    }
    pub fn stat(&self) -> ExchangeStat {
        todo!()
    }
}

#[allow(unused, missing_docs)]
impl Session {
    /// Waits until the block is here; the caller bounds the time and then asks [`Session::reason`] why it is not.
    pub async fn get(&self, cid: &Cid) -> Result<Bytes, ExchangeError> {
        todo!()
    }
    pub fn get_many(&self, cids: Vec<Cid>) -> mpsc::Receiver<Result<(Cid, Bytes), ExchangeError>> {
        todo!()
    }
    /// Why `cid` has not come within `waited`.
    pub fn reason(&self, cid: &Cid, waited: Duration) -> ExchangeError {
        todo!()
    }
}
