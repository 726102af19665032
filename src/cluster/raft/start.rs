//! Opening the disk, checking that it is this node's, and starting openraft on it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use openraft::{Config, SnapshotPolicy as RaftSnapshotPolicy, async_runtime::WatchReceiver};
use tokio::sync::{broadcast, watch};

use crate::{
    base::{HasKind, Kind, NodeId, Tasks},
    cluster::{
        error::ClusterError,
        state::{KvTables, StateReader},
    },
    store::{Kv, Recovered, Repo, StoreError, Wal},
};

use super::{
    Inner, OpenRaft, Raft, identity,
    link::Link,
    log::LogStore,
    machine::Machine,
    network::Dialer,
    options::{Authorise, RaftOptions, SnapshotPolicy, Timing},
    proposer::Proposer,
    server::Server,
    status,
};

/// Events kept for slow listeners.
const EVENTS: usize = 4_096;
/// The name of the log and of the state in the repository.
const NAME: &str = "cluster";

fn store(e: StoreError) -> ClusterError {
    ClusterError::Storage { kind: e.kind(), message: e.to_string() }
}

fn failed(e: std::io::Error) -> ClusterError {
    let kind = if e.kind() == std::io::ErrorKind::InvalidData { Kind::Corrupt } else { HasKind::kind(&e) };
    ClusterError::Storage { kind, message: e.to_string() }
}

fn config(timing: Timing, snapshots: SnapshotPolicy) -> Result<Config, ClusterError> {
    let config = Config {
        cluster_name: NAME.into(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        enable_pre_vote: Some(true),
        max_payload_entries: 256,
        install_snapshot_timeout: 120_000,
        snapshot_policy: RaftSnapshotPolicy::LogsSinceLast(snapshots.every),
        max_in_snapshot_log_to_keep: snapshots.keep,
        replication_lag_threshold: snapshots.every.saturating_mul(2),
        purge_batch_size: 256,
        ..Config::default()
    };
    config.validate().map_err(|e| ClusterError::Raft { reason: e.to_string() })
}

/// What Raft needs of a repository.
pub(crate) struct Disk {
    pub folder: PathBuf,
    pub storage_id: [u8; 16],
    pub wal: (Wal, Recovered),
    pub kv: Arc<dyn Kv>,
}

impl Disk {
    pub fn open(repo: &Repo) -> Result<Self, ClusterError> {
        Ok(Disk {
            folder: repo.dir().join("raft"),
            storage_id: repo.storage_id(),
            wal: repo.open_wal(NAME).map_err(store)?,
            kv: repo.open_kv(NAME).map_err(store)?,
        })
    }
}

/// See [`Raft::start`].
pub(crate) async fn start(options: RaftOptions, tasks: &Tasks) -> Result<Raft, ClusterError> {
    let RaftOptions { node, repo, link, timing, snapshots, authorise } = options;
    start_on(Disk::open(&repo)?, Settings { node, link, timing, snapshots, authorise }, tasks).await
}

/// [`RaftOptions`] without the repository.
pub(crate) struct Settings {
    pub node: NodeId,
    pub link: Arc<dyn Link>,
    pub timing: Timing,
    pub snapshots: SnapshotPolicy,
    pub authorise: Arc<dyn Authorise>,
}

/// [`start`] on a disk that is open.
pub(crate) async fn start_on(disk: Disk, settings: Settings, tasks: &Tasks) -> Result<Raft, ClusterError> {
    let Settings { node, link, timing, snapshots, authorise } = settings;
    let Disk { folder, storage_id, wal: (wal, recovered), kv } = disk;
    let (events, _) = broadcast::channel(EVENTS);
    let log = LogStore::open(wal, recovered).await.map_err(failed)?;
    let machine = Machine::open(kv.clone(), &folder.join("snapshots"), events.clone()).map_err(failed)?;
    let empty = log.is_pristine() && machine.applied().is_none();
    identity::bind(&folder, node, storage_id, empty)?;
    check_not_behind(node, &log, &machine)?;
    let dialer = Dialer {
        node,
        link: link.clone(),
        authorise: authorise.clone(),
        patience: Duration::from_millis(2 * timing.election_max_ms),
    };
    let config = Arc::new(config(timing, snapshots)?);
    let raft = OpenRaft::new(node.0, config, dialer, log, machine.clone())
        .await
        .map_err(|e| ClusterError::Raft { reason: e.to_string() })?;
    let state = StateReader::new(KvTables(kv));
    let last_ms = state.meta().map_err(|e| ClusterError::Storage { kind: e.kind(), message: e.to_string() })?.time_ms;
    let proposer = Proposer::start(node, raft.clone(), last_ms, tasks);
    let server = Server {
        node,
        raft: raft.clone(),
        machine: machine.clone(),
        state: state.clone(),
        authorise,
        tasks: tasks.clone(),
    };
    server.start(&*link);
    let status = watch_status(node, &raft, tasks);
    let raft =
        Raft { inner: Arc::new(Inner { node, raft, machine, state, proposer, status, events, snapshots, timing }) };
    let (ending, stopped) = (raft.clone(), tasks.clone());
    tasks.spawn_graceful("raft end", async move {
        stopped.stopped().await;
        ending.shutdown().await;
    });
    Ok(raft)
}

/// A log that ends before what was applied or purged has lost entries it had acknowledged: it must never vote.
fn check_not_behind(node: NodeId, log: &LogStore, machine: &Machine) -> Result<(), ClusterError> {
    let refuse = |reason: String| Err(ClusterError::Identity { node, reason });
    let (last, applied, purged) = (log.last(), machine.applied(), log.purged());
    let covered = machine.snapshot().map_err(failed)?;
    let shown = |id: Option<super::types::LogIdOf>| id.map_or("nothing".into(), |id| format!("entry {}", id.index));
    if applied > last && applied > covered {
        return refuse(format!(
            "its log ends at {}, but {} was applied; it was rolled back",
            shown(last),
            shown(applied)
        ));
    }
    if purged > applied {
        return refuse(format!(
            "its state ends at {}, but the log begins after {}; it was rolled back",
            shown(applied),
            shown(purged)
        ));
    }
    Ok(())
}

fn watch_status(node: NodeId, raft: &OpenRaft, tasks: &Tasks) -> watch::Receiver<super::RaftStatus> {
    let mut metrics = raft.metrics();
    let first = status::of(node, &metrics.borrow_watched());
    let (to, out) = watch::channel(first);
    tasks.spawn("raft status", async move {
        loop {
            let now = status::of(node, &metrics.borrow_watched());
            to.send_if_modified(|old| {
                let changed = *old != now;
                *old = now;
                changed
            });
            if metrics.changed().await.is_err() {
                return;
            }
        }
    });
    out
}
