//! Sans-IO: the kinds of values settings have, read from what people write.

use std::{fmt, time::Duration};

use super::duration;

/// Most items of a list.
const MAX_ITEMS: usize = 256;

/// A setting's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Number(u64),
    /// A number of bytes.
    Bytes(u64),
    /// A span of time.
    Time(Duration),
    /// Yes or no.
    Flag(bool),
    /// A word, path or address.
    Text(String),
    /// Several of them.
    List(Vec<String>),
    /// Not set: as the description says.
    Unset,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(n) => write!(f, "{n}"),
            Value::Bytes(n) => f.write_str(&size(*n)),
            Value::Time(span) => f.write_str(&time(*span)),
            Value::Flag(on) => write!(f, "{on}"),
            Value::Text(text) => f.write_str(text),
            Value::List(items) => f.write_str(&items.join(", ")),
            Value::Unset => Ok(()),
        }
    }
}

/// What has the wrong shape for a setting never reaches it.
const WRONG: &str = "is of the wrong kind";

pub(super) fn number(value: &Value) -> Result<u64, String> {
    match value {
        Value::Number(n) | Value::Bytes(n) => Ok(*n),
        _ => Err(WRONG.into()),
    }
}

pub(super) fn small<T: TryFrom<u64>>(value: &Value) -> Result<T, String> {
    T::try_from(number(value)?).map_err(|_| "is too large".to_owned())
}

pub(super) fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(WRONG.into()),
    }
}

pub(super) fn list(value: &Value) -> Result<&[String], String> {
    match value {
        Value::List(items) => Ok(items),
        _ => Err(WRONG.into()),
    }
}

pub(super) fn span(value: &Value) -> Result<Duration, String> {
    match value {
        Value::Time(span) => Ok(*span),
        _ => Err(WRONG.into()),
    }
}

pub(super) fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Flag(on) => Ok(*on),
        _ => Err(WRONG.into()),
    }
}

pub(super) fn is(error: impl ToString) -> String {
    format!("cannot be used: {}", error.to_string())
}

pub(super) fn shown(items: impl IntoIterator<Item = impl ToString>) -> Value {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { Value::Unset } else { Value::List(items) }
}

pub(super) fn maybe(text: Option<impl ToString>) -> Value {
    text.map_or(Value::Unset, |text| Value::Text(text.to_string()))
}

/// What a setting's values are and which are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A whole number between two others.
    Number(u64, u64),
    /// A number of bytes between two others.
    Bytes(u64, u64),
    /// Whole seconds between two numbers, or parts of them; 0 may stand for no limit.
    Time {
        /// The least, in milliseconds.
        min_ms: u64,
        /// The most, in milliseconds.
        max_ms: u64,
        /// Whether 0 is allowed and means for ever.
        zero: bool,
    },
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A word of this kind.
    Text(&'static str),
    /// Several words of this kind.
    List(&'static str),
}

impl Shape {
    /// Which values are allowed, in words.
    pub fn allowed(&self) -> String {
        match self {
            Shape::Number(min, max) => format!("{min} to {max}"),
            Shape::Bytes(min, max) => format!("{} to {}", size(*min), size(*max)),
            Shape::Time { min_ms, max_ms, zero } => {
                let span = |ms: &u64| time(Duration::from_millis(*ms));
                let zero = if *zero { ", or 0 for no limit" } else { "" };
                format!("{} to {}{zero}", span(min_ms), span(max_ms))
            }
            Shape::Flag => "true or false".into(),
            Shape::Choice(words) => match words.split_last() {
                Some((last, [])) => (*last).to_owned(),
                Some((last, others)) => format!("{} or {last}", others.join(", ")),
                None => String::new(),
            },
            Shape::Text(what) => (*what).to_owned(),
            Shape::List(what) => format!("a list of {what}"),
        }
    }

    /// Whether values are lists.
    pub fn is_list(&self) -> bool {
        matches!(self, Shape::List(_))
    }

    /// Reads a value as it stands in a file, a variable or a flag; the error says what is wrong with it.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        let shown = || -> String { text.chars().take(80).collect() };
        if text.is_empty() {
            return Err("has no value".into());
        }
        match self {
            Shape::Number(min, max) => match text.parse::<u64>() {
                Ok(n) if (*min..=*max).contains(&n) => Ok(Value::Number(n)),
                Ok(n) => Err(format!("is {n}")),
                Err(_) => Err(format!("is '{}', which is no whole number", shown())),
            },
            Shape::Bytes(min, max) => match read_size(text) {
                Some(n) if (*min..=*max).contains(&n) => Ok(Value::Bytes(n)),
                Some(_) => Err(format!("is {}", shown())),
                None => Err(format!("is '{}', which is no size such as 512KiB, 2GB or 1000000", shown())),
            },
            Shape::Time { min_ms, max_ms, zero } => match duration::parse(text) {
                Ok(span) if span.is_zero() && *zero => Ok(Value::Time(span)),
                Ok(span) if (u128::from(*min_ms)..=u128::from(*max_ms)).contains(&span.as_millis()) => {
                    Ok(Value::Time(span))
                }
                Ok(_) => Err(format!("is {}", shown())),
                Err(_) => Err(format!("is '{}', which is no span of time such as 500ms, 10s or 2m", shown())),
            },
            Shape::Flag => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(Value::Flag(true)),
                "false" | "no" | "off" | "0" => Ok(Value::Flag(false)),
                _ => Err(format!("is '{}'", shown())),
            },
            Shape::Choice(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
                Some(word) => Ok(Value::Text((*word).to_owned())),
                None => Err(format!("is '{}'", shown())),
            },
            Shape::Text(_) => Ok(Value::Text(text.to_owned())),
            Shape::List(_) => self.read_list(text.split(',').map(str::trim).filter(|item| !item.is_empty())),
        }
    }

    /// Reads a list whose items are given one by one.
    pub fn read_list<'a>(&self, items: impl Iterator<Item = &'a str>) -> Result<Value, String> {
        let items: Vec<String> = items.map(|item| item.trim().to_owned()).collect();
        match items.len() {
            0 => Err("has no value".into()),
            n if n > MAX_ITEMS => Err(format!("has {n} values; {MAX_ITEMS} are the most")),
            _ if items.iter().any(String::is_empty) => Err("has a value that is empty".into()),
            _ => Ok(Value::List(items)),
        }
    }
}

const UNITS: [(&str, u64); 9] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
];

/// Reads `2GB`, `1.5 GiB`, `512k`, or a bare number of bytes. `KB`, `MB`, `GB` and `TB` are powers of 1000, `KiB`, `MiB`,
/// `GiB` and `TiB` of 1024; the `B` may be left out.
pub fn read_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = (&lower[..digits], lower[digits..].trim());
    let unit = match unit {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit || name.strip_suffix('b').is_some_and(|n| n == unit))?.1,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let number: f64 = number.parse().ok()?;
    let bytes = number * unit as f64;
    (bytes < u64::MAX as f64).then_some(bytes.round() as u64)
}

/// A number of bytes in the largest unit that writes it exactly.
pub fn size(bytes: u64) -> String {
    const SHOWN: [(&str, u64); 8] = [
        ("TiB", 1 << 40),
        ("TB", 1_000_000_000_000),
        ("GiB", 1 << 30),
        ("GB", 1_000_000_000),
        ("MiB", 1 << 20),
        ("MB", 1_000_000),
        ("KiB", 1 << 10),
        ("KB", 1_000),
    ];
    match SHOWN.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// A span of time in the largest unit that writes it exactly.
pub fn time(span: Duration) -> String {
    const SHOWN: [(&str, u128); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let ms = span.as_millis();
    match SHOWN.iter().find(|(_, unit)| ms >= *unit && ms.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", ms / unit),
        None if ms == 0 => "0".into(),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [
            ("2GB", 2_000_000_000),
            ("2 GiB", 2 << 30),
            ("1.5k", 1500),
            ("1.5KiB", 1536),
            ("0", 0),
            ("512", 512),
            ("100mb", 100_000_000),
            ("7b", 7),
            ("3Ti", 3 << 40),
        ] {
            assert_eq!(read_size(text), Some(bytes), "{text}");
        }
        for text in ["", "GB", "2 XB", "-1", "1e9", "99999999999TB", "1..5k", "nan", "2GB extra"] {
            assert_eq!(read_size(text), None, "{text}");
        }
        for bytes in [0, 1, 999, 1000, 1024, 1_500_000, 256 << 20, 2_000_000_000, u64::MAX] {
            assert_eq!(read_size(&size(bytes)), Some(bytes), "{}", size(bytes));
        }
        assert_eq!((size(256 << 20), size(2_000_000_000)), ("256MiB".into(), "2GB".into()));
    }

    #[test]
    fn times_come_back_as_they_were_written() {
        for ms in [0, 1, 500, 1000, 1500, 60_000, 90_000, 3_600_000, 86_400_000] {
            let span = Duration::from_millis(ms);
            assert_eq!(duration::parse(&time(span)).unwrap(), span, "{}", time(span));
        }
    }

    #[test]
    fn what_is_wrong_and_what_is_allowed_is_said() {
        let number = Shape::Number(1, 9);
        assert_eq!(number.read("7"), Ok(Value::Number(7)));
        assert_eq!(number.read("10"), Err("is 10".into()));
        assert!(number.read("ten").unwrap_err().contains("no whole number"));
        assert_eq!(number.allowed(), "1 to 9");
        let span = Shape::Time { min_ms: 1000, max_ms: 3_600_000, zero: true };
        assert_eq!(span.read("0"), Ok(Value::Time(Duration::ZERO)));
        assert_eq!(span.read("2m"), Ok(Value::Time(Duration::from_secs(120))));
        assert!(span.read("2h").is_err() && span.read("soon").unwrap_err().contains("no span of time"));
        assert_eq!(span.allowed(), "1s to 1h, or 0 for no limit");
        let words = Shape::Choice(&["one", "two", "three"]);
        assert_eq!(words.read("TWO"), Ok(Value::Text("two".into())));
        assert_eq!(words.allowed(), "one, two or three");
        assert!(words.read("four").is_err() && words.read(" ").is_err());
        assert_eq!(Shape::Flag.read("Yes"), Ok(Value::Flag(true)));
        let list = Shape::List("words");
        assert_eq!(list.read("a, b,"), Ok(Value::List(vec!["a".into(), "b".into()])));
        assert!(list.read(",").is_err());
    }
}
