//! What the leader knows beyond the log, and how news changes it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};

use crate::{
    base::{HasKind, NodeId, Role},
    cluster::{
        ctx::Ctx,
        model::{Fence, MasterInfo, MemberState, ReceiptBody, SignedSpec, TaskId, TaskSpec, TaskState},
        plan::{
            health::{Change, Health},
            lease::Leases,
        },
        raft::{ProposeError, Raft},
        session::wire::Down,
        state::{Command, Event, Reply, Request},
        view::Via,
    },
};

use super::{Msg, NewSession, boot_ms, placing::Placing};

/// Proposals and other work under way at once; specs beyond it are shed.
const MAX_WORK: usize = 1_024;
/// An attempt that was told this long ago and is not in the worker's list is told again, in milliseconds.
const TELL_AGAIN_MS: u64 = 3_000;
/// Beats are acknowledged while the leader was confirmed by a majority this lately, in milliseconds. With the worker's
/// 7.5 s it stays below the lease, so a leader that was replaced cannot keep a worker believing.
const CONFIRMED_MS: u64 = 2_000;

/// Work that ended.
pub(super) enum Done {
    /// Leadership was confirmed, or not, as of this time.
    Confirmed(u64, bool),
    /// A spec was proposed.
    Submitted(Submission, Result<Vec<Reply>, ProposeError>),
    /// Tasks were given away.
    Assigned(Vec<TaskId>, Result<Vec<Reply>, ProposeError>),
    /// Changes of health were logged.
    Health(Vec<Change>, bool),
    /// The group of masters was changed.
    Membership(Result<(), ProposeError>),
    /// Leases and tasks were expired.
    Expired,
    /// Old records were forgotten.
    Forgotten,
}

/// A spec on its way into the log.
pub(super) struct Submission {
    pub task: TaskId,
    /// Whether the same entry gives it to a worker.
    pub placed: bool,
    /// Who waits for the answer; none when it came by the topic.
    pub answer: Option<Answer>,
}

/// The way back to who asked for a submission.
pub(super) type Answer = oneshot::Sender<Result<Reply, ProposeError>>;

/// A worker's session.
pub(super) struct Session {
    pub id: u64,
    pub kinds: Vec<String>,
    pub capacity: u32,
    pub down: mpsc::Sender<Down>,
    /// A beat that waits until leadership is confirmed.
    pub unconfirmed: Option<(u64, Vec<(TaskId, Fence)>)>,
}

/// The leader's state.
pub(super) struct Lead {
    pub ctx: Arc<Ctx>,
    pub raft: Raft,
    pub bodies: mpsc::Sender<ReceiptBody>,
    pub sessions: BTreeMap<NodeId, Session>,
    pub health: Health,
    pub leases: Leases,
    pub placing: Placing,
    /// When the tasks that have not ended must have: (milliseconds since 1970, task).
    pub ends: BTreeSet<(u64, TaskId)>,
    /// By which way the tasks that this leader has put into the log came to it, until they end.
    pub ways: HashMap<TaskId, Via>,
    pub draining: BTreeSet<NodeId>,
    pub heard_masters: HashMap<NodeId, MasterInfo>,
    pub confirmed_ms: Option<u64>,
    pub confirming: bool,
    pub ready: bool,
    pub logging_health: bool,
    pub expiring: bool,
    pub changing_masters: bool,
    pub last_forget_ms: u64,
    pub last_refill_ms: u64,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
}

impl Lead {
    pub fn new(ctx: Arc<Ctx>, bodies: mpsc::Sender<ReceiptBody>) -> Self {
        let raft = ctx.master.as_ref().expect("only masters run the leader's task").raft.clone();
        Lead {
            ctx,
            raft,
            bodies,
            sessions: BTreeMap::new(),
            health: Health::default(),
            leases: Leases::default(),
            placing: Placing::default(),
            ends: BTreeSet::new(),
            ways: HashMap::new(),
            draining: BTreeSet::new(),
            heard_masters: HashMap::new(),
            confirmed_ms: None,
            confirming: false,
            ready: false,
            logging_health: false,
            expiring: false,
            changing_masters: false,
            last_forget_ms: boot_ms(),
            last_refill_ms: 0,
            work: FuturesUnordered::new(),
        }
    }

    /// The next work that ends; waits for ever while there is none.
    pub async fn next_done(&mut self) -> Done {
        if self.work.is_empty() {
            std::future::pending::<()>().await;
        }
        match self.work.next().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    pub fn start(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        self.work.push(work.boxed());
    }

    pub fn propose(
        &self,
        commands: Vec<Command>,
    ) -> impl Future<Output = Result<Vec<Reply>, ProposeError>> + Send + use<> {
        let raft = self.raft.clone();
        async move { raft.propose(commands.into_iter().map(Request::once).collect()).await }
    }

    /// Asks a majority whether this master still leads.
    pub fn confirm(&mut self) {
        if self.confirming {
            return;
        }
        self.confirming = true;
        let (raft, asked_ms) = (self.raft.clone(), boot_ms());
        self.start(async move { Done::Confirmed(asked_ms, raft.read_barrier().await.is_ok()) });
    }

    fn is_confirmed(&self) -> bool {
        self.confirmed_ms.is_some_and(|at| boot_ms().saturating_sub(at) < CONFIRMED_MS)
    }

    /// Reads everything from the state: at the beginning and when news were missed. Leases start anew.
    pub fn reload(&mut self) {
        let now = boot_ms();
        let state = self.raft.state().clone();
        self.ways.clear();
        match state.members() {
            Ok(members) => members.into_iter().for_each(|m| self.watch(m.node, m.state)),
            Err(e) => tracing::error!("the members cannot be read: {e}"),
        }
        let mut after = None;
        loop {
            let page = match state.tasks(Some(TaskState::Assigned), after.as_ref(), 1_000) {
                Ok(page) => page,
                Err(e) => return tracing::error!("the tasks cannot be read: {e}"),
            };
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for record in page {
                if let (Some(fence), Some(node)) = (record.fence, record.node) {
                    self.leases.grant(record.id, fence, node, now);
                    self.ends.insert((record.spec.not_after_ms, record.id));
                }
            }
        }
        self.refill();
    }

    fn watch(&mut self, node: NodeId, state: MemberState) {
        if state == MemberState::Draining {
            self.draining.insert(node);
        } else {
            self.draining.remove(&node);
        }
        if Some(node) != self.ctx.node {
            self.health.watch(node, state == MemberState::Lost, boot_ms());
        }
    }

    pub fn done(&mut self, done: Done) {
        match done {
            Done::Confirmed(asked_ms, sure) => {
                self.confirming = false;
                if sure {
                    self.confirmed_ms = Some(asked_ms);
                    if !self.ready {
                        self.ready = true;
                        self.reload();
                    }
                    self.acknowledge_waiting();
                }
            }
            Done::Submitted(submission, replies) => self.submitted(submission, replies),
            Done::Assigned(tasks, replies) => self.assigned(tasks, replies),
            Done::Health(changes, logged) => {
                self.logging_health = false;
                if logged {
                    changes.into_iter().for_each(|change| self.health.logged(change));
                }
            }
            Done::Membership(result) => {
                self.changing_masters = false;
                if let Err(e) = result {
                    tracing::debug!("the group of masters was not changed: {e}");
                }
            }
            Done::Expired => self.expiring = false,
            Done::Forgotten => {}
        }
    }

    pub fn receipt(&self, body: ReceiptBody) {
        if self.bodies.try_send(body).is_err() {
            tracing::debug!("too many receipts are due; one is dropped, its submitter will repeat the spec");
        }
    }

    /// A verified spec by the topic: one that is in the log already is answered with its receipts, any other is proposed.
    pub fn spec(&mut self, task: TaskId, signed: SignedSpec) {
        match self.raft.state().task(&task) {
            Ok(Some(record)) => {
                self.receipt(ReceiptBody::accepted(&record));
                if record.state.is_final() {
                    self.receipt(ReceiptBody::of(&record));
                } else {
                    self.ways.insert(task, Via::Gossip);
                }
            }
            Ok(None) if self.work.len() < MAX_WORK => {
                self.ways.insert(task, Via::Gossip);
                self.submit(task, signed.spec, None);
            }
            Ok(None) => tracing::debug!(%task, "too much is under way; a spec is shed"),
            Err(e) => tracing::error!("a task cannot be read: {e}"),
        }
    }

    /// A verified spec whose submitter asks for it: one that is in the log already is answered at once.
    fn asked(&mut self, task: TaskId, spec: TaskSpec, answer: Answer) {
        let reply = match self.raft.state().task(&task) {
            Ok(None) if self.work.len() < MAX_WORK => {
                self.ways.entry(task).or_insert(Via::Direct);
                return self.submit(task, spec, Some(answer));
            }
            Ok(None) => Err(ProposeError::Busy),
            Ok(Some(record)) => Ok(Reply::Task { id: task, index: record.accepted_index, duplicate: true }),
            Err(e) => Ok(Reply::refused(e.kind(), e.to_string())),
        };
        // Who has gone asks again.
        let _ = answer.send(reply);
    }

    pub fn msg(&mut self, msg: Msg) {
        match msg {
            Msg::Spec { task, signed } => self.spec(task, *signed),
            Msg::Submit { task, spec, answer } => self.asked(task, *spec, answer),
            Msg::Session(session) => self.session(*session),
            Msg::Gone { node, id } => {
                if self.sessions.get(&node).is_some_and(|s| s.id == id) {
                    self.sessions.remove(&node);
                }
            }
            Msg::Beat { node, id, seq, running } => {
                if self.sessions.get(&node).is_some_and(|s| s.id == id) {
                    self.beat(node, seq, running);
                }
            }
            Msg::Holds { node, query, held } => self.placing.answer(query, node, held),
            Msg::MasterHello { node, info } => {
                self.health.heard(node, boot_ms());
                self.heard_masters.insert(node, info);
            }
        }
    }

    fn session(&mut self, new: NewSession) {
        let NewSession { id, node, peer, kinds, capacity, running, down } = new;
        tracing::info!(%node, %peer, capacity, "a worker's session");
        self.health.heard(node, boot_ms());
        self.sessions.insert(node, Session { id, kinds, capacity, down, unconfirmed: None });
        self.placing.ask_again();
        if self.ready {
            self.reconcile(node, &running, false);
        }
    }

    fn beat(&mut self, node: NodeId, seq: u64, running: Vec<(TaskId, Fence)>) {
        self.health.heard(node, boot_ms());
        if self.ready && self.is_confirmed() {
            self.reconcile(node, &running, true);
            self.send(node, Down::BeatAck { seq });
        } else {
            if let Some(session) = self.sessions.get_mut(&node) {
                session.unconfirmed = Some((seq, running));
            }
            self.confirm();
        }
    }

    fn acknowledge_waiting(&mut self) {
        let waiting: Vec<_> =
            self.sessions.iter_mut().filter_map(|(node, s)| Some((*node, s.unconfirmed.take()?))).collect();
        for (node, (seq, running)) in waiting {
            self.reconcile(node, &running, true);
            self.send(node, Down::BeatAck { seq });
        }
    }

    fn reconcile(&mut self, node: NodeId, running: &[(TaskId, Fence)], renew: bool) {
        let due = self.leases.reconcile(node, running, TELL_AGAIN_MS, renew, boot_ms());
        for (task, fence) in due.cancel {
            self.send(node, Down::Cancel { task, fence });
        }
        for (task, fence) in due.tell {
            self.tell(node, task, fence);
        }
    }

    fn tell(&mut self, node: NodeId, task: TaskId, fence: Fence) {
        match self.raft.state().task(&task) {
            Ok(Some(record)) if record.fence == Some(fence) && record.state == TaskState::Assigned => {
                self.send(node, Down::Assign { task, fence, spec: Box::new(record.spec) });
            }
            Ok(_) => {}
            Err(e) => tracing::error!("a task cannot be read: {e}"),
        }
    }

    /// Sends to a worker; one whose queue is full loses its session and comes back when it can.
    pub fn send(&mut self, node: NodeId, down: Down) {
        if let Some(session) = self.sessions.get(&node)
            && session.down.try_send(down).is_err()
        {
            self.sessions.remove(&node);
        }
    }

    pub fn event(&mut self, event: Event) {
        if !self.ready {
            // Everything is read when leadership is confirmed.
            return;
        }
        match event {
            Event::TaskSubmitted { id } => self.enqueue(id),
            Event::TaskAssigned { id, node, fence } => {
                self.placing.placed(&id);
                self.leases.grant(id, fence, node, boot_ms());
                self.tell(node, id, fence);
            }
            Event::TaskRequeued { id, node, fence } => {
                self.leases.end(&id);
                self.send(node, Down::Cancel { task: id, fence });
                self.enqueue(id);
            }
            Event::TaskEnded { id, state, attempt } => {
                self.leases.end(&id);
                self.placing.forget(&id);
                if let (Some((node, fence)), true) = (attempt, state != TaskState::Completed) {
                    self.send(node, Down::Cancel { task: id, fence });
                }
                match self.raft.state().task(&id) {
                    Ok(Some(record)) => {
                        self.ends.remove(&(record.spec.not_after_ms, id));
                        // Who asked a master is answered where it asks.
                        if self.ways.remove(&id) != Some(Via::Direct) {
                            self.receipt(ReceiptBody::of(&record));
                        }
                    }
                    Ok(None) => {}
                    Err(e) => tracing::error!("a task cannot be read: {e}"),
                }
            }
            Event::MemberChanged { node } => match self.raft.state().member(node) {
                Ok(Some(member)) => self.watch(node, member.state),
                Ok(None) => {}
                Err(e) => tracing::error!("a member cannot be read: {e}"),
            },
            Event::MemberRemoved { node, .. } => {
                self.health.forget(node);
                self.sessions.remove(&node);
                self.heard_masters.remove(&node);
                self.draining.remove(&node);
            }
            Event::Reloaded => self.reload(),
            Event::PinChanged { .. } | Event::SettingChanged { .. } => {}
        }
    }

    /// Whether `node` is a master by the log.
    pub fn is_master(&self, node: NodeId) -> bool {
        let member = self.raft.state().member(node).ok().flatten();
        member.is_some_and(|m| m.role == Role::Master && m.state != MemberState::Removed)
    }
}
