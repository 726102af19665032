//! Sans-IO: finds the links in a DAG-CBOR block (tag 42, <https://ipld.io/specs/codecs/dag-cbor/spec/>) without building
//! its values.

use super::{DagError, codec::MAX_DEPTH, pb::MAX_LINKS};
use crate::base::{Cid, MAX_BLOCK_BYTES};

const CODEC: &str = "dag-cbor";

/// The CIDs in a block, in the order they stand in.
///
/// Refused: what DAG-CBOR forbids (indefinite lengths, other tags, bytes left over), nesting over 1,024, over 65,536 links.
pub fn link_cids(bytes: &[u8]) -> Result<Vec<Cid>, DagError> {
    let err = |reason: &str| DagError::malformed(CODEC, reason);
    if bytes.len() > MAX_BLOCK_BYTES {
        let (count, limit) = (bytes.len() as u64, MAX_BLOCK_BYTES as u64);
        return Err(DagError::TooLarge { what: "bytes in a dag-cbor block", count, limit });
    }
    let mut cids = Vec::new();
    let mut rest = bytes;
    // How many items are still to be read on each level of nesting.
    let mut open = vec![1u64];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        let (major, argument) = head(&mut rest)?;
        match major {
            0 | 1 | 7 => {}
            2 | 3 => {
                take(&mut rest, argument)?;
            }
            4 | 5 => {
                let items = if major == 5 { argument.checked_mul(2) } else { Some(argument) };
                // Each item takes at least a byte, so more cannot be there.
                let items = items.filter(|n| *n <= rest.len() as u64).ok_or_else(|| err("truncated"))?;
                // The first of them is the block itself.
                if open.len() > MAX_DEPTH {
                    return Err(err("nested too deeply"));
                }
                open.push(items);
            }
            6 if argument == 42 => {
                let (major, len) = head(&mut rest)?;
                let content = take(&mut rest, len)?;
                let cid = match (major, content) {
                    (2, [0, cid @ ..]) => super::exact_cid(CODEC, cid)?,
                    _ => return Err(err("a link that is not a CID")),
                };
                cids.push(cid);
                if cids.len() > MAX_LINKS {
                    let (count, limit) = (cids.len() as u64, MAX_LINKS as u64);
                    return Err(DagError::TooLarge { what: "links in a dag-cbor block", count, limit });
                }
            }
            _ => return Err(err("a tag other than 42")),
        }
    }
    if rest.is_empty() { Ok(cids) } else { Err(err("bytes left over")) }
}

fn head(rest: &mut &[u8]) -> Result<(u8, u64), DagError> {
    let first = take(rest, 1)?[0];
    let argument = match first & 0x1f {
        small @ 0..=23 => u64::from(small),
        size @ 24..=27 => take(rest, 1 << (size - 24))?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        _ => return Err(DagError::malformed(CODEC, "an indefinite or reserved length")),
    };
    Ok((first >> 5, argument))
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8], DagError> {
    let truncated = || DagError::malformed(CODEC, "truncated");
    let len = usize::try_from(len).map_err(|_| truncated())?;
    let (head, tail) = rest.split_at_checked(len).ok_or_else(truncated)?;
    *rest = tail;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = link_cids(&bytes);
        }
    }

    /// As deep as values are read, links are found.
    #[test]
    fn the_deepest_value_is_read() {
        let deep = |levels: usize| [&[0x81].repeat(levels - 1)[..], &[0x80]].concat();
        assert_eq!(link_cids(&deep(MAX_DEPTH)), Ok(Vec::new()));
        assert!(link_cids(&deep(MAX_DEPTH + 1)).is_err());
    }

    #[test]
    fn bombs_are_refused() {
        assert!(link_cids(&[0x81; 5000]).is_err(), "nested arrays");
        assert!(link_cids(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err(), "a huge array");
        assert!(link_cids(&[0xd8, 0x2a, 0x41, 0x01]).is_err(), "tag 42 without the zero byte");
        assert!(link_cids(&[0x00, 0x00]).is_err(), "two values");
        assert!(link_cids(&[]).is_err(), "none");
        assert!(link_cids(&[0xa0]).unwrap().is_empty());
    }
}
