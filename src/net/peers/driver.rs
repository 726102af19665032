//! The peers' part of the swarm's task: dials under way, and what swarm events say about peers.

use std::{collections::HashMap, sync::Arc};

use libp2p::{
    core::{ConnectedPoint, transport::TransportError},
    identify, ping,
    swarm::{
        ConnectionId, DialError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::oneshot;

use super::{
    super::{
        address,
        error::NetError,
        swarm::{BehaviourEvent, NetSwarm},
    },
    Direction,
    book::Book,
    dial::DialRequest,
    state::State,
};
use crate::base::{Multiaddr, PeerId};

/// Pings a connection may miss in a row.
const MISSED_PINGS: u32 = 2;
/// How much of what a peer says about itself is kept, in bytes of one text and in texts.
const MAX_TEXT: usize = 256;
const MAX_PROTOCOLS: usize = 256;

type Reply = oneshot::Sender<Result<PeerId, NetError>>;

/// The peers' part of the swarm's task.
pub(in super::super) struct Driver {
    pub(in super::super) book: Arc<Book>,
    pub(in super::super) state: Arc<State>,
    dials: HashMap<ConnectionId, (Option<PeerId>, Reply)>,
    missed: HashMap<ConnectionId, u32>,
}

impl Driver {
    pub(in super::super) fn new(book: Arc<Book>, state: Arc<State>) -> Self {
        Driver { book, state, dials: HashMap::new(), missed: HashMap::new() }
    }

    /// Starts a dial.
    pub(in super::super) fn dial(&mut self, swarm: &mut NetSwarm, request: DialRequest) {
        let DialRequest { peer, addrs, another, reply } = request;
        if let Some(peer) = peer
            && !another
            && swarm.is_connected(&peer)
        {
            let _ = reply.send(Ok(peer));
            return;
        }
        let options = match (peer, addrs.first()) {
            (Some(peer), None) => DialOpts::peer_id(peer).condition(PeerCondition::Always).build(),
            (Some(peer), Some(_)) => DialOpts::peer_id(peer).addresses(addrs).condition(PeerCondition::Always).build(),
            (None, Some(address)) => DialOpts::unknown_peer_id().address(address.clone()).build(),
            (None, None) => {
                let reason = "no address was given".into();
                let _ = reply.send(Err(NetError::Unreachable { target: "a peer".into(), reason }));
                return;
            }
        };
        let id = options.connection_id();
        match swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(id, (peer, reply));
            }
            Err(error) => {
                let _ = reply.send(Err(explain(peer, &error)));
            }
        }
    }

    /// Does what callers that cannot wait have wished.
    pub(in super::super) fn fulfil_wishes(&mut self, swarm: &mut NetSwarm) {
        let wishes = self.state.take_wishes();
        for (peer, bypass) in wishes.bypass {
            let limits = &mut swarm.behaviour_mut().limits;
            if bypass { limits.bypass_peer_id(&peer) } else { limits.remove_peer_id(&peer) }
        }
        for (peer, block) in wishes.block {
            let list = &mut swarm.behaviour_mut().block_list;
            if block {
                list.block_peer(peer)
            } else {
                list.unblock_peer(peer)
            };
        }
        for peer in wishes.disconnect {
            // Not connected any more is fine.
            let _ = swarm.disconnect_peer_id(peer);
        }
    }

    /// Takes note of what concerns peers.
    pub(in super::super) fn on_event(&mut self, event: &SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, concurrent_dial_errors, .. } => {
                for (address, _) in concurrent_dial_errors.iter().flatten() {
                    self.book.failed(*peer_id, address);
                }
                let (address, direction) = match endpoint {
                    ConnectedPoint::Dialer { address, .. } => {
                        self.book.succeeded(*peer_id, address);
                        (address, Direction::Outbound)
                    }
                    ConnectedPoint::Listener { send_back_addr, .. } => (send_back_addr, Direction::Inbound),
                };
                self.state.opened(*peer_id, *connection_id, address::split(address).0, direction);
                if let Some((_, reply)) = self.dials.remove(connection_id) {
                    let _ = reply.send(Ok(*peer_id));
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.missed.remove(connection_id);
                self.state.closed(*peer_id, *connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                if let Some(peer) = peer_id {
                    self.note_failures(*peer, error);
                }
                if let Some((peer, reply)) = self.dials.remove(connection_id) {
                    let _ = reply.send(Err(explain(peer, error)));
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.state.listening(address::split(address).0);
                self.book.set_own(self.state.listen_addrs());
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.state.not_listening(&address::split(address).0);
                self.book.set_own(self.state.listen_addrs());
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                if let Err(error) = reason {
                    tracing::warn!(?addresses, %error, "a listener ended");
                }
                for address in addresses {
                    self.state.not_listening(&address::split(address).0);
                }
                self.book.set_own(self.state.listen_addrs());
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener failed to accept"),
            _ => {}
        }
    }

    fn note_failures(&self, peer: PeerId, error: &DialError) {
        match error {
            DialError::WrongPeerId { address, .. } => self.book.forget(peer, address),
            DialError::Transport(errors) => {
                for (address, _) in errors {
                    self.book.failed(peer, address);
                }
            }
            _ => {}
        }
    }

    /// A ping has come back, or not. Returns whether the connection is dead.
    pub(in super::super) fn pinged(&mut self, event: &ping::Event) -> bool {
        match &event.result {
            Ok(latency) => {
                self.missed.remove(&event.connection);
                self.state.pinged(&event.peer, *latency);
                false
            }
            Err(ping::Failure::Timeout) => {
                let missed = self.missed.entry(event.connection).or_default();
                *missed += 1;
                *missed >= MISSED_PINGS
            }
            Err(_) => false,
        }
    }

    /// The addresses a peer says it listens on that can lead there from here: loopback only on the same machine.
    pub(in super::super) fn reachable(&self, peer: &PeerId, info: &identify::Info) -> Vec<Multiaddr> {
        let near = self.state.is_on_this_machine(peer);
        let usable = |address: &&Multiaddr| (near || !address::is_loopback(address)) && !self.book.is_own(address);
        info.listen_addrs.iter().filter(usable).map(|address| address::split(address).0).collect()
    }

    /// A peer has said what it speaks and where it listens: `addrs` of what [`Driver::reachable`] has left.
    pub(in super::super) fn identified(&self, peer: PeerId, info: &identify::Info, addrs: &[Multiaddr]) {
        self.book.identified(peer, addrs);
        let protocols = info.protocols.iter().take(MAX_PROTOCOLS).map(ToString::to_string);
        let protocols = protocols.filter(|name| name.len() <= MAX_TEXT).collect();
        self.state.identified(peer, info.agent_version.chars().take(MAX_TEXT).collect(), protocols);
    }
}

fn explain(peer: Option<PeerId>, error: &DialError) -> NetError {
    let target = || peer.map_or_else(|| "the address".to_owned(), |peer| format!("peer {peer}"));
    match error {
        DialError::LocalPeerId { .. } => NetError::OwnAddress,
        DialError::WrongPeerId { obtained, address } => match peer {
            Some(expected) => {
                NetError::WrongPeer { expected, obtained: Box::new(*obtained), address: address::split(address).0 }
            }
            None => NetError::Unreachable { target: target(), reason: "its identity is contradictory".into() },
        },
        DialError::NoAddresses => match peer {
            Some(peer) => NetError::NoAddress { peer },
            None => NetError::Unreachable { target: target(), reason: "no address was given".into() },
        },
        DialError::Denied { cause } => NetError::Refused { target: target(), reason: deepest(cause) },
        DialError::Transport(errors) => NetError::Unreachable { target: target(), reason: reasons(errors) },
        other => NetError::Unreachable { target: target(), reason: other.to_string() },
    }
}

fn reasons(errors: &[(Multiaddr, TransportError<std::io::Error>)]) -> String {
    let reason = |(address, error): &(Multiaddr, TransportError<std::io::Error>)| {
        let why = match error {
            TransportError::MultiaddrNotSupported(_) => "this kind of address is not supported".to_owned(),
            TransportError::Other(error) => deepest(error),
        };
        format!("{}: {why}", address::split(address).0)
    };
    errors.iter().map(reason).collect::<Vec<_>>().join("; ")
}

/// The innermost error says what happened; those around it only through which layers it came.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
