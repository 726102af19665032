//! The swarm's side of raw streams: keeps the table of connections; streams themselves never pass here.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use libp2p::{
    core::{Endpoint, transport::PortUse},
    swarm::{ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, ToSwarm},
};
use tokio::sync::mpsc;

use super::{
    handler::Handler,
    shared::{Conn, OPEN_QUEUE, Shared},
};
use crate::base::{Multiaddr, PeerId};

/// Raw streams as a part of the swarm.
#[derive(Debug)]
pub(crate) struct Behaviour {
    shared: Arc<Shared>,
    fresh: HashMap<ConnectionId, Arc<Conn>>,
    keep: super::Keep,
}

impl Behaviour {
    pub(super) fn new(shared: Arc<Shared>, keep: super::Keep) -> Self {
        Behaviour { shared, fresh: HashMap::new(), keep }
    }

    fn handler(&mut self, id: ConnectionId, peer: PeerId) -> Handler {
        let (tx, rx) = mpsc::channel(OPEN_QUEUE);
        let conn = Arc::new(Conn { requests: tx, keep: AtomicBool::new(false), inbound: AtomicUsize::new(0) });
        self.fresh.insert(id, conn.clone());
        Handler::new(peer, id, conn, rx, self.shared.clone())
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                if let Some(conn) = self.fresh.remove(&event.connection_id) {
                    conn.keep.store(self.keep.has(&event.peer_id), Ordering::Relaxed);
                    let dialled = event.endpoint.is_dialer();
                    self.shared.table().insert(event.peer_id, event.connection_id, dialled, conn);
                }
            }
            FromSwarm::ConnectionClosed(event) => {
                self.shared.table().remove(&event.peer_id, event.connection_id);
            }
            FromSwarm::DialFailure(event) => {
                self.fresh.remove(&event.connection_id);
            }
            FromSwarm::ListenFailure(event) => {
                self.fresh.remove(&event.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
