//! Sans-IO: spans of time as people write them.

use std::time::Duration;

use super::ConfigError;

/// Reads `500ms`, `10s`, `1.5s`, `2m`, `24h`, `7d`, Go's `1m30s`, or a bare number of seconds.
pub fn parse(text: &str) -> Result<Duration, ConfigError> {
    let wrong = || ConfigError::Duration { text: text.chars().take(40).collect() };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    if let Ok(seconds) = rest.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        let part = Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
    }
    Ok(total)
}

/// A span as people read it: `350 ms`, `2.41 s`, `3 min 20 s`.
pub fn human(span: Duration) -> String {
    match span.as_secs_f64() {
        s if s < 1.0 => format!("{} ms", span.as_millis()),
        s if s < 60.0 => format!("{s:.2} s"),
        s => format!("{} min {} s", s as u64 / 60, s as u64 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_and_go_write() {
        for (text, ms) in
            [("500ms", 500), ("10s", 10_000), ("1.5s", 1_500), ("2m", 120_000), ("1m30s", 90_000), ("60", 60_000)]
        {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for text in ["", "s", "10 parsecs", "-1", "1e999", "10x", "99999999999999999999d", "nan"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
