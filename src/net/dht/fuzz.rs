//! Entry points of fuzz targets: messages of the DHT.

use futures::executor::block_on;
use prost::Message as _;

use super::wire;

/// A message that is read is the same when it is written and read again; of its peers, addresses lead to nobody else.
pub(crate) fn message(data: &[u8]) {
    let mut stream = data;
    let Ok(message) = block_on(wire::read(&mut stream)) else { return };
    let written = message.encode_length_delimited_to_vec();
    assert_eq!(block_on(wire::read(&mut &written[..])).expect("what was written is read"), message);
    for list in [&message.closer_peers, &message.provider_peers] {
        for (peer, addresses) in wire::peers(list) {
            let again = wire::peer(peer, &addresses);
            assert_eq!(wire::peers(&[again]).collect::<Vec<_>>(), [(peer, addresses)]);
        }
    }
}
