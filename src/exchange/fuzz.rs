//! Entry points of fuzz targets: messages of Bitswap, and their frames.

use bytes::Bytes;
use futures::executor::block_on;

use super::{
    frame,
    message::{self, Reply, Version},
};
use crate::base::fuzz::Input;

/// The body of a message that is written with its length.
fn body(segments: &[Bytes]) -> Bytes {
    block_on(async {
        let whole = segments.concat();
        let mut stream = &whole[..];
        let len = frame::read_length(&mut stream).await.expect("it has a length").expect("it is there");
        let body = frame::read_body(&mut stream, len, || {}).await.expect("it is as long as it says");
        assert!(stream.is_empty());
        body
    })
}

/// What a message says is what it says when it is written again, by every version; blocks are what their prefix says. The
/// first byte says whether a message follows, or a stream of them.
pub fn bitswap(data: &[u8]) {
    let mut input = Input(data);
    if input.byte() & 1 == 0 {
        message(Bytes::copy_from_slice(input.0));
        return;
    }
    let mut stream = input.0;
    while let Ok(Some(len)) = block_on(frame::read_length(&mut stream)) {
        let Ok(body) = block_on(frame::read_body(&mut stream, len, || {})) else { break };
        assert_eq!(body.len(), len);
        message(body);
    }
}

fn message(bytes: Bytes) {
    let Ok(incoming) = message::decode(bytes) else { return };
    if !incoming.entries.is_empty() || incoming.full {
        let again = message::decode(body(&[message::encode_wants(&incoming.entries, incoming.full, Version::V1_2)]));
        let again = again.expect("what was written is read");
        assert_eq!((again.entries, again.full), (incoming.entries, incoming.full));
    }
    let blocks: Vec<_> = incoming.blocks.into_iter().filter_map(|block| block.hash().ok()).collect();
    let reply = Reply {
        blocks: blocks.iter().map(|block| (*block.cid(), block.data().clone())).collect(),
        presences: incoming.presences,
        pending_bytes: 0,
    };
    for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
        let again = message::decode(body(&reply.encode(version))).expect("what was written is read");
        let data: Vec<_> = again.blocks.iter().map(|block| block.data.clone()).collect();
        assert_eq!(data, blocks.iter().map(|block| block.data().clone()).collect::<Vec<_>>());
        if version == Version::V1_2 {
            assert_eq!(again.presences, reply.presences);
            let hashed: Vec<_> = again.blocks.into_iter().map(|b| b.hash().expect("its own prefix")).collect();
            assert_eq!(hashed, blocks);
        }
    }
}
