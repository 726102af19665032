//! The cluster: Raft among masters, members, certificates, sessions, tasks (control only).
//!
//! For the floors above through [`Cluster`]; what data it needs it asks of a [`DataPlane`]. What always holds: a peer's
//! claim is believed only with a certificate of this cluster ([`model`]), what must survive goes through the log
//! ([`raft`], [`state`]), beats, leases and addresses of workers never do. Start reading at [`model`], then [`state`],
//! then `leader` for what a leader does and [`session`] for what a worker does.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::base::{Cid, Multiaddr, Role, Tasks, random, time};

mod counts;
mod ctx;
mod door;
pub mod error;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod join;
mod keeper;
mod leader;
pub mod model;
pub mod options;
pub mod plan;
pub mod raft;
pub mod rpc;
mod service;
pub mod session;
pub mod state;
pub mod tasks;
mod trust;
pub mod view;

#[cfg(test)]
mod tests;

pub use error::ClusterError;
pub use join::JOIN_LIMIT;
pub use model::{
    Certificate, ClusterId, Fence, Outcome, PinRecord, Receipt, ReceiptBody, TaskId, TaskRecord, TaskSpec, TaskState,
    Token, token::TOKEN_MS,
};
pub use options::{Assignment, BoxFuture, ClusterOptions, DataPlane, NoData, TaskOutcome};
pub use raft::Timing;
pub use view::{ClusterStatus, MeStatus, MemberStatus, Membership, Submitted, Via};

use counts::Counts;
use ctx::Ctx;
use model::SignedSpec;
use service::Parts;
use trust::MemberFile;

/// How long a question to the cluster may take when the caller gives no time.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Specs published from here that are remembered until their outcome is waited for.
const MAX_PUBLISHED: usize = 4_096;

/// The node's part in a cluster. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    /// Held while a membership begins, so that two cannot begin at once.
    beginning: tokio::sync::Mutex<()>,
    ctx: Mutex<Option<Arc<Ctx>>>,
    role: watch::Sender<Option<Role>>,
    published: Mutex<Published>,
}

#[derive(Default)]
struct Published {
    specs: HashMap<TaskId, SignedSpec>,
    order: VecDeque<TaskId>,
}

impl Published {
    fn note(&mut self, id: TaskId, signed: SignedSpec) {
        if self.specs.insert(id, signed).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > MAX_PUBLISHED
            && let Some(oldest) = self.order.pop_front()
        {
            self.specs.remove(&oldest);
        }
    }
}

impl Cluster {
    /// The node's part in a cluster. When the repo holds a membership it is resumed: everything starts, and keeps
    /// trying to reach the other members. Ends when `tasks` are stopped.
    ///
    /// # Errors
    /// When the membership's files are damaged or Raft refuses to go on with this disk; being alone is no error.
    pub async fn start(options: ClusterOptions, tasks: &Tasks) -> Result<Cluster, ClusterError> {
        let ClusterOptions { repo, net, data, timing } = options;
        let counts = Counts::new(&mut net.metrics().lock().unwrap_or_else(PoisonError::into_inner));
        let parts = Parts { repo, net, data, timing, counts, tasks: tasks.child() };
        let cluster = Cluster {
            inner: Arc::new(Inner {
                parts,
                beginning: tokio::sync::Mutex::default(),
                ctx: Mutex::default(),
                role: watch::Sender::new(None),
                published: Mutex::default(),
            }),
        };
        if let Some(file) = trust::load(cluster.inner.parts.repo.dir())? {
            cluster.begin(file).await?;
        }
        Ok(cluster)
    }

    async fn begin(&self, file: MemberFile) -> Result<Arc<Ctx>, ClusterError> {
        let ctx = service::start(&self.inner.parts, file).await?;
        *self.inner.ctx.lock().unwrap_or_else(PoisonError::into_inner) = Some(ctx.clone());
        self.inner.role.send_replace(Some(ctx.role));
        Ok(ctx)
    }

    fn ctx(&self) -> Result<Arc<Ctx>, ClusterError> {
        let ctx = self.inner.ctx.lock().unwrap_or_else(PoisonError::into_inner);
        ctx.clone().ok_or(ClusterError::NotMember)
    }

    fn check_alone(&self) -> Result<(), ClusterError> {
        match self.ctx() {
            Ok(ctx) => Err(ClusterError::AlreadyMember { cluster: ctx.cluster, role: ctx.role }),
            Err(_) => Ok(()),
        }
    }

    /// Founds a cluster with this node as its first master.
    ///
    /// # Errors
    /// [`ClusterError::AlreadyMember`]; errors of the disk and of Raft.
    pub async fn init(&self) -> Result<ClusterStatus, ClusterError> {
        self.init_with(self.inner.parts.timing).await
    }

    /// As [`Cluster::init`], with Raft's timers, which every master that joins takes over.
    ///
    /// # Errors
    /// As [`Cluster::init`].
    pub async fn init_with(&self, timing: Timing) -> Result<ClusterStatus, ClusterError> {
        let _alone = self.inner.beginning.lock().await;
        self.check_alone()?;
        let file = service::found(&self.inner.parts, timing)?;
        self.begin(file).await?;
        self.status().await
    }

    /// Joins the cluster of `token` by any of `addrs` (with or without `/p2p/…`); returns when admitted. Ends within
    /// 10 s.
    ///
    /// # Errors
    /// [`ClusterError::Token`] when it is expired, for another cluster or for a lesser role,
    /// [`ClusterError::Refused`] when the members refuse it, [`ClusterError::JoinFailed`] when none can be reached.
    pub async fn join(&self, addrs: Vec<Multiaddr>, token: &Token, role: Role) -> Result<(), ClusterError> {
        let _alone = self.inner.beginning.lock().await;
        self.check_alone()?;
        let Parts { repo, net, .. } = &self.inner.parts;
        let newcomer = rpc::Newcomer {
            role,
            storage_id: repo.storage_id(),
            peer_key: repo.keypair().public().encode_protobuf(),
            addrs: net.peers().announce_addrs(),
        };
        let joined = join::join(net, addrs, token, newcomer).await?;
        if let Some(key) = &joined.key {
            trust::save_key(repo.dir(), key)?;
        }
        let mut file = MemberFile::new(joined.admission.certificate, joined.admission.masters);
        file.timing = joined.admission.timing;
        trust::save(repo.dir(), &file)?;
        self.begin(file).await.map(drop)
    }

    /// This node's place in the cluster, if it is in one.
    pub fn membership(&self) -> Option<Membership> {
        let ctx = self.ctx().ok()?;
        Some(Membership { cluster: ctx.cluster, role: ctx.role, certificate: ctx.certificate() })
    }

    /// The role that a membership kept in the repo at `dir` gives this node, before anything runs; `None` without one.
    ///
    /// # Errors
    /// [`ClusterError::Membership`] when the file is damaged.
    pub fn role_on_disk(dir: &Path) -> Result<Option<Role>, ClusterError> {
        Ok(trust::load(dir)?.map(|file| file.role))
    }

    /// What of the cluster's own files in the repo's folder `dir` is not what was written: the file and why; blocks.
    pub fn check_files(dir: &Path) -> Vec<(String, String)> {
        let mut out = Vec::new();
        match trust::load(dir) {
            Ok(Some(file)) if file.role == Role::Master => match trust::load_key(dir) {
                Ok(Some(key)) if key.id() == file.cluster => {}
                Ok(_) => out.push(("cluster/key".into(), "it is not the key of this cluster".into())),
                Err(error) => out.push(("cluster/key".into(), error.to_string())),
            },
            Ok(_) => {}
            Err(error) => out.push(("cluster/member.cbor".into(), error.to_string())),
        }
        let snapshot = dir.join("raft/snapshots/current.snapshot");
        if snapshot.exists()
            && let Err(error) = raft::check_snapshot(&snapshot)
        {
            out.push(("raft/snapshots/current.snapshot".into(), error.to_string()));
        }
        out
    }

    /// Tells when this node's role changes.
    pub fn watch_role(&self) -> watch::Receiver<Option<Role>> {
        self.inner.role.subscribe()
    }

    /// Raft, on masters; for benchmarks and tools.
    pub fn raft(&self) -> Option<raft::Raft> {
        self.ctx().ok()?.master.as_ref().map(|side| side.raft.clone())
    }

    /// The cluster at this moment; members that are no masters ask one.
    ///
    /// # Errors
    /// [`ClusterError::NotMember`], [`ClusterError::NoLeader`] when no master can be reached.
    pub async fn status(&self) -> Result<ClusterStatus, ClusterError> {
        let ctx = self.ctx()?;
        let me = MeStatus { peer: ctx.peer, role: ctx.role, node: ctx.node };
        match ctx.ask(rpc::Ask::Status, ASK_LIMIT).await? {
            rpc::Answer::Status(rpc::StatusAnswer { leader, term, committed, applied, members }) => {
                Ok(ClusterStatus { cluster: ctx.cluster, leader, term, committed, applied, me, members })
            }
            _ => Err(rpc::unexpected(ctx.peer)),
        }
    }

    /// Makes a token that admits up to `role` for `ttl`; on masters only.
    ///
    /// # Errors
    /// [`ClusterError::NeedsMaster`] names the masters.
    pub async fn token_create(&self, role: Role, ttl: Duration) -> Result<Token, ClusterError> {
        let ctx = self.ctx()?;
        let side = ctx.master("make join tokens")?;
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Ok(Token::create(&side.key, random::bytes(), role, time::unix_ms().saturating_add(ttl_ms)))
    }

    /// Submits a task; returns at the verified accepted receipt. The task may run until `timeout` after now is over at
    /// least, and up to 24 hours.
    ///
    /// # Errors
    /// [`ClusterError::Spec`] for a malformed spec, [`ClusterError::Timeout`] without a receipt,
    /// [`ClusterError::Refused`] by a master.
    pub async fn submit(
        &self,
        kind: &str,
        input: Option<Cid>,
        params: BTreeMap<String, String>,
        via: Via,
        timeout: Duration,
    ) -> Result<Submitted, ClusterError> {
        let ctx = self.ctx()?;
        let signed = tasks::submit::sign(&ctx, kind, input, params, timeout.max(DEFAULT_LIFE))?;
        self.submit_signed(signed, via, timeout).await
    }

    /// Submits a spec that is signed already; the same spec again is the same task.
    ///
    /// # Errors
    /// As [`Cluster::submit`].
    pub async fn submit_signed(
        &self,
        signed: SignedSpec,
        via: Via,
        timeout: Duration,
    ) -> Result<Submitted, ClusterError> {
        let ctx = self.ctx()?;
        match via {
            Via::Direct => tasks::submit::direct(&ctx, signed, timeout).await,
            Via::Gossip => {
                let submitted = tasks::submit::by_gossip(&ctx, &signed, timeout).await?;
                let mut published = self.inner.published.lock().unwrap_or_else(PoisonError::into_inner);
                published.note(submitted.id, signed);
                Ok(submitted)
            }
        }
    }

    /// Waits for a task's outcome; gives the verified outcome receipt.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`], and [`ClusterError::Refused`] of kind not found when no master knows the task.
    pub async fn wait_outcome(&self, task: TaskId, timeout: Duration) -> Result<Receipt, ClusterError> {
        let ctx = self.ctx()?;
        let published = self.inner.published.lock().unwrap_or_else(PoisonError::into_inner).specs.get(&task).cloned();
        let outcome = tasks::submit::outcome(&ctx, task, published, timeout).await;
        if outcome.is_ok() {
            let mut published = self.inner.published.lock().unwrap_or_else(PoisonError::into_inner);
            published.specs.remove(&task);
        }
        outcome
    }

    /// A task's record, as a master has it.
    ///
    /// # Errors
    /// [`ClusterError::NoTask`], [`ClusterError::NoLeader`] when no master can be reached.
    pub async fn task(&self, task: TaskId) -> Result<TaskRecord, ClusterError> {
        tasks::submit::record(&self.ctx()?, task, ASK_LIMIT).await
    }
}

/// How long a task may wait and run unless its submitter waits longer.
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);
