//! What runs a kind of task, and the table of kinds.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{WordCount, WorkError};
use crate::{
    base::Cid,
    cluster::{BoxFuture, Fence, TaskId},
    content::{AddOptions, Content},
};

/// What an attempt has made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskResult {
    /// The root of the output, if there is one; its blocks are here and durable.
    pub cid: Option<Cid>,
    /// The output's bytes.
    pub bytes: u64,
}

/// Everything an attempt needs.
#[derive(Clone)]
pub struct TaskContext {
    /// Reading the input (fetched if it is not here) and adding the output.
    pub content: Content,
    /// The task.
    pub task: TaskId,
    /// The attempt; grows with every assignment of the task. Hand it to external systems, which refuse smaller ones.
    pub fence: Fence,
    /// The kind, as submitted.
    pub kind: String,
    /// The input's root.
    pub input: Option<Cid>,
    /// The submitter's parameters.
    pub params: BTreeMap<String, String>,
    /// Cancelled when the attempt must stop. The future is dropped soon after; only work on other threads needs to look.
    pub cancel: CancellationToken,
    pub(super) owner: String,
}

impl TaskContext {
    /// The input's root, or an error that says that one is needed.
    pub fn input(&self) -> Result<Cid, WorkError> {
        self.input.ok_or_else(|| WorkError::NoInput { kind: self.kind.clone() })
    }

    /// Adds one file as the output: durable, and held for this attempt, when it returns.
    pub async fn output(&self, bytes: impl Into<Bytes>) -> Result<TaskResult, WorkError> {
        let options = AddOptions { pin: false, hold: Some(self.owner.clone()), ..AddOptions::default() };
        let added = self.content.add_bytes(bytes, options).await?;
        Ok(TaskResult { cid: Some(added.cid), bytes: added.size })
    }
}

/// Runs tasks of one kind. An attempt may run more than once, on several workers at a time; only one outcome counts.
pub trait TaskHandler: Send + Sync + 'static {
    /// Runs one attempt. Dropping the future stops it.
    fn run(&self, context: TaskContext) -> BoxFuture<'static, Result<TaskResult, WorkError>>;
}

/// The kind `noop`: does nothing and has no result.
#[derive(Debug, Clone, Copy, Default)]
pub struct Noop;

impl TaskHandler for Noop {
    fn run(&self, _: TaskContext) -> BoxFuture<'static, Result<TaskResult, WorkError>> {
        Box::pin(std::future::ready(Ok(TaskResult::default())))
    }
}

/// Handlers by kind.
#[derive(Clone, Default)]
pub struct Registry {
    handlers: BTreeMap<String, Arc<dyn TaskHandler>>,
}

impl Registry {
    /// No kinds at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The kinds that every worker has: `noop` and `word-count`.
    pub fn builtin() -> Self {
        let mut registry = Self::empty();
        registry.register("noop", Noop);
        registry.register("word-count", WordCount);
        registry
    }

    /// Adds a handler, or replaces the one of that kind.
    pub fn register(&mut self, kind: impl Into<String>, handler: impl TaskHandler) -> &mut Self {
        self.handlers.insert(kind.into(), Arc::new(handler));
        self
    }

    /// The handler of a kind.
    pub fn get(&self, kind: &str) -> Result<Arc<dyn TaskHandler>, WorkError> {
        self.handlers.get(kind).cloned().ok_or_else(|| {
            let known = self.kinds().join(", ");
            WorkError::UnknownKind { kind: kind.chars().take(64).collect(), known }
        })
    }

    /// The names of all kinds, sorted.
    pub fn kinds(&self) -> Vec<String> {
        self.handlers.keys().cloned().collect()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.handlers.keys()).finish()
    }
}
