//! Sans-IO: what the network is told at its start.

use std::time::Duration;

use crate::base::{Keypair, Multiaddr};

/// What the network is told at its start.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// The node's identity.
    pub keypair: Keypair,
    /// Where to listen; an unspecified address (`0.0.0.0`) means all interfaces, port 0 any free port. Every one must
    /// work, else the start fails.
    pub listen: Vec<Multiaddr>,
    /// What identify tells others, `ipfs-kit/<version>`.
    pub agent_version: String,
    /// The DHT's protocol name, such as `/ipfs/lan/kad/1.0.0`.
    pub kad_protocol: String,
    /// Whether this node answers DHT queries and keeps records for others.
    pub kad_server: bool,
    /// Profile `local`: of the addresses learnt from strangers only loopback, private and named ones are dialled. Those
    /// the operator or the cluster gave ([`super::Peers::connect`], [`super::Peers::add_address`]) always are.
    pub local_only: bool,
    /// Addresses to announce beside the ones listened on.
    pub announce: Vec<Multiaddr>,
    /// The limits.
    pub limits: NetLimits,
}

impl NetOptions {
    /// A node on free loopback ports of TCP, in profile `local`, serving the LAN's DHT.
    pub fn new(keypair: Keypair) -> Self {
        NetOptions {
            keypair,
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("a constant multiaddress parses")],
            agent_version: concat!("ipfs-kit/", env!("CARGO_PKG_VERSION")).into(),
            kad_protocol: "/ipfs/lan/kad/1.0.0".into(),
            kad_server: true,
            local_only: true,
            announce: Vec::new(),
            limits: NetLimits::default(),
        }
    }
}

/// How much the network may take.
#[derive(Clone, Debug)]
pub struct NetLimits {
    /// Connections in all.
    pub connections: u32,
    /// Connections with one peer.
    pub connections_per_peer: u32,
    /// Connections being set up, each way.
    pub pending_connections: u32,
    /// Inbound streams of our own protocols open at once on one connection.
    pub inbound_streams_per_connection: usize,
    /// Streams of any protocol on one QUIC connection, both ways (TCP: see `YAMUX_STREAMS` in `swarm.rs`).
    pub streams_per_connection: usize,
    /// How long a connection without streams is kept.
    pub idle_timeout: Duration,
    /// How long dialling a peer may take.
    pub dial_timeout: Duration,
    /// How long negotiating a stream may take.
    pub open_timeout: Duration,
    /// Provider records kept for others.
    pub remote_records: usize,
    /// Peers whose addresses are remembered.
    pub known_peers: usize,
    /// Addresses remembered of one peer.
    pub addresses_per_peer: usize,
    /// The largest gossip message, in bytes.
    pub gossip_message_bytes: usize,
}

impl Default for NetLimits {
    fn default() -> Self {
        NetLimits {
            connections: 1024,
            connections_per_peer: 8,
            pending_connections: 256,
            inbound_streams_per_connection: 512,
            streams_per_connection: 2048,
            idle_timeout: Duration::from_secs(60),
            dial_timeout: Duration::from_secs(10),
            open_timeout: Duration::from_secs(10),
            remote_records: 100_000,
            known_peers: 10_000,
            addresses_per_peer: 16,
            gossip_message_bytes: 64 * 1024,
        }
    }
}
