//! Supervised background tasks: named, counted, cancelled together, waited for together.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A group of background tasks that end together. Cheap to clone; all clones are the same group.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// A group that ends with this one and can also be ended alone. Its tasks count for this group too.
    pub fn child(&self) -> Self {
        Tasks { tracker: self.tracker.clone(), stop: self.stop.child_token() }
    }

    /// Runs `task` until it ends or the group is stopped; a task that wants to clean up uses [`Tasks::spawn_graceful`].
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.run(name, async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        })
    }

    /// Runs `task`, which watches [`Tasks::stopped`] itself and returns soon after it.
    pub fn spawn_graceful<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.run(name, task)
    }

    fn run<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        use tracing::Instrument;
        #[allow(clippy::disallowed_methods)]
        self.tracker.spawn(task.instrument(tracing::debug_span!("task", name)))
    }

    /// Resolves when the group is being stopped.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the group is being stopped.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells every task of the group to stop, without waiting.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops the group and waits until all its tasks have ended; false when `limit` was over first.
    pub async fn shutdown(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}
