//! Real nodes on loopback: our own, and hand-made peers that behave like others or badly.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::AsyncWriteExt;
use tokio::sync::{broadcast, mpsc};

use super::{
    frame,
    message::{Entry, Incoming, PROTOCOLS, Reply, Version, WantKind, decode, encode_wants},
    *,
};
use crate::{
    base::{Block, Cid, Codec, Hash, Keypair, Multiaddr, PeerId, Tasks},
    net::{Class, MemoryDhtStore, Net, NetOptions, PeerEvent},
    routing::{Routing, Source},
    store::{Blocks, Kv, NewBlock, Repo, StoreOptions},
};

/// A guard against hanging for ever; no test measures with it.
async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: nothing after 60 s"),
    }
}

async fn net(tasks: &Tasks) -> Net {
    let options = NetOptions::new(Keypair::generate_ed25519());
    soon("start", Net::start(options, Arc::new(MemoryDhtStore::default()), tasks)).await.unwrap()
}

fn address(net: &Net) -> Multiaddr {
    net.peers().listen_addrs()[0].clone().with_p2p(net.local_peer()).unwrap()
}

async fn meet(a: &Net, b: &Net) {
    let (mut mine, mut theirs) = (a.peers().subscribe(), b.peers().subscribe());
    soon("connect", a.peers().connect(address(b))).await.unwrap();
    until(&mut mine, PeerEvent::Identified(b.local_peer())).await;
    until(&mut theirs, PeerEvent::Identified(a.local_peer())).await;
}

async fn until(events: &mut broadcast::Receiver<PeerEvent>, event: PeerEvent) {
    soon("an event", async { while events.recv().await.unwrap() != event {} }).await;
}

struct Node {
    net: Net,
    routing: Routing,
    exchange: Exchange,
    blocks: Blocks,
    soft: Arc<dyn Kv>,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

impl Node {
    async fn new() -> Node {
        let tasks = Tasks::new();
        let net = net(&tasks).await;
        let dir = tempfile::tempdir().unwrap();
        let repo = Repo::open(dir.path(), StoreOptions::default()).unwrap();
        let (blocks, soft) = (repo.blocks().clone(), repo.soft().clone());
        let routing = Routing::start(net.clone(), soft.clone(), &tasks);
        let exchange = Exchange::start(net.clone(), routing.clone(), blocks.clone(), &tasks);
        Node { net, routing, exchange, blocks, soft, tasks, _dir: dir }
    }

    async fn hold(&self, blocks: &[Block]) {
        let new = blocks.iter().map(|b| NewBlock { block: b.clone(), links: Vec::new() }).collect();
        self.blocks.put(new).await.unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn blocks(n: usize, bytes: usize) -> Vec<Block> {
    let data = |i: usize| {
        let mut data = vec![i as u8; bytes.max(8)];
        data[..8].copy_from_slice(&(i as u64).to_be_bytes());
        data
    };
    (0..n).map(|i| Block::new(Codec::Raw, Hash::Sha2_256, data(i)).unwrap()).collect()
}

fn cids(blocks: &[Block]) -> Vec<Cid> {
    blocks.iter().map(|b| *b.cid()).collect()
}

async fn fetch_all(session: &Session, want: &[Block]) {
    let mut results = session.get_many(cids(want));
    let mut left: std::collections::HashMap<Cid, Bytes> = want.iter().map(|b| (*b.cid(), b.data().clone())).collect();
    while let Some(result) = soon("a block", results.recv()).await {
        let (cid, data) = result.unwrap();
        assert_eq!(left.remove(&cid), Some(data));
    }
    assert!(left.is_empty(), "{} blocks did not come", left.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_blocks_come_verified_and_stored() {
    let (a, b) = (Node::new().await, Node::new().await);
    let want: Vec<Block> = blocks(250, 40_000).into_iter().chain(blocks(150, 100)).collect();
    a.hold(&want).await;
    meet(&b.net, &a.net).await;
    let session = b.exchange.session(want[0].cid());
    fetch_all(&session, &want).await;
    for block in &want {
        assert!(b.blocks.has(block.cid()).await.unwrap());
    }
    let (got, sent) = (b.exchange.stat(), a.exchange.stat());
    assert_eq!((got.blocks_received, got.wants, got.unasked_blocks), (400, 0, 0));
    assert!(sent.blocks_sent >= 400 && sent.messages_sent < 400, "{sent:?}");
    assert!(b.routing.score(&a.net.local_peer()).value > 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_found_through_the_dht() {
    let (holder, router, seeker) = (Node::new().await, Node::new().await, Node::new().await);
    let want = blocks(20, 10_000);
    holder.hold(&want).await;
    meet(&holder.net, &router.net).await;
    let root = *want[0].cid();
    holder.routing.provide(&root).await;
    meet(&seeker.net, &router.net).await;
    let session = seeker.exchange.session(&root);
    fetch_all(&session, &want).await;
    let found = session.found();
    let record = found.iter().find(|c| c.peer == holder.net.local_peer()).expect("the holder was named");
    assert!(matches!(record.source, Source::Dht { .. }), "{record:?}");
    assert!(session.report().providers >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_has_ends_with_the_reason_and_comes_when_somebody_adds_it() {
    let (a, b) = (Node::new().await, Node::new().await);
    meet(&b.net, &a.net).await;
    let late = blocks(1, 5000);
    let cid = *late[0].cid();
    let error = b.exchange.fetch(&cid, Duration::from_millis(400)).await.unwrap_err();
    assert!(matches!(error, ExchangeError::NotFound { asked: 1, providers: 0, .. }), "{error}");
    assert!(error.to_string().contains("asked 1 connected peers"), "{error}");
    assert_eq!(b.exchange.stat().wants, 0);

    let session = b.exchange.session(&cid);
    let (got, ()) = tokio::join!(soon("the block", session.get(&cid)), async {
        soon("the want to arrive", async {
            while a.exchange.stat().partners == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        a.hold(&late).await;
    });
    assert_eq!(got.unwrap(), late[0].data());
}

/// A peer made by hand: what it reads is passed on, what it writes is up to the test.
struct Raw {
    net: Net,
    messages: mpsc::Receiver<(PeerId, Incoming)>,
    tasks: Tasks,
}

impl Raw {
    async fn new(protocols: &'static [&'static str]) -> Raw {
        let tasks = Tasks::new();
        let net = net(&tasks).await;
        let mut inbound = net.streams().accept(protocols, Class::Bulk, 64);
        let (out, messages) = mpsc::channel(1024);
        let group = tasks.clone();
        tasks.spawn("raw", async move {
            while let Some(mut inbound) = inbound.recv().await {
                let out = out.clone();
                group.spawn("raw stream", async move {
                    while let Ok(Some(length)) = frame::read_length(&mut inbound.stream).await {
                        let Ok(body) = frame::read_body(&mut inbound.stream, length, || {}).await else { return };
                        let _ = out.send((inbound.peer, decode(body).unwrap())).await;
                    }
                });
            }
        });
        Raw { net, messages, tasks }
    }

    /// Sends a message on a stream of its own, as Go nodes do.
    async fn send(&self, to: PeerId, protocols: &[&'static str], segments: Vec<Bytes>) {
        let (_, mut stream) = soon("open", self.net.streams().open(to, protocols, Class::Bulk)).await.unwrap();
        frame::write_segments(&mut stream, &segments).await.unwrap();
        stream.close().await.unwrap();
    }

    async fn next_wants(&mut self) -> (PeerId, Vec<Entry>) {
        loop {
            let (peer, message) = soon("a message", self.messages.recv()).await.unwrap();
            if !message.entries.is_empty() {
                return (peer, message.entries);
            }
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn reply(blocks: &[Block], presences: &[(Cid, bool)], version: Version) -> Vec<Bytes> {
    let blocks = blocks.iter().map(|b| (*b.cid(), b.data().clone())).collect();
    Reply { blocks, presences: presences.to_vec(), pending_bytes: 0 }.encode(version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_for_every_reply_is_fine() {
    let node = Node::new().await;
    let mut peer = Raw::new(PROTOCOLS).await;
    let want = blocks(60, 3000);
    meet(&node.net, &peer.net).await;
    let session = node.exchange.session(want[0].cid());
    let fetching = fetch_all(&session, &want);
    let serving = async {
        let mut served = 0;
        while served < want.len() {
            let (from, entries) = peer.next_wants().await;
            for entry in entries.into_iter().filter(|e| !e.cancel) {
                let block = want.iter().find(|b| *b.cid() == entry.cid).cloned().unwrap();
                let segments = match entry.kind {
                    WantKind::Have => reply(&[], &[(entry.cid, true)], Version::V1_2),
                    WantKind::Block => {
                        served += 1;
                        reply(&[block], &[], Version::V1_2)
                    }
                };
                peer.send(from, PROTOCOLS, segments).await;
            }
        }
    };
    tokio::join!(fetching, serving);
    assert_eq!(node.exchange.stat().unasked_blocks, 0);
}

/// What boxo's server does: each block wanted is sent once, on a stream of its own, eight at a time. Here every
/// `reset`th stream is reset in the middle of its message.
async fn serve_like_boxo(peer: &mut Raw, all: &[Block], reset: usize) {
    let all: std::collections::HashMap<Cid, Block> = all.iter().map(|b| (*b.cid(), b.clone())).collect();
    let workers = Arc::new(tokio::sync::Semaphore::new(8));
    let mut count = 0;
    loop {
        let (from, entries) = peer.next_wants().await;
        for entry in entries.into_iter().filter(|e| !e.cancel) {
            let segments = match entry.kind {
                WantKind::Have => reply(&[], &[(entry.cid, true)], Version::V1_2),
                WantKind::Block => reply(std::slice::from_ref(&all[&entry.cid]), &[], Version::V1_2),
            };
            count += 1;
            let lost = reset > 0 && count % reset == 0;
            let permit = workers.clone().acquire_owned().await.unwrap();
            let net = peer.net.clone();
            peer.tasks.spawn("reply", async move {
                let (_, mut stream) = net.streams().open(from, PROTOCOLS, Class::Bulk).await.unwrap();
                if lost {
                    // Dropped without being closed it is reset.
                    let _ = frame::write_segments(&mut stream, &segments[..1]).await;
                } else {
                    frame::write_segments(&mut stream, &segments).await.unwrap();
                    stream.close().await.unwrap();
                }
                drop(permit);
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_comes_from_one_that_answers_like_boxo() {
    let node = Node::new().await;
    let mut peer = Raw::new(PROTOCOLS).await;
    let want = blocks(240, 131_072);
    meet(&node.net, &peer.net).await;
    let session = node.exchange.session(want[0].cid());
    tokio::select! {
        () = fetch_all(&session, &want) => {}
        () = serve_like_boxo(&mut peer, &want, 0) => {}
    }
    let stat = node.exchange.stat();
    assert_eq!((stat.blocks_received, stat.wants, stat.unasked_blocks), (240, 0, 0), "{stat:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_are_reset_are_asked_for_again_and_the_next_fetch_works_after_a_failed_one() {
    let node = Node::new().await;
    let mut peer = Raw::new(PROTOCOLS).await;
    let want = blocks(90, 20_000);
    meet(&node.net, &peer.net).await;
    // Nobody answers: the fetch fails, which must not shut out the only peer.
    let failed = node.exchange.fetch(want[0].cid(), Duration::from_secs(4)).await;
    assert!(matches!(failed, Err(ExchangeError::NotFound { asked: 1, .. })), "{failed:?}");
    let session = node.exchange.session(want[0].cid());
    tokio::select! {
        () = fetch_all(&session, &want) => {}
        () = serve_like_boxo(&mut peer, &want, 5) => {}
    }
    assert_eq!(node.exchange.stat().unasked_blocks, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_versions_fetch_and_serve() {
    for (name, version) in [
        (&["/ipfs/bitswap/1.1.0"], Version::V1_1),
        (&["/ipfs/bitswap/1.0.0"], Version::V1_0),
        (&["/ipfs/bitswap"], Version::V1_0),
    ] {
        let node = Node::new().await;
        let mut peer = Raw::new(name).await;
        let theirs = Block::new_v0(vec![7u8; 2000]).unwrap();
        let ours = Block::new_v0(vec![8u8; 2000]).unwrap();
        node.hold(std::slice::from_ref(&ours)).await;
        meet(&node.net, &peer.net).await;
        let session = node.exchange.session(theirs.cid());
        let fetching = async { soon("the block", session.get(theirs.cid())).await.unwrap() };
        let serving = async {
            let (from, entries) = peer.next_wants().await;
            assert!(entries.iter().all(|e| e.kind == WantKind::Block && !e.send_dont_have));
            peer.send(from, name, reply(std::slice::from_ref(&theirs), &[], version)).await;
        };
        let (data, ()) = tokio::join!(fetching, serving);
        assert_eq!(data, theirs.data());

        let entry =
            |cid: &Cid| Entry { cid: *cid, priority: 1, kind: WantKind::Block, cancel: false, send_dont_have: true };
        let absent = blocks(1, 9);
        let wants = encode_wants(&[entry(absent[0].cid()), entry(ours.cid())], true, version);
        peer.send(node.net.local_peer(), name, vec![wants]).await;
        let message = loop {
            let (_, message) = soon("the reply", peer.messages.recv()).await.unwrap();
            assert!(message.presences.is_empty());
            if !message.blocks.is_empty() {
                break message;
            }
        };
        assert_eq!(message.blocks[0].clone().hash().unwrap(), ours);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_cid_answers_dont_have() {
    let node = Node::new().await;
    let mut peer = Raw::new(PROTOCOLS).await;
    meet(&peer.net, &node.net).await;
    let absent = *blocks(1, 50)[0].cid();
    for kind in [WantKind::Block, WantKind::Have] {
        let entry = Entry { cid: absent, priority: 1, kind, cancel: false, send_dont_have: true };
        peer.send(node.net.local_peer(), PROTOCOLS, vec![encode_wants(&[entry], false, Version::V1_2)]).await;
        let (_, message) = soon("the answer", peer.messages.recv()).await.unwrap();
        assert_eq!(message.presences, [(absent, false)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malicious_peer_gains_nothing_and_is_charged() {
    let (node, honest) = (Node::new().await, Node::new().await);
    let mut liar = Raw::new(PROTOCOLS).await;
    let want = blocks(30, 20_000);
    honest.hold(&want).await;
    meet(&node.net, &liar.net).await;
    // Unasked at first, before anything is wanted.
    let junk = blocks(40, 7777);
    liar.send(node.net.local_peer(), PROTOCOLS, reply(&junk[30..], &[], Version::V1_2)).await;
    let session = node.exchange.session(want[0].cid());
    let lying = async {
        // It says HAVE, then sends other bytes than it was asked for.
        for _ in 0..3 {
            let (from, entries) = liar.next_wants().await;
            for entry in entries.iter().filter(|e| !e.cancel) {
                let segments = match entry.kind {
                    WantKind::Have => reply(&[], &[(entry.cid, true)], Version::V1_2),
                    WantKind::Block => reply(&junk[..1], &[], Version::V1_2),
                };
                liar.send(from, PROTOCOLS, segments).await;
            }
            if entries.iter().any(|e| e.kind == WantKind::Block && !e.cancel) {
                break;
            }
        }
        meet(&node.net, &honest.net).await;
        session.add_provider(honest.net.local_peer());
    };
    tokio::join!(fetch_all(&session, &want), lying);
    let stat = node.exchange.stat();
    assert!(stat.unasked_blocks >= 11, "{stat:?}");
    for block in &junk {
        assert!(want.contains(block) || !node.blocks.has(block.cid()).await.unwrap());
    }
    let (bad, good) = (node.routing.score(&liar.net.local_peer()), node.routing.score(&honest.net.local_peer()));
    assert!(bad.value < good.value && bad.unasked_bytes > 0.0, "{bad:?} {good:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_ends_its_stream_and_nothing_else() {
    let (node, honest) = (Node::new().await, Node::new().await);
    let stranger = Raw::new(PROTOCOLS).await;
    meet(&node.net, &stranger.net).await;
    let payloads = [
        b"".to_vec(),
        // A length that does not end, one byte more than is allowed, a body that is cut off, one that is no protobuf.
        b"\x80".to_vec(),
        b"\x81\x80\x80\x02".to_vec(),
        b"\x20ten bytes.".to_vec(),
        b"\x05\xff\xff\xff\xff\xff".to_vec(),
        vec![0xff; 100_000],
    ];
    for protocol in PROTOCOLS.chunks(1) {
        for payload in &payloads {
            let opening = stranger.net.streams().open(node.net.local_peer(), protocol, Class::Bulk);
            let (_, mut stream) = soon("open", opening).await.unwrap();
            // What is refused may be reset before all of it is sent.
            let _ = stream.write_all(payload).await;
            let _ = stream.close().await;
            let mut answer = Vec::new();
            let _ = soon("the end", futures::AsyncReadExt::read_to_end(&mut stream, &mut answer)).await;
            assert!(answer.is_empty(), "{protocol:?}: {answer:?}");
        }
    }
    let want = blocks(10, 5000);
    honest.hold(&want).await;
    meet(&node.net, &honest.net).await;
    fetch_all(&node.exchange.session(want[0].cid()), &want).await;
    assert_eq!(node.exchange.stat().blocks_received, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_stalling_provider_the_good_one_is_asked_first_after_a_restart_too() {
    let (node, good) = (Node::new().await, Node::new().await);
    let mut stalling = Raw::new(PROTOCOLS).await;
    let want = blocks(20, 10_000);
    good.hold(&want).await;
    meet(&node.net, &stalling.net).await;
    meet(&node.net, &good.net).await;
    let (bad, best) = (stalling.net.local_peer(), good.net.local_peer());
    let session = node.exchange.session(want[0].cid());
    session.add_provider(bad);
    session.add_provider(best);
    // Before it has delivered the good one is asked for nothing that the stalling one is asked for.
    fetch_all(&session, &want).await;
    drop(session);
    soon("the charge", async {
        while node.routing.score(&bad).value >= node.routing.score(&best).value {
            tokio::task::yield_now().await;
        }
    })
    .await;

    // The same store under a new service.
    node.tasks.stop();
    assert!(node.tasks.shutdown(Duration::from_secs(30)).await);
    let tasks = Tasks::new();
    let net = net(&tasks).await;
    let routing = Routing::start(net.clone(), node.soft.clone(), &tasks);
    let mut order = vec![bad, best];
    routing.rank(&mut order);
    assert_eq!(order, [best, bad]);
    assert!(routing.score(&best).value > 0.5);

    // And the next fetch asks the good one for everything, the other for nothing.
    let more = blocks(20, 9_000);
    good.hold(&more).await;
    let exchange = Exchange::start(net.clone(), routing, node.blocks.clone(), &tasks);
    while stalling.messages.try_recv().is_ok() {}
    meet(&net, &stalling.net).await;
    meet(&net, &good.net).await;
    let session = exchange.session(more[0].cid());
    session.add_provider(bad);
    session.add_provider(best);
    fetch_all(&session, &more).await;
    assert_eq!(exchange.stat().blocks_received, 20);
    // On a machine so busy that the good one is late, some are asked of a second one too.
    let late = exchange.stat().hedges > 0;
    while let Ok((from, message)) = stalling.messages.try_recv() {
        let asked = message.entries.iter().any(|e| e.kind == WantKind::Block && !e.cancel);
        assert!(late || from != net.local_peer() || !asked, "the stalling one was asked: {message:?}");
    }
    tasks.stop();
}
