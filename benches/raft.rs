//! Durable Raft commands per second: three masters in one process, three logs on one disk, links without a network.
//!
//! `cargo bench --bench raft [SECONDS]`; `TMPDIR` chooses the disk.
// A benchmark is outside every task group and is there to read the clock.
#![allow(clippy::disallowed_methods)]

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use ipfs_kit::{
    base::{NodeId, PeerId, Role, Tasks},
    cluster::{
        model::{ClusterKey, MasterInfo, Subject},
        raft::{
            CertifiedMasters, Link, Raft, RaftOptions, SnapshotPolicy, Timing,
            link::{BoxDuplex, InboundLink, Lane},
        },
        state::{Command, Request},
    },
    store::{Repo, StoreOptions},
};
use tokio::{io, sync::mpsc};
use tokio_util::compat::TokioAsyncReadCompatExt;

type Listeners = Arc<Mutex<HashMap<(PeerId, Lane), mpsc::Sender<InboundLink>>>>;

struct LocalLink {
    me: PeerId,
    listeners: Listeners,
}

impl Link for LocalLink {
    fn open(&self, to: MasterInfo, lane: Lane) -> BoxFuture<'static, Result<BoxDuplex, String>> {
        let (me, listeners) = (self.me, self.listeners.clone());
        Box::pin(async move {
            let listener = listeners.lock().unwrap().get(&(to.peer, lane)).cloned().ok_or("nobody listens")?;
            let (near, far) = io::duplex(256 * 1024);
            let stream: BoxDuplex = Box::new(far.compat());
            listener.send(InboundLink { peer: me, stream }).await.map_err(|_| "nobody listens any more")?;
            Ok(Box::new(near.compat()) as BoxDuplex)
        })
    }

    fn accept(&self, lane: Lane) -> mpsc::Receiver<InboundLink> {
        let (to, out) = mpsc::channel(64);
        self.listeners.lock().unwrap().insert((self.me, lane), to);
        out
    }
}

async fn master(dir: &Path, n: u8, listeners: &Listeners, tasks: &Tasks) -> (Raft, NodeId, MasterInfo) {
    let repo = Repo::open(&dir.join(n.to_string()), StoreOptions::default()).unwrap();
    let key = repo.keypair().public();
    let (node, peer) = (NodeId::new(1, n.into()), key.to_peer_id());
    let cluster = ClusterKey::from_seed([9; 32]);
    let subject = Subject { peer_key: key, node: Some(node), role: Role::Master, epoch: 1 };
    let authorise = CertifiedMasters { cluster: cluster.id(), certificate: cluster.certify(subject, 0) };
    let options = RaftOptions {
        node,
        repo,
        link: Arc::new(LocalLink { me: peer, listeners: listeners.clone() }),
        timing: Timing::LAN,
        snapshots: SnapshotPolicy::default(),
        authorise: Arc::new(authorise),
    };
    let raft = Raft::start(options, tasks).await.unwrap();
    (raft, node, MasterInfo { peer, addrs: vec![] })
}

async fn measure(raft: &Raft, clients: usize, length: Duration) {
    let end = Instant::now() + length;
    let running = (0..clients).map(|_| {
        let raft = raft.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                raft.propose(vec![Request::once(Command::Noop { payload: vec![7; 256] })]).await.unwrap();
                times.push(start.elapsed().as_micros());
            }
            times
        })
    });
    let all = futures::future::join_all(running).await;
    let mut times: Vec<u128> = all.into_iter().flat_map(Result::unwrap).collect();
    times.sort_unstable();
    let rate = times.len() as f64 / length.as_secs_f64();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
    println!("{clients:4} clients: {rate:8.0} commands/s, p50 {} us, p99 {} us, max {} us", at(0.5), at(0.99), at(1.0));
}

#[tokio::main]
async fn main() {
    let seconds = std::env::args().filter_map(|a| a.parse().ok()).next_back().unwrap_or(5);
    let dir = tempfile::tempdir().unwrap();
    let (tasks, listeners) = (Tasks::new(), Listeners::default());
    let (first, _, me) = master(dir.path(), 1, &listeners, &tasks).await;
    first.initialize(me).await.unwrap();
    first.watch().wait_for(|s| s.is_leader).await.unwrap();
    let mut others = Vec::new();
    for n in 2..=3 {
        let (raft, node, info) = master(dir.path(), n, &listeners, &tasks).await;
        first.add_learner(node, info).await.unwrap();
        others.push((raft, node));
    }
    first.promote(others.iter().map(|(_, node)| *node).collect()).await.unwrap();
    for clients in [1, 64, 256] {
        measure(&first, clients, Duration::from_secs(seconds)).await;
    }
    tasks.shutdown(Duration::from_secs(10)).await;
}
