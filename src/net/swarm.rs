//! How the swarm is built: transports, and the protocols that run inside it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Swarm, Transport, allow_block_list, connection_limits,
    connection_limits::ConnectionLimits,
    core::{
        Endpoint,
        muxing::StreamMuxerBox,
        transport::{Boxed, DialOpts, ListenerId, PortUse, TransportError, TransportEvent, timeout::TransportTimeout},
        upgrade::Version,
    },
    dns, gossipsub, identify, kad, noise, ping, quic, swarm,
    swarm::{NetworkBehaviour, StreamProtocol},
    tcp, yamux,
};
use prometheus_client::registry::Registry;

use super::{dht::Records, error::NetError, options::NetOptions, peers::Book, streams};
use crate::base::{Multiaddr, PeerId, Tasks};

/// Streams of one yamux connection.
const YAMUX_STREAMS: usize = 4093;
/// Topics one peer may subscribe to.
const MAX_TOPICS: usize = 100;
/// The largest DHT message, in bytes.
pub(super) const MAX_KAD_BYTES: usize = 64 * 1024;

/// Gossipsub as it is configured here.
pub(super) type Gossipsub = gossipsub::Behaviour<
    gossipsub::IdentityTransform,
    gossipsub::MaxCountSubscriptionFilter<gossipsub::AllowAllSubscriptionFilter>,
>;

/// The swarm.
pub(super) type NetSwarm = Swarm<Behaviour>;

/// Everything that runs inside the swarm. Guards come first: they may refuse a connection before the others see it.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) block_list: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) kad: kad::Behaviour<Records>,
    pub(super) gossip: Gossipsub,
    pub(super) streams: streams::Behaviour,
}

fn setup(error: impl std::fmt::Display) -> NetError {
    NetError::Setup { reason: error.to_string() }
}

/// Builds the swarm; connections run as tasks of `tasks`.
pub(super) fn build(
    options: &NetOptions,
    book: Arc<Book>,
    records: Records,
    streams: streams::Behaviour,
    registry: &mut Registry,
    tasks: &Tasks,
) -> Result<NetSwarm, NetError> {
    let limits = &options.limits;
    let local = options.keypair.public().to_peer_id();
    let connection_limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending_connections))
        .with_max_pending_outgoing(Some(limits.pending_connections))
        .with_max_established(Some(limits.connections))
        .with_max_established_per_peer(Some(limits.connections_per_peer));
    let identify = identify::Config::new("ipfs/0.1.0".into(), options.keypair.public())
        .with_agent_version(options.agent_version.clone())
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    let behaviour = Behaviour {
        block_list: allow_block_list::Behaviour::default(),
        limits: connection_limits::Behaviour::new(connection_limits),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(
            ping::Config::new().with_interval(Duration::from_secs(10)).with_timeout(Duration::from_secs(15)),
        ),
        kad: kademlia(options, local, records)?,
        gossip: gossipsub(options, registry)?,
        streams,
    };
    let tasks = tasks.clone();
    let config = swarm::Config::with_executor(move |connection| {
        tasks.spawn("connection", connection);
    })
    .with_idle_connection_timeout(limits.idle_timeout)
    .with_max_negotiating_inbound_streams(limits.inbound_streams_per_connection)
    .with_per_connection_event_buffer_size(64);
    Ok(Swarm::new(transport(options, book)?, behaviour, local, config))
}

fn kademlia(options: &NetOptions, local: PeerId, records: Records) -> Result<kad::Behaviour<Records>, NetError> {
    let mut config = kad::Config::new(StreamProtocol::try_from_owned(options.kad_protocol.clone()).map_err(setup)?);
    config
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_max_packet_size(MAX_KAD_BYTES)
        // Providing again is up to the floor above, which knows what is still held.
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_query_timeout(Duration::from_secs(30));
    let mut kad = kad::Behaviour::with_config(local, records, config);
    kad.set_mode(Some(if options.kad_server { kad::Mode::Server } else { kad::Mode::Client }));
    Ok(kad)
}

fn gossipsub(options: &NetOptions, registry: &mut Registry) -> Result<Gossipsub, NetError> {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(options.limits.gossip_message_bytes + 4096)
        .mesh_outbound_min(1)
        .mesh_n_low(3)
        .mesh_n(5)
        .mesh_n_high(8)
        .flood_publish(true)
        // With the default of 10 s a peer that left and came back would be kept out of the mesh for as long.
        .unsubscribe_backoff(Duration::from_secs(2))
        .connection_handler_queue_len(1024)
        .build()
        .map_err(setup)?;
    let filter = gossipsub::MaxCountSubscriptionFilter {
        filter: gossipsub::AllowAllSubscriptionFilter {},
        max_subscribed_topics: MAX_TOPICS,
        max_subscriptions_per_request: MAX_TOPICS,
    };
    let signed = gossipsub::MessageAuthenticity::Signed(options.keypair.clone());
    let gossip = Gossipsub::new_with_subscription_filter(signed, config, filter).map_err(setup)?;
    let registry = registry.sub_registry_with_prefix("gossipsub");
    Ok(gossip.with_metrics(registry, gossipsub::MetricsConfig::default()))
}

fn transport(options: &NetOptions, book: Arc<Book>) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    let limit = options.limits.dial_timeout;
    // Without the file the system's resolver is the host's own; names in /etc/hosts work all the same.
    let inner = match dns::tokio::Transport::system(sockets(options)?) {
        Ok(transport) => transport.boxed(),
        Err(error) => {
            tracing::warn!(%error, "no resolver is configured; only names in /etc/hosts are found");
            let (config, opts) = (dns::ResolverConfig::default(), dns::ResolverOpts::default());
            dns::tokio::Transport::custom(sockets(options)?, config, opts).boxed()
        }
    };
    Ok(TransportTimeout::new(Guarded { inner, book }, limit).boxed())
}

fn sockets(options: &NetOptions) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    let mut yamux = yamux::Config::default();
    // A side effect is wanted: the crate divides a fixed 1 GiB among this many streams, so no window grows past 1 MiB.
    // js-libp2p sends a frame as large as the window it is given, and this crate ends connections over larger frames.
    yamux.set_max_num_streams(YAMUX_STREAMS);
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&options.keypair).map_err(setup)?)
        .multiplex(yamux)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let mut config = quic::Config::new(&options.keypair);
    config.max_concurrent_stream_limit = u32::try_from(options.limits.streams_per_connection).unwrap_or(u32::MAX);
    let quic = quic::tokio::Transport::new(config).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed())
}

/// Refuses to dial what the profile forbids, whoever in the swarm asks for it.
struct Guarded<T> {
    inner: T,
    book: Arc<Book>,
}

impl<T> Transport for Guarded<T>
where
    T: Transport<Error = io::Error> + Unpin,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, mut opts: DialOpts) -> Result<T::Dial, TransportError<io::Error>> {
        if opts.role == Endpoint::Dialer && self.book.is_own(&address) {
            return Err(TransportError::Other(io::Error::other("this node listens there itself")));
        }
        if !self.book.may_dial(&address) {
            let reason = "this profile dials private addresses only; connect to it by its full address to allow it";
            return Err(TransportError::Other(io::Error::new(io::ErrorKind::PermissionDenied, reason)));
        }
        if opts.role == Endpoint::Dialer {
            // A second connection between the same two ports cannot exist.
            opts.port_use = PortUse::New;
        }
        self.inner.dial(address, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Keypair;

    #[tokio::test]
    async fn names_need_no_resolver_to_be_configured() {
        let options = NetOptions::new(Keypair::generate_ed25519());
        let (config, opts) = (dns::ResolverConfig::default(), dns::ResolverOpts::default());
        let mut transport = dns::tokio::Transport::custom(sockets(&options).unwrap(), config, opts).boxed();
        let dial = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let address = "/dns4/localhost/tcp/1".parse().unwrap();
        let error = transport.dial(address, dial).unwrap().await.map(drop).unwrap_err();
        // It was resolved from /etc/hosts, and nobody listens there.
        assert!(format!("{error:?} {error}").to_lowercase().contains("refused"), "{error:?}");
    }
}
