//! Sans-IO: what a multiaddress says, and which addresses may be dialled.

use std::net::{Ipv4Addr, Ipv6Addr};

use libp2p::multiaddr::Protocol;

use crate::base::{Multiaddr, PeerId};

/// Splits a trailing `/p2p/…` off.
pub(super) fn split(address: &Multiaddr) -> (Multiaddr, Option<PeerId>) {
    let mut rest = address.clone();
    match rest.pop() {
        Some(Protocol::P2p(peer)) => (rest, Some(peer)),
        _ => (address.clone(), None),
    }
}

/// Whether it is an address of this kind of machine or network only: loopback, private, link-local, or a name.
pub(super) fn is_local_or_named(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => is_local_v4(ip),
        Some(Protocol::Ip6(ip)) => is_local_v6(ip),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => true,
        _ => false,
    }
}

fn is_local_v4(ip: Ipv4Addr) -> bool {
    // 100.64/10 is shared address space, which overlay networks use as private.
    let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
    ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared
}

fn is_local_v6(ip: Ipv6Addr) -> bool {
    match ip.to_ipv4_mapped() {
        Some(ip) => is_local_v4(ip),
        None => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether it leads back to the machine that dials it.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

/// Whether this node has a transport for it, judged by its parts.
pub(super) fn is_supported(address: &Multiaddr) -> bool {
    let mut tcp = false;
    let mut quic = false;
    let mut named = false;
    for part in address.iter() {
        match part {
            Protocol::Ip4(ip) if ip.is_unspecified() => return false,
            Protocol::Ip6(ip) if ip.is_unspecified() => return false,
            Protocol::P2pCircuit
            | Protocol::Ws(_)
            | Protocol::Wss(_)
            | Protocol::Quic
            | Protocol::WebTransport
            | Protocol::WebRTCDirect => return false,
            Protocol::Tcp(0) | Protocol::Udp(0) => return false,
            Protocol::Tcp(_) => tcp = true,
            Protocol::QuicV1 => quic = true,
            Protocol::Dnsaddr(_) => named = true,
            _ => {}
        }
    }
    tcp || quic || named
}

/// Whether it is dialled over TCP.
pub(super) fn is_tcp(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Tcp(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn local_and_named_addresses_are_told_from_public_ones() {
        for local in ["/ip4/127.0.0.1/tcp/1", "/ip4/10.1.2.3/tcp/1", "/ip6/::1/tcp/1", "/ip6/fd00::1/tcp/1"] {
            assert!(is_local_or_named(&at(local)), "{local}");
        }
        for local in ["/dns4/node/tcp/1", "/ip4/192.168.0.9/udp/1/quic-v1", "/ip4/100.64.0.1/tcp/1"] {
            assert!(is_local_or_named(&at(local)), "{local}");
        }
        for public in ["/ip4/8.8.8.8/tcp/1", "/ip6/2001:4860::1/tcp/1", "/ip4/172.32.0.1/tcp/1", "/memory/5"] {
            assert!(!is_local_or_named(&at(public)), "{public}");
        }
    }

    #[test]
    fn addresses_without_a_transport_are_known() {
        assert!(is_supported(&at("/ip4/1.2.3.4/udp/1/quic-v1")));
        assert!(is_supported(&at("/dnsaddr/bootstrap.example")));
        for bad in ["/ip4/0.0.0.0/tcp/4001", "/ip4/1.2.3.4/tcp/0", "/ip4/1.2.3.4/udp/1", "/ip4/1.2.3.4/tcp/1/ws"] {
            assert!(!is_supported(&at(bad)), "{bad}");
        }
    }

    #[test]
    fn the_peer_id_is_split_off() {
        let peer = PeerId::random();
        let bare = at("/ip4/1.2.3.4/tcp/1");
        assert_eq!(split(&bare.clone().with_p2p(peer).unwrap()), (bare.clone(), Some(peer)));
        assert_eq!(split(&bare), (bare, None));
    }
}
