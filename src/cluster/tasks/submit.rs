//! Submitting tasks and waiting for their ends.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    base::{Cid, backoff::Backoff, random, time},
    cluster::{
        ctx::Ctx,
        door,
        error::ClusterError,
        leader::Msg,
        model::{Receipt, SignedSpec, TaskId, TaskRecord, TaskSpec, spec::MAX_LIFE_MS},
        rpc::{Answer, Ask, unexpected},
        view::Submitted,
    },
    net::NetError,
};

use super::topics::{Payload, tasks_topic};

/// Between two publications of the same spec.
const REPEAT: Backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(60) };
/// While no peer on the topic is known: soon again, publishing then costs nothing.
const ALONE: Duration = Duration::from_millis(100);
/// How long one question for an outcome may wait at the master.
const OUTCOME_WAIT_MS: u32 = 5_000;

/// Makes a spec of this node and signs it.
pub fn sign(
    ctx: &Ctx,
    kind: &str,
    input: Option<Cid>,
    params: BTreeMap<String, String>,
    life: Duration,
) -> Result<SignedSpec, ClusterError> {
    let life_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX).min(MAX_LIFE_MS);
    let spec = TaskSpec {
        cluster: ctx.cluster,
        author: ctx.peer,
        nonce: random::bytes(),
        kind: kind.into(),
        input,
        params,
        not_after_ms: time::unix_ms() + life_ms,
        priority: 0,
    };
    Ok(spec.sign(ctx.certificate(), ctx.repo.keypair())?)
}

/// Publishes a spec; on a master the own intake hears it too, because gossip does not come back to its sender.
/// False when nobody was there to hear it.
pub async fn publish(ctx: &Ctx, signed: &SignedSpec) -> Result<bool, ClusterError> {
    let mut heard = false;
    if let Some(side) = &ctx.master {
        let msg = Msg::Spec { task: signed.spec.id(), signed: Box::new(signed.clone()) };
        side.desk.send(msg).await.map_err(|_| ClusterError::Stopped)?;
        heard = true;
    }
    for payload in Payload::pack(vec![signed.clone()], random::u64) {
        match ctx.net.gossip().publish(&tasks_topic(&ctx.cluster), payload).await {
            Ok(()) => heard = true,
            Err(NetError::NoPeers { .. } | NetError::Busy { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(heard)
}

/// Submits by the topic: publishes and repeats until the accepted receipt has come. Opens no stream to a master.
pub async fn by_gossip(ctx: &Arc<Ctx>, signed: &SignedSpec, limit: Duration) -> Result<Submitted, ClusterError> {
    let id = signed.verify(&ctx.cluster, time::unix_ms())?;
    let repeating = async {
        let mut sent = 0;
        loop {
            let wait = if publish(ctx, signed).await? {
                sent += 1;
                REPEAT.wait(sent, random::fraction() / 4.0)
            } else {
                ALONE
            };
            tokio::time::sleep(wait).await;
        }
    };
    tokio::select! {
        accepted = ctx.receipts.wait(&id, |r| r.accepted) => Ok(Submitted { id, accepted }),
        failed = repeating => failed,
        () = tokio::time::sleep(limit) => {
            Err(ClusterError::Timeout { what: format!("the accepted receipt of task {id}"), limit })
        }
    }
}

/// Submits by asking a master.
pub async fn direct(ctx: &Arc<Ctx>, signed: SignedSpec, limit: Duration) -> Result<Submitted, ClusterError> {
    let id = signed.verify(&ctx.cluster, time::unix_ms())?;
    let Answer::Receipt(receipt) = ctx.ask(Ask::Submit(Box::new(signed)), limit).await? else {
        return Err(unexpected(ctx.peer));
    };
    receipt.verify(&ctx.cluster, time::unix_ms())?;
    if receipt.body.task() != id {
        return Err(unexpected(receipt.certificate.peer));
    }
    ctx.receipts.note((*receipt).clone());
    Ok(Submitted { id, accepted: *receipt })
}

/// Waits for a task's outcome receipt. For a task published from here the spec is repeated, which makes the leader
/// repeat its receipts; for any other a master is asked.
pub async fn outcome(
    ctx: &Arc<Ctx>,
    task: TaskId,
    published: Option<SignedSpec>,
    limit: Duration,
) -> Result<Receipt, ClusterError> {
    let repeating = async {
        let mut round = 1;
        let alive = |s: &SignedSpec| s.spec.not_after_ms > time::unix_ms() + 1_000;
        if let Some(signed) = published {
            while alive(&signed) {
                round += 1;
                tokio::time::sleep(REPEAT.wait(round, random::fraction() / 4.0)).await;
                publish(ctx, &signed).await?;
            }
        }
        loop {
            let ask = Ask::Outcome { task, wait_ms: OUTCOME_WAIT_MS.min(door::MAX_WAIT_MS) };
            match ctx.ask(ask, limit).await {
                Ok(Answer::Receipt(receipt)) => {
                    receipt.verify(&ctx.cluster, time::unix_ms())?;
                    if receipt.body.task() == task {
                        ctx.receipts.note(*receipt);
                    }
                    tokio::task::yield_now().await;
                }
                Ok(_) => return Err(unexpected(ctx.peer)),
                Err(ClusterError::Refused { kind: crate::base::Kind::Timeout, .. } | ClusterError::Timeout { .. }) => {}
                Err(e) => return Err(e),
            }
        }
    };
    tokio::select! {
        outcome = ctx.receipts.wait(&task, |r| r.outcome) => Ok(outcome),
        failed = repeating => failed,
        () = tokio::time::sleep(limit) => {
            Err(ClusterError::Timeout { what: format!("the end of task {task}"), limit })
        }
    }
}

/// A task's record, as a master has it.
pub async fn record(ctx: &Arc<Ctx>, task: TaskId, limit: Duration) -> Result<TaskRecord, ClusterError> {
    match ctx.ask(Ask::Task(task), limit).await? {
        Answer::Task(Some(record)) => Ok(*record),
        Answer::Task(None) => Err(ClusterError::NoTask { task }),
        _ => Err(unexpected(ctx.peer)),
    }
}
