//! One connection's side of raw streams: opens what is asked for, hands on what arrives, never waits.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use libp2p::{
    InboundUpgrade, OutboundUpgrade,
    core::UpgradeInfo,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, ConnectionId, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::mpsc;

use super::{
    Inbound, Stream,
    shared::{Accepted, Conn, Guard, OpenError, Reply, Request, Shared},
};
use crate::base::PeerId;

/// Negotiates one of the protocols that are accepted.
#[derive(Debug)]
pub(crate) struct Listen(Arc<[Accepted]>);

/// The names of what is accepted. libp2p asks for them at every poll of a connection, so nothing is copied.
#[derive(Debug)]
pub(crate) struct Names {
    accepted: Arc<[Accepted]>,
    next: usize,
}

impl Iterator for Names {
    type Item = &'static str;

    fn next(&mut self) -> Option<&'static str> {
        let name = self.accepted.get(self.next)?.name;
        self.next += 1;
        Some(name)
    }
}

impl UpgradeInfo for Listen {
    type Info = &'static str;
    type InfoIter = Names;

    fn protocol_info(&self) -> Names {
        Names { accepted: self.0.clone(), next: 0 }
    }
}

impl InboundUpgrade<libp2p::Stream> for Listen {
    type Output = (&'static str, libp2p::Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, stream: libp2p::Stream, name: &'static str) -> Self::Future {
        ready(Ok((name, stream)))
    }
}

/// Proposes protocols in order of preference.
#[derive(Debug)]
pub(crate) struct Propose(Vec<&'static str>);

impl UpgradeInfo for Propose {
    type Info = &'static str;
    type InfoIter = std::vec::IntoIter<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl OutboundUpgrade<libp2p::Stream> for Propose {
    type Output = (&'static str, libp2p::Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, stream: libp2p::Stream, name: &'static str) -> Self::Future {
        ready(Ok((name, stream)))
    }
}

/// The handler of one connection.
#[derive(Debug)]
pub(crate) struct Handler {
    peer: PeerId,
    id: ConnectionId,
    conn: Arc<Conn>,
    requests: mpsc::Receiver<Request>,
    shared: Arc<Shared>,
}

impl Handler {
    pub(super) fn new(
        peer: PeerId,
        id: ConnectionId,
        conn: Arc<Conn>,
        requests: mpsc::Receiver<Request>,
        shared: Arc<Shared>,
    ) -> Self {
        Handler { peer, id, conn, requests, shared }
    }

    fn arrived(&self, name: &'static str, io: libp2p::Stream) {
        let accepted = self.shared.accepted();
        let Some(accepted) = accepted.iter().find(|accepted| accepted.name == name) else { return };
        self.shared.table().accepted(&self.peer, self.id, accepted.class);
        let Some(guard) = Guard::new(&self.conn, self.shared.max_inbound) else {
            self.shared.refused.inc();
            return;
        };
        let stream = Stream { io, _guard: Some(guard) };
        match accepted.queue.try_send(Inbound { peer: self.peer, protocol: name, stream }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.shared.refused.inc();
                tracing::debug!(peer = %self.peer, protocol = name, "inbound stream refused, the queue is full");
            }
            Err(mpsc::error::TrySendError::Closed(_)) => self.shared.forget_closed(),
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Listen;
    type OutboundProtocol = Propose;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Listen> {
        SubstreamProtocol::new(Listen(self.shared.accepted()), ()).with_timeout(self.shared.timeout)
    }

    fn connection_keep_alive(&self) -> bool {
        self.conn.keep.load(Ordering::Relaxed)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Propose, Reply, Infallible>> {
        loop {
            match self.requests.poll_recv(cx) {
                Poll::Ready(Some(Request::Open(_, reply))) if reply.is_closed() => {}
                Poll::Ready(Some(Request::Open(names, reply))) => {
                    let protocol = SubstreamProtocol::new(Propose(names), reply).with_timeout(self.shared.timeout);
                    return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
                }
                Poll::Ready(Some(Request::Refresh)) => {}
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Listen, Propose, (), Reply>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (name, io), .. }) => {
                self.arrived(name, io);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                // When the asker has gone the stream is dropped, which resets it.
                let _ = info.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let _ = info.send(Err(match error {
                    StreamUpgradeError::Timeout => OpenError::Timeout,
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Io(error) => OpenError::Io(error.to_string()),
                    StreamUpgradeError::Apply(never) => match never {},
                }));
            }
            _ => {}
        }
    }
}
