//! A disk that is not this node's, or not what it was, is refused.

use super::*;
use crate::{
    base::Kind,
    cluster::{
        raft::ProposeError,
        state::{Command, Request},
    },
};

async fn one(dir: &Path, n: u8) -> Result<(Raft, Tasks), ClusterError> {
    let tasks = Tasks::new();
    let raft = start(dir, n, &hub::Hub::default(), SnapshotPolicy::default(), Timing::LAN, &tasks).await?;
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

/// Makes the last frame of the log in `dir` unwritten; what a disk does that forgets an acknowledged write.
fn forget_last_frame(dir: &Path) {
    let files = std::fs::read_dir(dir.join("raft/log")).unwrap().map(|entry| entry.unwrap().path());
    let path = files.filter(|path| path.extension().is_some_and(|e| e == "wal")).max().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).rposition(|w| w == b"WFR1").unwrap();
    bytes[at..].fill(0);
    std::fs::write(&path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_its_last_acknowledged_frame_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let applied = written(dir.path()).await;
    // The frames after the last entry's only say what is committed.
    let last = loop {
        forget_last_frame(dir.path());
        let last = disk_at(dir.path(), [1; 16]).wal.1.last.unwrap();
        if last < applied {
            break last;
        }
    };
    for _ in 0..2 {
        let Err(ClusterError::Identity { reason, .. }) = one(dir.path(), 1).await else { panic!("it started") };
        assert!(reason.contains("rolled back") && reason.contains(&format!("ends at entry {last},")), "{reason}");
    }
    // The same for a whole log that is older than the state.
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    written(old.path()).await;
    let (raft, tasks) = {
        written(new.path()).await;
        one(new.path(), 1).await.unwrap()
    };
    raft.watch().wait_for(|s| s.is_leader).await.unwrap();
    raft.propose(vec![Request::once(Command::Noop { payload: vec![2] })]).await.unwrap();
    assert!(tasks.shutdown(PATIENCE).await);
    drop(raft);
    let log = new.path().join("raft/log");
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::rename(old.path().join("raft/log"), &log).unwrap();
    assert!(is_identity(one(new.path(), 1).await));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_whose_log_cannot_be_written_leads_no_more_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let applied = written(dir.path()).await;
    let (raft, tasks) = one(dir.path(), 1).await.unwrap();
    raft.watch().wait_for(|s| s.is_leader && s.applied >= applied).await.unwrap();
    // The next segment has no folder to lie in.
    std::fs::rename(dir.path().join("raft/log"), dir.path().join("raft/gone")).unwrap();
    let noop = || vec![Request::once(Command::Noop { payload: vec![3; 60_000] })];
    let mut acknowledged = 0;
    let error = loop {
        match raft.propose(noop()).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100, "a log of 1 MiB took 6 MB");
    };
    let why = "the log cannot be written";
    assert!(matches!(&error, ProposeError::Stopped(text) if text.starts_with(why)), "{error}");
    let status = raft.watch().wait_for(|s| s.stopped.is_some()).await.unwrap().clone();
    assert_eq!((status.leader, &status.leader_info, status.is_leader), (None, &None, false));
    assert!(status.stopped.is_some_and(|text| text.contains(why) && text.contains("then restart")));
    let again = raft.propose(noop()).await;
    assert!(matches!(&again, Err(ProposeError::Stopped(text)) if text.contains(why)), "{again:?}");
    assert!(tasks.shutdown(PATIENCE).await);
    drop(raft);
    // Nothing that was acknowledged is lost when the folder is there again.
    std::fs::rename(dir.path().join("raft/gone"), dir.path().join("raft/log")).unwrap();
    let (raft, tasks) = one(dir.path(), 1).await.unwrap();
    raft.watch().wait_for(|s| s.is_leader && s.applied >= applied + acknowledged).await.unwrap();
    assert!(tasks.shutdown(PATIENCE).await);
}
