//! Several masters: elections, crashes, partitions, snapshots, hand-overs.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream::FuturesUnordered};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

use super::{hub::Hub, *};
use crate::{
    base::{random, time},
    cluster::{
        model::TaskSpec,
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
    timing: Timing,
}

impl Masters {
    async fn new(count: u8, snapshots: SnapshotPolicy) -> Self {
        Masters::timed(count, snapshots, Timing::LAN).await
    }

    async fn timed(count: u8, snapshots: SnapshotPolicy, timing: Timing) -> Self {
        let mut masters = Masters { hub: Hub::default(), nodes: BTreeMap::new(), snapshots, timing };
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
        masters.write("founded", "1").await;
        masters
    }

    async fn add(&mut self, n: u8) {
        self.nodes.insert(n, Node { dir: tempfile::tempdir().unwrap(), running: None });
        self.start(n).await;
    }

    async fn start(&mut self, n: u8) {
        let tasks = Tasks::new();
        let node = self.nodes.get_mut(&n).unwrap();
        let raft = start(node.dir.path(), n, &self.hub, self.snapshots, self.timing, &tasks).await.unwrap();
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

    async fn write_at(&self, n: u8, key: &str, value: &str) -> Result<u64, ProposeError> {
        let command = Command::SetSetting { key: key.into(), value: value.into(), expect: None };
        match self.raft(n).propose(vec![Request::once(found()), Request::once(command)]).await?.pop() {
            Some(Reply::Setting { revision }) => Ok(revision),
            other => panic!("{other:?}"),
        }
    }

    /// Writes through whoever leads, trying again when that changes: on a busy machine it may at any time.
    async fn write(&self, key: &str, value: &str) -> u64 {
        let writing = async {
            loop {
                let leader = self.leader(&self.running()).await;
                match self.write_at(leader, key, value).await {
                    Ok(revision) => return revision,
                    Err(ProposeError::NotLeader { .. } | ProposeError::Timeout | ProposeError::Busy) => {
                        tokio::task::yield_now().await;
                    }
                    Err(e) => panic!("{e}"),
                }
            }
        };
        timeout(PATIENCE, writing).await.expect("a write goes through")
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
        masters.write(&format!("a{i}"), "1").await;
    }
    let first = masters.leader(&[first]).await;
    let refused = masters.raft(first % 3 + 1).propose(vec![Request::once(found())]).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
    masters.stop(first).await;
    let rest = masters.running();
    let second = masters.leader(&rest).await;
    assert_ne!(first, second);
    for i in 0..20 {
        masters.write(&format!("b{i}"), "1").await;
    }
    masters.start(first).await;
    masters.agree().await;
    assert_eq!(masters.raft(first).state().settings().unwrap().len(), 41);
    // All of them at once: what was acknowledged is on their disks.
    for n in [1, 2, 3] {
        masters.stop(n).await;
    }
    for n in [1, 2, 3] {
        masters.start(n).await;
    }
    masters.agree().await;
    assert_eq!(masters.raft(1).state().settings().unwrap().len(), 41);
    masters.end().await;
}

fn submit(n: u8) -> Command {
    let spec = TaskSpec {
        cluster: ClusterKey::from_seed([9; 32]).id(),
        author: peer(100),
        nonce: [n; 16],
        kind: "noop".into(),
        input: None,
        params: BTreeMap::new(),
        not_after_ms: time::unix_ms() + 3_600_000,
        priority: 0,
    };
    Command::Submit { task: spec.id(), spec }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn submissions_under_way_when_the_leader_dies_are_in_the_log_exactly_once() {
    const COUNT: u8 = 60;
    let mut masters = Masters::new(3, SnapshotPolicy::default()).await;
    masters.write("founded", "1").await;
    let rafts: Vec<Raft> = (1..=3).map(|n| masters.raft(n).clone()).collect();
    let client = random::bytes();
    // Each asks every master in turn, under the same number, until one has answered.
    let propose = async |sequence: u8, command: Command| {
        let request = Request { client, sequence: u64::from(sequence), command };
        loop {
            for raft in &rafts {
                match raft.propose(vec![request.clone()]).await {
                    Ok(mut replies) => return replies.remove(0),
                    Err(ProposeError::TooLarge(e)) => panic!("{e}"),
                    Err(_) => {}
                }
            }
            let mut status = rafts[usize::from(sequence) % 3].watch();
            let _ = timeout(Duration::from_millis(50), status.changed()).await;
        }
    };
    let commands: Vec<Command> = (0..COUNT).map(submit).collect();
    let mut under_way: FuturesUnordered<_> =
        (0..COUNT).map(async |n| (n, propose(n, commands[usize::from(n)].clone()).await)).collect();
    let leader = masters.leader(&[1, 2, 3]).await;
    let mut replies = BTreeMap::new();
    let mut dying = None;
    let all = async {
        while let Some((n, reply)) = under_way.next().await {
            replies.insert(n, reply);
            if dying.is_none() {
                dying = Some(());
                masters.stop(leader).await;
            }
        }
    };
    timeout(PATIENCE, all).await.expect("all are accepted");
    masters.agree().await;
    let survivor = masters.leader(&masters.running()).await;
    let state = masters.raft(survivor).state().clone();
    let records = state.tasks(None, None, 1_000).unwrap();
    assert_eq!(records.len(), usize::from(COUNT));
    for (n, reply) in &replies {
        let Reply::Task { id, index, duplicate: false } = reply else { panic!("{reply:?}") };
        assert_eq!(state.task(id).unwrap().unwrap().accepted_index, *index);
        // And again: the same answer, nothing new.
        assert_eq!(propose(*n, commands[usize::from(*n)].clone()).await, *reply);
    }
    assert_eq!(state.tasks(None, None, 1_000).unwrap(), records);
    // Its files are free when nobody has a handle of it any more.
    drop(under_way);
    drop(rafts);
    masters.start(leader).await;
    masters.agree().await;
    masters.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_that_joins_after_20000_commands_and_a_purge_catches_up_from_a_snapshot() {
    let mut masters = Masters::new(1, SnapshotPolicy { every: 100, keep: 10 }).await;
    let mut under_way = Vec::new();
    for i in 0..250u64 {
        let raft = masters.raft(1).clone();
        let requests = (0..80).map(|j| Request {
            client: [5; 16],
            sequence: i * 80 + j,
            command: Command::Noop { payload: vec![0; 64] },
        });
        let requests: Vec<Request> = requests.collect();
        // On a busy machine a proposal may run out of time; asking again under the same numbers is safe.
        under_way.push(async move {
            for _ in 0..6 {
                if raft.propose(requests.clone()).await.is_ok() {
                    return;
                }
            }
            panic!("no proposal was accepted in six attempts");
        });
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
    masters.write("after", "1").await;
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
                    let done = timeout(Duration::from_millis(1_500), masters.write_at(n, &key, &value)).await;
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
    for _ in 0..4 {
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
    assert!(total >= 40, "{total}");
    Arc::into_inner(masters).expect("the writers have ended").end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_cut_off_does_not_disturb_the_others_when_it_is_back() {
    // Slow enough that a busy machine is not taken for a dead one.
    let timing = Timing { heartbeat_ms: 100, election_min_ms: 1_500, election_max_ms: 2_000 };
    let masters = Masters::timed(3, SnapshotPolicy::default(), timing).await;
    let leader = masters.leader(&[1, 2, 3]).await;
    let lonely = leader % 3 + 1;
    let third = lonely % 3 + 1;
    masters.until(lonely, |s| s.leader == Some(node(leader))).await;
    let term = masters.raft(leader).status().term;
    masters.hub.part(&[peer(lonely)], &[peer(leader), peer(third)]);
    for i in 0..50 {
        masters.write_at(leader, &format!("k{i}"), "v").await.unwrap();
    }
    // Two rounds of pre-votes, asking two others each: they fail, so its term stays.
    timeout(PATIENCE, masters.hub.refused(peer(lonely), 4)).await.expect("it stands for election");
    assert_eq!(masters.raft(lonely).status().term, term);
    masters.hub.mend();
    masters.agree().await;
    assert_eq!(masters.raft(leader).status().term, term);
    masters.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_lead_is_handed_over_and_members_change() {
    // Slow enough that a busy machine is not taken for a dead one.
    let timing = Timing { heartbeat_ms: 100, election_min_ms: 1_500, election_max_ms: 2_000 };
    let mut masters = Masters::timed(3, SnapshotPolicy::default(), timing).await;
    let leader = masters.leader(&[1, 2, 3]).await;
    let to = leader % 3 + 1;
    masters.write_at(leader, "before", "1").await.unwrap();
    masters.raft(leader).transfer_leader(node(to)).await.unwrap();
    assert_eq!(masters.leader(&[1, 2, 3]).await, to);
    masters.write_at(to, "after", "1").await.unwrap();
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
    masters.write("later", "1").await;
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
        masters.write(&format!("k{i}"), "v").await;
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
