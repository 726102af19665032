//! Consensus among masters: the only folder that knows openraft.
//!
//! For the cluster's services through [`Raft`]: proposals go in, replies come back once applied, events and status are
//! watched. What always holds: a vote or an acknowledgement leaves only after its fdatasync; state, applied index and
//! membership are one commit; the log is purged only up to a snapshot that is durable; a stream from another master is
//! believed by its certificate, never by this node's own view of the membership. Start with [`options`], then
//! `proposer.rs`; `log.rs`, `machine.rs` and `network.rs` are openraft's three seams.

mod error;
mod identity;
pub mod link;
mod log;
mod machine;
mod network;
pub mod options;
mod proposer;
mod server;
#[cfg(any(fuzzing, test))]
pub(crate) use snapshot::fuzz as fuzz_snapshot;
mod snapshot;
mod start;
mod status;
#[cfg(test)]
mod tests;
mod types;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use openraft::{
    ChangeMembers, ReadPolicy,
    async_runtime::WatchReceiver,
    errors::{ClientWriteError, InitializeError, LinearizableReadError, RaftError},
};
use tokio::{
    sync::{broadcast, watch},
    time::timeout,
};

pub use error::ProposeError;
pub use link::{Link, NetLink};
pub use options::{Authorise, CertifiedMasters, RaftOptions, RaftStatus, SnapshotPolicy, Timing};
pub(crate) use snapshot::check as check_snapshot;

use super::{
    error::ClusterError,
    model::MasterInfo,
    state::{Event, KvTables, Reply, Request, StateReader},
};
use crate::base::{Multiaddr, NodeId, Tasks};

use machine::Machine;
use proposer::Proposer;
use types::{MasterNode, TypeConfig};

type OpenRaft = openraft::Raft<TypeConfig, Machine>;

/// Reads of the applied state of this node.
pub type State = StateReader<KvTables>;

/// How long a change of the masters' group or a snapshot may take.
const CHANGE_PATIENCE: Duration = Duration::from_secs(30);
/// How long a wanted snapshot is waited for before it is asked for again.
const SNAPSHOT_AGAIN: Duration = Duration::from_millis(250);
/// How long a read may wait for a quorum.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// This node's part in Raft. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Raft {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    raft: OpenRaft,
    machine: Machine,
    state: State,
    proposer: Proposer,
    status: watch::Receiver<RaftStatus>,
    events: broadcast::Sender<(u64, Event)>,
    snapshots: SnapshotPolicy,
    timing: Timing,
}

impl Raft {
    /// Opens log and state, checks that they are this node's, and takes part until `tasks` are stopped.
    ///
    /// # Errors
    /// [`ClusterError::Identity`] when the disk is not the one `options.node` was admitted with or is behind what it
    /// acknowledged, [`ClusterError::Storage`] when log or state are damaged, [`ClusterError::Raft`].
    pub async fn start(options: RaftOptions, tasks: &Tasks) -> Result<Raft, ClusterError> {
        start::start(options, tasks).await
    }

    /// Makes this node the only voter of a new log; nothing happens when it has a log already.
    pub async fn initialize(&self, me: MasterInfo) -> Result<(), ClusterError> {
        let members = BTreeMap::from([(self.inner.node.0, MasterNode::from(me))]);
        match self.inner.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(e) => Err(ClusterError::Raft { reason: e.to_string() }),
        }
    }

    /// Puts requests into the log, in order, together with those of concurrent callers; returns their replies once
    /// they are applied here. On the leader only. Requests of one call stand in one entry.
    pub async fn propose(&self, requests: Vec<Request>) -> Result<Vec<Reply>, ProposeError> {
        if let Err(forward) = self.inner.raft.as_leader() {
            return Err(proposer::not_leader(&forward));
        }
        self.inner.proposer.propose(requests).await
    }

    /// Returns when everything that was committed before the call is applied here. On the leader only.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        match timeout(READ_PATIENCE, self.inner.raft.ensure_linearizable(ReadPolicy::ReadIndex)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(f)))) => Err(proposer::not_leader(&f)),
            Ok(Err(RaftError::APIError(_))) | Err(_) => Err(ProposeError::Timeout),
            Ok(Err(RaftError::Fatal(e))) => Err(ProposeError::Stopped(status::reason(&e))),
        }
    }

    /// Raft as this node sees it, and every change of it.
    pub fn watch(&self) -> watch::Receiver<RaftStatus> {
        self.inner.status.clone()
    }

    /// Raft as this node sees it now.
    pub fn status(&self) -> RaftStatus {
        let metrics = self.inner.raft.metrics();
        status::of(self.inner.node, &metrics.borrow_watched())
    }

    /// The timers this node runs with.
    pub fn timing(&self) -> Timing {
        self.inner.timing
    }

    /// What applied entries made known from now on, each with its log index. A slow receiver lags and must read the
    /// state again, as after [`Event::Reloaded`].
    pub fn events(&self) -> broadcast::Receiver<(u64, Event)> {
        self.inner.events.subscribe()
    }

    /// The applied state.
    pub fn state(&self) -> &State {
        &self.inner.state
    }

    /// Adds a master that listens without a vote; returns when that is committed, not when it has caught up.
    pub async fn add_learner(&self, node: NodeId, info: MasterInfo) -> Result<(), ProposeError> {
        let added = BTreeMap::from([(node.0, MasterNode::from(info))]);
        self.change(ChangeMembers::AddNodes(added), true).await
    }

    /// Gives learners a vote, by joint consensus.
    pub async fn promote(&self, nodes: Vec<NodeId>) -> Result<(), ProposeError> {
        let nodes: BTreeSet<u64> = nodes.into_iter().map(types::raw).collect();
        self.change(ChangeMembers::AddVoterIds(nodes), true).await
    }

    /// Takes a master out of the group, by joint consensus if it votes.
    pub async fn remove(&self, node: NodeId) -> Result<(), ProposeError> {
        let nodes = BTreeSet::from([node.0]);
        let status = self.status();
        if status.voters.iter().any(|(n, _)| *n == node) {
            self.change(ChangeMembers::RemoveVoters(nodes), false).await
        } else if status.learners.iter().any(|(n, _)| *n == node) {
            self.change(ChangeMembers::RemoveNodes(nodes), false).await
        } else {
            Ok(())
        }
    }

    /// Replaces a master's addresses.
    pub async fn set_addrs(&self, node: NodeId, addrs: Vec<Multiaddr>) -> Result<(), ProposeError> {
        let status = self.status();
        let known = status.voters.iter().chain(&status.learners).find(|(n, _)| *n == node);
        let Some((_, info)) = known else {
            return Err(ProposeError::Membership(format!("node {node} is not in the group of masters")));
        };
        if info.addrs == addrs {
            return Ok(());
        }
        // The identity stays: a number never changes hands.
        let changed = MasterNode { peer: Some(info.peer), addrs };
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(node.0, changed)])), true).await
    }

    async fn change(&self, change: ChangeMembers<u64, MasterNode>, retain: bool) -> Result<(), ProposeError> {
        match timeout(CHANGE_PATIENCE, self.inner.raft.change_membership(change, retain)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(f)))) => Err(proposer::not_leader(&f)),
            Ok(Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)))) | Err(_) => Err(ProposeError::Timeout),
            Ok(Err(RaftError::APIError(e))) => Err(ProposeError::Membership(e.to_string())),
            Ok(Err(RaftError::Fatal(e))) => Err(ProposeError::Stopped(status::reason(&e))),
        }
    }

    /// Hands the lead to another voter; returns when this node has seen it lead.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), ProposeError> {
        let status = self.status();
        if !status.is_leader {
            return Err(ProposeError::NotLeader { leader: status.leader.zip(status.leader_info) });
        }
        if !status.voters.iter().any(|(n, _)| *n == to) {
            return Err(ProposeError::Membership(format!("node {to} does not vote")));
        }
        self.inner.raft.trigger().transfer_leader(to.0).await.map_err(|e| ProposeError::Stopped(status::reason(&e)))?;
        let limit = Duration::from_millis(4 * self.inner.timing.election_max_ms);
        self.wait(limit, |s| s.leader == Some(to)).await
    }

    /// Makes a snapshot now and purges the log behind it; returns when that is done.
    pub async fn snapshot_now(&self) -> Result<(), ProposeError> {
        let stopped = |e: openraft::errors::Fatal<TypeConfig>| ProposeError::Stopped(status::reason(&e));
        let applied = self.status().applied;
        let built = async {
            let mut status = self.watch();
            loop {
                let at = status.borrow_and_update().snapshot;
                if at >= applied {
                    return Ok(());
                }
                // While one is being built the trigger is passed over, so it is pulled again when that one is done.
                self.inner.raft.trigger().snapshot().await.map_err(stopped)?;
                let done = timeout(SNAPSHOT_AGAIN, status.wait_for(|s| s.snapshot > at)).await;
                if let Ok(Err(_)) = done {
                    return Err(ProposeError::Stopped("the node is stopping".into()));
                }
            }
        };
        timeout(CHANGE_PATIENCE, built).await.map_err(|_| ProposeError::Timeout)??;
        let upto = self.status().snapshot.saturating_sub(self.inner.snapshots.keep);
        if upto > self.status().purged {
            self.inner.raft.trigger().purge_log(upto).await.map_err(stopped)?;
            self.wait(CHANGE_PATIENCE, |s| s.purged >= upto).await?;
        }
        Ok(())
    }

    async fn wait(&self, limit: Duration, is: impl FnMut(&RaftStatus) -> bool) -> Result<(), ProposeError> {
        let mut status = self.watch();
        match timeout(limit, status.wait_for(is)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ProposeError::Stopped("the node is stopping".into())),
            Err(_) => Err(ProposeError::Timeout),
        }
    }

    /// Ends this node's part; returns when the log and the state are quiet and durable.
    pub async fn shutdown(&self) {
        if let Err(e) = self.inner.raft.shutdown().await {
            tracing::warn!(%e, "raft did not stop cleanly");
        }
        if let Err(e) = self.inner.machine.sync().await {
            tracing::warn!(%e, "the cluster's state was not synced");
        }
    }
}
