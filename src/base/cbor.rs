//! CBOR to and from bytes, with a limit on what is read.

use serde::{Serialize, de::DeserializeOwned};

/// Why bytes are not the CBOR value expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CborError {
    /// More bytes than the reader allows.
    #[error("{bytes} bytes of CBOR are over the limit of {limit}")]
    TooLarge {
        /// How many there are.
        bytes: usize,
        /// How many may be.
        limit: usize,
    },
    /// Not CBOR, or not of the expected shape.
    #[error("malformed CBOR: {0}")]
    Malformed(String),
}

/// Nesting deeper than this is refused while decoding.
const MAX_DEPTH: usize = 64;

/// Encodes a value.
///
/// # Panics
/// When the value's `Serialize` fails, which none of this crate's types do.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).expect("writing to memory and plain data cannot fail");
    out
}

/// Decodes exactly one value from at most `limit` bytes; bytes left over are an error.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CborError> {
    if bytes.len() > limit {
        return Err(CborError::TooLarge { bytes: bytes.len(), limit });
    }
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH)
        .map_err(|e| CborError::Malformed(e.to_string()))?;
    if rest.is_empty() { Ok(value) } else { Err(CborError::Malformed(format!("{} bytes left over", rest.len()))) }
}
