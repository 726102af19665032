//! The network on loopback, with real nodes.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, future::join_all};
use tokio::sync::mpsc;

use super::*;
use crate::base::{Keypair, Multiaddr, PeerId, Tasks};

const ECHO: &str = "/test/echo/1.0.0";
const OLD_ECHO: &str = "/test/echo/0.9.0";
const URGENT: &str = "/test/urgent/1.0.0";

/// A guard against hanging for ever; no test measures with it.
async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: nothing after 30 s"),
    }
}

struct Node {
    net: Net,
    tasks: Tasks,
}

impl Node {
    async fn with(options: NetOptions, records: Arc<dyn DhtStore>) -> Node {
        let tasks = Tasks::new();
        let net = soon("start", Net::start(options, records, &tasks)).await.unwrap();
        Node { net, tasks }
    }

    async fn new() -> Node {
        Self::with(NetOptions::new(Keypair::generate_ed25519()), Arc::new(MemoryDhtStore::default())).await
    }

    fn id(&self) -> PeerId {
        self.net.local_peer()
    }

    fn address(&self) -> Multiaddr {
        self.net.peers().listen_addrs()[0].clone().with_p2p(self.id()).unwrap()
    }

    /// Connects, and waits until both know what the other speaks.
    async fn meet(&self, other: &Node) {
        let (mut mine, mut theirs) = (self.net.peers().subscribe(), other.net.peers().subscribe());
        soon("connect", self.net.peers().connect(other.address())).await.unwrap();
        until(&mut mine, PeerEvent::Identified(other.id())).await;
        until(&mut theirs, PeerEvent::Identified(self.id())).await;
    }

    /// Answers every stream of the protocols with what it reads.
    fn echo(&self, protocols: &[&'static str], class: Class, bound: usize) {
        let mut inbound = self.net.streams().accept(protocols, class, bound);
        let tasks = self.tasks.clone();
        self.tasks.spawn("echo", async move {
            while let Some(Inbound { stream, .. }) = inbound.recv().await {
                tasks.spawn("one echo", async move {
                    let (mut read, mut write) = stream.split();
                    futures::io::copy(&mut read, &mut write).await.ok();
                    write.close().await.ok();
                });
            }
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

async fn until(events: &mut tokio::sync::broadcast::Receiver<PeerEvent>, event: PeerEvent) {
    soon("an event", async { while events.recv().await.unwrap() != event {} }).await;
}

async fn ask(stream: &mut Stream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await?;
    Ok(back)
}

#[tokio::test]
async fn peers_connect_identify_and_leave() {
    let (a, b) = (Node::new().await, Node::new().await);
    a.echo(&[ECHO], Class::Bulk, 4);
    a.meet(&b).await;
    let info = &b.net.peers().connected()[0];
    assert_eq!((info.peer, info.direction, info.connections), (a.id(), Direction::Inbound, 1));
    assert_eq!(info.agent_version.as_deref(), Some(concat!("ipfs-kit/", env!("CARGO_PKG_VERSION"))));
    for protocol in a.net.peers().protocols() {
        assert!(info.protocols.contains(&protocol), "{protocol} is not in {:?}", info.protocols);
    }
    assert!(info.protocols.contains(&ECHO.to_owned()));
    let info = &a.net.peers().connected()[0];
    assert_eq!(info.direction, Direction::Outbound);
    assert_eq!(info.address, b.net.peers().listen_addrs()[0]);
    assert_eq!(a.net.dht().routing_table_size(), 1);
    // Connected already: at once, and still one connection.
    assert_eq!(a.net.peers().connect(b.address()).await.unwrap(), b.id());
    assert_eq!(a.net.peers().connected()[0].connections, 1);
    let mut events = b.net.peers().subscribe();
    a.net.peers().disconnect(b.id());
    until(&mut events, PeerEvent::Disconnected(a.id())).await;
    assert!(!b.net.peers().is_connected(&a.id()));
    // What identify has told is enough to find the way back.
    soon("reconnect", b.net.peers().connect_peer(a.id(), vec![])).await.unwrap();
    let text = {
        let registry = a.net.metrics();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry.lock().unwrap()).unwrap();
        text
    };
    assert!(text.contains("libp2p_swarm_connections_established") && text.contains("streams_refused"), "{text}");
}

#[tokio::test]
async fn wrong_or_dead_addresses_get_clear_errors() {
    let (a, b, c) = (Node::new().await, Node::new().await, Node::new().await);
    let bare = b.net.peers().listen_addrs()[0].clone();
    assert_eq!(soon("connect", a.net.peers().connect(bare.clone())).await.unwrap(), b.id());
    let wrong = c.net.peers().connect(bare.clone().with_p2p(a.id()).unwrap());
    match soon("connect", wrong).await {
        Err(NetError::WrongPeer { expected, obtained, address }) => {
            assert_eq!((expected, *obtained, address), (a.id(), b.id(), bare));
        }
        other => panic!("{other:?}"),
    }
    let dead = c.net.peers().connect("/ip4/127.0.0.1/tcp/1".parse().unwrap());
    let error = soon("connect", dead).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(matches!(c.net.peers().connect(c.address()).await, Err(NetError::OwnAddress)));
    let useless = c.net.peers().connect("/ip4/127.0.0.1/udp/5".parse().unwrap());
    assert!(matches!(useless.await, Err(NetError::BadAddress { .. })));
    let nobody = PeerId::random();
    let error = soon("connect", c.net.peers().connect_peer(nobody, vec![])).await.unwrap_err();
    assert!(matches!(error, NetError::NoAddress { peer } if peer == nobody), "{error:?}");
    // A public address that a stranger has told is not dialled in profile local.
    let public = vec!["/ip4/203.0.113.1/tcp/4001".parse().unwrap()];
    let error = soon("connect", c.net.peers().connect_peer(nobody, public)).await.unwrap_err();
    assert!(matches!(error, NetError::NoAddress { .. }), "{error:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused() {
    let a = Node::new().await;
    let mut options = NetOptions::new(Keypair::generate_ed25519());
    options.listen = a.net.peers().listen_addrs();
    let taken = Net::start(options, Arc::new(MemoryDhtStore::default()), &a.tasks).await;
    assert!(matches!(taken.map(drop), Err(NetError::Listen { in_use: true, .. })));
}

#[tokio::test]
async fn a_blocked_peer_is_refused() {
    let (a, b) = (Node::new().await, Node::new().await);
    a.meet(&b).await;
    let mut events = b.net.peers().subscribe();
    b.net.peers().block(a.id());
    until(&mut events, PeerEvent::Disconnected(a.id())).await;
    let error = soon("connect", b.net.peers().connect(a.address())).await.unwrap_err();
    assert!(matches!(error, NetError::Refused { .. }), "{error:?}");
    b.net.peers().unblock(a.id());
    soon("connect", b.net.peers().connect(a.address())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_opens_at_once_lose_no_stream() {
    let (a, b) = (Node::new().await, Node::new().await);
    b.echo(&[ECHO], Class::Bulk, 64);
    a.net.peers().add_address(b.id(), vec![b.address()]);
    for round in 0..8u8 {
        let asks = (0..16u8).map(|i| {
            let (streams, peer) = (a.net.streams().clone(), b.id());
            async move {
                let (name, mut stream) = streams.open(peer, &[ECHO], Class::Bulk).await.unwrap();
                assert_eq!(name, ECHO);
                let question = [round, i].repeat(5000);
                assert_eq!(ask(&mut stream, &question).await.unwrap(), question);
            }
        });
        soon("echoes", join_all(asks)).await;
    }
    // Sixteen opens without a connection dialled once.
    assert_eq!(a.net.peers().connected()[0].connections, 1);
    assert_eq!(b.net.streams().refused(), 0);
}

#[tokio::test]
async fn protocols_are_negotiated_in_order_and_may_change() {
    let (a, b) = (Node::new().await, Node::new().await);
    a.meet(&b).await;
    let open = |names: &'static [&'static str]| a.net.streams().open(b.id(), names, Class::Bulk);
    let error = soon("open", open(&[ECHO, OLD_ECHO])).await.unwrap_err();
    assert!(matches!(error, NetError::Unsupported { .. }), "{error:?}");
    // Registered after the connection was made.
    let mut inbound = b.net.streams().accept(&[OLD_ECHO], Class::Bulk, 4);
    assert_eq!(soon("open", open(&[ECHO, OLD_ECHO])).await.unwrap().0, OLD_ECHO);
    let arrived = soon("inbound", inbound.recv()).await.unwrap();
    assert_eq!((arrived.peer, arrived.protocol), (a.id(), OLD_ECHO));
    drop(inbound);
    b.echo(&[ECHO], Class::Bulk, 4);
    assert_eq!(soon("open", open(&[ECHO, OLD_ECHO])).await.unwrap().0, ECHO);
}

#[tokio::test]
async fn a_full_queue_resets_the_stream_at_the_remote_end() {
    let (a, b) = (Node::new().await, Node::new().await);
    let mut inbound = b.net.streams().accept(&[ECHO], Class::Bulk, 1);
    b.echo(&[URGENT], Class::Bulk, 4);
    a.meet(&b).await;
    let open = || a.net.streams().open(b.id(), &[ECHO], Class::Bulk);
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(soon("open", open()).await.unwrap().1);
    }
    let mut lost = 0;
    for mut stream in streams.split_off(1) {
        lost += usize::from(soon("a reset", ask(&mut stream, b"anyone?")).await.is_err());
    }
    assert_eq!(lost, 2);
    assert_eq!(b.net.streams().refused(), 2);
    // The one in the queue is well, and so is the connection.
    let mut kept = soon("inbound", inbound.recv()).await.unwrap().stream;
    streams[0].write_all(b"hello").await.unwrap();
    streams[0].flush().await.unwrap();
    let mut heard = [0; 5];
    soon("read", kept.read_exact(&mut heard)).await.unwrap();
    let mut other = soon("open", a.net.streams().open(b.id(), &[URGENT], Class::Bulk)).await.unwrap().1;
    assert_eq!(soon("ask", ask(&mut other, b"still here")).await.unwrap(), b"still here");
}

#[tokio::test]
async fn inbound_streams_of_one_connection_are_bounded() {
    let mut options = NetOptions::new(Keypair::generate_ed25519());
    options.limits.inbound_streams_per_connection = 3;
    let (a, b) = (Node::new().await, Node::with(options, Arc::new(MemoryDhtStore::default())).await);
    b.echo(&[ECHO], Class::Bulk, 64);
    a.meet(&b).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = soon("open", a.net.streams().open(b.id(), &[ECHO], Class::Bulk)).await.unwrap().1;
        soon("ask", ask(&mut stream, b"x")).await.unwrap();
        open.push(stream);
    }
    let mut fourth = soon("open", a.net.streams().open(b.id(), &[ECHO], Class::Bulk)).await.unwrap().1;
    assert!(soon("ask", ask(&mut fourth, b"x")).await.is_err());
    assert_eq!(b.net.streams().refused(), 1);
}

#[tokio::test]
async fn two_classes_make_two_connections_on_both_sides() {
    let (a, b) = (Node::new().await, Node::new().await);
    for node in [&a, &b] {
        node.echo(&[ECHO], Class::Bulk, 16);
        node.echo(&[URGENT], Class::Control, 16);
    }
    a.meet(&b).await;
    let mut kept = Vec::new();
    for (from, to) in [(&a, &b), (&b, &a), (&a, &b)] {
        for (name, class) in [(ECHO, Class::Bulk), (URGENT, Class::Control)] {
            let mut stream = soon("open", from.net.streams().open(to.id(), &[name], class)).await.unwrap().1;
            soon("ask", ask(&mut stream, b"x")).await.unwrap();
            kept.push(stream);
        }
    }
    for (from, to) in [(&a, &b), (&b, &a)] {
        let classes = from.net.streams().classes(&to.id());
        assert_eq!(classes, vec![Some(Class::Bulk), Some(Class::Control)]);
        assert_eq!(from.net.peers().connected()[0].connections, 2);
    }
}

#[tokio::test]
async fn without_an_address_for_a_second_connection_the_first_is_shared() {
    let mut options = NetOptions::new(Keypair::generate_ed25519());
    options.listen.clear();
    let (a, b) = (Node::with(options, Arc::new(MemoryDhtStore::default())).await, Node::new().await);
    a.echo(&[ECHO, URGENT], Class::Bulk, 16);
    a.meet(&b).await;
    for (name, class) in [(ECHO, Class::Bulk), (URGENT, Class::Control)] {
        let mut stream = soon("open", b.net.streams().open(a.id(), &[name], class)).await.unwrap().1;
        soon("ask", ask(&mut stream, b"x")).await.unwrap();
    }
    assert_eq!(b.net.peers().connected()[0].connections, 1);
}

/// A peer that speaks nothing and never closes a connection itself. (Nodes of ours keep their gossip streams open.)
async fn stranger(tasks: &Tasks) -> Multiaddr {
    use futures::StreamExt;
    use libp2p::{SwarmBuilder, noise, swarm::SwarmEvent, swarm::dummy, tcp, yamux};
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| dummy::Behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.with_p2p(*swarm.local_peer_id()).unwrap();
        }
    };
    tasks.spawn("stranger", async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    address
}

#[tokio::test]
async fn an_idle_connection_is_closed_unless_its_peer_is_protected() {
    let mut options = NetOptions::new(Keypair::generate_ed25519());
    options.limits.idle_timeout = Duration::from_millis(50);
    let a = Node::with(options, Arc::new(MemoryDhtStore::default())).await;
    let mut events = a.net.peers().subscribe();
    let (kept, other) = (stranger(&a.tasks).await, stranger(&a.tasks).await);
    let kept_id = address::split(&kept).1.unwrap();
    a.net.peers().protect(kept_id, "test");
    soon("connect", a.net.peers().connect(kept)).await.unwrap();
    // An unprotected one, connected later, shows that the timeout has passed for both.
    let other_id = soon("connect", a.net.peers().connect(other)).await.unwrap();
    until(&mut events, PeerEvent::Disconnected(other_id)).await;
    assert!(a.net.peers().is_connected(&kept_id));
    a.net.peers().unprotect(kept_id, "test");
    until(&mut events, PeerEvent::Disconnected(kept_id)).await;
}

#[tokio::test]
async fn quic_works() {
    let quic = || {
        let mut options = NetOptions::new(Keypair::generate_ed25519());
        options.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()];
        Node::with(options, Arc::new(MemoryDhtStore::default()))
    };
    let (a, b) = (quic().await, quic().await);
    b.echo(&[ECHO], Class::Bulk, 16);
    b.echo(&[URGENT], Class::Control, 16);
    a.meet(&b).await;
    for (name, class) in [(ECHO, Class::Bulk), (URGENT, Class::Control)] {
        let mut stream = soon("open", a.net.streams().open(b.id(), &[name], class)).await.unwrap().1;
        let question = vec![7; 10_000];
        assert_eq!(soon("ask", ask(&mut stream, &question)).await.unwrap(), question);
    }
    assert_eq!(a.net.peers().connected()[0].connections, 2);
    let wrong = b.net.peers().listen_addrs()[0].clone().with_p2p(PeerId::random()).unwrap();
    let error = soon("connect", a.net.peers().connect(wrong)).await.unwrap_err();
    assert!(matches!(&error, NetError::WrongPeer { obtained, .. } if **obtained == b.id()), "{error:?}");
}

/// Publishes again and again until the reader hears something: the first messages may come before the subscription.
async fn publish_until(from: &Node, topic: &str, text: &str, reader: &mut mpsc::Receiver<Incoming>) -> Incoming {
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    soon("gossip", async {
        loop {
            tokio::select! {
                Some(incoming) = reader.recv() => return incoming,
                _ = beat.tick() => match from.net.gossip().publish(topic, text.into()).await {
                    Ok(()) | Err(NetError::NoPeers { .. }) => {}
                    Err(error) => panic!("{error}"),
                },
            }
        }
    })
    .await
}

#[tokio::test]
async fn gossip_travels_only_after_it_was_accepted() {
    let (a, b, c) = (Node::new().await, Node::new().await, Node::new().await);
    let mut at_b = b.net.gossip().subscribe("news", 64).await.unwrap();
    let mut at_c = c.net.gossip().subscribe("news", 64).await.unwrap();
    let again = b.net.gossip().subscribe("news", 64).await;
    assert!(matches!(again, Err(NetError::Subscribed { .. })));
    let alone = a.net.gossip().publish("news", b"x".to_vec()).await;
    assert!(matches!(alone, Err(NetError::NoPeers { .. })), "{alone:?}");
    let large = a.net.gossip().publish("news", vec![0; 64 * 1024 + 1]).await;
    assert!(matches!(large, Err(NetError::TooLarge { .. })));
    // A reaches C only through B.
    a.meet(&b).await;
    b.meet(&c).await;
    let first = publish_until(&a, "news", "bad", &mut at_b).await;
    assert_eq!((first.author, first.via, &first.data[..]), (a.id(), a.id(), b"bad".as_slice()));
    first.reject();
    while let Ok(more) = at_b.try_recv() {
        more.reject();
    }
    a.net.gossip().publish("news", b"dropped".to_vec()).await.unwrap();
    loop {
        let next = soon("gossip", at_b.recv()).await.unwrap();
        if &next.data[..] == b"dropped" {
            break; // Dropped without a verdict.
        }
        next.ignore();
    }
    a.net.gossip().publish("news", b"good".to_vec()).await.unwrap();
    let good = soon("gossip", at_b.recv()).await.unwrap();
    assert_eq!(&good.data[..], b"good");
    good.accept();
    // The first thing C hears is the accepted one.
    let heard = soon("gossip", at_c.recv()).await.unwrap();
    assert_eq!((heard.author, heard.via, &heard.data[..]), (a.id(), b.id(), b"good".as_slice()));
    assert_eq!(b.net.gossip().subscribers("news").await, vec![c.id()]);
}

#[tokio::test]
async fn gossip_that_finds_its_queue_full_is_ignored_and_counted() {
    let (a, b) = (Node::new().await, Node::new().await);
    let mut at_b = b.net.gossip().subscribe("flood", 1).await.unwrap();
    a.meet(&b).await;
    publish_until(&a, "flood", "first", &mut at_b).await.accept();
    let before = b.net.gossip().dropped();
    for i in 0..5u8 {
        a.net.gossip().publish("flood", vec![i]).await.unwrap();
    }
    // A second topic's message comes after the flood on the same stream.
    let mut marker = b.net.gossip().subscribe("marker", 4).await.unwrap();
    publish_until(&a, "marker", "done", &mut marker).await.accept();
    assert!(b.net.gossip().dropped() >= before + 4);
    drop(at_b);
    b.net.gossip().subscribe("flood", 1).await.unwrap();
}

#[tokio::test]
async fn a_provider_is_found_through_others_and_its_giver_is_known() {
    let (a, b, c) = (Node::new().await, Node::new().await, Node::new().await);
    let key = b"\x12\x20 a multihash of thirty-two bytes";
    a.meet(&b).await;
    c.meet(&b).await;
    assert_eq!(a.net.dht().provide_counted(b"alone").await.unwrap().min(1), 1);
    soon("provide", a.net.dht().provide(key)).await.unwrap();
    let mut found = c.net.dht().find_providers(key, 10).await;
    let record = soon("a provider", found.recv()).await.unwrap();
    assert_eq!(record.peer, a.id());
    assert!(record.from == b.id() || record.from == c.id() || record.from == a.id());
    assert_eq!(record.addrs, a.net.peers().listen_addrs());
    assert!(soon("the end", found.recv()).await.is_none());
    // B answers from its own records.
    let own = soon("own", b.net.dht().find_providers(key, 10).await.recv()).await.unwrap();
    assert_eq!((own.peer, own.from), (a.id(), b.id()));
    let mut nobody = c.net.dht().find_providers(b"nobody has this", 10).await;
    assert!(soon("the end", nobody.recv()).await.is_none());
    assert!(soon("find", c.net.dht().find_peer(a.id())).await.unwrap().contains(&a.net.peers().listen_addrs()[0]));
    soon("bootstrap", c.net.dht().bootstrap()).await.unwrap();
    a.net.dht().stop_providing(key).await;
    assert!(soon("own", a.net.dht().find_providers(key, 1).await.recv()).await.is_none_or(|r| r.from != a.id()));
}

#[tokio::test]
async fn a_client_of_the_dht_provides_and_finds_but_does_not_serve() {
    let mut options = NetOptions::new(Keypair::generate_ed25519());
    options.kad_server = false;
    let (a, b, c) = (
        Node::with(options.clone(), Arc::new(MemoryDhtStore::default())).await,
        Node::new().await,
        Node::with(NetOptions { keypair: Keypair::generate_ed25519(), ..options }, Arc::new(MemoryDhtStore::default()))
            .await,
    );
    let lonely = a.net.dht().provide(b"key").await;
    assert!(matches!(lonely, Err(NetError::NoPeers { .. })));
    assert!(matches!(a.net.dht().bootstrap().await, Err(NetError::NoPeers { .. })));
    a.meet(&b).await;
    c.meet(&b).await;
    assert_eq!(soon("provide", a.net.dht().provide_counted(b"key")).await.unwrap(), 1);
    let record = soon("a provider", c.net.dht().find_providers(b"key", 1).await.recv()).await.unwrap();
    assert_eq!((record.peer, record.from), (a.id(), b.id()));
    assert_eq!(b.net.dht().routing_table_size(), 0);
}

#[tokio::test]
async fn records_survive_a_restart() {
    let store = Arc::new(MemoryDhtStore::default());
    let (a, b) = (Node::new().await, Node::with(NetOptions::new(Keypair::generate_ed25519()), store.clone()).await);
    a.meet(&b).await;
    soon("provide", a.net.dht().provide(b"kept")).await.unwrap();
    soon("provide", b.net.dht().provide_counted(b"own")).await.unwrap();
    assert!(b.tasks.shutdown(Duration::from_secs(30)).await);
    let again = Node::with(NetOptions::new(Keypair::generate_ed25519()), store).await;
    let record = soon("a record", again.net.dht().find_providers(b"kept", 1).await.recv()).await.unwrap();
    assert_eq!((record.peer, record.from), (a.id(), again.id()));
    assert!(soon("a record", again.net.dht().find_providers(b"own", 1).await.recv()).await.is_some());
}
