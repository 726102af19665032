//! Changes made in groups: whatever arrives while one group is being synced shares the next sync.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::store::{Batch, Durability, Kv, StoreError};

/// Changes that may wait at a time; further callers wait before they queue.
const MAX_WAITING: usize = 4096;

type Row = (&'static str, Vec<u8>);
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Job = Box<dyn FnOnce(&mut Draft<'_>) -> Answer + Send>;

/// The rows as a change sees them: what is committed, under what the changes before it in its group have done.
pub(super) struct Draft<'a> {
    state: &'a dyn Kv,
    changed: BTreeMap<Row, Option<Vec<u8>>>,
}

impl<'a> Draft<'a> {
    fn new(state: &'a dyn Kv) -> Self {
        Draft { state, changed: BTreeMap::new() }
    }

    /// The value of a key.
    pub(super) fn get(&self, table: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.changed.get(&(table, key.to_vec())) {
            Some(value) => Ok(value.clone()),
            None => self.state.get(table, key),
        }
    }

    /// The keys from `from` to before `to`, in no order.
    pub(super) fn keys(&self, table: &'static str, from: &[u8], to: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
        let rows = self.state.scan(table, Bound::Included(from), Bound::Excluded(to), usize::MAX)?;
        let mut keys: Vec<_> = rows.into_iter().map(|(key, _)| key).collect();
        keys.retain(|key| !self.changed.contains_key(&(table, key.clone())));
        let drafted = self.changed.range((table, from.to_vec())..(table, to.to_vec()));
        keys.extend(drafted.filter(|(_, value)| value.is_some()).map(|((_, key), _)| key.clone()));
        Ok(keys)
    }

    /// Sets a key.
    pub(super) fn put(&mut self, table: &'static str, key: Vec<u8>, value: Vec<u8>) {
        self.changed.insert((table, key), Some(value));
    }

    /// Removes a key.
    pub(super) fn delete(&mut self, table: &'static str, key: Vec<u8>) {
        self.changed.insert((table, key), None);
    }

    fn commit(self) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for ((table, key), value) in self.changed {
            match value {
                Some(value) => batch.put(table, key, value),
                None => batch.delete(table, key),
            }
        }
        self.state.commit(batch, Durability::Immediate)
    }
}

/// The writer of one engine's rows.
pub(super) struct Group {
    state: Arc<dyn Kv>,
    queue: Mutex<Queue>,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Job>,
    running: bool,
}

impl Group {
    pub(super) fn new(state: Arc<dyn Kv>) -> Self {
        Group { state, queue: Mutex::default(), room: Arc::new(Semaphore::new(MAX_WAITING)) }
    }

    /// Runs one change; durable when this returns. A change that fails must not have written to its draft.
    pub(super) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        run: impl FnOnce(&mut Draft<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // Held by the change itself, which may outlive a caller that gives up.
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (reply, wait) = oneshot::channel();
        let job: Job = Box::new(move |draft| answer(run(draft), reply, permit));
        let start = {
            let mut queue = self.lock();
            queue.waiting.push(job);
            !std::mem::replace(&mut queue.running, true)
        };
        if start {
            let group = Arc::clone(self);
            // Syncing waits for the disk.
            tokio::task::spawn_blocking(move || group.run());
        }
        wait.await.map_err(|_| StoreError::Closed)?
    }

    fn run(&self) {
        let mut idle = Idle { group: self, ended: false };
        while let Some(jobs) = self.next() {
            let mut draft = Draft::new(&*self.state);
            let answers: Vec<Answer> = jobs.into_iter().map(|job| job(&mut draft)).collect();
            let outcome = draft.commit();
            for answer in answers {
                answer(outcome.as_ref().map_err(StoreError::again).copied());
            }
        }
        idle.ended = true;
    }

    /// What waits; the writer counts as ended when it is nothing.
    fn next(&self) -> Option<Vec<Job>> {
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            queue.running = false;
            return None;
        }
        Some(std::mem::take(&mut queue.waiting))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer<T: Send + 'static>(
    outcome: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    permit: OwnedSemaphorePermit,
) -> Answer {
    Box::new(move |committed| {
        let _ = reply.send(committed.and(outcome));
        drop(permit);
    })
}

/// Lets the next change start a writer when this one ended by a panic.
struct Idle<'a> {
    group: &'a Group,
    ended: bool,
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let mut queue = self.group.lock();
            queue.running = false;
            queue.waiting.clear();
        }
    }
}
