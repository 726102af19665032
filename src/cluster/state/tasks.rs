//! Sans-IO: the life of tasks: accepted once, one owner at a time, ended once.

use sha2::{Digest, Sha256};

use crate::{
    base::{Kind, NodeId, cbor},
    cluster::model::{
        Fence, MemberState, Outcome, PinRecord, TaskId, TaskRecord, TaskSpec, TaskState,
        spec::{CLOCK_SKEW_MS, MAX_LIFE_MS},
        task::MAX_MESSAGE_BYTES,
    },
};

use super::{
    FORGET_BATCH, MAX_ATTEMPTS, MAX_LIVE_TASKS, MAX_PINS, MAX_TASKS, MAX_TRIED, TASK_KEPT_MS,
    apply::Step,
    command::{Event, Reply},
    error::StateError,
    reader::{member_row, task_row},
    records::{self, PinId, TASK_ENDS, TASK_STATES, TASKS, TaskRow},
    view::StateRead,
};

/// The first wait after a failure, in milliseconds; it doubles with every attempt.
const RETRY_MS: u64 = 500;

/// What the keys of tasks in `state` start with.
pub(super) fn state_prefix(state: TaskState) -> [u8; 1] {
    // Written out: the order of a Rust enum is no disk format.
    [match state {
        TaskState::Pending => 1,
        TaskState::Assigned => 2,
        TaskState::Running => 3,
        TaskState::Completed => 4,
        TaskState::Failed => 5,
        TaskState::Cancelled => 6,
        TaskState::TimedOut => 7,
    }]
}

/// Where a task stands in the index by state.
pub(super) fn state_key(state: TaskState, accepted: u64, id: &TaskId) -> Vec<u8> {
    [&state_prefix(state)[..], &accepted.to_be_bytes(), &id.0].concat()
}

fn end_key(record: &TaskRecord) -> Vec<u8> {
    let when = record.spec.not_after_ms.saturating_add(TASK_KEPT_MS);
    [&when.to_be_bytes()[..], &record.id.0].concat()
}

fn cut(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

fn digest(node: NodeId, outcome: &Outcome) -> [u8; 8] {
    let hash = Sha256::digest(cbor::to_vec(&(node, outcome)));
    std::array::from_fn(|i| hash[i])
}

impl Step<'_, '_> {
    /// Writes a task's new state; `old` is the state it had.
    fn save_task(&mut self, mut row: TaskRow, old: Option<TaskState>) {
        row.record.changed_index = self.index;
        row.record.changed_ms = self.meta.time_ms;
        let record = &row.record;
        if let Some(old) = old {
            self.view.delete(TASK_STATES, state_key(old, record.accepted_index, &record.id));
        }
        self.view.put(TASK_STATES, state_key(record.state, record.accepted_index, &record.id), Vec::new());
        if record.state.is_final() {
            self.view.put(TASK_ENDS, end_key(record), Vec::new());
            self.meta.live_tasks = self.meta.live_tasks.saturating_sub(1);
        }
        self.view.put(TASKS, record.id.0, records::encode(&row));
    }

    fn end(&mut self, mut row: TaskRow, state: TaskState) -> Reply {
        let old = row.record.state;
        let attempt = match (old, row.record.node, row.record.fence) {
            (TaskState::Assigned, Some(node), Some(fence)) => Some((node, fence)),
            _ => None,
        };
        let task = row.record.id;
        row.record.state = state;
        self.save_task(row, Some(old));
        self.events.push(Event::TaskEnded { id: task, state, attempt });
        Reply::Completed { task, state, index: self.index }
    }

    pub(super) fn submit(&mut self, task: &TaskId, spec: &TaskSpec) -> Result<Reply, StateError> {
        if let Some(row) = task_row(self.view, task)? {
            if row.record.spec != *spec {
                return Ok(Reply::refused(Kind::Conflict, format!("task {task} has another spec")));
            }
            return Ok(Reply::Task { id: *task, index: row.record.accepted_index, duplicate: true });
        }
        let now = self.meta.time_ms;
        if self.meta.cluster != Some(spec.cluster) {
            return Ok(Reply::refused(Kind::Invalid, "the spec is for another cluster"));
        }
        if let Err(e) = spec.check_shape() {
            return Ok(Reply::refused(Kind::Invalid, e.to_string()));
        }
        if spec.id() != *task {
            return Ok(Reply::refused(Kind::Invalid, "the task's id is not the hash of its spec"));
        }
        if spec.not_after_ms <= now {
            return Ok(Reply::refused(
                Kind::Timeout,
                format!("the spec's time was over {} ms ago", now - spec.not_after_ms),
            ));
        }
        if spec.not_after_ms > now.saturating_add(MAX_LIFE_MS + CLOCK_SKEW_MS) {
            return Ok(Reply::refused(Kind::Invalid, "the spec is valid for more than 24 hours"));
        }
        if self.meta.live_tasks >= MAX_LIVE_TASKS || self.meta.tasks >= MAX_TASKS {
            return Ok(Reply::refused(Kind::Busy, "too many tasks; try again later"));
        }
        let record = TaskRecord {
            id: *task,
            spec: spec.clone(),
            state: TaskState::Pending,
            accepted_index: self.index,
            accepted_ms: now,
            attempts: 0,
            fence: None,
            node: None,
            worker: None,
            not_before_ms: 0,
            result: None,
            result_bytes: 0,
            error: None,
            changed_index: self.index,
            changed_ms: now,
        };
        self.meta.live_tasks += 1;
        self.meta.tasks += 1;
        self.save_task(TaskRow { record, tried: Vec::new(), told: None }, None);
        self.events.push(Event::TaskSubmitted { id: *task });
        Ok(Reply::Task { id: *task, index: self.index, duplicate: false })
    }

    pub(super) fn assign(&mut self, task: &TaskId, node: NodeId, attempt: u32) -> Result<Reply, StateError> {
        let Some(mut row) = task_row(self.view, task)? else { return Ok(unknown(task)) };
        let record = &mut row.record;
        if record.state != TaskState::Pending || attempt != record.attempts + 1 {
            let why = format!("task {task} is {} after {} attempts", record.state, record.attempts);
            return Ok(Reply::refused(Kind::Conflict, why));
        }
        if record.spec.not_after_ms <= self.meta.time_ms {
            return Ok(Reply::refused(Kind::Timeout, format!("the time of task {task} is over")));
        }
        // The index is the fence, so that one entry cannot give a task away twice.
        if record.fence.is_some_and(|last| last.index >= self.index) {
            return Ok(Reply::refused(Kind::Conflict, format!("task {task} had an attempt in this entry already")));
        }
        let member = member_row(self.view, node)?.map(|r| r.member).filter(|m| m.state == MemberState::Alive);
        let Some(member) = member else {
            return Ok(Reply::refused(Kind::Conflict, format!("{node} takes no tasks")));
        };
        let fence = Fence { epoch: self.meta.epoch, index: self.index };
        record.state = TaskState::Assigned;
        record.attempts += 1;
        record.fence = Some(fence);
        record.node = Some(node);
        record.worker = Some(member.peer);
        self.save_task(row, Some(TaskState::Pending));
        self.events.push(Event::TaskAssigned { id: *task, node, fence });
        Ok(Reply::Assigned { task: *task, fence })
    }

    pub(super) fn complete(
        &mut self,
        task: &TaskId,
        fence: Fence,
        node: NodeId,
        outcome: &Outcome,
        holders: &[NodeId],
    ) -> Result<Reply, StateError> {
        let Some(mut row) = task_row(self.view, task)? else { return Ok(unknown(task)) };
        let told = (fence, digest(node, outcome));
        if row.told == Some(told) {
            let TaskRecord { state, changed_index, .. } = row.record;
            return Ok(Reply::Completed { task: *task, state, index: changed_index });
        }
        let record = &mut row.record;
        if record.state != TaskState::Assigned || record.fence != Some(fence) || record.node != Some(node) {
            return Ok(Reply::Stale);
        }
        match outcome {
            Outcome::Success { result, bytes } => {
                if result.is_some() && self.meta.pins >= MAX_PINS {
                    return Ok(Reply::refused(Kind::Busy, "no room for another pin; remove some"));
                }
                record.result = *result;
                record.result_bytes = *bytes;
                record.error = None;
                row.told = Some(told);
                if let Some(cid) = *result {
                    let mut holders = self.known_holders(holders)?;
                    if holders.is_empty() {
                        holders = self.known_holders(&[node])?;
                    }
                    let pin =
                        PinRecord { cid, holders, task: Some(*task), index: self.index, time_ms: self.meta.time_ms };
                    self.put_pin(PinId(task.0), pin)?;
                }
                Ok(self.end(row, TaskState::Completed))
            }
            Outcome::Failure { message, retryable } => {
                record.error = Some(cut(message, MAX_MESSAGE_BYTES));
                row.told = Some(told);
                let wait = RETRY_MS << record.attempts.min(6);
                Ok(self.retry_or_fail(row, *retryable, wait))
            }
        }
    }

    /// Takes an attempt back: pending again after `wait_ms`, or failed when it may not or cannot be tried again.
    fn retry_or_fail(&mut self, mut row: TaskRow, retryable: bool, wait_ms: u64) -> Reply {
        let record = &mut row.record;
        let attempt = record.node.zip(record.fence);
        if let Some((node, _)) = attempt {
            row.tried.retain(|n| *n != node);
            row.tried.push(node);
            if row.tried.len() > MAX_TRIED {
                row.tried.remove(0);
            }
        }
        if !retryable || record.attempts >= MAX_ATTEMPTS {
            return self.end(row, TaskState::Failed);
        }
        record.not_before_ms = self.meta.time_ms.saturating_add(wait_ms);
        let (id, old) = (record.id, record.state);
        record.state = TaskState::Pending;
        self.save_task(row, Some(old));
        if let Some((node, fence)) = attempt {
            self.events.push(Event::TaskRequeued { id, node, fence });
        }
        Reply::Completed { task: id, state: TaskState::Pending, index: self.index }
    }

    pub(super) fn cancel(&mut self, task: &TaskId) -> Result<Reply, StateError> {
        let Some(row) = task_row(self.view, task)? else { return Ok(unknown(task)) };
        let TaskRecord { state, changed_index, .. } = row.record;
        if state.is_final() {
            return Ok(Reply::Completed { task: *task, state, index: changed_index });
        }
        Ok(self.end(row, TaskState::Cancelled))
    }

    pub(super) fn expire(&mut self, leases: &[(TaskId, Fence)], tasks: &[TaskId]) -> Result<Reply, StateError> {
        for (task, fence) in leases {
            let Some(mut row) = task_row(self.view, task)? else { continue };
            if row.record.state == TaskState::Assigned && row.record.fence == Some(*fence) {
                row.record.error = Some("the lease ran out".into());
                self.retry_or_fail(row, true, 0);
            }
        }
        for task in tasks {
            let Some(mut row) = task_row(self.view, task)? else { continue };
            if !row.record.state.is_final() && row.record.spec.not_after_ms <= self.meta.time_ms {
                row.record.error.get_or_insert_with(|| "its time was over before it was done".into());
                self.end(row, TaskState::TimedOut);
            }
        }
        Ok(self.done())
    }

    pub(super) fn forget_tasks(&mut self, before_ms: u64) -> Result<Reply, StateError> {
        let before = before_ms.min(self.meta.time_ms).to_be_bytes();
        for (key, _) in self.view.range(TASK_ENDS, &[], Some(&before), FORGET_BATCH)? {
            let id: [u8; 32] = key
                .get(8..)
                .and_then(|id| id.try_into().ok())
                .ok_or_else(|| StateError::Damaged { table: TASK_ENDS, reason: "a key that is no id".into() })?;
            if let Some(row) = task_row(self.view, &TaskId(id))? {
                let TaskRecord { state, accepted_index, id, .. } = row.record;
                self.view.delete(TASK_STATES, state_key(state, accepted_index, &id));
                self.view.delete(TASKS, id.0);
                self.meta.tasks = self.meta.tasks.saturating_sub(1);
            }
            self.view.delete(TASK_ENDS, key);
        }
        Ok(self.done())
    }
}

fn unknown(task: &TaskId) -> Reply {
    Reply::refused(Kind::NotFound, format!("there is no task {task}"))
}
