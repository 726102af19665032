//! Giving tasks to workers: who holds the input is asked first, then the scheduler chooses, then the log decides.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use crate::{
    base::{Cid, NodeId, Role, time},
    cluster::{
        model::{MemberState, ReceiptBody, TaskId, TaskRecord, TaskSpec, TaskState},
        plan::{
            health::Standing,
            scheduler::{Choice, Want, WorkerView, choose},
        },
        raft::ProposeError,
        session::wire::Down,
        state::{Command, Reply},
    },
};

use super::{
    boot_ms,
    lead::{Answer, Done, Lead, Session, Submission},
};

/// Workers have this long to say whether they hold an input, in milliseconds. One that lives answers at once; on a machine
/// that is busy it takes a while, and waiting for it costs less than an input that has to move.
const ANSWER_MS: u64 = 1_000;
/// Pending tasks looked at; more wait in the state.
const MAX_QUEUE: usize = 2_000;
/// Tasks given away by one proposal.
const MAX_ASSIGN: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Holders {
    Unasked,
    Asked { query: u64, until_ms: u64, missing: BTreeSet<NodeId> },
    Known,
}

#[derive(Clone, Debug)]
struct Waiting {
    kind: String,
    input: Option<Cid>,
    attempts: u32,
    avoid: Option<NodeId>,
    not_before_ms: u64,
    since_ms: u64,
    asked: Holders,
    holders: BTreeSet<NodeId>,
}

/// Higher priority first, then in the order of acceptance.
type Key = (u8, u64, TaskId);

/// Pending tasks.
#[derive(Debug, Default)]
pub(super) struct Placing {
    queue: BTreeMap<Key, Waiting>,
    keys: HashMap<TaskId, Key>,
    queries: HashMap<u64, TaskId>,
    next_query: u64,
    /// Proposed to go to these nodes.
    under_way: HashMap<TaskId, NodeId>,
}

impl Placing {
    fn add(&mut self, record: &TaskRecord, tried: Option<NodeId>) {
        if self.keys.contains_key(&record.id) || self.under_way.contains_key(&record.id) {
            return;
        }
        let key = (u8::MAX - record.spec.priority, record.accepted_index, record.id);
        let waiting = Waiting {
            kind: record.spec.kind.clone(),
            input: record.spec.input,
            attempts: record.attempts,
            avoid: tried,
            not_before_ms: record.not_before_ms,
            since_ms: boot_ms(),
            asked: if record.spec.input.is_some() { Holders::Unasked } else { Holders::Known },
            holders: BTreeSet::new(),
        };
        self.keys.insert(record.id, key);
        self.queue.insert(key, waiting);
    }

    /// The task needs no place any more.
    pub fn forget(&mut self, task: &TaskId) {
        self.under_way.remove(task);
        self.unqueue(task);
    }

    /// The log has given the task away.
    pub fn placed(&mut self, task: &TaskId) {
        self.forget(task);
    }

    fn unqueue(&mut self, task: &TaskId) {
        if let Some(key) = self.keys.remove(task)
            && let Some(Waiting { asked: Holders::Asked { query, .. }, .. }) = self.queue.remove(&key)
        {
            self.queries.remove(&query);
        }
    }

    /// A worker has answered.
    pub fn answer(&mut self, query: u64, node: NodeId, held: bool) {
        let Some(key) = self.queries.get(&query).and_then(|task| self.keys.get(task)) else { return };
        let Some(waiting) = self.queue.get_mut(key) else { return };
        if let Holders::Asked { query: asked, missing, .. } = &mut waiting.asked
            && *asked == query
            && missing.remove(&node)
            && held
        {
            waiting.holders.insert(node);
        }
    }

    /// There is somebody new to ask.
    pub fn ask_again(&mut self) {
        for waiting in self.queue.values_mut().filter(|w| w.input.is_some()) {
            waiting.asked = Holders::Unasked;
        }
        self.queries.clear();
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }
}

impl Lead {
    /// Takes a pending task into the queue.
    pub fn enqueue(&mut self, task: TaskId) {
        let state = self.raft.state();
        match state.task(&task) {
            Ok(Some(record)) if !record.state.is_final() => {
                self.ends.insert((record.spec.not_after_ms, task));
                if record.state == TaskState::Pending && self.placing.len() < MAX_QUEUE {
                    let tried = state.task_tried(&task).ok().and_then(|t| t.last().copied());
                    self.placing.add(&record, tried);
                }
            }
            Ok(_) => {}
            Err(e) => tracing::error!("a task cannot be read: {e}"),
        }
    }

    /// Takes pending tasks from the state into the queue, as many as it holds.
    pub fn refill(&mut self) {
        self.last_refill_ms = boot_ms();
        match self.raft.state().tasks(Some(TaskState::Pending), None, MAX_QUEUE) {
            Ok(page) => {
                for record in page {
                    self.ends.insert((record.spec.not_after_ms, record.id));
                    let tried = match record.attempts {
                        0 => None,
                        _ => self.raft.state().task_tried(&record.id).ok().and_then(|t| t.last().copied()),
                    };
                    self.placing.add(&record, tried);
                }
            }
            Err(e) => tracing::error!("the tasks cannot be read: {e}"),
        }
    }

    /// Whether a worker heard of a moment ago has no session: it restarts, or is on its way to a new leader. Tasks with
    /// an input wait for it, for it may hold the input; after three silent seconds it is suspect, and they go on.
    fn workers_are_missing(&self, now: u64) -> bool {
        let members = self.raft.state().members().unwrap_or_default();
        members.iter().any(|m| {
            m.role == Role::Worker
                && m.state == MemberState::Alive
                && self.health.standing(m.node, now) == Standing::Alive
                && !self.sessions.contains_key(&m.node)
        })
    }

    /// How many attempts each worker has or is about to get.
    fn loads(&self) -> BTreeMap<NodeId, u32> {
        let mut loads: BTreeMap<NodeId, u32> =
            self.sessions.keys().map(|node| (*node, self.leases.load(*node))).collect();
        for node in self.placing.under_way.values() {
            *loads.entry(*node).or_default() += 1;
        }
        loads
    }

    /// The workers that may get new tasks.
    fn open(&self, now: u64) -> BTreeSet<NodeId> {
        let alive = |node: &&NodeId| self.health.standing(**node, now) == Standing::Alive;
        self.sessions.keys().filter(alive).filter(|node| !self.draining.contains(node)).copied().collect()
    }

    /// Puts a spec into the log. A task that needs no input is given to a worker by the same entry when one has room, so
    /// that it waits for the disks once, not twice.
    pub(super) fn submit(&mut self, task: TaskId, spec: TaskSpec, answer: Option<Answer>) {
        let node = self.place_at_once(&task, &spec);
        let mut commands = vec![Command::Submit { task, spec }];
        if let Some(node) = node {
            self.placing.under_way.insert(task, node);
            commands.push(Command::Assign { task, node, attempt: 1 });
        }
        let submission = Submission { task, placed: node.is_some(), answer };
        let proposal = self.propose(commands);
        self.start(async move { Done::Submitted(submission, proposal.await) });
    }

    /// Who can run a new task now, when nothing waits before it and it does not matter who holds what.
    fn place_at_once(&self, task: &TaskId, spec: &TaskSpec) -> Option<NodeId> {
        let known = self.placing.under_way.contains_key(task) || self.placing.keys.contains_key(task);
        if !self.ready || known || spec.input.is_some() || !self.placing.queue.is_empty() {
            return None;
        }
        let want = Want { kind: &spec.kind, holders: &BTreeSet::new(), avoid: None, waited_ms: 0 };
        match choose(&want, &views(&self.sessions, &self.loads(), &self.open(boot_ms()))) {
            Choice::Assign(node) => Some(node),
            Choice::Wait => None,
        }
    }

    /// A spec was decided on: who asked is answered, who published it gets a receipt. If its assignment failed it waits
    /// like any other.
    pub(super) fn submitted(&mut self, submission: Submission, replies: Result<Vec<Reply>, ProposeError>) {
        let Submission { task, placed, answer } = submission;
        let mut replies = replies.map(Vec::into_iter);
        let reply = match &mut replies {
            Ok(replies) => replies.next().ok_or(ProposeError::Timeout),
            Err(e) => Err(e.clone()),
        };
        if !matches!(reply, Ok(Reply::Task { .. })) {
            self.ways.remove(&task);
        }
        if placed {
            self.assigned(vec![task], replies.map(Iterator::collect));
        }
        match (answer, reply) {
            // Who has gone will ask again.
            (Some(answer), reply) => drop(answer.send(reply)),
            (None, Ok(Reply::Task { id, index, .. })) => {
                self.receipt(ReceiptBody::Accepted { task: id, log_index: index });
            }
            (None, Ok(Reply::Refused { message, .. })) => tracing::info!(%task, "a spec is refused: {message}"),
            (None, Ok(_)) => {}
            (None, Err(e)) => tracing::debug!(%task, "a spec was not proposed: {e}"),
        }
    }

    /// Asks and chooses for all that wait; what is chosen goes into the log.
    pub fn place(&mut self) {
        if !self.ready || self.placing.queue.is_empty() || self.sessions.is_empty() {
            return;
        }
        let (now, unix) = (boot_ms(), time::unix_ms());
        let mut workers = views(&self.sessions, &self.loads(), &self.open(now));
        let gathering = self.workers_are_missing(now);
        let mut ask: Vec<(NodeId, u64, Cid)> = Vec::new();
        let mut chosen: Vec<(TaskId, NodeId, u32)> = Vec::new();
        for ((_, _, task), waiting) in &mut self.placing.queue {
            if chosen.len() == MAX_ASSIGN {
                break;
            }
            if waiting.not_before_ms > unix {
                continue;
            }
            if let (Holders::Unasked, Some(cid)) = (&waiting.asked, waiting.input) {
                if gathering {
                    continue;
                }
                let able = |w: &&WorkerView<'_>| w.open && w.kinds.contains(&waiting.kind);
                let missing: BTreeSet<NodeId> = workers.iter().filter(able).map(|w| w.node).collect();
                if missing.is_empty() {
                    continue;
                }
                self.placing.next_query += 1;
                let query = self.placing.next_query;
                ask.extend(missing.iter().map(|node| (*node, query, cid)));
                self.placing.queries.insert(query, *task);
                waiting.holders.clear();
                waiting.asked = Holders::Asked { query, until_ms: now + ANSWER_MS, missing };
            }
            if let Holders::Asked { query, until_ms, missing } = &waiting.asked {
                if !missing.is_empty() && now < *until_ms {
                    continue;
                }
                self.placing.queries.remove(query);
                waiting.asked = Holders::Known;
            }
            let want = Want {
                kind: &waiting.kind,
                holders: &waiting.holders,
                avoid: waiting.avoid,
                waited_ms: now.saturating_sub(waiting.since_ms),
            };
            if let Choice::Assign(node) = choose(&want, &workers) {
                if let Some(worker) = workers.iter_mut().find(|w| w.node == node) {
                    worker.load += 1;
                }
                chosen.push((*task, node, waiting.attempts + 1));
            }
        }
        for (node, query, cid) in ask {
            self.send(node, Down::HoldsQuery { query, cid });
        }
        self.assign(chosen);
    }

    fn assign(&mut self, chosen: Vec<(TaskId, NodeId, u32)>) {
        if chosen.is_empty() {
            return;
        }
        let tasks: Vec<TaskId> = chosen.iter().map(|(task, ..)| *task).collect();
        let mut commands = Vec::with_capacity(chosen.len());
        for (task, node, attempt) in chosen {
            self.placing.unqueue(&task);
            self.placing.under_way.insert(task, node);
            commands.push(Command::Assign { task, node, attempt });
        }
        let proposal = self.propose(commands);
        self.start(async move { Done::Assigned(tasks, proposal.await) });
    }

    /// Assignments were decided. Those that succeeded are told by the log's events; the others wait again.
    pub(super) fn assigned(&mut self, tasks: Vec<TaskId>, replies: Result<Vec<Reply>, ProposeError>) {
        let replies = match replies {
            Ok(replies) => replies,
            Err(e) => {
                tracing::debug!("assignments were not proposed: {e}");
                Vec::new()
            }
        };
        for (i, task) in tasks.iter().enumerate() {
            if !matches!(replies.get(i), Some(Reply::Assigned { .. })) {
                if let Some(Reply::Refused { message, .. }) = replies.get(i) {
                    tracing::debug!(%task, "an assignment is refused: {message}");
                }
                self.placing.under_way.remove(task);
                self.enqueue(*task);
            }
        }
    }
}

/// The workers as the scheduler sees them.
fn views<'a>(
    sessions: &'a BTreeMap<NodeId, Session>,
    loads: &BTreeMap<NodeId, u32>,
    open: &BTreeSet<NodeId>,
) -> Vec<WorkerView<'a>> {
    let view = |(node, session): (&NodeId, &'a Session)| WorkerView {
        node: *node,
        kinds: &session.kinds,
        capacity: session.capacity,
        load: loads.get(node).copied().unwrap_or_default(),
        open: open.contains(node),
    };
    sessions.iter().map(view).collect()
}

/// How long the queue may go without a look into the state.
pub(super) const REFILL: Duration = Duration::from_secs(5);
