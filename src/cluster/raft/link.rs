//! How one master reaches another: a duplex byte stream for each conversation.

use futures::{AsyncRead, AsyncWrite, future::BoxFuture};
use tokio::sync::mpsc;

use crate::{
    base::{PeerId, Tasks},
    cluster::model::MasterInfo,
    net::{Class, Peers, Streams},
};

/// The protocol of votes, appends and leader transfer.
pub const RAFT_PROTOCOL: &str = "/ipfs-kit/raft/1.0.0";
/// The protocol of snapshots.
pub const SNAPSHOT_PROTOCOL: &str = "/ipfs-kit/raft-snapshot/1.0.0";

/// Inbound streams that may wait to be served, for each protocol.
const INBOUND_BOUND: usize = 64;

/// A duplex byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A duplex byte stream on the heap.
pub type BoxDuplex = Box<dyn Duplex>;

/// A stream another master has opened.
pub struct InboundLink {
    /// Who; authenticated by the connection.
    pub peer: PeerId,
    /// The stream.
    pub stream: BoxDuplex,
}

/// Which conversation a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// [`RAFT_PROTOCOL`].
    Raft,
    /// [`SNAPSHOT_PROTOCOL`].
    Snapshot,
}

/// Opens and accepts streams between masters.
pub trait Link: Send + Sync + 'static {
    /// Opens a stream to a master; the error is a text for people.
    fn open(&self, to: MasterInfo, lane: Lane) -> BoxFuture<'static, Result<BoxDuplex, String>>;
    /// The streams others open from now on; a full queue refuses them at their end.
    fn accept(&self, lane: Lane) -> mpsc::Receiver<InboundLink>;
}

/// [`Link`] over the node's network.
#[derive(Clone)]
pub struct NetLink {
    streams: Streams,
    peers: Peers,
    tasks: Tasks,
}

impl NetLink {
    /// Links over these handles; its background tasks end with `tasks`.
    pub fn new(streams: Streams, peers: Peers, tasks: &Tasks) -> Self {
        NetLink { streams, peers, tasks: tasks.clone() }
    }
}

fn wire(lane: Lane) -> (&'static str, Class) {
    match lane {
        Lane::Raft => (RAFT_PROTOCOL, Class::Control),
        Lane::Snapshot => (SNAPSHOT_PROTOCOL, Class::Bulk),
    }
}

impl Link for NetLink {
    fn open(&self, to: MasterInfo, lane: Lane) -> BoxFuture<'static, Result<BoxDuplex, String>> {
        let this = self.clone();
        Box::pin(async move {
            // The address the membership gives now outranks what the address book remembers.
            this.peers.add_address(to.peer, to.addrs);
            let (protocol, class) = wire(lane);
            let (_, stream) = this.streams.open(to.peer, &[protocol], class).await.map_err(|e| e.to_string())?;
            Ok(Box::new(stream) as BoxDuplex)
        })
    }

    fn accept(&self, lane: Lane) -> mpsc::Receiver<InboundLink> {
        let (protocol, class) = wire(lane);
        let mut inbound = self.streams.accept(&[protocol], class, INBOUND_BOUND);
        let (to, out) = mpsc::channel(1);
        self.tasks.spawn("raft inbound", async move {
            while let Some(stream) = inbound.recv().await {
                let link = InboundLink { peer: stream.peer, stream: Box::new(stream.stream) };
                if to.send(link).await.is_err() {
                    return;
                }
            }
        });
        out
    }
}
