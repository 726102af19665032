//! A disk that is not this node's, or not what it was, is refused.

use super::*;
use crate::{
    base::Kind,
    cluster::state::{Command, Request},
};

async fn one(dir: &Path, n: u8) -> Result<(Raft, Tasks), ClusterError> {
    let tasks = Tasks::new();
    let raft = start(dir, n, &hub::Hub::default(), SnapshotPolicy::default(), &tasks).await?;
    Ok((raft, tasks))
}

async fn written(dir: &Path) -> u64 {
    let (raft, tasks) = one(dir, 1).await.unwrap();
    raft.initialize(info(1)).await.unwrap();
    raft.watch().wait_for(|s| s.is_leader).await.unwrap();
    let noop = || Request::once(Command::Noop { payload: vec![1] });
    for _ in 0..10 {
        raft.propose(vec![noop()]).await.unwrap();
    }
    let applied = raft.status().applied;
    assert!(tasks.shutdown(PATIENCE).await);
    applied
}

fn is_identity<T>(result: Result<T, ClusterError>) -> bool {
    matches!(result, Err(ClusterError::Identity { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_serves_its_node_and_repo_only() {
    let dir = tempfile::tempdir().unwrap();
    let applied = written(dir.path()).await;
    // Another number.
    assert!(is_identity(one(dir.path(), 2).await));
    // The same number with the files copied into another repo.
    let settings = Settings {
        node: node(1),
        link: Arc::new(hub::Hub::default().link(peer(1))),
        timing: Timing::LAN,
        snapshots: SnapshotPolicy::default(),
        authorise: Arc::new(masters(9, 1)),
    };
    let tasks = Tasks::new();
    assert!(is_identity(start_on(disk_at(dir.path(), [77; 16]), settings, &tasks).await));
    assert!(tasks.shutdown(PATIENCE).await);
    // Its own: everything is there.
    let (raft, tasks) = one(dir.path(), 1).await.unwrap();
    raft.watch().wait_for(|s| s.is_leader && s.applied >= applied).await.unwrap();
    assert!(tasks.shutdown(PATIENCE).await);
    drop(raft);
    // Without the file that says whose it is.
    std::fs::remove_file(dir.path().join("raft/identity")).unwrap();
    assert!(is_identity(one(dir.path(), 1).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_behind_the_state_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    std::fs::remove_dir_all(dir.path().join("raft/log")).unwrap();
    assert!(is_identity(one(dir.path(), 1).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_state_is_rebuilt_from_the_log_and_a_damaged_snapshot_refused() {
    let dir = tempfile::tempdir().unwrap();
    let applied = written(dir.path()).await;
    // The state is lazy: all of it may be lost while the log is whole.
    std::fs::remove_file(dir.path().join("cluster.redb")).unwrap();
    let (raft, tasks) = one(dir.path(), 1).await.unwrap();
    raft.watch().wait_for(|s| s.is_leader && s.applied >= applied).await.unwrap();
    raft.snapshot_now().await.unwrap();
    assert!(tasks.shutdown(PATIENCE).await);
    drop(raft);
    // A bit flips in the snapshot, and the state is lost again: nothing is made of it.
    let path = dir.path().join("raft/snapshots/current.snapshot");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_file(dir.path().join("cluster.redb")).unwrap();
    let refused = one(dir.path(), 1).await;
    assert!(matches!(refused, Err(ClusterError::Storage { kind: Kind::Corrupt, .. })));
}
