//! Consensus among masters: the only folder that knows openraft.
//!
//! For the cluster's services through [`Raft`]: proposals go in, replies come back once applied, events and status are
//! watched. What always holds: a vote or an acknowledgement leaves only after its fdatasync; state, applied index and
//! membership are one commit; the log is purged only up to a snapshot that is durable; a stream from another master is
//! believed by its certificate, never by this node's own view of the membership. Start with [`options`], then
//! `proposer.rs`; `log.rs`, `machine.rs` and `network.rs` are openraft's three seams.

#![allow(unused)]
mod error;
pub mod link;
pub mod options;

use tokio::sync::{broadcast, watch};

pub use error::ProposeError;
pub use link::{Link, NetLink};
pub use options::{Authorise, CertifiedMasters, RaftOptions, RaftStatus, SnapshotPolicy, Timing};

use super::{
    error::ClusterError,
    model::MasterInfo,
    state::{Event, KvTables, Reply, Request, StateReader},
};
use crate::base::{Multiaddr, NodeId, Tasks};

/// Reads of the applied state of this node.
pub type State = StateReader<KvTables>;

/// This node's part in Raft. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Raft {}

impl Raft {
    /// Opens log and state, checks that they are this node's, and takes part.
    ///
    /// # Errors
    /// [`ClusterError::Identity`] when the disk is not the one `options.node` was admitted with or is behind what it
    /// acknowledged, [`ClusterError::Storage`] when log or state are damaged, [`ClusterError::Raft`].
    pub async fn start(options: RaftOptions, tasks: &Tasks) -> Result<Raft, ClusterError> {
        todo!()
    }

    /// Makes this node the only voter of a new log; nothing happens when it has a log already.
    pub async fn initialize(&self, me: MasterInfo) -> Result<(), ClusterError> {
        todo!()
    }

    /// Puts requests into the log, in order, together with those of concurrent callers; returns their replies once
    /// they are applied here. On the leader only.
    pub async fn propose(&self, requests: Vec<Request>) -> Result<Vec<Reply>, ProposeError> {
        todo!()
    }

    /// Returns when everything that was committed before the call is applied here. On the leader only.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        todo!()
    }

    /// Raft as this node sees it, and every change of it.
    pub fn watch(&self) -> watch::Receiver<RaftStatus> {
        todo!()
    }

    /// Raft as this node sees it now.
    pub fn status(&self) -> RaftStatus {
        todo!()
    }

    /// What applied entries made known from now on, each with its log index. A slow receiver lags and must read the
    /// state again, as after [`Event::Reloaded`].
    pub fn events(&self) -> broadcast::Receiver<(u64, Event)> {
        todo!()
    }

    /// The applied state.
    pub fn state(&self) -> &State {
        todo!()
    }

    /// Adds a master that listens without a vote; returns when that is committed, not when it has caught up.
    pub async fn add_learner(&self, node: NodeId, info: MasterInfo) -> Result<(), ProposeError> {
        todo!()
    }

    /// Gives learners a vote, by joint consensus.
    pub async fn promote(&self, nodes: Vec<NodeId>) -> Result<(), ProposeError> {
        todo!()
    }

    /// Takes a master out of the group, by joint consensus if it votes.
    pub async fn remove(&self, node: NodeId) -> Result<(), ProposeError> {
        todo!()
    }

    /// Replaces a master's addresses.
    pub async fn set_addrs(&self, node: NodeId, addrs: Vec<Multiaddr>) -> Result<(), ProposeError> {
        todo!()
    }

    /// Hands the lead to another voter; returns when this node has seen it lead.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), ProposeError> {
        todo!()
    }

    /// Makes a snapshot now and purges the log behind it; returns when that is done.
    pub async fn snapshot_now(&self) -> Result<(), ProposeError> {
        todo!()
    }

    /// Ends this node's part; returns when the log and the state are closed.
    pub async fn shutdown(&self) {
        todo!()
    }
}
