//! A request's query, read as Kubo's clients write it: `arg` may repeat, options have short names too, flags are `true`
//! or `1`, unknown names are ignored.

use std::{convert::Infallible, str::FromStr, time::Duration};

use axum::{
    extract::{FromRequestParts, Query},
    http::{HeaderMap, request::Parts},
};

use super::{HttpError, reply};
use crate::{
    base::{Cid, cid},
    config::duration,
    dag::{DagPath, cids::CidText},
};

/// Kubo's short names of options, which mean the same over HTTP. Where a verb knows another option by the same letter, the
/// verb looks for it itself.
const SHORT: &[(&str, &str)] = &[
    ("archive", "a"),
    ("chunker", "s"),
    ("compress", "C"),
    ("compression-level", "l"),
    ("edges", "e"),
    ("empty-dirs", "E"),
    ("length", "l"),
    ("name", "n"),
    ("numeric", "n"),
    ("offset", "o"),
    ("only-hash", "n"),
    ("progress", "p"),
    ("quiet", "q"),
    ("recursive", "r"),
    ("stream", "s"),
    ("supported", "s"),
    ("trickle", "t"),
    ("type", "t"),
    ("unique", "u"),
    ("wrap-with-directory", "w"),
];

/// The query, and what else of a request's head matters.
#[derive(Debug, Clone, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
    /// Whether the caller reads trailers.
    pub trailers: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // A query that cannot be read has no names that can be missed.
        let pairs = Query::try_from_uri(&parts.uri).map(|Query(pairs)| pairs).unwrap_or_default();
        Ok(Params::new(pairs, &parts.headers))
    }
}

impl Params {
    fn new(pairs: Vec<(String, String)>, headers: &HeaderMap) -> Self {
        Params { pairs, trailers: reply::takes_trailers(headers) }
    }

    /// The last value of a name, or of its short form.
    pub fn text(&self, name: &str) -> Option<&str> {
        let short = SHORT.iter().find(|(long, _)| *long == name).map(|(_, short)| *short);
        self.pairs.iter().rev().find(|(n, _)| n == name || short == Some(n.as_str())).map(|(_, v)| v.as_str())
    }

    /// Every `arg`.
    pub fn args(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(|(n, _)| n == "arg").map(|(_, v)| v.as_str())
    }

    /// The first `arg`.
    pub fn arg(&self, what: &str) -> Result<&str, HttpError> {
        self.args().next().ok_or_else(|| HttpError::usage(format!("argument \"{what}\" is required")))
    }

    /// The first `arg` as a content path.
    pub fn path(&self) -> Result<DagPath, HttpError> {
        Ok(DagPath::parse(self.arg("ipfs-path")?)?)
    }

    /// The first `arg` as a CID.
    pub fn cid(&self) -> Result<Cid, HttpError> {
        Ok(cid::parse(self.arg("cid")?)?)
    }

    /// How CIDs are to be written in the answer.
    pub fn cid_text(&self) -> Result<CidText, HttpError> {
        match self.text("cid-base").filter(|t| !t.is_empty()) {
            None => Ok(CidText::default()),
            Some(base) => Ok(CidText::named(base)?),
        }
    }

    /// A flag.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, HttpError> {
        match self.text(name) {
            None => Ok(None),
            Some("true" | "1" | "" | "t" | "T" | "TRUE" | "True") => Ok(Some(true)),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => Err(HttpError::usage(format!("{name}={other} is neither true nor false"))),
        }
    }

    /// A number.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, HttpError> {
        let Some(text) = self.text(name).filter(|t| !t.is_empty()) else { return Ok(None) };
        let parsed = text.parse();
        parsed.map(Some).map_err(|_| HttpError::usage(format!("{name}={text} is not a number that fits here")))
    }

    /// How long the caller wants to wait; 0 is for ever.
    pub fn timeout(&self) -> Result<Option<Duration>, HttpError> {
        match self.text("timeout").filter(|t| !t.is_empty()) {
            None => Ok(None),
            Some(text) => Ok(Some(duration::parse(text)?).map(|d| if d.is_zero() { Duration::MAX } else { d })),
        }
    }
}

/// Percent-decodes, with `+` as a space.
pub fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).and_then(|d| std::str::from_utf8(d).ok());
        match (bytes[at], digits.and_then(|d| u8::from_str_radix(d, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        let pairs = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        Params { pairs, trailers: false }
    }

    #[test]
    fn flags_numbers_and_times_are_checked() {
        let p = params(&[("a", "true"), ("b", "0"), ("c", "maybe"), ("n", "12"), ("m", "-1"), ("timeout", "1m0s")]);
        assert_eq!(p.flag("a").unwrap(), Some(true));
        assert_eq!(p.flag("b").unwrap(), Some(false));
        assert_eq!(p.flag("x").unwrap(), None);
        assert!(p.flag("c").is_err());
        assert_eq!(p.number::<u64>("n").unwrap(), Some(12));
        assert!(p.number::<u64>("m").is_err());
        assert_eq!(p.timeout().unwrap(), Some(Duration::from_secs(60)));
        assert!(params(&[("timeout", "soon")]).timeout().is_err());
        assert_eq!(params(&[("l", "5")]).number::<u64>("length").unwrap(), Some(5));
        assert!(params(&[]).path().is_err());
        assert!(params(&[("arg", "nonsense")]).cid().is_err());
    }

    #[test]
    fn names_come_back_as_they_were() {
        assert_eq!(unescape(b"a%2Fb+c%20%C3%A4%zz%2"), "a/b c ä%zz%2".as_bytes());
    }
}
