//! Sans-IO: DAG-PB, the node format of UnixFS (<https://ipld.io/specs/codecs/dag-pb/spec/>): canonical when written,
//! strict when read.

use bytes::Bytes;

use super::{
    DagError, ImportParams, OutBlock,
    wire::{self, Reader, Value},
};
use crate::base::{Cid, MAX_BLOCK_BYTES};

/// Most links read from one node. A node of the largest block size with real CIDs has fewer than 55,000.
pub const MAX_LINKS: usize = 65_536;

const CODEC: &str = "dag-pb";

/// One link of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PbLink {
    /// Where it leads.
    pub cid: Cid,
    /// Its name; empty in files.
    pub name: Vec<u8>,
    /// Bytes of the whole DAG below, as its author says: block sizes added up, repeated ones repeated.
    pub tsize: u64,
}

/// A DAG-PB node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PbNode {
    /// The links, in the order they stand in.
    pub links: Vec<PbLink>,
    /// The data; UnixFS puts its own message here.
    pub data: Option<Bytes>,
}

impl PbNode {
    /// The canonical bytes: links before data, each link with CID, name and size, in the order given.
    pub fn encode(&self) -> Vec<u8> {
        let data_len = self.data.as_ref().map_or(0, |data| data.len() + 6);
        let mut out = Vec::with_capacity(data_len + self.links.iter().map(|l| l.name.len() + 60).sum::<usize>());
        for link in &self.links {
            let cid = link.cid.to_bytes();
            let len = 1
                + wire::varint_len(cid.len() as u64)
                + cid.len()
                + 1
                + wire::varint_len(link.name.len() as u64)
                + link.name.len()
                + 1
                + wire::varint_len(link.tsize);
            wire::put_varint(&mut out, 2 << 3 | 2);
            wire::put_varint(&mut out, len as u64);
            wire::put_bytes(&mut out, 1, &cid);
            wire::put_bytes(&mut out, 2, &link.name);
            wire::put_number(&mut out, 3, link.tsize);
        }
        if let Some(data) = &self.data {
            wire::put_bytes(&mut out, 1, data);
        }
        out
    }

    /// The node's block by these parameters, and the size of the whole DAG below.
    pub fn into_block(self, params: &ImportParams) -> Result<(OutBlock, u64), DagError> {
        let links = self.links.iter().map(|link| link.cid).collect();
        let below = self.links.iter().fold(0u64, |sum, link| sum.saturating_add(link.tsize));
        let block = params.pb_block(self.encode())?;
        let tsize = below.saturating_add(block.data().len() as u64);
        Ok((OutBlock { block, links }, tsize))
    }

    /// Reads a node; its data is a slice of `bytes`, not a copy.
    pub fn decode_shared(bytes: &Bytes) -> Result<Self, DagError> {
        let mut node = PbNode::default();
        let data = walk(bytes, |link| {
            let (name, tsize) = (link.name.unwrap_or_default().to_vec(), link.tsize.unwrap_or(0));
            node.links.push(PbLink { cid: link.cid, name, tsize });
        })?;
        node.data = data.map(|data| bytes.slice_ref(data));
        Ok(node)
    }

    /// Reads a node.
    ///
    /// Refused: unknown or repeated fields, links after data after links, links without a CID, links' fields out of
    /// order, numbers over 64 bits, lengths beyond the end, more than [`MAX_LINKS`] links, blocks over the size limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, DagError> {
        Self::decode_shared(&Bytes::copy_from_slice(bytes))
    }
}

/// A node's data, its links checked and not kept.
pub fn data(bytes: &Bytes) -> Result<Option<Bytes>, DagError> {
    Ok(walk(bytes, |_| {})?.map(|data| bytes.slice_ref(data)))
}

/// The CIDs of a node's links, in order, without keeping anything else.
pub fn link_cids(bytes: &[u8]) -> Result<Vec<Cid>, DagError> {
    let mut cids = Vec::new();
    walk(bytes, |link| cids.push(link.cid))?;
    Ok(cids)
}

/// A link as it stands in a node; what is absent is not the same as what is empty.
pub(super) struct RawLink<'a> {
    pub cid: Cid,
    pub name: Option<&'a [u8]>,
    pub tsize: Option<u64>,
}

/// Goes through a node's links; gives its data.
pub(super) fn walk<'a>(bytes: &'a [u8], mut each: impl FnMut(RawLink<'a>)) -> Result<Option<&'a [u8]>, DagError> {
    if bytes.len() > MAX_BLOCK_BYTES {
        let (count, limit) = (bytes.len() as u64, MAX_BLOCK_BYTES as u64);
        return Err(DagError::TooLarge { what: "bytes in a dag-pb node", count, limit });
    }
    let mut reader = Reader::new(CODEC, bytes);
    let mut data = None;
    let mut links = 0usize;
    let mut links_ended = false;
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Value::Bytes(_)) if data.is_some() => return Err(reader.err("the data stands twice")),
            (1, Value::Bytes(bytes)) => {
                data = Some(bytes);
                links_ended = links > 0;
            }
            (2, Value::Bytes(_)) if links_ended => return Err(reader.err("links on both sides of the data")),
            (2, Value::Bytes(bytes)) => {
                links += 1;
                if links > MAX_LINKS {
                    let limit = MAX_LINKS as u64;
                    return Err(DagError::TooLarge { what: "links in a dag-pb node", count: links as u64, limit });
                }
                each(link(bytes)?);
            }
            _ => return Err(reader.err(format!("a node has no field {field} of this type"))),
        }
    }
    Ok(data)
}

fn link(bytes: &[u8]) -> Result<RawLink<'_>, DagError> {
    let mut reader = Reader::new(CODEC, bytes);
    let (mut cid, mut name, mut tsize) = (None, None, None);
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Value::Bytes(bytes)) if cid.is_none() && name.is_none() && tsize.is_none() => {
                cid = Some(super::exact_cid(CODEC, bytes)?);
            }
            (2, Value::Bytes(bytes)) if name.is_none() && tsize.is_none() => name = Some(bytes),
            (3, Value::Varint(number)) if tsize.is_none() => tsize = Some(number),
            _ => return Err(reader.err(format!("a link's field {field} is repeated, misplaced or unknown"))),
        }
    }
    let cid = cid.ok_or_else(|| reader.err("a link without a CID"))?;
    Ok(RawLink { cid, name, tsize })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::{Block, Codec, Hash};

    fn cid(byte: u8) -> Cid {
        *Block::new(Codec::Raw, Hash::Sha2_256, vec![byte]).unwrap().cid()
    }

    fn node() -> impl Strategy<Value = PbNode> {
        let link = (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..20), any::<u64>());
        let data = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50));
        (proptest::collection::vec(link, 0..8), data).prop_map(|(links, data)| PbNode {
            links: links.into_iter().map(|(b, name, tsize)| PbLink { cid: cid(b), name, tsize }).collect(),
            data: data.map(Bytes::from),
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(node in node()) {
            let bytes = node.encode();
            prop_assert_eq!(&PbNode::decode(&bytes).unwrap(), &node);
            prop_assert_eq!(link_cids(&bytes).unwrap(), node.links.iter().map(|l| l.cid).collect::<Vec<_>>());
        }

        #[test]
        fn damage_never_panics(node in node(), at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let mut bytes = node.encode();
            prop_assume!(!bytes.is_empty());
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = PbNode::decode(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            let _ = PbNode::decode(&bytes);
        }
    }

    #[test]
    fn contradictory_nodes_are_refused() {
        let good = PbNode { links: vec![PbLink { cid: cid(1), name: b"a".to_vec(), tsize: 1 }], data: None }.encode();
        let twice_data = [0x0a, 1, b'x', 0x0a, 1, b'y'];
        let both_sides = [&good[..], &[0x0a, 0], &good].concat();
        let before = [&[0x0a, 0], &good[..], &good].concat();
        assert!(PbNode::decode(&twice_data).is_err());
        assert!(PbNode::decode(&both_sides).is_err());
        assert_eq!(PbNode::decode(&before).unwrap().links.len(), 2, "data first is how old writers did it");
        assert!(PbNode::decode(&[0x12, 0]).is_err(), "a link without a CID");
        assert!(PbNode::decode(&[0x1a, 0]).is_err(), "an unknown field");
        assert!(PbNode::decode(&good[..good.len() - 1]).is_err());
        // Name before CID, and the name twice.
        let c = cid(1).to_bytes();
        let mut swapped = Vec::new();
        wire::put_bytes(&mut swapped, 2, b"n");
        wire::put_bytes(&mut swapped, 1, &c);
        let mut doubled = Vec::new();
        wire::put_bytes(&mut doubled, 1, &c);
        wire::put_bytes(&mut doubled, 2, b"n");
        wire::put_bytes(&mut doubled, 2, b"n");
        for inner in [swapped, doubled] {
            let mut outer = Vec::new();
            wire::put_bytes(&mut outer, 2, &inner);
            assert!(PbNode::decode(&outer).is_err());
        }
    }

    #[test]
    fn floods_of_links_are_refused() {
        let mut tiny = Vec::new();
        wire::put_bytes(&mut tiny, 1, &[1, 0x55, 0, 0]);
        let mut bytes = Vec::new();
        for _ in 0..=MAX_LINKS {
            wire::put_bytes(&mut bytes, 2, &tiny);
        }
        assert!(matches!(PbNode::decode(&bytes), Err(DagError::TooLarge { .. })));
        assert!(matches!(PbNode::decode(&vec![0; MAX_BLOCK_BYTES + 1]), Err(DagError::TooLarge { .. })));
    }
}
