//! Starting a membership: on founding, on joining, and again after every restart.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use crate::{
    base::{HasKind, Role, Tasks, random, time},
    net::Net,
    store::Repo,
};

use super::{
    counts::Counts,
    ctx::{Ctx, MasterSide},
    door,
    error::ClusterError,
    keeper, leader,
    model::{ClusterKey, MasterInfo, MemberInfo, Subject},
    options::DataPlane,
    raft::{CertifiedMasters, NetLink, Raft, RaftOptions, SnapshotPolicy, Timing},
    session,
    state::{Command, FIRST_EPOCH, FOUNDER},
    tasks::intake,
    trust::{self, MemberFile},
};

/// Founding waits this long for its own log.
const FOUND_LIMIT: Duration = Duration::from_secs(10);

/// What every membership of this node is made of.
#[derive(Clone)]
pub(super) struct Parts {
    pub repo: Repo,
    pub net: Net,
    pub data: Arc<dyn DataPlane>,
    pub timing: Timing,
    pub counts: Counts,
    pub tasks: Tasks,
}

/// Makes the cluster key and the founder's membership, on disk.
pub(super) fn found(parts: &Parts, timing: Timing) -> Result<MemberFile, ClusterError> {
    // A key left by a founding that was cut off is used again.
    let key = match trust::load_key(parts.repo.dir())? {
        Some(key) => key,
        None => ClusterKey::from_seed(random::bytes()),
    };
    trust::save_key(parts.repo.dir(), &key)?;
    let peer_key = parts.repo.keypair().public();
    let subject = Subject { peer_key, node: Some(FOUNDER), role: Role::Master, epoch: FIRST_EPOCH };
    let me = MasterInfo { peer: parts.net.local_peer(), addrs: parts.net.peers().announce_addrs() };
    let mut file = MemberFile::new(key.certify(subject, time::unix_ms()), vec![me]);
    file.timing = Some(timing);
    trust::save(parts.repo.dir(), &file)?;
    Ok(file)
}

/// Starts everything a member does. On masters returns when Raft runs; the founder founds the cluster if that was not
/// done yet.
pub(super) async fn start(parts: &Parts, file: MemberFile) -> Result<Arc<Ctx>, ClusterError> {
    let tasks = parts.tasks.child();
    let (master, desk) = match file.role {
        Role::Master => {
            let (side, desk) = master(parts, &file, &tasks).await?;
            (Some(side), Some(desk))
        }
        _ => (None, None),
    };
    let role = file.role;
    let ctx = Ctx::new(parts, tasks.clone(), file, master);
    tasks.spawn("cluster door", door::run(ctx.clone()));
    tasks.spawn("cluster connections", keeper::connections(ctx.clone()));
    tasks.spawn("task specs", intake::specs(ctx.clone()));
    tasks.spawn("task receipts", intake::receipts(ctx.clone()));
    if let Some(desk) = desk {
        tasks.spawn("leader", leader::run(ctx.clone(), desk));
        tasks.spawn("sessions", session::server::run(ctx.clone()));
        tasks.spawn("masters' addresses", keeper::addresses(ctx.clone()));
        if let Err(e) = found_log(&ctx).await {
            tasks.stop();
            return Err(e);
        }
        tasks.spawn("master's beats", keeper::beats(ctx.clone()));
    } else {
        tasks.spawn("membership refresh", keeper::refresh(ctx.clone()));
    }
    if role == Role::Worker {
        tasks.spawn("worker session", session::client::run(ctx.clone()));
    }
    tracing::info!(cluster = %ctx.cluster, %role, "member of the cluster");
    Ok(ctx)
}

async fn master(
    parts: &Parts,
    file: &MemberFile,
    tasks: &Tasks,
) -> Result<(MasterSide, mpsc::Receiver<leader::Msg>), ClusterError> {
    let damaged = |reason: &str| ClusterError::Membership {
        path: parts.repo.dir().join("cluster").display().to_string(),
        reason: reason.into(),
    };
    let key = trust::load_key(parts.repo.dir())?.ok_or_else(|| damaged("a master's repo holds no cluster key"))?;
    if key.id() != file.cluster {
        return Err(damaged("the cluster key is another cluster's"));
    }
    let node = file.node.ok_or_else(|| damaged("a master needs a number"))?;
    let net = &parts.net;
    let options = RaftOptions {
        node,
        repo: parts.repo.clone(),
        link: Arc::new(NetLink::new(net.streams().clone(), net.peers().clone(), tasks)),
        timing: file.timing.unwrap_or(parts.timing),
        snapshots: SnapshotPolicy::default(),
        authorise: Arc::new(CertifiedMasters { cluster: file.cluster, certificate: file.certificate.clone() }),
    };
    let raft = Raft::start(options, tasks).await?;
    let (desk, msgs) = mpsc::channel(leader::DESK);
    let standing = watch::Sender::new(Default::default());
    Ok((MasterSide { key, raft, desk, standing }, msgs))
}

/// Makes sure that the founder's log says who founded the cluster; does nothing on others and later.
async fn found_log(ctx: &Arc<Ctx>) -> Result<(), ClusterError> {
    let side = ctx.master("found a cluster")?;
    let founded = side.raft.state().cluster();
    let founded = founded.map_err(|e| ClusterError::Storage { kind: e.kind(), message: e.to_string() })?;
    if ctx.node != Some(FOUNDER) || founded.is_some() {
        return Ok(());
    }
    let me = MasterInfo { peer: ctx.peer, addrs: ctx.own_addrs() };
    if let Err(e) = side.raft.initialize(me).await {
        // It was before, if the founding was cut off.
        tracing::debug!("raft was not initialised: {e}");
    }
    let storage_id = ctx.repo.storage_id();
    let founder = MemberInfo { peer: ctx.peer, storage_id, role: Role::Master, addrs: ctx.own_addrs() };
    ctx.propose_one(Command::Found { cluster: ctx.cluster, founder }, FOUND_LIMIT).await.map(drop)
}
