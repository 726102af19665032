//! Addresses as people type them: HOST:PORT or a multiaddress.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use libp2p::multiaddr::Protocol;

use super::ConfigError;
use crate::base::Multiaddr;

fn wrong(text: &str, reason: impl ToString) -> ConfigError {
    ConfigError::Address { text: text.chars().take(200).collect(), reason: reason.to_string() }
}

/// Splits HOST:PORT (`[::1]:80` for IPv6).
fn host_port(text: &str) -> Result<(String, u16), ConfigError> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong(text, "the port is missing"))?;
    let port = port.parse().map_err(|_| wrong(text, format!("'{port}' is no port (0 to 65535)")))?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains(['/', ' ']) {
        return Err(wrong(text, "the host is missing"));
    }
    Ok((host.to_owned(), port))
}

/// An address of a peer: a multiaddress as it is, HOST:PORT as TCP.
pub fn peer(text: &str) -> Result<Multiaddr, ConfigError> {
    if text.starts_with('/') {
        return text.parse().map_err(|e| wrong(text, e));
    }
    let (host, port) = host_port(text)?;
    let first = match host.parse() {
        Ok(IpAddr::V4(ip)) => Protocol::Ip4(ip),
        Ok(IpAddr::V6(ip)) => Protocol::Ip6(ip),
        Err(_) => Protocol::Dns(host.into()),
    };
    Ok(Multiaddr::empty().with(first).with(Protocol::Tcp(port)))
}

/// An address to listen on for the swarm: a multiaddress that has a transport.
pub fn swarm(text: &str) -> Result<Multiaddr, ConfigError> {
    let address = peer(text)?;
    if !address.iter().any(|p| matches!(p, Protocol::Tcp(_) | Protocol::Udp(_))) {
        return Err(wrong(text, "it names no /tcp/PORT or /udp/PORT/quic-v1"));
    }
    Ok(address)
}

/// An address of an API as host and port: HOST:PORT, `http://HOST:PORT`, or a multiaddress with `/tcp/`.
pub fn api(text: &str) -> Result<(String, u16), ConfigError> {
    let text = text.trim();
    if !text.starts_with('/') {
        let bare = text.strip_prefix("http://").unwrap_or(text);
        if bare.starts_with("https://") {
            return Err(wrong(text, "the API speaks plain http"));
        }
        return host_port(bare.split('/').next().unwrap_or(bare));
    }
    let address: Multiaddr = text.parse().map_err(|e| wrong(text, e))?;
    let (mut host, mut port) = (None, None);
    for part in address.iter() {
        match part {
            Protocol::Ip4(ip) => host = Some(ip.to_string()),
            Protocol::Ip6(ip) => host = Some(ip.to_string()),
            Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => host = Some(name.into_owned()),
            Protocol::Tcp(number) => port = Some(number),
            Protocol::Http => {}
            _ => return Err(wrong(text, "the API speaks http over TCP")),
        }
    }
    match (host, port) {
        (Some(host), Some(port)) => Ok((host, port)),
        _ => Err(wrong(text, "it names no host and /tcp/PORT")),
    }
}

/// Where the API is to listen: loopback only.
pub fn api_bind(text: &str) -> Result<SocketAddr, ConfigError> {
    let (host, port) = api(text)?;
    let mut found = (host.as_str(), port).to_socket_addrs().map_err(|e| wrong(text, e))?;
    let address = found.next().ok_or_else(|| wrong(text, "the name has no address"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(ConfigError::ApiNotLoopback { address: text.chars().take(200).collect() })
    }
}

/// A socket address as a multiaddress over TCP.
pub fn multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::empty().with(address.ip().into()).with(Protocol::Tcp(address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_host_port_or_multiaddress() {
        for (text, expected) in [
            ("10.0.0.1:4001", "/ip4/10.0.0.1/tcp/4001"),
            ("[::1]:4001", "/ip6/::1/tcp/4001"),
            ("master.lan:4001", "/dns/master.lan/tcp/4001"),
            ("/ip4/10.0.0.1/udp/4001/quic-v1", "/ip4/10.0.0.1/udp/4001/quic-v1"),
        ] {
            assert_eq!(peer(text).unwrap().to_string(), expected);
        }
        for text in ["", "master", "host:", ":80", "host:99999", "/ip4/1.2.3/tcp/1", "/nonsense", "a b:3"] {
            assert!(peer(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_api_is_found_in_urls_and_multiaddresses_and_binds_to_loopback() {
        for text in
            ["127.0.0.1:5001", "http://127.0.0.1:5001/", "/ip4/127.0.0.1/tcp/5001", "/ip4/127.0.0.1/tcp/5001/http"]
        {
            assert_eq!(api(text).unwrap(), ("127.0.0.1".into(), 5001), "{text}");
        }
        for text in ["/ip4/127.0.0.1/udp/5001", "/ip4/127.0.0.1", "https://localhost:1", "localhost"] {
            assert!(api(text).is_err(), "{text}");
        }
        assert_eq!(api_bind("127.0.0.1:0").unwrap().port(), 0);
        assert!(matches!(api_bind("0.0.0.0:5001"), Err(ConfigError::ApiNotLoopback { .. })));
        assert_eq!(multiaddr("[::1]:7".parse().unwrap()).to_string(), "/ip6/::1/tcp/7");
    }

    #[test]
    fn the_swarm_needs_a_transport() {
        assert!(swarm("/ip4/127.0.0.1/tcp/0").is_ok());
        assert!(swarm("/ip4/127.0.0.1").is_err());
    }
}
