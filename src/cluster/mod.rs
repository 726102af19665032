//! The cluster: Raft among masters, members, certificates, sessions, tasks (control only).
//!
//! For the floors above through [`Cluster`]; what data it needs it asks of a [`DataPlane`]. What always holds: a peer's
//! claim is believed only with a certificate of this cluster ([`model`]), what must survive goes through the log
//! ([`raft`], [`state`]), beats, leases and addresses of workers never do. Start reading at [`model`], then [`state`].

#![allow(unused)]
use std::{collections::BTreeMap, time::Duration};

use tokio::sync::watch;

use crate::base::{Cid, Multiaddr, Role, Tasks};

pub mod error;
pub mod model;
pub mod options;
pub mod plan;
pub mod raft;
pub mod state;
pub mod tasks;
pub mod view;

pub use error::ClusterError;
pub use model::{
    Certificate, ClusterId, Fence, Outcome, PinRecord, Receipt, ReceiptBody, TaskId, TaskRecord, TaskSpec, TaskState,
    Token,
};
pub use options::{Assignment, BoxFuture, DataPlane, NoData, TaskOutcome};
pub use view::{ClusterStatus, MeStatus, MemberStatus, Membership, Submitted, Via};

/// The node's part in a cluster. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Cluster {}

impl Cluster {
    /// Founds a cluster with this node as its first master.
    pub async fn init(&self) -> Result<ClusterStatus, ClusterError> {
        todo!()
    }

    /// Joins the cluster of `token` by any of `addrs`; returns when admitted. Ends with an error within 10 s.
    pub async fn join(&self, addrs: Vec<Multiaddr>, token: &Token, role: Role) -> Result<(), ClusterError> {
        todo!()
    }

    /// This node's place in the cluster, if it is in one.
    pub fn membership(&self) -> Option<Membership> {
        todo!()
    }

    /// Tells when this node's role changes.
    pub fn watch_role(&self) -> watch::Receiver<Option<Role>> {
        todo!()
    }

    /// The cluster at this moment; members that are no masters ask one.
    pub async fn status(&self) -> Result<ClusterStatus, ClusterError> {
        todo!()
    }

    /// Makes a token that admits up to `role` for `ttl`; on masters only.
    pub async fn token_create(&self, role: Role, ttl: Duration) -> Result<Token, ClusterError> {
        todo!()
    }

    /// Submits a task; returns at the verified accepted receipt.
    pub async fn submit(
        &self,
        kind: &str,
        input: Option<Cid>,
        params: BTreeMap<String, String>,
        via: Via,
        timeout: Duration,
    ) -> Result<Submitted, ClusterError> {
        todo!()
    }

    /// Waits for a task's outcome; gives the verified outcome receipt.
    pub async fn wait_outcome(&self, task: TaskId, timeout: Duration) -> Result<Receipt, ClusterError> {
        todo!()
    }

    /// A task's record, as a master has it.
    pub async fn task(&self, task: TaskId) -> Result<TaskRecord, ClusterError> {
        todo!()
    }
}
