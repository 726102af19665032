//! What runs on a worker: attempts in progress, and the outcomes that still have to be told.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    base::{Tasks, time},
    cluster::{
        counts::Counts,
        error::ClusterError,
        model::{Fence, Outcome, TaskId, TaskSpec},
        options::{Assignment, DataPlane},
        plan::lease::LeaseGuard,
    },
};

use super::{
    outbox::{MAX_WAITING, Outbox, Waiting},
    wire::{MAX_RUNNING, Up, Verdict},
};

/// Milliseconds since boot, suspend included.
pub fn boot_ms() -> u64 {
    time::since_boot().as_millis() as u64
}

/// An attempt's end, on its way from its task to the runner.
pub type Ended = (TaskId, Fence, Outcome);

struct Running {
    fence: Fence,
    cancel: CancellationToken,
}

/// The attempts of this worker.
pub struct Runner {
    data: Arc<dyn DataPlane>,
    tasks: Tasks,
    counts: Counts,
    running: HashMap<TaskId, Running>,
    outbox: Outbox,
    ended: mpsc::Sender<Ended>,
    guard: LeaseGuard,
}

impl Runner {
    /// A runner; attempts' ends arrive at the receiver and are to be given to [`Runner::ended`].
    pub fn new(
        data: Arc<dyn DataPlane>,
        outbox: Outbox,
        tasks: Tasks,
        counts: Counts,
    ) -> (Self, mpsc::Receiver<Ended>) {
        let (ended, ends) = mpsc::channel(MAX_RUNNING);
        let guard = LeaseGuard::new(boot_ms());
        (Runner { data, tasks, counts, running: HashMap::new(), outbox, ended, guard }, ends)
    }

    /// The worker's view of its leases.
    pub fn guard(&mut self) -> &mut LeaseGuard {
        &mut self.guard
    }

    /// What runs or waits to be told; the leader renews these and assigns none of them again.
    pub fn list(&self) -> Vec<(TaskId, Fence)> {
        let running = self.running.iter().map(|(task, r)| (*task, r.fence));
        let waiting = self.outbox.iter().map(|(_, w)| (w.task, w.fence));
        running.chain(waiting).take(MAX_RUNNING).collect()
    }

    /// Starts an attempt, unless it runs or has ended already. An older attempt at the same task is stopped.
    pub fn assign(&mut self, task: TaskId, fence: Fence, spec: TaskSpec) {
        if self.outbox.iter().any(|(_, w)| w.task == task && w.fence >= fence) {
            return;
        }
        if let Some(old) = self.running.get(&task) {
            if old.fence >= fence {
                return;
            }
            old.cancel.cancel();
        }
        if self.running.len() >= MAX_RUNNING || self.outbox.len() >= MAX_WAITING {
            return tracing::warn!(%task, "too much is running here; the attempt is left to its lease");
        }
        if self.running.is_empty() {
            self.guard.assigned(boot_ms());
        }
        let cancel = CancellationToken::new();
        let assignment = Assignment { task, fence, spec, cancel: cancel.clone() };
        self.running.insert(task, Running { fence, cancel });
        self.counts.running(self.running.len());
        let (attempt, ended) = (self.data.start(assignment), self.ended.clone());
        tracing::debug!(%task, %fence, "attempt starts");
        self.tasks.spawn("attempt", async move {
            let outcome = attempt.await;
            // The receiver is gone only when the node stops.
            let _ = ended.send((task, fence, outcome)).await;
        });
    }

    /// Stops an attempt whose outcome is of no use.
    pub fn cancel(&mut self, task: TaskId, fence: Fence) {
        if let Some(running) = self.running.get(&task).filter(|r| r.fence == fence) {
            tracing::debug!(%task, %fence, "attempt is cancelled");
            running.cancel.cancel();
        }
    }

    /// What the clock asks for, a few times a second: outcomes that wait are written down, and everything stops when the
    /// leases cannot be trusted any more.
    pub fn look(&mut self) -> Result<(), ClusterError> {
        self.outbox.keep_overdue()?;
        if self.running.is_empty() || !self.guard.must_stop(boot_ms()) {
            return Ok(());
        }
        let mut stopped = 0;
        for running in self.running.values().filter(|r| !r.cancel.is_cancelled()) {
            running.cancel.cancel();
            stopped += 1;
        }
        if stopped > 0 {
            tracing::warn!(stopped, "no master has acknowledged this worker for too long; its attempts are stopped");
        }
        Ok(())
    }

    /// An attempt ended: its outcome goes into the outbox. Gives what to tell the leader.
    pub fn ended(&mut self, (task, fence, outcome): Ended) -> Result<Up, ClusterError> {
        if self.running.get(&task).is_some_and(|r| r.fence == fence) {
            self.running.remove(&task);
            self.counts.running(self.running.len());
        }
        let outcome = shorten(outcome);
        let seq = self.outbox.put(Waiting { task, fence, outcome: outcome.clone() })?;
        Ok(Up::Complete { seq, task, fence, outcome })
    }

    /// Everything that waits to be told; sent anew on each session.
    pub fn untold(&self) -> Vec<Up> {
        let up =
            |(seq, w): (u64, &Waiting)| Up::Complete { seq, task: w.task, fence: w.fence, outcome: w.outcome.clone() };
        self.outbox.iter().map(up).collect()
    }

    /// The leader has decided on an outcome; the data side is told before the outbox forgets it, so that a crash in
    /// between tells it again.
    pub async fn decided(&mut self, seq: u64, verdict: Verdict) -> Result<(), ClusterError> {
        let Some(entry) = self.outbox.iter().find(|(s, _)| *s == seq).map(|(_, w)| w.clone()) else { return Ok(()) };
        let Waiting { task, fence, outcome } = entry;
        match (verdict, outcome) {
            (Verdict::Accepted, Outcome::Success { result, .. }) => self.data.confirmed(task, fence, result).await,
            (Verdict::Accepted, Outcome::Failure { .. }) | (Verdict::Stale, _) => {
                if verdict == Verdict::Stale {
                    tracing::info!(%task, %fence, "the outcome came too late and was refused");
                }
                self.data.refused(task, fence).await;
            }
        }
        self.outbox.remove(seq)?;
        Ok(())
    }
}

fn shorten(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failure { mut message, retryable } => {
            let mut end = message.len().min(crate::cluster::model::task::MAX_MESSAGE_BYTES);
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
            Outcome::Failure { message, retryable }
        }
        success => success,
    }
}
