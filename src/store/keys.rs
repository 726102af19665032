//! Named keys beside the node's own: one small file each, for the owner alone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use data_encoding::BASE32_NOPAD;

use super::{
    StoreError,
    files::{make_dir, read_small, write_whole},
};
use crate::base::Keypair;

/// Longest name of a key, in bytes: its file's name must fit.
pub const MAX_KEY_NAME_BYTES: usize = 128;
/// The name that always means the node's own key.
pub const OWN_KEY: &str = "self";
/// What a key's file ends in.
const ENDING: &str = ".key";

/// The folder of named keys. Needs no lock: files appear whole, and none is ever written over.
#[derive(Clone, Debug)]
pub struct Keys {
    dir: PathBuf,
}

impl Keys {
    /// The keys of the repo in `repo`.
    pub fn of(repo: &Path) -> Keys {
        Keys { dir: repo.join("keys") }
    }

    /// The keys that lie in `dir`, a folder of this shape elsewhere.
    pub fn at(dir: &Path) -> Keys {
        Keys { dir: dir.into() }
    }

    /// The names, in order.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        let io = StoreError::io("listing the keys");
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(io(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.map_err(&io)?.file_name();
            // What is not called like a key is none: a file that was being written, say.
            names.extend(file.to_str().and_then(|file| name_of(file.strip_suffix(ENDING)?)));
        }
        names.sort();
        Ok(names)
    }

    /// A key; `None` when there is none of that name.
    pub fn get(&self, name: &str) -> Result<Option<Keypair>, StoreError> {
        self.encoded(name)?.map(|bytes| self.decode(name, &bytes)).transpose()
    }

    /// A key in libp2p's protobuf encoding, as it was put: not every kind of key can be encoded again.
    pub fn encoded(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        read_small(&self.path(name)?).map_err(StoreError::io("reading a key"))
    }

    fn decode(&self, name: &str, bytes: &[u8]) -> Result<Keypair, StoreError> {
        Keypair::from_protobuf_encoding(bytes).map_err(|e| StoreError::Damaged {
            what: self.path(name).map(|path| path.display().to_string()).unwrap_or_default(),
            offset: 0,
            reason: format!("{e}; restore it from a backup"),
        })
    }

    /// Keeps a key in libp2p's protobuf encoding; durable when it returns. False when the same is there already;
    /// another of that name is never written over.
    pub fn put(&self, name: &str, encoded: &[u8]) -> Result<bool, StoreError> {
        let path = self.path(name)?;
        let wrong = |e: &dyn std::fmt::Display| StoreError::Invalid {
            what: format!("the key {name:?}"),
            reason: e.to_string(),
        };
        let key = Keypair::from_protobuf_encoding(encoded).map_err(|e| wrong(&e))?;
        if let Some(old) = self.get(name)? {
            if old.public() == key.public() {
                return Ok(false);
            }
            return Err(StoreError::Invalid {
                what: format!("a second key called {name:?}"),
                reason: format!("{} holds another; move that file away first", path.display()),
            });
        }
        make_dir(&self.dir).and_then(|()| write_whole(&path, encoded)).map_err(StoreError::io("writing a key"))?;
        Ok(true)
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        check_key_name(name)?;
        Ok(self.dir.join(format!("{}{ENDING}", BASE32_NOPAD.encode(name.as_bytes()).to_lowercase())))
    }
}

/// Whether a key may be called so.
pub fn check_key_name(name: &str) -> Result<(), StoreError> {
    let reason = match name {
        OWN_KEY => "it always means the node's own key".into(),
        _ if name.is_empty() || name.len() > MAX_KEY_NAME_BYTES => format!("use 1 to {MAX_KEY_NAME_BYTES} bytes"),
        _ if name.contains('/') || name.chars().any(char::is_control) => "use no '/' and nothing unprintable".into(),
        _ => return Ok(()),
    };
    Err(StoreError::Invalid { what: format!("the key name {name:?}"), reason })
}

fn name_of(encoded: &str) -> Option<String> {
    let bytes = BASE32_NOPAD.decode(encoded.to_uppercase().as_bytes()).ok()?;
    String::from_utf8(bytes).ok().filter(|name| check_key_name(name).is_ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_last_and_none_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::of(dir.path());
        assert!(keys.names().unwrap().is_empty());
        let new = || Keypair::generate_ed25519().to_protobuf_encoding().unwrap();
        let (one, two) = (new(), new());
        assert!(keys.put("a cut one", &one[..9]).is_err());
        assert!(keys.put("my site", &one).unwrap());
        assert!(keys.put("ünder-way", &two).unwrap());
        assert!(!keys.put("my site", &one).unwrap());
        let error = keys.put("my site", &two).unwrap_err().to_string();
        assert!(error.contains("holds another"), "{error}");
        assert_eq!(keys.encoded("my site").unwrap().unwrap(), one);
        assert!(keys.get("other").unwrap().is_none());
        fs::write(dir.path().join("keys/left.tmp"), b"by a crash").unwrap();
        assert_eq!(keys.names().unwrap(), ["my site", "ünder-way"]);
        for file in fs::read_dir(dir.path().join("keys")).unwrap() {
            let file = file.unwrap();
            if file.file_name().to_string_lossy().ends_with(ENDING) {
                assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            }
        }
        let whole = keys.path("my site").unwrap();
        fs::write(&whole, b"cut").unwrap();
        assert!(keys.get("my site").unwrap_err().to_string().contains("restore it"));
    }

    #[test]
    fn names_cannot_leave_the_folder_or_hide() {
        let keys = Keys::of(Path::new("/nowhere"));
        for bad in ["", "self", "a/b", "a\0b", "a\nb", &"x".repeat(129)] {
            assert!(keys.get(bad).is_err(), "{bad:?}");
        }
        check_key_name(&"x".repeat(MAX_KEY_NAME_BYTES)).unwrap();
        check_key_name("..").unwrap();
    }
}
