//! Sans-IO: a task's life in the replicated state: states, fences, outcomes, the record.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{Cid, NodeId, PeerId};

use super::{TaskId, TaskSpec};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Accepted; no worker has it.
    Pending,
    /// Given to a worker.
    Assigned,
    /// The worker said it runs.
    Running,
    /// Done, with or without a result.
    Completed,
    /// Given up after an error.
    Failed,
    /// Ended by its author or an operator.
    Cancelled,
    /// Its time was over before it was done.
    TimedOut,
}

impl TaskState {
    /// Every state.
    pub const ALL: [TaskState; 7] = [
        TaskState::Pending,
        TaskState::Assigned,
        TaskState::Running,
        TaskState::Completed,
        TaskState::Failed,
        TaskState::Cancelled,
        TaskState::TimedOut,
    ];

    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        matches!(self, TaskState::Completed | TaskState::Failed | TaskState::Cancelled | TaskState::TimedOut)
    }

    /// The name used in JSON and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::Pending => "pending",
            TaskState::Assigned => "assigned",
            TaskState::Running => "running",
            TaskState::Completed => "completed",
            TaskState::Failed => "failed",
            TaskState::Cancelled => "cancelled",
            TaskState::TimedOut => "timed_out",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one attempt: the cluster's epoch and the log index of its assignment. Later attempts have greater fences, and
/// only the current one may complete a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// The cluster's epoch.
    pub epoch: u16,
    /// The log index of the assignment.
    pub index: u64,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.index)
    }
}

/// How an attempt ended, as its worker tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Success {
        /// The root of its output, which the worker has synced and holds.
        result: Option<Cid>,
        /// The output's size.
        bytes: u64,
    },
    /// It failed.
    Failure {
        /// What went wrong, for people; at most 1 KiB is kept.
        message: String,
        /// Whether another attempt may succeed.
        retryable: bool,
    },
}

/// The longest failure text kept, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// A task as the replicated state keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The task's id.
    pub id: TaskId,
    /// What was asked.
    pub spec: TaskSpec,
    /// Where it stands.
    pub state: TaskState,
    /// The log index of its acceptance.
    pub accepted_index: u64,
    /// The entry time of its acceptance, in milliseconds since 1970.
    pub accepted_ms: u64,
    /// How many times it was assigned.
    pub attempts: u32,
    /// The current or last attempt.
    pub fence: Option<Fence>,
    /// The member that has or had it.
    pub node: Option<NodeId>,
    /// That member's peer id.
    pub worker: Option<PeerId>,
    /// Not assigned again before this time, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// The result's root.
    pub result: Option<Cid>,
    /// The result's size in bytes.
    pub result_bytes: u64,
    /// The last error.
    pub error: Option<String>,
    /// The log index of its last change.
    pub changed_index: u64,
    /// The entry time of its last change, in milliseconds since 1970.
    pub changed_ms: u64,
}
