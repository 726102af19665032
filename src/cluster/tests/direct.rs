//! Tasks asked of a master: accepted and given away by one log entry, answered where they were asked for.

use super::*;
use crate::cluster::tasks::book::Receipts;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_for_a_worker_with_room_takes_two_log_entries_by_either_way() {
    let first = Node::start().await;
    // No other leader may follow on a busy machine.
    first.cluster.init_with(Timing::WAN).await.unwrap();
    let second = Node::joined(&first, Role::Master).await;
    let third = Node::joined(&second, Role::Master).await;
    let worker = Node::joined(&third, Role::Worker).await;
    let leecher = Node::joined(&second, Role::Leecher).await;
    let status = until(&leecher, "three voters and a worker", |s| voters(s) == 3 && s.members.len() == 4).await;
    let leads = |m: &&Node| Some(m.net.local_peer()) != status.leader;
    let follower = [&first, &second, &third].into_iter().find(leads).unwrap();
    // When its first task has ended the worker's session is known to the leader.
    let warm = worker.cluster.submit("noop", None, BTreeMap::new(), Via::Direct, GUARD).await.unwrap();
    worker.cluster.wait_outcome(warm.id, GUARD).await.unwrap();

    let direct = [(&leecher, Via::Direct), (&worker, Via::Direct), (follower, Via::Direct)];
    let mut asked = Vec::new();
    for (node, via) in direct.into_iter().chain([(&leecher, Via::Gossip), (follower, Via::Gossip)]) {
        let submitted = node.cluster.submit("noop", None, BTreeMap::new(), via, GUARD).await.unwrap();
        node.cluster.wait_outcome(submitted.id, GUARD).await.unwrap();
        let record = leecher.cluster.task(submitted.id).await.unwrap();
        assert_eq!((record.state, record.attempts), (TaskState::Completed, 1));
        assert_eq!(record.fence.map(|fence| fence.index), Some(record.accepted_index), "{via:?}");
        if via == Via::Direct {
            asked.push(submitted.id);
        }
    }
    // The topic carries receipts of what was published, whose outcome came after these.
    let heard = &leecher.cluster.ctx().unwrap().receipts;
    for id in &asked[1..] {
        assert_eq!(heard.get(id), Receipts::default());
    }
    assert!(heard.get(&asked[0]).outcome.is_some(), "it was answered");
    assert_eq!(worker.data.runs.load(Ordering::SeqCst), 6);
    for node in [leecher, worker, third, second, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_worker_is_given_no_more_than_it_can_run_and_the_rest_follows() {
    let master = Node::start().await;
    master.cluster.init().await.unwrap();
    let worker = Node::joined(&master, Role::Worker).await;
    let warm = master.cluster.submit("noop", None, BTreeMap::new(), Via::Direct, GUARD).await.unwrap();
    master.cluster.wait_outcome(warm.id, GUARD).await.unwrap();
    worker.data.gate.send_replace(false);
    let submit = |i: usize| {
        let (node, via) = if i.is_multiple_of(2) { (&master, Via::Direct) } else { (&worker, Via::Gossip) };
        node.cluster.submit("noop", None, BTreeMap::new(), via, GUARD)
    };
    let submitted = futures::future::join_all((0..20).map(submit)).await;
    let ids: Vec<TaskId> = submitted.into_iter().map(|s| s.unwrap().id).collect();
    let state = master.cluster.raft().unwrap().state().clone();
    let count = |of| state.tasks(Some(of), None, 100).unwrap().len();
    poll("it has all it can run", async || (worker.data.runs.load(Ordering::SeqCst) == 9).then_some(())).await;
    assert_eq!((count(TaskState::Assigned), count(TaskState::Pending)), (8, 12));
    worker.data.gate.send_replace(true);
    for id in ids {
        master.cluster.wait_outcome(id, GUARD).await.unwrap();
        assert_eq!(master.cluster.task(id).await.unwrap().attempts, 1);
    }
    assert_eq!(worker.data.runs.load(Ordering::SeqCst), 21);
    for node in [worker, master] {
        node.stop().await;
    }
}
