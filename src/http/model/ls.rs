//! Sans-IO: `ls`.

use serde::{Deserialize, Serialize};

use super::files::{MODE_DIR, MODE_SYMLINK, go_mode};
use crate::{
    base::time::Civil,
    content::{EntryKind, LsEntry},
    dag::cids::CidText,
};

/// How Go writes a time that is not known.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// `ls`: one answer of all, or one for each entry when streamed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LsReply {
    /// One for each path asked for.
    pub objects: Vec<LsObject>,
}

/// One path of `ls`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LsObject {
    /// The path as it was asked for.
    pub hash: String,
    /// What lies in it.
    pub links: Vec<LsLink>,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LsLink {
    /// Its name; empty for a part of a file.
    pub name: String,
    /// Its CID.
    pub hash: String,
    /// Bytes of a file.
    pub size: u64,
    /// 1 = folder, 2 = file, 4 = symlink, 0 = not known.
    #[serde(rename = "Type")]
    pub kind: u8,
    /// Where a symlink leads.
    #[serde(default)]
    pub target: String,
    /// Permissions with Go's bits for the kind; 0 when they were not recorded.
    #[serde(default)]
    pub mode: u32,
    /// Time of modification (RFC 3339); the year 1 when it was not recorded.
    #[serde(default)]
    pub mod_time: String,
}

impl LsLink {
    /// The entry in Kubo's shape.
    pub fn new(entry: LsEntry, text: CidText) -> Self {
        let (kind, bit) = match entry.kind {
            EntryKind::Directory => (1, MODE_DIR),
            EntryKind::File => (2, 0),
            EntryKind::Symlink => (4, MODE_SYMLINK),
            EntryKind::Unknown => (0, 0),
        };
        let mode = entry.attributes.mode.map_or(0, |mode| mode & 0o7777);
        LsLink {
            name: entry.name,
            hash: text.of(&entry.cid),
            size: entry.size,
            kind,
            target: entry.target.unwrap_or_default(),
            mode: if mode == 0 { 0 } else { go_mode(mode) | bit },
            mod_time: go_time(entry.attributes.mtime),
        }
    }

    /// When it was modified: seconds since 1970 and nanoseconds; `None` when that was not recorded.
    pub fn mtime(&self) -> Option<(i64, u32)> {
        if self.mod_time == NO_TIME { None } else { parse_time(&self.mod_time) }
    }
}

/// A time as Go writes it in JSON: nanoseconds without zeros at the end. Go cannot write years beyond 9999.
fn go_time(mtime: Option<(i64, u32)>) -> String {
    let Some((seconds, nanos)) = mtime else { return NO_TIME.into() };
    let at = Civil::from_unix(seconds);
    if !(0..=9999).contains(&at.year) {
        return NO_TIME.into();
    }
    let (hour, minute, second) = at.clock();
    let fraction = if nanos == 0 { String::new() } else { format!(".{nanos:09}") };
    let fraction = fraction.trim_end_matches('0');
    format!("{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z", at.year, at.month, at.day)
}

/// Reads a time of RFC 3339, with any offset.
fn parse_time(text: &str) -> Option<(i64, u32)> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.split('-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let at = time.find(['Z', '+', '-'])?;
    let (clock, offset) = time.split_at(at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.split(':').map(|part| part.parse::<u32>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let second_of_day = hour.checked_mul(3600)?.checked_add(minute.checked_mul(60)?)?.checked_add(second)?;
    let (month, day) = (month.parse().ok()?, day.parse().ok()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || second_of_day > 86_400 || fraction.len() > 9 {
        return None;
    }
    let year = year.parse().ok().filter(|year| (0..=9999).contains(year))?;
    let local = Civil { year, month, day, second_of_day }.to_unix();
    let east: i64 = match offset.split_at_checked(1)? {
        ("Z", _) => 0,
        (sign, rest) => {
            let (hours, minutes) = rest.split_once(':')?;
            let seconds = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
            if sign == "-" { -seconds } else { seconds }
        }
    };
    let nanos = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse().ok()? };
    Some((local - east, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them_and_read_with_any_offset() {
        for (mtime, text) in [
            (None, NO_TIME),
            (Some((0, 0)), "1970-01-01T00:00:00Z"),
            (Some((1_709_210_096, 120_000_000)), "2024-02-29T12:34:56.12Z"),
            (Some((-1, 999_999_999)), "1969-12-31T23:59:59.999999999Z"),
            (Some((i64::MAX / 2, 0)), NO_TIME),
        ] {
            assert_eq!(go_time(mtime), text);
        }
        assert_eq!(parse_time("2024-02-29T12:34:56.12Z"), Some((1_709_210_096, 120_000_000)));
        assert_eq!(parse_time("2024-02-29T13:34:56+01:00"), Some((1_709_210_096, 0)));
        assert_eq!(parse_time("2024-02-29T07:04:56-05:30"), Some((1_709_210_096, 0)));
        for text in ["", "2024-02-29", "2024-13-29T12:34:56Z", "2024-02-29T12:34:56", "2024-02-29T99999999999:0:0Z"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
