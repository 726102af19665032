//! Sans-IO: what stands in front of a file in a multipart form, as Kubo's clients write it: its path, escaped, and its mode
//! and time behind the form's name.

use axum::http::{HeaderMap, header};

use crate::{dag::unixfs::Attributes, http::params::unescape};

/// What a part's head says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The path, its bytes as they were; empty for whatever has no name.
    pub path: Vec<u8>,
    /// Mode and time of modification.
    pub attributes: Attributes,
}

impl Head {
    /// Reads the head of a part. What cannot be read is taken for absent.
    pub fn read(headers: &HeaderMap) -> Self {
        // Read here because names need not be UTF-8.
        let value = headers.get(header::CONTENT_DISPOSITION).map(|value| value.as_bytes()).unwrap_or_default();
        let path = attribute(value, "filename").map(|name| unescape_strict(&name)).unwrap_or_default();
        let path = clean(&path);
        let form = attribute(value, "name").unwrap_or_default();
        let query =
            form.iter().position(|b| *b == b'?').map(|at| String::from_utf8_lossy(&form[at + 1..]).into_owned());
        Head { path, attributes: query.map(|query| attributes(&query)).unwrap_or_default() }
    }
}

/// Percent-decodes; a text that is not escaped everywhere stays as it is, as in Kubo.
fn unescape_strict(text: &[u8]) -> Vec<u8> {
    let escapes = |at: usize| text.get(at + 1..at + 3).is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit));
    let broken = text.iter().enumerate().any(|(at, byte)| *byte == b'%' && !escapes(at));
    if broken { text.to_vec() } else { unescape(text) }
}

/// A path without empty parts and dots, as it is below a root: ".." leads up to the root at most.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// The value of an attribute of a header, its quotes removed.
fn attribute(header: &[u8], wanted: &str) -> Option<Vec<u8>> {
    let mut rest = &header[header.iter().position(|b| *b == b';')? + 1..];
    loop {
        let name_end = rest.iter().position(|b| *b == b'=')?;
        let name = rest[..name_end].trim_ascii();
        rest = rest[name_end + 1..].trim_ascii_start();
        let mut value = Vec::new();
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let mut at = 0;
            loop {
                match quoted.get(at)? {
                    b'"' => break,
                    // A backslash escapes a quote or itself; before anything else it is one (as browsers send it).
                    b'\\' if matches!(quoted.get(at + 1), Some(b'"' | b'\\')) => {
                        value.push(quoted[at + 1]);
                        at += 1;
                    }
                    byte => value.push(*byte),
                }
                at += 1;
            }
            rest = &quoted[at + 1..];
        } else {
            let end = rest.iter().position(|b| *b == b';').unwrap_or(rest.len());
            value.extend_from_slice(rest[..end].trim_ascii_end());
            rest = &rest[end..];
        }
        if name.eq_ignore_ascii_case(wanted.as_bytes()) {
            return Some(value);
        }
        rest = &rest[rest.iter().position(|b| *b == b';')? + 1..];
    }
}

fn attributes(query: &str) -> Attributes {
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let mode = value("mode").and_then(|digits| u32::from_str_radix(digits, 8).ok()).map(unix_mode);
    let nanos = value("mtime-nsecs").and_then(|n| n.parse().ok()).filter(|n| *n < 1_000_000_000).unwrap_or(0);
    let mtime = value("mtime").and_then(|n| n.parse().ok()).map(|seconds| (seconds, nanos));
    Attributes { mode: mode.filter(|mode| *mode != 0), mtime }
}

/// The permissions in a mode as Go keeps it, which has its own bits for set-uid, set-gid and sticky.
pub fn unix_mode(go: u32) -> u32 {
    (go & 0xc0_0000) >> 12 | (go & 0x10_0000) >> 11 | go & 0o777
}

/// A mode as Go keeps it.
pub fn go_mode(unix: u32) -> u32 {
    (unix & 0o6000) << 12 | (unix & 0o1000) << 11 | unix & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &[u8]) -> Head {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_DISPOSITION, axum::http::HeaderValue::from_bytes(value).unwrap());
        Head::read(&headers)
    }

    #[test]
    fn paths_come_as_they_were() {
        for (value, path) in [
            (&b"form-data; name=\"file\"; filename=\"a%2Fb+c%FF\""[..], &b"a/b c\xff"[..]),
            (b"form-data; name=\"file\"; filename=\"raw \xff\xfe\"", b"raw \xff\xfe"),
            (b"form-data; filename=\"50%\"; name=\"file\"", b"50%"),
            (b"form-data; name=file; filename=plain", b"plain"),
            (b"form-data; name=\"a;b=\\\"c\"; filename=\"q\\\"uote\"", b"q\"uote"),
            (b"form-data; name=\"file\"; filename=\"/x/./y/../../../z/\"", b"z"),
            (b"form-data; name=\"file\"; filename=\"\"", b""),
            (b"form-data; name=\"file\"", b""),
            (b"form-data", b""),
            (b"form-data; name=\"file", b""),
        ] {
            assert_eq!(read(value).path, path, "{}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn modes_and_times_stand_behind_the_forms_name() {
        let read = |name: &str| read(format!("form-data; name=\"{name}\"; filename=\"x\"").as_bytes()).attributes;
        assert_eq!(read("file"), Attributes::default());
        assert_eq!(
            read("file?mode=0644&mtime=-7&mtime-nsecs=5"),
            Attributes { mode: Some(0o644), mtime: Some((-7, 5)) }
        );
        assert_eq!(read("file?mode=040000755").mode, Some(0o4755), "Go's set-uid bit");
        assert_eq!(read("file?mode=020000000755").mode, Some(0o755), "Go's bit for folders");
        assert_eq!(read("file?mode=9&mtime=soon"), Attributes::default());
        for unix in [0o7777, 0o1000, 0o2000, 0o4000, 0o644] {
            assert_eq!(unix_mode(go_mode(unix)), unix);
        }
    }
}
