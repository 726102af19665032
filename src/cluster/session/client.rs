//! The worker's side of the session: find the leader, tell it what runs, do what it says, move on when it is silent.

use std::{sync::Arc, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::{sync::mpsc, time::MissedTickBehavior};

use crate::{
    base::{PeerId, backoff::Backoff, frame, random},
    cluster::{ctx::Ctx, error::ClusterError},
    net::Class,
};

use super::{
    outbox::Outbox,
    runner::{Ended, Runner, boot_ms},
    wire::{BEAT_MS, Down, MAX_FRAME_BYTES, PROTOCOL, Up},
};

/// Opening a session may take this long.
const OPEN_LIMIT: Duration = Duration::from_secs(3);
/// Two silent beats and a little: then another master is asked.
const SILENCE_MS: u64 = 2 * BEAT_MS + 500;
/// Between rounds over all masters.
const RETRY: Backoff = Backoff { base: Duration::from_millis(200), max: Duration::from_secs(2) };
const CHECK: Duration = Duration::from_millis(250);
const QUEUE: usize = 64;

/// Holds the worker's session until the node stops or is removed.
pub async fn run(ctx: Arc<Ctx>) {
    let outbox = match Outbox::open(ctx.repo.state().clone()) {
        Ok(outbox) => outbox,
        Err(e) => return tracing::error!("the worker cannot take tasks: {e}"),
    };
    let (mut runner, mut ends) = Runner::new(ctx.data.clone(), outbox, ctx.tasks.clone(), ctx.counts.clone());
    let (mut failures, mut hint) = (0u32, None);
    loop {
        let mut progress = false;
        for peer in ctx.candidates(hint.take()) {
            match attempt(&ctx, peer, &mut runner, &mut ends).await {
                Ok(End::Redirect(leader)) => {
                    tracing::trace!(%peer, ?leader, "redirected");
                    if leader.is_some_and(|l| l != peer) {
                        hint = leader;
                        break;
                    }
                }
                Ok(End::Lost) => {
                    progress = true;
                    break;
                }
                Err(e) => tracing::debug!(%peer, "no session: {e}"),
            }
        }
        failures = if progress { 0 } else { failures + 1 };
        let wait = RETRY.wait(failures.max(1), random::fraction());
        if let Err(e) = idle(&mut runner, &mut ends, wait).await {
            return tracing::error!("the worker stops: {e}");
        }
    }
}

enum End {
    Redirect(Option<PeerId>),
    Lost,
}

/// Waits between sessions without neglecting what runs.
async fn idle(runner: &mut Runner, ends: &mut mpsc::Receiver<Ended>, wait: Duration) -> Result<(), ClusterError> {
    let pause = tokio::time::sleep(wait);
    tokio::pin!(pause);
    let mut check = tokio::time::interval(CHECK);
    loop {
        tokio::select! {
            () = &mut pause => return Ok(()),
            _ = check.tick() => runner.look()?,
            Some(ended) = ends.recv() => { runner.ended(ended)?; }
        }
    }
}

/// Opens a session while attempts' ends and the guard are looked after.
async fn open(
    ctx: &Arc<Ctx>,
    peer: PeerId,
    runner: &mut Runner,
    ends: &mut mpsc::Receiver<Ended>,
) -> Result<(crate::net::Stream, Down), ClusterError> {
    let hello = Up::Hello {
        certificate: Box::new(ctx.certificate()),
        storage_id: ctx.repo.storage_id(),
        kinds: ctx.data.kinds(),
        capacity: ctx.data.capacity(),
        addrs: ctx.own_addrs(),
        running: runner.list(),
    };
    let opening = async {
        let (_, mut stream) = ctx.net.streams().open(peer, &[PROTOCOL], Class::Control).await?;
        frame::write(&mut stream, &hello).await?;
        let first: Option<Down> = frame::read(&mut stream, MAX_FRAME_BYTES).await?;
        let first = first.ok_or(ClusterError::Protocol { peer, why: "the session ended at once".into() })?;
        Ok::<_, ClusterError>((stream, first))
    };
    let opening = tokio::time::timeout(OPEN_LIMIT, opening);
    tokio::pin!(opening);
    let mut check = tokio::time::interval(CHECK);
    loop {
        tokio::select! {
            opened = &mut opening => {
                return opened.map_err(|_| ClusterError::Timeout { what: format!("a session with {peer}"), limit: OPEN_LIMIT })?;
            }
            _ = check.tick() => runner.look()?,
            Some(ended) = ends.recv() => { runner.ended(ended)?; }
        }
    }
}

async fn attempt(
    ctx: &Arc<Ctx>,
    peer: PeerId,
    runner: &mut Runner,
    ends: &mut mpsc::Receiver<Ended>,
) -> Result<End, ClusterError> {
    let (stream, first) = open(ctx, peer, runner, ends).await?;
    match first {
        Down::Welcome { masters } => ctx.learn_masters(masters),
        Down::Redirect { leader, masters } => {
            ctx.learn_masters(masters);
            return Ok(End::Redirect(leader));
        }
        Down::Refused(e) => return Err(e.into()),
        _ => return Err(ClusterError::Protocol { peer, why: "no welcome".into() }),
    }
    tracing::info!(master = %peer, "session with the leader");
    ctx.note_leader(Some(peer));
    let (reader, writer) = stream.split();
    let (up, ups) = mpsc::channel(QUEUE);
    let (downs_in, downs) = mpsc::channel(QUEUE);
    let group = ctx.tasks.child();
    group.spawn("session reader", read(reader, downs_in));
    group.spawn("session writer", write(writer, ups));
    let ended = serve(ctx, runner, ends, up, downs, &group).await;
    group.stop();
    ctx.note_leader(None);
    ended.map(|()| End::Lost)
}

async fn read(mut reader: futures::io::ReadHalf<crate::net::Stream>, out: mpsc::Sender<Down>) {
    while let Ok(Some(down)) = frame::read(&mut reader, MAX_FRAME_BYTES).await {
        if out.send(down).await.is_err() {
            break;
        }
    }
}

async fn write(mut writer: futures::io::WriteHalf<crate::net::Stream>, mut ups: mpsc::Receiver<Up>) {
    while let Some(up) = ups.recv().await {
        if frame::write(&mut writer, &up).await.is_err() {
            return;
        }
    }
    let _ = writer.close().await;
}

/// One session, until it is lost. An error means that the worker cannot go on at all.
async fn serve(
    ctx: &Arc<Ctx>,
    runner: &mut Runner,
    ends: &mut mpsc::Receiver<Ended>,
    up: mpsc::Sender<Up>,
    mut downs: mpsc::Receiver<Down>,
    group: &crate::base::Tasks,
) -> Result<(), ClusterError> {
    let mut untold: std::collections::VecDeque<Up> = runner.untold().into();
    let mut beat = tokio::time::interval(Duration::from_millis(BEAT_MS));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut check = tokio::time::interval(CHECK);
    let (mut seq, mut heard) = (0u64, boot_ms());
    loop {
        tokio::select! {
            biased;
            _ = check.tick() => {
                runner.look()?;
                if boot_ms().saturating_sub(heard) > SILENCE_MS {
                    tracing::info!("the master is silent; another one is asked");
                    return Ok(());
                }
            }
            _ = beat.tick() => {
                seq += 1;
                runner.guard().sent(seq, boot_ms());
                if up.try_send(Up::Beat { seq, running: runner.list() }).is_err() {
                    return Ok(());
                }
            }
            down = downs.recv() => {
                let Some(down) = down else { return Ok(()) };
                match down {
                    Down::BeatAck { seq } => {
                        heard = boot_ms();
                        runner.guard().acknowledged(seq);
                    }
                    Down::Assign { task, fence, spec } => runner.assign(task, fence, *spec),
                    Down::Cancel { task, fence } => runner.cancel(task, fence),
                    Down::CompleteAck { seq, verdict } => runner.decided(seq, verdict).await?,
                    Down::Masters { masters } => ctx.learn_masters(masters),
                    Down::HoldsQuery { query, cid } => {
                        let (held, up) = (ctx.data.holds(cid), up.clone());
                        group.spawn("holds query", async move {
                            let held = held.await;
                            let _ = up.send(Up::Holds { query, held }).await;
                        });
                    }
                    Down::Redirect { leader, masters } => {
                        ctx.learn_masters(masters);
                        ctx.note_leader(leader);
                        return Ok(());
                    }
                    Down::Welcome { .. } | Down::Refused(_) => return Ok(()),
                }
            }
            Some(ended) = ends.recv() => untold.push_back(runner.ended(ended)?),
            // Reserved before it is taken out: nothing is lost when the session is.
            permit = up.reserve(), if !untold.is_empty() => {
                let Ok(permit) = permit else { return Ok(()) };
                if let Some(next) = untold.pop_front() {
                    permit.send(next);
                }
            }
        }
    }
}
