//! The cluster's data plane over content and handlers, and the keeper of outputs.
//!
//! An attempt's output is held by the owner `task:<task>:<fence>`. When the log has accepted the completion, the hold
//! passes to `cluster:<task>`, and the cluster's pins decide from there; when it was refused, that hold alone is dropped.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;

use super::{Registry, TaskContext, TaskResult, WorkError};
use crate::{
    base::Cid,
    cluster::{Assignment, BoxFuture, DataPlane, Fence, Outcome, TaskId, TaskOutcome},
    content::Content,
};

/// Longest failure text reported, in bytes.
const MAX_MESSAGE_BYTES: usize = 1024;

/// Runs tasks on this node's content. Cheap to clone.
#[derive(Clone)]
pub struct Work {
    content: Content,
    registry: Arc<Registry>,
    capacity: u32,
}

/// The owner of an attempt's output.
fn attempt_owner(task: &TaskId, fence: &Fence) -> String {
    format!("task:{task}:{fence}")
}

/// The owner of an accepted output.
fn cluster_owner(task: &TaskId) -> String {
    format!("cluster:{task}")
}

impl Work {
    /// Runs the registry's kinds, at most `capacity` attempts at once (the leader keeps to it).
    pub fn new(content: Content, registry: Registry, capacity: u32) -> Self {
        Work { content, registry: Arc::new(registry), capacity: capacity.max(1) }
    }

    /// The built-in kinds, as many attempts at once as the machine has cores.
    pub fn builtin(content: Content) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        Self::new(content, Registry::builtin(), cores)
    }

    async fn attempt(&self, assignment: Assignment, owner: &str) -> Result<TaskResult, WorkError> {
        let Assignment { task, fence, spec, cancel } = assignment;
        let handler = self.registry.get(&spec.kind)?;
        // What it reads and makes is not collected while it runs.
        let _adding = self.content.repo().blocks().adding();
        let context = TaskContext {
            content: self.content.clone(),
            task,
            fence,
            kind: spec.kind,
            input: spec.input,
            params: spec.params,
            cancel: cancel.clone(),
            owner: owner.to_owned(),
        };
        let run = async move { handler.run(context).await };
        let done = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(WorkError::Stopped),
            done = AssertUnwindSafe(run).catch_unwind() => done,
        };
        let result = done.map_err(|_| WorkError::failed("the handler panicked; see the worker's log"))??;
        if let Some(cid) = &result.cid {
            // A handler that did not add its output through the context has it synced and held here.
            let repo = self.content.repo();
            repo.blocks().sync().await.map_err(crate::content::ContentError::from)?;
            repo.pins().hold(owner, cid).await.map_err(crate::content::ContentError::from)?;
            self.content.protect(*cid).await?;
        }
        Ok(result)
    }

    async fn release(&self, owner: &str) {
        if let Err(error) = self.content.repo().pins().release(owner).await {
            tracing::warn!(owner, %error, "the hold on a task's output could not be dropped");
        }
    }
}

impl DataPlane for Work {
    fn holds(&self, cid: Cid) -> BoxFuture<'static, bool> {
        let content = self.content.clone();
        Box::pin(async move {
            content.holds(&cid).await.unwrap_or_else(|error| {
                tracing::warn!(%cid, %error, "cannot tell whether an input is here");
                false
            })
        })
    }

    fn kinds(&self) -> Vec<String> {
        self.registry.kinds()
    }

    fn capacity(&self) -> u32 {
        self.capacity
    }

    fn start(&self, assignment: Assignment) -> BoxFuture<'static, TaskOutcome> {
        let work = self.clone();
        Box::pin(async move {
            let owner = attempt_owner(&assignment.task, &assignment.fence);
            match work.attempt(assignment, &owner).await {
                Ok(TaskResult { cid, bytes }) => Outcome::Success { result: cid, bytes },
                Err(error) => {
                    work.release(&owner).await;
                    Outcome::Failure { message: shortened(error.to_string()), retryable: error.retryable() }
                }
            }
        })
    }

    fn confirmed(&self, task: TaskId, fence: Fence, result: Option<Cid>) -> BoxFuture<'static, ()> {
        let work = self.clone();
        Box::pin(async move {
            if let Some(cid) = result {
                // First the new hold, then without the old one: at no moment is the output held by nobody.
                if let Err(error) = work.content.repo().pins().hold(&cluster_owner(&task), &cid).await {
                    tracing::warn!(%task, %error, "the accepted output keeps its attempt's hold");
                    return;
                }
                work.content.announce(&cid).await;
            }
            work.release(&attempt_owner(&task, &fence)).await;
        })
    }

    fn refused(&self, task: TaskId, fence: Fence) -> BoxFuture<'static, ()> {
        let work = self.clone();
        Box::pin(async move { work.release(&attempt_owner(&task, &fence)).await })
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_MESSAGE_BYTES {
        let cut = (0..=MAX_MESSAGE_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
    }
    text
}
