//! Batching: concurrent callers' requests become one log entry, several entries are under way at once.

use std::time::Duration;

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use openraft::{
    async_runtime::WatchReceiver,
    errors::{ClientWriteError, ForwardToLeader},
    impls::ProgressResponder,
    raft::ClientWriteResult,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    base::{Kind, NodeId, Tasks, cbor, time},
    cluster::state::{
        Command, Entry, Reply, Request,
        command::{MAX_ENTRY_BYTES, MAX_ENTRY_REQUESTS},
    },
};

use super::{
    error::ProposeError,
    machine::Machine,
    status,
    types::{LoggedEntry, TypeConfig},
};

type OpenRaft = openraft::Raft<TypeConfig, Machine>;

/// Proposals that may wait; more are refused as busy.
const QUEUE: usize = 4_096;
/// Entries under way at once.
const IN_FLIGHT: usize = 16;
/// An entry is closed at this size, in bytes; what is left of the limit is for the entry's own words.
const CLOSE_BYTES: usize = MAX_ENTRY_BYTES / 2;
/// How long a proposal may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long openraft may take to say why it has stopped.
const REASON_PATIENCE: Duration = Duration::from_secs(1);

type Answer = Result<Vec<Reply>, ProposeError>;

struct Proposal {
    requests: Vec<Request>,
    bytes: usize,
    /// Whether it gives out a number: an entry may give one.
    admits: bool,
    answer: oneshot::Sender<Answer>,
}

/// The queue's end for callers.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Proposal>,
}

impl Proposer {
    /// Starts the task that proposes.
    pub fn start(node: NodeId, raft: OpenRaft, last_ms: u64, tasks: &Tasks) -> Self {
        let (queue, inbox) = mpsc::channel(QUEUE);
        tasks.spawn("raft proposer", run(node, raft, last_ms, inbox));
        Proposer { queue }
    }

    /// See [`Raft::propose`](super::Raft::propose).
    pub async fn propose(&self, requests: Vec<Request>) -> Answer {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        if requests.len() > MAX_ENTRY_REQUESTS {
            return Err(ProposeError::TooLarge(format!("{} requests, at most {MAX_ENTRY_REQUESTS}", requests.len())));
        }
        // Refused here, never logged: a node of this version would have to stop at it.
        if requests.iter().any(|r| matches!(r.command, Command::Unknown(_))) {
            let refused = Reply::refused(Kind::Invalid, "this master does not know the command; upgrade it");
            return Ok(vec![refused; requests.len()]);
        }
        let bytes = requests.iter().map(|r| cbor::to_vec(r).len()).sum();
        if bytes > CLOSE_BYTES {
            return Err(ProposeError::TooLarge(format!("{bytes} bytes, at most {CLOSE_BYTES}")));
        }
        let admits = requests.iter().any(|r| matches!(r.command, Command::Admit { .. } | Command::Found { .. }));
        let (answer, reply) = oneshot::channel();
        self.queue.try_send(Proposal { requests, bytes, admits, answer }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => ProposeError::Busy,
            mpsc::error::TrySendError::Closed(_) => ProposeError::Stopped("the node is stopping".into()),
        })?;
        match timeout(PATIENCE, reply).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ProposeError::Stopped("the node is stopping".into())),
            Err(_) => Err(ProposeError::Timeout),
        }
    }
}

async fn run(node: NodeId, raft: OpenRaft, mut last_ms: u64, mut inbox: mpsc::Receiver<Proposal>) {
    let mut under_way: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    let mut kept: Option<Proposal> = None;
    loop {
        let first = match kept.take() {
            Some(proposal) => proposal,
            None => tokio::select! {
                proposal = inbox.recv() => match proposal {
                    Some(proposal) => proposal,
                    None => return,
                },
                Some(()) = under_way.next(), if !under_way.is_empty() => continue,
            },
        };
        // With the pipe full, the queue fills and the next entry is larger.
        while under_way.len() >= IN_FLIGHT {
            under_way.next().await;
        }
        let mut batch = vec![first];
        let (mut bytes, mut count) = (batch[0].bytes, batch[0].requests.len());
        let mut admits = batch[0].admits;
        while let Ok(next) = inbox.try_recv() {
            let fits = bytes + next.bytes <= CLOSE_BYTES && count + next.requests.len() <= MAX_ENTRY_REQUESTS;
            if !fits || (admits && next.admits) {
                kept = Some(next);
                break;
            }
            bytes += next.bytes;
            count += next.requests.len();
            admits |= next.admits;
            batch.push(next);
        }
        last_ms = last_ms.max(time::unix_ms());
        let mut requests = Vec::with_capacity(count);
        let mut callers = Vec::with_capacity(batch.len());
        for proposal in batch {
            callers.push((proposal.requests.len(), proposal.answer));
            requests.extend(proposal.requests);
        }
        let entry = Entry { time_ms: last_ms, proposer: node, requests };
        let (responder, outcome) = ProgressResponder::complete_only();
        match raft.client_write_ff(LoggedEntry(entry.encode().into()), Some(responder)).await {
            Ok(()) => {
                let raft = raft.clone();
                under_way.push(Box::pin(async move {
                    let result = match outcome.await {
                        Ok(result) => split(result),
                        Err(_) => Err(ProposeError::Stopped(why_stopped(&raft).await)),
                    };
                    deliver(callers, result);
                }));
            }
            Err(fatal) => deliver(callers, Err(ProposeError::Stopped(status::reason(&fatal)))),
        }
    }
}

/// Why openraft has let go of an entry: it drops what waits first and says the reason a moment later.
async fn why_stopped(raft: &OpenRaft) -> String {
    let mut metrics = raft.metrics();
    let saying = async {
        loop {
            if let Err(fatal) = &metrics.borrow_watched().running_state {
                return status::reason(fatal);
            }
            if metrics.changed().await.is_err() {
                return "the node is stopping".into();
            }
        }
    };
    timeout(REASON_PATIENCE, saying).await.unwrap_or_else(|_| "the entry was dropped".into())
}

fn split(result: ClientWriteResult<TypeConfig>) -> Answer {
    match result {
        Ok(response) => Ok(response.data.0),
        Err(ClientWriteError::ForwardToLeader(forward)) => Err(not_leader(&forward)),
        // It may yet be committed by another leader.
        Err(ClientWriteError::LogEntryDiscarded(_)) => Err(ProposeError::Timeout),
        Err(e) => Err(ProposeError::Membership(e.to_string())),
    }
}

/// Who leads instead, in our words.
pub(crate) fn not_leader(forward: &ForwardToLeader<TypeConfig>) -> ProposeError {
    let info = forward.leader_node.as_ref().and_then(|node| node.info());
    ProposeError::NotLeader { leader: forward.leader_id.map(NodeId).zip(info) }
}

fn deliver(callers: Vec<(usize, oneshot::Sender<Answer>)>, result: Answer) {
    // A caller that has gone is no error.
    match result {
        Ok(replies) => {
            let mut replies = replies.into_iter();
            for (count, caller) in callers {
                let _ = caller.send(Ok(replies.by_ref().take(count).collect()));
            }
        }
        Err(e) => {
            for (_, caller) in callers {
                let _ = caller.send(Err(e.clone()));
            }
        }
    }
}
