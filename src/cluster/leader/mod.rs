//! The leader's task: runs on every master, works on the one that leads.
//!
//! What it knows beyond the log (sessions, beats, leases, who holds what) lives in memory only and is gathered anew by
//! each new leader, which first gives every lease its whole time again. [`lead`] is the state while leading,
//! [`placing`] gives tasks to workers, [`duties`] is what the clock brings, [`receipts`] what is told to submitters.

mod duties;
mod lead;
mod placing;
mod receipts;

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{broadcast::error::RecvError, mpsc, oneshot, watch};

use crate::base::{NodeId, PeerId, time};

use super::{
    ctx::{Ctx, MasterSide},
    model::{Fence, MasterInfo, SignedSpec, TaskId, TaskSpec},
    raft::{ProposeError, RaftStatus},
    session::wire::Down,
    state::Reply,
    tasks::book::Unaccepted,
};

/// Messages that wait for the leader's task.
pub const DESK: usize = 4_096;

/// A session a worker has opened.
#[derive(Debug)]
pub struct NewSession {
    /// Tells sessions apart.
    pub id: u64,
    /// Whose.
    pub node: NodeId,
    /// Its peer id.
    pub peer: PeerId,
    /// What it can run.
    pub kinds: Vec<String>,
    /// How many at once.
    pub capacity: u32,
    /// What it runs or has to tell.
    pub running: Vec<(TaskId, Fence)>,
    /// The way to it; dropping it ends the session.
    pub down: mpsc::Sender<Down>,
}

/// What the leader's task is told.
#[derive(Debug)]
pub enum Msg {
    /// A worker opened a session.
    Session(Box<NewSession>),
    /// A session ended.
    Gone {
        /// Whose.
        node: NodeId,
        /// Which.
        id: u64,
    },
    /// A worker lives.
    Beat {
        /// Who.
        node: NodeId,
        /// In which session.
        id: u64,
        /// Which beat.
        seq: u64,
        /// What it runs or has to tell.
        running: Vec<(TaskId, Fence)>,
    },
    /// A worker says whether it holds an input.
    Holds {
        /// Who.
        node: NodeId,
        /// The question's number.
        query: u64,
        /// The answer.
        held: bool,
    },
    /// A master lives, and listens there.
    MasterHello {
        /// Its number.
        node: NodeId,
        /// Who and where.
        info: MasterInfo,
    },
    /// A verified spec came by the tasks topic.
    Spec {
        /// Its id.
        task: TaskId,
        /// The spec.
        signed: Box<SignedSpec>,
    },
    /// Somebody asks for a verified spec to be put into the log, and waits for the answer. A leader's task that does not
    /// lead drops it.
    Submit {
        /// The task's id.
        task: TaskId,
        /// The spec.
        spec: Box<TaskSpec>,
        /// What applying it answered.
        answer: oneshot::Sender<Result<Reply, ProposeError>>,
    },
}

/// Milliseconds since boot.
fn boot_ms() -> u64 {
    time::since_boot().as_millis() as u64
}

/// Runs until the node stops.
pub async fn run(ctx: Arc<Ctx>, mut desk: mpsc::Receiver<Msg>) {
    let Some(side) = &ctx.master else { return };
    let mut status = side.raft.watch();
    let mut unaccepted = Unaccepted::default();
    let bodies = receipts::start(&ctx);
    loop {
        while !status.borrow_and_update().is_leader {
            tokio::select! {
                changed = status.changed() => if changed.is_err() { return },
                msg = desk.recv() => match msg {
                    // The author gets no receipt from here, but if the leader dies this master may follow it.
                    Some(Msg::Spec { task, signed }) => unaccepted.remember(task, *signed, boot_ms()),
                    // Sessions are let go: their workers find the leader; so do those who ask.
                    Some(_) => {}
                    None => return,
                },
            }
        }
        tracing::info!(term = status.borrow().term, "this master leads");
        let mut lead = lead::Lead::new(ctx.clone(), bodies.clone());
        let stopped = drive(side, &mut lead, &mut desk, &mut status, &mut unaccepted).await;
        side.standing.send_replace(BTreeMap::new());
        if stopped {
            return;
        }
        tracing::info!("this master leads no more");
    }
}

/// Leads until another does (false) or the node stops (true).
async fn drive(
    side: &MasterSide,
    lead: &mut lead::Lead,
    desk: &mut mpsc::Receiver<Msg>,
    status: &mut watch::Receiver<RaftStatus>,
    unaccepted: &mut Unaccepted,
) -> bool {
    let mut events = side.raft.events();
    // What was committed before must be applied here before anything is decided on it.
    lead.confirm();
    for signed in unaccepted.all(boot_ms()) {
        let task = signed.spec.id();
        unaccepted.accepted(&task);
        lead.spec(task, signed);
    }
    let mut tick = tokio::time::interval(duties::TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = status.changed() => {
                if changed.is_err() {
                    return true;
                }
                if !status.borrow_and_update().is_leader {
                    return false;
                }
            }
            msg = desk.recv() => match msg {
                Some(msg) => lead.msg(msg),
                None => return true,
            },
            event = events.recv() => match event {
                Ok((_, event)) => lead.event(event),
                Err(RecvError::Lagged(_)) => lead.reload(),
                Err(RecvError::Closed) => return true,
            },
            done = lead.next_done() => lead.done(done),
            _ = tick.tick() => lead.tick(),
        }
        lead.place();
    }
}
