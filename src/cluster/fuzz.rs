//! Entry points of fuzz targets: what members and strangers send in CBOR, and tokens.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    model::{Certificate, ClusterKey, Receipt, SignedSpec, Token},
    session::wire::{Down, Up},
    state::command::Entry,
};
use crate::base::cbor;

/// Most bytes read here; each kind of message has a limit of its own.
const LIMIT: usize = 128 * 1024;

/// What is read is the same when it is written and read again.
fn kept<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = cbor::from_slice(bytes, LIMIT).ok()?;
    let again: T = cbor::from_slice(&cbor::to_vec(&value), LIMIT * 2).expect("what was written is read");
    assert_eq!(again, value);
    Some(value)
}

/// Every message of the cluster: nothing that was not signed is believed.
pub fn messages(data: &[u8]) {
    let (kind, bytes) = data.split_first().unwrap_or((&0, &[]));
    let cluster = ClusterKey::from_seed([1; 32]).id();
    match kind % 7 {
        0 => {
            let text = String::from_utf8_lossy(bytes);
            if let Ok(token) = text.parse::<Token>() {
                assert_eq!(token.to_string().parse::<Token>().expect("what was written is read"), token);
            }
        }
        1 => drop(kept::<Certificate>(bytes).map(|certificate| assert!(certificate.verify(&cluster, 1).is_err()))),
        2 => drop(kept::<SignedSpec>(bytes).map(|spec| assert!(spec.verify(&cluster, 1).is_err()))),
        3 => drop(kept::<Receipt>(bytes).map(|receipt| assert!(receipt.verify(&cluster, 1).is_err()))),
        4 => drop(kept::<Up>(bytes)),
        5 => drop(kept::<Down>(bytes)),
        _ => drop(kept::<Entry>(bytes)),
    }
}
