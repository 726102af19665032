//! Sans-IO: DAG-CBOR (<https://ipld.io/specs/codecs/dag-cbor/spec/>) and, without links and without sorting, CBOR.

use super::{DagError, Ipld, MAX_DEPTH, MAX_INT, MIN_INT, distinct};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// Links as tag 42, keys sorted by length and bytes, floats of 64 bits only.
    Dag,
    /// No links; keys in the order they are given; shorter floats are read.
    Plain,
}

impl Flavour {
    fn name(self) -> &'static str {
        match self {
            Flavour::Dag => "dag-cbor",
            Flavour::Plain => "cbor",
        }
    }
}

pub(super) fn encode(value: &Ipld, flavour: Flavour) -> Result<Vec<u8>, DagError> {
    let mut out = Vec::new();
    put(&mut out, value, flavour, 0)?;
    Ok(out)
}

fn put(out: &mut Vec<u8>, value: &Ipld, flavour: Flavour, depth: usize) -> Result<(), DagError> {
    let err = |reason: &str| Err(DagError::malformed(flavour.name(), reason));
    if depth > MAX_DEPTH {
        return err("nested too deeply");
    }
    match value {
        Ipld::Null => out.push(0xf6),
        Ipld::Bool(false) => out.push(0xf4),
        Ipld::Bool(true) => out.push(0xf5),
        Ipld::Int(n @ 0..=MAX_INT) => head(out, 0, *n as u64),
        Ipld::Int(n @ MIN_INT..0) => head(out, 1, (-1 - n) as u64),
        Ipld::Int(_) => return err("a number of more than 64 bits"),
        Ipld::Float(n) if n.is_finite() => {
            out.push(0xfb);
            out.extend_from_slice(&n.to_bits().to_be_bytes());
        }
        Ipld::Float(_) => return err("a number that is not finite"),
        Ipld::String(text) => text_of(out, 3, text.as_bytes()),
        Ipld::Bytes(bytes) => text_of(out, 2, bytes),
        Ipld::List(items) => {
            head(out, 4, items.len() as u64);
            items.iter().try_for_each(|item| put(out, item, flavour, depth + 1))?;
        }
        Ipld::Map(entries) => {
            head(out, 5, entries.len() as u64);
            let mut order: Vec<&(String, Ipld)> = entries.iter().collect();
            if flavour == Flavour::Dag {
                order.sort_by(|a, b| (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)));
            }
            for (key, item) in order {
                text_of(out, 3, key.as_bytes());
                put(out, item, flavour, depth + 1)?;
            }
        }
        Ipld::Link(cid) if flavour == Flavour::Dag => {
            let cid = cid.to_bytes();
            out.extend_from_slice(&[0xd8, 0x2a]);
            head(out, 2, cid.len() as u64 + 1);
            out.push(0);
            out.extend_from_slice(&cid);
        }
        Ipld::Link(_) => return err("links cannot be written; use dag-cbor"),
    }
    Ok(())
}

fn text_of(out: &mut Vec<u8>, major: u8, bytes: &[u8]) {
    head(out, major, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    match argument {
        0..=23 => out.push(major | argument as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

/// A list or map whose items are still coming.
enum Open {
    List { left: u64, items: Vec<Ipld> },
    Map { left: u64, entries: Vec<(String, Ipld)>, key: Option<String> },
}

pub(super) fn decode(bytes: &[u8], flavour: Flavour) -> Result<Ipld, DagError> {
    let mut reader = Reader { rest: bytes, flavour };
    let mut open: Vec<Open> = Vec::new();
    loop {
        // A map's key comes before its value.
        if let Some(Open::Map { key: key @ None, left: 1.., .. }) = open.last_mut() {
            *key = Some(reader.key()?);
        }
        let mut value = match reader.item()? {
            Item::Value(value) => value,
            Item::List(left) => {
                reader.deeper(&open)?;
                if left > 0 {
                    open.push(Open::List { left, items: Vec::new() });
                    continue;
                }
                Ipld::List(Vec::new())
            }
            Item::Map(left) => {
                reader.deeper(&open)?;
                if left > 0 {
                    open.push(Open::Map { left, entries: Vec::new(), key: None });
                    continue;
                }
                Ipld::Map(Vec::new())
            }
        };
        // What is complete completes what it stands in.
        loop {
            match open.last_mut() {
                None if reader.rest.is_empty() => return Ok(value),
                None => return Err(reader.err("bytes left over")),
                Some(Open::List { left, items }) => {
                    items.push(value);
                    *left -= 1;
                    if *left > 0 {
                        break;
                    }
                }
                Some(Open::Map { left, entries, key }) => {
                    entries.push((key.take().unwrap_or_default(), value));
                    *left -= 1;
                    if *left > 0 {
                        break;
                    }
                    distinct(flavour.name(), entries)?;
                }
            }
            value = match open.pop() {
                Some(Open::List { items, .. }) => Ipld::List(items),
                Some(Open::Map { entries, .. }) => Ipld::Map(entries),
                None => return Err(reader.err("truncated")),
            };
        }
    }
}

enum Item {
    Value(Ipld),
    List(u64),
    Map(u64),
}

struct Reader<'a> {
    rest: &'a [u8],
    flavour: Flavour,
}

impl<'a> Reader<'a> {
    fn err(&self, reason: impl Into<String>) -> DagError {
        DagError::malformed(self.flavour.name(), reason)
    }

    fn deeper(&self, open: &[Open]) -> Result<(), DagError> {
        if open.len() >= MAX_DEPTH { Err(self.err("nested too deeply")) } else { Ok(()) }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DagError> {
        let split = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let (head, tail) = split.ok_or_else(|| self.err("truncated"))?;
        self.rest = tail;
        Ok(head)
    }

    /// The next item's type and argument, which must be written as short as it can be.
    fn head(&mut self) -> Result<(u8, u8, u64), DagError> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let argument = match info {
            0..=23 => u64::from(info),
            24..=27 => {
                let bytes = self.take(1 << (info - 24))?;
                let argument = bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                let least = [24, 0x100, 0x1_0000, 0x1_0000_0000][usize::from(info - 24)];
                if major != 7 && argument < least {
                    return Err(self.err("a number or length that is longer than it has to be"));
                }
                argument
            }
            _ => return Err(self.err("an indefinite or reserved length")),
        };
        Ok((major, info, argument))
    }

    fn key(&mut self) -> Result<String, DagError> {
        match self.head()? {
            (3, _, len) => self.text(len),
            _ => Err(self.err("a map's key that is no text")),
        }
    }

    fn text(&mut self, len: u64) -> Result<String, DagError> {
        let bytes = self.take(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.err("text that is not UTF-8")),
        }
    }

    fn item(&mut self) -> Result<Item, DagError> {
        let (major, info, argument) = self.head()?;
        let value = match (major, info) {
            (0, _) => Ipld::Int(i128::from(argument)),
            (1, _) => Ipld::Int(-1 - i128::from(argument)),
            (2, _) => Ipld::Bytes(self.take(argument)?.to_vec()),
            (3, _) => Ipld::String(self.text(argument)?),
            (4, _) => return self.held(argument, 1).map(Item::List),
            (5, _) => return self.held(argument, 2).map(Item::Map),
            (6, _) if argument == 42 && self.flavour == Flavour::Dag => self.link()?,
            (6, _) => return Err(self.err(format!("tag {argument}"))),
            (_, 20) => Ipld::Bool(false),
            (_, 21) => Ipld::Bool(true),
            (_, 22) => Ipld::Null,
            (_, 25) if self.flavour == Flavour::Plain => self.float(half(argument as u16))?,
            (_, 26) if self.flavour == Flavour::Plain => self.float(f64::from(f32::from_bits(argument as u32)))?,
            (_, 27) => self.float(f64::from_bits(argument))?,
            _ => return Err(self.err("a value that is neither false, true, null nor a 64-bit float")),
        };
        Ok(Item::Value(value))
    }

    /// How many items are said to come; each takes at least `bytes`, so more cannot be there.
    fn held(&self, items: u64, bytes: u64) -> Result<u64, DagError> {
        let needed = items.checked_mul(bytes).filter(|needed| *needed <= self.rest.len() as u64);
        needed.map(|_| items).ok_or_else(|| self.err("truncated"))
    }

    fn float(&self, number: f64) -> Result<Ipld, DagError> {
        if number.is_finite() { Ok(Ipld::Float(number)) } else { Err(self.err("a number that is not finite")) }
    }

    fn link(&mut self) -> Result<Ipld, DagError> {
        let (major, _, len) = self.head()?;
        match (major, self.take(len)?) {
            (2, [0, cid @ ..]) => Ok(Ipld::Link(Box::new(crate::dag::exact_cid(self.flavour.name(), cid)?))),
            _ => Err(self.err("a link that is no CID")),
        }
    }
}

/// A float of 16 bits (IEEE 754).
fn half(bits: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { size } else { -size }
}
