//! One line to another master: what is late does not break it.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{AsyncReadExt, StreamExt, future::BoxFuture};
use openraft::{
    errors::RPCError,
    network::{RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{AppendEntriesRequest, StreamAppendResult},
};
use tokio::{io, sync::mpsc, time::timeout};
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::*;
use crate::{
    base::frame,
    cluster::raft::{
        link::{BoxDuplex, InboundLink, Lane, Link},
        network::Dialer,
        types::{MasterNode, TypeConfig, VoteOf},
        wire::{Answer, Ask, Hello, MAX_FRAME_BYTES, PIPELINE},
    },
};

/// A link whose other end the test holds.
struct Wire {
    opened: AtomicUsize,
    far: mpsc::Sender<BoxDuplex>,
}

impl Link for Wire {
    fn open(&self, _: MasterInfo, _: Lane) -> BoxFuture<'static, Result<BoxDuplex, String>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let to = self.far.clone();
        Box::pin(async move {
            let (near, far) = io::duplex(64 * 1024);
            to.send(Box::new(far.compat())).await.unwrap();
            Ok(Box::new(near.compat()) as BoxDuplex)
        })
    }

    fn accept(&self, _: Lane) -> mpsc::Receiver<InboundLink> {
        mpsc::channel(1).1
    }
}

fn heartbeat() -> AppendEntriesRequest<TypeConfig> {
    AppendEntriesRequest { vote: VoteOf::new_committed(1, 1), prev_log_id: None, entries: vec![], leader_commit: None }
}

async fn beat(
    line: &mut impl RaftNetworkV2<TypeConfig>,
    limit: Duration,
) -> Option<Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>> {
    let beating = async {
        let input = Box::pin(futures::stream::once(async { heartbeat() }));
        let mut answers = line.stream_append(input, RPCOption::new(limit)).await?;
        let answer = answers.next().await.expect("one answer")?;
        assert!(answers.next().await.is_none());
        Ok(answer)
    };
    timeout(limit, beating).await.ok()
}

#[tokio::test]
async fn a_late_answer_to_a_heartbeat_keeps_the_stream() {
    let (far, mut streams) = mpsc::channel(4);
    let wire = Arc::new(Wire { opened: AtomicUsize::new(0), far });
    let mut dialer =
        Dialer { node: node(1), link: wire.clone(), authorise: Arc::new(masters(9, 1)), patience: PATIENCE };
    let mut line = dialer.new_client(node(2).0, &MasterNode::from(info(2))).await;
    // The other side answers nothing: three heartbeats are given up.
    let soon = Duration::from_millis(30);
    for _ in 0..3 {
        assert!(beat(&mut line, soon).await.is_none());
    }
    let (mut reader, mut writer) = streams.recv().await.unwrap().split();
    let _: Hello = frame::read(&mut reader, MAX_FRAME_BYTES).await.unwrap().unwrap();
    // Then it wakes up and answers all it has got, and what comes.
    let answering = async {
        let mut asked = 0;
        while let Ok(Some(Ask::Append(_))) = frame::read(&mut reader, MAX_FRAME_BYTES).await {
            asked += 1;
            frame::write(&mut writer, &Answer::Append(Ok(None))).await.unwrap();
            if asked == 5 {
                break;
            }
        }
        asked
    };
    let beating = async {
        for _ in 0..2 {
            assert!(matches!(beat(&mut line, PATIENCE).await, Some(Ok(Ok(None)))));
        }
    };
    let (asked, ()) = tokio::join!(answering, beating);
    assert_eq!((asked, wire.opened.load(Ordering::SeqCst)), (5, 1));
    // One that owes too many answers is given up, and another stream is opened.
    for _ in 0..PIPELINE {
        assert!(beat(&mut line, Duration::from_millis(1)).await.is_none());
    }
    assert!(beat(&mut line, soon).await.is_none());
    assert_eq!(wire.opened.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_take_no_place_of_those_who_are_served() {
    let (dir, hub, tasks) = (tempfile::tempdir().unwrap(), hub::Hub::default(), Tasks::new());
    let _raft = start(dir.path(), 1, &hub, SnapshotPolicy::default(), Timing::LAN, &tasks).await.unwrap();
    // More than there are places for snapshots, and none of them says who it is.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(hub.link(peer(9)).open(info(1), Lane::Snapshot).await.unwrap());
    }
    let stream = hub.link(peer(2)).open(info(1), Lane::Snapshot).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let hello = Hello { from: node(2), to: node(1), certificate: masters(9, 2).certificate };
    frame::write(&mut writer, &hello).await.unwrap();
    frame::write(&mut writer, &"no snapshot").await.unwrap();
    let answer = timeout(PATIENCE, frame::read(&mut reader, MAX_FRAME_BYTES)).await.unwrap();
    assert!(matches!(answer, Ok(Some(Answer::Refused(_)))), "{answer:?}");
    drop(silent);
    assert!(tasks.shutdown(PATIENCE).await);
}
