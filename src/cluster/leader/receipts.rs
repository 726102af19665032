//! Receipts on their way to submitters: signed, noted here and published, many in one message when many are due.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{
    base::random,
    cluster::{
        ctx::Ctx,
        model::ReceiptBody,
        tasks::topics::{MAX_ITEMS, Payload, receipts_topic},
    },
    net::NetError,
};

/// Receipts that wait; more are dropped, their submitters repeat the spec.
const QUEUE: usize = 4_096;

/// Starts the task that publishes receipts.
pub(super) fn start(ctx: &Arc<Ctx>) -> mpsc::Sender<ReceiptBody> {
    let (bodies, queue) = mpsc::channel(QUEUE);
    ctx.tasks.spawn("receipts", publish(ctx.clone(), queue));
    bodies
}

async fn publish(ctx: Arc<Ctx>, mut queue: mpsc::Receiver<ReceiptBody>) {
    let topic = receipts_topic(&ctx.cluster);
    let mut due = Vec::with_capacity(MAX_ITEMS);
    while queue.recv_many(&mut due, MAX_ITEMS).await > 0 {
        let mut receipts = Vec::with_capacity(due.len());
        for body in due.drain(..) {
            match body.sign(ctx.certificate(), ctx.repo.keypair()) {
                Ok(receipt) => {
                    ctx.receipts.note(receipt.clone());
                    receipts.push(receipt);
                }
                Err(e) => tracing::error!("a receipt cannot be signed: {e}"),
            }
        }
        for payload in Payload::pack(receipts, random::u64) {
            match ctx.net.gossip().publish(&topic, payload).await {
                Ok(()) | Err(NetError::NoPeers { .. }) => {}
                Err(e) => tracing::debug!("receipts were not published: {e}"),
            }
        }
    }
}
