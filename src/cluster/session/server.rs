//! The leader's side of sessions: lets workers in, passes beats and answers to the leader's task, commits outcomes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    base::{HasKind, Kind, NodeId, PeerId, Role, frame, time},
    cluster::{
        ctx::{Ctx, MasterSide},
        error::ClusterError,
        leader::{Msg, NewSession},
        model::{Fence, MemberState, Outcome, TaskId},
        raft::ProposeError,
        state::{Command, Reply, Request},
    },
    net::{Class, Inbound, Stream},
};

use super::wire::{Down, MAX_FRAME_BYTES, MAX_RUNNING, PROTOCOL, Up, Verdict};

const BOUND: usize = 256;
/// The most sessions of one master.
const MAX_SESSIONS: usize = 4_096;
/// Frames that wait on either side of a session; a worker that does not keep up loses it.
const QUEUE: usize = 256;
/// Outcomes of one worker being committed at once.
const MAX_COMMITS: usize = 64;
const FIRST_LIMIT: Duration = Duration::from_secs(5);
const WRITE_LIMIT: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(200);
/// A session without beats for this long is over.
const SILENCE: Duration = Duration::from_secs(10);

static SESSIONS: AtomicU64 = AtomicU64::new(1);

/// Serves sessions until the node stops.
pub async fn run(ctx: Arc<Ctx>) {
    let mut inbound = ctx.net.streams().accept(&[PROTOCOL], Class::Control, BOUND);
    let slots = Arc::new(Semaphore::new(MAX_SESSIONS));
    while let Some(Inbound { peer, stream, .. }) = inbound.recv().await {
        // Without a free slot the stream is dropped, which resets it at the worker's end.
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let ctx2 = ctx.clone();
        ctx.tasks.spawn("session", async move {
            if let Err(e) = serve(&ctx2, peer, stream).await {
                tracing::debug!(%peer, "a session ended: {e}");
            }
            drop(slot);
        });
    }
}

async fn send(stream: &mut (impl futures::AsyncWrite + Unpin), down: &Down) -> Result<(), ClusterError> {
    match tokio::time::timeout(WRITE_LIMIT, frame::write(stream, down)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(ClusterError::Timeout { what: "a frame to a worker".into(), limit: WRITE_LIMIT }),
    }
}

async fn serve(ctx: &Arc<Ctx>, peer: PeerId, mut stream: Stream) -> Result<(), ClusterError> {
    let side = ctx.master("serve sessions")?;
    let first: Option<Up> = tokio::time::timeout(FIRST_LIMIT, frame::read(&mut stream, MAX_FRAME_BYTES))
        .await
        .map_err(|_| ClusterError::Timeout { what: "a session's first frame".into(), limit: FIRST_LIMIT })??;
    let Some(hello @ Up::Hello { .. }) = first else {
        return Err(ClusterError::Protocol { peer, why: "a session begins with a greeting".into() });
    };
    let (down, downs) = mpsc::channel(QUEUE);
    let session = match welcome(ctx, side, peer, hello, down) {
        Ok(session) => session,
        Err(e) => return send(&mut stream, &Down::Refused(e.to_wire())).await,
    };
    if !side.raft.watch().borrow().is_leader {
        return send(&mut stream, &Down::Redirect { leader: ctx.leader(), masters: ctx.masters() }).await;
    }
    send(&mut stream, &Down::Welcome { masters: ctx.masters() }).await?;
    let (node, id) = (session.node, session.id);
    side.desk.send(Msg::Session(Box::new(session))).await.map_err(|_| ClusterError::Stopped)?;
    let ended = pump(ctx, side, node, id, stream, downs).await;
    let _ = side.desk.send(Msg::Gone { node, id }).await;
    ended
}

fn welcome(
    ctx: &Ctx,
    side: &MasterSide,
    peer: PeerId,
    hello: Up,
    down: mpsc::Sender<Down>,
) -> Result<NewSession, ClusterError> {
    let Up::Hello { certificate, storage_id, kinds, capacity, running, .. } = hello else {
        return Err(ClusterError::Protocol { peer, why: "a session begins with a greeting".into() });
    };
    certificate.verify_shown_by(peer, &ctx.cluster, time::unix_ms())?;
    certificate.require(Role::Worker)?;
    let refused = |message: String| ClusterError::Refused { kind: Kind::Denied, message };
    let node = certificate.node.ok_or_else(|| refused("a worker needs a number".into()))?;
    let member = side.raft.state().member(node);
    let member = member.map_err(|e| ClusterError::Storage { kind: e.kind(), message: e.to_string() })?;
    match member {
        // This master may lag behind the admission; the certificate is what counts.
        None => {}
        Some(m) if m.state == MemberState::Removed => {
            return Err(refused(format!("member {node} was removed from the cluster")));
        }
        Some(m) if m.storage_id != storage_id => {
            return Err(ClusterError::Identity { node, reason: "another disk was admitted under this number".into() });
        }
        Some(_) => {}
    }
    let id = SESSIONS.fetch_add(1, Ordering::Relaxed);
    Ok(NewSession { id, node, peer, kinds, capacity, running, down })
}

type Commit = BoxFuture<'static, Result<(u64, Verdict), ClusterError>>;

async fn pump(
    ctx: &Arc<Ctx>,
    side: &MasterSide,
    node: NodeId,
    id: u64,
    stream: Stream,
    mut downs: mpsc::Receiver<Down>,
) -> Result<(), ClusterError> {
    let (mut reader, mut writer) = stream.split();
    let (read, mut ups) = mpsc::channel::<Up>(QUEUE);
    let group = ctx.tasks.child();
    group.spawn("session reader", async move {
        while let Ok(Some(up)) = frame::read(&mut reader, MAX_FRAME_BYTES).await {
            if read.send(up).await.is_err() {
                return;
            }
        }
    });
    let mut status = side.raft.watch();
    let mut masters = ctx.watch_masters();
    let mut commits: FuturesUnordered<Commit> = FuturesUnordered::new();
    let silence = tokio::time::sleep(SILENCE);
    tokio::pin!(silence);
    let ended = loop {
        let down = tokio::select! {
            up = ups.recv(), if commits.len() < MAX_COMMITS => match up {
                None => break Ok(()),
                Some(Up::Complete { seq, task, fence, outcome }) => {
                    commits.push(commit(ctx.clone(), node, seq, task, fence, outcome));
                    continue;
                }
                Some(up) => {
                    let msg = match up {
                        Up::Beat { seq, mut running } => {
                            running.truncate(MAX_RUNNING);
                            silence.as_mut().reset(deadline());
                            Msg::Beat { node, id, seq, running }
                        }
                        Up::Holds { query, held } => Msg::Holds { node, query, held },
                        Up::Hello { .. } | Up::Complete { .. } => continue,
                    };
                    if side.desk.send(msg).await.is_err() {
                        break Ok(());
                    }
                    continue;
                }
            },
            Some(done) = commits.next(), if !commits.is_empty() => match done {
                Ok((seq, verdict)) => {
                    ctx.counts.decided(verdict.as_str());
                    Down::CompleteAck { seq, verdict }
                }
                Err(e) => break Err(e),
            },
            down = downs.recv() => match down {
                Some(down) => down,
                // The leader's task has let go of the session.
                None => break Ok(()),
            },
            changed = masters.changed() => match changed {
                Ok(()) => Down::Masters { masters: ctx.masters() },
                Err(_) => break Ok(()),
            },
            changed = status.changed() => {
                if changed.is_err() {
                    break Ok(());
                }
                if status.borrow_and_update().is_leader {
                    continue;
                }
                break Ok(());
            }
            () = &mut silence => break Ok(()),
        };
        if let Err(e) = send(&mut writer, &down).await {
            break Err(e);
        }
    };
    if !side.raft.watch().borrow().is_leader {
        let _ = send(&mut writer, &Down::Redirect { leader: ctx.leader(), masters: ctx.masters() }).await;
    }
    let _ = tokio::time::timeout(WRITE_LIMIT, writer.close()).await;
    group.stop();
    ended
}

fn deadline() -> tokio::time::Instant {
    tokio::time::Instant::from_std(time::now() + SILENCE)
}

fn commit(ctx: Arc<Ctx>, node: NodeId, seq: u64, task: TaskId, fence: Fence, outcome: Outcome) -> Commit {
    async move {
        let side = ctx.master("commit outcomes")?;
        let holders = match &outcome {
            Outcome::Success { result: Some(_), .. } => vec![node],
            _ => Vec::new(),
        };
        let request = Request::once(Command::Complete { task, fence, node, outcome, holders });
        loop {
            match side.raft.propose(vec![request.clone()]).await {
                Ok(replies) => match replies.into_iter().next() {
                    Some(Reply::Completed { .. }) => return Ok((seq, Verdict::Accepted)),
                    Some(Reply::Refused { kind: Kind::Busy, .. }) => {}
                    // Stale, or a task that was forgotten long ago: nobody waits for it.
                    _ => return Ok((seq, Verdict::Stale)),
                },
                Err(ProposeError::Busy | ProposeError::Timeout) => {}
                // It has not heard from a majority for a moment; that alone is no reason to send the worker away.
                Err(ProposeError::NotLeader { .. }) if side.raft.watch().borrow().is_leader => {}
                Err(e) => return Err(ClusterError::NoLeader { reason: e.to_string() }),
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }
    .boxed()
}
