//! Kubo's block folder: a file a block, named by its multihash, spread over folders by a rule that stands in `SHARDING`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use data_encoding::BASE32_NOPAD;

use super::{Got, MoveError};
use crate::{
    base::{Cid, MAX_BLOCK_BYTES},
    content::ContentError,
};

/// Longest rule read, in bytes.
const MAX_RULE_BYTES: u64 = 1024;
/// Before every rule.
const PREFIX: &str = "/repo/flatfs/shard/v1/";
/// Most letters of a folder's name.
const MAX_WIDTH: usize = 64;

/// Which folder a block's file lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Prefix(usize),
    Suffix(usize),
    NextToLast(usize),
}

impl Rule {
    fn parse(text: &str) -> Result<Rule, String> {
        let known = "this program knows prefix, suffix and next-to-last of version 1";
        let unknown = || format!("its SHARDING says {:?}; {known}", text.trim().chars().take(80).collect::<String>());
        let (name, width) =
            text.trim().strip_prefix(PREFIX).and_then(|rule| rule.split_once('/')).ok_or_else(unknown)?;
        let width = width.parse().ok().filter(|width| (1..=MAX_WIDTH).contains(width)).ok_or_else(unknown)?;
        match name {
            "prefix" => Ok(Rule::Prefix(width)),
            "suffix" => Ok(Rule::Suffix(width)),
            "next-to-last" => Ok(Rule::NextToLast(width)),
            _ => Err(unknown()),
        }
    }

    /// The folder of a key, which is ASCII; what a short key lacks are underscores.
    fn folder(self, key: &str) -> String {
        match self {
            Rule::Prefix(width) => format!("{key:_<width$}")[..width].to_owned(),
            Rule::Suffix(width) => {
                let padded = format!("{key:_>width$}");
                padded[padded.len() - width..].to_owned()
            }
            Rule::NextToLast(width) => {
                let padded = format!("{key:_>0$}", width + 1);
                padded[padded.len() - width - 1..padded.len() - 1].to_owned()
            }
        }
    }
}

/// The folder, to be read.
#[derive(Debug, Clone)]
pub(super) struct FlatFs {
    dir: PathBuf,
    rule: Rule,
}

impl FlatFs {
    pub fn open(dir: &Path) -> Result<FlatFs, ContentError> {
        let path = dir.join("SHARDING");
        let mut text = String::new();
        let file = File::open(&path).map_err(|e| ContentError::io(&path, e))?;
        file.take(MAX_RULE_BYTES).read_to_string(&mut text).map_err(|e| ContentError::io(&path, e))?;
        let rule = Rule::parse(&text).map_err(|reason| MoveError::NotOne { dir: dir.into(), reason })?;
        Ok(FlatFs { dir: dir.into(), rule })
    }

    fn path(&self, cid: &Cid) -> PathBuf {
        let key = BASE32_NOPAD.encode(&cid.hash().to_bytes());
        self.dir.join(self.rule.folder(&key)).join(format!("{key}.data"))
    }

    /// Reads a block's file; blocks.
    pub fn read(&self, cid: &Cid) -> Got {
        let read = |path: &Path| -> io::Result<Vec<u8>> {
            let mut data = Vec::new();
            File::open(path)?.take(MAX_BLOCK_BYTES as u64 + 1).read_to_end(&mut data)?;
            Ok(data)
        };
        let path = self.path(cid);
        match read(&path) {
            Ok(data) if data.len() > MAX_BLOCK_BYTES => {
                Got::Bad(format!("{} is over the {MAX_BLOCK_BYTES} bytes that a block may have", path.display()))
            }
            Ok(data) => Got::Bytes(data.into()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Got::Missing,
            Err(e) => Got::Bad(format!("{}: {e}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_finds_its_folder() {
        let cases = [
            ("prefix/2", "ABCDEF", "AB"),
            ("prefix/8", "ABCDEF", "ABCDEF__"),
            ("suffix/2", "ABCDEF", "EF"),
            ("suffix/8", "ABCDEF", "__ABCDEF"),
            ("next-to-last/2", "ABCDEF", "DE"),
            ("next-to-last/2", "A", "__"),
            ("next-to-last/2", "AB", "_A"),
        ];
        for (rule, key, folder) in cases {
            let rule = Rule::parse(&format!("{PREFIX}{rule}\n")).unwrap();
            assert_eq!(rule.folder(key), folder, "{rule:?}");
        }
        for bad in ["", "next-to-last/2", "/repo/flatfs/shard/v2/prefix/2", "/repo/flatfs/shard/v1/prefix/0"] {
            assert!(Rule::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Rule::parse(&format!("{PREFIX}middle/2")).unwrap_err().contains("middle"));
    }
}
