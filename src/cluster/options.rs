//! What the cluster part of a node is told at its start, and what it needs from the floor above.

use std::{future::Future, pin::Pin, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{base::Cid, net::Net, store::Repo};

use super::{
    model::{Fence, Outcome, TaskId, TaskSpec},
    raft::Timing,
};

/// What the cluster part of a node is started with.
#[derive(Clone)]
pub struct ClusterOptions {
    /// The repo; it holds the membership.
    pub repo: Repo,
    /// The network.
    pub net: Net,
    /// The data side.
    pub data: Arc<dyn DataPlane>,
    /// Raft's timers.
    pub timing: Timing,
}

/// A boxed future, as [`DataPlane`]'s methods return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One attempt at a task, handed to the worker's [`DataPlane`].
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The task.
    pub task: TaskId,
    /// The attempt; to be passed to external effects.
    pub fence: Fence,
    /// What to do.
    pub spec: TaskSpec,
    /// Cancelled when the attempt must stop: the task was cancelled, or the lease cannot be trusted any more.
    pub cancel: CancellationToken,
}

/// How an attempt ended. The output of a success is synced and held by the owner `task:<id>:<fence>` already.
pub type TaskOutcome = Outcome;

/// What control needs from data; implemented by the floor above, which knows content.
pub trait DataPlane: Send + Sync + 'static {
    /// Whether the whole DAG under `cid` is here.
    fn holds(&self, cid: Cid) -> BoxFuture<'static, bool>;
    /// The kinds of tasks this node can run.
    fn kinds(&self) -> Vec<String>;
    /// How many tasks it runs at once.
    fn capacity(&self) -> u32;
    /// Runs one attempt to its end. Soon after `assignment.cancel` it ends with a retryable failure.
    fn start(&self, assignment: Assignment) -> BoxFuture<'static, TaskOutcome>;
    /// The outcome of the attempt is in the log: its hold becomes the cluster's pin. May come again after a restart.
    fn confirmed(&self, task: TaskId, fence: Fence, result: Option<Cid>) -> BoxFuture<'static, ()>;
    /// The attempt's outcome was refused: its hold is dropped. May come again after a restart.
    fn refused(&self, task: TaskId, fence: Fence) -> BoxFuture<'static, ()>;
}

/// A [`DataPlane`] that holds and runs nothing: masters and leechers without a data side, and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoData;

impl DataPlane for NoData {
    fn holds(&self, _: Cid) -> BoxFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn kinds(&self) -> Vec<String> {
        Vec::new()
    }

    fn capacity(&self) -> u32 {
        0
    }

    fn start(&self, _: Assignment) -> BoxFuture<'static, TaskOutcome> {
        Box::pin(async { Outcome::Failure { message: "this node runs no tasks".into(), retryable: true } })
    }

    fn confirmed(&self, _: TaskId, _: Fence, _: Option<Cid>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn refused(&self, _: TaskId, _: Fence) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}
