//! Several masters: elections, crashes, partitions, snapshots, hand-overs.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

use super::{hub::Hub, *};
use crate::{
    base::random,
    cluster::{
        raft::{ProposeError, RaftStatus},
        state::{Command, Reply, Request},
    },
};

struct Node {
    dir: TempDir,
    running: Option<(Raft, Tasks)>,
}

struct Masters {
    hub: Hub,
    nodes: BTreeMap<u8, Node>,
    snapshots: SnapshotPolicy,
}

impl Masters {
    async fn new(count: u8, snapshots: SnapshotPolicy) -> Self {
        let mut masters = Masters { hub: Hub::default(), nodes: BTreeMap::new(), snapshots };
        masters.add(1).await;
        masters.raft(1).initialize(info(1)).await.unwrap();
        masters.until(1, |s| s.is_leader).await;
        for n in 2..=count {
            masters.add(n).await;
            masters.raft(1).add_learner(node(n), info(n)).await.unwrap();
        }
        if count > 1 {
            masters.raft(1).promote((2..=count).map(node).collect()).await.unwrap();
        }
        masters
    }

    async fn add(&mut self, n: u8) {
        self.nodes.insert(n, Node { dir: tempfile::tempdir().unwrap(), running: None });
        self.start(n).await;
    }

    async fn start(&mut self, n: u8) {
        let tasks = Tasks::new();
        let node = self.nodes.get_mut(&n).unwrap();
        let raft = start(node.dir.path(), n, &self.hub, self.snapshots, &tasks).await.unwrap();
        node.running = Some((raft, tasks));
    }

    async fn stop(&mut self, n: u8) {
        let (raft, tasks) = self.nodes.get_mut(&n).unwrap().running.take().unwrap();
        assert!(tasks.shutdown(PATIENCE).await, "node {n} did not stop");
        drop(raft);
    }

    fn raft(&self, n: u8) -> &Raft {
        &self.nodes[&n].running.as_ref().unwrap().0
    }

    fn running(&self) -> Vec<u8> {
        self.nodes.iter().filter(|(_, node)| node.running.is_some()).map(|(n, _)| *n).collect()
    }

    async fn until(&self, n: u8, is: impl FnMut(&RaftStatus) -> bool) -> RaftStatus {
        let mut status = self.raft(n).watch();
        let found = timeout(PATIENCE, status.wait_for(is)).await.map(|s| s.unwrap().clone());
        found.unwrap_or_else(|_| panic!("node {n} never got there: {:?}", self.raft(n).status()))
    }

    /// Waits until one of `among` leads in the eyes of a majority of them.
    async fn leader(&self, among: &[u8]) -> u8 {
        let watches = among.iter().map(|n| self.raft(*n).watch());
        let mut watches: Vec<_> = watches.collect();
        let found = timeout(PATIENCE, async {
            loop {
                for n in among {
                    if self.raft(*n).status().is_leader && self.raft(*n).read_barrier().await.is_ok() {
                        return *n;
                    }
                }
                let changes = watches.iter_mut().map(|w| Box::pin(w.changed()));
                let _ = futures::future::select_all(changes).await;
            }
        });
        found.await.expect("a leader is elected")
    }

    async fn write(&self, n: u8, key: &str, value: &str) -> Result<u64, ProposeError> {
        let command = Command::SetSetting { key: key.into(), value: value.into(), expect: None };
        match self.raft(n).propose(vec![Request::once(found()), Request::once(command)]).await?.pop() {
            Some(Reply::Setting { revision }) => Ok(revision),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until all running masters have applied what the leader has, and compares their states.
    async fn agree(&self) {
        let running = self.running();
        let leader = self.leader(&running).await;
        let applied = self.raft(leader).status().applied;
        for n in &running {
            self.until(*n, |s| s.applied >= applied).await;
        }
        let hashes: BTreeSet<_> = running.iter().map(|n| self.raft(*n).state().state_hash().unwrap()).collect();
        assert_eq!(hashes.len(), 1, "the states differ");
    }

    async fn end(mut self) {
        for n in self.running() {
            self.stop(n).await;
        }
    }
}

/// Settings need a cluster; founding again is harmless.
fn found() -> Command {
    let founder =
        crate::cluster::model::MemberInfo { peer: peer(1), storage_id: [1; 16], role: Role::Master, addrs: vec![] };
    Command::Found { cluster: ClusterKey::from_seed([9; 32]).id(), founder }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_leader_is_replaced_and_comes_back_from_its_disk() {
    let mut masters = Masters::new(3, SnapshotPolicy::default()).await;
    let first = masters.leader(&[1, 2, 3]).await;
    for i in 0..20 {
        masters.write(first, &format!("a{i}"), "1").await.unwrap();
    }
    let refused = masters.raft(first % 3 + 1).propose(vec![Request::once(found())]).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
    masters.stop(first).await;
    let rest = masters.running();
    let second = masters.leader(&rest).await;
    assert_ne!(first, second);
    for i in 0..20 {
        masters.write(second, &format!("b{i}"), "1").await.unwrap();
    }
    masters.start(first).await;
    masters.agree().await;
    assert_eq!(masters.raft(first).state().settings().unwrap().len(), 40);
    // All of them at once: what was acknowledged is on their disks.
    for n in [1, 2, 3] {
        masters.stop(n).await;
    }
    for n in [1, 2, 3] {
        masters.start(n).await;
    }
    masters.agree().await;
    assert_eq!(masters.raft(1).state().settings().unwrap().len(), 40);
    masters.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_that_joins_after_20000_commands_and_a_purge_catches_up_from_a_snapshot() {
    let mut masters = Masters::new(1, SnapshotPolicy { every: 100, keep: 10 }).await;
    masters.write(1, "k", "v").await.unwrap();
    let mut under_way = Vec::new();
    for i in 0..250u64 {
        let raft = masters.raft(1).clone();
        let requests = (0..80).map(|j| Request {
            client: [5; 16],
            sequence: i * 80 + j,
            command: Command::Noop { payload: vec![0; 64] },
        });
        let requests = requests.collect();
        under_way.push(async move { raft.propose(requests).await.unwrap() });
        if under_way.len() == 10 {
            futures::future::join_all(under_way.drain(..)).await;
        }
    }
    masters.raft(1).snapshot_now().await.unwrap();
    let status = masters.raft(1).status();
    assert!(status.purged > 0 && status.snapshot > status.purged, "{status:?}");
    assert_eq!(masters.raft(1).state().meta().unwrap().replies, 20_000);
    masters.add(2).await;
    let mut events = masters.raft(2).events();
    masters.raft(1).add_learner(node(2), info(2)).await.unwrap();
    masters.until(2, |s| s.applied > status.applied).await;
    assert!(masters.hub.snapshots() > 0);
    assert_eq!(events.recv().await.unwrap().1, crate::cluster::state::Event::Reloaded);
    masters.raft(1).promote(vec![node(2)]).await.unwrap();
    masters.write(1, "after", "1").await.unwrap();
    masters.agree().await;
    // And it is durable there: it starts again from its own disk.
    masters.stop(2).await;
    masters.start(2).await;
    masters.agree().await;
    assert_eq!(masters.raft(2).state().setting("after").unwrap().unwrap().value, "1");
    masters.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn acknowledged_writes_survive_partitions() {
    let seed = random::u64();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let masters = Masters::new(3, SnapshotPolicy { every: 200, keep: 50 }).await;
    let masters = Arc::new(masters);
    let (stop, _) = tokio::sync::watch::channel(false);
    let (acked, mut acks) = mpsc::channel(1_000);
    let tasks = Tasks::new();
    // Each writer asks every master in turn and reports what was acknowledged.
    for writer in 0..4u8 {
        let (masters, acked, mut stop) = (masters.clone(), acked.clone(), stop.subscribe());
        tasks.spawn("writer", async move {
            let mut i = 0u64;
            while !*stop.borrow_and_update() {
                for n in 1..=3 {
                    let key = format!("w{writer}-{}", i % 100);
                    let value = i.to_string();
                    let done = timeout(Duration::from_millis(1_500), masters.write(n, &key, &value)).await;
                    if let Ok(Ok(revision)) = done {
                        acked.send((key, value, revision)).await.unwrap();
                    }
                    i += 1;
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    drop(acked);
    let mut known: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut total = 0;
    for _ in 0..6 {
        // Until some writes went through, cut one master off, the leader more often than not; then some more.
        let leader = masters.leader(&[1, 2, 3]).await;
        let lonely = if rng.random_bool(0.7) { leader } else { rng.random_range(1..=3) };
        let others: Vec<u8> = (1..=3).filter(|n| *n != lonely).collect();
        masters.hub.part(&[peer(lonely)], &[peer(others[0]), peer(others[1])]);
        masters.leader(&others).await;
        for _ in 0..rng.random_range(10..60) {
            let (key, value, revision) = timeout(PATIENCE, acks.recv()).await.unwrap().unwrap();
            total += 1;
            known.insert(key, (revision, value));
        }
        masters.hub.mend();
    }
    stop.send(true).unwrap();
    while let Some((key, value, revision)) = acks.recv().await {
        total += 1;
        known.insert(key, (revision, value));
    }
    assert!(tasks.shutdown(PATIENCE).await);
    masters.agree().await;
    let leader = masters.leader(&[1, 2, 3]).await;
    for (key, (revision, value)) in &known {
        // A later write of the key may have been committed without its acknowledgement being heard.
        let stored = masters.raft(leader).state().setting(key).unwrap().expect("an acknowledged write is there");
        assert!(stored.revision >= *revision, "seed {seed}: {key} went back");
        assert!(stored.revision > *revision || stored.value == *value, "seed {seed}: {key} changed its value");
    }
    assert!(total > 60, "{total}");
    Arc::into_inner(masters).expect("the writers have ended").end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_cut_off_does_not_disturb_the_others_when_it_is_back() {
    let masters = Masters::new(3, SnapshotPolicy::default()).await;
    let leader = masters.leader(&[1, 2, 3]).await;
    let lonely = leader % 3 + 1;
    let third = lonely % 3 + 1;
    let term = masters.raft(leader).status().term;
    masters.hub.part(&[peer(lonely)], &[peer(leader), peer(third)]);
    masters.until(lonely, |s| s.leader.is_none() || s.leader == Some(node(leader))).await;
    for i in 0..50 {
        masters.write(leader, &format!("k{i}"), "v").await.unwrap();
    }
    // Long enough for many elections: pre-votes fail alone, so its term stays.
    for _ in 0..30 {
        masters.raft(leader).read_barrier().await.unwrap();
        let _ = timeout(Duration::from_millis(100), std::future::pending::<()>()).await;
    }
    assert_eq!(masters.raft(lonely).status().term, term);
    masters.hub.mend();
    masters.agree().await;
    assert_eq!(masters.raft(leader).status().term, term);
    masters.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_lead_is_handed_over_and_members_change() {
    let mut masters = Masters::new(3, SnapshotPolicy::default()).await;
    let leader = masters.leader(&[1, 2, 3]).await;
    let to = leader % 3 + 1;
    masters.write(leader, "before", "1").await.unwrap();
    masters.raft(leader).transfer_leader(node(to)).await.unwrap();
    assert_eq!(masters.leader(&[1, 2, 3]).await, to);
    masters.write(to, "after", "1").await.unwrap();
    // Addresses change; identities and votes stay.
    let addrs = vec!["/ip4/127.0.0.1/tcp/9999".parse().unwrap()];
    masters.raft(to).set_addrs(node(leader), addrs.clone()).await.unwrap();
    let status = masters.until(leader, |s| s.voters.iter().any(|(_, i)| i.addrs == addrs)).await;
    assert!(status.voters.iter().any(|(n, i)| *n == node(leader) && i.peer == peer(leader)));
    // A fourth joins, another leaves.
    masters.add(4).await;
    masters.raft(to).add_learner(node(4), info(4)).await.unwrap();
    masters.raft(to).promote(vec![node(4)]).await.unwrap();
    masters.raft(to).remove(node(leader)).await.unwrap();
    let voters = masters.raft(to).status().voters.iter().map(|(n, _)| *n).collect::<BTreeSet<_>>();
    let expected = [1, 2, 3, 4].into_iter().filter(|n| *n != leader).map(node).collect::<BTreeSet<_>>();
    assert_eq!(voters, expected);
    masters.stop(leader).await;
    masters.write(to, "later", "1").await.unwrap();
    masters.agree().await;
    masters.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_of_another_cluster_is_not_listened_to() {
    let mut masters = Masters::new(1, SnapshotPolicy::default()).await;
    // Node 2 runs with a certificate of another cluster: what it is sent by node 1 it refuses, and the reverse.
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let settings = Settings {
        node: node(2),
        link: Arc::new(masters.hub.link(peer(2))),
        timing: Timing::LAN,
        snapshots: SnapshotPolicy::default(),
        authorise: Arc::new(self::masters(8, 2)),
    };
    let foreign = start_on(disk_at(dir.path(), [2; 16]), settings, &tasks).await.unwrap();
    masters.raft(1).add_learner(node(2), info(2)).await.unwrap();
    for i in 0..20 {
        masters.write(1, &format!("k{i}"), "v").await.unwrap();
    }
    assert_eq!((foreign.status().last_log, foreign.status().applied), (0, 0));
    assert!(tasks.shutdown(PATIENCE).await);
    // The same number with the right certificate catches up.
    drop(foreign);
    masters.nodes.insert(2, Node { dir: tempfile::tempdir().unwrap(), running: None });
    masters.start(2).await;
    masters.agree().await;
    masters.end().await;
}
