//! Sans-IO: paths of the files tree.

use std::fmt;

use super::MfsError;
use crate::dag::{
    dir::check_name,
    path::{MAX_PATH_BYTES, MAX_SEGMENTS},
};

/// A path from the files tree's root, read as Kubo reads it: absolute, `.` and `..` resolved, doubled slashes ignored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilesPath {
    names: Vec<String>,
    trailing: bool,
}

impl FilesPath {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, MfsError> {
        let bad = |reason| Err(MfsError::BadPath { path: text.chars().take(80).collect(), reason });
        if text.is_empty() {
            return bad("paths must not be empty");
        }
        if !text.starts_with('/') {
            return bad("paths must start with a leading slash");
        }
        if text.len() > MAX_PATH_BYTES {
            return bad("it is longer than 8192 bytes");
        }
        let mut names: Vec<String> = Vec::new();
        for name in text.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop()),
                name if check_name(name.as_bytes()).is_err() => return bad("a name is over 255 bytes or contains NUL"),
                name => names.push(name.to_owned()),
            }
        }
        if names.len() > MAX_SEGMENTS {
            return bad("it has more than 256 names");
        }
        Ok(FilesPath { trailing: text.ends_with('/') && !names.is_empty(), names })
    }

    /// The names from the root on; none for the root itself.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether it was written with a slash at its end, and so names a directory.
    pub fn names_directory(&self) -> bool {
        self.trailing || self.is_root()
    }

    /// The last name.
    pub fn name(&self) -> Option<&str> {
        self.names.last().map(String::as_str)
    }

    /// The names above the last one.
    pub fn parent(&self) -> &[String] {
        self.names.split_last().map_or(&[], |(_, parent)| parent)
    }

    /// The path of an entry below it.
    pub fn join(&self, name: &str) -> Self {
        let mut names = self.names.clone();
        names.push(name.to_owned());
        FilesPath { names, trailing: false }
    }
}

impl fmt::Display for FilesPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.names))
    }
}

/// Names as a path.
pub(super) fn shown(names: &[String]) -> String {
    format!("/{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_kubo_reads_them() {
        for (text, shown, directory) in [
            ("/", "/", true),
            ("//", "/", true),
            ("/a", "/a", false),
            ("/a/", "/a", true),
            ("//a//b/.", "/a/b", false),
            ("/a/../b", "/b", false),
            ("/../../b/c/..", "/b", false),
            ("/ä b/c", "/ä b/c", false),
        ] {
            let path = FilesPath::parse(text).unwrap();
            assert_eq!((path.to_string().as_str(), path.names_directory()), (shown, directory), "{text}");
        }
        let (long, deep) = (format!("/{}", "a".repeat(256)), "/a".repeat(300));
        for text in ["", "a", "a/b", "/a\0b", &long, &deep] {
            assert!(FilesPath::parse(text).is_err(), "{text:.20}");
        }
    }
}
