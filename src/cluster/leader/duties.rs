//! What the clock brings the leader: expiry, health, the group of masters, forgetting.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    base::{NodeId, time},
    cluster::{
        model::{MasterInfo, TaskId},
        plan::{
            growth::{self, Learner},
            health::{Change, Standing},
        },
        raft::ProposeError,
        state::Command,
    },
};

use super::{
    boot_ms,
    lead::{Done, Lead},
    placing::REFILL,
};

/// How often the leader looks at the clock.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// How often old records are forgotten, in milliseconds.
const FORGET_MS: u64 = 60_000;
/// Tasks or leases expired by one command.
const MAX_EXPIRE: usize = 500;
/// A change of the group of masters is given up after this time.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

impl Lead {
    /// Looks at everything that depends on time.
    pub fn tick(&mut self) {
        if !self.ready {
            return self.confirm();
        }
        let now = boot_ms();
        self.expire(now);
        self.log_health(now);
        self.look_after_masters(now);
        if now.saturating_sub(self.last_forget_ms) >= FORGET_MS {
            self.forget(now);
        }
        if now.saturating_sub(self.last_refill_ms) >= REFILL.as_millis() as u64 {
            self.refill();
        }
        self.publish_standing(now);
    }

    fn expire(&mut self, now: u64) {
        if self.expiring {
            return;
        }
        let mut leases = self.leases.expired(now);
        leases.truncate(MAX_EXPIRE);
        let unix = time::unix_ms();
        let over = self.ends.range(..=(unix, TaskId([0xff; 32])));
        let tasks: Vec<TaskId> = over.map(|(_, task)| *task).take(MAX_EXPIRE).collect();
        if leases.is_empty() && tasks.is_empty() {
            return;
        }
        for (task, fence) in &leases {
            tracing::info!(%task, %fence, "a lease is over; the task goes to another worker");
        }
        self.expiring = true;
        // Those the state has forgotten or ended already leave no event behind.
        let gone =
            |task: &TaskId| !matches!(self.raft.state().task(task), Ok(Some(record)) if !record.state.is_final());
        let ended: Vec<TaskId> = tasks.iter().copied().filter(gone).collect();
        self.ends.retain(|(_, task)| !ended.contains(task));
        let proposal = self.propose(vec![Command::Expire { leases, tasks }]);
        self.start(async move {
            if let Err(e) = proposal.await {
                tracing::debug!("nothing was expired: {e}");
            }
            Done::Expired
        });
    }

    fn log_health(&mut self, now: u64) {
        if self.logging_health {
            return;
        }
        let changes = self.health.changes(now);
        if changes.is_empty() {
            return;
        }
        let command = |change: &Change| match *change {
            Change::Lost(node) => {
                tracing::warn!(%node, "a member is lost");
                Command::Lost { node }
            }
            Change::Back(node) => {
                tracing::info!(%node, "a member is back");
                Command::Back { node }
            }
        };
        let commands = changes.iter().map(command).collect();
        self.logging_health = true;
        let proposal = self.propose(commands);
        self.start(async move {
            let logged = proposal.await.is_ok();
            Done::Health(changes, logged)
        });
    }

    /// One change at a time: this master's own address, others' new addresses, newcomers, more voters.
    fn look_after_masters(&mut self, now: u64) {
        if self.changing_masters {
            return;
        }
        let status = self.raft.watch().borrow().clone();
        let known: BTreeMap<NodeId, &MasterInfo> =
            status.voters.iter().chain(&status.learners).map(|(node, info)| (*node, info)).collect();
        let own = self.ctx.node.map(|node| (node, MasterInfo { peer: self.ctx.peer, addrs: self.ctx.own_addrs() }));
        let heard = self.heard_masters.iter().map(|(node, info)| (*node, info.clone()));
        for (node, info) in own.into_iter().chain(heard) {
            if info.addrs.is_empty() {
                continue;
            }
            match known.get(&node) {
                Some(old) if old.addrs == info.addrs => continue,
                Some(_) => {
                    tracing::info!(%node, peer = %info.peer, "a master has new addresses");
                    return self.change(move |raft| async move { raft.set_addrs(node, info.addrs).await });
                }
                None if self.is_master(node) => {
                    tracing::info!(%node, peer = %info.peer, "a master joins the group as a learner");
                    return self.change(move |raft| async move { raft.add_learner(node, info).await });
                }
                None => continue,
            }
        }
        let learners: Vec<Learner> = status
            .learners
            .iter()
            .map(|(node, _)| Learner {
                node: *node,
                applied: match self.health.standing(*node, now) {
                    Standing::Alive => status.matched.iter().find(|(n, _)| n == node).map(|(_, index)| *index),
                    _ => None,
                },
            })
            .collect();
        let promoted = growth::promote(status.voters.len(), &learners, status.committed);
        if !promoted.is_empty() {
            tracing::info!(?promoted, "more masters vote");
            self.change(move |raft| async move { raft.promote(promoted).await });
        }
    }

    fn change<F>(&mut self, change: impl FnOnce(crate::cluster::raft::Raft) -> F)
    where
        F: Future<Output = Result<(), ProposeError>> + Send + 'static,
    {
        self.changing_masters = true;
        let changing = change(self.raft.clone());
        self.start(async move {
            match tokio::time::timeout(CHANGE_LIMIT, changing).await {
                Ok(result) => Done::Membership(result),
                Err(_) => Done::Membership(Err(ProposeError::Timeout)),
            }
        });
    }

    fn forget(&mut self, now: u64) {
        self.last_forget_ms = now;
        let before_ms = time::unix_ms();
        let commands = vec![Command::ForgetTasks { before_ms }, Command::ForgetReplies { before_ms }];
        let proposal = self.propose(commands);
        self.start(async move {
            if let Err(e) = proposal.await {
                tracing::debug!("nothing was forgotten: {e}");
            }
            Done::Forgotten
        });
    }

    fn publish_standing(&self, now: u64) {
        let Some(side) = &self.ctx.master else { return };
        let standing = self.health.all(now);
        side.standing.send_if_modified(|old| {
            let changed = *old != standing;
            *old = standing;
            changed
        });
    }
}
