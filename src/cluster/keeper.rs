//! Keeps a member in touch: connections to all masters, their addresses, the certificate; on masters the beats to the
//! leader, which also tell it where a restarted master listens now.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::base::{PeerId, backoff::Backoff, random, time};

use super::{
    ctx::Ctx,
    model::MasterInfo,
    rpc::{Answer, Ask},
};

/// How often connections are looked after.
const LOOK: Duration = Duration::from_secs(1);
/// Between tries to reach the same master.
const REDIAL: Backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(15) };
/// How often a master says to the leader that it lives, and where.
const BEAT: Duration = Duration::from_secs(1);
const BEAT_LIMIT: Duration = Duration::from_millis(2_500);
/// How often others ask for the masters' addresses and a new certificate while all is well.
const REFRESH_MS: u64 = 600_000;
/// And while a master cannot be reached.
const WORRIED_REFRESH_MS: u64 = 3_000;

fn boot_ms() -> u64 {
    time::since_boot().as_millis() as u64
}

#[derive(Default)]
struct Dial {
    failures: u32,
    next_ms: u64,
    under_way: bool,
}

/// Keeps connections to all masters.
pub async fn connections(ctx: Arc<Ctx>) {
    let dials: Arc<Mutex<HashMap<PeerId, Dial>>> = Arc::default();
    let mut changed = ctx.watch_masters();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            news = changed.changed() => {
                if news.is_err() {
                    return;
                }
                // New addresses are tried at once.
                let mut dials = dials.lock().unwrap_or_else(PoisonError::into_inner);
                dials.values_mut().for_each(|d| (d.failures, d.next_ms) = (0, 0));
            }
        }
        let now = boot_ms();
        for MasterInfo { peer, .. } in ctx.masters() {
            if peer == ctx.peer || ctx.net.peers().is_connected(&peer) {
                continue;
            }
            {
                let mut dials = dials.lock().unwrap_or_else(PoisonError::into_inner);
                let dial = dials.entry(peer).or_default();
                if dial.under_way || dial.next_ms > now {
                    continue;
                }
                dial.under_way = true;
            }
            let (ctx2, dials) = (ctx.clone(), dials.clone());
            ctx.tasks.spawn("dial master", async move {
                let reached = ctx2.net.peers().connect_peer(peer, Vec::new()).await;
                let mut dials = dials.lock().unwrap_or_else(PoisonError::into_inner);
                let dial = dials.entry(peer).or_default();
                dial.under_way = false;
                dial.failures = if reached.is_ok() { 0 } else { dial.failures.saturating_add(1) };
                let wait = REDIAL.wait(dial.failures, random::fraction());
                dial.next_ms = boot_ms() + wait.as_millis() as u64;
            });
        }
    }
}

fn hello(ctx: &Ctx) -> Ask {
    Ask::Hello { addrs: ctx.own_addrs(), storage_id: ctx.repo.storage_id() }
}

/// On workers and leechers: keeps the masters' addresses and the own certificate fresh.
pub async fn refresh(ctx: Arc<Ctx>) {
    let mut look = tokio::time::interval(LOOK);
    let mut last: Option<u64> = None;
    loop {
        look.tick().await;
        let masters = ctx.masters();
        let connected = masters.iter().filter(|m| ctx.net.peers().is_connected(&m.peer)).count();
        let every = if connected == masters.len() { REFRESH_MS } else { WORRIED_REFRESH_MS };
        if last.is_some_and(|at| boot_ms().saturating_sub(at) < every) {
            continue;
        }
        // Only those that are connected are asked: reaching them is the other task's work.
        for peer in ctx.candidates(None).into_iter().filter(|p| ctx.net.peers().is_connected(p)) {
            match ctx.call(peer, hello(&ctx), BEAT_LIMIT).await {
                Ok(Answer::Hello { leader, masters, certificate }) => {
                    ctx.learn_masters(masters);
                    ctx.note_leader(leader);
                    if let Some(Err(e)) = certificate.map(|c| ctx.renew(*c)) {
                        tracing::warn!("the renewed certificate cannot be used: {e}");
                    }
                    last = Some(boot_ms());
                    break;
                }
                Ok(_) => {}
                Err(e) => tracing::debug!(%peer, "a greeting failed: {e}"),
            }
        }
    }
}

/// On masters: tells the leader every second that this one lives and where it listens.
pub async fn beats(ctx: Arc<Ctx>) {
    let Some(side) = &ctx.master else { return };
    let status = side.raft.watch();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told: Option<PeerId> = None;
    loop {
        beat.tick().await;
        // A master whose Raft has stopped takes no part any more, and must not count as one that does.
        if status.borrow().is_leader || status.borrow().stopped.is_some() {
            continue;
        }
        let mut next = told.take().into_iter().chain(ctx.candidates(None)).collect::<Vec<_>>();
        next.dedup();
        for peer in next {
            match ctx.call(peer, hello(&ctx), BEAT_LIMIT).await {
                Ok(Answer::Hello { .. }) => {
                    told = Some(peer);
                    break;
                }
                // It says who leads; the next round begins there.
                Ok(Answer::Elsewhere { leader: Some(leader), masters }) if leader != ctx.peer => {
                    // This node's own log is the better source once it receives it.
                    if let Some(info) = masters.into_iter().find(|m| m.peer == leader) {
                        ctx.net.peers().add_address(leader, info.addrs);
                    }
                    if let Ok(Answer::Hello { .. }) = ctx.call(leader, hello(&ctx), BEAT_LIMIT).await {
                        told = Some(leader);
                        break;
                    }
                }
                Ok(_) => {}
                Err(e) => tracing::debug!(%peer, "a greeting failed: {e}"),
            }
        }
    }
}

/// On masters: the log knows where the masters are; this keeps it over restarts and passes it on.
pub async fn addresses(ctx: Arc<Ctx>) {
    let Some(side) = &ctx.master else { return };
    let mut status = side.raft.watch();
    loop {
        let masters: Vec<MasterInfo> = {
            let status = status.borrow_and_update();
            status.voters.iter().chain(&status.learners).map(|(_, info)| info.clone()).collect()
        };
        ctx.learn_masters(masters);
        if status.changed().await.is_err() {
            return;
        }
    }
}
