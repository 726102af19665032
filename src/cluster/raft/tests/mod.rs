//! Raft on real logs and state files; masters in one process over links that can be cut.

mod cluster;
mod disk;
mod hub;
mod line;
mod suite;

use std::{path::Path, sync::Arc, time::Duration};

use crate::{
    base::{Keypair, NodeId, PeerId, Role, Tasks},
    cluster::{
        error::ClusterError,
        model::{ClusterKey, MasterInfo, Subject},
    },
    store::{Wal, kv::RedbKv},
};

use super::{
    CertifiedMasters, Raft, SnapshotPolicy, Timing,
    start::{Disk, Settings, start_on},
};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn key(n: u8) -> Keypair {
    Keypair::ed25519_from_bytes([n; 32]).unwrap()
}

fn peer(n: u8) -> PeerId {
    key(n).public().to_peer_id()
}

fn info(n: u8) -> MasterInfo {
    MasterInfo { peer: peer(n), addrs: vec![format!("/ip4/127.0.0.1/tcp/{}", 4000 + u16::from(n)).parse().unwrap()] }
}

fn node(n: u8) -> NodeId {
    NodeId::new(1, u64::from(n))
}

fn masters(seed: u8, n: u8) -> CertifiedMasters {
    let cluster = ClusterKey::from_seed([seed; 32]);
    let subject = Subject { peer_key: key(n).public(), node: Some(node(n)), role: Role::Master, epoch: 1 };
    CertifiedMasters { cluster: cluster.id(), certificate: cluster.certify(subject, 0) }
}

fn disk_at(dir: &Path, storage_id: [u8; 16]) -> Disk {
    let folder = dir.join("raft");
    std::fs::create_dir_all(folder.join("log")).unwrap();
    Disk {
        wal: Wal::open(&folder.join("log"), 1 << 20, None).unwrap(),
        kv: Arc::new(RedbKv::open(&dir.join("cluster.redb"), 4 << 20, None).unwrap()),
        storage_id,
        folder,
    }
}

async fn start(
    dir: &Path,
    n: u8,
    hub: &hub::Hub,
    snapshots: SnapshotPolicy,
    timing: Timing,
    tasks: &Tasks,
) -> Result<Raft, ClusterError> {
    let settings = Settings {
        node: node(n),
        link: Arc::new(hub.link(peer(n))),
        timing,
        snapshots,
        authorise: Arc::new(masters(9, n)),
    };
    start_on(disk_at(dir, [n; 16]), settings, tasks).await
}
