//! Tasks by gossip: once each, by no other way, and nothing forged or expired beyond the first forwarder.

use serde::Serialize;

use super::*;
use crate::{
    base::cbor,
    cluster::{
        counts::{TASKS, Verdict},
        model::{SignedSpec, Subject},
        tasks::topics::{Payload, tasks_topic},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_sent_by_gossip_runs_once_and_both_receipts_verify() {
    let master = Node::start().await;
    let founded = master.cluster.init().await.unwrap();
    assert_eq!(founded.leader, Some(master.net.local_peer()));
    assert!(matches!(master.cluster.init().await, Err(ClusterError::AlreadyMember { .. })));
    let worker = Node::joined(&master, Role::Worker).await;
    let leecher = Node::joined(&master, Role::Leecher).await;
    let status = until(&leecher, "two members", |s| s.members.len() == 2).await;
    assert_eq!((status.me.role, status.me.node), (Role::Leecher, None));
    assert!(status.members[0].voter && status.members[0].role == Role::Master);
    assert!(matches!(leecher.cluster.token_create(Role::Worker, GUARD).await, Err(ClusterError::NeedsMaster { .. })));

    let ctx = leecher.cluster.ctx().unwrap();
    let signed = tasks::submit::sign(&ctx, "noop", None, BTreeMap::new(), GUARD).unwrap();
    // The leecher's way is the topic: it asks no master for anything.
    let asked = |kinds: &[&'static str]| kinds.iter().map(|kind| master.cluster.inner.parts.counts.calls(kind)).sum();
    let kinds = ["join", "submit", "propose", "status", "task", "outcome"];
    let before: u64 = asked(&kinds);
    // Five times by two routes, all at once, before anything is accepted.
    let routes = [(&leecher, Via::Gossip), (&leecher, Via::Gossip), (&worker, Via::Gossip), (&worker, Via::Direct)];
    let routes = routes.into_iter().chain([(&master, Via::Direct)]);
    let sent = routes.map(|(node, via)| node.cluster.submit_signed(signed.clone(), via, GUARD));
    let answers = futures::future::join_all(sent).await;
    let answers: Vec<Submitted> = answers.into_iter().map(Result::unwrap).collect();
    let first = answers[0].clone();
    assert!(answers.iter().all(|a| (a.id, a.accepted.body.clone()) == (first.id, first.accepted.body.clone())));
    first.accepted.verify(&founded.cluster, time::unix_ms()).unwrap();
    let outcome = leecher.cluster.wait_outcome(first.id, GUARD).await.unwrap();
    outcome.verify(&founded.cluster, time::unix_ms()).unwrap();
    let ReceiptBody::Outcome { state, worker: ran, .. } = &outcome.body else { panic!("{outcome:?}") };
    assert_eq!((*state, *ran), (TaskState::Completed, Some(worker.net.local_peer())));
    // The worker's one direct submission, and nothing else.
    assert_eq!((asked(&["submit"]), asked(&kinds)), (1, before + 1));
    for _ in 0..2 {
        for (node, via) in [(&leecher, Via::Gossip), (&worker, Via::Direct), (&master, Via::Gossip)] {
            let again = node.cluster.submit_signed(signed.clone(), via, GUARD).await.unwrap();
            assert_eq!(again.id, first.id);
        }
    }
    let record = leecher.cluster.task(first.id).await.unwrap();
    assert_eq!((record.attempts, record.state), (1, TaskState::Completed));
    assert_eq!(worker.data.runs.load(Ordering::SeqCst), 1);
    assert!(matches!(leecher.cluster.task(TaskId([7; 32])).await, Err(ClusterError::NoTask { .. })));
    let direct = worker.cluster.submit("noop", None, BTreeMap::new(), Via::Direct, GUARD).await.unwrap();
    worker.cluster.wait_outcome(direct.id, GUARD).await.unwrap();
    for node in [leecher, worker, master] {
        node.stop().await;
    }
}

/// A peer in no cluster, in a DHT of its own so that it learns of nobody.
pub(super) async fn stranger(tasks: &Tasks) -> (Net, crate::base::Keypair) {
    let keypair = crate::base::Keypair::generate_ed25519();
    let mut options = NetOptions::new(keypair.clone());
    options.kad_protocol = "/elsewhere/kad/1.0.0".into();
    options.kad_server = false;
    (Net::start(options, Arc::new(MemoryDhtStore::default()), tasks).await.unwrap(), keypair)
}

/// A spec whose sender has no certificate to show.
#[derive(Serialize)]
struct Bare {
    spec: TaskSpec,
    #[serde(with = "serde_bytes")]
    signature: Vec<u8>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_expired_specs_end_at_the_first_forwarder() {
    // stranger - leecher - master, in a line.
    let master = Node::start().await;
    let cluster = master.cluster.init().await.unwrap().cluster;
    let leecher = Node::joined(&master, Role::Leecher).await;
    let (near, far) = (&leecher.cluster.inner.parts.counts, &master.cluster.inner.parts.counts);
    let topic = tasks_topic(&cluster);
    let tasks = Tasks::new();
    let (net, keypair) = stranger(&tasks).await;
    net.peers().connect(leecher.addrs()[0].clone()).await.unwrap();
    for (from, to) in [(&net, leecher.net.local_peer()), (&leecher.net, master.net.local_peer())] {
        let knows = async || from.gossip().subscribers(&topic).await.contains(&to).then_some(());
        poll("the next one takes part in the topic", knows).await;
    }

    let ctx = leecher.cluster.ctx().unwrap();
    let honest = || tasks::submit::sign(&ctx, "noop", None, BTreeMap::new(), GUARD).unwrap();
    let own = || TaskSpec { author: net.local_peer(), ..honest().spec };
    let foreign_key = ClusterKey::from_seed(random::bytes());
    let subject = Subject { peer_key: keypair.public(), node: None, role: Role::Leecher, epoch: 1 };
    let foreign = own().sign(foreign_key.certify(subject, time::unix_ms()), &keypair).unwrap();
    let borrowed = own().sign(ctx.certificate(), &keypair).unwrap();
    let signed_by_another = honest().spec.sign(ctx.certificate(), &keypair).unwrap();
    let mut altered = honest();
    altered.spec.priority = 9;
    let past = TaskSpec { not_after_ms: time::unix_ms() - 1, ..honest().spec };
    let expired = past.sign(ctx.certificate(), ctx.repo.keypair()).unwrap();
    let pack = |specs: Vec<SignedSpec>| Payload::pack(specs, random::u64).remove(0);
    let bare = Bare { spec: own(), signature: vec![7; 64] };
    let bad = [
        b"no payload".to_vec(),
        cbor::to_vec(&Payload { v: 1, salt: 1, items: vec![bare] }),
        pack(vec![foreign]),
        pack(vec![borrowed]),
        pack(vec![signed_by_another]),
        pack(vec![altered]),
        pack(vec![expired.clone()]),
        pack(vec![honest(), expired.clone()]),
    ];
    let count = bad.len() as u64;
    for payload in bad {
        net.gossip().publish(&topic, payload).await.unwrap();
    }
    let refused = async || (near.messages(TASKS, Verdict::Rejected) == count).then_some(());
    poll("the leecher refuses them all", refused).await;

    // The line does carry what is good: one spec, published by the stranger, gets through to the master.
    let good = honest();
    let id = good.spec.id();
    let state = master.cluster.raft().unwrap().state().clone();
    net.gossip().publish(&topic, pack(vec![good])).await.unwrap();
    poll("the good spec is in the log", async || state.task(&id).unwrap()).await;
    let seen = |verdict| far.messages(TASKS, verdict);
    let verdicts = (seen(Verdict::Accepted), seen(Verdict::Rejected), seen(Verdict::Ignored));
    assert_eq!(verdicts, (1, 0, 0), "the master received nothing else");
    assert_eq!(state.tasks(None, None, 10).unwrap().len(), 1);
    assert!(!net.peers().is_connected(&master.net.local_peer()));

    // Asking the master itself is no way either.
    for (certificate, kind) in [(None, Kind::Denied), (Some(ctx.certificate()), Kind::Timeout)] {
        let call = rpc::Call { certificate, ask: rpc::Ask::Submit(Box::new(expired.clone())) };
        let error = rpc::call(&leecher.net, master.net.local_peer(), &call, GUARD).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert_eq!(state.tasks(None, None, 10).unwrap().len(), 1);
    assert!(tasks.shutdown(Duration::from_secs(20)).await);
    for node in [leecher, master] {
        node.stop().await;
    }
}
