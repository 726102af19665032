//! Sans-IO: the IPLD data model and the codecs that write and read it: DAG-PB, DAG-CBOR, DAG-JSON, CBOR, JSON and raw.
//!
//! Written canonically (the bytes are those of Kubo, so that CIDs agree), read strictly: one value, nothing behind it, no
//! repeated keys, at most [`MAX_DEPTH`] levels and [`MAX_INPUT_BYTES`]. No input makes a decoder panic or take more than
//! about fifty times its own size in memory.

mod cbor;
mod json;
pub mod names;
mod pbnode;
#[cfg(test)]
mod tests;

use super::DagError;
use crate::base::{Cid, Codec};

/// Deepest nesting of lists and maps that is read and written, as in Kubo.
pub const MAX_DEPTH: usize = 1024;
/// Most bytes read as one value. More than a block, for text forms are longer than what is stored.
pub const MAX_INPUT_BYTES: usize = 8 * 1024 * 1024;

/// A value of the IPLD data model (<https://ipld.io/docs/data-model/>).
#[derive(Debug, Clone, PartialEq)]
pub enum Ipld {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number, -2^64 to 2^64 - 1.
    Int(i128),
    /// A finite number with a fraction.
    Float(f64),
    /// Text.
    String(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<Ipld>),
    /// Values by name, in the order they were read; codecs that sort do it when they write.
    Map(Vec<(String, Ipld)>),
    /// A link to a block.
    Link(Box<Cid>),
}

/// The smallest whole number.
const MIN_INT: i128 = -(1 << 64);
/// The largest whole number.
const MAX_INT: i128 = (1 << 64) - 1;

impl Ipld {
    /// What a step of a path leads to: a map's value by its name, a list's by its number.
    pub fn step(&self, segment: &str) -> Option<&Ipld> {
        match self {
            Ipld::Map(entries) => entries.iter().find(|(key, _)| key == segment).map(|(_, value)| value),
            Ipld::List(items) => items.get(segment.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The kind's name.
    pub fn kind(&self) -> &'static str {
        match self {
            Ipld::Null => "null",
            Ipld::Bool(_) => "bool",
            Ipld::Int(_) => "int",
            Ipld::Float(_) => "float",
            Ipld::String(_) => "string",
            Ipld::Bytes(_) => "bytes",
            Ipld::List(_) => "list",
            Ipld::Map(_) => "map",
            Ipld::Link(_) => "link",
        }
    }
}

/// Writes a value.
///
/// Errors when the codec has no form for it: DAG-PB for all but its own nodes, JSON and CBOR for links (JSON for bytes
/// too), raw for all but bytes, DAG-JSON for maps that would be read as links or bytes.
pub fn encode(codec: Codec, value: &Ipld) -> Result<Vec<u8>, DagError> {
    match codec {
        Codec::Raw => match value {
            Ipld::Bytes(bytes) => Ok(bytes.clone()),
            other => Err(DagError::malformed("raw", format!("a {} is not bytes", other.kind()))),
        },
        Codec::DagPb => pbnode::encode(value),
        Codec::DagCbor => cbor::encode(value, cbor::Flavour::Dag),
        Codec::Cbor => cbor::encode(value, cbor::Flavour::Plain),
        Codec::DagJson => json::encode(value, json::Flavour::Dag),
        Codec::Json => json::encode(value, json::Flavour::Plain),
        Codec::Other(code) => Err(unknown(code)),
    }
}

/// Reads a value, which must be all there is.
pub fn decode(codec: Codec, bytes: &[u8]) -> Result<Ipld, DagError> {
    if bytes.len() > MAX_INPUT_BYTES {
        let (count, limit) = (bytes.len() as u64, MAX_INPUT_BYTES as u64);
        return Err(DagError::TooLarge { what: "bytes of a value", count, limit });
    }
    match codec {
        Codec::Raw => Ok(Ipld::Bytes(bytes.to_vec())),
        Codec::DagPb => pbnode::decode(bytes),
        Codec::DagCbor => cbor::decode(bytes, cbor::Flavour::Dag),
        Codec::Cbor => cbor::decode(bytes, cbor::Flavour::Plain),
        Codec::DagJson => json::decode(bytes, json::Flavour::Dag),
        Codec::Json => json::decode(bytes, json::Flavour::Plain),
        Codec::Other(code) => Err(unknown(code)),
    }
}

/// The CIDs in a DAG-JSON block, in the order they stand in.
pub(super) fn json_links(bytes: &[u8]) -> Result<Vec<Cid>, DagError> {
    let mut out = Vec::new();
    collect(&decode(Codec::DagJson, bytes)?, &mut out);
    Ok(out)
}

pub(super) fn collect(value: &Ipld, out: &mut Vec<Cid>) {
    match value {
        Ipld::Link(cid) => out.push(**cid),
        Ipld::List(items) => items.iter().for_each(|item| collect(item, out)),
        Ipld::Map(entries) => entries.iter().for_each(|(_, item)| collect(item, out)),
        _ => {}
    }
}

fn unknown(code: u64) -> DagError {
    DagError::UnknownCodec { code, name: names::codec(code) }
}

/// Checks that no key stands twice.
fn distinct(codec: &'static str, entries: &[(String, Ipld)]) -> Result<(), DagError> {
    let order = |pair: &[(String, Ipld)]| (pair[0].0.len(), &pair[0].0) < (pair[1].0.len(), &pair[1].0);
    // Sorted, as they mostly are, they cannot be the same.
    if entries.windows(2).all(order) || entries.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return Ok(());
    }
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    match entries.iter().find(|(key, _)| !seen.insert(key.as_str())) {
        None => Ok(()),
        Some((key, _)) => {
            let shown: String = key.chars().take(40).collect();
            Err(DagError::malformed(codec, format!("the key {shown:?} stands twice in a map")))
        }
    }
}
