//! Sans-IO: DAG-JSON (<https://ipld.io/specs/codecs/dag-json/spec/>) and, without links and bytes, JSON. Both are written as
//! Kubo writes them, JSON indented by tabs.

use data_encoding::BASE64_NOPAD;

use super::{DagError, Ipld, MAX_DEPTH, MAX_INT, MIN_INT, distinct};
use crate::base::cid;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// Links as `{"/": CID}`, bytes as `{"/": {"bytes": BASE64}}`, keys sorted, nothing between the values.
    Dag,
    /// No links, no bytes; keys in the order they are given, a value a line.
    Plain,
}

impl Flavour {
    fn name(self) -> &'static str {
        match self {
            Flavour::Dag => "dag-json",
            Flavour::Plain => "json",
        }
    }
}

pub(super) fn encode(value: &Ipld, flavour: Flavour) -> Result<Vec<u8>, DagError> {
    let mut writer = Writer { out: Vec::new(), flavour };
    writer.put(value, 0)?;
    if flavour == Flavour::Plain && matches!(value, Ipld::List(_) | Ipld::Map(_)) {
        writer.out.push(b'\n');
    }
    Ok(writer.out)
}

struct Writer {
    out: Vec<u8>,
    flavour: Flavour,
}

impl Writer {
    fn put(&mut self, value: &Ipld, depth: usize) -> Result<(), DagError> {
        let name = self.flavour.name();
        let err = |reason: &str| Err(DagError::malformed(name, reason));
        if depth > MAX_DEPTH {
            return err("nested too deeply");
        }
        match value {
            Ipld::Null => self.out.extend_from_slice(b"null"),
            Ipld::Bool(false) => self.out.extend_from_slice(b"false"),
            Ipld::Bool(true) => self.out.extend_from_slice(b"true"),
            Ipld::Int(n @ MIN_INT..=MAX_INT) => self.out.extend_from_slice(n.to_string().as_bytes()),
            Ipld::Int(_) => return err("a number of more than 64 bits"),
            Ipld::Float(n) if n.is_finite() => self.out.extend_from_slice(float(*n).as_bytes()),
            Ipld::Float(_) => return err("a number that is not finite"),
            Ipld::String(text) => self.text(text),
            Ipld::Bytes(bytes) if self.flavour == Flavour::Dag => {
                self.out.extend_from_slice(b"{\"/\":{\"bytes\":\"");
                self.out.extend_from_slice(BASE64_NOPAD.encode(bytes).as_bytes());
                self.out.extend_from_slice(b"\"}}");
            }
            Ipld::Link(cid) if self.flavour == Flavour::Dag => {
                self.out.extend_from_slice(format!("{{\"/\":\"{cid}\"}}").as_bytes());
            }
            Ipld::Bytes(_) => return err("bytes cannot be written; use dag-json"),
            Ipld::Link(_) => return err("links cannot be written; use dag-json"),
            Ipld::List(items) => {
                self.out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    self.before(i, depth);
                    self.put(item, depth + 1)?;
                }
                self.after(items.len(), depth);
                self.out.push(b']');
            }
            Ipld::Map(entries) => {
                if self.flavour == Flavour::Dag && means_else(entries) {
                    return err("a map that would be read as a link or as bytes");
                }
                let mut order: Vec<&(String, Ipld)> = entries.iter().collect();
                if self.flavour == Flavour::Dag {
                    order.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.out.push(b'{');
                for (i, (key, item)) in order.into_iter().enumerate() {
                    self.before(i, depth);
                    self.text(key);
                    self.out.extend_from_slice(if self.flavour == Flavour::Dag { b":" } else { b": " });
                    self.put(item, depth + 1)?;
                }
                self.after(entries.len(), depth);
                self.out.push(b'}');
            }
        }
        Ok(())
    }

    fn before(&mut self, item: usize, depth: usize) {
        if item > 0 {
            self.out.push(b',');
        }
        self.line(depth + 1);
    }

    fn after(&mut self, items: usize, depth: usize) {
        if items > 0 {
            self.line(depth);
        }
    }

    fn line(&mut self, tabs: usize) {
        if self.flavour == Flavour::Plain {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + tabs, b'\t');
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push(b'"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.out.extend_from_slice(&[b'\\', c as u8]),
                '\n' => self.out.extend_from_slice(b"\\n"),
                '\r' => self.out.extend_from_slice(b"\\r"),
                '\t' => self.out.extend_from_slice(b"\\t"),
                // The two line breaks that JavaScript knows and JSON does not.
                '\0'..'\x20' | '\u{2028}' | '\u{2029}' => {
                    self.out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes());
                }
                c => self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        self.out.push(b'"');
    }
}

/// As JavaScript and Go write it: the shortest digits, an exponent only below 1e-6 and from 1e21 on.
fn float(n: f64) -> String {
    if n != 0.0 && !(1e-6..1e21).contains(&n.abs()) {
        let text = format!("{n:e}");
        return if text.contains("e-") { text } else { text.replace('e', "e+") };
    }
    n.to_string()
}

/// Whether DAG-JSON reads the map as something else.
fn means_else(entries: &[(String, Ipld)]) -> bool {
    match entries {
        [(slash, Ipld::String(_))] => slash == "/",
        [(slash, Ipld::Map(inner))] => {
            slash == "/" && matches!(inner.as_slice(), [(key, Ipld::String(_))] if key == "bytes")
        }
        _ => false,
    }
}

/// A list or map whose items are still coming.
enum Open {
    List(Vec<Ipld>),
    Map(Vec<(String, Ipld)>, String),
}

pub(super) fn decode(bytes: &[u8], flavour: Flavour) -> Result<Ipld, DagError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DagError::malformed(flavour.name(), "it is not UTF-8"))?;
    let mut reader = Reader { text, at: 0, flavour };
    let mut open: Vec<Open> = Vec::new();
    loop {
        let mut value = match reader.start()? {
            b'[' => {
                reader.deeper(&open)?;
                if !reader.eat(b']') {
                    open.push(Open::List(Vec::new()));
                    continue;
                }
                Ipld::List(Vec::new())
            }
            b'{' => {
                reader.deeper(&open)?;
                if !reader.eat(b'}') {
                    let key = reader.key()?;
                    open.push(Open::Map(Vec::new(), key));
                    continue;
                }
                Ipld::Map(Vec::new())
            }
            first => reader.scalar(first)?,
        };
        // What is complete completes what it stands in.
        loop {
            match open.last_mut() {
                None => return reader.end().map(|()| value),
                Some(Open::List(items)) => {
                    items.push(value);
                    if reader.eat(b',') {
                        break;
                    }
                    reader.need(b']')?;
                }
                Some(Open::Map(entries, key)) => {
                    entries.push((std::mem::take(key), value));
                    if reader.eat(b',') {
                        *key = reader.key()?;
                        break;
                    }
                    reader.need(b'}')?;
                }
            }
            value = match open.pop() {
                Some(Open::List(items)) => Ipld::List(items),
                Some(Open::Map(entries, _)) => reader.map(entries)?,
                None => return Err(reader.err("it ends too early")),
            };
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    flavour: Flavour,
}

impl Reader<'_> {
    fn err(&self, reason: impl std::fmt::Display) -> DagError {
        DagError::malformed(self.flavour.name(), format!("at byte {}: {reason}", self.at))
    }

    fn deeper(&self, open: &[Open]) -> Result<(), DagError> {
        if open.len() >= MAX_DEPTH { Err(self.err("nested too deeply")) } else { Ok(()) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The first byte of a value, taken.
    fn start(&mut self) -> Result<u8, DagError> {
        self.space();
        let first = self.peek().ok_or_else(|| self.err("it ends too early"))?;
        self.at += 1;
        Ok(first)
    }

    /// Takes a byte if it comes next.
    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn need(&mut self, byte: u8) -> Result<(), DagError> {
        if self.eat(byte) { Ok(()) } else { Err(self.err(format!("',' or '{}' is missing", byte as char))) }
    }

    fn end(&mut self) -> Result<(), DagError> {
        self.space();
        if self.peek().is_none() { Ok(()) } else { Err(self.err("something stands behind the value")) }
    }

    fn key(&mut self) -> Result<String, DagError> {
        if self.start()? != b'"' {
            return Err(self.err("a map's key that is no text"));
        }
        let key = self.string()?;
        self.need_colon()?;
        Ok(key)
    }

    fn need_colon(&mut self) -> Result<(), DagError> {
        if self.eat(b':') { Ok(()) } else { Err(self.err("':' is missing")) }
    }

    fn scalar(&mut self, first: u8) -> Result<Ipld, DagError> {
        match first {
            b'"' => self.string().map(Ipld::String),
            b'n' => self.word("ull", Ipld::Null),
            b't' => self.word("rue", Ipld::Bool(true)),
            b'f' => self.word("alse", Ipld::Bool(false)),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(self.err("no value begins like this")),
        }
    }

    fn word(&mut self, rest: &str, value: Ipld) -> Result<Ipld, DagError> {
        if !self.text.as_bytes()[self.at..].starts_with(rest.as_bytes()) {
            return Err(self.err("no value begins like this"));
        }
        self.at += rest.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Ipld, DagError> {
        let from = self.at - 1;
        let negative = self.text.as_bytes()[from] == b'-';
        let digits = |reader: &mut Self| {
            let from = reader.at;
            while matches!(reader.peek(), Some(b'0'..=b'9')) {
                reader.at += 1;
            }
            if reader.at > from { Ok(()) } else { Err(reader.err("a digit is missing")) }
        };
        let whole = from + usize::from(negative);
        self.at = whole;
        digits(self)?;
        if self.text.as_bytes()[whole] == b'0' && self.at > whole + 1 {
            return Err(self.err("a number that begins with 0"));
        }
        let mut fraction = false;
        if self.peek() == Some(b'.') {
            fraction = true;
            self.at += 1;
            digits(self)?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            fraction = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            digits(self)?;
        }
        let text = &self.text[from..self.at];
        if fraction {
            let number = text.parse::<f64>().ok().filter(|n| n.is_finite());
            return number.map(Ipld::Float).ok_or_else(|| self.err("a number that is too large"));
        }
        let number = text.parse::<i128>().ok().filter(|n| (MIN_INT..=MAX_INT).contains(n));
        number.map(Ipld::Int).ok_or_else(|| self.err("a number of more than 64 bits"))
    }

    /// The rest of a text whose quotation mark was taken.
    fn string(&mut self) -> Result<String, DagError> {
        let mut out = String::new();
        loop {
            let plain = self.text.as_bytes()[self.at..].iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20));
            let plain = plain.ok_or_else(|| self.err("a text without an end"))?;
            out.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain + 1;
            match self.text.as_bytes()[self.at - 1] {
                b'"' => return Ok(out),
                b'\\' => out.push(self.escaped()?),
                _ => return Err(self.err("a control character in a text")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, DagError> {
        let kind = self.peek().ok_or_else(|| self.err("a text without an end"))?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => kind as char,
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                let code = match first {
                    0xd800..0xdc00 if self.text.as_bytes()[self.at..].starts_with(b"\\u") => {
                        self.at += 2;
                        let second = self.hex()?;
                        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400);
                        low.map(|low| 0x1_0000 + ((first - 0xd800) << 10) + low)
                    }
                    other => Some(other),
                };
                code.and_then(char::from_u32).ok_or_else(|| self.err("half a character (a lone surrogate)"))?
            }
            _ => return Err(self.err("no character is escaped like this")),
        })
    }

    fn hex(&mut self) -> Result<u32, DagError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let text =
            digits.and_then(|d| std::str::from_utf8(d).ok()).ok_or_else(|| self.err("four digits are missing"))?;
        self.at += 4;
        u32::from_str_radix(text, 16).map_err(|e| self.err(e))
    }

    /// A map that is complete, or what DAG-JSON means by it.
    fn map(&self, mut entries: Vec<(String, Ipld)>) -> Result<Ipld, DagError> {
        if self.flavour == Flavour::Dag && means_else(&entries) {
            return match entries.pop() {
                Some((_, Ipld::String(text))) => match cid::decode_text(&text) {
                    Ok(cid) => Ok(Ipld::Link(Box::new(cid))),
                    Err(error) => Err(self.err(format!("a link that is no CID: {error}"))),
                },
                Some((_, Ipld::Map(inner))) => match inner.into_iter().next() {
                    Some((_, Ipld::String(text))) => BASE64_NOPAD
                        .decode(text.as_bytes())
                        .map(Ipld::Bytes)
                        .map_err(|e| self.err(format!("bytes: {e}"))),
                    _ => Err(self.err("bytes without text")),
                },
                _ => Err(self.err("an empty link")),
            };
        }
        distinct(self.flavour.name(), &entries)?;
        Ok(Ipld::Map(entries))
    }
}
