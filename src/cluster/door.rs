//! The door: answers calls on `/ipfs-kit/cluster/1.0.0`, on every member. Who is no master names the masters.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{
    base::{HasKind, Kind, PeerId, Role, frame, random, time},
    net::{Class, Inbound, Stream},
};

use super::{
    ctx::{Ctx, MasterSide},
    error::ClusterError,
    leader::Msg,
    model::{
        Certificate, MasterInfo, MemberInfo, MemberState, ReceiptBody, SignedSpec, Subject, TaskId,
        cert::CERTIFICATE_MS, token::TokenProof,
    },
    plan::health::Standing,
    rpc::{Admission, Answer, Ask, Call, MAX_ADDRS, MAX_CALL_BYTES, Newcomer, PROTOCOL, StatusAnswer},
    state::{Command, Event, FIRST_EPOCH, Reply, Request},
    view::MemberStatus,
};

/// Streams waiting to be served; more are reset at the caller's end.
const BOUND: usize = 64;
/// Calls served at once.
const AT_ONCE: usize = 256;
/// A caller must have sent its frame by then.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// How long the log may take for a caller who waits.
const LOG_LIMIT: Duration = Duration::from_secs(6);
/// The longest wait for an outcome, in milliseconds.
pub const MAX_WAIT_MS: u32 = 20_000;

/// Serves calls until the node stops.
pub async fn run(ctx: Arc<Ctx>) {
    let mut inbound = ctx.net.streams().accept(&[PROTOCOL], Class::Control, BOUND);
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(Inbound { peer, stream, .. }) = inbound.recv().await {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let ctx2 = ctx.clone();
        ctx.tasks.spawn("cluster call", async move {
            if let Err(e) = serve(&ctx2, peer, stream).await {
                tracing::debug!(%peer, "a call failed: {e}");
            }
            drop(slot);
        });
    }
}

async fn serve(ctx: &Arc<Ctx>, peer: PeerId, mut stream: Stream) -> Result<(), ClusterError> {
    let call: Call = read(&mut stream, peer).await?;
    ctx.counts.called(call.ask.name());
    let answer = match (call.ask, call.certificate) {
        (Ask::Join(newcomer), _) => join(ctx, peer, newcomer, &mut stream).await,
        (ask, Some(certificate)) => match certificate.verify_shown_by(peer, &ctx.cluster, time::unix_ms()) {
            Ok(()) => answer(ctx, &certificate, ask).await,
            Err(e) => Err(e.into()),
        },
        (_, None) => Err(ClusterError::Refused { kind: Kind::Denied, message: "show your certificate".into() }),
    };
    let answer = answer.unwrap_or_else(|e| Answer::Error(e.to_wire()));
    frame::write(&mut stream, &answer).await?;
    futures::AsyncWriteExt::close(&mut stream).await.map_err(frame::FrameError::Io)?;
    Ok(())
}

async fn read<T: serde::de::DeserializeOwned>(stream: &mut Stream, peer: PeerId) -> Result<T, ClusterError> {
    let frame = tokio::time::timeout(READ_LIMIT, frame::read(stream, MAX_CALL_BYTES)).await;
    let frame = frame.map_err(|_| ClusterError::Timeout { what: format!("a call of {peer}"), limit: READ_LIMIT })??;
    frame.ok_or(ClusterError::Protocol { peer, why: "the stream ended early".into() })
}

fn elsewhere(ctx: &Ctx) -> Answer {
    Answer::Elsewhere { leader: ctx.leader(), masters: ctx.masters() }
}

async fn join(
    ctx: &Arc<Ctx>,
    peer: PeerId,
    mut newcomer: Newcomer,
    stream: &mut Stream,
) -> Result<Answer, ClusterError> {
    let Some(side) = &ctx.master else { return Ok(elsewhere(ctx)) };
    let key = libp2p::identity::PublicKey::try_decode_protobuf(&newcomer.peer_key).ok();
    let Some(peer_key) = key.filter(|key| key.to_peer_id() == peer) else {
        return Err(ClusterError::Protocol { peer, why: "its public key is another peer's".into() });
    };
    let nonce: [u8; 32] = random::bytes();
    frame::write(stream, &Answer::Challenge { certificate: ctx.certificate(), nonce }).await?;
    let proof: TokenProof = read(stream, peer).await?;
    proof.verify(&side.key, &peer, &newcomer.storage_id, &nonce, newcomer.role, time::unix_ms())?;
    newcomer.addrs.truncate(MAX_ADDRS);
    let Newcomer { role, storage_id, addrs, .. } = newcomer;
    let node = match role {
        Role::Leecher => None,
        _ => {
            let member = MemberInfo { peer, storage_id, role, addrs };
            Some(admit(ctx, member, proof.id).await?)
        }
    };
    let epoch = node.map_or(FIRST_EPOCH, |n| n.epoch());
    let certificate = side.key.certify(Subject { peer_key, node, role, epoch }, time::unix_ms());
    let cluster_key = (role == Role::Master).then(|| serde_bytes::ByteBuf::from(side.key.to_bytes()));
    tracing::info!(%peer, %role, "admitted to the cluster");
    Ok(Answer::Admitted(Box::new(Admission { certificate, masters: ctx.masters(), cluster_key, timing: ctx.timing })))
}

async fn admit(ctx: &Ctx, member: MemberInfo, token_id: [u8; 16]) -> Result<crate::base::NodeId, ClusterError> {
    let command = Command::Admit { member, token_id };
    let admitting = async {
        loop {
            match ctx.propose_one(command.clone(), LOG_LIMIT).await {
                Ok(Reply::Admitted { node, .. }) => return Ok(node),
                Ok(_) => return Err(ClusterError::Raft { reason: "an admission without a number".into() }),
                // Another newcomer was admitted by the same entry.
                Err(ClusterError::Refused { kind: Kind::Busy, .. }) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(e) => return Err(e),
            }
        }
    };
    let limit = LOG_LIMIT;
    match tokio::time::timeout(limit, admitting).await {
        Ok(node) => node,
        Err(_) => Err(ClusterError::Timeout { what: "the admission".into(), limit }),
    }
}

/// Answers a member whose certificate was verified.
pub async fn answer(ctx: &Arc<Ctx>, from: &Certificate, ask: Ask) -> Result<Answer, ClusterError> {
    let Some(side) = &ctx.master else { return Ok(elsewhere(ctx)) };
    if let Some(node) = from.node {
        let member = side.raft.state().member(node).map_err(storage)?;
        if member.is_some_and(|m| m.state == MemberState::Removed) {
            let message = format!("{} was removed from the cluster", from.peer);
            return Err(ClusterError::Refused { kind: Kind::Denied, message });
        }
    }
    match ask {
        Ask::Join(_) => Err(ClusterError::Protocol { peer: from.peer, why: "it is a member already".into() }),
        Ask::Hello { addrs, storage_id } => hello(ctx, side, from, addrs, storage_id).await,
        Ask::Submit(spec) => submit(ctx, *spec).await,
        Ask::Propose(requests) => {
            from.require(Role::Master)?;
            propose(ctx, side, requests).await
        }
        Ask::Status => status(ctx, side).await,
        Ask::Task(task) => task_record(ctx, side, task).await,
        Ask::Outcome { task, wait_ms } => outcome(ctx, side, task, wait_ms.min(MAX_WAIT_MS)).await,
    }
}

fn storage<E: HasKind>(e: E) -> ClusterError {
    ClusterError::Storage { kind: e.kind(), message: e.to_string() }
}

async fn hello(
    ctx: &Arc<Ctx>,
    side: &MasterSide,
    from: &Certificate,
    mut addrs: Vec<crate::base::Multiaddr>,
    storage_id: [u8; 16],
) -> Result<Answer, ClusterError> {
    addrs.truncate(MAX_ADDRS);
    let leads = side.raft.watch().borrow().is_leader;
    if let (Role::Master, Some(node)) = (from.role, from.node) {
        if !leads {
            return Ok(elsewhere(ctx));
        }
        if let Some(member) = side.raft.state().member(node).map_err(storage)?
            && member.storage_id != storage_id
        {
            let reason = "another disk was admitted under this number".into();
            return Err(ClusterError::Identity { node, reason });
        }
        let info = MasterInfo { peer: from.peer, addrs };
        side.desk.send(Msg::MasterHello { node, info }).await.map_err(|_| ClusterError::Stopped)?;
    }
    let now = time::unix_ms();
    // A certificate is renewed in the second half of its life.
    let old = from.expires_ms.is_some_and(|end| end.saturating_sub(now) < CERTIFICATE_MS / 2);
    let certificate = old.then(|| libp2p::identity::PublicKey::try_decode_protobuf(&from.peer_key).ok()).flatten();
    let certificate = certificate.map(|peer_key| {
        let subject = Subject { peer_key, node: from.node, role: from.role, epoch: from.epoch };
        Box::new(side.key.certify(subject, now))
    });
    Ok(Answer::Hello { leader: ctx.leader(), masters: ctx.masters(), certificate })
}

async fn submit(ctx: &Arc<Ctx>, signed: SignedSpec) -> Result<Answer, ClusterError> {
    let task = signed.verify(&ctx.cluster, time::unix_ms())?;
    match ctx.propose_one(Command::Submit { task, spec: signed.spec }, LOG_LIMIT).await? {
        Reply::Task { id, index, .. } => {
            let body = ReceiptBody::Accepted { task: id, log_index: index };
            Ok(Answer::Receipt(Box::new(body.sign(ctx.certificate(), ctx.repo.keypair())?)))
        }
        other => Err(ClusterError::Raft { reason: format!("a submission was answered with {other:?}") }),
    }
}

async fn propose(ctx: &Ctx, side: &MasterSide, requests: Vec<Request>) -> Result<Answer, ClusterError> {
    match side.propose(requests).await {
        Ok(replies) => Ok(Answer::Replies(replies)),
        Err(super::raft::ProposeError::NotLeader { .. }) => Ok(elsewhere(ctx)),
        Err(e) => Err(ClusterError::Refused { kind: e.kind(), message: e.to_string() }),
    }
}

async fn status(ctx: &Arc<Ctx>, side: &MasterSide) -> Result<Answer, ClusterError> {
    let raft = side.raft.watch().borrow().clone();
    if let (false, Some(leader)) = (raft.is_leader, raft.leader_info.as_ref()) {
        // Only the leader knows who is suspect; when it does not answer, the log's view is better than none.
        if leader.peer != ctx.peer
            && let Ok(answer @ Answer::Status(_)) = ctx.call(leader.peer, Ask::Status, Duration::from_secs(1)).await
        {
            return Ok(answer);
        }
    }
    let standing = side.standing.borrow().clone();
    let known = ctx.masters();
    let members = side.raft.state().members().map_err(storage)?.into_iter().map(|m| {
        let state = match (m.state, standing.get(&m.node)) {
            (MemberState::Alive, Some(Standing::Suspect | Standing::Lost)) => "suspect".to_owned(),
            (state, _) => state.to_string(),
        };
        let addresses = match known.iter().find(|info| info.peer == m.peer) {
            Some(info) => info.addrs.clone(),
            None => ctx.net.peers().addresses_of(&m.peer),
        };
        let voter = raft.voters.iter().any(|(node, _)| *node == m.node);
        MemberStatus { peer: m.peer, node: m.node, role: m.role, state, voter, addresses }
    });
    Ok(Answer::Status(StatusAnswer {
        leader: raft.leader_info.as_ref().map(|l| l.peer),
        term: raft.term,
        committed: raft.committed,
        applied: raft.applied,
        members: members.collect(),
    }))
}

async fn task_record(ctx: &Arc<Ctx>, side: &MasterSide, task: TaskId) -> Result<Answer, ClusterError> {
    let record = side.raft.state().task(&task).map_err(storage)?;
    if record.as_ref().is_none_or(|r| !r.state.is_final()) {
        // This master may lag behind what the caller was already told.
        let raft = side.raft.watch().borrow().clone();
        if let Some(leader) = raft.leader_info.filter(|l| !raft.is_leader && l.peer != ctx.peer)
            && let Ok(answer @ Answer::Task(_)) = ctx.call(leader.peer, Ask::Task(task), Duration::from_secs(1)).await
        {
            return Ok(answer);
        }
    }
    Ok(Answer::Task(record.map(Box::new)))
}

async fn outcome(ctx: &Arc<Ctx>, side: &MasterSide, task: TaskId, wait_ms: u32) -> Result<Answer, ClusterError> {
    let limit = Duration::from_millis(u64::from(wait_ms));
    let mut events = side.raft.events();
    let waiting = async {
        loop {
            match side.raft.state().task(&task).map_err(storage)? {
                Some(record) if record.state.is_final() => return Ok(record),
                // Another master may lag behind; the leader knows every task there is.
                None if side.raft.watch().borrow().is_leader => return Err(ClusterError::NoTask { task }),
                _ => {}
            }
            loop {
                match events.recv().await {
                    Ok((_, Event::TaskEnded { id, .. })) if id == task => break,
                    Ok((_, Event::Reloaded)) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => break,
                    Ok(_) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return Err(ClusterError::Stopped),
                }
            }
        }
    };
    match tokio::time::timeout(limit, waiting).await {
        Ok(record) => {
            let receipt = ReceiptBody::of(&record?).sign(ctx.certificate(), ctx.repo.keypair())?;
            Ok(Answer::Receipt(Box::new(receipt)))
        }
        Err(_) => Err(ClusterError::Timeout { what: format!("the end of task {task}"), limit }),
    }
}
