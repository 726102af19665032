//! A block: bytes together with the content id they were found to hash to.

use bytes::Bytes;

use super::cid::{self, Cid, CidError, Codec, Hash};

/// Largest block admitted anywhere, in bytes (the Bitswap specification's limit).
pub const MAX_BLOCK_BYTES: usize = 2 * 1024 * 1024;

/// Bytes and the content id they hash to. No constructor skips the hashing, so an unverified block cannot exist.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    cid: Cid,
    data: Bytes,
}

/// Why bytes do not make a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// More than [`MAX_BLOCK_BYTES`].
    #[error("a block of {bytes} bytes is over the limit of {MAX_BLOCK_BYTES} bytes")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The bytes hash to something else than was claimed.
    #[error("the bytes claimed to be {claimed} hash to {actual}")]
    Mismatch {
        /// What they were said to be.
        claimed: Box<Cid>,
        /// What they are.
        actual: Box<Cid>,
    },
    /// The content id is not admitted.
    #[error(transparent)]
    Cid(#[from] CidError),
}

impl Block {
    /// Hashes `data` into a CIDv1 block.
    pub fn new(codec: Codec, hash: Hash, data: impl Into<Bytes>) -> Result<Self, BlockError> {
        let data = check_size(data.into())?;
        let cid = Cid::new_v1(codec.code(), hash.digest(&data)?);
        Ok(Block { cid, data })
    }

    /// Hashes `data` into a CIDv0 block (DAG-PB, SHA2-256).
    pub fn new_v0(data: impl Into<Bytes>) -> Result<Self, BlockError> {
        let data = check_size(data.into())?;
        let cid = Cid::new_v0(Hash::Sha2_256.digest(&data)?)
            .map_err(|e| CidError::Malformed { text: "<computed>".into(), reason: e.to_string() })?;
        Ok(Block { cid, data })
    }

    /// Hashes `data` and requires that it is what `cid` names.
    pub fn verify(cid: Cid, data: impl Into<Bytes>) -> Result<Self, BlockError> {
        let data = check_size(data.into())?;
        let hash = cid::admit(&cid)?;
        let digest = hash.digest(&data)?;
        // Truncated digests are legal multihashes: what is there must be a prefix of the whole.
        if digest.digest().starts_with(cid.hash().digest()) && digest.digest().len() >= cid.hash().digest().len() {
            if hash == Hash::Identity && digest.digest().len() != cid.hash().digest().len() {
                return Err(mismatch(cid, digest));
            }
            return Ok(Block { cid, data });
        }
        Err(mismatch(cid, digest))
    }

    /// The content id.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// The bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The bytes, without the content id.
    pub fn into_data(self) -> Bytes {
        self.data
    }
}

fn check_size(data: Bytes) -> Result<Bytes, BlockError> {
    if data.len() > MAX_BLOCK_BYTES { Err(BlockError::TooLarge { bytes: data.len() }) } else { Ok(data) }
}

fn mismatch(claimed: Cid, digest: cid::Multihash) -> BlockError {
    let actual = Cid::new_v1(claimed.codec(), digest);
    BlockError::Mismatch { claimed: Box::new(claimed), actual: Box::new(actual) }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({}, {} bytes)", self.cid, self.data.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constructor_hashes() {
        let block = Block::new(Codec::Raw, Hash::Sha2_256, &b"hello world"[..]).unwrap();
        assert_eq!(block.cid().to_string(), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
        Block::verify(*block.cid(), &b"hello world"[..]).unwrap();
        assert!(matches!(Block::verify(*block.cid(), &b"hello w0rld"[..]), Err(BlockError::Mismatch { .. })));
        assert!(matches!(
            Block::new_v0(vec![0u8; MAX_BLOCK_BYTES + 1]),
            Err(BlockError::TooLarge { bytes }) if bytes == MAX_BLOCK_BYTES + 1
        ));
    }

    #[test]
    fn identity_blocks_must_match_exactly() {
        let block = Block::new(Codec::Raw, Hash::Identity, &b"abc"[..]).unwrap();
        assert!(Block::verify(*block.cid(), &b"abcd"[..]).is_err());
        Block::verify(*block.cid(), &b"abc"[..]).unwrap();
    }

    #[test]
    fn every_listed_hash_works() {
        for code in (0x11..=0x17).chain(0x19..=0x1e).chain([0x56]).chain(0xb214..=0xb240).chain(0xb254..=0xb260) {
            let block = Block::new(Codec::Raw, Hash::from_code(code).unwrap(), &b"x"[..]).unwrap();
            Block::verify(*block.cid(), &b"x"[..]).unwrap();
        }
    }
}
