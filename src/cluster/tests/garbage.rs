//! Strangers who send what is no frame.

use futures::{AsyncReadExt, AsyncWriteExt};

use super::{gossip::stranger, *};
use crate::{
    base::cbor,
    cluster::raft::link::{RAFT_PROTOCOL, SNAPSHOT_PROTOCOL},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_frame_ends_its_stream_and_nothing_else() {
    let master = Node::start().await;
    // No other term may follow on a busy machine.
    master.cluster.init_with(Timing::WAN).await.unwrap();
    let worker = Node::joined(&master, Role::Worker).await;
    let before = until(&worker, "a leader", |s| s.leader.is_some()).await;
    let tasks = Tasks::new();
    let (net, _) = stranger(&tasks).await;
    net.peers().connect(master.addrs()[0].clone()).await.unwrap();
    let head = |bytes: usize, body: &[u8]| [&(bytes as u32).to_be_bytes()[..], body].concat();
    let other = cbor::to_vec(&("another", 7u8, [true; 3]));
    let payloads = [
        b"".to_vec(),
        b"\0\0".to_vec(),
        head(100, b"ten bytes."),
        head(u32::MAX as usize, b"much is announced"),
        head(4, b"\xff\xff\xff\xff"),
        head(other.len(), &other),
        // A list in a list in a list …
        head(20_000, &[0x81; 20_000]),
        vec![0xff; 200_000],
    ];
    for protocol in [rpc::PROTOCOL, PROTOCOL, RAFT_PROTOCOL, SNAPSHOT_PROTOCOL] {
        for payload in &payloads {
            let names = [protocol];
            let opening = net.streams().open(master.net.local_peer(), &names, Class::Control);
            let (_, mut stream) = opening.await.unwrap();
            // What is refused may be reset before all of it is sent.
            let _ = stream.write_all(payload).await;
            let _ = stream.close().await;
            let mut answer = Vec::new();
            let ended = tokio::time::timeout(GUARD, stream.read_to_end(&mut answer)).await;
            let shown = &payload[..payload.len().min(20)];
            assert!(ended.is_ok() && answer.len() < 4096, "{protocol}, {shown:?}: {} bytes", answer.len());
        }
    }
    let submitted = worker.cluster.submit("noop", None, BTreeMap::new(), Via::Gossip, GUARD).await.unwrap();
    worker.cluster.wait_outcome(submitted.id, GUARD).await.unwrap();
    let after = worker.cluster.status().await.unwrap();
    assert_eq!((after.leader, after.term, after.members.len()), (before.leader, before.term, before.members.len()));
    assert!(tasks.shutdown(Duration::from_secs(20)).await);
    for node in [worker, master] {
        node.stop().await;
    }
}
