//! Sans-IO: ids of clusters and tasks: 32-byte hashes written in multibase base32.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::IdError;

fn write_text(bytes: &[u8; 32]) -> String {
    let mut text = BASE32_NOPAD.encode(bytes);
    text.make_ascii_lowercase();
    text.insert(0, 'b');
    text
}

fn read_text(text: &str, what: &'static str) -> Result<[u8; 32], IdError> {
    let refuse = || IdError { text: text.chars().take(60).collect(), what };
    let body = text.strip_prefix('b').ok_or_else(refuse)?;
    if body.len() != 52 || body.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(refuse());
    }
    let bytes = BASE32_NOPAD.decode(body.to_ascii_uppercase().as_bytes()).map_err(|_| refuse())?;
    bytes.try_into().map_err(|_| refuse())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(#[serde(with = "serde_bytes")] pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&write_text(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Ok($name(read_text(text, $what)?))
            }
        }
    };
}

id!(
    /// Names a cluster: the SHA2-256 of its public key in libp2p's protobuf encoding.
    ClusterId,
    "a cluster id"
);
id!(
    /// Names a task: the SHA2-256 of its spec in CBOR, author and nonce included, so sending a spec again is harmless.
    TaskId,
    "a task id"
);

impl ClusterId {
    /// The id of the cluster with this public key (protobuf encoding).
    pub fn of_key(public_key: &[u8]) -> Self {
        ClusterId(Sha256::digest(public_key).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_and_read_back_and_nothing_else_is_read() {
        let id = TaskId(std::array::from_fn(|i| i as u8 * 7));
        let text = id.to_string();
        assert_eq!(text.len(), 53);
        assert_eq!(text.parse::<TaskId>().unwrap(), id);
        for bad in ["", "b", "bxyz", &text[1..], &text.to_uppercase(), &format!("{text}a"), &text.replace('a', "1")] {
            assert!(bad == text || bad.parse::<TaskId>().is_err(), "{bad}");
        }
        let error = "Qm".parse::<ClusterId>().unwrap_err().to_string();
        assert!(error.contains("a cluster id"), "{error}");
    }
}
