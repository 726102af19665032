//! Sans-IO: every numbered request is applied once and answered alike again, within a bounded memory.

use sha2::{Digest, Sha256};

use crate::base::{Kind, cbor};

use super::{
    FORGET_BATCH, MAX_REPLIES, REPLY_KEPT_MS,
    apply::Step,
    command::{Reply, Request},
    error::StateError,
    reader::get,
    records::{self, REPLIES, REPLY_TIMES, ReplyRecord},
    view::StateRead,
};

/// Runs `request` unless it was run before. Refusals are not kept: the sender may try again under the same number.
pub(super) fn once<'s, 'o>(
    step: &mut Step<'s, 'o>,
    request: &Request,
    run: impl FnOnce(&mut Step<'s, 'o>, &Request) -> Result<Reply, StateError>,
) -> Result<Reply, StateError> {
    if request.client == [0; 16] {
        return run(step, request);
    }
    let key = [&request.client[..], &request.sequence.to_be_bytes()].concat();
    let hash = Sha256::digest(cbor::to_vec(&request.command));
    let digest: [u8; 8] = std::array::from_fn(|i| hash[i]);
    if let Some(kept) = get::<ReplyRecord>(step.view, REPLIES, &key)? {
        if kept.digest == digest {
            return Ok(kept.reply);
        }
        return Ok(Reply::refused(Kind::Conflict, "this client and sequence number carried another command before"));
    }
    if step.meta.replies >= MAX_REPLIES && !evict_oldest(step)? {
        return Ok(Reply::refused(Kind::Busy, "too many numbered requests in a short time; try again later"));
    }
    let reply = run(step, request)?;
    if !matches!(reply, Reply::Refused { .. }) {
        let time_ms = step.meta.time_ms;
        let kept = ReplyRecord { digest, reply: reply.clone(), time_ms };
        step.view.put(REPLY_TIMES, [&time_ms.to_be_bytes()[..], &key].concat(), Vec::new());
        step.view.put(REPLIES, key, records::encode(&kept));
        step.meta.replies += 1;
    }
    Ok(reply)
}

fn evict_oldest(step: &mut Step<'_, '_>) -> Result<bool, StateError> {
    let before = step.meta.time_ms.saturating_sub(REPLY_KEPT_MS);
    Ok(drop_before(step, before, 1)? > 0)
}

/// Forgets kept replies older than `before_ms`, never younger than an hour.
pub(super) fn forget(step: &mut Step<'_, '_>, before_ms: u64) -> Result<Reply, StateError> {
    let before = before_ms.min(step.meta.time_ms.saturating_sub(super::TASK_KEPT_MS));
    drop_before(step, before, FORGET_BATCH)?;
    Ok(step.done())
}

fn drop_before(step: &mut Step<'_, '_>, before_ms: u64, limit: usize) -> Result<u64, StateError> {
    let rows = step.view.range(REPLY_TIMES, &[], Some(&before_ms.to_be_bytes()), limit)?;
    let dropped = rows.len() as u64;
    for (key, _) in rows {
        step.view.delete(REPLIES, key.get(8..).unwrap_or_default());
        step.view.delete(REPLY_TIMES, key);
    }
    step.meta.replies = step.meta.replies.saturating_sub(dropped);
    Ok(dropped)
}
