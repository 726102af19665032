//! The one task that owns the swarm: it routes commands and events to the drivers and waits for nothing else.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use futures::StreamExt;
use libp2p::{
    core::transport::TransportError,
    identify,
    metrics::{Metrics, Recorder},
    multiaddr::Protocol,
    swarm::SwarmEvent,
};
use tokio::sync::mpsc;

use super::{
    dht,
    error::NetError,
    gossip,
    options::NetOptions,
    peers::{self, DialRequest},
    swarm::{BehaviourEvent, NetSwarm},
};
use crate::base::Multiaddr;

/// How often what has run out is dropped.
const TIDY: Duration = Duration::from_secs(60);
/// How long binding the listeners may take.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);

/// A call down into the swarm's task.
#[derive(Debug)]
pub(super) enum Command {
    /// Dial.
    Dial(DialRequest),
    /// For the DHT.
    Dht(dht::Command),
    /// For gossip.
    Gossip(gossip::Command),
}

/// The swarm's task.
pub(super) struct Service {
    pub(super) swarm: NetSwarm,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) verdicts: mpsc::Receiver<gossip::Verdict>,
    pub(super) peers: peers::Driver,
    pub(super) dht: dht::Driver,
    pub(super) gossip: gossip::Driver,
    pub(super) metrics: Metrics,
}

impl Service {
    /// Routes until the handles are gone.
    pub(super) async fn run(mut self) {
        let state = self.peers.state.clone();
        let mut tidy = tokio::time::interval(TIDY);
        tidy.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                Some(verdict) = self.verdicts.recv() => self.gossip.on_verdict(&mut self.swarm, verdict),
                () = state.bell.notified() => self.peers.fulfil_wishes(&mut self.swarm),
                _ = tidy.tick() => {
                    self.dht.tidy(&mut self.swarm);
                    self.gossip.tidy(&mut self.swarm);
                }
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        // A caller's wish comes before its next command.
        self.peers.fulfil_wishes(&mut self.swarm);
        match command {
            Command::Dial(request) => self.peers.dial(&mut self.swarm, request),
            Command::Dht(command) => self.dht.on_command(&mut self.swarm, command),
            Command::Gossip(command) => self.gossip.on_command(&mut self.swarm, command),
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        self.metrics.record(&event);
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => {
                self.metrics.record(&event);
                if let identify::Event::Received { peer_id, info, .. } = event {
                    // The routing table first, so that it knows the peer when others hear of it.
                    let addrs = self.peers.reachable(&peer_id, &info);
                    self.dht.identified(&mut self.swarm, peer_id, &info, &addrs);
                    self.peers.identified(peer_id, &info, &addrs);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => {
                self.metrics.record(&event);
                if self.peers.pinged(&event) {
                    tracing::debug!(peer = %event.peer, "closing a connection that does not answer pings");
                    self.swarm.close_connection(event.connection);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => {
                self.metrics.record(&event);
                self.dht.on_event(&mut self.swarm, event);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => {
                self.metrics.record(&event);
                self.gossip.on_event(&mut self.swarm, event);
            }
            event => {
                if let SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } = &event {
                    self.dht.unreachable(&mut self.swarm, *peer, error);
                }
                self.peers.on_event(&event);
            }
        }
    }

    /// Listens, and returns when every address is bound.
    pub(super) async fn listen(&mut self, addrs: &[Multiaddr], announce: &[Multiaddr]) -> Result<(), NetError> {
        let mut waiting = HashSet::new();
        for address in addrs {
            let failed = |error: io::Error| NetError::Listen {
                address: address.clone(),
                in_use: error.kind() == io::ErrorKind::AddrInUse,
                reason: error.to_string(),
            };
            probe(address).map_err(failed)?;
            let listening = self.swarm.listen_on(address.clone()).map_err(|error| match error {
                TransportError::Other(error) => failed(error),
                TransportError::MultiaddrNotSupported(_) => NetError::BadAddress {
                    address: address.to_string(),
                    reason: "only /ip4|ip6/ADDRESS/tcp/PORT and …/udp/PORT/quic-v1 can be listened on".into(),
                },
            })?;
            waiting.insert(listening);
        }
        for address in announce {
            self.swarm.add_external_address(address.clone());
        }
        let bound = async {
            while !waiting.is_empty() {
                let event = self.swarm.select_next_some().await;
                match &event {
                    SwarmEvent::NewListenAddr { listener_id, .. } => {
                        waiting.remove(listener_id);
                    }
                    SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. }
                        if waiting.contains(listener_id) =>
                    {
                        return Err(NetError::Setup { reason: format!("a listener ended: {error}") });
                    }
                    _ => {}
                }
                self.on_event(event);
            }
            Ok(())
        };
        match tokio::time::timeout(LISTEN_LIMIT, bound).await {
            Ok(done) => done,
            Err(_) => Err(NetError::Timeout { what: "listening", limit: LISTEN_LIMIT }),
        }
    }
}

/// Fails when the port is taken: libp2p shares ports, so its own bind would succeed beside another daemon's.
fn probe(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind(SocketAddr::new(ip, port)).map(drop),
        Some(Protocol::Udp(port)) if port != 0 => UdpSocket::bind(SocketAddr::new(ip, port)).map(drop),
        _ => Ok(()),
    }
}

/// The protocols that run inside the swarm.
pub(super) fn protocols(options: &NetOptions) -> Vec<String> {
    let mut names: Vec<String> = [
        "/ipfs/id/1.0.0",
        "/ipfs/id/push/1.0.0",
        "/ipfs/ping/1.0.0",
        "/meshsub/1.0.0",
        "/meshsub/1.1.0",
        "/meshsub/1.2.0",
    ]
    .map(str::to_owned)
    .into();
    if options.kad_server {
        names.push(options.kad_protocol.clone());
    }
    names
}
