//! What every member does with the topics: judge each message, pass on only what is good, and use it.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{
    base::time,
    cluster::{
        counts::{RECEIPTS, TASKS, Verdict},
        ctx::Ctx,
        leader::Msg,
    },
    net::{Incoming, NetError},
};

use super::{
    bucket::Buckets,
    topics::{read_receipts, read_specs, receipts_topic, tasks_topic},
};

/// Messages that wait for a verdict; one that finds the queue full is not passed on.
const BOUND: usize = 1_024;
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

async fn subscribe(ctx: &Ctx, topic: &str) -> Option<mpsc::Receiver<Incoming>> {
    loop {
        match ctx.net.gossip().subscribe(topic, BOUND).await {
            Ok(incoming) => return Some(incoming),
            Err(NetError::Stopped) => return None,
            Err(e) => tracing::warn!(topic, "cannot take part in the topic: {e}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Judges and takes specs. Forged, foreign and expired ones are refused, floods are not passed on.
pub async fn specs(ctx: Arc<Ctx>) {
    let Some(mut incoming) = subscribe(&ctx, &tasks_topic(&ctx.cluster)).await else { return };
    let mut buckets = Buckets::default();
    while let Some(message) = incoming.recv().await {
        let now = time::since_boot().as_millis() as u64;
        if !buckets.take(message.author, 1.0, now) {
            ctx.counts.judged(TASKS, Verdict::Ignored);
            message.ignore();
            continue;
        }
        match read_specs(&message.data, &ctx.cluster, time::unix_ms()) {
            Err(e) => {
                tracing::debug!(author = %message.author, via = %message.via, "a task message is refused: {e}");
                ctx.counts.judged(TASKS, Verdict::Rejected);
                message.reject();
            }
            Ok(specs) => {
                if !buckets.take(message.author, specs.len() as f64 - 1.0, now) {
                    ctx.counts.judged(TASKS, Verdict::Ignored);
                    message.ignore();
                    continue;
                }
                ctx.counts.judged(TASKS, Verdict::Accepted);
                message.accept();
                let Some(side) = &ctx.master else { continue };
                for signed in specs {
                    let msg = Msg::Spec { task: signed.spec.id(), signed: Box::new(signed) };
                    // A full desk sheds it: the author repeats what gets no receipt.
                    if side.desk.try_send(msg).is_err() {
                        tracing::debug!("the leader's desk is full; a spec is shed");
                    }
                }
            }
        }
    }
}

/// Judges and takes receipts.
pub async fn receipts(ctx: Arc<Ctx>) {
    let Some(mut incoming) = subscribe(&ctx, &receipts_topic(&ctx.cluster)).await else { return };
    while let Some(message) = incoming.recv().await {
        match read_receipts(&message.data, &ctx.cluster, time::unix_ms()) {
            Err(e) => {
                tracing::debug!(author = %message.author, via = %message.via, "a receipt message is refused: {e}");
                ctx.counts.judged(RECEIPTS, Verdict::Rejected);
                message.reject();
            }
            Ok(receipts) => {
                ctx.counts.judged(RECEIPTS, Verdict::Accepted);
                message.accept();
                for receipt in receipts {
                    ctx.receipts.note(receipt);
                }
            }
        }
    }
}
