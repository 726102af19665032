//! Sans-IO: content paths: `CID`, `CID/name/name`, `/ipfs/CID/name`.

use std::{fmt, str::FromStr};

use super::DagError;
use crate::base::{Cid, cid};

/// Longest path read, in bytes.
pub const MAX_PATH_BYTES: usize = 8192;
/// Most names in a path.
pub const MAX_SEGMENTS: usize = 256;

/// A root and the names that lead on from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DagPath {
    /// Where it starts.
    pub root: Cid,
    /// The names to follow.
    pub segments: Vec<String>,
}

impl DagPath {
    /// Parses a path. Doubled and trailing slashes are ignored; "." and ".." are refused, for they would mean
    /// something else to every reader.
    pub fn parse(text: &str) -> Result<Self, DagError> {
        let bad = |reason: String| DagError::BadPath { path: text.chars().take(80).collect(), reason };
        if text.len() > MAX_PATH_BYTES {
            return Err(bad(format!("it is longer than {MAX_PATH_BYTES} bytes")));
        }
        let bare = Self::bare(text);
        if bare.starts_with("/ipns/") {
            return Err(bad("names under /ipns are not supported yet".into()));
        }
        let mut parts = bare.split('/').filter(|part| !part.is_empty());
        let first = parts.next().ok_or_else(|| bad("it is empty".into()))?;
        let root = cid::parse(first).map_err(|e| match e {
            crate::base::CidError::Malformed { reason, .. } => bad(format!("'{first}' is not a CID ({reason})")),
            other => DagError::Cid(other),
        })?;
        let segments: Vec<String> = parts.map(str::to_owned).collect();
        if segments.len() > MAX_SEGMENTS {
            return Err(bad(format!("it has more than {MAX_SEGMENTS} names")));
        }
        if segments.iter().any(|s| s == "." || s == ".." || s.contains('\0')) {
            return Err(bad("'.', '..' and NUL are not names".into()));
        }
        Ok(DagPath { root, segments })
    }

    fn bare(text: &str) -> &str {
        let known = ["ipfs://", "ipfs:", "/ipfs/"].iter().find_map(|prefix| text.strip_prefix(prefix));
        known.unwrap_or(text)
    }

    /// The root as it is written in a path's text.
    pub fn root_text(text: &str) -> &str {
        Self::bare(text).split('/').find(|part| !part.is_empty()).unwrap_or_default()
    }
}

impl From<Cid> for DagPath {
    fn from(root: Cid) -> Self {
        DagPath { root, segments: Vec::new() }
    }
}

impl FromStr for DagPath {
    type Err = DagError;

    fn from_str(text: &str) -> Result<Self, DagError> {
        DagPath::parse(text)
    }
}

impl fmt::Display for DagPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/ipfs/{}", self.root)?;
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";

    #[test]
    fn all_spellings_are_read() {
        for (text, names) in [
            (CID.to_owned(), vec![]),
            (format!("/ipfs/{CID}"), vec![]),
            (format!("/ipfs/{CID}/"), vec![]),
            (format!("{CID}/a/b c"), vec!["a", "b c"]),
            (format!("ipfs://{CID}//a"), vec!["a"]),
            (format!("ipfs:{CID}/a"), vec!["a"]),
        ] {
            let path = DagPath::parse(&text).unwrap();
            assert_eq!(
                (path.root.to_string().as_str(), path.segments.clone()),
                (CID, names.iter().map(|s| s.to_string()).collect())
            );
            assert_eq!(path.to_string().parse::<DagPath>().unwrap(), path);
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let long = format!("{CID}{}", "/a".repeat(5000));
        let deep = format!("{CID}{}", "/a".repeat(300));
        let up = format!("{CID}/../x");
        for text in ["", "/", "/ipfs/", "/ipns/example.org", "hello", &long, &deep, &up] {
            assert!(DagPath::parse(text).is_err(), "{text:.40}");
        }
    }
}
