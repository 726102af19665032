//! The DHT's messages on a stream (specs/kad-dht): an unsigned varint length, then a protobuf.

use std::io;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use prost::Message as _;

use super::super::{address, swarm::MAX_KAD_BYTES};
use crate::base::{Multiaddr, PeerId};

#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/ipfs_kit.kad.rs"));
}

pub(super) use generated::{Message, message::MessageType, message::Peer};

/// Addresses read of one peer in a message.
const MAX_ADDRESSES: usize = 32;
/// Peers read of one message.
const MAX_PEERS: usize = 64;

/// A question of a kind about a key.
pub(super) fn question(kind: MessageType, key: &[u8]) -> Message {
    Message { r#type: kind.into(), key: Bytes::copy_from_slice(key), ..Message::default() }
}

/// A peer as it stands in a message.
pub(super) fn peer(id: PeerId, addrs: &[Multiaddr]) -> Peer {
    let addrs = addrs.iter().map(|address| Bytes::from(address.to_vec())).collect();
    Peer { id: Bytes::from(id.to_bytes()), addrs, connection: 0 }
}

/// The peers of a message that can be understood; addresses without `/p2p/…`.
pub(super) fn peers(list: &[Peer]) -> impl Iterator<Item = (PeerId, Vec<Multiaddr>)> + '_ {
    list.iter().take(MAX_PEERS).filter_map(|peer| {
        let id = PeerId::from_bytes(&peer.id).ok()?;
        let addrs = peer.addrs.iter().take(MAX_ADDRESSES).filter_map(|bytes| {
            let (address, named) = address::split(&Multiaddr::try_from(bytes.to_vec()).ok()?);
            named.is_none_or(|named| named == id).then_some(address)
        });
        Some((id, addrs.collect()))
    })
}

/// Writes a message and flushes.
pub(super) async fn write<W: AsyncWrite + Unpin>(io: &mut W, message: &Message) -> io::Result<()> {
    io.write_all(&message.encode_length_delimited_to_vec()).await?;
    io.flush().await
}

/// Reads a message.
pub(super) async fn read<R: AsyncRead + Unpin>(io: &mut R) -> io::Result<Message> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let len = unsigned_varint::aio::read_usize(&mut *io).await.map_err(|error| invalid(error.to_string()))?;
    if len > MAX_KAD_BYTES {
        return Err(invalid(format!("a DHT message of {len} bytes is over the limit of {MAX_KAD_BYTES}")));
    }
    let mut bytes = vec![0; len];
    io.read_exact(&mut bytes).await?;
    Message::decode(bytes.as_slice()).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, io::Cursor};

    use super::*;

    #[test]
    fn messages_round_trip_and_large_ones_are_refused() {
        let id = PeerId::random();
        let addrs: Vec<Multiaddr> = vec!["/ip4/127.0.0.1/tcp/4001".parse().unwrap()];
        let mut message = question(MessageType::GetProviders, b"key");
        message.provider_peers.push(peer(id, &addrs));
        message.provider_peers.push(Peer { id: Bytes::from_static(b"nonsense"), ..Peer::default() });
        let mut out = Cursor::new(Vec::new());
        block_on(write(&mut out, &message)).unwrap();
        let bytes = out.into_inner();
        let back = block_on(read(&mut &bytes[..])).unwrap();
        assert_eq!(back, message);
        assert_eq!(peers(&back.provider_peers).collect::<Vec<_>>(), vec![(id, addrs)]);
        assert!(block_on(read(&mut &bytes[..bytes.len() - 1])).is_err());
        assert!(block_on(read(&mut &[0xff, 0xff, 0xff, 0x7f][..])).is_err());
        assert!(block_on(read(&mut &[0xff; 12][..])).is_err());
    }
}
