//! Whole members on loopback: founding, joining, refusals, tasks by gossip, leases, the death of a leader.

mod deaths;
mod direct;
mod garbage;
mod gossip;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    model::{ClusterKey, TaskState, TokenError},
    session::wire::{Down, MAX_FRAME_BYTES, PROTOCOL, Up, Verdict},
    *,
};
use crate::{
    base::{HasKind, Kind, frame, random},
    net::{Class, MemoryDhtStore, Net, NetOptions},
    store::{Repo, StoreOptions},
};

const GUARD: Duration = Duration::from_secs(60);

/// A data side that counts attempts, which end when the gate is open.
struct Counting {
    runs: AtomicUsize,
    confirmed: AtomicUsize,
    gate: watch::Sender<bool>,
}

impl Default for Counting {
    fn default() -> Self {
        Counting { runs: AtomicUsize::new(0), confirmed: AtomicUsize::new(0), gate: watch::Sender::new(true) }
    }
}

impl DataPlane for Counting {
    fn holds(&self, _: Cid) -> BoxFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn kinds(&self) -> Vec<String> {
        vec!["noop".into()]
    }

    fn capacity(&self) -> u32 {
        8
    }

    fn start(&self, _: Assignment) -> BoxFuture<'static, TaskOutcome> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let mut gate = self.gate.subscribe();
        Box::pin(async move {
            let _ = gate.wait_for(|open| *open).await;
            Outcome::Success { result: None, bytes: 0 }
        })
    }

    fn confirmed(&self, _: TaskId, _: Fence, _: Option<Cid>) -> BoxFuture<'static, ()> {
        self.confirmed.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {})
    }

    fn refused(&self, _: TaskId, _: Fence) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

struct Node {
    _dir: Arc<tempfile::TempDir>,
    repo: Repo,
    net: Net,
    tasks: Tasks,
    cluster: Cluster,
    data: Arc<Counting>,
}

impl Node {
    async fn start() -> Node {
        Node::start_in(Arc::new(tempfile::tempdir().unwrap())).await
    }

    async fn start_in(dir: Arc<tempfile::TempDir>) -> Node {
        let path = dir.path().to_owned();
        let opening = tokio::task::spawn_blocking(move || Repo::open(&path, StoreOptions::default()));
        let repo = opening.await.unwrap().unwrap();
        let tasks = Tasks::new();
        let net = NetOptions::new(repo.keypair().clone());
        let net = Net::start(net, Arc::new(MemoryDhtStore::default()), &tasks).await.unwrap();
        let data = Arc::new(Counting::default());
        let options = ClusterOptions { repo: repo.clone(), net: net.clone(), data: data.clone(), timing: Timing::LAN };
        let cluster = Cluster::start(options, &tasks).await.unwrap();
        Node { _dir: dir, repo, net, tasks, cluster, data }
    }

    fn addrs(&self) -> Vec<Multiaddr> {
        self.net.peers().listen_addrs()
    }

    async fn stop(self) -> Arc<tempfile::TempDir> {
        assert!(self.tasks.shutdown(Duration::from_secs(20)).await);
        self.repo.close().await;
        self._dir.clone()
    }

    async fn joined(master: &Node, role: Role) -> Node {
        let token = master.cluster.token_create(role, Duration::from_secs(60)).await.unwrap();
        let node = Node::start().await;
        node.cluster.join(master.addrs(), &token, role).await.unwrap();
        node
    }
}

/// Asks until there is an answer.
async fn poll<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            pause.tick().await;
        }
    };
    tokio::time::timeout(GUARD, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Asks until the status is as wanted.
async fn until(node: &Node, what: &str, wanted: impl Fn(&ClusterStatus) -> bool) -> ClusterStatus {
    poll(what, async || node.cluster.status().await.ok().filter(|status| wanted(status))).await
}

fn voters(status: &ClusterStatus) -> usize {
    status.members.iter().filter(|m| m.voter).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_tokens_and_addresses_are_refused_with_reasons() {
    let master = Node::start().await;
    let cluster = master.cluster.init().await.unwrap().cluster;
    let node = Node::start().await;
    let try_join = async |token: &Token, role| node.cluster.join(master.addrs(), token, role).await.unwrap_err();

    let worker = master.cluster.token_create(Role::Worker, GUARD).await.unwrap();
    let error = try_join(&worker, Role::Master).await;
    assert!(matches!(error, ClusterError::Token(TokenError::Role { .. })), "{error}");
    let expired = master.cluster.token_create(Role::Worker, Duration::ZERO).await.unwrap();
    let error = try_join(&expired, Role::Worker).await;
    assert!(matches!(error, ClusterError::Token(TokenError::Expired { .. })), "{error}");
    let other = ClusterKey::from_seed(random::bytes());
    let foreign = Token::create(&other, [1; 16], Role::Worker, u64::MAX);
    let error = try_join(&foreign, Role::Worker).await;
    assert!(error.to_string().contains("is for cluster"), "{error}");
    let mut forged = foreign;
    forged.cluster = cluster;
    let error = try_join(&forged, Role::Worker).await;
    assert!(error.kind() == Kind::Denied && error.to_string().contains("altered"), "{error}");
    // A peer without a cluster, and nobody at all.
    let plain = Node::start().await;
    let error = node.cluster.join(plain.addrs(), &worker, Role::Worker).await.unwrap_err();
    assert!(error.to_string().contains("in no cluster"), "{error}");
    let nobody = vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()];
    let error = node.cluster.join(nobody, &worker, Role::Worker).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Offline, "{error}");
    assert!(node.cluster.membership().is_none());
    assert!(matches!(node.cluster.status().await, Err(ClusterError::NotMember)));
    node.cluster.join(master.addrs(), &worker, Role::Leecher).await.unwrap();
    for node in [node, plain, master] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_masters_vote_and_a_restarted_one_is_found_at_its_new_address() {
    let first = Node::start().await;
    first.cluster.init().await.unwrap();
    let second = Node::joined(&first, Role::Master).await;
    let third = Node::joined(&second, Role::Master).await;
    until(&first, "three voters", |s| voters(s) == 3).await;
    until(&third, "the newcomer knows", |s| voters(s) == 3).await;
    // Any master forwards to the leader.
    let worker = Node::joined(&third, Role::Worker).await;
    let submitted = third.cluster.submit("noop", None, BTreeMap::new(), Via::Direct, GUARD).await.unwrap();
    third.cluster.wait_outcome(submitted.id, GUARD).await.unwrap();

    let peer = second.net.local_peer();
    let dir = second.stop().await;
    let second = Node::start_in(dir).await;
    let new = second.addrs();
    let knows = |s: &ClusterStatus| s.members.iter().any(|m| m.peer == peer && m.addresses == new);
    until(&first, "the new address", knows).await;
    until(&worker, "the new address at a worker", knows).await;
    for node in [worker, third, second, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_are_chosen_at_the_founding_and_taken_over_for_good() {
    let first = Node::start().await;
    first.cluster.init_with(Timing::WAN).await.unwrap();
    let second = Node::joined(&first, Role::Master).await;
    // The newcomer passes them on as well, and keeps them over a restart, whatever its own options say.
    let second = Node::start_in(second.stop().await).await;
    until(&second, "the leader has found it again", |s| s.leader.is_some()).await;
    let third = Node::joined(&second, Role::Master).await;
    for node in [&first, &second, &third] {
        assert_eq!(node.cluster.raft().unwrap().timing(), Timing::WAN);
    }
    for node in [third, second, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_worker_loses_its_task_and_its_late_outcome_is_stale() {
    let master = Node::start().await;
    master.cluster.init().await.unwrap();
    // A member that takes the assignment and then says nothing: only its certificate is real.
    let token = master.cluster.token_create(Role::Worker, GUARD).await.unwrap();
    let silent = Node::start().await;
    let newcomer = rpc::Newcomer {
        role: Role::Worker,
        storage_id: silent.repo.storage_id(),
        peer_key: silent.repo.keypair().public().encode_protobuf(),
        addrs: Vec::new(),
    };
    let joined = join::join(&silent.net, master.addrs(), &token, newcomer).await.unwrap();
    let open = async || {
        let (_, mut stream) =
            silent.net.streams().open(master.net.local_peer(), &[PROTOCOL], Class::Control).await.unwrap();
        let hello = Up::Hello {
            certificate: Box::new(joined.admission.certificate.clone()),
            storage_id: silent.repo.storage_id(),
            kinds: vec!["noop".into()],
            capacity: 1,
            addrs: Vec::new(),
            running: Vec::new(),
        };
        frame::write(&mut stream, &hello).await.unwrap();
        let welcome: Option<Down> = frame::read(&mut stream, MAX_FRAME_BYTES).await.unwrap();
        assert!(matches!(welcome, Some(Down::Welcome { .. })), "{welcome:?}");
        stream
    };
    let mut stream = open().await;
    let submitted = master.cluster.submit("noop", None, BTreeMap::new(), Via::Direct, GUARD).await.unwrap();
    let assigned: Option<Down> = frame::read(&mut stream, MAX_FRAME_BYTES).await.unwrap();
    let Some(Down::Assign { task, fence, .. }) = assigned else { panic!("{assigned:?}") };
    assert_eq!(task, submitted.id);
    let worker = Node::joined(&master, Role::Worker).await;
    let outcome = master.cluster.wait_outcome(submitted.id, GUARD).await.unwrap();
    let ReceiptBody::Outcome { worker: ran, .. } = outcome.body else { panic!("no outcome") };
    assert_eq!(ran, Some(worker.net.local_peer()));
    let record = master.cluster.task(task).await.unwrap();
    assert!(record.fence.unwrap() > fence && record.attempts == 2);

    let mut stream = open().await;
    let outcome = Outcome::Success { result: None, bytes: 0 };
    frame::write(&mut stream, &Up::Complete { seq: 3, task, fence, outcome }).await.unwrap();
    loop {
        match frame::read(&mut stream, MAX_FRAME_BYTES).await.unwrap() {
            Some(Down::CompleteAck { seq, verdict }) => {
                assert_eq!((seq, verdict), (3, Verdict::Stale));
                break;
            }
            Some(_) => {}
            None => panic!("the session ended"),
        }
    }
    assert_eq!(master.cluster.task(task).await.unwrap(), record);
    for node in [silent, worker, master] {
        node.stop().await;
    }
}
