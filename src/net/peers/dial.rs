//! Dialling: TCP first, other transports when it fails or is slow.

use std::{sync::Arc, time::Duration};

use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    super::{address, error::NetError, service::Command},
    PeerEvent,
    book::Book,
    state::State,
};
use crate::base::{Multiaddr, PeerId};

/// How long TCP is tried alone: it moves twice as much as QUIC between near machines.
const HEAD_START: Duration = Duration::from_millis(500);
/// How long to wait for a fresh connection to say where its peer listens.
const IDENTIFY_WAIT: Duration = Duration::from_secs(1);
/// Addresses tried of one peer.
const MAX_ADDRESSES: usize = 16;

/// A dial for the swarm's task.
#[derive(Debug)]
pub(in super::super) struct DialRequest {
    /// Whom to expect; unknown when the operator gave an address only.
    pub(in super::super) peer: Option<PeerId>,
    /// Where; empty asks what the DHT's routing table knows.
    pub(in super::super) addrs: Vec<Multiaddr>,
    /// Dial although connected.
    pub(in super::super) another: bool,
    /// Who answered.
    pub(in super::super) reply: oneshot::Sender<Result<PeerId, NetError>>,
}

/// Asks the swarm's task to dial. Cheap to clone.
#[derive(Clone)]
pub(in super::super) struct Dialler {
    pub(in super::super) commands: mpsc::Sender<Command>,
    pub(in super::super) book: Arc<Book>,
    pub(in super::super) state: Arc<State>,
    pub(in super::super) limit: Duration,
}

impl Dialler {
    /// Dials a peer where the book says it is; `another` makes a second connection.
    pub(in super::super) async fn dial_known(&self, peer: PeerId, another: bool) -> Result<(), NetError> {
        let mut events = self.state.subscribe();
        let mut addrs = self.book.addresses_of(&peer);
        if addrs.is_empty() && self.state.is_connected(&peer) && !self.state.is_identified(&peer) {
            let identified = async {
                loop {
                    match events.recv().await {
                        Ok(PeerEvent::Identified(who)) if who == peer => return,
                        Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return,
                    }
                }
            };
            let _ = tokio::time::timeout(IDENTIFY_WAIT, identified).await;
            addrs = self.book.addresses_of(&peer);
        }
        if addrs.is_empty() && another {
            return Err(NetError::NoAddress { peer });
        }
        self.dial(Some(peer), addrs, another).await.map(drop)
    }

    /// Dials one of the addresses; of those where somebody else lives the next ones are tried.
    pub(in super::super) async fn dial(
        &self,
        peer: Option<PeerId>,
        addrs: Vec<Multiaddr>,
        another: bool,
    ) -> Result<PeerId, NetError> {
        let (tcp, other): (Vec<_>, Vec<_>) = addrs.into_iter().take(MAX_ADDRESSES).partition(address::is_tcp);
        let attempt = async {
            if tcp.is_empty() || other.is_empty() {
                return self.try_each(peer, [tcp, other].concat(), another).await;
            }
            let first = self.try_each(peer, tcp, another);
            tokio::pin!(first);
            match tokio::time::timeout(HEAD_START, &mut first).await {
                Ok(Ok(peer)) => Ok(peer),
                Ok(Err(error)) => self.try_each(peer, other, another).await.map_err(|_| error),
                Err(_) => {
                    let second = self.try_each(peer, other, another);
                    tokio::pin!(second);
                    tokio::select! {
                        done = &mut first => match done {
                            Ok(peer) => Ok(peer),
                            Err(error) => second.await.map_err(|_| error),
                        },
                        done = &mut second => match done {
                            Ok(peer) => Ok(peer),
                            Err(_) => first.await,
                        },
                    }
                }
            }
        };
        match tokio::time::timeout(self.limit, attempt).await {
            Ok(done) => done,
            Err(_) => Err(NetError::Timeout { what: "dialling a peer", limit: self.limit }),
        }
    }

    async fn try_each(
        &self,
        peer: Option<PeerId>,
        mut addrs: Vec<Multiaddr>,
        another: bool,
    ) -> Result<PeerId, NetError> {
        loop {
            let (reply, answer) = oneshot::channel();
            let request = DialRequest { peer, addrs: addrs.clone(), another, reply };
            self.commands.send(Command::Dial(request)).await.map_err(|_| NetError::Stopped)?;
            match answer.await.map_err(|_| NetError::Stopped)? {
                // Of several, one that is dead takes the whole dial with it when somebody else lives there.
                Err(NetError::WrongPeer { expected, obtained, address }) => {
                    let (wrong, _) = address::split(&address);
                    let before = addrs.len();
                    addrs.retain(|address| address::split(address).0 != wrong);
                    if addrs.is_empty() || addrs.len() == before {
                        return Err(NetError::WrongPeer { expected, obtained, address: wrong });
                    }
                }
                done => return done,
            }
        }
    }
}
