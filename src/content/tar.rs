//! Tar streams (POSIX ustar with pax headers for what does not fit), written and read piece by piece.
//!
//! The reader is for archives of untrusted origin: it gives names as they stand, checks sizes and checksums, and knows
//! only files, folders and symbolic links; [`super::extract_tar`] writes them safely.

use bytes::{Buf, Bytes, BytesMut};
use futures::{FutureExt, Stream, StreamExt};

use super::{
    Content, ContentError, TreeEvent,
    source::{driven, gone},
};
use crate::{
    base::{Cid, time},
    dag::unixfs::Attributes,
};

const RECORD: usize = 512;
/// Small parts of a stream going out are gathered to about this many bytes.
const PIECE_BYTES: usize = 256 * 1024;
/// Data of more than this goes out as it is, without being copied.
const WHOLE_BYTES: usize = 32 * 1024;
/// Longest pax header or long name read.
const MAX_EXTRA_BYTES: u64 = 64 * 1024;

impl Content {
    /// Everything below `root` as a tar stream; `name` is the first name of every path in it, as Kubo's `get` has it. Modes
    /// and times are those recorded, else the usual ones and now; fractions of seconds only when they are asked for.
    pub fn tar(
        &self,
        root: Cid,
        name: &str,
        fractions: bool,
    ) -> impl Stream<Item = Result<Bytes, ContentError>> + Send + Unpin + 'static {
        let events = self.walk(root);
        let now = (time::unix_ms() / 1000) as i64;
        let mut writer = TarWriter { fractions, now, ..TarWriter::new(name.as_bytes()) };
        driven(4, move |sender| async move {
            let mut events = std::pin::pin!(events);
            let mut out = BytesMut::new();
            loop {
                let event = match events.next().now_or_never() {
                    Some(event) => event,
                    // Whoever reads waits for the network no longer than it takes.
                    None if !out.is_empty() => {
                        sender.send(Ok(out.split().freeze())).await.map_err(gone)?;
                        continue;
                    }
                    None => events.next().await,
                };
                let Some(event) = event else { break };
                if let Some(data) = writer.write(event?, &mut out) {
                    if !out.is_empty() {
                        sender.send(Ok(out.split().freeze())).await.map_err(gone)?;
                    }
                    sender.send(Ok(data)).await.map_err(gone)?;
                } else if out.len() >= PIECE_BYTES {
                    sender.send(Ok(out.split().freeze())).await.map_err(gone)?;
                }
            }
            writer.finish(&mut out);
            sender.send(Ok(out.freeze())).await.map_err(gone)
        })
    }
}

/// Turns the parts of a tree into a tar stream.
#[derive(Debug)]
pub struct TarWriter {
    root: Vec<u8>,
    padding: usize,
    /// What the next item says of itself.
    attributes: Attributes,
    /// The time of what has none, in seconds since 1970.
    now: i64,
    /// Whether fractions of seconds are written.
    fractions: bool,
}

impl TarWriter {
    /// A writer whose paths all begin with `root`. Without a recorded time things are of 1970.
    pub fn new(root: &[u8]) -> Self {
        let attributes = Attributes::default();
        TarWriter { root: root.to_vec(), padding: 0, attributes, now: 0, fractions: false }
    }

    /// Appends one part. Data that is large comes back instead, to stand behind what was appended so far.
    pub fn write(&mut self, event: TreeEvent, out: &mut BytesMut) -> Option<Bytes> {
        let (path, kind, size, target, usual) = match event {
            TreeEvent::Data(bytes) if bytes.len() > WHOLE_BYTES => return Some(bytes),
            TreeEvent::Data(bytes) => {
                out.extend_from_slice(&bytes);
                return None;
            }
            TreeEvent::Attributes(attributes) => {
                self.attributes = attributes;
                return None;
            }
            TreeEvent::Dir { path } => (path, b'5', 0, Vec::new(), 0o755),
            TreeEvent::File { path, size } => (path, b'0', size, Vec::new(), 0o644),
            TreeEvent::Symlink { path, target } => (path, b'2', 0, target, 0o777),
        };
        let Attributes { mode, mtime } = std::mem::take(&mut self.attributes);
        let mode = mode.map(|mode| mode & 0o7777).filter(|mode| *mode != 0).unwrap_or(usual);
        let (mut seconds, mut nanos) = mtime.unwrap_or((self.now, 0));
        if !self.fractions {
            // To the nearest second, as Go does it.
            seconds = seconds.saturating_add(i64::from(nanos >= 500_000_000));
            nanos = 0;
        }
        let mut name = self.root.clone();
        for part in path {
            name.push(b'/');
            name.extend_from_slice(&part);
        }
        out.reserve(PIECE_BYTES.saturating_sub(out.len()).min(PIECE_BYTES));
        out.resize(out.len() + std::mem::take(&mut self.padding), 0);
        let mut pax = Vec::new();
        if name.len() > 100 || !name.is_ascii() {
            pax_record(&mut pax, "path", &name);
        }
        if target.len() > 100 || !target.is_ascii() {
            pax_record(&mut pax, "linkpath", &target);
        }
        if size >= 1 << 33 {
            pax_record(&mut pax, "size", size.to_string().as_bytes());
        }
        if nanos != 0 || !(0..MAX_TIME).contains(&seconds) {
            pax_record(&mut pax, "mtime", decimal_time(seconds, nanos).as_bytes());
        }
        let stamp = Stamp { mode, seconds: seconds.clamp(0, MAX_TIME - 1) };
        if !pax.is_empty() {
            let plain = Stamp { mode: 0o644, seconds: 0 };
            out.extend_from_slice(&header(b"pax_header", b'x', pax.len() as u64, b"", plain));
            out.extend_from_slice(&pax);
            out.resize(out.len() + pad(pax.len() as u64), 0);
        }
        out.extend_from_slice(&header(&name, kind, size, &target, stamp));
        self.padding = pad(size);
        None
    }

    /// Appends the end of the stream.
    pub fn finish(&mut self, out: &mut BytesMut) {
        out.resize(out.len() + std::mem::take(&mut self.padding) + 2 * RECORD, 0);
    }
}

fn pad(size: u64) -> usize {
    (RECORD - (size % RECORD as u64) as usize) % RECORD
}

/// `"LENGTH KEY=VALUE\n"`, where the length counts itself.
fn pax_record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len += 1;
    }
    out.extend_from_slice(format!("{len} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Seconds since 1970 that a header's field can no longer hold.
const MAX_TIME: i64 = 1 << 33;

/// Seconds with their fraction, as pax has it: the fraction counts away from zero.
fn decimal_time(seconds: i64, nanos: u32) -> String {
    let (sign, whole, part) = match (seconds < 0, nanos) {
        (true, 1..) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (false, _) => ("", seconds.unsigned_abs(), nanos),
    };
    let text = format!("{sign}{whole}.{part:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What a header says of an item beside its content.
#[derive(Clone, Copy)]
struct Stamp {
    mode: u32,
    seconds: i64,
}

fn header(name: &[u8], kind: u8, size: u64, target: &[u8], stamp: Stamp) -> [u8; RECORD] {
    let mut out = [0u8; RECORD];
    let mut put = |at: usize, bytes: &[u8], most: usize| {
        let len = bytes.len().min(most);
        out[at..at + len].copy_from_slice(&bytes[..len]);
    };
    put(0, name, 100);
    put(100, format!("{:07o}\0", stamp.mode).as_bytes(), 8);
    put(108, b"0000000\0", 8);
    put(116, b"0000000\0", 8);
    put(124, format!("{:011o}\0", if size >= 1 << 33 { 0 } else { size }).as_bytes(), 12);
    put(136, format!("{:011o}\0", stamp.seconds).as_bytes(), 12);
    put(148, b"        ", 8);
    put(156, &[kind], 1);
    put(157, target, 100);
    put(257, b"ustar\x0000", 8);
    let sum: u32 = out.iter().map(|b| u32::from(*b)).sum();
    out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out
}

/// Reads a tar stream given in pieces. The first name of every path, the root's own, is left out.
#[derive(Debug, Default)]
pub struct TarReader {
    input: BytesMut,
    state: State,
    pax: Extra,
    ended: bool,
}

#[derive(Debug, Default)]
struct Extra {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Header,
    /// So many bytes of a file, then so many of padding.
    Data(u64, usize),
    /// A header's extension of this type and size.
    Extra(u8, u64),
    /// Bytes to skip.
    Skip(u64),
}

impl TarReader {
    /// A reader at the beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives it the next bytes; take all events before the next call.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next part, when enough bytes are there.
    pub fn next_event(&mut self) -> Result<Option<TreeEvent>, ContentError> {
        loop {
            match &mut self.state {
                State::Skip(left) => {
                    let now = (*left).min(self.input.len() as u64);
                    self.input.advance(now as usize);
                    *left -= now;
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Header;
                }
                State::Data(0, padding) => self.state = State::Skip(*padding as u64),
                State::Data(left, _) => {
                    let now = (*left).min(self.input.len() as u64);
                    if now == 0 {
                        return Ok(None);
                    }
                    *left -= now;
                    return Ok(Some(TreeEvent::Data(self.input.split_to(now as usize).freeze())));
                }
                State::Extra(kind, size) => {
                    let (kind, size) = (*kind, *size);
                    if (self.input.len() as u64) < size {
                        return Ok(None);
                    }
                    let body = self.input.split_to(size as usize);
                    self.extra(kind, &body)?;
                    self.state = State::Skip(pad(size) as u64);
                }
                State::Header => {
                    if self.ended {
                        self.input.clear();
                        return Ok(None);
                    }
                    if self.input.len() < RECORD {
                        return Ok(None);
                    }
                    let record = self.input.split_to(RECORD);
                    if record.iter().all(|b| *b == 0) {
                        self.ended = true;
                        continue;
                    }
                    if let Some(event) = self.header(&record)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// Checks that the stream was whole.
    pub fn check_end(&self) -> Result<(), ContentError> {
        if self.ended && matches!(self.state, State::Header) { Ok(()) } else { Err(bad("it ends too early")) }
    }

    fn header(&mut self, record: &[u8]) -> Result<Option<TreeEvent>, ContentError> {
        let declared = octal(&record[148..156])?;
        let sum: u64 =
            record.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) }).sum();
        if declared != sum {
            return Err(bad("a header's checksum is wrong"));
        }
        let kind = record[156];
        let size = match self.pax.size.take() {
            Some(size) if kind != b'x' => size,
            _ => octal(&record[124..136])?,
        };
        if matches!(kind, b'x' | b'g' | b'L' | b'K') {
            if size > MAX_EXTRA_BYTES {
                return Err(bad("a name is too long"));
            }
            self.state = State::Extra(kind, size);
            return Ok(None);
        }
        let extra = std::mem::take(&mut self.pax);
        let path = extra.path.unwrap_or_else(|| {
            let (prefix, name) = (text(&record[345..500]), text(&record[..100]));
            let ustar = &record[257..262] == b"ustar" && !prefix.is_empty();
            if ustar { [prefix, b"/", name].concat() } else { name.to_vec() }
        });
        let path = path.strip_suffix(b"/").unwrap_or(&path);
        // Names are checked where they are written; the root's own name stands for the output.
        let path: Vec<Vec<u8>> = path.split(|b| *b == b'/').skip(1).map(<[u8]>::to_vec).collect();
        match kind {
            b'0' | 0 => {
                self.state = State::Data(size, pad(size));
                Ok(Some(TreeEvent::File { path, size }))
            }
            b'5' if size == 0 => Ok(Some(TreeEvent::Dir { path })),
            b'2' if size == 0 => {
                let target = extra.target.unwrap_or_else(|| text(&record[157..257]).to_vec());
                Ok(Some(TreeEvent::Symlink { path, target }))
            }
            _ => Err(bad(format!("an item of type {:?} is neither file, folder nor symbolic link", char::from(kind)))),
        }
    }

    fn extra(&mut self, kind: u8, body: &[u8]) -> Result<(), ContentError> {
        match kind {
            b'L' => self.pax.path = Some(text(body).to_vec()),
            b'K' => self.pax.target = Some(text(body).to_vec()),
            b'x' => {
                let mut rest = body;
                while !rest.is_empty() {
                    let space = rest.iter().position(|b| *b == b' ').ok_or_else(|| bad("a pax record"))?;
                    let len = decimal(&rest[..space])? as usize;
                    let record = rest.get(space + 1..len.saturating_sub(1)).ok_or_else(|| bad("a pax record"))?;
                    rest = rest.get(len..).ok_or_else(|| bad("a pax record"))?;
                    let equals = record.iter().position(|b| *b == b'=').ok_or_else(|| bad("a pax record"))?;
                    let value = &record[equals + 1..];
                    match &record[..equals] {
                        b"path" => self.pax.path = Some(value.to_vec()),
                        b"linkpath" => self.pax.target = Some(value.to_vec()),
                        b"size" => self.pax.size = Some(decimal(value)?),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn bad(reason: impl Into<String>) -> ContentError {
    ContentError::Tar { reason: reason.into() }
}

/// A field's text up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

fn octal(field: &[u8]) -> Result<u64, ContentError> {
    let digits = field.iter().skip_while(|b| **b == b' ').take_while(|b| !matches!(**b, b' ' | 0));
    digits.into_iter().try_fold(0u64, |sum, b| match b {
        b'0'..=b'7' => Ok(sum << 3 | u64::from(b - b'0')),
        _ => Err(bad("a number is not octal")),
    })
}

fn decimal(field: &[u8]) -> Result<u64, ContentError> {
    let text = std::str::from_utf8(field).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    text.and_then(|t| t.parse().ok()).ok_or_else(|| bad("a number is not one"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree() -> impl Strategy<Value = Vec<TreeEvent>> {
        let name = proptest::collection::vec(1u8..255, 1..150)
            .prop_map(|n| n.into_iter().map(|b| if b == b'/' { b'_' } else { b }).collect::<Vec<u8>>());
        let path = proptest::collection::vec(name, 1..4);
        let item = prop_oneof![
            path.clone().prop_map(|path| vec![TreeEvent::Dir { path }]),
            (path.clone(), proptest::collection::vec(1u8..255, 1..200))
                .prop_map(|(path, target)| vec![TreeEvent::Symlink { path, target }]),
            (path, proptest::collection::vec(any::<u8>(), 1..2000)).prop_map(|(path, data)| {
                vec![TreeEvent::File { path, size: data.len() as u64 }, TreeEvent::Data(data.into())]
            }),
        ];
        proptest::collection::vec(item, 0..6).prop_map(|items| items.concat())
    }

    fn written(events: impl IntoIterator<Item = TreeEvent>) -> Vec<u8> {
        let (mut writer, mut out) = (TarWriter::new(b"root"), BytesMut::new());
        for event in events {
            if let Some(large) = writer.write(event, &mut out) {
                out.extend_from_slice(&large);
            }
        }
        writer.finish(&mut out);
        out.to_vec()
    }

    fn read(bytes: &[u8], piece: usize) -> Result<Vec<TreeEvent>, ContentError> {
        let mut reader = TarReader::new();
        let mut out: Vec<TreeEvent> = Vec::new();
        for part in bytes.chunks(piece) {
            reader.push(part);
            while let Some(event) = reader.next_event()? {
                match (out.last_mut(), event) {
                    (Some(TreeEvent::Data(all)), TreeEvent::Data(more)) => *all = [&all[..], &more].concat().into(),
                    (_, event) => out.push(event),
                }
            }
        }
        reader.check_end().map(|()| out)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(events in tree(), piece in 1usize..1500) {
            let bytes = written(events.iter().cloned());
            prop_assert_eq!(bytes.len() % RECORD, 0);
            prop_assert_eq!(read(&bytes, piece).unwrap(), events);
            prop_assert!(read(&bytes[..bytes.len() - 2 * RECORD], piece).is_err(), "no end");
        }

        #[test]
        fn damage_never_panics(events in tree(), at: prop::sample::Index, to: u8) {
            let mut bytes = written(events);
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = read(&bytes, 700);
        }
    }

    const PLAIN: Stamp = Stamp { mode: 0o644, seconds: 0 };

    #[test]
    fn modes_and_times_stand_where_tar_looks_for_them() {
        let file = || TreeEvent::File { path: Vec::new(), size: 0 };
        let head = |attributes, fractions| {
            let mut writer = TarWriter { now: 7, fractions, ..TarWriter::new(b"root") };
            let (mut first, mut next) = (BytesMut::new(), BytesMut::new());
            assert_eq!(writer.write(TreeEvent::Attributes(attributes), &mut first), None);
            assert!(first.is_empty());
            writer.write(file(), &mut first);
            // Of the next one nothing is said.
            writer.write(file(), &mut next);
            assert_eq!((&next[100..107], &next[136..147]), (&b"0000644"[..], &b"00000000007"[..]));
            first
        };
        let kept = Attributes { mode: Some(0o4750), mtime: Some((0o123, 600_000_000)) };
        let plain = head(kept, false);
        assert_eq!((&plain[100..107], &plain[136..147]), (&b"0004750"[..], &b"00000000124"[..]), "rounded");
        let fine = head(kept, true);
        assert!(fine.windows(13).any(|w| w == b"mtime=83.6\n\0\0"), "with its fraction");
        let old = head(Attributes { mode: None, mtime: Some((-5, 0)) }, false);
        assert!(old.windows(9).any(|w| w == b"mtime=-5\n"), "before 1970");
        for ((seconds, nanos), text) in [
            ((0, 0), "0"),
            ((-1, 999_999_999), "-0.000000001"),
            ((-2, 500_000_000), "-1.5"),
            ((100, 10), "100.00000001"),
        ] {
            assert_eq!(decimal_time(seconds, nanos), text);
        }
    }

    #[test]
    fn devices_and_hard_links_are_refused() {
        for kind in [b'1', b'3', b'4', b'6', b'7', b'S'] {
            let mut bytes = header(b"root/x", kind, 0, b"", PLAIN).to_vec();
            bytes.extend_from_slice(&[0; 1024]);
            assert!(matches!(read(&bytes, 512), Err(ContentError::Tar { .. })), "{}", char::from(kind));
        }
        assert!(read(&header(b"x", b'x', 1 << 30, b"", PLAIN), 512).is_err(), "an endless name");
    }
}
